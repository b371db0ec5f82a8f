"""What the grader calls in A2. Glue only: your own code stands in the other files, in whatever form you like.

Arrays are NumPy arrays, float64 unless said otherwise. No function may change what it is given.
"""

from crossentropy import sigmoid_loss, softmax_loss
from embedding import embed_all, embed_all_backward
from normalise import normalise, normalise_backward
from patches import cut, join
from positions import position_table
from softmaxes import log_softmax_of, log_softmax_pullback, softmax_of, softmax_pullback


def patchify(images, patch):
    """Cut images into patches.

    images: (B, h, w, C).   patch: (ph, pw), which divide h and w.   Returns (B, N, ph*pw*C), N = (h/ph) (w/pw).
    Patches row by row: first the top row of patches from left to right, then the next. Within a patch, pixels in the
    order (row, column, channel), the channel running fastest. Values are moved, not changed.
    """
    return cut(images, patch)


def unpatchify(patches, patch, image_size):
    """The inverse of patchify.

    patches: (B, N, ph*pw*C).   patch: (ph, pw).   image_size: (h, w).   Returns (B, h, w, C).
    """
    return join(patches, patch, image_size)


def embed(patches, weight, bias, class_token, positions):
    """Eq. 1: z_0 = [x_class; x_p E + b] + E_pos.

    patches: (B, N, P), cut already.   weight: (P, D).   bias: (D,).   class_token: (1, 1, D).   positions: (1, 1+N, D).
    Returns (B, 1+N, D). The class token is row 0. Positions are added to all rows, that of the class token too.
    """
    return embed_all(patches, weight, bias, class_token, positions)


def embed_backward(patches, weight, bias, class_token, positions, g):
    """The gradients of sum(g * embed(...)) with respect to the four parameters.

    The first five arguments are those of `embed`.   g: (B, 1+N, D).
    Returns {"weight": (P, D), "bias": (D,), "class_token": (1, 1, D), "positions": (1, 1+N, D)}: shapes as the
    parameters have them.
    """
    return embed_all_backward(patches, weight, bias, class_token, positions, g)


def sincos_positions(grid, width):
    """The fixed table of positions of a grid of patches.

    grid: (rows, columns).   width: D, a multiple of 4.   Returns (rows*columns, D), patches row by row.
    Each row is [sin x w, cos x w, sin y w, cos y w], four parts of D/4 features: x is the column of the patch and y its
    row, both counted from 0; w_i = 10000^(-i / (D/4 - 1)) for i = 0 .. D/4 - 1. If D/4 = 1 the only w is 1.
    """
    return position_table(grid, width)


def layer_norm(x, scale, bias, eps):
    """(x - mean) / sqrt(var + eps) * scale + bias, over the last axis.

    x: (..., D), one to four axes.   scale, bias: (D,).   eps: a number > 0.   Returns the shape of x.
    var is the biased variance: the mean of the squared deviations. It is right for a large mean too.
    """
    return normalise(x, scale, bias, eps)


def layer_norm_backward(x, scale, bias, eps, g):
    """The gradients of sum(g * layer_norm(x, scale, bias, eps)).

    g: the shape of x.   Returns (dx, dscale, dbias): the shape of x, (D,), (D,).
    """
    return normalise_backward(x, scale, bias, eps, g)


def softmax(x):
    """exp(x_i) / sum_j exp(x_j) over the last axis.   x: (..., n).   Finite for entries up to +-2e4."""
    return softmax_of(x)


def log_softmax(x):
    """The logarithm of softmax over the last axis.   x: (..., n).   Finite and accurate for entries up to +-2e4."""
    return log_softmax_of(x)


def softmax_backward(x, g):
    """The gradient of sum(g * softmax(x)) with respect to x.   x, g: (..., n).   Returns the shape of x."""
    return softmax_pullback(x, g)


def log_softmax_backward(x, g):
    """The gradient of sum(g * log_softmax(x)) with respect to x.   x, g: (..., n).   Returns the shape of x."""
    return log_softmax_pullback(x, g)


def cross_entropy(logits, labels, label_smoothing):
    """The mean over rows of -sum_k t_k log softmax(logits)_k, and its gradient.

    logits: (B, K).   labels: (B,) class numbers int64, or (B, K) probabilities: each row >= 0, with sum 1.
    label_smoothing: s, 0 <= s < 1. Targets are (1 - s) labels + s/K, over all K classes.
    Returns (loss, dlogits): a number, and the gradient of the mean (B, K). Finite and accurate for logits up to +-2e4.
    """
    return softmax_loss(logits, labels, label_smoothing)


def sigmoid_cross_entropy(logits, labels):
    """K yes-or-no questions per row: the mean over rows of -sum_k [t_k log s(z_k) + (1 - t_k) log(1 - s(z_k))].

    s is the sigmoid.

    logits: (B, K).   labels: (B,) class numbers int64, or (B, K) numbers in 0..1, which need not sum to 1.
    Returns (loss, dlogits): summed over classes, mean over rows. Finite and accurate for logits up to +-2e4.
    """
    return sigmoid_loss(logits, labels)
