"""The nonlinearity of a Transformer's MLP, element by element; others stand in functions.py."""

import math

from minivit.backend import Array, xp_of
from minivit.ops.erf_series import erf_values

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_FAR = 40  # from 0: there Phi is 0 or 1 to the last digit. Going no further, inf meets no 0


def gelu(x: Array, form: str = "tanh"):
    """y = x Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016).

    form "tanh" (the published ViT): Phi = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2;
    form "erf" (exact; timm, Hugging Face): Phi = (1 + erf(x / sqrt 2)) / 2. They differ by up to 4.7e-4.
    form "quick" (CLIP): Phi = sigmoid(1.702 x), which differs by up to 0.02.

    dx = g (Phi + x Phi').   At minus infinity y and dx are 0, their limits.
    """
    xp = xp_of(x)
    factor, x = xp.maximum(x, -_FAR), xp.clip(x, -_FAR, _FAR)
    if form == "tanh":
        # x * x * x, never x ** 3: the power is 48 times slower
        t = xp.tanh(_SQRT_2_OVER_PI * (x + 0.044715 * (x * x * x)))
        cdf = 0.5 * (1 + t)
    elif form == "erf":
        cdf = 0.5 * (1 + erf_values(x * math.sqrt(0.5)))
    elif form == "quick":
        cdf = 0.5 * (1 + xp.tanh(0.851 * x))
    else:
        raise ValueError(f'gelu: form is "{form}", expected "tanh", "erf" or "quick"')
    y = factor * cdf

    def vjp(g):
        if form == "tanh":
            density = 0.5 * (1 - t * t) * (_SQRT_2_OVER_PI * (1 + 3 * 0.044715 * (x * x)))
        elif form == "quick":
            density = 1.702 * cdf * (1 - cdf)
        else:
            density = xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        return (g * (cdf + x * density),)

    return y, vjp
