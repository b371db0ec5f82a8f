"""The reference: the adapters of A3 made of minivit's own operations, gradients by its automatic differentiation."""

from minivit import functional as F
from minivit.ops.attention import merge_heads as merge
from minivit.ops.attention import split_heads as split
from minivit.tensor import Tensor, grad


def _attend(q, k, v, mask):
    """Tensors of the packed arrays, and y (B, M, H V) as a Tensor."""
    packed = [Tensor(merge(x), requires_grad=True) for x in (q, k, v)]
    return packed, F.attend(*packed, heads=q.shape[1], mask=mask)


def _unpack(x, heads):
    """(B, N, H K) -> (B, H, N, K)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def attention(q, k, v, mask):
    return _unpack(_attend(q, k, v, mask)[1].data, q.shape[1])


def attention_backward(q, k, v, mask, g):
    packed, y = _attend(q, k, v, mask)
    return tuple(_unpack(dx, q.shape[1]) for dx in grad(y, packed, merge(g)))


def split_heads(qkv, heads):
    return split(qkv, heads)


def merge_heads(x):
    return merge(x)


def _layer(x, params, heads):
    x = Tensor(x, requires_grad=True)
    params = {name: Tensor(value, requires_grad=True) for name, value in params.items()}
    qkv = F.linear(x, params["qkv.weight"], params["qkv.bias"])
    y = F.linear(F.attention(qkv, heads=heads), params["out.weight"], params["out.bias"])
    return x, params, y


def multi_head_attention(x, params, heads):
    return _layer(x, params, heads)[2].data


def multi_head_attention_backward(x, params, heads, g):
    x, params, y = _layer(x, params, heads)
    dx, *grads = grad(y, [x, *params.values()], g)
    return dx, dict(zip(params, grads, strict=True))
