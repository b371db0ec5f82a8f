"""What the grader calls. Glue only: write your code in files of your own, and call it here.

Arrays are float64 unless said otherwise. B: examples, H: heads, M: queries, N: keys, K: width of a query and of a key,
V: width of a value, D: width of a token. No function may change its arguments; results may be views.
"""

from attention_bugs import find
from attention_core import attend, attend_backward
from heads import merge, split
from multi_head import backward, forward
from streaming import begin, end, update


def attention(q, k, v, mask):
    """Scaled dot-product attention, y = A v with A = softmax(q k^T / sqrt(K)) over the keys. -> (B, H, M, V)

    q: (B, H, M, K).   k: (B, H, N, K).   v: (B, H, N, V). M, N, K and V may all be different.
    mask: None, or booleans that broadcast to (B, H, M, N) as in NumPy; True: this query may look at this key.
    A query that may look at no key gets y = 0. Scores of thousands, of either sign, must not overflow. All entries are
    finite.
    """
    return attend(q, k, v, mask)


def attention_backward(q, k, v, mask, g):
    """The gradients of sum(g * attention(q, k, v, mask)). -> (dq, dk, dv), shaped like q, k and v

    g: (B, H, M, V); the others as in `attention`. No gradient for the mask. A query that may look at no key passes no
    gradient on.
    """
    return attend_backward(q, k, v, mask, g)


def split_heads(qkv, heads):
    """Take a packed projection apart. -> (q, k, v), each (B, H, N, K) with H = heads and K = D / H

    qkv: (B, N, 3D). Its columns are [q of all heads | k of all heads | v of all heads], each D wide, and in each the K
    features of head 0 come first, then those of head 1, and so on. heads: an int that divides D.
    """
    return split(qkv, heads)


def merge_heads(x):
    """Put the heads side by side. -> (B, N, H K), head 0 first

    x: (B, H, N, K).
    """
    return merge(x)


def multi_head_attention(x, params, heads):
    """Multi-head attention of a sequence to itself, without a mask. -> (B, N, D)

    x: (B, N, D).   heads: an int that divides D.
    params: a dict with "qkv.weight" (D, 3D), "qkv.bias" (3D,), "out.weight" (D, D), "out.bias" (D,), in any order.
    A layer is x W + b; the columns of qkv are packed as in `split_heads`; the merged heads go through "out".
    """
    return forward(x, params, heads)


def multi_head_attention_backward(x, params, heads, g):
    """The gradients of sum(g * multi_head_attention(x, params, heads)). -> (dx, gradients)

    g: (B, N, D). dx: (B, N, D). gradients: a dict with exactly the four names of params, shaped like the parameters.
    """
    return backward(x, params, heads, g)


def stream_begin(q, value_width):
    """Begin attention of q to keys that come in blocks. -> state, a dict

    q: (B, H, M, K).   value_width: V, an int.   state: its keys are text of your choice, its values arrays of numbers,
    numbers, text, or lists, tuples and dicts of these. It is copied between calls. Keep nothing outside it.
    """
    return begin(q, value_width)


def stream_update(state, k, v):
    """Take in a block of keys and values. -> the new state

    k: (B, H, n, K).   v: (B, H, n, V), n >= 1; n may differ from block to block. The state must be no larger after the
    last block than after the first, however many come. The state that is given may be changed; return it all the same.
    """
    return update(state, k, v)


def stream_end(state):
    """Attention of q to all keys that came, in whatever blocks. -> (B, H, M, V)

    At least one block came. No mask. Scores of thousands, of either sign, must not overflow.
    """
    return end(state)


def find_bugs(attention, attention_backward):
    """Is one of these two functions wrong? -> True if it is, False if both are right

    They are called like the adapters of the same names above, at most 500 times in all, and may be anyone's.
    """
    return find(attention, attention_backward)
