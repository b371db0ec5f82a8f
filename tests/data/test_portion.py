"""Batches shared by several processes: the parts are the batch, bit for bit, and nobody decodes what is another's."""

import itertools

import numpy as np
import pytest
import standin_cupy
from PIL import Image

from minivit.backend import to_numpy
from minivit.data import ArrayDataset, Augment, Loader, load
from minivit.data.device_loader import DeviceLoader, supports
from minivit.errors import ConfigError
from minivit.nn import Module
from minivit.update.objective import Classification


class Drawing(Classification):
    """Classification that draws a number for each example, and knows the step."""

    def draw(self, batch, step, rng):
        return {"order": rng.permutation(len(batch["labels"])), "momentum": np.asarray(step / 9, np.float32)}


class Blurring(Drawing):
    """Prepares whole batches in its own way."""

    def prepare(self, columns, augment, rng):
        batch = super().prepare(columns, augment, rng)
        return {**batch, "images": batch["images"].mean(axis=0) + batch["images"]}


class Comparing(Drawing):
    compares = True


def arrays():
    images = np.random.default_rng(0).integers(0, 256, (31, 12, 16, 3), dtype=np.uint8)
    return ArrayDataset(images, np.arange(31) % 5, list("abcde"), "noise")


@pytest.fixture
def files(tmp_path):
    """17 images of several sizes, two of them unreadable."""
    for i in range(17):
        path = tmp_path / "train" / "abcde"[i % 5] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (14 + i, 30 - i, 3), dtype=np.uint8)).save(path)
        if i in (3, 9):
            path.write_bytes(path.read_bytes()[:60])
    return lambda: load(f"folder:{tmp_path}", bad_images="skip")


def loader(data, share=(0, 1), kind=Drawing, mixing=None, **options):
    augment = Augment((12, 16), flip=True, crop_padding=2, randaugment=(2, 9), erasing=0.5, **options)
    objective = kind(Module(), classes=5, **(mixing or {}))
    return Loader(data, 6, augment, objective, total_steps=8, seed=3, share=share)


MIXINGS = [{}, {"mixup": 0.4, "cutmix": 0.6}]


def joined(parts):
    return {
        name: np.concatenate([p[name] for p in parts]) if parts[0][name].ndim else parts[0][name] for name in parts[0]
    }


def equal(one, two):
    return one.keys() == two.keys() and all(
        to_numpy(one[name]).dtype == two[name].dtype and np.array_equal(to_numpy(one[name]), two[name]) for name in one
    )


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
@pytest.mark.parametrize("kind", [Drawing, Blurring])
@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_the_parts_are_the_batch(ranks, kind, mixing):
    whole = loader(arrays(), kind=kind, mixing=mixing)
    parts = [loader(arrays(), (rank, ranks), kind, mixing) for rank in range(ranks)]
    for step, *found in zip(itertools.count(), *parts, strict=False):
        assert {len(part["images"]) for part in found} == {6 // ranks}
        assert equal(joined(found), whole.batch(step))


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
def test_the_parts_of_files_are_the_batch_even_where_images_are_skipped(files, mixing):
    options = {"mixing": mixing, "resized_crop": (0.3, 1)}
    whole = loader(files(), **options)
    parts = [loader(files(), (rank, 3), **options) for rank in range(3)]
    for step in range(8):
        assert equal(joined([part.batch(step) for part in parts]), whole.batch(step))
    assert len(whole.dataset.skipped) == 2


def test_each_process_decodes_only_its_own_images(files, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "minivit.data.encoded.read_image", lambda *args: opened.append(1) or np.zeros((12, 16, 3), np.uint8)
    )
    loader(files(), (1, 3)).batch(0)
    assert len(opened) == 2
    loader(files(), (1, 3), mixing={"mixup": 1.0}).batch(0)
    assert len(opened) == 2 + 3  # with the one that is mixed in


def test_an_objective_that_compares_gets_the_whole_batch():
    whole = loader(arrays(), kind=Comparing).batch(2)
    assert equal(loader(arrays(), (1, 2), Comparing).batch(2), whole)


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
def test_a_gpu_makes_its_part(mixing):
    with standin_cupy.installed() as cupy:
        for rank in range(3):
            part = loader(arrays(), (rank, 3), mixing=mixing)
            for room in (10**9, 0):  # the images stay on the GPU, or come with their batch
                device = DeviceLoader(part, cupy, room)
                assert all(equal(one, two) for one, two in zip(device, part, strict=True))
        assert not supports(loader(arrays(), (0, 2), Comparing))


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="6 images cannot be divided among 4 processes: choose a --batch-size"):
        loader(arrays(), (0, 4))
