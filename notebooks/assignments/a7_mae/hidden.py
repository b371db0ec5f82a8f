"""The hidden checks of the variant MAE."""

import numpy as np
from visible import model


def q1_h_count(t):
    """How many are hidden, where n (1 - ratio) is no whole number, too."""
    for n, ratio in ((7, 0.75), (9, 0.5), (16, 0.75), (13, 0.6), (196, 0.75), (5, 0.5)):
        mask = np.asarray(t.call("random_mask", 6, n, ratio, int(t.rng.integers(1000))))
        want = n - int(n * (1 - ratio))
        counts = mask.reshape(len(mask), -1).sum(axis=1)
        t.require(mask.shape == (6, n), f"the mask has shape {mask.shape}, it should be {(6, n)}")
        sentence = f"for n {n} and ratio {ratio} the rows hide {counts.tolist()} patches, they should hide {want}"
        t.require((counts == want).all(), sentence, seen=counts)


def q1_h_drawn(t):
    """Rows differ, every patch is hidden equally often, and subsets of all kinds come up."""
    mask = np.asarray(t.call("random_mask", 2000, 8, 0.75, int(t.rng.integers(1000))))
    often = mask.mean(axis=0)
    error = (0.75 * 0.25 / 2000) ** 0.5
    t.require((np.abs(often - 0.75) < 5 * error).all(), "some patches are hidden more often than others")
    kinds = len({row.tobytes() for row in mask.astype(bool)})
    t.require(kinds >= 25, f"2,000 rows have {kinds} different masks, where 28 are possible")


def q1_h_seed(t):
    """Drawn by the seed alone, in any order of calls."""
    one = np.asarray(t.call("random_mask", 8, 20, 0.5, 3))
    t.call("random_mask", 3, 11, 0.5, 4)
    again, other = (np.asarray(t.call("random_mask", 8, 20, 0.5, seed)) for seed in (3, 5))
    t.require(np.array_equal(one, again), "the same seed gives two different masks")
    t.require(not np.array_equal(one, other), "two seeds give the same mask")


def _mask(rng, batch, patches, visible):
    """Rows that hide equally many patches, in other places."""
    return np.array([rng.permutation(patches) >= visible for _ in range(batch)])


def _encoders(rng):
    """params, config, images, mask: an oblong grid, a large epsilon, all lengths alike, eleven blocks."""
    for *shape, batch, visible in (
        ((4, 9), (2, 3), 3, 6, 2, 3, 5, "tanh", 1e-6, 3, 2),
        ((6, 4), (2, 1), 2, 4, 1, 2, 7, "erf", 1e-2, 2, 5),
        ((4, 4), (2, 2), 1, 4, 1, 1, 4, "tanh", 1e-6, 4, 3),
        ((2, 4), (1, 2), 1, 4, 11, 2, 3, "tanh", 1e-6, 1, 2),
    ):
        params, config = model(rng, *shape)
        (h, w), (ph, pw) = shape[0], shape[1]
        yield params, config, rng.normal(size=(batch, h, w, shape[2])), _mask(rng, batch, h // ph * (w // pw), visible)


def q2_h_tokens(t):
    """The encoder's tokens."""
    for case in _encoders(t.rng):
        t.agree("encode_visible", *case, rtol=1e-8, what="the encoder's tokens")


def q2_h_unseen(t):
    """Another picture under the mask changes nothing, bit for bit."""
    params, config, images, mask = next(_encoders(t.rng))
    (ph, pw), (h, w) = config["patch_size"], config["image_size"]
    hidden = mask.reshape(len(mask), h // ph, w // pw).repeat(ph, axis=1).repeat(pw, axis=2)[..., None]
    other = np.where(hidden, 5 * t.rng.normal(size=images.shape), images)
    one, two = (t.call("encode_visible", params, config, x, mask) for x in (images, other))
    t.close(two, one, rtol=0, what="the tokens after hidden pixels changed")
    shown = np.where(hidden, images, images + 1)
    third = np.asarray(t.call("encode_visible", params, config, shown, mask))
    t.require(not np.array_equal(third, np.asarray(one)), "other visible pixels change nothing")


def q3_h_places(t):
    """Tokens in the places of their patches: other places in each row; one visible; all lengths alike."""
    for batch, patches, visible, width in ((3, 7, 4, 5), (2, 6, 1, 3), (4, 4, 2, 4), (2, 5, 3, 2)):
        latent = t.rng.normal(size=(batch, 1 + visible, width))
        token, positions = t.rng.normal(size=(1, 1, width)), t.rng.normal(size=(1, 1 + patches, width))
        mask = _mask(t.rng, batch, patches, visible)
        t.agree("decoder_input", latent, mask, token, positions, rtol=1e-12, what="the decoder's input")


def q3_h_edges(t):
    """The first patches hidden, then the last."""
    latent, positions = t.rng.normal(size=(1, 3, 3)), t.rng.normal(size=(1, 6, 3))
    token = t.rng.normal(size=(1, 1, 3))
    for hidden in ((0, 1, 2), (2, 3, 4), (0, 2, 4)):
        mask = np.isin(np.arange(5), hidden)[None]
        t.agree("decoder_input", latent, mask, token, positions, rtol=1e-12, what="the decoder's input")


def _losses(rng):
    """prediction, images, patch, mask: oblong patches and grids, several channels, few and many hidden."""
    for (h, w), (ph, pw), channels, batch in (((4, 9), (2, 3), 3, 2), ((6, 2), (3, 1), 1, 3), ((4, 4), (2, 2), 1, 4)):
        patches = h // ph * (w // pw)
        images = 2 + rng.uniform(0.5, 3) * rng.normal(size=(batch, h, w, channels))
        mask = _mask(rng, batch, patches, int(rng.integers(1, patches)))
        yield rng.normal(size=(batch, patches, ph * pw * channels)), images, (ph, pw), mask


def _loss(t, part, norm_pix, what):
    for case in _losses(t.rng):
        got, want = t.call("mae_loss", *case, norm_pix), t.ref("mae_loss", *case, norm_pix)
        t.close(got[part], want[part], what=what)


def q4_h_loss(t):
    """The loss of pixels as they are."""
    _loss(t, 0, False, "the loss")


def q4_h_gradient(t):
    """Its gradient."""
    _loss(t, 1, False, "the gradient")


def q4_h_norm_pix(t):
    """The loss of normalised pixels, and its gradient."""
    _loss(t, 0, True, "the loss")
    _loss(t, 1, True, "the gradient")


def q4_h_flat(t):
    """A patch of one colour has no spread; normalised pixels are zeros then, not nan."""
    images = t.rng.normal(size=(1, 4, 4, 1))
    images[0, :2, :2] = 0.7
    t.agree("mae_loss", t.rng.normal(size=(1, 4, 4)), images, (2, 2), np.array([[True, False, True, True]]), True)


def q4_h_visible(t):
    """What is predicted for visible patches does not matter."""
    prediction, images, patch, mask = next(_losses(t.rng))
    loss, gradient = t.call("mae_loss", prediction, images, patch, mask, True)
    t.require(not np.asarray(gradient)[~mask].any(), "visible patches have a gradient")
    other = np.where(mask[:, :, None], prediction, t.rng.normal(size=prediction.shape))
    t.close(
        t.call("mae_loss", other, images, patch, mask, True)[0], loss, what="the loss after visible patches changed"
    )
