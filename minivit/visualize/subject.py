"""The subject of the figures: a trained model, from a run or from published weights, and images for it."""

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minivit import cli, lineage
from minivit.data import Augment, Dataset, read_image
from minivit.data.imagenet import in_words
from minivit.data.images import to_channels
from minivit.data.kinds import parted
from minivit.errors import CheckpointError, ConfigError, DataError, with_article
from minivit.models import ResNet, ViT
from minivit.runs import folder as run_folder
from minivit.runs.numerics import numerics
from minivit.runs.plan import check_columns
from minivit.runs.recipes import Recipe
from minivit.tensor import no_grad
from minivit.update.objective import Objective

FIRST_IMAGES = (0, 1, 2, 3)  # of the test images, shown unless others are asked for


@dataclasses.dataclass
class Subject:
    """A trained model, the facts about it, and the source of its images.

    recipe: of its run, or how images are prepared for published weights; classes: their names, empty if unknown;
    folder: of its run, None for published weights; weights: of the run, its folder or a file in it; files: images to
    show, or, if there are none, the test images `index` of the data set `data`, None for that of the run.
    """

    name: str
    model: ViT | ResNet
    recipe: Recipe
    classes: list[str]
    folder: Path | None
    files: list[Path]
    index: Sequence[int]
    data: str | None
    data_root: str | None
    weights: Path | None = None

    @property
    def vit(self) -> ViT:
        """The model, if it is a ViT. Raises ConfigError for any other."""
        if not isinstance(self.model, ViT):
            kind = with_article(type(self.model).__name__)
            raise ConfigError(f"the model is {kind}: it has no patches, positions or attention of a ViT")
        return self.model

    @functools.cached_property
    def objective(self) -> Objective:
        """The objective of the run. Raises ConfigError for a classifier."""
        if self.recipe.objective is None:
            raise ConfigError("a classifier makes no pictures")
        return run_folder.load_objective(self.weights or self.folder or "")[0]

    @property
    def answers_clicks(self) -> bool:
        """Whether the objective of the run has masks for clicks."""
        return self.recipe.objective is not None and type(self.objective).clicked is not Objective.clicked

    @property
    def takes_images(self) -> bool:
        """Whether the model is called with images, unlike one that sees a time, too, or colours by number."""
        return self.recipe.objective is None or type(self.objective).features is Objective.features

    def made(self) -> dict[str, np.ndarray]:
        """What the objective makes of the images, see `Objective.shown`."""
        objective, rng = self.objective, np.random.default_rng((self.recipe.seed, 4))
        if type(objective).shown is Objective.shown and type(objective).pictures is Objective.pictures:
            return {}
        if self.files:
            batch = {"images": self.images}
        else:
            self.check_index()
            check_columns(self.recipe, self.test_data)
            columns = self.test_data.columns(self.index, lineage.columns(self.recipe.objective))
            batch = objective.prepare(columns, self.augment, None)
        with objective.evaluating(), no_grad(), numerics(self.recipe):
            return objective.shown(batch, rng)

    @property
    def augment(self) -> Augment:
        """The transform from images to the model's input."""
        return self.recipe.augment.evaluation()

    @functools.cached_property
    def test_data(self) -> Dataset:
        """Raises ConfigError if no data set is known, DataError if it cannot be read or its images do not fit."""
        if self.folder is not None:
            data = cli.load_data_of_run(self.recipe, "test", self.folder, self.data, self.data_root)
            cli.report_left_out(data)
        elif self.data is None:
            raise ConfigError("published weights come without images: give image files, or a data set with --data")
        elif parted(self.data)[1] and self.classes:
            data = cli.load_labelled_data(
                run_folder.located(self.data), "test", self.classes, None, root=self.data_root
            )
            cli.report_left_out(data)
        else:
            data = cli.load_data(self.data, self.data_root, "test")
            cli.report_left_out(data)
        if data.channels != self.model.config.channels:
            raise DataError(f"{data.name} has {data.channels} channels, the model {self.model.config.channels}")
        return data

    @functools.cached_property
    def images(self) -> np.ndarray:
        """(B, height, width, C) as the model's input: the files, or the test images of `index`."""
        if self.files:
            return self.augment([to_channels(read_image(file), self.model.config.channels) for file in self.files])
        self.check_index()
        return self.augment(self.test_data.fetch(self.index)[0])

    def check_index(self) -> None:
        """Raise DataError if the index names test images that there are not."""
        if wrong := [i for i in self.index if i >= len(self.test_data)]:
            raise DataError(f"{self.test_data.name} has {len(self.test_data)} test images, there is no {wrong[0]}")

    def as_seen(self, images: np.ndarray) -> np.ndarray:
        """Images (..., height, width, C) of the model's input, as values 0..1 for drawing."""
        return np.clip(images * np.asarray(self.augment.std) + np.asarray(self.augment.mean), 0, 1)

    def captions(self) -> list[str]:
        """The label or name of each image, and on a second line the model's prediction."""
        if self.files:
            truth = [file.name for file in self.files]
        else:
            labels = self.test_data.fetch(self.index)[1]
            truth = [
                f"image {i}: {in_words(self.test_data.classes[k])}" for i, k in zip(self.index, labels, strict=True)
            ]
        if not self.model.config.num_classes or not self.takes_images:
            return truth
        guesses = [predicted(self.model, image[None])[0] for image in self.images]
        names = self.classes or [f"class {k}" for k in range(self.model.config.num_classes)]
        return [f"{text}\npredicted: {in_words(names[k])}" for text, k in zip(truth, guesses, strict=True)]


def load_subject(args: argparse.Namespace) -> Subject:
    """The model that the command's arguments name, with its images. Raises CheckpointError if it cannot be loaded."""
    args.run = cli.find_weights(args.run)
    if not args.run.exists():
        raise CheckpointError(f"{args.run}: there is no such run folder or file")
    if args.run.name == "checkpoint.npz" and args.run.with_name("config.json").exists():
        args.run = args.run.parent
    weights = args.run
    model, recipe, classes = cli.load_model(args, headless=True)
    images = args.images, args.index or FIRST_IMAGES, args.data, args.data_root
    if args.run.is_file():
        return Subject(args.run.name, model, recipe, classes or [], None, *images)
    return Subject(args.run.resolve().name, model, recipe, classes or [], args.run, *images, weights)


def predicted(model: ViT | ResNet, images: np.ndarray) -> np.ndarray:
    """(B,) numbers of the most likely classes."""
    with no_grad():
        return model(images).data.argmax(axis=-1)
