"""What the grader calls in A6. Glue only: your own code stands in the other files, in whatever form you like.

Arrays are NumPy arrays of float64. No function may change what it is given. `config` and `params` are those of A4:
config has image_size (h, w), patch_size (ph, pw), channels, width D, depth L, heads H, mlp_width, num_classes K,
classifier "token" or "gap", gelu "tanh" or "erf", norm_eps; params is a dict by name, in any order. T tokens: the class
token first with "token", none with "gap", then the N = (h/ph) (w/pw) patches row by row.
"""

from adapting import adapted
from attention_matrices import maps_of
from attention_reach import mean_distance
from attention_rollout import read_out, rolled_out
from position_likeness import cosines
from position_resize import resized
from principal_axes import axes_of


def resize_positions(table, old_grid, new_grid, prefix, method):
    """Position embeddings for another grid of patches.

    table: (1, prefix + rows*columns, D), the patches of `old_grid` (rows, columns) row by row.
    prefix: 0, 1 or 2 rows at the beginning that belong to no patch and are copied.
    Returns (1, prefix + rows'*columns', D) for `new_grid` (rows', columns').
    Bilinear: linear along rows and linear along columns, each feature for itself.
    method says where new place i of `new` lies on an axis of `old` places 0 .. old-1:
    "align_corners": i (old-1) / (new-1), and 0 if new = 1.
    "half_pixel": (i + 1/2) old/new - 1/2, moved to the nearest of 0 and old-1 if it lies outside.
    Nothing is averaged beyond that when the grid shrinks.
    """
    return resized(table, old_grid, new_grid, prefix, method)


def adapt(params, config, new_config):
    """Parameters to start from on another data set. The configurations may differ in image_size and num_classes alone.

    Returns a dict with the names of `params`. `position_embedding` is resized to the grid of new_config by
    "align_corners", the class token's row (with classifier "token") copied. `head.weight` (D, K') and `head.bias` (K',)
    are zeros, also if K' = K. All others are copies: no array shares memory with one of `params`.
    """
    return adapted(params, config, new_config)


def attention_maps(params, config, images):
    """The attention matrices of all layers and heads, in evaluation mode.

    images: (B, h, w, C).   Returns (L, B, H, T, T): [l, b, h, i, j] is what query i gives key j, so rows sum to 1.
    """
    return maps_of(params, config, images)


def rollout(attention):
    """Attention rollout (Abnar and Zuidema 2020).   attention: (L, B, H, T, T).   Returns (B, T, T), rows sum to 1.

    The product over the layers, the last layer on the left, of (mean over heads + identity) / 2.
    """
    return rolled_out(attention)


def read_by_head(matrix, config):
    """What the classification head reads of each patch.   matrix: (B, T, T).   Returns (B, rows, columns).

    With "token": the row of the class token without its own column. With "gap": the mean over all rows.
    """
    return read_out(matrix, config)


def attention_distance(attention, grid, pitch):
    """The mean distance in pixels between a patch and what it attends to.   Returns (...), a number for one matrix.

    attention: (..., T, T), T >= rows*columns.   grid: (rows, columns).
    pitch: (down, across), pixels from one patch to the next.
    The patches are the last rows*columns tokens. The others are left out as queries and as keys, and each row is
    brought back to a sum of 1. Distances are Euclidean, between centres of patches. Mean over queries.
    """
    return mean_distance(attention, grid, pitch)


def position_similarity(table, grid):
    """Cosines of every two position embeddings.   table: (rows*columns, D), patches row by row.

    Returns (rows, columns, rows, columns): [r, c, i, j] is the cosine of the angle between the embeddings of the patch
    in row r and column c and of the patch in row i and column j.
    """
    return cosines(table, grid)


def principal_components(samples, count):
    """Principal component analysis about the mean over samples.

    samples: (S, ...), each of any shape.   count: how many components, at most the number of directions with variance.
    Returns (components (count, ...), share (count,)): unit vectors in the shape of a sample, the one with the largest
    variance first, their sign free; and the variance along each, divided by the total variance.
    """
    return axes_of(samples, count)
