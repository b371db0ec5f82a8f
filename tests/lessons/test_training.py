"""Short training for notebooks."""

import dataclasses

import numpy as np
import pytest

from minivit.data import ArrayDataset, Augment
from minivit.errors import DataError
from minivit.lessons import accuracy, digits, fit, photographs, training
from minivit.models import ViT, ViTConfig
from minivit.nn import BatchNorm, Linear, Module
from minivit.optim import SGD
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor

CONFIG = ViTConfig(image_size=8, patch_size=4, width=16, depth=1, heads=2, num_classes=10, channels=1)


def test_fit_learns_and_accuracy_sees_it():
    train, test = digits()
    model = ViT(CONFIG)
    before = accuracy(model, test)
    history = fit(model, train, 60, lr=3e-3)
    assert len(history) == 60
    assert history[-1].loss < history[0].loss - 0.5
    assert accuracy(model, test) > before + 0.3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.02, "weight_decay": 5.0},
        {"warmup": 0.5},
        {"clip_norm": None},
        {"mixup": 0.8},
        {"cutmix": 1.0},
        {"batch_size": 100, "seed": 3},
    ],
    ids=str,
)
def test_fit_is_the_trainer_of_the_same_recipe(options):
    """Bit for bit, so that no choice is lost on the way; without dropout, whose masks the two seed differently."""
    same_as_the_trainer(options, options)


class Normalised(Module):
    """Pixels, batch normalisation, one layer to the classes."""

    def __init__(self):
        self.norm = BatchNorm(1)
        self.head = Linear(64, 10, np.random.default_rng(0))

    def forward(self, images, rng=None):
        return self.head(self.norm(Tensor(images)).reshape(len(images), 64))


def test_fit_keeps_the_running_statistics_of_batch_normalisation():
    """With those of the start a trained network would be evaluated as another one."""
    train, test = digits()
    model = Normalised()
    history = fit(model, train, 200, lr=1e-2)
    assert accuracy(model, test) > history[-1].accuracy - 0.1 > 0.7
    images = Augment((8, 8))(train.fetch(np.arange(len(train)))[0])
    assert model.norm.running_mean.data == pytest.approx(images.mean(), abs=0.01)
    assert model.norm.running_variance.data == pytest.approx(images.var(), rel=0.02)


def test_fit_updates_by_sgd_too():
    same_as_the_trainer({"optimizer": SGD, "lr": 0.03}, {"optimizer": "sgd", "lr": 0.03})
    with pytest.raises(AssertionError):
        same_as_the_trainer({"lr": 0.03}, {"optimizer": "sgd", "lr": 0.03})


def same_as_the_trainer(options, of_recipe):
    train, _ = digits()
    recipe = Recipe(**{"model": CONFIG, "batch_size": 128, "warmup": 0.1, "steps": 6, "workers": 1} | of_recipe)
    trainer = Trainer(recipe, train, None, None, ViT(CONFIG))
    expected = [(progress.loss, progress.accuracy) for progress in trainer.run()]
    model = ViT(CONFIG)
    history = fit(model, train, 6, **options)
    assert [(result.loss, result.accuracy) for result in history] == expected
    for ours, theirs in zip(model.parameters(), trainer.model.parameters(), strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_fit_changes_the_images_as_asked_and_ends_in_evaluation_mode():
    train, _ = digits()
    model, cropped = ViT(CONFIG), ViT(CONFIG)
    fit(model, train, 2)
    fit(cropped, train, 2, augment=Augment(train.image_size, crop_padding=2))
    assert not np.array_equal(model.norm.scale.data, cropped.norm.scale.data)
    assert not model.training


def test_fit_is_repeated_by_its_seed():
    train, _ = digits()
    losses = []
    for seed in (0, 0, 1):
        losses.append([result.loss for result in fit(ViT(CONFIG), train, 3, seed=seed)])
    assert losses[0] == losses[1] != losses[2]


def test_measuring_on_the_way_changes_nothing():
    train, test = digits()
    config = dataclasses.replace(CONFIG, dropout=0.5)
    quiet, watched, seen = ViT(config), ViT(config), []
    fit(quiet, train, 4)
    fit(watched, train, 4, watch=lambda done: seen.append((done, accuracy(watched, test))))
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    assert np.array_equal(quiet.norm.scale.data, watched.norm.scale.data)


def test_accuracy_is_the_share_of_right_answers():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    model = ViT(CONFIG)
    model.head.bias.data[3] = 1.0
    dataset = ArrayDataset(images, np.array([3, 3, 3, 0]), [str(i) for i in range(10)], "four")
    assert accuracy(model, dataset, batch_size=3) == 0.75


def some_of(size, name="cifar10"):
    images = np.arange(size * 12, dtype=np.uint8).reshape(size, 2, 2, 3)
    return ArrayDataset(images, np.arange(size) % 2, ["a", "b"], name)


def test_photographs_are_drawn_from_cifar(monkeypatch):
    monkeypatch.setattr(training, "load", lambda name, split: some_of({"train": 20, "test": 15}[split], name))
    train, test = photographs(10, 5)
    assert (len(train), len(test)) == (10, 5)
    assert train.name == test.name == "cifar10"
    assert len({image.tobytes() for image in train.images}) == 10, "no image twice"
    again, _ = photographs(10, 5)
    assert np.array_equal(again.images, train.images)
    other, _ = photographs(10, 5, seed=1)
    assert not np.array_equal(other.images, train.images)
    with pytest.raises(ValueError, match="16 images requested, but cifar10 has 15"):
        photographs(10, 16)


def test_photographs_fall_back_to_drawn_shapes(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    train, test = photographs(12, 5)
    assert (len(train), len(test)) == (12, 5)
    assert train.name == test.name == "shapes"
    assert not np.array_equal(photographs(12, 5, seed=1)[0].images, train.images)


def test_damaged_photographs_are_not_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"checksum|MD5|md5"):
        photographs(12, 5)
