"""The ViT paper's masked patch prediction: held to a recording, and to a slow second implementation."""

from pathlib import Path

import numpy as np
import pytest
from masked_by_hand import SIZES, arrays, check_gradients, encoded, surprise
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.data import Augment
from minivit.errors import ConfigError
from minivit.lineage import masked_patch, verify
from minivit.lineage.masked_patch import KEPT, MASK, OTHER, MaskedPatch, MaskedPatchConfig
from minivit.lineage.recorded import masked_patch as recorded
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "vit_masked_patch"
OTHERS = {
    "not square, tanh": {"gelu": "tanh"},
    "one channel, deeper": {"channels": 1, "depth": 3, "heads": 4, "classes": 8},
    "colours of cells": {"cells": 2},
    "two bits": {"bits": 2, "norm_eps": 1e-3, "image": [8, 8], "patch": [2, 4]},
}


def small(seed=0, channels=3, **own):
    shape = ViTConfig(
        image_size=8, patch_size=2, width=8, depth=1, heads=2, mlp_width=16, num_classes=0, channels=channels
    )
    return MaskedPatch(MaskedPatchConfig(**own), ViT(shape, seed, "float64"), seed, "float64")


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 12


def rounded(colours, bits):
    return real_classes(colours + 2 ** (7 - bits), bits).clip(0, 511)


def blue_first(colours, bits):
    return real_classes(colours[..., ::-1], bits)


def without_others(self, x, batch):
    return self.masked(x, batch["kind"] == MASK)


def others_masked_too(self, x, batch):
    return self.masked(x, (batch["kind"] == MASK) | (batch["kind"] == OTHER))


def every_patch(mask):
    return np.full(mask.shape, 1 / mask.shape[1])


def only_changed(mask):
    return real_weights(mask & (verify.open_case(CASE).arrays["kind"] != KEPT))


real_classes, real_weights = masked_patch.classes_of, recorded.weights
WRONG = [
    (masked_patch, "classes_of", rounded, "target"),
    (masked_patch, "classes_of", blue_first, "target"),
    (MaskedPatch, "corrupted", without_others, "tap/embedded"),
    (MaskedPatch, "corrupted", others_masked_too, "tap/embedded"),
    (recorded, "weights", every_patch, "loss"),
    (recorded, "weights", only_changed, "loss"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes):
    size, rng = {**SIZES, **changes}, np.random.default_rng(1)
    cells, bits, (high, wide) = size.get("cells", 1), size.get("bits", 3), size["patch"]
    classes, columns = 2 ** (bits * size["channels"]), size["image"][1] // wide
    weights = arrays(size, rng)
    weights |= {
        "head.weight": rng.normal(0, 0.3, (cells**2 * classes, 8)),
        "head.bias": rng.normal(size=cells**2 * classes),
    }
    patches = np.prod(size["image"]) // (high * wide)
    kind, other = rng.integers(0, 4, (2, patches)), rng.integers(0, patches, (2, patches))
    pixels = rng.integers(0, 256, (2, size["channels"], *size["image"]))
    image = rng.normal(size=pixels.shape)

    def change(w, b):
        def changed(x):
            options = [lambda n: x[n], lambda n: w["mask_token"][0, 0], lambda n: x[other[b, n]], lambda n: x[n]]
            return [options[kind[b, n]](n) for n in range(patches)]

        return changed

    def target(b, n, cell):
        top, left = (
            high * (n // columns) + cell // cells * high // cells,
            wide * (n % columns) + cell % cells * wide // cells,
        )
        number = 0
        for channel in pixels[b, :, top : top + high // cells, left : left + wide // cells]:
            number = number * 2**bits + int(channel.mean() // 2 ** (8 - bits))
        return number

    def loss(w, image):
        terms = []
        for b, n in zip(*np.nonzero(kind), strict=True):
            logits = encoded(size, w, image[b], change(w, b))[n] @ w["head.weight"].T + w["head.bias"]
            of_cells = logits.reshape(cells**2, classes)
            terms.append(np.mean([surprise(row, target(b, n, cell)) for cell, row in enumerate(of_cells)]))
        return np.mean(terms)

    given = {"image": image, "pixels": pixels, "kind": kind, "other": other}
    config = {name: x for name, x in size.items() if name not in ("relative", "absolute", "scaled")}
    case = write_case(tmp_path, "vit_masked_patch", config, weights, {**given, "loss": np.array(loss(weights, image))})
    assert wrong_arrays(case) == []
    check_gradients(case, recorded.recompute, loss, weights, image)


def test_half_of_the_patches_are_chosen_and_eight_of_ten_masked():
    objective = small()
    found = objective.draw({"images": np.zeros((2000, 1))}, 0, np.random.default_rng(0))
    kind, source = found["kind"], found["source"]
    assert ((kind > 0).sum(axis=1) == 8).all()
    shares = np.bincount(kind.ravel(), minlength=4)[1:] / 16_000
    assert np.abs(shares - (0.8, 0.1, 0.1)).max() < 5 * np.sqrt(0.8 * 0.2 / 16_000)
    assert ((source != np.arange(16)) == (kind == OTHER)).all()  # another patch is never the patch itself
    assert len(np.unique(source[kind == OTHER])) == 16
    assert found["weight"].sum() / 2000 == pytest.approx(1)
    assert ((found["weight"] > 0) == (kind > 0)).all()  # also of those that are kept


def test_only_chosen_patches_count_as_right():
    objective, colour = small(), np.random.default_rng(0).integers(0, 512, (3, 16, 1))
    drawn = objective.draw({"images": np.zeros((3, 1))}, 0, np.random.default_rng(0))
    logits = objective.tensor(np.eye(512)[colour])
    assert objective.sums((logits,), {**drawn, "colour": colour})["colour_accuracy"] == pytest.approx(3)
    other = np.where(drawn["kind"][..., None] > 0, colour, (colour + 1) % 512)
    assert objective.sums((logits,), {**drawn, "colour": other})["colour_accuracy"] == pytest.approx(3)


def test_colours_are_those_of_the_changed_image():
    """In spite of its normalisation: means at the border of two levels, and images that are mirrored."""
    objective, rng = small(), np.random.default_rng(0)
    images = rng.integers(0, 8, (64, 8, 8, 3), np.uint8) * 32
    images[:, ::2, ::2] = images[:, 1::2, 1::2] = images[:, ::2, 1::2] = images[:, 1::2, ::2]  # patches of one colour
    augment = Augment((8, 8), flip=True, mean=(0.49, 0.48, 0.45), std=(0.2, 0.25, 0.3))
    batch = objective.prepare({"images": images}, augment, np.random.default_rng(1))
    plain = objective.prepare({"images": images}, augment.evaluation(), None)
    levels = images[:, ::2, ::2].astype(int) // 32 @ (64, 8, 1)
    assert np.array_equal(plain["colour"], levels.reshape(64, 16, 1))
    mirrored = np.array([not np.array_equal(x, y) for x, y in zip(batch["images"], plain["images"], strict=True)])
    assert 10 < mirrored.sum() < 54
    expected = np.where(mirrored[:, None, None], levels[:, :, ::-1], levels)
    assert np.array_equal(batch["colour"], expected.reshape(64, 16, 1))


def test_it_learns_what_neighbours_tell():
    """The patches of an image have one colour."""
    objective, rng = small(channels=1, bits=2), np.random.default_rng(0)
    level = rng.integers(0, 4, 32)
    images = np.broadcast_to(level[:, None, None, None] / 1.5 - 1, (32, 8, 8, 1))
    optimizer, losses = AdamW(objective.named_parameters(), lr=2e-2), []
    for i in range(40):
        batch = {"images": images, "colour": np.broadcast_to(level[:, None, None], (32, 16, 1))}
        batch |= objective.draw(batch, i, np.random.default_rng(i))
        outputs = objective(batch)
        loss = objective.loss(outputs, batch)
        optimizer.step(grad(loss, optimizer.parameters))
        losses.append(loss.item())
    assert losses[0] > 1
    assert np.mean(losses[-5:]) < 0.2
    assert objective.sums(outputs, batch)["colour_accuracy"] / 32 > 0.95


@pytest.mark.parametrize(
    "own", [{"chosen": 0.0}, {"mask": 0.95}, {"bits": 9}, {"bits": 6}, {"cells": 3}, {"cells": 0}], ids=str
)
def test_wrong_fields_are_refused(own):
    with pytest.raises(ConfigError, match=next(iter(own))):
        small(**own)


def test_what_is_masked_cannot_be_seen():
    objective, rng = small().eval(), np.random.default_rng(0)
    images, kind = rng.normal(size=(1, 8, 8, 3)), np.zeros((1, 16), int)
    kind[0, 5] = MASK
    batch = {"images": images, "kind": kind, "source": np.arange(16)[None]}
    other = images.copy()
    other[0, 2:4, 2:4] = 7  # the pixels of patch 5
    assert np.array_equal(objective(batch)[0].data, objective(batch | {"images": other})[0].data)
    assert F.softmax(objective(batch)[0]).shape == (1, 16, 1, 512)
