"""The experiments of the pages on descendants: dense labels, pixels as a text, clips, DINOv2."""

import math

import numpy as np
import pytest
from experiments import captions_mmdit, dense, dinov2, igpt, record, spacetime

from minivit.data import ArrayDataset, load
from minivit.data.scenes_layout import COLOURS, KINDS, PLACES
from minivit.data.scenes_words import about_one, decode
from minivit.lessons import digits
from minivit.lineage import dinov2_objective
from minivit.lineage.dinov2_parts import nearest


def test_what_is_missing_is_measured_with_seeds_outermost(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    record.write("x", {**record.begin("x", {}), "results": {"b": [{"loss": 1.0}]}})
    tried = []
    record.complete("x", {}, 2, ["a", "b"], lambda name, seed: tried.append((name, seed)) or {"loss": np.float32(0.5)})
    assert tried == [("a", 0), ("a", 1), ("b", 1)]
    assert record.read("x")["results"] == {"a": [{"loss": 0.5}] * 2, "b": [{"loss": 1.0}, {"loss": 0.5}]}


def test_results_are_rounded_wherever_they_stand():
    found = record.rounded({"x": [1 / 3, (2, np.float64(2 / 3))], "n": 7, "name": "y", "right": True})
    assert found == {"x": [0.3333, [2, 0.6667]], "n": 7, "name": "y", "right": True}


def images_of(levels):
    """Images of 8x8 pixels whose levels are 0..16."""
    pixels = np.round(np.asarray(levels).reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
    return ArrayDataset(pixels, [0] * len(pixels), ["any"], "levels")


def test_a_table_is_as_surprised_as_its_counts_say():
    train, test = images_of(np.full((3, 64), 5)), images_of(np.full((1, 64), 5))
    assert igpt.surprise(("place",), train, test) == pytest.approx(-math.log(3.1 / 4.7))
    other = np.full((1, 64), 5)
    other[0, 10] = 6  # the level itself and, for pixel 11, the one before it
    surprised = igpt.surprise(("place", "previous"), train, images_of(other))
    assert 64 * surprised == pytest.approx(-62 * math.log(3.1 / 4.7) - math.log(0.1 / 4.7) + math.log(17))


def test_contexts_are_the_pixels_before():
    levels = np.random.default_rng(0).integers(0, 17, (2, 64))
    pixels, known = igpt.contexts(images_of(levels))
    assert np.array_equal(pixels, levels)
    for n in range(64):
        row, column = divmod(n, 8)
        assert known["place"][1, n] == n
        assert known["previous"][1, n] == (levels[1, n - 1] if n else 17)
        assert known["upper"][1, n] == (levels[1, n - 8] if row else 17)
        assert known["corner"][1, n] == (levels[1, n - 9] if row and column else 17)


def test_levels_are_those_of_the_digits():
    pixels, _ = igpt.contexts(digits()[1])
    assert set(np.unique(pixels)) == set(range(17))


def test_the_dense_models_differ_in_what_their_names_say():
    parts = {}
    for name in dense.MODELS:
        recipe = dense.recipe_of(name, 0)
        objective, model = recipe.objective, recipe.model
        parts[name] = objective["name"], objective.get("decoder"), getattr(model, "patch_size", (0,))[0]
        assert getattr(model, "depthwise", True) == ("no depthwise" not in name)
    assert parts == {
        "Segmenter, mask, patches of 4": ("segmenter", "mask", 4),
        "Segmenter, linear, patches of 4": ("segmenter", "linear", 4),
        "Segmenter, mask, patches of 8": ("segmenter", "mask", 8),
        "Segmenter, linear, patches of 8": ("segmenter", "linear", 8),
        "SegFormer": ("segformer", None, 0),
        "SegFormer, no depthwise": ("segformer", None, 0),
    }


def test_a_drawn_clip_moves_as_its_class_says_and_steadily():
    columns = spacetime.clips(40, 3).arrays(range(40), ("images", "labels"))
    pictures = columns["images"] / 127.5 - 1
    found = spacetime.looked_at(pictures, columns["labels"])
    assert found["direction"] == 1
    assert found["unsteady"] < 0.3  # pixels
    assert found["between"] == pytest.approx(found["in a tubelet"], rel=0.05)
    opposite = spacetime.looked_at(pictures, columns["labels"] ^ 1)
    assert opposite["direction"] == 0
    jumping = pictures.reshape(40, 16, 16, 8, 3)[:, :, :, [0, 1, 6, 7, 2, 3, 4, 5]].reshape(pictures.shape)
    jumped = spacetime.looked_at(jumping, columns["labels"])
    assert jumped["in a tubelet"] == pytest.approx(found["in a tubelet"])
    assert jumped["between"] > 1.05 * found["between"]
    assert jumped["unsteady"] > 3 * found["unsteady"]


def test_velocities_go_round_the_edge():
    frames = np.full((1, 3, 16, 16, 3), -0.5)
    for time, (row, column) in enumerate([(4, 14), (3, 15), (2, 0)]):
        frames[0, time, row, column, 0] = 1
    assert np.allclose(spacetime.velocities(frames), [[[1, -1], [1, -1]]])


def test_the_largest_cosine_is_that_of_another_image():
    x = np.random.default_rng(0).standard_normal((9, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert np.allclose(dinov2.alike(x), (x * x[nearest(x)]).sum(axis=1))


def test_features_of_patches_are_their_means():
    objective, data = dinov2_objective.tiny()
    network, images = objective.encoder, data.fetch(np.arange(2))[0] / 127.5 - 1
    tokens = network.tokens(images.astype("float32")).data  # [class], a register, 16 patches
    means = dinov2.PatchMeans(network).features(images.astype("float32")).data
    assert np.allclose(means, tokens[:, 2:].mean(axis=1), atol=1e-6)


def test_colour_and_place_of_drawn_shapes_are_seen():
    columns = load("captions", split="test").columns(np.arange(40), ("images", "colours", "boxes"))
    colours, places = captions_mmdit.seen(columns["images"] / 127.5 - 1)
    assert np.array_equal(colours, columns["colours"][:, 0])
    middles = columns["boxes"][:, 0, :2] + columns["boxes"][:, 0, 2:] >= 32  # twice the middle, in 32 pixels
    assert np.array_equal(places, middles @ [1, 2])


def test_captions_are_numbered_as_they_are_asked():
    colours, kinds, places = captions_mmdit.asked()
    names = [[*COLOURS], [*KINDS], PLACES]
    for number in (0, 7, 33, 79):
        colour, kind, place = (of[i[number]] for of, i in zip(names, (colours, kinds, places), strict=True))
        assert decode(about_one()[number]) == f"a {colour} {kind} in the {place}"
