"""The files beside published weights: config.json, preprocessor_config.json, and metadata in the weights file.

Their content is untrusted, so types and sizes are checked before use.
"""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from minivit.errors import CheckpointError, shown
from minivit.files import parse_json
from minivit.models import stated
from minivit.models.archive import one_line, replacing
from minivit.models.config import ViTConfig, size_pair
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

    Raises CheckpointError for a damaged one, or one that states a model which minivit does not have. Other JSON files,
    such as the config.json of a run, are ignored.
    """

    def __init__(self, path: Path, layout: Layout):
        self.config: dict[str, Any] = {}
        self.preprocessor: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}  # of timm
        self.source = self.preparation = path
        if layout.name == "official":
            return  # nothing lies beside a .npz file
        config, self.source = self._first(path, "config.json")
        with _said_by(self.source):
            if layout.name == "hf":
                self.preprocessor, self.preparation = self._first(path, "preprocessor_config.json")
                kind = config.get("model_type")
                if kind not in (None, "vit", "deit"):
                    raise ValueError(f'model_type is "{shown(kind)}", expected vit or deit')
                self.config = config if kind or "architectures" in config else {}
            elif not {"architecture", "model_args", "pretrained_cfg"}.isdisjoint(config):
                self.config, self.arguments = stated.of_timm(config)
        self.tables = (stated.HF if layout.name == "hf" else stated.TIMM, stated.TIMM_ARGUMENTS)

    @staticmethod
    def _first(path: Path, name: str) -> tuple[dict[str, Any], Path]:
        for candidate in (path.with_name(f"{path.stem}.{name}"), path.with_name(name)):
            if candidate.is_file():
                return read_json(candidate), candidate
        return {}, path

    def fields(self) -> dict[str, Any]:
        """Fields of ViTConfig. Raises CheckpointError for a setting that changes the model and is unknown or not
        supported."""
        if not self.config:
            return {}
        with _said_by(self.source):
            return checked(stated.fields(self.config, self.tables[0]) | stated.fields(self.arguments, self.tables[1]))

    def compare(self, config: ViTConfig, told: Collection[str]) -> None:
        """Raise CheckpointError if a stated value contradicts `config`, the ViTConfig of the arrays.

        told: fields of ViTConfig that the caller has set instead.
        """
        fields = self.fields()
        if not self.config and not self.preprocessor:
            return
        with _said_by(self.source):
            stated.compare(self.config, self.tables[0], config)
            stated.compare(self.arguments, self.tables[1], config)
        for source, size in ((self.source, fields.get("image_size")), (self.preparation, self._image_size())):
            if size is not None and "image_size" not in told and size_pair(size, "image_size") != config.image_size:
                arrays = "x".join(map(str, config.image_size))
                raise CheckpointError(
                    f"{source}: the image size is {shown(size)}, the arrays are for {arrays}; pass one (--image-size)"
                )

    def _image_size(self) -> Any:
        """The image size of the preprocessor, None if it does not state one."""
        crop = self.preprocessor.get("do_center_crop")
        size = self.preprocessor.get("crop_size" if crop else "size")
        if isinstance(size, dict):
            size = (size.get("height"), size.get("width")) if "height" in size else None if not crop else size
        return size if isinstance(size, int | list | tuple) and self.preprocessor.get("do_resize", True) else None

    def normalisation(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """Mean and standard deviation of pixels in 0..1, or None for each."""
        values, source, prefix = (
            (self.preprocessor, self.preparation, "image_") if self.preprocessor else (self.config, self.source, "")
        )
        with _said_by(source):
            if self.preprocessor:
                stated.fields(values, stated.PREPROCESSOR)
            mean = _numbers(values, f"{prefix}mean", least=-LARGEST)
            std = _numbers(values, f"{prefix}std", least=SMALLEST_STD)
            factor = _numbers(values, "rescale_factor", least=SMALLEST_STD)
        if not self.preprocessor:
            return mean, std
        if values.get("do_normalize") is False:
            mean, std = (0.0,), (1.0,)
        rescaled = values.get("do_rescale", True)
        times = 255 * ((factor or (1 / 255,))[0] if rescaled else 1)  # what becomes of a white pixel
        if mean is None or std is None or abs(times - 1) < 1e-6:
            return mean, std
        return tuple(m / times for m in mean), tuple(s / times for s in std)

    def resize(self) -> str | None:
        """How images of another size are resized, as a field of Recipe; None if it is not stated."""
        squashes = self.config.get("crop_mode") == "squash"  # timm's
        return "crop" if self.preprocessor.get("do_center_crop") else "squash" if squashes else None

    def loss(self) -> str:
        """The loss for these logits, as a field of Recipe."""
        return "sigmoid" if self.config.get("problem_type") == "multi_label_classification" else "softmax"

    def classes(self) -> list[str] | None:
        """The names of the classes, unless they are mere numbers."""
        labels = self.config.get("id2label")
        if not isinstance(labels, dict) or not all(key.isdecimal() and len(key) < 10 for key in labels):
            return None
        names = [shown(labels[key], 200) for key in sorted(labels, key=int)]
        return None if all(name.startswith("LABEL_") for name in names) else names


@contextlib.contextmanager
def _said_by(source: Path) -> Iterator[None]:
    """Turn what is wrong with the values of a file into a CheckpointError of one line."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{source}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError for any other file."""
    with one_line(path):
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a configuration: expected a JSON object")
    return values


def check_json(path: Path, values: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the file exists with a JSON object other than `values`."""
    if path.exists() and read_json(path) != values:
        raise CheckpointError(f"{path} already exists and belongs to another model: choose another folder")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all. Raises CheckpointError if that fails."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def told(metadata: Mapping[str, str], source: Path) -> dict[str, Any]:
    """Fields of ViTConfig from the metadata of a file written by minivit. Raises CheckpointError for wrong ones."""
    with one_line(source):
        values = parse_json(metadata.get(METADATA, "{}").encode())
        values = values if isinstance(values, dict) else {}
        if unknown := sorted(values.keys() - TOLD):
            raise ValueError(f'its metadata have an unknown field "{shown(unknown[0])}"')
        return checked(values)


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in `TOLD`. Raises ValueError for a wrong type, or an absurdly large number."""
    found = {name: fields[name] for name in TOLD if name in fields}
    for name, value in found.items():
        fits = isinstance(value, TOLD[name]) and (bool in TOLD[name] or not isinstance(value, bool))
        if not fits or (isinstance(value, int | float) and not abs(value) <= LARGEST):
            raise ValueError(f"{name} is {ascii(value)[:80]}")
    return found


def _numbers(values: Mapping[str, Any], name: str, least: float) -> tuple[float, ...] | None:
    """The number or numbers of a field, from `least` to `LARGEST`; None for none. Raises ValueError for others."""
    value = values.get(name)
    if value is None or value == []:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and least <= v <= LARGEST for v in numbers):
        raise ValueError(f"{name} is {shown(repr(value))}, expected numbers from {least:g} to {LARGEST:g}")
    return tuple(numbers)
