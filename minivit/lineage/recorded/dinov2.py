"""DINOv2: files of its encoder, and what was recorded of published code."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.dinov2 import DINOv2Network
from minivit.lineage.published import Arrays, beside
from minivit.lineage.recorded import classifier, dinov2_objective, modules
from minivit.lineage.recorded.dinov2_layout import build, official_name, packed, views
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.tensor import Tensor

KINDS = ("dinov2", "dinov2_with_registers")  # Hugging Face's


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> DINOv2Network:
    """The network of a file of published weights (.safetensors), by the official names, also with blocks in pieces, or
    by Hugging Face's, whose config.json is read where it lies beside the file.

    fields: of DINOv2Config, which prevail, such as resize="offset", with which the official code resizes positions and
    transformers does not. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    place = path.with_name("config.json")
    stated = beside(path, _kind(place)) if place.is_file() else {}
    return build(stated, read_arrays(path)[0], dtype, str(path), **fields)


def _kind(place: Path) -> str:
    return KINDS["with_registers" in place.read_text(encoding="utf-8", errors="replace")]


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that DINOv2 defines, by its name there: of its encoder, or of its training."""
    if any(name.startswith("student.") for name in case.weights):
        return dinov2_objective.recompute(case)
    network = build(case.config, case.weights, source=case.name).eval()
    tap: dict[str, Any] = {}
    found: dict[str, np.ndarray] = {}
    groups: list[str] = []

    def call(images: Tensor, before: str) -> Tensor:
        mask = case.input(f"{before}mask") if f"{before}mask" in case.arrays else None
        tap.clear()
        groups.append(before)
        tokens = network.tokens(images, mask, tap)
        found[f"{before}pooled"] = tokens.data[:, 0]
        found[f"{before}patches"] = network.patches(tokens).data
        return tokens

    def inside(own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        inner = modules.common(own) | {"embedded": tap["embedded"].data, "norm": tap["encoded"].data}
        for gate, act in ((f"blocks.{i}.mlp.gate", f"blocks.{i}.mlp.act") for i in range(network.config.depth)):
            if gate in inner:
                inner[act] = inner[gate] / (1 + np.exp(-inner[gate]))
        inner |= {_in_gates(name): x for name, x in inner.items()}
        found.update(modules.taps(case, groups[-1], inner))
        blocks = {name: tap[f"block{i}/output"].data for i in range(network.config.depth) for name in _of_block(i)}
        last = tap["encoded"].data
        return {"embeddings": tap["embedded"].data, "norm": last, "encoded": last, **blocks}

    def official_views(named: Arrays) -> dict[str, np.ndarray]:
        return packed(views(named, network.config))

    return classifier.recompute(case, network, official_name, official_views, inside, call) | found


def _in_gates(name: str) -> str:
    """The name of a module of SwiGLU in transformers 5."""
    for own, theirs in (("gate", "gate_proj"), ("value", "up_proj"), ("fc2", "down_proj")):
        name = re.sub(rf"(?<=mlp\.){own}$", theirs, name)
    return name


def _of_block(i: int) -> tuple[str, str]:
    return f"block{i}", f"blocks.{i}"
