"""Recomputes recorded outputs of published code: values, losses and gradients, in float64.

A folder holds NAME.safetensors (weights under their published names), NAME.io.npz (inputs and outputs) and NAME.json
(the configuration). A recording of single numbers is a folder NAME with NAME.json, whose `results` they are. It may
have more tables of numbers, NAME_TABLE.json. For a system `x`, `minivit/lineage/recorded/x.py` has `recompute(case)`,
which returns every array that the system defines, by its name in the io file.
"""

import dataclasses
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.errors import DataError
from minivit.files import expanded, parse_json
from minivit.lineage import SYSTEMS
from minivit.models.archive import read_arrays, read_npz
from minivit.nn import Module
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad

_WORDS = (  # transformers' names of inputs and outputs -> those of most recordings
    (r"(?<![^/])pixel_values$", "image"),
    (r"(?<![^/])bool_masked_pos$", "mask"),
    (r"(?<![^/])last_hidden_state$", "output"),
    (r"(?<![^/])pooler_output$", "pooled"),
)
TOLERANCE = 1e-9  # of the largest difference, relative to the largest recorded value


@dataclasses.dataclass
class Case:
    """The recording of a system.   config: its configuration in the published code's names; notes: of the recording;
    weights: float64, by published name; arrays: of the io file. `given` collects the names of those read as inputs,
    `drawn` the relative errors that are allowed where the published code drew numbers that nobody can repeat."""

    name: str
    config: dict[str, Any]
    meta: dict[str, Any]
    weights: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    given: set[str] = dataclasses.field(default_factory=set)
    drawn: dict[str, float] = dataclasses.field(default_factory=dict)

    def input(self, name: str) -> np.ndarray:
        """An array that is an input of the system, not computed by it."""
        if name not in self.arrays:
            raise DataError(f"{self.name}: the recording has no array {name}")
        self.given.add(name)
        return self.arrays[name]

    def images(self, name: str) -> np.ndarray:
        """An input of images (B, height, width, C), of clips (B, T, height, width, C), or of stacks of images."""
        images = self.input(name)
        return images.transpose(self._places(images.ndim))

    def laid_out(self, images: np.ndarray) -> np.ndarray:
        """Images, clips or their gradient, with every axis at the recording's place."""
        return images.transpose(np.argsort(self._places(images.ndim)))

    def loss(self, output: Tensor, group: str = "") -> Tensor:
        """The mean cross entropy of logits with recorded labels, or else the sum of output times recorded cotangent."""
        if f"{group}labels" in self.arrays:
            return F.cross_entropy(output, self.input(f"{group}labels"))
        return (output * Tensor(self.input(f"{group}cotangent"))).sum()

    def differentiated(
        self, loss: Tensor, inputs: Tensor | dict[str, Tensor], module: Module
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The gradients of all trainable Tensors, by our names; and, by their names in recordings, the inputs'
        gradients and the joint norm of the others.   inputs: images, or several Tensors by name."""
        inputs = {"image": inputs} if isinstance(inputs, Tensor) else inputs
        names, learning = zip(*module.named_parameters(), strict=True)
        both = grad(loss, [*inputs.values(), *learning])
        in_inputs, gradients = both[: len(inputs)], both[len(inputs) :]
        found = {"grad_norm": np.array(global_norm(gradients))}
        for name, g in zip(inputs, in_inputs, strict=True):
            found[f"grad_input/{name}"] = self.laid_out(g) if g.ndim > 3 else g
        return dict(zip(names, gradients, strict=True)), found

    def _places(self, axes: int) -> list[int]:
        """Where the recording has each axis of images or clips."""
        layout, same = str(self.meta.get("image_layout", "NCHW")), [*range(axes)]
        for told in re.findall(r"\(([BTCHW, ]+)\)", layout):  # of clips
            letters = re.sub("[, ]", "", told)
            if axes == 5 and sorted(letters) == sorted("BTHWC"):
                return [letters.index(letter) for letter in "BTHWC"]
        channels_first = layout.startswith("NCHW")  # more words may follow
        return [*same[:-3], *same[-2:], same[-3]] if channels_first else same


@dataclasses.dataclass
class Compared:
    """One recorded array.   error: relative to its largest value, or absolute for a gradient of 0; None if the system
    does not know the array.   allowed: the largest error that is fine, above TOLERANCE only for random numbers."""

    name: str
    error: float | None
    allowed: float = TOLERANCE

    @property
    def fine(self) -> bool:
        return self.error is not None and self.error <= self.allowed


def system_of(name: str, title: str = "") -> str:
    """The system of a recording: `mae_raw` belongs to `mae`. Otherwise the first word of its title names it, "MAE with
    raw pixels". Raises DataError if there is none."""
    beginnings = {own: system for system, facts in SYSTEMS.items() for own in (system, *facts.recordings)}
    fitting = [own for own in beginnings if name == own or name.startswith(f"{own}_")]
    word = re.split(r"\W", title.strip(), maxsplit=1)[0].lower()
    if not fitting and word not in SYSTEMS:
        raise DataError(f"{name}: no such system is here; known: {', '.join(SYSTEMS)}")
    return beginnings[max(fitting, key=len)] if fitting else word


def folders_in(folder: Path) -> list[Path]:
    """The recordings in a folder, or the folder itself. Raises DataError if there are none."""
    folder = expanded(folder)
    found = [inner for inner in (folder, *sorted(folder.glob("*/"))) if any(inner.glob("*.io.npz")) or _tables(inner)]
    if not found:
        raise DataError(f"{folder}: expected a folder with NAME.safetensors, NAME.io.npz and NAME.json")
    return found


def open_case(folder: str | Path) -> Case:
    """The recording in a folder. Raises DataError if a file is missing or damaged."""
    folder = folders_in(Path(folder))[0]
    if tables := _tables(folder):
        meta, *others = map(_read_json, tables)
        if not isinstance(meta.get("results"), dict):
            raise DataError(f"{tables[0]}: it has no results, and {tables[0].stem}.io.npz is not beside it")
        arrays = _numbers(meta["results"])
        for table, content in zip(tables[1:], others, strict=True):
            arrays |= _numbers(content, f"{table.stem.removeprefix(f'{tables[0].stem}_')}/")
        return Case(tables[0].stem, {}, meta, {}, arrays)
    path = min(folder.glob("*.io.npz"))
    name = path.name.removesuffix(".io.npz")
    meta = _read_json(folder / f"{name}.json")
    weights = folder / f"{name}.safetensors"
    arrays = read_arrays(weights)[0] if weights.exists() else {}
    wide = {key: np.asarray(x, np.float64) for key, x in arrays.items()}
    return Case(name, meta.get("config", {}), meta, wide, read_npz(path))


def _tables(folder: Path) -> list[Path]:
    """The files of a recording of single numbers, [] for another."""
    first = folder.resolve() / f"{folder.resolve().name}.json"
    if any(folder.glob("*.io.npz")) or not first.is_file():
        return []
    return [first, *sorted(first.parent.glob(f"{first.stem}_*.json"))]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return content if isinstance(content, dict) else {}


def _numbers(table: dict[str, Any], before: str = "") -> dict[str, np.ndarray]:
    """The numbers of a nested table by their place: {"a": {"b": 1}} -> {"a/b": 1}."""
    found: dict[str, np.ndarray] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= _numbers(value, f"{before}{name}/")
        elif isinstance(value, int | float):
            found[f"{before}{name}"] = np.asarray(float(value))
    return found


def compare(case: Case) -> Iterator[Compared]:
    """Recompute and compare every array of the case except its inputs. Raises DataError if something is missing."""
    system = system_of(case.name, str(case.meta.get("system", "")))
    module = importlib.import_module(f"minivit.lineage.recorded.{system}")
    inner, theirs = reworded(case, getattr(module, "WORDS", ()))
    try:
        found = module.recompute(inner)
    except KeyError as error:
        raise DataError(f"{case.name}: the recording has no {error}") from error
    found = {theirs.get(name, name): x for name, x in found.items()}
    case.given |= {theirs.get(name, name) for name in inner.given}
    for name in sorted(case.arrays.keys() - case.given):
        if name in found and name in case.drawn:
            near = error_of_each(np.asarray(found[name]), case.arrays[name])
            yield Compared(name, near, case.drawn[name])
            continue
        yield Compared(name, error_of(np.asarray(found[name]), case.arrays[name], name) if name in found else None)


def reworded(case: Case, words: Iterable[tuple[str, str]]) -> tuple[Case, dict[str, str]]:
    """A recording whose arrays have other names: the same by the names that the system reads, and from those to the
    recorded ones.   words: (pattern, replacement), of which the first that fits counts."""
    theirs = {}
    for name in case.arrays:
        fitting = (re.sub(pattern, new, name) for pattern, new in (*words, *_WORDS) if re.search(pattern, name))
        ours = next(fitting, name)
        if ours not in case.arrays and ours not in theirs:
            theirs[ours] = name
    others = case.arrays.keys() - set(theirs.values())
    arrays = {ours: case.arrays[name] for ours, name in theirs.items()} | {name: case.arrays[name] for name in others}
    return dataclasses.replace(case, arrays=arrays), theirs


def error_of_each(found: np.ndarray, recorded: np.ndarray) -> float:
    """The largest difference of random numbers, each relative to the recorded one; infinite for another shape."""
    if found.shape != recorded.shape:
        return float("inf")
    return float((np.abs(found - recorded) / np.maximum(np.abs(recorded), 1e-300)).max(initial=0))


def error_of(found: np.ndarray, recorded: np.ndarray, name: str = "") -> float:
    """The largest difference, relative to the largest recorded value; infinite for another shape.

    Recorded gradients of a whole size below 1e-12, such as those of key biases, are rounding of 0: they count
    absolutely. Equal infinities, such as scores behind a mask, do not differ, and give no size.
    """
    if found.shape != recorded.shape:
        return float("inf")
    if not recorded.size:
        return 0.0
    if recorded.dtype == bool:
        found, recorded = found.astype(int), recorded.astype(int)
    same = found == recorded
    difference = np.abs(np.where(same, 0, found) - np.where(same, 0, recorded)).max()
    scale = np.abs(recorded[np.isfinite(recorded)]).max(initial=0)
    if "grad" in name and scale < 1e-12:
        return float(difference)
    return float(difference / scale) if scale else float(difference)
