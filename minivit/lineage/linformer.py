"""Linformer: keys and values of all tokens become a fixed number of them (Wang et al. 2020, "Linformer: Self-Attention
with Linear Complexity", arXiv 2006.04768).

New against ViT: two learned matrices E and F, (R, N), mix the N keys and the N values into R of each before attention:

    y = softmax(q (E k)^T / sqrt(Dh)) (F v).

The weights are (M, R) instead of (M, N), so time and memory grow linearly with N. The argument of the paper: the matrix
A of exact weights is nearly of low rank. No matrix of rank R is nearer to A than the sum of its R largest singular
parts, whose error is the root of the sum of the other squared singular values (Eckart and Young): `tail`. Random
projections nearly reach such an error with R of the order of Dh log Dh / e^2, whatever N is. With E = F = identity the
attention is exact.

E and F belong to one number of tokens: another image size needs other ones. There is no causal form, because E k mixes
what comes before with what comes after. E mixes keys, before the softmax; mixing the weights after it would need all of
them. `sharing` says who has the same matrices: "headwise", the heads of a block; "key-value", also keys and values, so
E = F; "layerwise", all blocks as well; "none", nobody: (H, R, N) each.

Source: the paper, and facebookresearch/fairseq, examples/linformer. There the tokens are mixed before they are
projected to keys and values. That is the same but for the biases: each mixture gets one, here a mixture of N of them. A
text shorter than N uses the first columns of E and F there; images have one size. E and F begin Xavier uniform times
1 / sqrt(2) there; here they are normal with variance 1 / N, so E k has the size of k.

B batch, H heads, M queries, N keys, Dh width of a head, R projected keys.
"""

import dataclasses
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.files.checks import at_least, one_of
from minivit.lineage.exchanged import only_plain
from minivit.models import ViT, ViTConfig
from minivit.models.config import variant_fields
from minivit.models.families import Family
from minivit.nn import HeadwiseAttention
from minivit.nn import initialisers as init
from minivit.ops.attention import attention_weights
from minivit.tensor import Tensor

PARITY = "values, weights and gradients of a slow reference in another library"
SHARING = ("none", "headwise", "key-value", "layerwise")


@dataclasses.dataclass(frozen=True)
class LinformerConfig(ViTConfig):
    """A ViT's, and: projected R, how many keys and values are left; sharing of the projections."""

    projected: int = 64
    sharing: str = "headwise"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "projected")
        one_of(self, sharing=SHARING)
        only_plain(self, "a Linformer")


def attend(q: Tensor, k: Tensor, v: Tensor, key_mix: Tensor, value_mix: Tensor) -> Tensor:
    """y above.   q: (B, H, M, Dh), k, v: (B, H, N, Dh), the matrices E and F: (R, N) or (H, R, N) -> (B, H, M, Dh)."""
    return weights(q, key_mix @ k) @ (value_mix @ v)


def weights(q: Tensor, mixed: Tensor) -> Tensor:
    """softmax(q (E k)^T / sqrt(Dh)).   q: (B, H, M, Dh), mixed E k: (B, H, R, Dh) -> (B, H, M, R)."""
    return F.softmax(q * q.shape[-1] ** -0.5 @ mixed.transpose(0, 1, 3, 2))


def tail(a: np.ndarray) -> np.ndarray:
    """What a matrix of rank r must miss of A, as a Frobenius norm, for r = 0..N-1.   (..., M, N) -> (..., min(M,
    N))."""
    squared = np.square(np.linalg.svd(a, compute_uv=False))
    return np.sqrt(squared[..., ::-1].cumsum(axis=-1)[..., ::-1])


def products(queries: int, keys: int, width: int, projected: int | None = None) -> int:
    """Multiply-adds of the matrix products of one head: exact, or with `projected` keys, whose mixing counts too."""
    return 2 * queries * keys * width if projected is None else 2 * (queries + keys) * projected * width


class LinformerAttention(HeadwiseAttention):
    """Multi-head attention to R mixtures of the tokens."""

    key_mix: Tensor
    value_mix: Tensor

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if k.shape[2] != self.key_mix.shape[-1]:
            raise ValueError(f"Linformer: its projections are for {self.key_mix.shape[-1]} tokens, not {k.shape[2]}")
        return attend(q, k, v, self.key_mix, self.value_mix)

    def shown(self, q: Array, k: Array) -> dict[str, Array]:
        return {"attention_weights": attention_weights(q, self.key_mix.data @ k)}  # of the mixtures: (B, H, M, R)


class Linformer(ViT):
    """A ViT whose blocks attend to mixtures of the tokens, which `seed` draws."""

    def __init__(self, config: LinformerConfig, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, seed, dtype)
        rng = None if seed is None else np.random.default_rng((seed, 1))
        shape: tuple[int, ...] = (config.projected, config.num_tokens)
        shape = (config.heads, *shape) if config.sharing == "none" else shape
        e = None
        for i, block in enumerate(self.blocks):
            if e is None or config.sharing != "layerwise":
                e = mixture(rng, shape, dtype, f"blocks.{i}.attention.key_mix")
            f = e
            if config.sharing in ("none", "headwise"):
                f = mixture(rng, shape, dtype, f"blocks.{i}.attention.value_mix")
            block.attention = LinformerAttention.instead_of(block.attention, key_mix=e, value_mix=f)


def mixture(rng: init.Rng, shape: tuple[int, ...], dtype: str, name: str) -> Tensor:
    """E or F at the start, with variance 1 / N."""
    tensor = init.parameter(init.normal(rng, shape, shape[-1] ** -0.5), dtype)
    tensor.name = name
    return tensor


def fields(name: str) -> dict[str, Any]:
    """The fields for "linformer-Ti/16": those of the ViT of that name."""
    return variant_fields(name.partition("-")[2])


FAMILY = Family(LinformerConfig, Linformer, r"linformer-.+", fields)
