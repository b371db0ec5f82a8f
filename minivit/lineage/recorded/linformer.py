"""Linformer as a slow reference has it: weights, outputs, gradients, and the floor below which no low rank gets."""

import numpy as np

from minivit.lineage import linformer
from minivit.lineage.verify import Case
from minivit.ops.attention import attention_weights
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that a Linformer's attention defines, by its name there. A recording without F has
    shared E between keys and values."""
    q, k, v = (Tensor(case.input(name), requires_grad=True) for name in "qkv")
    mixes = {name: Tensor(case.weights[name], requires_grad=True) for name in "EF" if name in case.weights}
    e = mixes["E"]
    f = mixes.get("F", e)
    y = linformer.attend(q, k, v, e, f)
    exact = attention_weights(q.data, k.data)
    found = {
        "weights": linformer.weights(q, e @ k).data,
        "output": y.data,
        "exact_output": exact @ v.data,
        "singular_values": np.linalg.svd(exact, compute_uv=False),
        "svd_tail": linformer.tail(exact),
    }
    if "cotangent" in case.arrays:
        loss = (y * case.input("cotangent")).sum()
        inputs = grad(loss, [q, k, v, *mixes.values()])
        inputs, gradients = inputs[:3], inputs[3:]
        found |= {"loss": loss.data, "grad_norm": np.array(global_norm(gradients))}
        found |= {f"grad_input/{name}": g for name, g in zip("qkv", inputs, strict=True)}
        found |= {f"grad/{name}": g for name, g in zip(mixes, gradients, strict=True)}
    return found
