"""The records of the longer experiments: kept whole, never mixed, and those that ship are what the code makes."""

import importlib
import json
from types import ModuleType

import numpy as np
import pytest
from experiments import (
    answers,
    augmentation,
    crossing,
    data_scale,
    higher_resolution,
    hybrid,
    norm_depth,
    patch_sizes,
    positions,
    rates,
    record,
    resolution_positions,
    shape_scaling,
    small_checkpoint,
)

from minivit.data import ArrayDataset, Scenes, load
from minivit.models import ViT, ViTConfig, load_pretrained
from minivit.models.archive import read_arrays
from minivit.runs.recipes import Recipe

EXPERIMENTS = [importlib.import_module(f"experiments.{path.stem}") for path in sorted(record.RESULTS.glob("*.json"))]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def test_mean_and_standard_error():
    mean, error = record.mean_and_error([1.0, 2.0, 6.0])
    assert mean == pytest.approx(3)
    assert error == pytest.approx((7 / 3) ** 0.5)  # squares 4 + 1 + 9, over 2, over 3


def test_an_experiment_goes_on_where_it_stopped(results, monkeypatch):
    tried = []

    def measure(position, seed):
        if len(tried) == 8:
            raise KeyboardInterrupt
        tried.append((position, seed))
        return 0.5

    monkeypatch.setattr(positions, "measure", measure)
    monkeypatch.setattr(positions, "SEEDS", 2)
    with pytest.raises(KeyboardInterrupt):
        positions.main()
    begun = record.read("positions")["results"]
    assert [len(runs) for runs in begun.values()] == [2, 2, 1, 1, 1, 1]
    monkeypatch.setattr(positions, "measure", lambda position, seed: tried.append((position, seed)) or 0.25)
    positions.main()
    assert len(tried) == len(set(tried)) == 12
    assert record.read("positions")["results"]["sincos2d"] == [0.5, 0.25]
    assert [path.name for path in results.iterdir()] == ["positions.json"]


def test_results_of_two_configurations_are_not_mixed(results):
    record.write("x", record.begin("x", {"config": {"sizes": (1, 2)}}))
    assert record.begin("x", {"config": {"sizes": (1, 2)}})["results"] == {}
    with pytest.raises(ValueError, match="another configuration"):
        record.begin("x", {"config": {"sizes": (1, 3)}})


MAY_GROW = {"SEEDS", "POSITIONS", "MODELS"}  # what is added to a record leaves the rest of it right


def constants(experiment):
    """Names and values, without modules such as F and classes such as DINO."""
    named = {name: value for name, value in vars(experiment).items() if name.isupper() and name not in MAY_GROW}
    return {name: value for name, value in named.items() if not isinstance(value, ModuleType | type)}


def another(value):
    """A value of the same kind."""
    if isinstance(value, dict):
        return {**value, next(iter(value)): None}
    return value[1:] if isinstance(value, tuple) else 2 * value


@pytest.mark.parametrize(
    ("experiment", "constant"),
    [(experiment, name) for experiment in EXPERIMENTS for name in constants(experiment)],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_the_header_knows_every_constant(experiment, constant, monkeypatch):
    before = experiment.header()
    monkeypatch.setattr(experiment, constant, another(getattr(experiment, constant)))
    assert experiment.header() != before


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda module: module.__name__)
def test_the_shipped_results_are_complete_and_of_this_configuration(experiment, monkeypatch):
    """Run again, the experiment has nothing left to measure."""

    def measure(*arguments):
        raise AssertionError(f"not in the shipped results: {arguments}")

    monkeypatch.setattr(experiment, "measure", measure)
    monkeypatch.setattr(record, "write", measure)
    if hasattr(experiment, "load"):
        monkeypatch.setattr(experiment, "load", lambda name, split="train": load("shapes", split="test"))
    experiment.main()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda module: module.__name__)
def test_the_shipped_results_are_small_and_have_a_result_for_every_seed(experiment):
    path = record.RESULTS / f"{experiment.__name__.rpartition('.')[2]}.json"
    assert path.stat().st_size < 50_000
    shipped = json.loads(path.read_text(encoding="utf-8"))
    assert {"command", "config", "data", "results"} <= set(shipped)
    assert {len(runs) for runs in lists(shipped["results"])} == {experiment.SEEDS}


def lists(results):
    """The lists in a dictionary of dictionaries."""
    for found in results.values():
        yield from lists(found) if isinstance(found, dict) else [found]


def test_a_run_of_the_augmentations_has_all_parts():
    shipped = record.read("augmentation")
    assert {len(runs) for runs in shipped["train_accuracy"].values()} == {augmentation.SEEDS}
    assert {len(run) for runs in shipped["results"].values() for run in runs} == {augmentation.PARTS}


@pytest.mark.parametrize("experiment", [higher_resolution, hybrid], ids=lambda module: module.__name__)
def test_runs_that_are_compared_by_image_have_the_chosen_rate_and_all_test_images(experiment):
    stored = record.read(experiment.__name__.rpartition(".")[2])
    assert {len(runs) for runs in stored["results"].values()} == {experiment.SEEDS}
    for name, tried in stored["rates_tried"].items():
        assert list(map(float, tried)) == list(experiment.RATES)
        assert stored["rates"][name] == float(max(tried, key=tried.get))
        for run in stored["results"][name]:
            right = answers.unpacked(run["right"])
            assert right.shape == (10_000,)
            assert run["after"] == pytest.approx(right.mean(), abs=1e-4)


def test_the_hybrid_and_the_vit_have_about_the_same_size_of_sequence():
    for name in hybrid.MODELS:
        assert hybrid.config_of(name).num_tokens == 17


def test_the_models_compared_give_logits_of_ten_classes():
    images, _ = load("shapes", split="test").fetch(range(3))
    for make in data_scale.MODELS.values():
        assert make(0)((images / 255).astype("float32")).shape == (3, 10)
    images, _ = crossing.draw(3, seed=0).fetch(range(3))
    for make in crossing.MODELS.values():
        assert make(0)((images / 255).astype("float32")).shape == (3, 4)


def test_the_best_rate_has_a_worse_one_on_either_side():
    ladder, best = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), 16.0
    tried = {}
    while (rate := rates.next_rate(ladder, tried, start=2.0)) is not None:
        assert str(rate) not in tried
        tried[str(rate)] = -abs(rate - best)
    assert list(tried) == ["2.0", "1.0", "4.0", "8.0", "16.0", "32.0"]
    assert rates.best_rate(tried) == best
    assert rates.next_rate((1.0, 2.0), {"2.0": 0.5, "1.0": 0.3}, start=2.0) is None  # the ladder ends at the best


def test_a_shuffle_moves_pixels_within_patches_and_patches_among_themselves():
    images = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    side, within, among = 2, np.array([3, 0, 1, 2]), np.array([5, 0, 1, 2, 3, 4])
    shuffled = data_scale.shuffle_pixels(images, side, within, among)
    for j, old in enumerate(among):
        new = shuffled[:, 2 * (j // 3) :, 2 * (j % 3) :][:, :2, :2].reshape(2, 4, 3)
        before = images[:, 2 * (old // 3) :, 2 * (old % 3) :][:, :2, :2].reshape(2, 4, 3)
        assert np.array_equal(new, before[:, within])
    model = data_scale.ShuffledCNN(0)
    _, pixels, patches = model.shuffle
    assert sorted(pixels) == list(range(64))
    assert sorted(patches) == list(range(16))


def test_the_leftmost_glyph_is_the_label():
    dataset, shapes = crossing.draw(50, seed=3), crossing.glyphs()
    assert len({shape.sum() for shape in shapes}) == 1  # brightness does not tell the kind
    for image, label in zip(dataset.images[..., 0], dataset.labels, strict=True):
        lit = (image > 127).astype(float)  # a glyph is 204, the ground 51, the noise has 15
        found = [
            (column, kind)
            for kind, shape in enumerate(shapes)
            for column in range(13)
            for row in range(13)
            if np.array_equal(lit[row : row + 4, column : column + 4], shape)
        ]
        assert min(found)[1] == label


def test_the_orders_of_layernorm_differ_and_agree_where_they_should():
    images = load("digits", split="test").images[:3] / 255
    settings = {setting: norm_depth.build(setting, 2, 0) for setting in norm_depth.SETTINGS}
    for model in settings.values():
        model.head.weight.data += np.linspace(-1, 1, model.head.weight.data.size).reshape(model.head.weight.shape)
    logits = {setting: model(images.astype("float32")).data for setting, model in settings.items()}
    assert np.array_equal(logits["pre-LN"], logits["pre-LN, warm-up"])
    different = [logits[setting] for setting in ("pre-LN", "post-LN", "DeepNorm", "LayerScale")]
    assert not any(np.allclose(a, b, atol=1e-3) for i, a in enumerate(different) for b in different[:i])
    ones = np.ones((1, 3, 32), "float32")
    block = settings["DeepNorm"].blocks[0]
    assert block.alpha == 4**0.25
    assert norm_depth.build("post-LN", 2, 0).blocks[0](ones).shape == ones.shape


def test_a_study_of_shapes_changes_what_it_says():
    for study, values in shape_scaling.STUDIES.items():
        assert shape_scaling.changed(study, values[1]) == ViTConfig(**shape_scaling.BASE)
    assert shape_scaling.changed("depth", 8).depth == 8
    wide, wide_inside = shape_scaling.changed("width", 96), shape_scaling.changed("mlp_width", 768)
    assert (wide.width, wide.mlp_width) == (96, 192)
    assert (wide_inside.width, wide_inside.mlp_width) == (48, 768)
    assert shape_scaling.changed("patch_size", 4).grid == (8, 8)


def with_noise(model):
    """The model with its head of zeros, and all else, moved at random."""
    rng = np.random.default_rng(0)
    for tensor in model.parameters():
        tensor.data += (0.2 * rng.standard_normal(tensor.shape)).astype("float32")
    return model.eval()


def test_models_of_patch_sizes_get_equal_work():
    sizes, updates = patch_sizes.SIZES, patch_sizes.UPDATES
    fixed = [updates[f"fixed {size}"] * patch_sizes.cost(size) for size in sizes]
    drawn = updates["FlexiViT"] * sum(map(patch_sizes.cost, sizes)) / 3
    assert fixed == pytest.approx([drawn] * 3, rel=3e-3)
    assert 3 * drawn == pytest.approx(sum(fixed), rel=3e-3)
    assert updates["FlexiViT, 3 times"] == 3 * updates["FlexiViT"]
    assert patch_sizes.cost(2) > 0.8 * sum(map(patch_sizes.cost, sizes))  # docs/lineage/sizes.md says so
    assert max(updates.values()) * patch_sizes.FIT["batch_size"] < 4 * 50_000
    assert patch_sizes.config_of("FlexiViT").grids == (16, 8, 4)
    assert [patch_sizes.config_of(f"fixed {size}").grids for size in sizes] == [(16,), (8,), (4,)]


def test_a_model_at_another_patch_size_is_the_same_with_another_kernel():
    images = np.random.default_rng(1).standard_normal((2, 32, 32, 3)).astype("float32")
    for name in ("FlexiViT", "fixed 4"):
        model = with_noise(patch_sizes.FlexiViT(patch_sizes.config_of(name)))
        base, *_ = model.config.base_patch
        for size in patch_sizes.TESTED:
            exact, like = (patch_sizes.at_size(model, size, kernels)(images).data for kernels in patch_sizes.KERNELS)
            assert np.allclose(exact, model(images, grid=32 // size).data, atol=1e-4)
            assert np.allclose(exact, like, atol=1e-4) == (size == base)


def test_the_class_is_the_colour_of_the_left_shape_at_every_size():
    for size in (24, 64):
        data = resolution_positions.scenes(60, 5, size)
        drawn = Scenes(60, 5, size, shapes=(2, 2), label="colour")
        columns = drawn.columns(range(60), ("images", "boxes", "colours"))
        middles = columns["boxes"][..., [0, 2]].sum(axis=2) / 2 / size
        used = (np.diff(columns["colours"])[:, 0] != 0) & (np.abs(np.diff(middles)[:, 0]) >= 0.25)
        wanted = columns["colours"][np.arange(60), middles.argmin(axis=1)]
        found = {image.tobytes(): label for image, label in zip(data.images, data.labels, strict=True)}
        assert used.sum() > 15
        for image, label in zip(columns["images"][used], wanted[used], strict=True):
            assert found[image.tobytes()] == label
        assert len(data) < 45
        assert data.classes == drawn.classes


def test_weights_for_another_resolution_are_the_same_at_the_old_one():
    images = np.random.default_rng(1).standard_normal((2, 32, 32, 3)).astype("float32")
    large = np.random.default_rng(1).standard_normal((2, 64, 64, 3)).astype("float32")
    for kind in resolution_positions.KINDS:
        config = ViTConfig(image_size=32, num_classes=4, position=kind, **resolution_positions.VIT)
        model = with_noise(ViT(config))
        stretches = (False, True) if kind == "rope" else (False,)
        for stretched in stretches:
            again = resolution_positions.at_size(model, 32, stretched)
            assert np.allclose(again(images).data, model(images).data, atol=1e-5)
        wide = [resolution_positions.at_size(model, 64, stretched)(large).data for stretched in stretches]
        assert all(x.shape == (2, 4) for x in wide)
        assert kind != "rope" or not np.allclose(*wide, atol=1e-3)


def test_right_answers_are_read_as_they_were_written():
    right = np.random.default_rng(0).random(4_000) < 0.3
    assert len(answers.packed(right)) < 700
    assert np.array_equal(answers.unpacked(answers.packed(right)), right)
    images, labels = load("digits", split="test").fetch(range(24))
    some = ArrayDataset(images, labels, [str(i) for i in range(10)], "some")
    config = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=10, channels=1)
    model = ViT(config)
    model.head.bias.data[3] = 1.0
    assert np.array_equal(answers.answers(model, some), labels == 3)


def test_position_embeddings_for_larger_images_of_three_kinds():
    """Copied [class] row; rows of equal numbers remain so if interpolated; fresh ones depend on the seed."""
    old = np.random.default_rng(0).standard_normal((1, 1 + 2 * 3, 4)).astype(np.float32)
    tables = {way: higher_resolution.table_for(way, old, (2, 3), (4, 5), 0) for way in higher_resolution.WAYS[:3]}
    for table in tables.values():
        assert table.shape == (1, 21, 4)
        assert table.dtype == np.float32
        np.testing.assert_array_equal(table[:, 0], old[:, 0])
    corners = np.array([1, 5, 16, 20])  # of the new grid
    np.testing.assert_allclose(tables["2-D interpolation"][0, corners], old[0, [1, 3, 4, 6]], rtol=1e-6)
    np.testing.assert_allclose(tables["1-D interpolation"][0, [1, 20]], old[0, [1, 6]], rtol=1e-6)
    assert not np.allclose(tables["1-D interpolation"][0, 5], old[0, 3])
    assert not np.array_equal(tables["fresh"], higher_resolution.table_for("fresh", old, (2, 3), (4, 5), 1))


def test_the_small_checkpoint_holds_the_model_in_float16(results, monkeypatch, capsys):
    config = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=10, channels=1)
    model = ViT(config)
    recipe = Recipe(data="digits", model=config)
    monkeypatch.setattr(small_checkpoint.run_folder, "load_trained", lambda run: (model, recipe, None))
    small_checkpoint.main(["runs/some"])
    (path,) = results.iterdir()
    assert path.stat().st_size < 2 * sum(p.data.size for p in model.parameters()) + 4_000
    loaded = load_pretrained(path)
    accuracy = float(read_arrays(path)[1]["test_accuracy"])
    assert 0.05 < accuracy < 0.2  # of zeros in the head, about a tenth
    for ours, theirs in zip(model.parameters(), loaded.parameters(), strict=True):
        assert np.array_equal(ours.data.astype(np.float16), theirs.data)
    with pytest.raises(SystemExit, match="2"):
        small_checkpoint.main([])
    assert "usage" in capsys.readouterr().err
