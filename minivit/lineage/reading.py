"""What Flamingo's resampler and its gated blocks are made of: attention to others, and an MLP, both without biases.

Source: mlfoundations/open_flamingo, helpers.py. There the FFW has a GELU, in the paper a squared ReLU.

B batch, N tokens that ask, M that are asked, D and C their widths.
"""

from minivit import functional as F
from minivit.backend import Array
from minivit.nn import LayerNorm, Linear, Module
from minivit.tensor import Tensor

NORM_EPS = 1e-5


class Reading(Module):
    """Tokens ask others, without biases.   x (B, N, D), context (B, M, C) -> (B, N, D)."""

    def __init__(self, width: int, context_width: int, heads: int, head_width: int, dtype: str):
        self.heads, inner = heads, heads * head_width
        self.query = Linear(width, inner, None, dtype, bias=False)
        self.key_value = Linear(context_width, 2 * inner, None, dtype, bias=False)
        self.out = Linear(inner, width, None, dtype, bias=False)

    def forward(self, x: Tensor, context: Tensor, mask: Array | None = None, evenly: Array | None = None) -> Tensor:
        """mask: (B, N, M), what is seen; a token that sees nothing gets 0. evenly: (B, N), tokens that read the mean of
        all values."""
        q, pairs = self.query(x), self.key_value(context)
        inner = q.shape[-1]
        if evenly is not None and mask is not None:
            q, mask = F.where(evenly[..., None], Tensor(0 * q.data), q), mask | evenly[..., None]
        mask = None if mask is None else mask[:, None]
        return self.out(F.attend(q, pairs[..., :inner], pairs[..., inner:], heads=self.heads, mask=mask))


class FeedForward(Module):
    """LayerNorm and two dense layers without biases.   (..., D) -> (..., D)."""

    def __init__(self, width: int, ratio: float, activation: str, dtype: str):
        self.activation, hidden = activation, max(1, round(ratio * width))
        self.norm = LayerNorm(width, NORM_EPS, dtype)
        self.hidden = Linear(width, hidden, None, dtype, bias=False)
        self.out = Linear(hidden, width, None, dtype, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.norm(x))
        if self.activation == "gelu":
            return self.out(F.gelu(x, "erf"))
        positive = F.relu(x)
        return self.out(positive * positive)
