"""From a packed projection to heads and back: elements move, nothing is computed (q3)."""


def split(qkv, heads):
    """(B, N, 3D) -> q, k, v, each (B, H, N, K)."""
    # BEGIN SOLUTION q3
    batch, tokens, packed = qkv.shape
    parts = qkv.reshape(batch, tokens, 3, heads, packed // (3 * heads))
    q, k, v = parts.transpose(2, 0, 3, 1, 4)
    return q, k, v
    # END SOLUTION


def merge(x):
    """(B, H, N, K) -> (B, N, H K)."""
    # BEGIN SOLUTION q3
    batch, heads, tokens, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, tokens, heads * width)
    # END SOLUTION
