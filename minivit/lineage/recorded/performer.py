"""Performer as a slow reference has it: features, outputs and gradients, and the errors of single estimates."""

from typing import Any

import numpy as np

from minivit.lineage import performer
from minivit.lineage.verify import Case
from minivit.ops.attend import weights_between
from minivit.tensor import Tensor, grad

NEAR = 0.25  # a measured mean over random draws may be this far from the expected one, relative to it


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that a Performer's attention defines, by its name there."""
    w = case.weights["omega"] if "omega" in case.weights else case.input("omega")
    arrays = [case.input(name) for name in "qkv"]
    config = case.config
    how: dict[str, Any] = {
        "kind": config.get("kind", "positive"),
        "stabilise": bool(config.get("stabilise", config.get("stabilizer", False))),
        "epsilon": float(config.get("epsilon", config.get("eps", 0.0))),
    }
    q, k, v = (Tensor(x, requires_grad=True) for x in arrays)
    phi_q, phi_k = performer.both_features(q, k, w, **how)
    y = performer.linear_attention(phi_q, phi_k, v)
    scale = q.shape[-1] ** -0.5
    found = {
        "omega": w,
        "phi_q": phi_q.data,
        "phi_k": phi_k.data,
        "output": y.data,
        "exact": weights_between(q.data, k.data, None, None, scale) @ v.data,
    }
    if "cotangent" in case.arrays:
        loss = (y * case.input("cotangent")).sum()
        found["loss"] = loss.data
        for name, g in zip("qkv", grad(loss, [q, k, v]), strict=True):
            found |= {f"grad/{name}": g, f"grad_input/{name}": g}
    if "mse_table" in case.arrays:
        found["mse_table"] = errors_of_estimates(case)
    return found


def errors_of_estimates(case: Case) -> np.ndarray:
    """Rows of: features, the measured mean squared error of positive features and the expected one, both of
    trigonometric features, the mean estimate and exp(x.y).

    The measured numbers come from random draws that nobody can repeat. The expected ones stand in their place, and may
    be as far from them as NEAR says.
    """
    x, y, recorded = case.input("mse_x"), case.input("mse_y"), case.arrays["mse_table"]
    expected = []
    for count in recorded[:, 0].astype(int):
        errors = [performer.mean_squared_error(x, y, count, kind) for kind in performer.KINDS]
        expected.append([count, errors[0], errors[0], errors[1], errors[1], np.exp(x @ y), np.exp(x @ y)])
    case.drawn["mse_table"] = NEAR
    return np.array(expected)
