"""Published weights to this project's names and back.

The released ViT files (google-research/vision_transformer, .npz) store every kernel as (in, out), as we do; queries,
keys and values are separate (D, H, K) kernels, which stand side by side in our one (D, 3D) weight. Their submodules
are numbered by call order within a block: LayerNorm_0, MultiHeadDotProductAttention_1, LayerNorm_2, MlpBlock_3.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, ConfigError
from minivit.models.archive import read_npz, write_npz
from minivit.models.config import ViTConfig, reduction_of
from minivit.models.convert_hybrid import infer_stem, released_stem_name, with_group_norm_axes
from minivit.models.posemb import resize_posemb
from minivit.models.vit import ViT
from minivit.nn.module import check_match

_BLOCK = "Transformer/encoderblock_{}/"
_ATTENTION = "MultiHeadDotProductAttention_1/"
_IN_BLOCK = {  # ours -> released, apart from the packed qkv
    "norm1.scale": "LayerNorm_0/scale",
    "norm1.bias": "LayerNorm_0/bias",
    "attention.out.weight": _ATTENTION + "out/kernel",
    "attention.out.bias": _ATTENTION + "out/bias",
    "norm2.scale": "LayerNorm_2/scale",
    "norm2.bias": "LayerNorm_2/bias",
    "mlp.hidden.weight": "MlpBlock_3/Dense_0/kernel",
    "mlp.hidden.bias": "MlpBlock_3/Dense_0/bias",
    "mlp.out.weight": "MlpBlock_3/Dense_1/kernel",
    "mlp.out.bias": "MlpBlock_3/Dense_1/bias",
}
_AROUND = {
    "patch_embed.projection.weight": "embedding/kernel",
    "patch_embed.projection.bias": "embedding/bias",
    "class_token": "cls",
    "position_embedding": "Transformer/posembed_input/pos_embedding",
    "norm.scale": "Transformer/encoder_norm/scale",
    "norm.bias": "Transformer/encoder_norm/bias",
    "pre_logits.weight": "pre_logits/kernel",
    "pre_logits.bias": "pre_logits/bias",
    "head.weight": "head/kernel",
    "head.bias": "head/bias",
}


def load_pretrained(path: str | Path, **config_changes: Any) -> ViT:
    """A ViT with the weights of a released .npz file; its shape is read from the arrays.

    config_changes: fields of ViTConfig that the file does not record or that shall differ: `dtype` ("float32" by
    default), dropout rates, or `image_size`, for which the position embedding is resized by the published convention.
    A different `num_classes` gives a fresh, zero head; `representation_size=None` drops the file's pre-logits layer
    and with it the head that belongs to it.
    Raises CheckpointError for a file that is damaged, of another layout, or that does not fit.
    """
    path = Path(path)
    dtype = config_changes.pop("dtype", "float32")
    arrays = read_npz(path)
    config = infer_config(arrays, str(path), config_changes.get("image_size"))
    names = {field.name for field in dataclasses.fields(ViTConfig)}
    if unknown := [name for name in config_changes if name not in names]:
        raise ConfigError(f'load_pretrained: ViTConfig has no field "{unknown[0]}"; it has {", ".join(sorted(names))}')
    changed = dataclasses.replace(config, **config_changes)
    state = from_official(arrays, config, str(path))
    new_layer = changed.representation_size not in (None, config.representation_size)
    model = ViT(changed, seed=0 if new_layer else None, dtype=dtype)  # zeros below a zero head would never learn
    if "position_embedding" in state and changed.grid != config.grid:
        prefix = int(config.classifier == "token")
        state["position_embedding"] = resize_posemb(state["position_embedding"], config.grid, changed.grid, prefix)
    if changed.num_classes != config.num_classes:
        _reset(state, model, ("head",))
    if changed.representation_size != config.representation_size:
        _reset(state, model, ("pre_logits", "head"))
    model.load_state_dict(state, str(path))
    return model


def _reset(state: dict[str, np.ndarray], model: ViT, layers: tuple[str, ...]) -> None:
    """Put the model's own (fresh) arrays of `layers` in place of the file's."""
    for name in [name for name in state if name.partition(".")[0] in layers]:
        del state[name]
    state.update({n: a for n, a in model.state_dict().items() if n.partition(".")[0] in layers})


def infer_config(arrays: Mapping[str, np.ndarray], source: str, image_size: Any = None) -> ViTConfig:
    """The ViTConfig of a released file, from its keys and shapes. Raises CheckpointError for another layout.

    The position table is taken for a square grid; if its rows form none, `image_size` says which grid it is.
    """

    def shape(key: str, axes: int) -> tuple[int, ...]:
        if key not in arrays or arrays[key].ndim != axes:
            raise CheckpointError(f"{source} is not a released ViT checkpoint: it has no {key} with {axes} axes")
        return arrays[key].shape

    heads = shape(_BLOCK.format(0) + _ATTENTION + "query/kernel", 3)[1]
    patch_h, patch_w, channels, width = shape("embedding/kernel", 4)
    stem = infer_stem(arrays)
    times = reduction_of(stem.get("stem"))
    classifier = "token" if "cls" in arrays else "gap"
    learned = _AROUND["position_embedding"] in arrays
    patches = shape(_AROUND["position_embedding"], 3)[1] - (classifier == "token") if learned else 1
    side = math.isqrt(max(patches, 0))
    square = (side * patch_h * times, side * patch_w * times)
    try:
        config = ViTConfig(
            image_size=square if side * side == patches else image_size or square,
            patch_size=(patch_h, patch_w),
            width=width,
            depth=len({m[1] for key in arrays if (m := re.match(r"Transformer/encoderblock_(\d+)/", key))}),
            heads=heads,
            mlp_width=shape(_BLOCK.format(0) + "MlpBlock_3/Dense_0/kernel", 2)[1],
            num_classes=shape("head/bias", 1)[0] if "head/bias" in arrays else 0,
            **{"channels": channels, **stem},
            classifier=classifier,
            representation_size=shape("pre_logits/bias", 1)[0] if "pre_logits/bias" in arrays else None,
            position="learned" if learned else "none",
        )
    except ConfigError as error:
        raise CheckpointError(f"{source} is not a released ViT checkpoint: {error}") from error
    if math.prod(config.grid) != patches:
        raise CheckpointError(f"{source}: {patches} position embeddings are not a square grid; pass their image_size")
    return config


def from_official(arrays: Mapping[str, np.ndarray], config: ViTConfig, source: str) -> dict[str, np.ndarray]:
    """Released names and shapes -> ours. Raises CheckpointError listing what is missing, unexpected or misshapen."""
    arrays = with_group_norm_axes(arrays)
    blank = ViT(config, seed=None).state_dict()
    check_match({key: array.shape for key, array in to_official(blank, config).items()}, arrays, source)
    state = {}
    for name, array in blank.items():
        block = re.match(r"blocks\.(\d+)\.(.*)", name)
        prefix = _BLOCK.format(block[1]) if block else ""
        if block and block[2].startswith("attention.qkv."):
            kind = "kernel" if block[2].endswith("weight") else "bias"
            parts = [arrays[f"{prefix}{_ATTENTION}{part}/{kind}"] for part in ("query", "key", "value")]
            state[name] = np.concatenate([part.reshape(*array.shape[:-1], -1) for part in parts], axis=-1)
        elif name.startswith("stem."):
            state[name] = arrays[released_stem_name(name, config)].reshape(array.shape)
        else:
            state[name] = arrays[prefix + (_IN_BLOCK[block[2]] if block else _AROUND[name])].reshape(array.shape)
    return state


def to_official(state: Mapping[str, np.ndarray], config: ViTConfig) -> dict[str, np.ndarray]:
    """Our names and shapes -> released; the exact inverse of `from_official`. Works for gradients too."""
    arrays = {}
    width, heads, head_dim = config.width, config.heads, config.width // config.heads
    for name, array in state.items():
        block = re.match(r"blocks\.(\d+)\.(.*)", name)
        prefix = _BLOCK.format(block[1]) if block else ""
        if block and block[2].startswith("attention.qkv."):
            kind = "kernel" if block[2].endswith("weight") else "bias"
            rows = (width,) if kind == "kernel" else ()
            for part, values in zip(("query", "key", "value"), np.split(array, 3, axis=-1), strict=True):
                arrays[f"{prefix}{_ATTENTION}{part}/{kind}"] = values.reshape(*rows, heads, head_dim)
        elif block and block[2] == "attention.out.weight":
            arrays[prefix + _IN_BLOCK[block[2]]] = array.reshape(heads, head_dim, width)
        elif name == "patch_embed.projection.weight":
            arrays[_AROUND[name]] = array.reshape(*config.patch_size, config.map_channels, width)  # type: ignore[misc]
        elif name.startswith("stem."):
            arrays[released_stem_name(name, config)] = array if array.ndim == 4 else array.reshape(1, 1, 1, -1)
        else:
            arrays[prefix + (_IN_BLOCK[block[2]] if block else _AROUND[name])] = array
    return arrays


def export(model: ViT, path: str | Path, layout: str = "official") -> None:
    """Write the model's weights as a file that the published code loads. layout: "official" (.npz)."""
    if layout != "official":
        raise ValueError(f'export: layout is "{layout}", expected "official"')
    c = model.config
    for field, fits in (
        ("position", ("learned", "none")),
        ("gelu", ("tanh",)),
        ("norm_eps", (1e-6,)),
    ):
        if getattr(c, field) not in fits:
            raise ValueError(f"export: the official layout cannot express {field}={getattr(c, field)!r}")
    write_npz(Path(path), to_official(model.state_dict(), model.config))
