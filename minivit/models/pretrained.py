"""Published weights: loads a file of any known layout, and writes one."""

import dataclasses
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, ConfigError, shown
from minivit.files import expanded
from minivit.models import convert_hf
from minivit.models.archive import read_arrays, write_npz, write_safetensors
from minivit.models.beside_weights import METADATA, TOLD, Beside, check_json, told, write_json
from minivit.models.config import ViTConfig
from minivit.models.convert import OFFICIAL, leaves_position_open
from minivit.models.convert_hf import HF
from minivit.models.convert_timm import TIMM
from minivit.models.foreign import refuse_model
from minivit.models.layouts import Arrays, Layout, Shapes, without_prefix
from minivit.models.posemb import METHODS, resize_posemb
from minivit.models.vit import ViT
from minivit.models.whereabouts import weights_file
from minivit.nn.module import check_match

_HYBRID = re.compile(r"patch_embed(dings)?\.backbone\.|(^|\.)backbone\.(stem|stages|bit)\.")
LAYOUTS = {layout.name: layout for layout in (OFFICIAL, TIMM, HF)}


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of published weights: the model, its layout's name, and the facts beside it.

    Those are: a line for each resized array (none if the file's image size was kept), and mean, std, class names and
    the way to resize images, None if not stated. loss is "sigmoid" for a multi-label model.
    """

    model: ViT
    layout: str
    resized: list[str]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: list[str] | None = None
    resize: str | None = None
    loss: str = "softmax"


def load_pretrained(
    path: str | Path,
    *,
    dtype: str = "float32",
    resize_method: str | None = None,
    prefix: str | None = None,
    **config_changes: Any,
) -> ViT:
    """A ViT with the weights of a published file; layout and shape are read from the arrays.

    path: the file, a folder that holds one, or a name of `minivit.models.addresses` ("Ti/16"), which is downloaded
    once; `minivit.load_pretrained` also takes the folder of a run.
    The layouts: google-research .npz (of vision_transformer and big_vision), timm .safetensors, Hugging Face
    .safetensors; docs/weights.md describes their differences and what they do not record.
    config_changes: fields of ViTConfig that the file does not record (such as `heads` for timm) or that should differ:
    dropout rates, or `image_size`, for which the position embedding is resized by `resize_method` of `resize_posemb`
    (None: as in the file's own code; for the .npz files "align_corners").
    prefix: the prefix of the names of the model's arrays ("teacher.backbone."), needed if a file holds several models,
    or other arrays beside one.
    A different `num_classes` gives a fresh, zero head; `representation_size=None` drops the file's pre-logits layer and
    the head after it.
    Raises CheckpointError, in one line, for a file that is damaged, hostile, of another layout, or that does not fit:
    with lists of missing, unexpected, wrongly shaped and resized arrays. Raises ConfigError for wrong changes.
    """
    return open_pretrained(path, dtype=dtype, resize_method=resize_method, prefix=prefix, **config_changes).model


def open_pretrained(
    path: str | Path,
    *,
    dtype: str = "float32",
    resize_method: str | None = None,
    prefix: str | None = None,
    **config_changes: Any,
) -> Published:
    """As `load_pretrained`, with the further facts in the file and those beside it."""
    path = weights_file(path)
    _check_arguments(config_changes, resize_method)
    if path.is_dir() and (path / "checkpoint.npz").exists():
        raise CheckpointError(
            f"{path} is the folder of a run: minivit.load_pretrained loads runs and published weights"
        )
    arrays, metadata = read_arrays(path)
    layout = recognise(arrays, path)
    arrays = without_prefix(arrays, layout, str(path), prefix)
    if layout is OFFICIAL and leaves_position_open(arrays) and "position" not in config_changes:
        raise CheckpointError(
            f'{path} has no position table: pass position="sincos2d" (--set position=sincos2d), '
            'or "none" if there was none'
        )
    hybrid = any(_HYBRID.search(key) for key in arrays)
    if layout is not OFFICIAL and (config_changes.get("stem") is not None or hybrid):
        raise CheckpointError(f"{path}: hybrids are read from released .npz files, not in the layout of {layout.title}")
    arrays = layout.canonical(arrays, str(path))
    beside = Beside(path, layout)
    from_metadata = told(metadata, path)
    known = {**beside.fields(), **from_metadata}
    known |= {name: config_changes[name] for name in layout.untold if name in config_changes}
    shapes = Shapes(arrays, str(path), layout.title, config_changes.get("image_size"))
    config = layout.config(shapes, known)
    if shapes.asks:
        positions = {layout.position} if layout.position in arrays else set()
        _check_fit(arrays, config, config, layout, str(path), [], dtype, unknown=positions)
        raise CheckpointError(shapes.asks[0])
    beside.compare(config, {*from_metadata, *config_changes})
    changed = dataclasses.replace(config, **config_changes)

    old, new, method = config.grid, changed.grid, resize_method or layout.resize
    to_resize = layout.position in arrays and old != new
    resized = [f"{layout.position} from {old[0]} x {old[1]} to {new[0]} x {new[1]} ({method})"] * to_resize
    _check_fit(arrays, config, changed, layout, str(path), resized, dtype)
    if to_resize:
        before = 0 if config.no_embed_class else config.num_prefix_tokens
        arrays[layout.position] = resize_posemb(arrays[layout.position].astype(dtype), old, new, before, method)
    model = _filled(arrays, config, changed, layout, dtype)
    about = (*beside.normalisation(), beside.classes(), beside.resize(), beside.loss())
    return Published(model, layout.name, resized, *about)


def _check_arguments(config_changes: Mapping[str, Any], resize_method: str | None) -> None:
    names = {field.name for field in dataclasses.fields(ViTConfig)}
    if unknown := [name for name in config_changes if name not in names]:
        raise ConfigError(f'load_pretrained: ViTConfig has no field "{unknown[0]}"; it has {", ".join(sorted(names))}')
    if resize_method not in (None, *METHODS):
        raise ConfigError(f'load_pretrained: resize_method is "{resize_method}", expected one of {", ".join(METHODS)}')


def recognise(arrays: Arrays, path: Path) -> Layout:
    """The layout of a file, by the name of its patch projection. Raises CheckpointError for an unknown layout."""
    for layout in LAYOUTS.values():
        if layout.prefixes(arrays):
            return layout
    if "meta" in arrays and any(key.startswith(("objective/", "model/")) for key in arrays):
        raise CheckpointError(
            f"{path} is the checkpoint of a run, not published weights: name the run's folder (in Python to "
            "minivit.load_pretrained, which takes both)"
        )
    refuse_model(arrays, str(path))
    landmarks = ", ".join(layout.landmark for layout in LAYOUTS.values())
    some = ", ".join(map(shown, list(arrays)[:3])) or "nothing"
    raise CheckpointError(f"{path} is not a released ViT checkpoint: it has no {landmarks} but {some}")


def _filled(arrays: dict[str, np.ndarray], config: ViTConfig, changed: ViTConfig, layout: Layout, dtype: str) -> ViT:
    """The model of `changed` with the arrays of a file of shape `config`, with positions already resized.

    Empties `arrays`, so that memory holds no more than the file and the model.
    """
    new_layer = changed.representation_size not in (None, config.representation_size)
    model = ViT(changed, seed=0 if new_layer else None, dtype=dtype)  # zeros below a zero head would never learn
    fresh = {"head", "distillation_head"} if changed.num_classes != config.num_classes else set()
    if changed.representation_size != config.representation_size:
        fresh = {"pre_logits", "head"}
    kept = {name: array for name, array in model.state_dict().items() if name.partition(".")[0] not in fresh}
    for key, view in layout.views(kept, changed).items():
        view[...] = arrays.pop(key)
    return model


def _check_fit(
    arrays: Arrays,
    config: ViTConfig,
    changed: ViTConfig,
    layout: Layout,
    source: str,
    resized: list[str],
    dtype: str,
    unknown: Collection[str] = (),
) -> None:
    """Raise CheckpointError unless the arrays are those of the model, except resized and new ones, and finite in its
    dtype. unknown: arrays of no expected shape yet."""
    sizes = {name: getattr(config, name) for name in ("image_size", "num_classes", "representation_size")}
    in_file = dataclasses.replace(changed, **sizes)
    try:
        one_block = ViT(dataclasses.replace(in_file, depth=1), seed=None).state_dict()
    except (MemoryError, ValueError):
        raise CheckpointError(f"{source} does not fit the model: it would be {config.width} features wide") from None
    # Blocks are all alike: one stands for all, since a small file may claim a thousand that are very wide.
    blank = {
        name.replace("blocks.0.", f"blocks.{i}.", 1): array
        for i in range(in_file.depth)
        for name, array in one_block.items()
    }
    expected = {key: a.shape for key, a in layout.views(blank, in_file).items()}
    check_match(expected | {key: arrays[key].shape for key in unknown}, arrays, source, resized)
    for key, array in arrays.items():
        if array.dtype.kind != "f":
            raise CheckpointError(f"{source} does not fit the model: {key} is of type {array.dtype}, expected floats")
        with np.errstate(over="ignore"):  # float64 weights may be too large for a float32 model
            finite = np.isfinite(array.astype(dtype, copy=False)).all()
        if not finite:
            raise CheckpointError(f"{source} is not a working model: {key} holds NaN or infinity")


def export(model: ViT, path: str | Path, layout: str = "official") -> None:
    """Write the model's weights as a file that the published code loads.

    layout: "official" (google-research, .npz), "timm" or "hf" (.safetensors; for Hugging Face config.json is written
    beside it). Raises ValueError for a model that the layout cannot express, and CheckpointError for a full disk, for
    example, or if another model's config.json is there; then existing files are unharmed.
    """
    if layout not in LAYOUTS:
        raise ValueError(f'export: layout is "{layout}", expected one of {", ".join(LAYOUTS)}')
    if not isinstance(model, ViT):
        raise ValueError("export: there is no published layout for a model that is not a ViT")
    path, config, chosen = expanded(path, CheckpointError), model.config, LAYOUTS[layout]
    for field, fits in chosen.fixed.items():
        if getattr(config, field) not in fits:
            raise ValueError(f"export: the {layout} layout cannot express {field}={getattr(config, field)!r}")
    arrays = chosen.views(model.state_dict(), config)
    if layout == "official":
        write_npz(path, arrays)
        return
    metadata = {"format": "pt", METADATA: json.dumps({name: getattr(config, name) for name in TOLD})}
    if layout == "hf":
        arrays = convert_hf.headless(arrays, config)
        check_json(path.with_name("config.json"), convert_hf.to_json(config))
    write_safetensors(path, arrays, metadata)
    if layout == "hf":
        write_json(path.with_name("config.json"), convert_hf.to_json(config))
