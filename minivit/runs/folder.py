"""Run folders: config.json, metrics.jsonl, checkpoint.npz, best.npz, curves.png; samples.png if the objective draws.

Checkpoints hold arrays only, no pickles: checkpoint.npz has everything needed to continue, best.npz the weights of the
best evaluation.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.backend import to_numpy
from minivit.data.kinds import folder_of, parted
from minivit.errors import CheckpointError, DataError, quoted
from minivit.files import expanded, locks, parse_json
from minivit.models import ResNet, ViT, freeze
from minivit.models.archive import read_npz, replacing, write_npz
from minivit.models.families import build
from minivit.runs.objectives import make_objective
from minivit.runs.recipes import Recipe, read_config, to_json
from minivit.update.objective import Objective

FORMAT, FIRST_FORMAT = "minivit checkpoint 2", "minivit checkpoint 1"
LAST, BEST = "checkpoint.npz", "best.npz"


def create(folder: str | Path, recipe: Recipe) -> None:
    """Make a run folder with config.json, completely or not at all. Raises CheckpointError if it exists."""
    folder = expanded(folder, CheckpointError)
    if os.path.lexists(folder):
        raise CheckpointError(exists(folder))
    try:
        if not folder.parent.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
        with locks.replacing(folder, folder=True) as partial:
            (partial / "config.json").write_text(to_json(placed(recipe)), encoding="utf-8")
    except OSError as error:
        failed = f"cannot create the run folder {folder}: {error.strerror or error}"
        raise CheckpointError(exists(folder) if os.path.lexists(folder) else failed) from error


def exists(folder: Path) -> str:
    """Advice about a folder that exists already."""
    return f"{folder} exists already: continue it with --resume {quoted(folder)}, or choose another --out"


def create_numbered(base: Path, recipe: Recipe) -> Path:
    """Make the run folder `base`, or the first of base-2, base-3, ... that does not exist. The process that makes a
    folder first gets its name. Raises CheckpointError."""
    folder, number = base, 1
    while True:
        try:
            create(folder, recipe)
            return folder
        except CheckpointError:
            if not os.path.lexists(folder):
                raise
        number += 1
        folder = base.with_name(f"{base.name}-{number}")


def remove_unused(folder: Path) -> None:
    """Remove a run folder in which nothing has been learned; files that do not belong to the run stay."""
    for name in ("config.json", "metrics.jsonl"):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def located(data: str) -> str:
    """The name of a data set; a path in it becomes a full path, so that it can be found from anywhere."""
    kind, path = parted(data)
    return f"{kind}:{full_path(path)}" if path else data


def check_place(data: str, run: Path) -> None:
    """Raise DataError if the run's data set has a place that no longer exists."""
    name = located(data)
    kind, path = parted(name)
    if path and not (place := folder_of(Path(path))).exists():
        relative = "" if name == data else f" ({data}, seen from the working folder)"
        raise DataError(
            f"{place}{relative}: there is no such folder, but {run} was trained on it; if the data has moved, say "
            f"where it is now: --data {kind}:PATH"
        )


def full_path(path: str) -> str:
    """The absolute path. Raises DataError if ~ cannot be resolved."""
    given = expanded(path)
    return str(given.resolve() if ".." in given.parts else given.absolute())


def placed(recipe: Recipe) -> Recipe:
    """The recipe with all its paths absolute."""
    root, source = (path and full_path(path) for path in (recipe.data_root, recipe.init_from))
    objective = recipe.objective
    if objective and objective.get("teacher"):
        objective = {**objective, "teacher": full_path(objective["teacher"])}
    places: dict[str, Any] = {
        "data": located(recipe.data),
        "data_root": root,
        "init_from": source,
        "objective": objective,
    }
    return dataclasses.replace(recipe, **places)


def short_name(data: str) -> str:
    """The name of a data set for a title; of a path only the last part."""
    kind, path = parted(data)
    return f"{kind}:{Path(path).name}" if path else kind


@contextlib.contextmanager
def one_writer(folder: Path, warn: Callable[[str], Any]) -> Iterator[None]:
    """In this context no other process trains the run. Raises CheckpointError if one already does.

    warn: called with one line on a file system without locks, where this cannot be checked.
    """
    with contextlib.ExitStack() as stack:
        try:
            locked = stack.enter_context(locks.lock(folder / "lock"))
        except locks.HeldError as error:
            raise CheckpointError(f"{folder} is in use: {error} is training it; wait, or stop it first") from None
        except OSError as error:
            raise CheckpointError(f"cannot write into {folder}: {error.strerror or error}") from error
        if not locked:
            warn(f"{folder} is on a file system without locks: do not train it in two processes at once")
        yield


def version(folder: Path) -> tuple[int, ...] | None:
    """A value that changes with every saved checkpoint; None without one."""
    try:
        found = (folder / LAST).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def record_changes(folder: Path, recipe: Recipe) -> None:
    """Record in config.json the data's new place and the new length of the run. Raises CheckpointError on failure."""
    path = folder / "config.json"
    if not path.exists():
        return
    stored = read_config(path)
    names = ("data", "data_root", "epochs", "steps", "patience")
    changed = dataclasses.replace(stored, **{name: getattr(recipe, name) for name in names})
    if changed != stored:
        with replacing(path) as partial:
            partial.write_text(to_json(placed(changed)), encoding="utf-8")


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder. Raises CheckpointError if `folder` is not one."""
    if not os.path.lexists(folder):
        raise CheckpointError(f"{folder}: there is no such run folder or file")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} is not a run folder: it has no config.json")
    return read_config(folder / "config.json")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A context for writing `path`; an OSError, for example from a full disk, becomes a CheckpointError."""
    try:
        yield path
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def write_metrics(folder: Path, lines: Sequence[Mapping[str, Any]], append: bool = False) -> None:
    """Write metrics.jsonl, or add to it. Raises CheckpointError if that fails."""
    path, text = folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines)
    if append:
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(text)
    else:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")


def write_checkpoint(
    folder: Path, states: Mapping[str, Mapping[str, Any]], meta: Mapping[str, Any], name: str = LAST
) -> None:
    """Write checkpoint.npz or best.npz; the older file is replaced only when the new one is complete on disk.

    states: state_dicts by part ("objective", "optimizer", "ema"), stored as arrays "part/name"; meta: values for JSON.
    Raises CheckpointError, for example for a full disk; then the older checkpoint is unharmed.
    """
    arrays = {f"{part}/{name}": to_numpy(array) for part, state in states.items() for name, array in state.items()}
    arrays["meta"] = np.frombuffer(json.dumps({"format": FORMAT, **meta}).encode(), np.uint8)
    write_npz(folder / name, arrays)


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """The state_dicts of a checkpoint.npz or best.npz by part, and its meta values.

    Raises CheckpointError for a file that is missing, damaged or not a checkpoint.
    """
    arrays = read_npz(path)
    try:
        meta = parse_json(arrays.pop("meta").tobytes())
        if (number := meta["format"]) not in (FORMAT, FIRST_FORMAT):
            raise ValueError(f'its format is "{number}"')
        meta = {key: meta[key] for key in ("step", "sums", "metrics", "classes", "images")}
    except (KeyError, ValueError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path} is not a checkpoint of a minivit run: {reason}") from error
    if number == FIRST_FORMAT:
        arrays = {_renamed(name): array for name, array in arrays.items()}
        meta["sums"] = dict(zip(("loss", "steps"), meta["sums"], strict=True))
    states: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        states.setdefault(part, {})[rest] = array
    return states, meta


def _renamed(name: str) -> str:
    """The current name of an array of the first format, which held only models."""
    part, _, rest = name.partition("/")
    if part == "model":
        return f"objective/model.{rest}"
    slot, _, rest = rest.rpartition("/")
    return f"{part}/{slot}/model.{rest}" if slot else name


def run_of(path: Path) -> Path | None:
    """The run folder meant by a path: the folder, or one of its weights files; None for other files."""
    if path.name in (LAST, BEST) and (path.parent / "config.json").is_file():
        return path.parent
    return path if path.is_dir() else None


def load_trained(run: str | Path) -> tuple[ViT | ResNet, Recipe, list[str]]:
    """The model of a run for evaluation (averaged weights if the run keeps them), its recipe and class names.

    run: its folder, or checkpoint.npz or best.npz in it. For an objective other than classification, its encoder. If
    that only follows another network, the weights come from the network that learns.
    """
    objective, recipe, classes = load_objective(run)
    model: Any = objective.learner
    if model is not objective.encoder:
        model.load_state_dict(objective.encoder.state_dict())
    return model.eval(), recipe, classes


def load_objective(run: str | Path) -> tuple[Objective, Recipe, list[str]]:
    """The objective of a run for evaluation, its recipe and class names.   run: as for `load_trained`."""
    run = expanded(run, CheckpointError)
    folder = run_of(run) or run
    path = folder / LAST if folder == run else run
    recipe = read_recipe(folder)
    if not path.exists():
        missing = "no checkpoint" if path.name == LAST else f"no {BEST}, because it has not been evaluated"
        raise CheckpointError(f"{folder} has {missing} yet: train it with --resume {quoted(folder)}")
    states, meta = read_checkpoint(path)
    blank = None if recipe.objective else build(recipe.model, seed=None, dtype=recipe.dtype)
    objective = make_objective(recipe, meta["classes"], meta["images"], blank).eval()
    freeze(objective.learner, recipe.freeze)  # type: ignore[arg-type]
    state = states.get("objective", {})
    if recipe.ema:  # of what learns
        learning = dict(objective.named_parameters())
        rest = {name: array for name, array in state.items() if name not in learning}
        averages = {name: a for name, a in states.get("ema", {}).items() if name != "steps"}
        state = rest | {name.removeprefix("average/"): a for name, a in averages.items()}
    objective.load_state_dict(state, str(path))
    return objective, recipe, meta["classes"]
