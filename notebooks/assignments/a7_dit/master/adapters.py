"""What the grader calls. Arguments and results are float64 arrays, numbers and dicts; arguments stay as they are.

timestep_embedding(t (B,), width) -> (B, width)
    width is even, half = width / 2. Feature i < half is cos(t w_i), feature half + i is sin(t w_i), with
    w_i = 10000^(-i / half), i = 0 .. half - 1.

add_noise(x0 (B, ...), t (B,) int64, noise like x0, alpha_bar (T,)) -> x_t like x0
    Each image at its own time. Times count from 0: alpha_bar[0] belongs to the first, smallest step.

dit_block(x (B, N, D), c (B, D), params, config) -> (B, N, D)
dit_block_backward(x, c, params, config, g (B, N, D)) -> (dx, dc, {the names of params: gradients})
    params: ada.weight (D, 6D), ada.bias (6D,), attention.qkv.weight and .bias, attention.out.weight and .bias,
    mlp.hidden.weight and .bias, mlp.out.weight and .bias. config: width, heads, gelu, norm_eps.
    silu(c) ada.weight + ada.bias holds shift1, scale1, gate1, shift2, scale2, gate2 in this order, D numbers each.

denoise_step(x_t, predicted_noise, t, betas (T,), noise) -> x_(t-1)
    One whole number t >= 0 for the batch. The mean of DDPM, plus noise of variance betas[t]; no noise at t = 0.
"""

from diffusion import add_noise, denoise_step, dit_block, dit_block_backward, timestep_embedding

__all__ = ["add_noise", "denoise_step", "dit_block", "dit_block_backward", "timestep_embedding"]
