"""What a training run is: every choice in one record, and the named presets."""

import dataclasses
import json
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivit.backend.precision import PRECISIONS
from minivit.data import Augment, Dataset
from minivit.errors import ConfigError, shown
from minivit.files import parse_json
from minivit.files.fields import from_json, settle
from minivit.models import ViTConfig
from minivit.models.beside_weights import LARGEST, SMALLEST_STD
from minivit.models.families import ModelConfig, config_of, mapping
from minivit.models.posemb import METHODS

MAX_CONFIG = 2**20  # bytes of a config.json, which has about two thousand


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every choice of a training run; `config.json` holds exactly these fields. Lengths of time are in optimiser steps,
    sizes in pixels. Raises ConfigError for values that make no sense."""

    # data
    data: str = "digits"
    data_root: str | None = None
    limit: int | None = None  # train on this many images only
    bad_images: str = "refuse"
    val_share: float | None = None  # of each class of a folder without test images, held out by val_seed
    val_seed: int | None = None  # None: the seed
    # model
    model: ModelConfig = dataclasses.field(default_factory=ViTConfig)
    # starting weights
    init_from: str | None = None  # file of published weights, or folder of a run; None: drawn
    resize_positions: str | None = None  # None: as is usual for the weights; "fresh": drawn anew
    keep_head: bool = False
    freeze: str | int | None = None  # "backbone", or embeddings and the first so many blocks
    # optimisation
    batch_size: int = 128
    epochs: float = 10
    steps: int | None = None  # instead of epochs
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    beta2: float = 0.999
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup: float = 0.05  # share of all steps
    clip_norm: float | None = 1.0  # None or 0: no clipping
    ema: float | None = None
    loss: str = "softmax"
    label_smoothing: float = 0.0
    accumulate: int | None = None  # None: pieces of about 2,048 tokens, the whole batch on a GPU
    recompute: bool = False  # blocks' forward pass a second time instead of keeping it
    # augmentation
    flip: bool = False
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = None
    randaugment: tuple[int, float] | None = None
    erasing: float = 0.0
    resize: str = "squash"
    mixup: float = 0.0
    cutmix: float = 0.0
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    # running
    seed: int = 0
    precision: str = "float32"
    backend: str = "numpy"
    kernels: str = "fused"
    graph: bool = True  # on a GPU: record the step as a CUDA graph
    workers: int | None = None  # None: as suits cores and batch, one with a GPU
    eval_every: int | None = None  # None: about every epoch
    checkpoint_every: int | None = None  # None: at every evaluation
    patience: int | None = None  # evaluations without a better one, after which training ends

    def __post_init__(self) -> None:
        settle(self)
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ConfigError(f'{field} is "{getattr(self, field)}", expected one of {", ".join(choices)}')
        for fields, fits, expected in RANGES:
            for field in fields:
                value = getattr(self, field)
                if value is not None and not fits(value):
                    raise ConfigError(f"{field} is {shown(value)}, expected {expected}")
        for field in ("mean", "std"):
            value = getattr(self, field)
            if isinstance(value, tuple) and len(value) != self.model.channels:
                raise ConfigError(f"{field} has {len(value)} values, the images have {self.model.channels} channels")
            values = value if isinstance(value, tuple) else (value,)
            if not all(abs(v) <= LARGEST for v in values):
                raise ConfigError(f"{field} is {shown(value)}, expected finite numbers, for pixels in 0..1")
            if field == "std" and min(values) < SMALLEST_STD:
                raise ConfigError(f"std is {value}, expected more than 0 (at least {SMALLEST_STD})")
        if self.precision == "tf32" and self.backend == "numpy":
            raise ConfigError("precision tf32 is one of GPUs' matrix units: choose backend cupy, or float32 or bf16")
        if self.precision in ("tf32", "bf16") and self.kernels == "reference" and self.backend != "numpy":
            raise ConfigError(f"kernels reference are the readable ops, which have no {self.precision} on a GPU")
        if self.loss == "sigmoid" and self.label_smoothing:
            raise ConfigError("label smoothing belongs to the softmax loss; the sigmoid loss has none")
        self._check_starting_weights()
        _ = self.augment  # raises what it has to say

    def _check_starting_weights(self) -> None:
        depth = self.model.depth if isinstance(self.model, ViTConfig) else 0
        blocks_frozen = isinstance(self.freeze, int) and 1 <= self.freeze <= depth
        if self.freeze not in (None, "backbone") and not blocks_frozen:
            blocks = f" or a number of blocks from 1 to {depth}" if depth else ", as a ResNet has no blocks"
            raise ConfigError(f"freeze is {shown(self.freeze)}, expected backbone{blocks}")
        if self.resize_positions not in (None, *METHODS, "fresh"):
            expected = ", ".join((*METHODS, "fresh"))
            raise ConfigError(f'resize_positions is "{self.resize_positions}", expected one of {expected}')
        if self.init_from is None and (self.resize_positions or self.keep_head):
            raise ConfigError("resize_positions and keep_head are about the weights of init_from: name them")
        if self.resize_positions == "fresh" and self.freeze:
            raise ConfigError("freeze keeps the positions from learning, which resize_positions fresh draws at random")

    @property
    def dtype(self) -> str:
        """Of the parameters: in mixed precision float32."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def augment(self) -> Augment:
        """The transform of training images."""
        return Augment(
            image_size=self.model.image_size,
            flip=self.flip,
            crop_padding=self.crop_padding,
            resized_crop=self.resized_crop,
            randaugment=self.randaugment,
            erasing=self.erasing,
            resize=self.resize,
            mean=self.mean,
            std=self.std,
        )


CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "linear", "constant"),
    "loss": ("softmax", "sigmoid"),
    "precision": PRECISIONS,
    "backend": ("numpy", "cupy", "auto"),
    "kernels": ("fused", "reference"),
    "bad_images": ("refuse", "skip"),
    "resize": ("squash", "crop"),
}

MOST = 10**12  # of anything counted
LARGEST_FLOAT = sys.float_info.max  # whole numbers may be larger

RANGES: tuple[tuple[tuple[str, ...], typing.Callable[[float], bool], str], ...] = (
    (
        ("batch_size", "accumulate", "workers", "eval_every", "checkpoint_every", "limit", "steps", "patience"),
        lambda x: 1 <= x <= MOST,
        "at least 1 (and less than 1e12)",
    ),
    (("epochs",), lambda x: 0 < x <= MOST, "a positive number (and less than 1e12)"),
    (("lr",), lambda x: 0 < x <= LARGEST_FLOAT, "a positive number"),
    (("clip_norm", "weight_decay", "mixup", "cutmix"), lambda x: 0 <= x <= LARGEST_FLOAT, "0 or more"),
    (("crop_padding",), lambda x: 0 <= x <= MOST, "0 or more pixels"),
    (("seed", "val_seed"), lambda x: x >= 0, "0 or more"),
    (("val_share",), lambda x: 0 < x < 1, "more than 0 and less than 1"),
    (("warmup", "label_smoothing", "momentum", "beta2", "ema"), lambda x: 0 <= x < 1, "0 or more and less than 1"),
)


def complete(choices: Mapping[str, Any], train_data: Dataset) -> Recipe:
    """The Recipe of `choices`; image size, channels and classes of the model come from the data where not given."""
    found: dict[str, Any] = {"channels": train_data.channels, "num_classes": len(train_data.classes)}
    if train_data.image_size is not None:
        found["image_size"] = train_data.image_size
    return from_mapping({**choices, "model": {**found, **choices.get("model", {})}}, "options")


def to_mapping(recipe: Recipe) -> dict[str, Any]:
    """Every field by name; those of the model with the name of its family."""
    return {**dataclasses.asdict(recipe), "model": mapping(recipe.model)}


def to_json(recipe: Recipe) -> str:
    """The text of config.json."""
    return json.dumps(to_mapping(recipe), indent=2) + "\n"


def from_mapping(values: Mapping[str, Any], source: str) -> Recipe:
    """A Recipe from the fields of a JSON file. Raises ConfigError naming fields that do not exist or do not fit."""
    model = values.get("model", {})
    if not isinstance(model, Mapping):
        raise ConfigError(f"{source}: model is {shown(json.dumps(model))}, expected a JSON object of its fields")
    fields = from_json(Recipe, {name: value for name, value in values.items() if name != "model"}, source)
    return Recipe(**fields, model=config_of(model, source))


def read_config(path: Path) -> Recipe:
    """The Recipe in a config.json. Raises ConfigError for a file that is missing or not one."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_CONFIG + 1)  # not all at once: a device has no end
        if len(content) > MAX_CONFIG:
            raise ValueError(f"it has more than {MAX_CONFIG:,} bytes")
        values = parse_json(content)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a configuration: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a configuration: expected a JSON object")
    return from_mapping(values, str(path))
