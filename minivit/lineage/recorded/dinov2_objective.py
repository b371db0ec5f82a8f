"""DINOv2's training as published code has it: names and shapes of its arrays, and what was recorded of it."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.lineage.dinov2_objective import Answering, DINOv2, TrainingConfig
from minivit.lineage.dinov2_parts import hidden, nearest
from minivit.lineage.published import Arrays, fill, pair
from minivit.lineage.recorded import dinov2_layout
from minivit.lineage.recorded.dino import data, of_head, rows
from minivit.lineage.verify import Case
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad


def views(state: Arrays, network: Answering) -> dict[str, np.ndarray]:
    """The arrays of a teacher or student, or their gradients, as views under the official names and in the official
    shapes, but gate and value of SwiGLU apart."""
    encoder = {name.removeprefix("encoder."): x for name, x in state.items() if name.startswith("encoder.")}
    arrays = {f"backbone.{name}": x for name, x in dinov2_layout.views(encoder, network.encoder.config).items()}
    for name, x in state.items():
        if name.startswith(("head.", "patch_head.")):
            ours, _, rest = name.partition(".")
            theirs, view = of_head(rest, x, len(getattr(network, ours).layers) == 1)
            arrays[f"{'ibot_head' if ours == 'patch_head' else 'dino_head'}.{theirs}"] = view
    return arrays


def load(arrays: Arrays, objective: DINOv2, source: str = "the file") -> None:
    """Copy published weights into the objective: those of a training checkpoint, with "student." and "teacher." before
    their names. Raises CheckpointError."""
    given: dict[str, np.ndarray] = {}
    for who in ("student", "teacher"):
        inside = {name.removeprefix(f"{who}."): x for name, x in arrays.items() if name.startswith(f"{who}.")}
        encoder = {name.removeprefix("backbone."): x for name, x in inside.items() if name.startswith("backbone.")}
        found = {f"backbone.{name}": x for name, x in dinov2_layout.canonical(encoder, source).items()}
        found |= {name: x for name, x in inside.items() if not name.startswith("backbone.")}
        if not objective.config.separate_heads:
            found = {name: x for name, x in found.items() if not name.startswith("ibot_head.")}
        given |= {f"{who}.{name}": x for name, x in found.items()}
    named = {"student": objective.student, "teacher": objective.teacher}
    own = {f"{who}.{name}": x for who, network in named.items() for name, x in views(data(network), network).items()}
    fill(own, given, source)


def build(config: Mapping[str, Any], arrays: Arrays, **fields: Any) -> DINOv2:
    """The objective that the configuration of a recording describes, with these weights, in float64.   fields: of
    TrainingConfig, which prevail."""
    inside = {name.removeprefix("student.backbone."): x for name, x in arrays.items() if "student.backbone." in name}
    stated = {"image_size": pair(config["image_global"]), "num_attention_heads": config["heads"]}
    encoder = dinov2_layout.build({**stated, "layer_norm_eps": config.get("norm_eps", 1e-6)}, inside)
    layers = sum(bool(re.match(r"student\.dino_head\.mlp\.(\d+\.)?weight", name)) for name in arrays)
    last = {who: arrays.get(f"student.{who}_head.last_layer.weight_v") for who in ("dino", "ibot")}
    patch = (
        {}
        if last["ibot"] is None
        else dict(zip(("patch_outputs", "patch_bottleneck"), last["ibot"].shape, strict=True))
    )
    own = {
        "outputs": last["dino"].shape[0],  # type: ignore[union-attr]
        "bottleneck": last["dino"].shape[1],  # type: ignore[union-attr]
        "hidden": config.get("heads_hidden", 1),
        "layers": layers,
        "local_crops": 0,
        "local_size": encoder.config.patch_size,
        "student_temperature": config.get("student_temp", 0.1),
        "teacher_temperature": config.get("teacher_temp", 0.07),
        "koleo_weight": config.get("koleo_weight", 0.1),
        "patch_weight": config.get("ibot_weight", 1.0),
        "sinkhorn_steps": config.get("sinkhorn_iterations", 3),
        "centre_momentum": config.get("center_momentum", 0.9),
        "momentum": config.get("ema", 0.994),
    }
    objective = DINOv2(TrainingConfig(**{**own, **patch, **fields}), encoder, 1, None, "float64")
    load(arrays, objective)
    return objective


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that the training defines, by its name there: of every case, such as
    "separate_sinkhorn/loss"."""
    count = len(case.input("mask")) // 2
    mask = by_image(case.input("mask").astype(bool), count)
    batch: dict[str, Any] = {
        **hidden(mask),
        "global_crops": Tensor(by_image(case.images("global_crops"), count), requires_grad=True),
        "teacher_temperature": np.array(case.config.get("teacher_temp", 0.07)),
        "teacher_momentum": np.array(case.config.get("ema", 0.994)),
    }
    if "local_crops" in case.arrays:
        batch["local_crops"] = Tensor(by_image(case.images("local_crops"), count), requires_grad=True)
    flat = rows(mask)
    each = np.repeat(flat.sum(axis=1), flat.sum(axis=1))
    found: dict[str, np.ndarray] = {"mask_indices": np.flatnonzero(flat), "masks_weight": 1 / each}
    for group in sorted({name.removesuffix("loss") for name in case.arrays if re.fullmatch("([^/]+/)?loss", name)}):
        own = of_case(case, group, batch)
        found |= {f"{group}{name}": x for name, x in own.items()}
        found |= {name: own[name] for name in ("koleo_neighbours", "student_class_tokens")}
    return found


def of_case(case: Case, group: str, batch: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of one case: with one head or two, with centres or Sinkhorn's targets, as its name says."""
    has_own = any(name.startswith("student.ibot_head.") for name in case.weights)
    separate = has_own and "shared" not in group
    targets = "sinkhorn" if "sinkhorn" in group else "centring"
    objective = build(case.config, case.weights, separate_heads=separate, targets=targets).eval()
    if "center_dino" in case.arrays:
        objective.centre.data[...] = case.input("center_dino").reshape(-1)
    shared = "center_ibot" if separate or "center_ibot_shared" not in case.arrays else "center_ibot_shared"
    if shared in case.arrays:
        objective.patch_centre.data[...] = case.input(shared).reshape(-1)
    outputs = objective(batch)
    said, features, said_patches, taught, taught_patches = outputs
    counted = rows(batch["patch_weights"]) > 0
    parts, loss = objective.parts(outputs, batch), objective.loss(outputs, batch)
    q = objective.answers(taught, objective.centre, batch).data
    q_patches = objective.answers(taught_patches, objective.patch_centre, batch, batch["patch_weights"]).data
    found = {
        "teacher_dino_probabilities": rows(q[:, ::-1]),
        "teacher_ibot_probabilities": rows(q_patches)[counted],
        "student_global": rows(said.data[:, :2]),
        "student_local": rows(said.data[:, 2:]),
        "student_masked": rows(said_patches.data)[counted],
        "student_class_tokens": rows(features.data),
        "koleo_neighbours": np.stack([nearest(unit_rows(features.data[:, view])) for view in range(2)]),
        "loss_global": parts["global"].data,
        "loss_local": parts["local"].data,
        "loss_koleo": parts["koleo"].data * objective.config.koleo_weight,  # weighted there, iBOT's is not
        "loss_ibot": parts["patches"].data,
        "loss": loss.data,
    }
    names, learning = zip(*objective.student.named_parameters(), strict=True)
    crops = {name: batch[f"{name}_crops"] for name in ("global", "local") if f"{name}_crops" in batch}
    gradients = grad(loss, [*learning, *crops.values()])
    found["grad_norm"] = np.array(global_norm(gradients[: len(learning)]))
    named = dinov2_layout.packed(views(dict(zip(names, gradients, strict=False)), objective.student))
    found |= {f"grad/{name}": x for name, x in named.items()}
    for name, x in zip(crops, gradients[len(learning) :], strict=True):
        found[f"grad_input/{name}"] = case.laid_out(rows(x))
    means = {name: x / len(said.data) for name, x in objective.sums(outputs, batch).items()}
    objective.after_update(means, batch)
    found |= {
        "new_center_dino": objective.centre.data[None],
        "new_center_ibot": objective.patch_centre.data[None, None],
    }
    return found | {f"ema/{name}": x for name, x in views(data(objective.teacher), objective.teacher).items()}


def unit_rows(x: np.ndarray) -> np.ndarray:
    """x / max(|x|, 1e-8)."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-8)


def by_image(x: np.ndarray, count: int) -> np.ndarray:
    """The inverse of `rows`, for `count` images: (V B, ...) -> (B, V, ...)."""
    return np.ascontiguousarray(x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1))
