"""DINO as published code has it: names and shapes of its arrays, and what was recorded of it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.errors import CheckpointError
from minivit.lineage.dino import DINO, DINOConfig, Network, positions
from minivit.lineage.published import Arrays, fill, pair
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.convert_timm import to_timm
from minivit.nn import Module
from minivit.optim import cosine, global_norm
from minivit.optim.gradients import each_scale
from minivit.tensor import Tensor, grad

_WRAPPERS = re.compile(r"(?<![^.])module\.")  # of DistributedDataParallel, around the student
_SCHEDULE = re.compile(r"cosine\(([^,]+),([^,)]+)(?:,\s*warmup ([\d.]+) epochs?)?\)")


def views(state: Arrays, network: Network) -> dict[str, np.ndarray]:
    """The arrays of a teacher or student, or their gradients, as views under the official names and in the official
    shapes."""
    encoder = {name.removeprefix("encoder."): x for name, x in state.items() if name.startswith("encoder.")}
    arrays = {f"backbone.{name}": x for name, x in to_timm(encoder, network.encoder.config).items()}
    only = len(network.head.layers) == 1  # then it is no list
    for name, x in state.items():
        if name.startswith("head."):
            theirs, view = of_head(name.removeprefix("head."), x, only)
            arrays[f"head.{theirs}"] = view
    return arrays


def of_head(name: str, x: np.ndarray, only: bool) -> tuple[str, np.ndarray]:
    """The official name and a view of an array of a head, "layers.0.weight".   only: whether its MLP is one layer."""
    if name.startswith("layers."):
        _, i, leaf = name.split(".")
        return (f"mlp.{leaf}" if only else f"mlp.{2 * int(i)}.{leaf}"), x.T
    return ("last_layer.weight_v", x.T) if name == "directions" else ("last_layer.weight_g", x[:, None])


def load(arrays: Arrays, objective: DINO, source: str = "the file") -> None:
    """Copy published weights into the objective: a checkpoint of a run, with "student." and "teacher." before the names
    and perhaps the centre, or a teacher's backbone alone, which both get. Raises CheckpointError."""
    given = {_WRAPPERS.sub("", name): x for name, x in arrays.items()}
    centre = given.pop("dino_loss.center", None)
    if not any(name.startswith(("student.", "teacher.")) for name in given):
        given = {f"{who}.backbone.{name}": x for who in ("student", "teacher") for name, x in given.items()}
    named = {"student": objective.student, "teacher": objective.teacher}
    own = {f"{who}.{name}": x for who, network in named.items() for name, x in views(data(network), network).items()}
    if not any(".head." in name for name in given):
        own = {name: x for name, x in own.items() if ".head." not in name}
    if centre is not None and centre.size != objective.centre.size:
        raise CheckpointError(f"{source}: its centre has {centre.size} outputs, expected {objective.centre.size}")
    fill(own, given, source)
    if centre is not None:
        objective.centre.data[...] = centre.reshape(-1)


def data(network: Module) -> dict[str, np.ndarray]:
    """Its arrays by name, no copies."""
    return {name: tensor.data for name, tensor in network.named_tensors()}


def build(config: Mapping, arrays: Arrays) -> DINO:
    """The objective that the configuration of a recording describes, with these weights, in float64."""
    head, size, patch = config["head"], config["image_global"], config["patch"]
    shape = ViTConfig(
        image_size=pair(size),
        patch_size=pair(patch),
        width=config["width"],
        depth=config["depth"],
        heads=config["heads"],
        mlp_width=config["mlp"],
        num_classes=0,
        channels=arrays["student.backbone.patch_embed.proj.weight"].shape[1],
        gelu=config.get("gelu", "erf"),
        norm_eps=config.get("norm_eps", 1e-6),
        qkv_bias="student.backbone.blocks.0.attn.qkv.bias" in arrays,
    )
    own = DINOConfig(
        outputs=head["out"],
        layers=head.get("layers", 3),
        hidden=head.get("hidden", 1),
        bottleneck=head["bottleneck"],
        norm_last_layer=head.get("norm_last_layer", config.get("norm_last_layer", False)),
        local_crops=0,
        local_size=shape.patch_size,
        student_temperature=config["student_temp"],
        teacher_temperature=config["teacher_temp"],
        momentum=config["ema"],
        centre_momentum=config["center_momentum"],
    )
    objective = DINO(own, ViT(shape, None, "float64"), 1, None, "float64")
    load(arrays, objective)
    return objective


def batch_of(case: Case) -> dict[str, Any]:
    """The crops, which take a gradient, and the numbers of the step."""
    count = sum(name.startswith("crop") for name in case.arrays)
    crops = [case.images(f"crop{i}") for i in range(count)]
    split = case.config.get("global_crops", 2)
    batch: dict[str, Any] = {
        "teacher_momentum": np.array(case.config["ema"]),
        "teacher_temperature": np.array(case.config["teacher_temp"]),
        "global_crops": Tensor(np.stack(crops[:split], axis=1), requires_grad=True),
    }
    if count > split:
        batch["local_crops"] = Tensor(np.stack(crops[split:], axis=1), requires_grad=True)
    return batch


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that DINO defines, by its name there."""
    objective, batch = build(case.config, case.weights).eval(), batch_of(case)
    objective.centre.data[...] = case.input("center").reshape(-1)
    crops = [x for x in batch.values() if isinstance(x, Tensor)]
    said, taught = outputs = objective(batch)
    loss = objective.loss(outputs, batch)
    names, learning = zip(*objective.named_parameters(), strict=True)
    gradients = grad(loss, [*learning, *crops])
    q = np.exp(objective.log_targets(taught, batch).data)
    found = {
        "teacher_out": rows(taught.data),
        "student_out": rows(said.data),
        "teacher_features": rows(objective.teacher.features(crops[0]).data),
        "student_features": rows(np.concatenate([objective.student.features(x).data for x in crops], axis=1)),
        "teacher_probabilities": rows(q),
        "terms": terms(q, F.log_softmax(said / objective.config.student_temperature).data),
        "loss": loss.data,
    }
    of_crops = [case.laid_out(g[:, i]) for g in gradients[len(learning) :] for i in range(g.shape[1])]
    found |= {f"grad_input/crop{i}": g for i, g in enumerate(of_crops)}
    found |= of_gradients(dict(zip(names, gradients, strict=False)), objective, case.config.get("clip_per_parameter"))
    objective.after_update({"output": taught.data.mean(axis=(0, 1))}, batch)
    found["new_center"] = objective.centre.data[None]
    found |= {f"ema/{name}": x for name, x in views(data(objective.teacher), objective.teacher).items()}
    return found | tables(case.arrays, objective.student.encoder) | schedules(case.config.get("schedules", {}))


def rows(x: np.ndarray) -> np.ndarray:
    """(B, V, ...) as published code has it, all images of the first crop, then of the next: (V B, ...)."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


def terms(q: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """The cross entropy of each pair of different crops, the teacher's crop first."""
    pairs = [(i, j) for i in range(q.shape[1]) for j in range(log_p.shape[1]) if i != j]
    return np.array([-(q[:, i] * log_p[:, j]).sum(axis=-1).mean() for i, j in pairs])


def of_gradients(gradients: Arrays, objective: DINO, most: float | None) -> dict[str, np.ndarray]:
    """The student's gradients and their norm, and the same after each was clipped by its own norm."""
    inside = {name.removeprefix("student."): g for name, g in gradients.items() if name.startswith("student.")}

    def named(kind: str, arrays: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        official = views(dict(zip(inside, arrays, strict=True)), objective.student)
        return {f"{kind}/{name}": x for name, x in official.items()}

    found = {**named("grad", inside.values()), "grad_norm": np.array(global_norm(inside.values()))}
    if most is None:
        return found
    scales = each_scale(inside.values(), most)
    clipped = [g * scale for g, scale in zip(inside.values(), scales, strict=True)]
    return found | named("clipped", clipped) | {"clipped_norm": np.array(global_norm(clipped))}


def tables(names: Iterable[str], encoder: ViT) -> dict[str, np.ndarray]:
    """The position tables that are named "positions/HxW", for images of these pixels."""
    found = {}
    for name in names:
        if match := re.fullmatch(r"positions/(\d+)x(\d+)", name):
            patch = encoder.config.patch_size
            found[name] = positions(encoder, (int(match[1]) // patch[0], int(match[2]) // patch[1])).data
    return found


def schedules(described: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The values at every step of schedules described as "cosine(1e-3,1e-6,warmup 1 epoch)"."""
    each = described.get("iterations_per_epoch", 0)
    total = described.get("epochs", 0) * each
    found = {}
    for name, text in described.items():
        if match := _SCHEDULE.fullmatch(str(text)):
            schedule = cosine(float(match[1]), float(match[2]), total, round(float(match[3] or 0) * each))
            found[f"schedule/{name}"] = np.array([schedule(step) for step in range(total)])
    return found
