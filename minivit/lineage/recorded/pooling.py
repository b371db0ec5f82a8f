"""Attention pooling and heads as published code has them, around a ViT: big_vision's layout (.npz) and timm's."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, shown
from minivit.lineage.published import Arrays, fill
from minivit.models.config import ViTConfig
from minivit.models.convert import OFFICIAL, canonical, to_official
from minivit.models.convert_timm import TIMM, to_timm

_ATTENTION = "MAPHead_0/MultiHeadDotProductAttention_0/"
_POOL = {  # ours -> (timm's with keys and values apart, big_vision's)
    "pool.probe": ("attn_pool.latent", "MAPHead_0/probe"),
    "pool.attention.query": ("attn_pool.q", f"{_ATTENTION}query"),
    "pool.attention.key": ("attn_pool.k", f"{_ATTENTION}key"),
    "pool.attention.value": ("attn_pool.v", f"{_ATTENTION}value"),
    "pool.attention.out": ("attn_pool.proj", f"{_ATTENTION}out"),
    "pool.norm": ("attn_pool.norm", "MAPHead_0/LayerNorm_0"),
    "pool.mlp.hidden": ("attn_pool.mlp.fc1", "MAPHead_0/MlpBlock_0/Dense_0"),
    "pool.mlp.out": ("attn_pool.mlp.fc2", "MAPHead_0/MlpBlock_0/Dense_1"),
    "head": ("head", "head"),
}


def timm_views(state: Arrays) -> dict[str, np.ndarray]:
    """Our arrays of a pool and a head, or their gradients, as views under timm's names and in its shapes."""
    found = {}
    for name, x in state.items():
        module, leaf = _split(name)
        theirs = ".".join(filter(None, (_POOL[module][0], "weight" if leaf == "scale" else leaf)))
        found[theirs] = x.T if leaf == "weight" else x
    return found


def official_views(state: Arrays, heads: int) -> dict[str, np.ndarray]:
    """The same in big_vision's layout."""
    found = {}
    for name, x in state.items():
        module, leaf = _split(name)
        theirs = "/".join(filter(None, (_POOL[module][1], "kernel" if leaf == "weight" else leaf)))
        if module.endswith("attention.out") and leaf == "weight":
            x = x.reshape(heads, -1, x.shape[-1])
        elif "attention" in module and not module.endswith("out"):
            x = x.reshape(*x.shape[:-1], heads, -1)
        found[theirs] = x
    return found


def _split(name: str) -> tuple[str, str]:
    module, _, leaf = (name, "", "") if name in _POOL else name.rpartition(".")
    return module, leaf


def split_kv(arrays: Arrays) -> dict[str, np.ndarray]:
    """timm's arrays, with keys and values of the pool apart."""
    found = dict(arrays)
    for leaf in ("weight", "bias"):
        if f"attn_pool.kv.{leaf}" in found and len(found[f"attn_pool.kv.{leaf}"]) % 2 == 0:
            halves = np.split(found.pop(f"attn_pool.kv.{leaf}"), 2)
            found |= {f"attn_pool.{part}.{leaf}": half for part, half in zip("kv", halves, strict=True)}
    return found


def with_kv(arrays: Arrays) -> dict[str, np.ndarray]:
    """The inverse, beside what is there: for gradients under all names."""
    found = dict(arrays)
    for leaf in ("weight", "bias"):
        if f"attn_pool.k.{leaf}" in found:
            found[f"attn_pool.kv.{leaf}"] = np.concatenate([found[f"attn_pool.{part}.{leaf}"] for part in "kv"])
    return found


def read(arrays: Arrays, source: str) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of a file under canonical names, and whether these are big_vision's. Raises CheckpointError, also if
    the file has none or several patch projections; what lies outside of the prefix of the one is left out."""
    official = any("/" in name for name in arrays)
    landmark = OFFICIAL.landmark if official else TIMM.landmark
    found = {name.removesuffix(landmark) for name in arrays if name.endswith(landmark)}
    prefixes = sorted(prefix for prefix in found if not prefix or prefix[-1] in "./")
    if len(prefixes) != 1:
        several = " or ".join(shown(prefix) for prefix in prefixes)
        raise CheckpointError(
            f"{source} holds several models, {several}: keep one of them"
            if prefixes
            else f"{source} is not a Vision Transformer: it has no {landmark}"
        )
    inside = {name.removeprefix(prefixes[0]): x for name, x in arrays.items() if name.startswith(prefixes[0])}
    return (canonical(inside, source), True) if official else (split_kv(inside), False)


def views(state: Arrays, base: ViTConfig, official: bool = False) -> dict[str, np.ndarray]:
    """All our arrays, or gradients, under canonical names.   base: of the ViT that is called `network`."""
    network = {name.removeprefix("network."): x for name, x in state.items() if name.startswith("network.")}
    rest = {name: x for name, x in state.items() if not name.startswith("network.")}
    if official:
        return to_official(network, base) | official_views(rest, base.heads)
    return to_timm(network, base) | timm_views(rest)


def gradients(named: Arrays, base: ViTConfig, recorded: Iterable[str]) -> dict[str, np.ndarray]:
    """Gradients by our names -> "grad/NAME" under timm's names and those of `recorded` that are big_vision's."""
    found = {f"grad/{name}": x for name, x in with_kv(views(named, base)).items()}
    asked = [name for name in recorded if re.match("grad/.*/", name)]
    official = views(named, base, official=True) if asked else {}  # big_vision has no place for some parts
    for name in asked:
        (released,) = canonical({name.removeprefix("grad/").removeprefix("params/"): np.zeros(1)}, name)
        found |= {name: official[released]} if released in official else {}
    return found


def load(model: Any, arrays: Arrays, base: ViTConfig, official: bool, source: str) -> None:
    """Copy canonical arrays into a model. Raises CheckpointError."""
    state: Mapping[str, np.ndarray] = {name: tensor.data for name, tensor in model.named_tensors()}
    fill(views(state, base, official), arrays, source)
