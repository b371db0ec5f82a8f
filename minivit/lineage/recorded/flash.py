"""FlashAttention as a slow reference has it: outputs, the state after every tile, and gradients."""

import math

import numpy as np

from minivit.lineage import flash
from minivit.lineage.verify import Case
from minivit.tensor import Tensor, grad

INPUTS = ("q", "k", "v", "cotangent")


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that attention in tiles defines, by its name there. A name may begin with the part
    to which it belongs: `causal/`, `large/`; an input that a part does not have is that of the whole."""
    found: dict[str, np.ndarray] = {}
    whole = {name: case.input(name) for name in INPUTS if name in case.arrays}
    parts = {name.partition("/")[0] for name in case.arrays if "/" in name} - {"grad", "grad_input", "tap"}
    for before in ("", *(f"{part}/" for part in sorted(parts))):
        own = {name: case.input(f"{before}{name}") for name in INPUTS if f"{before}{name}" in case.arrays}
        causal = "causal" in before or bool(case.config.get("causal", False))
        found |= {f"{before}{name}": x for name, x in of_one({**whole, **own}, case, causal).items()}
    return found


def of_one(given: dict[str, np.ndarray], case: Case, causal: bool) -> dict[str, np.ndarray]:
    """What follows from one set of inputs."""
    arrays = [given[name] for name in INPUTS[:3]]
    scale = case.config.get("scale")
    scale = 1 / math.sqrt(arrays[0].shape[-1]) if scale is None or isinstance(scale, str) else float(scale)
    how = {"rows": case.config["Br"], "columns": case.config["Bc"], "causal": causal, "scale": scale}
    q, k, v = (Tensor(x, requires_grad=True) for x in arrays)
    y = flash.attention(q, k, v, **how)
    states: list = []
    _, lse = flash.forward(*arrays, **how, states=states)
    first = states[: len(flash.tiles(k.shape[2], how["columns"]))]  # of the first tile of queries
    found = {
        "output": y.data,
        "lse": lse,
        "weights": flash.weights(q.data, k.data, scale, causal),
        "running_max": np.stack([m for m, _ in first]),
        "running_sum": np.stack([total for _, total in first]),
    }
    if "cotangent" not in given:
        return found
    loss = (y * given["cotangent"]).sum()
    found |= {"loss": loss.data, "delta": flash.delta(given["cotangent"], y.data)}
    for name, g in zip("qkv", grad(loss, [q, k, v]), strict=True):
        found |= {f"grad/{name}": g, f"grad_input/{name}": g}
    return found
