"""What lies beside the arrays of published weights: config.json, preprocessor_config.json, metadata in the file.

All of it comes from whoever wrote the file, so types and sizes are checked before they are used.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivit.errors import CheckpointError, shown
from minivit.models import convert_hf, convert_timm
from minivit.models.archive import one_line, replacing
from minivit.models.layouts import Layout

MAX_JSON = 2**24  # bytes; the names of 21,843 classes take 1 MB
LARGEST = 1e6  # of any number; Python reads integers of hundreds of digits, which no float can hold
SMALLEST_STD = 1e-6  # of pixels in 0..1: they are divided by it, as float32

# Fields of ViTConfig that the arrays of a file do not tell, of these types. In the metadata of a .safetensors file
# that we wrote they stand, as JSON, under this name.
METADATA = "minivit"
TOLD: dict[str, tuple[type, ...]] = {
    "heads": (int,),
    "gelu": (str,),
    "norm_eps": (int, float),
    "image_size": (int, list, tuple),
    "classifier": (str,),
    "no_embed_class": (bool,),
    "layer_scale": (int, float, type(None)),
}


class Beside:
    """The JSON files beside a file of weights; for "model.safetensors" its own "model.config.json", or "config.json".

    Raises CheckpointError for one that is damaged; one of another kind of model is not looked at.
    """

    def __init__(self, path: Path, layout: Layout):
        self.layout = layout.name
        self.config: dict[str, Any] = {}
        self.preprocessor: dict[str, Any] = {}
        self.source = path
        if layout.name == "official":
            return  # nothing lies beside a .npz file
        self.config, self.source = self._first(path, "config.json")
        self.preprocessor, _ = self._first(path, "preprocessor_config.json")
        ours = {"hf": self.config.get("model_type") in ("vit", "deit"), "timm": "architecture" in self.config}
        if not ours.get(layout.name):
            self.config, self.preprocessor = {}, {}

    @staticmethod
    def _first(path: Path, name: str) -> tuple[dict[str, Any], Path]:
        for candidate in (path.with_name(f"{path.stem}.{name}"), path.with_name(name)):
            if candidate.is_file():
                return read_json(candidate), candidate
        return {}, path

    def fields(self) -> dict[str, Any]:
        """Fields of ViTConfig."""
        if not self.config:
            return {}
        with one_line(self.source):
            read = {"hf": convert_hf.read_json, "timm": convert_timm.read_json}[self.layout]
            return checked(read(self.config))

    def normalisation(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """Mean and standard deviation of pixels in 0..1, or None for each."""
        theirs = self.config.get("pretrained_cfg")
        theirs = theirs if isinstance(theirs, dict) else {}
        values = self.preprocessor if self.layout == "hf" else theirs
        names = ("image_mean", "image_std") if self.layout == "hf" else ("mean", "std")
        return _numbers(values.get(names[0]), least=-LARGEST), _numbers(values.get(names[1]), least=SMALLEST_STD)

    def classes(self) -> list[str] | None:
        """Names of the classes, if they are more than numbers."""
        labels = self.config.get("id2label")
        if not isinstance(labels, dict) or not all(key.isdecimal() and len(key) < 10 for key in labels):
            return None
        names = [shown(labels[key], 200) for key in sorted(labels, key=int)]
        return None if all(name.startswith("LABEL_") for name in names) else names


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError for a file that is none."""
    with one_line(path):
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a configuration: expected a JSON object")
    return values


def check_json(path: Path, values: Mapping[str, Any]) -> None:
    """Raise CheckpointError if there is a file of another JSON object than `values`."""
    if path.exists() and read_json(path) != values:
        raise CheckpointError(f"{path} is there already and is another model's: choose another folder")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all. Raises CheckpointError if that fails."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def told(metadata: Mapping[str, str], source: Path) -> dict[str, Any]:
    """Fields of ViTConfig from the metadata of a file that we wrote. Raises CheckpointError for wrong ones."""
    with one_line(source):
        values = json.loads(metadata.get(METADATA, "{}"))
        return checked(values if isinstance(values, dict) else {})


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `TOLD`. Raises ValueError for one that is not of its type, or a number beyond all measure."""
    found = {name: fields[name] for name in TOLD if name in fields}
    for name, value in found.items():
        fits = isinstance(value, TOLD[name]) and (bool in TOLD[name] or not isinstance(value, bool))
        if not fits or (isinstance(value, int | float) and not abs(value) <= LARGEST):
            raise ValueError(f"{name} is {ascii(value)[:80]}")
    return found


def _numbers(values: Any, least: float) -> tuple[float, ...] | None:
    """Numbers from `least` to `LARGEST`, or None for anything else."""
    if not isinstance(values, list) or not values:
        return None
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) and least <= v <= LARGEST for v in values)
    return tuple(values) if numeric else None
