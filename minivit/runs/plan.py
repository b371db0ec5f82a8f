"""Turns options into a plan for a run: recipe, starting weights, teacher, data, folder name."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit import lineage
from minivit.data import Dataset
from minivit.data.choice import read_choice
from minivit.data.imagenet import some
from minivit.data.kinds import parted
from minivit.errors import ConfigError, DataError, meant, shown
from minivit.files import expanded
from minivit.files.fields import from_text, hints
from minivit.models import ResNet, ViT
from minivit.models.families import config_class, mapping, named_fields
from minivit.models.whereabouts import weights_file
from minivit.runs import folder as run_folder
from minivit.runs import presets, recipes, transfer
from minivit.runs.answers import Task, load_pretrained
from minivit.runs.recipes import OF_CLASSIFICATION, Recipe
from minivit.runs.transfer import Source

LARGEST_BATCH = 512  # the paper's, of fine-tuning
UPDATES_AN_EPOCH = 20
FEWEST_STEPS = 500  # the paper's for its smallest data sets
EPOCHS = 10
EVALUATIONS = 20  # at most, where an epoch is only a few updates
CUT = {"batch_size", "workers", "backend", "model", "image_size", "patch_size", "objective"}  # what decides on pieces

OF_A_HEAD = ("num_classes", "classifier", "representation_size", "head_bias", "fc_norm")  # fields of ViTConfig

OpenData = Callable[[str, str | None, str, str, float | None, int, Sequence[str] | None], Dataset]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run before it is created.   source: its starting weights; teacher: the objective's teacher; name: its preset's,
    or that of the folder of its config."""

    recipe: Recipe
    source: Source | None
    teacher: ViT | ResNet | None
    train: Dataset
    test: Dataset
    name: str


def plan(
    given: Mapping[str, Any],
    open_data: OpenData,
    find_weights: Callable[[str], str | Path] = weights_file,
    resolve_backend: Callable[[str], str] = str,
) -> Plan:
    """The run that the options ask for.

    given: by name, fields of Recipe and of the model's configuration, and "preset", "config", "model" (a name),
    "objective" (a name), "set" (pairs of a field of the objective and text) and "teacher".
    open_data: opens a data set by name, folder, split, bad_images, val_share, val_seed and classes.   find_weights:
    finds the file or run of a name.   resolve_backend: chooses the backend for "auto".
    Raises ConfigError, DataError or CheckpointError, in one line.
    """
    # 1. The options go before those of a preset or a config file.
    choices, name = merged(given)

    # 2. With starting weights come shape and preparation, from a run also its data.
    source = None
    if choices.get("init_from"):
        choices["init_from"] = str(find_weights(choices["init_from"]))
        how = choices.get("resize_positions"), bool(choices.get("keep_head"))
        source = transfer.open_source(choices["init_from"], choices["model"], *how)
        choices = _inherited(source, choices)
    teacher, objective = None, choices.get("objective") or {}
    if objective.get("teacher"):
        path = str(find_weights(objective["teacher"]))
        teacher = load_pretrained(path)
        choices |= {"objective": {**objective, "teacher": path}, "teacher": mapping(teacher.config)}

    # 3. The data, whose images decide how long fine-tuning takes.
    if "data" not in choices:
        raise ConfigError(f"preset {name} needs --data folder:PATH")
    if "data" not in given and (origin := given.get("config") or (source and source.path)):
        run_folder.check_place(choices["data"], expanded(origin).parent if "config" in given else Path(origin))
    choices["backend"] = resolve_backend(choices.get("backend", "numpy"))
    if choices.get("val_share") is not None and choices.get("val_seed") is None:
        choices["val_seed"] = choices.get("seed", 0)
    where, bad = (choices["data"], choices.get("data_root")), choices.get("bad_images", "refuse")
    held_out, classes = (choices.get("val_share"), choices.get("val_seed") or 0), choices.get("classes")
    if isinstance(classes, str):
        classes = read_choice(expanded(classes))
    train, test = splits(lambda split: open_data(*where, split, bad, *held_out, classes), choices.get("limit"))
    if classes is not None:
        choices["classes"] = tuple(train.classes)  # so that the run does not need the file again
    if source:
        choices = _scaled(choices, len(train))

    # 4. The Recipe.
    recipe = recipes.complete(choices, train)
    check_columns(recipe, train)
    if teacher and teacher.task and "labels" in lineage.columns(recipe.objective):
        check_teacher(teacher.task, recipe, train)
    return Plan(recipe, source, teacher, train, test, name)


def splits(open_split: Callable[[str], Dataset], limit: int | None) -> tuple[Dataset, Dataset]:
    """Training data, limited to `limit` images, and test data."""
    train = open_split("train")
    return (train.limit(limit) if limit else train), open_split("test")


def check_columns(recipe: Recipe, data: Dataset) -> None:
    """Raise DataError unless the data set has the columns that the recipe's objective reads."""
    if lacking := [name for name in lineage.columns(recipe.objective) if name not in data.COLUMNS]:
        objective = (recipe.objective or {"name": "classification"})["name"]
        raise DataError(f"{data.name} has no {', '.join(lacking)}, which the objective {objective} needs")


def check_teacher(task: Task, recipe: Recipe, data: Dataset) -> None:
    """Raise unless the teacher knows the classes of the data and was trained on images prepared as in this run."""
    path = shown((recipe.objective or {})["teacher"])
    if not task.classes:
        raise DataError(f"the teacher {path} has no classes")
    if list(task.classes) != list(data.classes):
        known, wanted = some(task.classes), some(data.classes)
        raise DataError(f"the teacher {path} knows the classes {known}, but the data has {wanted}")
    for name in ("mean", "std"):
        theirs, ours = getattr(task.preparation, name), getattr(recipe, name)
        if not np.allclose(theirs, ours):
            raise ConfigError(f"the teacher {path} was trained with {name} {theirs}, but this run has {ours}")


def merged(given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The given options over the choices of the preset or config file, and a name for the run."""
    given = dict(given)
    base, name = _base(given, given.pop("config", None), given.pop("preset", None))
    base.pop("teacher", None)  # the shape of another's
    if "init_from" in given:  # with the weights comes how they were made, and of a run the data
        taken = {"model", "mean", "std", "resize", *transfer.DATA}
        base = {key: value for key, value in base.items() if key not in taken}
    base |= length(given)
    before, model = base.pop("objective", None), dict(base.pop("model", {}))
    objective = _objective(before, given)
    if objective:
        unused = {*OF_CLASSIFICATION, *lineage.unheeded(objective)}
        base = {key: value for key, value in base.items() if key not in unused}
    if (before or {}).get("name") != (objective or {}).get("name"):
        of_one = {*OF_A_HEAD, *lineage.needed(lineage.settled(before))}  # which is for one objective
        model = {key: value for key, value in model.items() if key not in of_one}
    if "model" in given:
        fields = named_fields(given.pop("model"))
        model.pop("stem", None)  # a named model says itself whether it has one
        model = {**model, **fields} if config_class(fields) is config_class(model) else fields
    names = {field.name for field in dataclasses.fields(config_class(model))}
    model |= {key: given.pop(key) for key in list(given) if key in names}
    return {**base, **given, "model": model, "objective": objective}, name


def _base(given: Mapping[str, Any], config: str | None, name: str | None) -> tuple[dict[str, Any], str]:
    """The choices below the given options: of a config file, the named preset, or the preset that fits."""
    if config and name:
        raise ConfigError("--config and --preset both choose a recipe: give one of them")
    if not config:
        starting, data, objective = "init_from" in given, given.get("data"), given.get("objective", "classification")
        if name == "finetune" and not starting:
            raise ConfigError("preset finetune needs --init-from FILE")
        if name or objective == "classification":
            name = name or ("finetune" if starting else presets.preset_for(data or "digits"))
            return presets.preset(name), name
        if fitting := presets.of_objective(objective, data):
            return presets.preset(fitting), fitting
        data = data or "digits"
        return presets.preset(presets.preset_for(data)), f"{data.partition(':')[0]}-{objective}"
    path = expanded(config)
    base = recipes.to_mapping(recipes.read_config(path))
    if not same_kind(given.get("data", base["data"]), base["data"]):
        raise ConfigError("--config is for one data set; to change it use --preset and options")
    if not CUT.isdisjoint(given):
        base["accumulate"] = None  # it was chosen for another size
    if given.get("backend", base["backend"]) != base["backend"]:
        base["workers"] = None
    return base, path.resolve().parent.name or "config"  # of a file in the root folder


def _objective(base: Mapping[str, Any] | None, given: dict[str, Any]) -> dict[str, Any] | None:
    """The objective of a preset or config file with the given options applied, which are removed from `given`; None for
    classification."""
    name, settings, teacher = given.pop("objective", None), given.pop("set", []), given.pop("teacher", None)
    settings = [*settings, *([("teacher", teacher)] if teacher else [])]
    objective = dict(base or {"name": "classification"})
    if name and name != objective["name"]:
        objective = {"name": name}
    if objective["name"] == "classification":
        if settings:
            raise ConfigError("--set and --teacher need an objective: name it with --objective")
        return None
    kinds = hints(lineage.objective_class(objective["name"]).Config)
    for field, text in settings:
        if field not in kinds:
            known = f"{meant(field, kinds)}; it has {', '.join(kinds)}"
            raise ConfigError(f'the objective {objective["name"]} has no field "{shown(field)}"{known}')
        try:
            objective[field] = from_text(text, kinds[field])
        except ConfigError as error:
            raise ConfigError(f"--set {field}: {error}") from None
    return objective


def length(given: Mapping[str, Any]) -> dict[str, Any]:
    """The length of training as fields of a Recipe: from the options, never both epochs and steps."""
    if {"epochs", "steps"} <= given.keys():
        raise ConfigError("--epochs and --steps both choose how long to train: give one of them")
    chosen: dict[str, Any] = {name: given[name] for name in ("epochs", "steps", "patience") if name in given}
    return {"steps": None, **chosen} if "epochs" in given else chosen  # those of a config would win


def same_kind(data: str, other: str) -> bool:
    """Whether both names mean the same data set. Two paths of one kind count as the same, since the data may have
    moved."""
    (kind, path), (other_kind, other_path) = parted(data), parted(other)
    return data == other or (kind == other_kind and bool(path and other_path))


def _inherited(source: Source, choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices, with the source's values where nothing is chosen."""
    own = {n: v for n, v in source.choices.items() if "data" not in choices or n not in transfer.DATA}
    shape = mapping(source.model.config)
    if not choices.get("keep_head") and isinstance(source.model, ViT):
        shape |= {"representation_size": None, "head_bias": 0.0}
    del shape["num_classes"]  # of the data
    return {**own, **choices, "model": {**shape, **choices.get("model", {})}}


def _scaled(choices: Mapping[str, Any], images: int) -> dict[str, Any]:
    """Fill in a batch size and number of steps suited to this number of images, if not chosen.

    The paper uses a batch of 512 both for a million images and for two thousand, where that is four updates an epoch.
    Here the batch is the largest power of two, from 8 to 512, that gives at least 20 updates an epoch. The run lasts 10
    epochs (the paper: 8 on ImageNet, about 100 on smaller sets), but at least 500 steps, the paper's shortest. It is
    evaluated after every epoch, at most 20 times.
    """
    wanted = min(LARGEST_BATCH, max(8, images // UPDATES_AN_EPOCH))
    batch = choices.get("batch_size")
    if batch is None:
        batch = min(images, 2 ** (wanted.bit_length() - 1))
    scaled = {"batch_size": batch}
    if not {"steps", "epochs"} & choices.keys() and batch > 0:
        scaled["steps"] = max(FEWEST_STEPS, EPOCHS * (images // batch))
        scaled["eval_every"] = choices.get("eval_every") or max(images // batch, scaled["steps"] // EVALUATIONS)
    return {**choices, **scaled}
