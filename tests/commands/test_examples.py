"""visualize: what the objective of a run makes of images."""

from pathlib import Path

import numpy as np
import pytest
from painting import painting  # noqa: F401
from PIL import Image
from untrained import untrained

from minivit import data, plots
from minivit.lineage.mit import VARIANTS

MAPS = {
    "scenes-segmenter": {
        "objective": {"name": "segmenter", "width": 8, "heads": 2, "mlp_width": 8, "depth": 1},
        "model": {"patch_size": 8, "width": 8, "depth": 1, "heads": 2, "mlp_width": 8},
    },
    "scenes-segformer": {
        "objective": {"name": "segformer", "width": 8},
        "model": {"name": "segformer", **VARIANTS["mit-mini"]},
    },
}


@pytest.fixture
def rows(monkeypatch):
    """The rows of the last picture, instead of drawing it."""
    found = {}
    monkeypatch.setattr(plots, "image_rows", lambda rows, title, path: (found.clear(), found.update(rows, title=title)))
    return found


@pytest.mark.parametrize("name", MAPS)
def test_a_class_for_every_pixel_beside_the_true_one(name, command, rows):
    objective = untrained(Path("dense"), name, **MAPS[name])
    result = command("visualize", "dense", "--figures", "examples", "--index", "7,2")
    assert (result.status, result.out, result.err) == (0, "pictures/examples.png\n", "")
    columns = data.load("scenes", split="test").columns([7, 2], ("images", "mask"))
    np.testing.assert_allclose(rows["image"], columns["images"] / 255, atol=1e-6)
    assert np.array_equal(rows["true"], columns["mask"])
    batch = {"images": columns["images"] / np.float32(127.5) - 1, "mask": columns["mask"]}
    assert np.array_equal(rows["predicted"], objective.predict(batch))
    assert rows["title"] == f"dense: {name.removeprefix('scenes-')}"
    Image.fromarray(columns["images"][1]).save("scene.png")
    kept = rows["predicted"][1]
    assert command("visualize", "dense", "scene.png", "--figures", "examples").status == 0
    assert "true" not in rows
    assert np.array_equal(rows["predicted"][0], kept)


def test_a_click_and_its_masks_the_best_score_first(clicking, command, rows):
    result = command("visualize", "clicks", "--index", "4,6")
    assert (result.status, result.err) == (0, "")
    assert "pictures/examples.png" in result.out
    assert [*rows] == ["click", "true mask", "mask 1", "mask 2", "mask 3", "title"]
    pixels = data.load("nested", split="test").fetch([4, 6])[0]
    for i in range(2):
        y, x = np.argwhere((abs(rows["click"][i] - pixels[i] / 255) > 1e-6).any(axis=-1)).mean(axis=0)
        assert rows["click"][i][round(y), round(x)].tolist() == [1, 1, 1]
        masks = clicking.clicked(pixels[[i]] / np.float32(127.5) - 1, np.array([[[x, y]]], np.float32))[0][0, 0]
        assert all(np.array_equal(rows[f"mask {k + 1}"][i], mask) for k, mask in enumerate(masks))
        down, right = round(y) // 2, round(x) // 2
        around = rows["true mask"][i][max(0, down - 1) : down + 2, max(0, right - 1) : right + 2]
        assert around.any()  # at the edge of a shape half a cell may be outside
    Image.fromarray(pixels[0]).save("scene.png")
    assert command("visualize", "clicks", "scene.png", "--figures", "examples").status == 0
    assert rows["click"][0, 16, 16].tolist() == [1, 1, 1]
    assert "true mask" not in rows


def test_hidden_patches_and_what_was_predicted_for_them(command, rows):
    small = {"patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 8}
    objective = {"name": "mae", "width": 8, "depth": 1, "heads": 2, "mlp_width": 8}
    untrained(Path("mae"), "cifar10-mae", data="digits", model=small, objective=objective, mean=0.5, std=0.5)
    assert command("visualize", "mae", "--index", "3", "--figures", "examples").status == 0
    assert [*rows] == ["image", "seen", "completed", "title"]
    hidden = (rows["seen"][0] == 0.5).all(axis=-1)
    assert 0 < hidden.sum() < 64
    np.testing.assert_allclose(rows["completed"][0][~hidden], rows["image"][0][~hidden], atol=1e-6)


def test_pictures_from_nothing(command, rows):
    small = {"patch_size": 4, "width": 8, "depth": 1, "heads": 1, "mlp_width": 8}
    dit = untrained(Path("dit"), "digits-dit", model=small, objective={"name": "dit", "walk": 2}, ema=None)
    result = command("visualize", "dit")
    assert (result.status, result.err) == (0, "")
    made = dit.pictures(np.random.default_rng((0, 4)))
    assert [*rows] == [*made, "title"]
    name, images = next(iter(made.items()))
    np.testing.assert_allclose(rows[name], np.clip(images * 0.5 + 0.5, 0, 1), atol=1e-6)
    assert "Traceback" not in result.out


@pytest.mark.usefixtures("painting")
def test_an_objective_without_pictures_says_so(command):
    untrained(Path("plain"), "digits-paint")
    result = command("visualize", "plain")
    assert result.out.startswith("left out examples: the objective paint makes no pictures\n")
    complaint = command("visualize", "plain", "--figures", "examples").complaint
    assert complaint == "error: the objective paint makes no pictures\n"


def test_a_classifier_is_shown_as_before(tiny_run, command):
    assert "examples" not in command("visualize", tiny_run, "--index", "0").out
    complaint = command("visualize", tiny_run, "--figures", "examples").complaint
    assert complaint == "error: a classifier makes no pictures\n"
