"""Run folders: config.json, metrics.jsonl, checkpoint.npz, curves.png. Checkpoints hold arrays only, no pickles."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.backend import to_numpy
from minivit.errors import CheckpointError
from minivit.models import ResNet, ViT, freeze
from minivit.models.archive import read_npz, write_npz
from minivit.models.families import build
from minivit.recipes import Recipe, read_config, to_json

FORMAT = "minivit checkpoint 1"


def create(folder: Path, recipe: Recipe) -> None:
    """Make a run folder holding config.json; it appears whole or not at all. Raises CheckpointError if it exists."""
    if folder.exists():
        raise CheckpointError(f"{folder} exists already: continue it with --resume {folder}, or choose another --out")
    partial = folder.with_name(folder.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "config.json").write_text(to_json(recipe), encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        raise CheckpointError(f"cannot create the run folder {folder}: {error.strerror or error}") from error


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder. Raises CheckpointError if `folder` is not one."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} is not a run folder: it has no config.json")
    return read_config(folder / "config.json")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """`path`, to be written in this context; an OSError, for a full disk for instance, becomes a CheckpointError."""
    try:
        yield path
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def write_metrics(folder: Path, lines: Sequence[Mapping[str, Any]], append: bool = False) -> None:
    """Write metrics.jsonl, or add to it. Raises CheckpointError if that fails."""
    with writing(folder / "metrics.jsonl") as path, open(path, "a" if append else "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def write_checkpoint(folder: Path, states: Mapping[str, Mapping[str, Any]], meta: Mapping[str, Any]) -> None:
    """Write checkpoint.npz, replacing an older one only once the new one is complete on disk.

    states: state_dicts by part ("model", "optimizer", "ema"), kept as arrays "part/name"; meta: values for JSON.
    Raises CheckpointError, for a full disk for instance; then the older checkpoint is unharmed.
    """
    arrays = {f"{part}/{name}": to_numpy(array) for part, state in states.items() for name, array in state.items()}
    arrays["meta"] = np.frombuffer(json.dumps({"format": FORMAT, **meta}).encode(), np.uint8)
    write_npz(folder / "checkpoint.npz", arrays)


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """The state_dicts of a checkpoint.npz by part, and its meta values.

    Raises CheckpointError for a file that is missing, damaged or of another kind.
    """
    arrays = read_npz(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
        if meta["format"] != FORMAT:
            raise ValueError(f'its format is "{meta["format"]}"')
        meta = {key: meta[key] for key in ("step", "sums", "metrics", "classes", "images")}
    except (KeyError, ValueError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path} is not a checkpoint of a minivit run: {reason}") from error
    states: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        states.setdefault(part, {})[rest] = array
    return states, meta


def load_trained(folder: Path) -> tuple[ViT | ResNet, Recipe, list[str]]:
    """The model of a run as it is evaluated (averaged weights if the run keeps them), its recipe and class names."""
    recipe = read_recipe(folder)
    path = folder / "checkpoint.npz"
    if not path.exists():
        raise CheckpointError(f"{folder} has no checkpoint yet: train it with --resume {folder}")
    states, meta = read_checkpoint(path)
    state = states.get("model", {})
    model = build(recipe.model, seed=None, dtype=recipe.dtype).eval()
    freeze(model, recipe.freeze)
    if recipe.ema:  # of what learns
        learning = dict(model.named_parameters())
        frozen = {name: array for name, array in state.items() if name not in learning}
        averages = {name: a for name, a in states.get("ema", {}).items() if name != "steps"}
        state = frozen | {name.removeprefix("average/"): a for name, a in averages.items()}
    model.load_state_dict(state, str(path))
    return model, recipe, meta["classes"]
