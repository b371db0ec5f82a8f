"""DeiT as published code has it: names and shapes of its arrays, and what was recorded of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.deit import DeiT, DeiTConfig, answer, binary_cross_entropy, divergence
from minivit.lineage.published import Arrays, fill, gelu
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.convert_hf import HF
from minivit.models.convert_timm import TIMM
from minivit.models.layouts import Shapes, without_prefix
from minivit.models.pretrained import load_pretrained, recognise
from minivit.nn import Module
from minivit.tensor import Tensor

_FIELDS = {  # what the arrays do not tell: fields of Hugging Face's and timm's configurations -> of ViTConfig
    "image_size": "image_size",
    "img_size": "image_size",
    "num_attention_heads": "heads",
    "num_heads": "heads",
    "layer_norm_eps": "norm_eps",
}
_VARIANTS: dict[
    str, tuple[dict[str, Any], str]
] = {  # of the recordings -> fields of DeiTConfig, and the name of alpha in the configuration
    "hard": ({"distillation": "hard"}, "alpha_hard"),
    "soft_code": ({"distillation": "soft", "by_class": True}, "alpha_soft"),
    "soft_paper": ({"distillation": "soft"}, "alpha_soft"),
}


class Said(Module):
    """A teacher of whom only the answers were recorded.   images -> logits (B, K)."""

    def __init__(self, logits: np.ndarray):
        self.logits = Tensor(logits)

    def forward(self, images: Any) -> Tensor:
        return self.logits


def student(known: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> ViT:
    """The ViT of these weights.   known: fields of ViTConfig that arrays do not tell. Raises CheckpointError."""
    layout = recognise(arrays, Path(source))
    inside = layout.canonical(without_prefix(arrays, layout, source), source)
    shapes = Shapes(inside, source, layout.title, known.get("image_size"))
    config = layout.config(shapes, known)
    if shapes.asks:
        raise CheckpointError(shapes.asks[0])
    model = ViT(config, None, dtype)
    views = layout.views({name: tensor.data for name, tensor in model.named_tensors()}, config)
    fill(views, inside, source)
    return model


def open_student(path: str | Path, dtype: str = "float32", **changes: Any) -> ViT:
    """The student of a file of published weights (.safetensors), by official, timm's or Hugging Face's names.

    The official names of DeiT III are those of other models too, which turn queries and keys by angles that no file
    tells; so only here, where somebody says that it is DeiT, are they read.
    changes: as for `minivit.models.load_pretrained`. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    arrays = {re.sub(r"\.gamma_([12])$", r".ls\1.gamma", name): x for name, x in read_arrays(path)[0].items()}
    if not any(name.endswith(".ls1.gamma") for name in arrays):
        return load_pretrained(path, dtype=dtype, **changes)
    return student(changes, arrays, dtype, str(path))


def known_of(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What a configuration tells beside the arrays, as fields of ViTConfig."""
    act = config.get("hidden_act", "gelu")
    return {"gelu": gelu(act, source), **{ours: config[name] for name, ours in _FIELDS.items() if name in config}}


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that DeiT defines, by its name there."""
    model = student(known_of(case.config, case.name), case.weights, source=case.name)
    said, labels = case.input("teacher_logits"), case.input("labels")
    soft_labels = case.input("soft_targets") if "soft_targets" in case.arrays else None
    images = Tensor(case.images("image"), requires_grad=True)
    given: dict[str, Any] = {"case": case, "model": model, "images": images, "said": said}
    found: dict[str, np.ndarray] = {}
    for variant in _VARIANTS:
        for suffix, target in (("", labels), ("_mixup", soft_labels)):
            if target is not None and any(name.startswith(f"{variant}{suffix}/") for name in case.arrays):
                parts = of_variant(variant, target, **given)
                found |= {f"{variant}{suffix}/{name}": x for name, x in parts.items()}
    return found | values(case, model, images, said, labels, soft_labels)


def objective_of(variant: str, case: Case, model: ViT, said: np.ndarray) -> DeiT:
    """The objective of a variant, in training mode."""
    fields, alpha = _VARIANTS[variant]
    config = DeiTConfig(
        **fields,
        alpha=case.config.get(alpha, 0.5),
        tau=case.config.get("tau", 1.0),
        label_smoothing=case.config.get("label_smoothing", 0.0),
        mixup=0.0,
        cutmix=0.0,
    )
    return DeiT(config, model, Said(said)).train()


def of_variant(
    variant: str, labels: np.ndarray, case: Case, model: ViT, images: Tensor, said: np.ndarray
) -> dict[str, np.ndarray]:
    """Loss and gradients of one way to distil."""
    objective = objective_of(variant, case, model, said)
    batch: dict[str, Any] = {"images": images, "labels": labels}
    loss = objective.loss(objective(batch), batch)
    named, found = case.differentiated(loss, images, model)
    asked = [name.partition("/grad/")[2] for name in case.arrays if name.startswith(f"{variant}") and "/grad/" in name]
    return {
        "loss": loss.data,
        **found,
        **{f"grad/{name}": g for name, g in by_any_name(named, model.config, asked).items()},
    }


def by_any_name(named: Arrays, config: ViTConfig, asked: list[str]) -> dict[str, np.ndarray]:
    """Gradients under timm's and Hugging Face's names, and those asked for under a name of another dialect."""
    known = {**TIMM.views(named, config), **HF.views(named, config)}
    found = dict(known)
    for name in asked:
        theirs = next(iter(HF.canonical({name: np.zeros(0)}, "")), name)
        if name not in found and theirs in known:
            found[name] = known[theirs]
    return found


def values(
    case: Case, model: ViT, images: Tensor, said: np.ndarray, labels: np.ndarray, soft_labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Both heads, the parts of the losses, and what stands between the blocks."""
    objective = objective_of("hard", case, model, said)
    tap: dict[str, Any] = {}
    of_class, of_distillation = objective.heads(images)
    soft = divergence(of_distillation, Tensor(said), case.config.get("tau", 1.0))
    found: dict[str, Any] = {
        "cls_logits": of_class,
        "distillation_logits": of_distillation,
        "logits": answer((of_class, of_distillation)),
        "ce": F.cross_entropy(of_class, labels),
        "kd_hard": objective.of_teacher(of_distillation, Tensor(said)),
        "kd_soft_paper": soft,
        "kd_soft_code": soft * (1 / said.shape[-1]),
    }
    if soft_labels is not None:
        found["ce_soft_targets"] = F.cross_entropy(of_class, soft_labels)
        found["bce_soft_targets"] = binary_cross_entropy(of_class, soft_labels)
    embedded = model.embed(images)
    objective.heads(images, tap=tap)
    inside = {re.sub(r"^block(\d+)/output", r"encoder\1", name): x for name, x in tap.items()}
    inside |= {"embeddings": embedded, "latent": model.encode(embedded)}
    found |= {f"tap/{name}": x for name, x in inside.items()}
    return {name: np.asarray(getattr(x, "data", x)) for name, x in found.items()}
