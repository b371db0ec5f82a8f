"""Fine-tuning: the weights of one model as the start of another's training (Dosovitskiy et al. 2020, section 3.2).

Positions are resized to the new image size. The head is replaced by zeros, with one output per class of the data. The
layer before it (pre-logits) is dropped. Images are normalised as for the source's weights. A model of another family
starts from a run of the same family, all of whose arrays must fit, except the head.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.data.imagenet import imagenet_classes, some
from minivit.data.trees import composed
from minivit.errors import CheckpointError, ConfigError, DataError, with_article
from minivit.models import ViT, ViTConfig, open_pretrained
from minivit.models.families import build, config_class, config_of, mapping
from minivit.models.freezing import HEAD
from minivit.models.posemb import METHODS, resize_matrix, resize_posemb
from minivit.models.whereabouts import weights_file
from minivit.nn.module import check_match
from minivit.runs import folder as run_folder
from minivit.runs.published import class_numbers, default_preparation
from minivit.runs.recipes import Recipe
from minivit.update.not_finite import is_finite

NEW_WITH_THE_HEAD = ("num_classes", "representation_size", "head_bias")  # fields of ViTConfig
DATA = ("data", "data_root", "val_share", "val_seed", "classes")  # fields of Recipe: which images, which are held out


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights to start from: a model with its own head, a ViT already at the new image size.

    resized: a line for each resized array.   classes: names, or None if unknown.   choices: fields of Recipe that come
    with the weights: mean, std and resize, and for a run its data set.   run: whether it is a run.
    """

    path: str
    model: Any
    resized: list[str]
    classes: list[str] | None
    choices: dict[str, Any]
    run: bool = False


def open_source(
    path: str | Path, model: Mapping[str, Any], resize_positions: str | None = None, keep_head: bool = False
) -> Source:
    """Weights to start from: published ones in any layout, or a run's folder, checkpoint.npz or best.npz.

    Averaged weights are used if the run keeps them. model: fields of ViTConfig that differ from the source's or that a
    file lacks; others as in Recipe. Raises CheckpointError, with lists, for what does not fit.
    """
    path, method = weights_file(path), resize_positions
    if method not in (None, "fresh", *METHODS):
        raise ConfigError(f'resize_positions is "{method}", expected one of {", ".join(METHODS)} or fresh')
    changes = {name: v for name, v in model.items() if name not in (*NEW_WITH_THE_HEAD, "name")}
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such run folder or file")
    if run_folder.run_of(path):
        source = _open_run(path, changes, method, config_class(model) if "name" in model else None)
    elif (chosen := config_class(model)) is not ViTConfig:
        raise ConfigError(f"--init-from reads files of Vision Transformers, but {_a(chosen)} was chosen: give a run")
    else:
        found = open_pretrained(path, resize_method=None if method == "fresh" else method, **changes)
        names = found.classes or (imagenet_classes() if found.model.config.num_classes == 1000 else None)
        source = Source(str(path), found.model, found.resized, names, default_preparation(found))
    config = source.model.config
    if method is not None and not isinstance(config, ViTConfig):
        raise ConfigError("--resize-positions is for Vision Transformers")
    if method is not None and config.position not in ("learned", "learned2d"):
        raise ConfigError(f"position {config.position} has no table: --resize-positions {method} does not apply")
    if keep_head:
        _check_kept_head(source, model)
    for name, array in source.model.state_dict().items():
        if not is_finite(array):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity")
    return source


def _check_kept_head(source: Source, model: Mapping[str, Any]) -> None:
    """Raise unless the source has a head with known classes, and the layers before it stay."""
    config = source.model.config
    if not config.num_classes:
        raise DataError(f"keep_head: {source.path} has no head")
    if source.classes is None:
        raise DataError(f"keep_head: {source.path} does not name the classes of its head")
    if len(source.classes) != config.num_classes:
        raise DataError(
            f"keep_head: {source.path} names {len(source.classes)} classes, its head has {config.num_classes} outputs"
        )
    before = getattr(config, "representation_size", None)
    size = model.get("representation_size", before)
    if size != before:
        raise ConfigError(f"keep_head keeps the layer before it: representation_size is {before}, not {size}")


def _a(config: type[Any]) -> str:
    """ "a ResNet", by the class of a configuration."""
    return with_article(config.__name__.removesuffix("Config"))


def _open_run(run: Path, changes: Mapping[str, Any], method: str | None, chosen: type[Any] | None) -> Source:
    """The model of a run; `method` resizes its position tables if `changes` change the grid. chosen: the class of the
    configuration to start from it, None for the same."""
    trained, recipe, classes = run_folder.load_trained(run)
    old: Any = trained.config
    if type(trained) is not type(build(recipe.model, None)):  # such as a tower of CLIP, which has layers more
        kind = with_article(type(trained).__name__)
        raise CheckpointError(f"{run} is the run of {kind}: a Vision Transformer cannot start from it")
    if chosen and chosen is not type(old):
        raise ConfigError(f"{run} is the run of {_a(type(old))}: {_a(chosen)} cannot start from it")
    base = mapping(old)
    if chosen and chosen is not ViTConfig:  # the name of a model stands for all of its fields
        base = {name: base[name] for name in ("name", "image_size", "channels", "num_classes")}
    model = build(config_of({**base, **changes}, "options"), None, recipe.dtype)
    state, resized = trained.state_dict(), []
    for name in ("position_embedding", "row_embedding", "column_embedding"):
        if isinstance(trained, ViT) and name in state and old.grid != model.config.grid:
            method = "align_corners" if method in (None, "fresh") else method  # as the published code
            state[name] = _resized(name, state[name], trained, model.config.grid, method)
            (rows, columns), (new_rows, new_columns) = old.grid, model.config.grid
            resized.append(f"{name} from {rows} x {columns} to {new_rows} x {new_columns} ({method})")
    check_match({name: x.shape for name, x in model.named_tensors()}, state, str(run), resized)
    for name, tensor in model.named_tensors():
        tensor.data = state[name]
    kept = ("mean", "std", "resize", *DATA)
    return Source(str(run), model, resized, classes, {name: getattr(recipe, name) for name in kept}, True)


def _resized(name: str, table: np.ndarray, model: ViT, grid: tuple[int, int], method: str) -> np.ndarray:
    """One position table of a model, resized to another grid."""
    config = model.config
    if name == "position_embedding":
        prefix = 0 if config.no_embed_class else config.num_prefix_tokens
        return resize_posemb(table, config.grid, grid, prefix, method)
    axis = 0 if name == "row_embedding" else 1  # learned2d: (rows, 1, D/2) and (1, columns, D/2)
    matrix = resize_matrix(config.grid[axis], grid[axis], method).astype(table.dtype)
    return np.moveaxis(np.tensordot(matrix, table, (1, axis)), 0, axis)


@dataclasses.dataclass(frozen=True)
class Start:
    """A model with the weights of a source, and what happened to each array of both, by name."""

    model: Any
    loaded: list[str]
    resized: list[str]
    replaced: list[str]
    new: list[str]
    left_out: list[str]

    def __str__(self) -> str:
        """A line for each list that is not empty; loaded arrays are counted by place."""
        places = ", ".join(dict.fromkeys(name.partition(".")[0] for name in self.loaded))
        lines = {
            "loaded": f"{len(self.loaded)} arrays: {places}",
            "resized": ", ".join(self.resized),
            "replaced": ", ".join(self.replaced),
            "new": ", ".join(self.new),
            "left out": ", ".join(self.left_out),
        }
        return "\n".join(f"  {title}: {text}" for title, text in lines.items() if text)


def start(source: Source, recipe: Recipe, classes: Sequence[str]) -> Start:
    """The model of a recipe with the weights of its source.   classes: of the data, for `keep_head`.

    Only parts without source weights are drawn, from the recipe's seed; the head of a ViT begins at zero. Raises
    DataError if a kept head has other classes.
    """
    given, resized = source.model.state_dict(), []
    anew = set() if recipe.keep_head else _head(source.model)
    if recipe.keep_head:
        rows = _rows(source, classes)
        if rows != list(range(source.model.config.num_classes)):
            heads = _head(source.model) - {"pre_logits.weight", "pre_logits.bias"}
            given |= {name: given[name][..., rows] for name in heads}  # (D, K) and (K,)
            resized.append(f"head from {source.model.config.num_classes} classes to {len(rows)} of them")
    if recipe.resize_positions == "fresh":
        anew |= {name for name in given if name.endswith(("position_embedding", "row_embedding", "column_embedding"))}
    model = build(recipe.model, None, recipe.dtype)
    own = dict(model.named_tensors())
    loaded = [name for name in own if name in given and name not in anew]
    if set(own) - set(loaded) - {"head.weight", "head.bias"}:
        model = build(recipe.model, recipe.seed, recipe.dtype)
        own = dict(model.named_tensors())
    check_match({name: own[name].shape for name in loaded}, {name: given[name] for name in loaded}, source.path)
    for name in loaded:
        own[name].data = given[name].astype(recipe.dtype)
    resized += source.resized if recipe.resize_positions != "fresh" else []
    return Start(
        model,
        loaded,
        resized,
        [name for name in own if name in given and name in anew],
        [name for name in own if name not in given],
        [name for name in given if name not in own],
    )


def _head(model: Any) -> set[str]:
    """The arrays that belong to the head: by name in a ViT, elsewhere those whose shape depends on the classes."""
    shapes = {name: tensor.shape for name, tensor in model.named_tensors()}
    if isinstance(model, ViT):
        return {name for name in shapes if name.partition(".")[0] in HEAD}
    more = build(dataclasses.replace(model.config, num_classes=model.config.num_classes + 1), None)
    others = {name: tensor.shape for name, tensor in more.named_tensors()}
    return {name for name, shape in shapes.items() if others.get(name) != shape}


def _rows(source: Source, classes: Sequence[str]) -> list[int]:
    """The output of the source's head for each class, in any order; for ImageNet also by WordNet id. Raises DataError
    for an unknown class, and for two names of one class."""
    names = source.classes or []
    if names == list(classes):
        return list(range(len(names)))
    numbers = {composed(name): number for name, number in class_numbers(names, source.run).items()}
    rows = [numbers.get(composed(name), -1) for name in classes]
    if -1 in rows:
        raise DataError(
            f"keep_head: the head of {source.path} is for {len(names)} classes ({some(names)}), and none of them is "
            f"{some(name for name, row in zip(classes, rows, strict=True) if row == -1)}"
        )
    if twice := [name for name, row in zip(classes, rows, strict=True) if rows.count(row) > 1]:
        raise DataError(f"keep_head: the head of {source.path} has one class for {some(twice)}")
    return rows
