"""The recipe of a training run: every choice in one record."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivit import lineage
from minivit.data import Augment, Dataset
from minivit.errors import ConfigError, shown
from minivit.files import parse_json
from minivit.files.fields import from_json, settle
from minivit.models import ViTConfig
from minivit.models.beside_weights import LARGEST, SMALLEST_STD
from minivit.models.families import ModelConfig, config_of, family_of, mapping
from minivit.models.posemb import METHODS
from minivit.runs.ranges import check_values

# Groups of options.
RUN, TUNING, DATA = "run", "fine-tuning", "data"
LEARNING, IMAGES = "optimisation (default: the preset's)", "augmentation (default: the preset's)"
KEEPING = "bookkeeping (in steps)"
MAX_CONFIG = 2**20  # bytes of a config.json, which has about two thousand


def option(default: Any, group: str, text: str, value: str = "N") -> Any:
    """A field of Recipe that is an option of `train`: its group, help text and the placeholder of its value. A field
    without a group is not an option."""
    return dataclasses.field(default=default, metadata={"group": group, "help": text, "value": value})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every choice of a training run; `config.json` holds exactly these fields. Times are in optimiser steps, sizes in
    pixels. Raises ConfigError for invalid values."""

    # data
    data: str = option(
        "digits",
        DATA,
        "digits, shapes, scenes, nested, captions, clips, cifar10, cifar100, or folder:PATH, with "
        "PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg, or with --val-share PATH/CLASS/*.jpg; imagenet:PATH, "
        "ImageNet or a part of it; shards:PATH, WebDataset shards; parquet:PATH, Parquet files",
        "NAME",
    )
    data_root: str | None = option(
        None, DATA, "folder of data sets (default: $MINIVIT_DATA, or minivit in the cache folder)", "DIR"
    )
    val_share: float | None = option(None, DATA, "hold out a share of each class of a folder without PATH/val", "S")
    val_seed: int | None = option(None, "", "seed of that choice; None: the seed of the run")
    classes: tuple[str, ...] | None = option(
        None, DATA, "keep the classes that FILE names: WordNet ids, words or numbers, one a line", "FILE"
    )
    limit: int | None = option(None, DATA, "train on N images only, spread evenly over the classes")
    bad_images: str = option(
        "refuse", DATA, "unreadable images in folders: refuse (stop) or skip (default: refuse)", "HOW"
    )
    # model, and what it shall learn
    model: ModelConfig = dataclasses.field(default_factory=ViTConfig, metadata={"help": "the shape of the model"})
    objective: dict[str, Any] | None = dataclasses.field(
        default=None,
        hash=False,
        metadata={"help": "name and fields of the objective, as defined in its file in lineage/; None: classification"},
    )
    teacher: ModelConfig | None = dataclasses.field(
        default=None, metadata={"help": "the shape of the objective's teacher"}
    )
    # starting weights
    init_from: str | None = option(
        None,
        TUNING,
        "start from published weights (a file, or a name such as Ti/16), or a run folder",
        "FILE",
    )
    resize_positions: str | None = option(
        None, TUNING, f"{', '.join(METHODS)}, or fresh: drawn anew (default: the source's)", "HOW"
    )
    keep_head: bool = option(False, TUNING, "keep the head: the data has classes of the source (default: new head)")
    freeze: str | int | None = option(
        None, TUNING, "backbone: train only the head; or N: freeze the first N blocks", "PART"
    )
    # optimisation
    epochs: float = option(10, LEARNING, "passes over the training data")
    steps: int | None = option(None, LEARNING, "number of updates, instead of epochs")
    batch_size: int = option(128, LEARNING, "images per update")
    accumulate: int | None = option(
        None, LEARNING, "pieces of each worker's share of a batch: more save memory (default: 2,048 tokens each)"
    )  # on a GPU the whole batch
    recompute: bool = option(
        False,
        LEARNING,
        "compute each block's forward pass again in the backward pass instead of keeping it: less memory, slower",
    )
    optimizer: str = option("adamw", LEARNING, "adamw or sgd", "NAME")
    lr: float = option(1e-3, LEARNING, "highest learning rate", "RATE")
    schedule: str = option("cosine", LEARNING, "cosine, linear or constant, after the warm-up", "NAME")
    warmup: float = option(0.05, LEARNING, "share of the steps in which the rate rises from 0", "SHARE")
    layer_decay: float | None = option(
        None, LEARNING, "rate of each layer of a ViT as a share of the next one's, as in BEiT (default: all alike)", "S"
    )
    weight_decay: float = option(0.05, LEARNING, "decoupled, on kernels only", "W")
    final_weight_decay: float | None = option(
        None, LEARNING, "weight decay at the end, approached along half a cosine (default: the same)", "W"
    )
    momentum: float = option(0.9, LEARNING, "of sgd", "M")
    beta2: float = option(0.999, LEARNING, "of adamw", "B")
    clip_norm: float | None = option(1.0, LEARNING, "largest global norm of the gradient (0: any)", "NORM")
    ema: float | None = option(None, LEARNING, "evaluate an exponential moving average of the weights", "DECAY")
    loss: str = option("softmax", LEARNING, "softmax or sigmoid cross-entropy", "NAME")
    label_smoothing: float = option(0.0, LEARNING, "share of the target spread over all classes", "S")
    # augmentation
    flip: bool = option(False, IMAGES, "mirror half of the images")
    crop_padding: int = option(0, IMAGES, "pad and crop at random", "PIXELS")
    resized_crop: tuple[float, float] | None = option(
        None, IMAGES, "random resized crop of this share of the area", "MIN,MAX"
    )
    randaugment: tuple[int, float] | None = option(None, IMAGES, "N random operations of magnitude M (of 10)", "N,M")
    resize: str = option(
        "squash", IMAGES, "images of another size: squash them, or crop the edges off (default: squash)", "HOW"
    )
    erasing: float = option(0.0, IMAGES, "probability of erasing a random box", "P")
    mixup: float = option(0.0, IMAGES, "blend pairs of images", "ALPHA")
    cutmix: float = option(0.0, IMAGES, "paste boxes between pairs of images", "ALPHA")
    mean: float | tuple[float, ...] = option(
        0.5, IMAGES, "of pixels in 0..1, for normalisation: one number or one per channel", "M"
    )
    std: float | tuple[float, ...] = option(0.5, IMAGES, "likewise", "S")
    # running
    seed: int = option(0, RUN, "seed of initial weights, shuffling, augmentation and dropout (default: 0)")
    backend: str = option("numpy", RUN, "numpy, cupy (GPU), or auto: cupy if it works (default: numpy)", "NAME")
    precision: str = option("float32", RUN, "float32, float64, bf16 (mixed), or tf32 (GPU) (default: float32)", "NAME")
    kernels: str = option("fused", RUN, "fused, or reference: the readable ops only, slower (default: fused)", "NAME")
    graph: bool = option(True, RUN, "on a GPU: record the step as a CUDA graph (default)")
    workers: int | None = option(None, RUN, "threads that share a batch (default: suited to cores and batch)")
    eval_every: int | None = option(None, KEEPING, "evaluate on the test split (default: once an epoch)")
    checkpoint_every: int | None = option(None, KEEPING, "save a checkpoint (default: at every evaluation)")
    patience: int | None = option(None, KEEPING, "stop after N evaluations without a better one (default: never)")

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "objective", lineage.settled(self.objective))
        check_values(self)
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
            raise ConfigError("precision tf32 needs a GPU's matrix units: choose backend cupy, or float32 or bf16")
        if self.precision in ("tf32", "bf16") and self.kernels == "reference" and self.backend != "numpy":
            raise ConfigError(f"kernels reference, the readable ops, have no {self.precision} on a GPU")
        if self.loss == "sigmoid" and self.label_smoothing:
            raise ConfigError("label smoothing belongs to the softmax loss; the sigmoid loss has none")
        if self.objective and (own := [name for name in OF_CLASSIFICATION if getattr(self, name) != DEFAULTS[name]]):
            raise ConfigError(f"{own[0]} belongs to classification, but the objective is {self.objective['name']}")
        if unused := [name for name in lineage.unheeded(self.objective) if getattr(self, name) != DEFAULTS[name]]:
            named = (self.objective or {})["name"]
            raise ConfigError(f"{unused[0]} does not apply to the objective {named}, which augments images itself")
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
            raise ConfigError("resize_positions and keep_head need weights to start from: give init_from")
        if self.resize_positions == "fresh" and self.freeze:
            raise ConfigError("freeze would fix the random positions of resize_positions fresh: drop one of the two")

    @property
    def dtype(self) -> str:
        """The data type of the parameters: float32 in mixed precision."""
        return "float64" if self.precision == "float64" else "float32"

    def total_steps(self, images: int) -> int:
        """The number of updates in the whole run, for this number of training images."""
        return self.steps or max(1, round(self.epochs * (images // self.batch_size or 1)))

    @property
    def needs_files(self) -> bool:
        """Whether a run needs the weights of another, until its first own save."""
        return bool(self.init_from or (self.objective or {}).get("teacher"))

    @property
    def minimised(self) -> str:
        """The label of the loss in the curves: "softmax" or "sigmoid", or the name of another objective."""
        return self.objective["name"] if self.objective else self.loss

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


DEFAULTS = {field.name: field.default for field in dataclasses.fields(Recipe)}
OF_CLASSIFICATION = ("loss", "label_smoothing", "mixup", "cutmix", "keep_head")  # fields that no other objective has


def complete(choices: Mapping[str, Any], train_data: Dataset) -> Recipe:
    """The Recipe of `choices`. Image size, channels and classes of the model default to those of the data. An encoder
    has a head only if its objective reads labels."""
    labelled = "labels" in lineage.columns(choices.get("objective"))
    found: dict[str, Any] = {"channels": train_data.channels, "num_classes": len(train_data.classes) * labelled}
    if train_data.image_size is not None:
        found["image_size"] = train_data.image_size
    model = {**found, **choices.get("model", {})}
    if family_of(model) == "vit":
        model |= lineage.needed(lineage.settled(choices.get("objective")))
    return from_mapping({**choices, "model": model}, "options")


def to_mapping(recipe: Recipe) -> dict[str, Any]:
    """Every field by name, those of the model with the name of its family."""
    teacher = recipe.teacher and mapping(recipe.teacher)
    return {**dataclasses.asdict(recipe), "model": mapping(recipe.model), "teacher": teacher}


def to_json(recipe: Recipe) -> str:
    """The text of config.json."""
    return json.dumps(to_mapping(recipe), indent=2) + "\n"


def from_mapping(values: Mapping[str, Any], source: str) -> Recipe:
    """A Recipe from the fields of a JSON file. Raises ConfigError for unknown fields and invalid values."""
    parts = {"model": values.get("model", {}), "objective": values.get("objective"), "teacher": values.get("teacher")}
    for name, part in parts.items():
        if not isinstance(part, Mapping) and (name == "model" or part is not None):
            raise ConfigError(f"{source}: {name} is {shown(json.dumps(part))}, expected a JSON object of its fields")
    fields = from_json(Recipe, {name: value for name, value in values.items() if name not in parts}, source)
    objective = lineage.settled(parts["objective"], f"{source}: objective")
    teacher = None if parts["teacher"] is None else config_of(parts["teacher"], f"{source}: teacher")
    return Recipe(**fields, model=config_of(parts["model"], source), objective=objective, teacher=teacher)


def read_config(path: Path) -> Recipe:
    """The Recipe in a config.json. Raises ConfigError for a missing or invalid file."""
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
