"""Performer: attention by random features, in time linear in the number of tokens (Choromanski et al. 2020, "Rethinking
Attention with Performers", arXiv 2009.14794; its method is called FAVOR+).

New against ViT: the weight exp(q.k) of a key is replaced by a product of features, phi(q).phi(k), which equals it on
average over random directions w_1 .. w_R:

    phi(x)_i = exp(w_i.x - |x|^2 / 2) / sqrt(R),   with q and k divided by Dh^(1/4) first;
    y = phi(q) (phi(k)^T v) / (phi(q) sum of phi(k)).

The brackets are the point: phi(k)^T v is one (R, Dh) matrix for all queries, so N^2 weights never exist. The features
are positive. Features of sines and cosines, e^(|x|^2 / 2) (sin w_i.x, cos w_i.x) / sqrt(R), are right on average, too,
but their error is largest where exp(q.k) is small, and their sum may be 0 or negative:

    positive:       mean squared error  e^(|x + y|^2) s^2    (1 - e^(-|x + y|^2))   / R,      s = exp(x.y)
    trigonometric:                      e^(|x + y|^2) s^(-2) (1 - e^(-|x - y|^2))^2 / (2 R).

Directions that are orthogonal in groups of Dh, each with the length of a Gaussian vector, have a smaller error. The
quotient y is not right on average, only its numerator and denominator are.

Source: google-research/performer, fast_attention. There the largest w.x is subtracted before exp, for a query over its
own features, for keys over all keys of a head: another number for each key would change their ratio. `stabilise` does
so. These factors cancel, but the code also adds `epsilon` 1e-6 to every feature, which does not. It draws new
directions in training; here they belong to the model.

B batch, H heads, M queries, N keys, Dh width of a head, R features.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, one_of
from minivit.lineage.exchanged import only_plain
from minivit.models import ViT, ViTConfig
from minivit.models.config import variant_fields
from minivit.models.families import Family
from minivit.nn import HeadwiseAttention
from minivit.tensor import Tensor, no_grad

PARITY = "features, values and gradients of a slow reference in another library"
KINDS = ("positive", "trigonometric")


@dataclasses.dataclass(frozen=True)
class PerformerConfig(ViTConfig):
    """A ViT's, and: features R of each head; kind of features, "positive" or "trigonometric"; orthogonal: whether the
    directions are; epsilon: added to every feature; stabilise: whether the largest exponent is subtracted."""

    features: int = 64
    kind: str = "positive"
    orthogonal: bool = True
    epsilon: float = 0.0
    stabilise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "features")
        one_of(self, kind=KINDS)
        if not 0 <= self.epsilon < math.inf:
            raise ConfigError(f"epsilon is {self.epsilon}, expected a number of 0 or more")
        only_plain(self, "a Performer")


def directions(rng: np.random.Generator, count: int, width: int, orthogonal: bool = True) -> np.ndarray:
    """Random directions (count, width), each distributed as a Gaussian vector; orthogonal within each `width` of
    them."""
    if not orthogonal:
        return rng.standard_normal((count, width))
    blocks = []
    for _ in range(-(-count // width)):
        q, r = np.linalg.qr(rng.standard_normal((width, width)))
        blocks.append((q * np.sign(np.diag(r))).T)  # with these signs every rotation is as likely
    lengths = np.linalg.norm(rng.standard_normal((count, width)), axis=1)
    return np.concatenate(blocks)[:count] * lengths[:, None]


def features(
    x: Tensor, w: Array, kind: str = "positive", over: tuple[int, ...] | None = None, epsilon: float = 0.0
) -> Tensor:
    """phi of queries or keys that are divided by Dh^(1/4) already: (B, H, N, Dh) and (R, Dh) -> (B, H, N, R), or twice
    as many sines and cosines.   over: axes over which the largest exponent is subtracted, None for nowhere."""
    projected, half = x @ w.swapaxes(-1, -2), (x * x).sum(axis=-1, keepdims=True) * 0.5
    ratio = 1 / math.sqrt(w.shape[-2])
    if kind == "trigonometric":
        size = half if over is None else half - F.max(half, axis=over, keepdims=True)
        return F.concat(F.sin(projected), F.cos(projected), axis=-1) * F.exp(size) * ratio
    exponents = projected - half
    if over is not None:
        exponents = exponents - F.max(projected, axis=over, keepdims=True)
    return (F.exp(exponents) + epsilon) * ratio


def both_features(
    q: Tensor, k: Tensor, w: Array, kind: str = "positive", stabilise: bool = False, epsilon: float = 0.0
) -> tuple[Tensor, Tensor]:
    """phi(q) and phi(k) of queries and keys as attention has them."""
    shrink = q.shape[-1] ** -0.25
    phi_q = features(q * shrink, w, kind, (-1,) if stabilise else None, epsilon)
    return phi_q, features(k * shrink, w, kind, (-2, -1) if stabilise else None, epsilon)


def linear_attention(phi_q: Tensor, phi_k: Tensor, v: Tensor) -> Tensor:
    """Attention whose weights are products of features.   (B, H, M, R), (B, H, N, R), (B, H, N, E) -> (B, H, M, E)."""
    numerator = phi_q @ (phi_k.transpose(0, 1, 3, 2) @ v)
    denominator = phi_q @ phi_k.sum(axis=2, keepdims=True).transpose(0, 1, 3, 2)
    return numerator / denominator


def mean_squared_error(x: np.ndarray, y: np.ndarray, count: int, kind: str = "positive") -> float:
    """That of phi(x).phi(y) as an estimate of exp(x.y), with `count` independent directions."""
    plus, minus, exact = np.square(x + y).sum(), np.square(x - y).sum(), np.exp(x @ y)
    if kind == "positive":
        return float(np.exp(plus) * exact**2 * -np.expm1(-plus) / count)
    return float(np.exp(plus) * exact**-2 * np.expm1(-minus) ** 2 / (2 * count))


def products(queries: int, keys: int, width: int, count: int | None = None) -> int:
    """Multiply-adds of both matrix products of one head: exact, or with `count` features."""
    return 2 * queries * keys * width if count is None else 2 * (queries + keys) * count * width


class PerformerAttention(HeadwiseAttention):
    """Multi-head attention by random features. The directions (R, Dh) serve all heads and do not learn."""

    directions: Tensor
    kind, stabilise, epsilon = "positive", False, 0.0

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return linear_attention(*self.features(q, k), v)

    def features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """phi(q) and phi(k): (B, H, M, R) and (B, H, N, R)."""
        return both_features(q, k, self.directions.data, self.kind, self.stabilise, self.epsilon)

    def shown(self, q: Array, k: Array) -> dict[str, Array]:
        with no_grad():
            phi_q, phi_k = self.features(Tensor(q), Tensor(k))
        a = phi_q.data @ phi_k.data.swapaxes(-1, -2)
        return {"attention_weights": a / a.sum(axis=-1, keepdims=True)}


class Performer(ViT):
    """A ViT with attention by random features, drawn for each block from `seed`; with seed=None they are zeros."""

    def __init__(self, config: PerformerConfig, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, seed, dtype)
        rng, width = None if seed is None else np.random.default_rng((seed, 1)), config.width // config.heads
        for block in self.blocks:
            w = (
                directions(rng, config.features, width, config.orthogonal)
                if rng
                else np.zeros((config.features, width))
            )
            how = {"kind": config.kind, "stabilise": config.stabilise, "epsilon": config.epsilon}
            block.attention = PerformerAttention.instead_of(block.attention, directions=Tensor(w.astype(dtype)), **how)


def fields(name: str) -> dict[str, Any]:
    """The fields for "performer-Ti/16": those of the ViT of that name."""
    return variant_fields(name.partition("-")[2])


FAMILY = Family(PerformerConfig, Performer, r"performer-.+", fields)
