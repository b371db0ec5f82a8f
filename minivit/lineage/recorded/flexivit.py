"""FlexiViT as published code has it: big_vision's and timm's files, and what was recorded of both."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend.resizing import resize_matrix
from minivit.files import expanded
from minivit.lineage.flexivit import FlexiViT, FlexiViTConfig, distillation, resized_kernel, resized_table
from minivit.lineage.published import Arrays, pair
from minivit.lineage.recorded import pooling
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import HEADS, Shapes
from minivit.nn import patchify
from minivit.tensor import Tensor, grad

_OFFICIAL = {"kernel_method": "bilinear", "table_method": "bilinear_antialias", "gelu": "tanh"}
_TIMM = {"kernel_method": "bicubic_antialias", "table_method": "bicubic_antialias", "gelu": "erf"}
_RECORDED = {"cls": "cls_token", "pos_embedding": "pos_embed", "embedding.bias": "patch_embed.proj.bias"}


def told_by(arrays: Arrays, official: bool, source: str) -> dict[str, Any]:
    """The fields of FlexiViTConfig that canonical arrays tell, and the usual for the rest."""
    shapes = Shapes(arrays, source, "FlexiViT's")
    if official:
        down, across, channels, width = shapes("embedding/kernel", 4)
        depth, block = shapes.depth(r"Transformer/encoderblock_(\d+)/"), "Transformer/encoderblock_0/"
        heads = shapes(f"{block}MultiHeadDotProductAttention_1/query/kernel", 3)[1]
        mlp_width = shapes(f"{block}MlpBlock_3/Dense_0/kernel", 2)[1]
        position, bias = "Transformer/posembed_input/pos_embedding", "head/bias"
        token, pool = "cls" in shapes, "MAPHead_0/probe" in shapes
    else:
        width, channels, down, across = shapes("patch_embed.proj.weight", 4)
        depth, heads = shapes.depth(r"blocks\.(\d+)\."), HEADS.get(width, max(1, width // 64))
        mlp_width = shapes("blocks.0.mlp.fc1.weight", 2)[0]
        position, bias = "pos_embed", "head.bias"
        token, pool = "cls_token" in shapes, "attn_pool.latent" in shapes
    return {
        "base_patch": (down, across),
        "base_grid": math.isqrt(shapes(position, 3)[1]),
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_width": mlp_width,
        "num_classes": shapes(bias, 1)[0] if bias in shapes else 0,
        "channels": channels,
        "classifier": "token" if token else "map" if pool else "gap",
        **(_OFFICIAL if official else _TIMM),
    }


def build(arrays: Arrays, dtype: str = "float64", source: str = "the file", **fields: Any) -> FlexiViT:
    """The model of the arrays of a file, in either layout.   fields: of FlexiViTConfig, which prevail. Raises
    CheckpointError and ConfigError."""
    weights, official = pooling.read(arrays, source)
    told = told_by(weights, official, source)
    config = FlexiViTConfig(**{"patch_size": told["base_patch"], **told, **fields})
    model = FlexiViT(config, None, dtype)
    pooling.load(model, weights, config.base, official, source)
    return model


def load(path: str | Path, dtype: str = "float32", **fields: Any) -> FlexiViT:
    """The model of a file of published weights: big_vision's (.npz) or timm's (.safetensors).

    fields: of FlexiViTConfig; image_size is 240 unless it is given, patch_size that of the kernel in the file. Raises
    CheckpointError and ConfigError.
    """
    path = expanded(path)
    return build(read_arrays(path)[0], dtype, str(path), **fields)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that FlexiViT defines, by its name there."""
    return whole(case) if "labels" in case.arrays else kernels(case)


def kernels(case: Case) -> dict[str, np.ndarray]:
    """Resized kernels (O, I, h, w), in both codes' ways, and tokens of patches that grew with them."""
    base = case.input(next(name for name in case.arrays if re.fullmatch(r"kernel[\dx]*", name)))
    old = base.shape[2:]
    kernel = Tensor(base.transpose(2, 3, 1, 0).copy(), requires_grad=True)  # ours is (h, w, C, D)
    patches = next((name for name in case.arrays if name.startswith("patches")), None)
    found = {}

    def tokens(images: Tensor, of: Tensor) -> np.ndarray:
        return (patchify(images, of.shape[:2]) @ of.reshape(-1, of.shape[-1])).data[:, 0]

    for name in case.arrays:
        kind, _, size = name.partition("/")
        sides = re.fullmatch(r"(\d+)x(\d+)", size.rpartition("/")[2])
        new = (int(sides[1]), int(sides[2])) if sides else old
        method = "bilinear" if kind.startswith("bilinear") else "bicubic_antialias"
        if kind in ("pi", "bilinear_noaa") and sides:
            found[name] = resized_kernel(kernel, new, method).data.transpose(3, 2, 0, 1)
        elif kind in ("matrix", "bilinear_matrix") and sides:
            found[name] = np.kron(*(resize_matrix(o, n, method) for o, n in zip(old, new, strict=True)))
        elif kind == "grad" and sides:
            cotangent = case.input(f"pi_cotangent/{size.rpartition('/')[2]}").transpose(2, 3, 1, 0)
            (found_here,) = grad((resized_kernel(kernel, new, method) * cotangent).sum(), [kernel])
            found[name] = found_here.transpose(3, 2, 0, 1)
    if patches:
        images = Tensor(np.moveaxis(case.input(patches), 1, -1))
        found[patches.replace("patches", "tokens")] = tokens(images, kernel)
        for name in case.arrays:
            if grown := re.fullmatch(r"(pi|bilinear_noaa)/tokens(\d+)(?:x(\d+))?", name):
                new = int(grown[2]), int(grown[3] or grown[2])
                method = "bilinear" if grown[1] == "bilinear_noaa" else "bicubic_antialias"
                found[name] = tokens(F.resize(images, new, method), resized_kernel(kernel, new, method))
    return found


def whole(case: Case) -> dict[str, np.ndarray]:
    """One model at several grids.   "grid4/logits" and its like."""
    config, model = case.config, recorded_model(case).eval()
    at = "image_nhwc" if "image_nhwc" in case.arrays else "image"
    given = case.input(at) if at == "image_nhwc" else np.moveaxis(case.input(at), 1, -1)
    labels = case.input("labels")
    teacher = case.input("teacher_logits") if "teacher_logits" in case.arrays else None
    names, learning = zip(*model.named_parameters(), strict=True)
    found: dict[str, np.ndarray] = {}
    for grid in config["grids"]:
        rows, columns = (grid, grid) if isinstance(grid, int) else grid
        images = Tensor(given, requires_grad=True)
        tap: dict[str, Any] = {}
        logits = model(images, tap, grid=(rows, columns))
        ce = F.cross_entropy(logits, labels)
        kl = distillation(logits, teacher) if teacher is not None else ce * 0
        in_images, *gradients = grad(ce + kl, [images, *learning])
        named = dict(zip(names, gradients, strict=True))
        before = int(model.config.classifier == "token")
        size = given.shape[1] // rows, given.shape[2] // columns
        down, across = model.config.base_patch
        high, wide = model.config.base_grid
        kernel = model.network.patch_embed.projection.weight.reshape(down, across, given.shape[-1], -1)
        here = {
            "logits": logits.data,
            "stem": tap["stem"].data,
            "tokens": tap["stem"].data,
            "embedded": tap["embedded"].data[:, before:],
            "encoded": tap["encoded"].data,
            "ce": ce.data,
            "kl": kl.data,
            "loss": (ce + kl).data,
            "grad_input/image": in_images if at == "image_nhwc" else np.moveaxis(in_images, -1, 1),
            "grad_norm": np.sqrt(sum((g**2).sum() for g in gradients)),
            "kernel": resized_kernel(kernel, size, model.config.kernel_method).data,
            "pseudo_inverse": np.kron(
                resize_matrix(down, size[0], f"{model.config.kernel_method}_pinv"),
                resize_matrix(across, size[1], f"{model.config.kernel_method}_pinv"),
            ),
            "position_matrix": np.kron(
                resize_matrix(high, rows, model.config.table_method),
                resize_matrix(wide, columns, model.config.table_method),
            ),
            "positions": resized_table(
                model.network.position_embedding, (high, wide), (rows, columns), model.config.table_method
            ).data,
        }
        label = f"grid{grid}" if isinstance(grid, int) else f"grid{rows}x{columns}"
        here |= recorded_gradients(case, named, model.config, label)
        found |= {f"{label}/{name}": x for name, x in here.items()}
    return found


def recorded_model(case: Case) -> FlexiViT:
    """The model of a recording, whose names are timm's inside the blocks and big_vision's outside, or big_vision's."""
    config: Mapping[str, Any] = case.config
    arrays = {_RECORDED.get(name, name): x for name, x in case.weights.items()}
    fields = {"norm_eps": config.get("norm_eps", 1e-6), **_OFFICIAL, "gelu": config.get("gelu", "tanh")}
    if "embedding.kernel" in arrays:
        arrays["patch_embed.proj.weight"] = arrays.pop("embedding.kernel").transpose(3, 2, 0, 1)
        width = arrays["patch_embed.proj.weight"].shape[0]
        fields["heads"] = config.get("heads", config.get("num_heads", max(1, width // 8)))
    image, table = pair(config["image"]), pair(config["position_grid"])
    return build(arrays, source=case.name, image_size=image, patch_size=image, base_grid=table, **fields)


def recorded_gradients(case: Case, named: Arrays, config: FlexiViTConfig, label: str) -> dict[str, np.ndarray]:
    """Gradients at one grid under the names of a recording."""
    wanted = [name.removeprefix(f"{label}/") for name in case.arrays if name.startswith(f"{label}/grad/")]
    found = pooling.gradients(named, config.base, wanted)
    found["grad/embedding.kernel"] = found["grad/patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    return found | {
        f"grad/{name}": found[f"grad/{ours}"] for name, ours in _RECORDED.items() if f"grad/{ours}" in found
    }
