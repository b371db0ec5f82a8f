"""visualize: which files it writes for what, and that they show the model and the images asked for."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minivit import data, plots
from minivit.errors import ConfigError, DataError
from minivit.models import ViT, ViTConfig, export, inside
from minivit.models.archive import read_arrays, write_safetensors
from minivit.runs import folder as run_folder
from minivit.tensor import no_grad
from minivit.visualize import figures

# fmt: off
FILES = [
    "attention-1.png", "attention-2.png", "rollout.png", "distance.png", "positions.png", "filters.png", "graph.svg",
    "curves.png", "confusion.png",
]
# fmt: on


@pytest.fixture
def shown(monkeypatch):
    """What each function of `plots` was called with, by name, instead of drawing it."""
    calls = {}
    for name in plots.__all__:
        if callable(getattr(plots, name)):
            monkeypatch.setattr(
                plots, name, lambda *args, name=name, **options: calls.setdefault(name, []).append(args)
            )
    return calls


@pytest.fixture
def published(tmp_path):
    """A file of published weights, of a model for 8 x 8 grey images."""
    config = ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, num_classes=10, channels=1)
    model = ViT(config)
    export(model, tmp_path / "published.npz")
    return tmp_path / "published.npz"


def digits(*index):
    return data.load("digits", split="test").fetch(index)


def test_a_run_is_enough(tiny_run, command):
    result = command("visualize", tiny_run, "--index", "5,7", "--out", "new/pictures")
    assert (result.status, result.err) == (0, "")
    assert result.out.split() == [f"new/pictures/{name}" for name in FILES]
    for name in FILES:
        head = Path("new/pictures", name).read_bytes()[:8]
        assert head == b"\x89PNG\r\n\x1a\n" or (name == "graph.svg" and head.startswith(b"<svg"))


def test_the_checkpoint_stands_for_its_run(tiny_run, command):
    command("visualize", tiny_run, "--figures", "distance,graph", "--out", "a")
    out = command("visualize", tiny_run / "checkpoint.npz", "--figures", "distance,graph", "--out", "b").out
    assert out.split() == ["b/distance.png", "b/graph.svg"]
    for name in ("distance.png", "graph.svg"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_the_images_of_the_index_are_shown_with_their_attention(tiny_run, command, shown):
    command("visualize", tiny_run, "--index", "9,3,200", "--figures", "attention,rollout")
    images, labels = digits(9, 3, 200)
    model, _, classes = run_folder.load_trained(tiny_run)
    x = (images / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    with no_grad():
        guesses = model(x).data.argmax(axis=-1)
    captions = [
        f"image {i}: {k}\npredicted: {classes[g]}" for i, k, g in zip((9, 3, 200), labels, guesses, strict=True)
    ]
    attention = inside.attention_weights(model, x)
    for i, (image, maps, title, path) in enumerate(shown["attention_maps"]):
        np.testing.assert_allclose(image, images[i] / 255, atol=1e-6)
        np.testing.assert_allclose(maps, attention[:, i, :, 0, 1:].reshape(2, 2, 2, 2) * 5, rtol=1e-4)
        assert title == "finished: attention of the [class] token\n" + captions[i].replace("\n", ", ")
        assert path == Path("pictures", f"attention-{i + 1}.png")
    ((seen, maps, written, _, _),) = shown["attention_rollout"]
    np.testing.assert_allclose(seen, images / 255, atol=1e-6)
    np.testing.assert_allclose(maps, inside.rollout(attention)[:, 0, 1:].reshape(3, 2, 2) * 5, rtol=1e-4)
    assert written == captions


def test_image_files_take_the_place_of_test_images(tiny_run, command, shown, tmp_path, monkeypatch):
    monkeypatch.setattr("minivit.cli.sources.load_data", None)  # no data set is needed
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)).save(tmp_path / "colour.png")
    Image.fromarray(digits(3)[0][0, ..., 0]).save(tmp_path / "digit.png")
    assert command("visualize", tiny_run, tmp_path / "colour.png", tmp_path / "digit.png").status == 0
    ((seen, _, captions, _, _),) = shown["attention_rollout"]
    assert seen.shape == (2, 8, 8, 1)
    np.testing.assert_allclose(seen[1], digits(3)[0][0] / 255, atol=1e-6)
    assert [caption.split("\n")[0] for caption in captions] == ["colour.png", "digit.png"]
    assert "2 images of 8×8 pixels" in shown["attention_distance"][0][2]
    assert "computation_graph" in shown
    assert "confusion_matrix" not in shown


def test_many_images_make_several_rollouts(tiny_run, command, shown):
    index = ",".join(map(str, range(17)))
    out = command("visualize", tiny_run, "--index", index, "--figures", "rollout").out
    assert out.split() == [f"pictures/rollout-{i}.png" for i in (1, 2, 3)]
    captions = [caption for call in shown["attention_rollout"] for caption in call[2]]
    assert [caption.split(":")[0] for caption in captions] == [f"image {i}" for i in range(17)]
    assert [len(call[0]) for call in shown["attention_rollout"]] == [8, 8, 1]
    assert [len(call[1]) for call in shown["attention_rollout"]] == [8, 8, 1]


def test_distance_is_the_mean_over_images_of_all_classes(tiny_run, command, shown):
    command("visualize", tiny_run, "--figures", "distance")
    chosen = data.load("digits", split="test").limit(128)
    images = chosen.fetch(np.arange(128))[0]
    model = run_folder.load_trained(tiny_run)[0]
    attention = inside.attention_weights(model, (images / np.float32(255) - np.float32(0.5)) / np.float32(0.5))
    distances, uniform, title, _ = shown["attention_distance"][0]
    np.testing.assert_allclose(distances, inside.attention_distance(attention, model.config).mean(axis=1), rtol=1e-4)
    # of two by two patches 4 pixels apart a quarter is 0, half 4, a quarter 4 sqrt 2 away
    assert uniform == pytest.approx(2 + np.sqrt(2))
    assert title == "finished: 128 images of 8×8 pixels"


def test_the_confusion_matrix_agrees_with_evaluate(tiny_run, command, shown):
    accuracy = command("evaluate", tiny_run).out.split("accuracy ")[1].split(",")[0]
    command("visualize", tiny_run, "--figures", "confusion")
    counts, classes, title, _ = shown["confusion_matrix"][0]
    assert (counts.sum(), len(classes)) == (359, 10)
    assert counts.sum(axis=1).tolist() == np.bincount(digits(*range(359))[1]).tolist()
    assert title == f"finished: 359 test images, accuracy {accuracy}"
    assert f"{np.trace(counts) / 359:.2%}" == accuracy


def test_published_weights_without_images_are_shown_as_far_as_they_go(published, command):
    out = command("visualize", published).out.splitlines()
    assert [line for line in out if line.startswith("pictures")] == [
        "pictures/positions.png",
        "pictures/filters.png",
        "pictures/graph.svg",
    ]
    left_out = [line for line in out if line.startswith("left out ")]
    assert [line.split(":")[0].split()[-1] for line in left_out] == [
        "attention",
        "rollout",
        "distance",
        "curves",
        "confusion",
    ]
    assert "give image files, or a data set with --data" in left_out[0]


def test_what_was_asked_for_by_name_is_not_left_out(published, command):
    result = command("visualize", published, "--figures", "graph,attention")
    assert result.out.splitlines()[1:] == ["pictures/graph.svg"]
    assert "give image files" in result.complaint
    assert "no record of their training" in command("visualize", published, "--figures", "curves").complaint


def test_published_weights_with_images(published, command, shown):
    Image.fromarray(digits(3)[0][0, ..., 0]).save("a.png")
    assert command("visualize", published, "a.png", "--figures", "rollout").status == 0
    assert shown["attention_rollout"][0][2][0].startswith("a.png\npredicted: class ")
    assert command("visualize", published, "--data", "digits", "--index", "3", "--figures", "rollout").status == 0
    first, second = shown["attention_rollout"]
    np.testing.assert_array_equal(first[1], second[1])
    assert second[2][0].startswith(f"image 3: {digits(3)[1][0]}\n")


@pytest.fixture
def described(tmp_path):
    """A file in the layout of Hugging Face, with the normalisation and the names of its classes beside it, and an
    image in the folder of a class."""
    model = ViT(ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, num_classes=3))
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data[...] += rng.standard_normal(p.shape)
    export(model, "model.safetensors", "hf")
    config = json.loads(Path("config.json").read_text(encoding="utf-8"))
    Path("config.json").write_text(
        json.dumps({**config, "id2label": {"0": "ant", "1": "bee", "2": "cat"}}), encoding="utf-8"
    )
    Path("preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5] * 3}), encoding="utf-8"
    )
    Path("photos/val/bee").mkdir(parents=True)
    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save("photos/val/bee/a.png")
    return model.eval(), pixels


def test_published_weights_see_images_as_predict_prepares_them(described, command, shown):
    model, pixels = described
    out = command("predict", "model.safetensors", "photos/val/bee/a.png", "--top", "1").out
    best = out.split()[-1]
    assert command("visualize", "model.safetensors", "photos/val/bee/a.png", "--figures", "rollout").status == 0
    assert command("visualize", "model.safetensors", "photos/val/bee/a.png", "--mean", "0.9").status == 0
    first, second = shown["attention_rollout"]
    for (seen, maps, _, _, _), mean in ((first, [0.1, 0.2, 0.3]), (second, 0.9)):
        np.testing.assert_allclose(seen[0], pixels / 255, atol=1e-6)
        attention = inside.attention_weights(model, ((pixels[None] / 255 - mean) / 0.5).astype(np.float32))
        np.testing.assert_allclose(maps[0], inside.rollout(attention)[0, 0, 1:].reshape(2, 2) * 5, rtol=1e-4)
    assert first[2] == [f"a.png\npredicted: {best}"]


def test_the_confusion_matrix_of_published_weights(described, command, shown):
    argv = ("visualize", "model.safetensors", "--data", "folder:photos", "--index", "0", "--figures", "confusion")
    assert command(*argv).status == 0
    counts, classes, _, _ = shown["confusion_matrix"][0]
    assert counts.sum(axis=1).tolist() == [0, 1, 0]
    assert classes == ["ant", "bee", "cat"]


def test_what_the_file_does_not_tell_is_an_option(described, command, shown):
    export(described[0], "bare.safetensors", "timm")
    write_safetensors(Path("bare.safetensors"), read_arrays(Path("bare.safetensors"))[0], {})
    assert "how many heads" in command("visualize", "bare.safetensors").complaint
    out = command("visualize", "bare.safetensors", "--heads", "2", "--image-size", "16x8").out
    assert "pictures/graph.svg" in out
    assert shown["position_similarity"][0][0].shape == (4, 2, 4, 2)


def test_a_model_without_a_head_can_be_looked_at(command, shown):
    export(ViT(ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=0)), "features.npz")
    Image.new("RGB", (8, 8)).save("a.png")
    assert command("visualize", "features.npz", "a.png").status == 0
    assert shown["attention_rollout"][0][2] == ["a.png"]
    assert "computation_graph" in shown


def test_a_distillation_token_is_read_too(command, shown):
    config = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=2, distillation_token=True)
    export(ViT(config), "deit.safetensors", "timm")
    Image.new("RGB", (8, 8)).save("a.png")
    assert command("visualize", "deit.safetensors", "a.png", "--figures", "attention").status == 0
    assert ": attention of the [class] and distillation tokens\n" in shown["attention_maps"][0][2]


@pytest.mark.parametrize(
    ("changes", "weights", "expected"),
    [
        ({}, 0.0, "the patch filters are all the same"),
        ({}, np.nan, "NaN or infinite values"),
        ({"width": 1, "heads": 1}, 1.0, "the patch filters are all the same"),
        ({"channels": 2}, None, "no colours for filters of 2 channels"),
        ({"channels": 4}, None, "no colours for filters of 4 channels"),
    ],
)
def test_filters_that_cannot_be_drawn(changes, weights, expected):
    fields = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2}
    model = ViT(ViTConfig(**{**fields, **changes}))
    if weights is not None:
        model.patch_embed.projection.weight.data[...] = weights
    with pytest.raises(ConfigError, match=expected):
        list(figures.draw_filters(SimpleNamespace(vit=model, name="model")))


def test_without_its_data_a_run_is_shown_as_far_as_it_goes(tiny_run, command, monkeypatch):
    def gone(*args):
        raise DataError("the data are gone")

    monkeypatch.setattr("minivit.cli.sources.load_data", gone)
    result = command("visualize", tiny_run)
    assert result.status == 0
    kept = ["positions.png", "filters.png", "graph.svg", "curves.png"]
    assert [line for line in result.out.splitlines() if "left out" not in line] == [f"pictures/{n}" for n in kept]
    assert result.out.count(": the data are gone\n") == 4
    assert "the data are gone" in command("visualize", tiny_run, "--index", "1").complaint


def test_the_curves_are_those_of_the_runs_loss(command, tiny_options, monkeypatch):
    seen = []
    monkeypatch.setattr("minivit.runs.saving.learning_curves", lambda *args: seen.append(args[3]))
    monkeypatch.setattr("minivit.plots.learning_curves", lambda *args, loss: seen.append(loss))
    assert command("train", *tiny_options, "--loss", "sigmoid", "--out", "sigmoid").status == 0
    assert command("visualize", "sigmoid", "--figures", "curves").status == 0
    assert len(seen) > 1
    assert set(seen) == {"sigmoid"}


def test_a_model_without_positions_or_class_token(command, tiny_options, shown):
    options = [*tiny_options, "--position", "none", "--classifier", "gap", "--out", "gap"]
    assert command("train", *options).status == 0
    out = command("visualize", "gap", "--index", "0").out
    assert 'left out positions: the model has no position embeddings (position is "none")' in out
    assert "attention of the mean over tokens" in shown["attention_maps"][0][2]


def test_data_of_other_classes_have_no_confusion_matrix(tiny_run, command, monkeypatch, shown):
    real = data.load("digits", split="test")
    other = data.ArrayDataset(real.images[:10], real.labels[:10] % 2, ["even", "odd"], "parity")
    monkeypatch.setattr("minivit.cli.sources.load_data", lambda *args: other)
    out = command("visualize", tiny_run, "--data", "parity").out
    assert "attention_distance" in shown
    assert "confusion_matrix" not in shown
    assert "left out confusion: the classes of parity are not the model's" in out


def test_data_of_other_channels_are_refused(tiny_run, command, pets):
    text = command("visualize", tiny_run, "--data", f"folder:{pets}").complaint
    assert "has 3 channels, the model 1" in text
