"""Relative positions as they were recorded: three readings of the ViT paper's appendix D.4, and ALiBi on a grid."""

import re
from typing import Any

import numpy as np

from minivit.errors import DataError
from minivit.lineage.published import fill
from minivit.lineage.relative import AlibiAttention, RelativeAttention, RelativeConfig
from minivit.lineage.verify import Case
from minivit.models.relative import alibi_bias, alibi_slopes, distances
from minivit.nn import Module
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there. Weights are (in, out) there as here."""
    found: dict[str, np.ndarray] = {}
    groups = sorted({name.removesuffix("cotangent") for name in case.arrays if name.endswith("cotangent")})
    for group in groups:
        name = "x" if f"{group}x" not in case.arrays else f"{group}x"
        x = Tensor(case.input(name), requires_grad=True)
        layer = alibi(case, group, x.shape) if is_alibi(case) else one_dimensional(case, group, x.shape)
        found |= {f"{group}{name}": array for name, array in differentiated(case, group, layer, x).items()}
    tokens = {case.arrays[name].shape[1] for name in case.given if name.rpartition("/")[2] == "x"}
    for n in tokens:
        found["offset_index"] = np.subtract.outer(np.arange(n), np.arange(n)) + n - 1
    for name in case.arrays:
        if match := re.fullmatch(r"(?:.*/)?slopes/(\d+)", name):
            found[name] = alibi_slopes(int(match[1]))
        if match := re.fullmatch(r"(distance|bias)/(\d+)x(\d+)", name):  # of a grid
            grid = int(match[2]), int(match[3])
            found[name] = distances(grid) if match[1] == "distance" else alibi_bias(grid, len(case.arrays[name]))
    return found


def is_alibi(case: Case) -> bool:
    """Whether it is ALiBi, which has a grid."""
    return bool(case.config.get("grids") or case.config.get("grid"))


def one_dimensional(case: Case, group: str, shape: tuple[int, ...]) -> RelativeAttention:
    """The layer of a reading of D.4, "shared", "per_head" or "unscaled"."""
    per_head = "per_head" in group
    biases = {"qkv_bias": "qkv_bias" in case.weights, "out_bias": "out_bias" in case.weights}
    config = RelativeConfig(shape[2], case.config["heads"], shape[1], per_head, "unscaled" not in group, **biases)
    return filled(case, RelativeAttention(config, None, "float64"))


def alibi(case: Case, group: str, shape: tuple[int, ...]) -> AlibiAttention:
    """The layer of ALiBi for the grid with as many patches, and as many heads as the recorded bias has."""
    grids = [tuple(grid) for grid in case.config.get("grids", [case.config.get("grid")])]
    fitting = [grid for grid in grids if np.prod(grid) == shape[1]]
    if not fitting:
        raise DataError(f"{case.name}: none of the grids {grids} has {shape[1]} patches")
    named = [grid for grid in fitting if f"{grid[0]}x{grid[1]}" in group]
    heads = case.arrays[f"{group}weights"].shape[1]
    return filled(
        case, AlibiAttention((named or fitting)[0], shape[2], heads, None, "float64", "qkv_bias" in case.weights)
    )


def views(state: dict[str, np.ndarray], layer: Module) -> dict[str, np.ndarray]:
    """Our arrays by their names in recordings."""
    per_head = isinstance(layer, RelativeAttention) and layer.config.per_head
    names = {"relative": "relative_per_head"} if per_head else {}
    return {names.get(name, name.replace(".weight", "").replace(".", "_")): x for name, x in state.items()}


def filled(case: Case, layer: Any) -> Any:
    """The layer with its weights."""
    own = views({name: tensor.data for name, tensor in layer.named_tensors()}, layer)
    fill(own, {name: x for name, x in case.weights.items() if name in own}, case.name)
    return layer


def differentiated(case: Case, group: str, layer: Any, x: Tensor) -> dict[str, np.ndarray]:
    """Output, loss, weights and gradients of a layer."""
    tap: dict[str, Any] = {}
    y = layer(x, tap=tap)
    loss = (y * Tensor(case.input(f"{group}cotangent"))).sum()
    names, learning = zip(*layer.named_parameters(), strict=True)
    in_x, *gradients = grad(loss, [x, *learning])
    found = {"output": y.data, "loss": loss.data, "weights": tap["attention_weights"], "grad_input/x": in_x}
    named = views(dict(zip(names, gradients, strict=True)), layer)
    found |= {"grad_norm": np.array(global_norm(gradients)), **{f"grad/{name}": g for name, g in named.items()}}
    if isinstance(layer, AlibiAttention):
        found |= {"distance": distances(layer.grid), "bias": alibi_bias(layer.grid, layer.heads)}
    return found
