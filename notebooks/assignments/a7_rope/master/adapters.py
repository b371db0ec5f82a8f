"""What the grader calls. Arguments and results are float64 arrays, numbers and dicts; arguments stay as they are.

rope(x (B, H, N, K), grid (rows, cols), base) -> like x;   rope_backward(x, grid, base, g like x) -> dx
    N = rows * cols tokens, row by row; K is a multiple of 4. The first K / 2 features turn by the column of their
    token, the others by its row, both counted from 0. In each half, features 2i and 2i + 1 are a pair (a, b) that is
    rotated by the angle t = place * base^(-i / (K / 4)), i = 0 .. K / 4 - 1: (a cos t - b sin t, a sin t + b cos t).

rms_norm(x (..., D), scale (D,), eps) -> (..., D);   rms_norm_backward(x, scale, eps, g) -> (dx, dscale)
    x / sqrt(mean of x^2 over the last axis + eps), times scale.

swiglu(x (..., D), params) -> (..., D);   swiglu_backward(x, params, g) -> (dx, {the three names: gradients})
    params: gate.weight (D, F), up.weight (D, F), out.weight (F, D), no biases.
    (silu(x gate.weight) * (x up.weight)) out.weight.

block_modern(x (B, T, D), params, config, grid) -> (B, T, D)
    T = rows * cols, or one more: the first token then is the class token, which has no place and is not rotated.
    x + attention(rms_norm(x)), then the same with swiglu; queries and keys are rotated by rope, values are not.
    params: norm1.scale, attention.qkv.weight, attention.qkv.bias, attention.out.weight, attention.out.bias,
    norm2.scale, mlp.gate.weight, mlp.up.weight, mlp.out.weight. config: width, heads, norm_eps, rope_base.
"""

from modern import block_modern, rms_norm, rms_norm_backward, rope, rope_backward, swiglu, swiglu_backward

__all__ = ["block_modern", "rms_norm", "rms_norm_backward", "rope", "rope_backward", "swiglu", "swiglu_backward"]
