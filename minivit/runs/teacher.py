"""The network from which a run's objective learns, where it has a field `teacher`.

Its weights are in the checkpoints of the run, and its shape in teacher.json beside them: going on needs nothing else.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import ConfigError, DataError, shown
from minivit.files import parse_json
from minivit.models.archive import replacing
from minivit.models.families import build, config_of, mapping
from minivit.nn import Module
from minivit.runs.recipes import Recipe

SHAPE = "teacher.json"


def open_teacher(
    recipe: Recipe, classes: Sequence[str], folder: Path | None, load: Callable[[str], Module]
) -> Module | None:
    """The teacher of a run, None if it has none.

    classes: names, of the data.   folder: of the run: what is returned of one that has been saved has only its shape.
    load: opens a trained model with its task, by its run folder or file. Raises CheckpointError, ConfigError, and
    DataError for a teacher of other classes.
    """
    path = (recipe.objective or {}).get("teacher")
    if not path:
        return None
    if folder and (saved := saved_teacher(folder, recipe.dtype)) is not None:
        return saved
    teacher = load(path)
    check(teacher.task, recipe, classes, shown(path))
    return teacher


def check(task: Any, recipe: Recipe, classes: Sequence[str], path: str) -> None:
    """Raise unless the teacher knows the same classes and is used to images as the run prepares them."""
    if list(task.classes) != list(classes):
        known, wanted = (", ".join(map(shown, names[:3])) for names in (task.classes, list(classes)))
        raise DataError(f"the teacher {path} knows the classes {known}, ..., and the data has {wanted}, ...")
    for name in ("mean", "std"):
        theirs, ours = getattr(task.preparation, name), getattr(recipe, name)
        if not np.allclose(theirs, ours):
            raise ConfigError(f"the teacher {path} was trained with {name} {theirs}, and this run has {ours}")


def write_teacher(folder: Path, teacher: Module) -> None:
    """Write the shape of a run's teacher, once. Raises CheckpointError if that fails."""
    if not (folder / SHAPE).exists():
        with replacing(folder / SHAPE) as partial:
            text = json.dumps(mapping(teacher.config), indent=2)  # type: ignore[attr-defined]
            partial.write_text(text + "\n", encoding="utf-8")


def saved_teacher(folder: Path, dtype: str) -> Module | None:
    """The teacher of a run that has been saved, as yet without the weights; None if there is none. Raises ConfigError
    for a file that is damaged."""
    path = folder / SHAPE
    try:
        fields = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: expected a JSON object of the fields of a model")
    network: Module = build(config_of(fields, str(path)), None, dtype)
    return network
