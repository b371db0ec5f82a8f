"""Calculus on arrays: every op is a function that returns its value and its pullback, `(y, vjp)`.

`vjp(g)` takes the cotangent of y and returns one gradient per array argument. Ops see arrays only, never a Tensor,
so they can be read, tested and replaced on their own. What `vjp` returns is a new array, g itself, an array that the
vjp captured, or a view of one of these: anything else might be written to. The arguments annotated `Array` are the
ones that take gradients; the others are parameters.
"""

from minivit.ops.activations import gelu
from minivit.ops.arithmetic import add, div, mul, neg, sub
from minivit.ops.attend import attend
from minivit.ops.attention import attention
from minivit.ops.convolution import avg_pool2d, conv2d, max_pool2d
from minivit.ops.dropping import drop_path, dropout
from minivit.ops.functions import (
    cos,
    erf,
    exp,
    log,
    maximum,
    pow,
    relu,
    sigmoid,
    silu,
    sin,
    sqrt,
    swiglu,
    tanh,
    where,
)
from minivit.ops.gather import embedding, select
from minivit.ops.losses import cross_entropy, sigmoid_cross_entropy
from minivit.ops.maps import resize, roll
from minivit.ops.normalisation import layer_norm, log_softmax, softmax
from minivit.ops.products import linear, linear_gelu, matmul
from minivit.ops.reductions import max, mean, sum, var
from minivit.ops.rms_norm import rms_norm
from minivit.ops.rotation import rotate
from minivit.ops.shape import broadcast_to, concat, getitem, pad, reshape, transpose
from minivit.ops.standardisation import batch_norm, group_norm, standardise

__all__ = [
    "add", "attend", "attention", "avg_pool2d", "batch_norm", "broadcast_to", "concat", "conv2d", "cos",
    "cross_entropy", "div", "drop_path", "dropout", "embedding", "erf", "exp", "gelu", "getitem", "group_norm",
    "layer_norm", "linear", "linear_gelu", "log", "log_softmax", "matmul", "max", "max_pool2d", "maximum", "mean",
    "mul", "neg", "pad", "pow", "relu", "reshape", "resize", "rms_norm", "roll", "rotate", "select", "sigmoid",
    "sigmoid_cross_entropy", "silu", "sin", "softmax", "sqrt", "standardise", "sub", "sum", "swiglu", "tanh",
    "transpose", "var", "where",
]  # fmt: skip
