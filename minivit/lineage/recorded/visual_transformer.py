"""A Visual Transformer module as it was recorded, and a recurrent tokeniser on its result."""

from typing import Any

import numpy as np

from minivit.lineage.verify import Case
from minivit.lineage.visual_transformer import Projector, Tokeniser, TokenTransformer
from minivit.nn import Linear
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there."""
    weights = {name: Tensor(x.copy(), requires_grad=True) for name, x in case.weights.items()}
    (channels, tokens), (width, attention) = weights["W_A"].shape, weights["K"].shape
    first, again = (Tokeniser(channels, width, tokens, None, "float64", recurrent) for recurrent in (False, True))
    transformer = TokenTransformer(width, attention, weights["F1"].shape[1], None, "float64")
    projector = Projector(channels, width, weights["proj_Q"].shape[1], None, "float64")
    first.values = again.values = linear("W_V", weights)
    projector.values = linear("proj_V", weights)
    for layer, name in (
        (first.groups, "W_A"), (transformer.key, "K"), (transformer.query, "Q"), (transformer.hidden, "F1"),
        (transformer.out, "F2"), (projector.query, "proj_Q"), (projector.key, "proj_K"),
    ):  # fmt: skip
        layer.weight = weights[name]
    x = Tensor(case.input("x"), requires_grad=True)
    tap: dict[str, Any] = {}
    drawn = first(x, tap=tap)
    out = transformer(drawn, tap=tap)
    features = projector(x, out)
    loss = (features * case.input("cotangent")).sum()
    found = {**tap, "tokens": drawn, "tokens_out": out, "features_out": features, "output": features}
    if "W_TR" in weights:  # a second tokeniser reads the features, guided by the tokens
        later: dict[str, Any] = {}
        again.groups.weight = weights["W_TR"]
        found["recurrent_tokens"] = again(features, out, tap=later)
        found["recurrent_maps"] = later["token_maps"]
        loss = loss + (found["recurrent_tokens"] * case.input("cotangent_tokens")).sum()
    in_x, *gradients = grad(loss, [x, *weights.values()])
    return {
        **{name: y.data for name, y in found.items()},
        "loss": loss.data,
        "grad_input/x": in_x,
        "grad_norm": np.array(global_norm(gradients)),
        **{f"grad/{name}": g for name, g in zip(weights, gradients, strict=True)},
    }


def linear(name: str, weights: dict[str, Tensor]) -> Linear | None:
    """A map between the widths of pixels and tokens; none where the recording has none."""
    if name not in weights:
        return None
    fan_in, fan_out = weights[name].shape
    layer = Linear(fan_in, fan_out, None, "float64", bias=False)
    layer.weight = weights[name]
    return layer
