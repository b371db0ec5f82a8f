"""What the grader calls. Arguments and results are float64 arrays, numbers and dicts; arguments stay as they are.

random_mask(batch, n, ratio, seed) -> (batch, n) bool
    True hides a patch. Exactly n - int(n * (1 - ratio)) patches are hidden in every row, drawn for each row anew, each
    patch equally often. Same seed, same mask.

encode_visible(params, config, images (B, h, w, C), mask (B, N) bool) -> (B, 1 + V, D)
    The encoder of A4 with a class token (params and config as there, without a head), on the V visible patches alone:
    patches are embedded, get their positions, and only then are the hidden ones left out. Visible patches stay in
    rising order. All rows of mask hide equally many. The class token comes first; the last LayerNorm is included.

decoder_input(latent (B, 1 + V, D), mask (B, N) bool, mask_token (1, 1, D), positions (1, 1 + N, D)) -> (B, 1 + N, D)
    The class token, then N tokens: what the encoder says of a visible patch in that patch's place, the mask token
    elsewhere. Positions are added to all.

mae_loss(prediction (B, N, P), images (B, h, w, C), patch (ph, pw), mask (B, N) bool, norm_pix) -> (loss, dprediction)
    P = ph * pw * C, pixels of a patch as in A2. The loss of a patch is the mean of its squared errors; the loss is the
    mean over the hidden patches of the whole batch. With norm_pix the target of a patch is
    (pixels - mean) / sqrt(variance + 1e-6), its variance with P - 1 in the denominator.
"""

from masking import decoder_input, encode_visible, mae_loss, random_mask

__all__ = ["decoder_input", "encode_visible", "mae_loss", "random_mask"]
