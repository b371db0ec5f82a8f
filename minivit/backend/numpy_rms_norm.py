"""CPU kernel of rms_norm, like that of layer_norm."""

import numpy as np

from minivit.backend.kernels import register
from minivit.backend.tiles import row_tiles


@register("rms_norm", np.ndarray)
def rms_norm(x, scale, eps=1e-6):
    if x.dtype != scale.dtype or x.dtype.char not in "fd" or 0 in (x.ndim, x.size) or scale.shape != x.shape[-1:]:
        return NotImplemented
    width = x.shape[-1]
    rows = x.reshape(-1, width)
    y, x_hat = np.empty_like(rows), np.empty_like(rows)
    inverse_size = np.empty((len(rows), 1), x.dtype)
    for tile in row_tiles(*rows.shape):
        inverse_size[tile, 0] = 1 / np.sqrt(np.vecdot(rows[tile], rows[tile]) * (1 / width) + eps)
        np.multiply(rows[tile], inverse_size[tile], out=x_hat[tile])
        np.multiply(x_hat[tile], scale, out=y[tile])

    def vjp(g):
        g_rows = g.reshape(-1, width)
        dx, dscale = np.empty_like(x_hat), np.zeros_like(scale)
        for tile in row_tiles(*rows.shape):
            gt, xt, h = g_rows[tile], x_hat[tile], dx[tile]
            product = gt * xt
            dscale += np.ones(len(gt), g.dtype) @ product
            np.multiply(gt, scale, out=h)
            h -= xt * (product @ (scale * (1 / width)))[:, None]
            h *= inverse_size[tile]
        return dx.reshape(x.shape), dscale

    return y.reshape(x.shape), vjp
