"""classify and load_pretrained: images to names of classes, in one's own script."""

import numpy as np
import pytest
from PIL import Image

import minivit
from minivit import ArrayDataset, Recipe, ResNet, ResNetConfig, Trainer, ViT, ViTConfig, classify, load_pretrained
from minivit.data import Augment
from minivit.errors import CheckpointError, ConfigError, DataError
from minivit.models import open_pretrained
from minivit.runs import folder as run_folders
from minivit.runs.answers import PIECE, Task
from minivit.tensor import no_grad

CONFIG = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=3)
COLOURS = ["red", "green", "blue"]


def painted(count=12, size=8, seed=0):
    """Images (count, size, size, 3) uint8 of mostly one colour, and labels: which."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 60, (count, size, size, 3)).astype(np.uint8)
    images[np.arange(count), :, :, labels] += 180
    return images, labels


def randomised(model, seed=0):
    """The model with weights that matter in its head too."""
    rng = np.random.default_rng(seed)
    for tensor in model.parameters():
        tensor.data += 0.3 * rng.standard_normal(tensor.shape).astype(tensor.data.dtype)
    return model


@pytest.fixture
def model():
    found = randomised(ViT(CONFIG))
    found.task = Task(Augment((8, 8), mean=0.4, std=0.3), COLOURS)
    return found


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run whose answers come from averaged weights, and its trainer."""
    images, labels = painted(30)
    data = ArrayDataset(images, labels, COLOURS, "painted")
    recipe = Recipe(
        data="painted", model=CONFIG, batch_size=10, steps=30, lr=0.01, ema=0.5, mean=0.4, std=0.3, workers=1
    )
    run_folders.create(tmp_path / "run", recipe)
    trainer = Trainer(recipe, data, data, tmp_path / "run")
    for _ in trainer.run():
        pass
    return trainer


def alike(answers, others):
    """Whether the answers are the same to rounding, which depends on how many images go through together."""
    return [dict(answer) for answer in answers] == [pytest.approx(dict(other), abs=1e-5) for other in others]


def direct(model, images):
    """Probabilities (N, K) in NumPy: the definition."""
    with no_grad():
        logits = model((images.astype(np.float32) / 255 - 0.4) / 0.3).data.astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_every_class_with_its_probability_from_the_likeliest_on(model):
    images, _ = painted(PIECE + 3)
    answers = classify(model, images, top=None)
    assert len(answers) == PIECE + 3
    for answer, expected in zip(answers, direct(model, images), strict=True):
        assert dict(answer) == pytest.approx(dict(zip(COLOURS, expected, strict=True)), abs=1e-5)
        assert [score for _, score in answer] == sorted((score for _, score in answer), reverse=True)
        assert all(type(score) is float for _, score in answer)
    assert [len(answer) for answer in classify(model, images, top=2)] == [2] * len(images)


def test_a_sigmoid_model_has_a_probability_for_each_class_by_itself(model):
    images, _ = painted(2)
    task = Task(model.task.preparation, COLOURS, "sigmoid")
    with no_grad():
        logits = model(task.preparation(images)).data
    for answer, row in zip(classify(model, images, task=task), logits, strict=True):
        assert dict(answer) == pytest.approx(dict(zip(COLOURS, 1 / (1 + np.exp(-row)), strict=True)), abs=1e-5)


def test_the_forms_that_an_image_may_have(model, tmp_path):
    images, _ = painted(2)
    path = tmp_path / "one.png"
    Image.fromarray(images[0]).save(path)
    (expected,) = classify(model, images[:1])
    with Image.open(path) as opened:
        opened.load()
    for form in (images[0], path, str(path), Image.fromarray(images[0]), opened):
        assert alike(classify(model, form), [expected])
        assert alike(classify(model, [form, form]), [expected, expected])
        assert alike(classify(model, (form for _ in range(3))), [expected] * 3)
    assert classify(model, []) == []


def test_a_data_set_is_images(model):
    images, labels = painted(4)
    answers = classify(model, ArrayDataset(images, labels, COLOURS, "painted"))
    assert alike(answers, classify(model, images))


def test_grey_and_transparent_images_and_mixed_sizes(model):
    grey = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    expected = classify(model, grey[..., None].repeat(3, axis=2))
    assert (
        classify(model, grey) == classify(model, grey[..., None]) == classify(model, Image.fromarray(grey)) == expected
    )
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    white = np.full((8, 8, 3), 255, np.uint8)
    assert classify(model, clear) == classify(model, white)
    assert alike(classify(model, [white, np.full((20, 9, 3), 255, np.uint8)]), 2 * classify(model, white))
    grey_model = randomised(ViT(ViTConfig(**{**vars(CONFIG), "channels": 1})))
    grey_model.task = Task(model.task.preparation, COLOURS)
    assert classify(grey_model, grey) == classify(grey_model, grey[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((8, 8, 3)), ("float64", "uint8", "255")),
        (np.zeros((2, 8, 8, 3), np.float32), ("float32", "uint8")),
        (np.zeros((8, 8, 3), np.int64), ("int64", "uint8")),
        (np.zeros((8, 8, 4), np.uint8), ("(8, 8, 4)", "(height, width, 3)")),
        (np.zeros(8, np.uint8), ("(8,)",)),
        (np.zeros((8, 0, 3), np.uint8), ("(8, 0, 3)",)),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), ("(1, 1, 8, 8, 3)",)),
        ("missing.png", ("missing.png", "no such file")),
        (["missing.png"], ("missing.png", "no such file")),
        (b"bytes", ("bytes", "not an image")),
        ({"a.png": 1}, ("dict", "not an image")),
        (3, ("int", "not an image")),
        (None, ("NoneType", "not an image")),
        (minivit.Tensor(np.zeros((8, 8, 3))), ("Tensor", "not an image")),
    ],
)
def test_what_is_no_image_is_refused(images, words, model):
    with pytest.raises(DataError) as caught:
        classify(model, images)
    assert all(word in str(caught.value) for word in words)


def test_a_model_that_cannot_answer_says_so(model):
    with pytest.raises(ConfigError, match="no classification head"):
        classify(ViT(ViTConfig(**{**vars(CONFIG), "num_classes": 0})), painted(1)[0])
    with pytest.raises(ConfigError, match=r"minivit\.load_pretrained"):
        classify(ViT(CONFIG), painted(1)[0])
    with pytest.raises(ConfigError, match=r"str is not a model.*minivit\.load_pretrained"):
        classify("runs/digits", painted(1)[0])
    for top in (0, -1):
        with pytest.raises(ConfigError, match=f"top is {top}"):
            classify(model, painted(1)[0], top=top)


def test_the_mode_of_the_model_is_as_before(model):
    images, _ = painted(1)
    for training in (True, False):
        model.train(training)
        classify(model, images)
        assert model.training is model.blocks[0].training is training
        with pytest.raises(DataError):
            classify(model, [images[0], "missing.png"])
        assert model.training is model.blocks[0].training is training


def test_a_trained_run_answers_at_once_and_after_loading(run):
    images, labels = painted(6, seed=1)
    expected = [COLOURS[label] for label in labels]
    assert [answer[0][0] for answer in classify(run.model, images)] == expected
    for path in (run.folder, str(run.folder), run.folder / "checkpoint.npz"):
        model = load_pretrained(path)
        assert model.training is False
        assert [answer[0][0] for answer in classify(model, images)] == expected
        weights = run_folders.load_trained(run.folder)[0].state_dict()
        assert all(np.array_equal(array, weights[name]) for name, array in model.state_dict().items())
        assert not np.array_equal(weights["head.weight"], run.model.head.weight.data)  # averages
    assert model.task.classes == COLOURS
    assert model.task.preparation == Augment((8, 8), mean=0.4, std=0.3)


def test_a_resnet_answers_too():
    model = ResNet(ResNetConfig((1,), image_size=8, width=32, num_classes=3, root="3x3"))
    model.task = Task(Augment((8, 8)), COLOURS)
    assert dict(classify(model, painted(1)[0])[0]) == pytest.approx(dict.fromkeys(COLOURS, 1 / 3))  # its head is zero


def test_published_weights_know_how_images_are_prepared(tmp_path):
    config = ViTConfig(**{**vars(CONFIG), "num_classes": 1000})
    minivit.export(randomised(ViT(config)), tmp_path / "weights.npz")
    model = load_pretrained(tmp_path / "weights.npz", heads=2)
    images, _ = painted(3)
    with no_grad():
        logits = open_pretrained(tmp_path / "weights.npz", heads=2).model(images.astype(np.float32) / 127.5 - 1).data
    answers = classify(model, images, top=1)
    assert [answer[0][0] for answer in answers] == [model.task.classes[k] for k in logits.argmax(axis=1)]
    assert "goldfish" in " ".join(model.task.classes)
    assert classify(load_pretrained(tmp_path, heads=2), images, top=1) == answers  # the folder that holds it
    fresh = load_pretrained(tmp_path / "weights.npz", heads=2, num_classes=4, image_size=16)
    assert fresh.task.classes == ["class 0", "class 1", "class 2", "class 3"]
    assert fresh.task.preparation.image_size == (16, 16)
    assert load_pretrained(tmp_path / "weights.npz", heads=2, num_classes=0).config.num_classes == 0


def test_published_weights_see_a_picture_on_white_as_it_is(tmp_path):
    minivit.export(randomised(ViT(CONFIG)), tmp_path / "weights.npz")
    model = load_pretrained(tmp_path / "weights.npz", heads=2)
    picture = np.full((40, 40, 3), 255, np.uint8)
    picture[10:30, 15:25] = 60, 20, 120
    with no_grad():
        logits = model(model.task.preparation([picture])).data[0]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert [score for _, score in classify(model, picture)[0]] == pytest.approx(sorted(expected, reverse=True))


def test_what_cannot_be_loaded_is_told(tmp_path, run):
    with pytest.raises(CheckpointError, match="no such run folder or file"):
        load_pretrained(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="image_size is for published weights"):
        load_pretrained(run.folder, image_size=16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is not a run folder"):
        load_pretrained(tmp_path / "empty")


def test_the_reader_of_published_files_names_the_one_that_takes_runs(run):
    for path in (run.folder, run.folder / "checkpoint.npz"):
        with pytest.raises(CheckpointError, match=r"minivit\.load_pretrained"):
            minivit.models.load_pretrained(path)


def test_a_task_may_take_its_names_from_a_generator(model):
    images, _ = painted(3)
    expected = classify(model, images)
    assert classify(model, images, task=Task(model.task.preparation, (name for name in COLOURS))) == expected


def test_a_task_of_fewer_names_than_the_model_has_classes(model):
    with pytest.raises(ConfigError, match="names 1 classes, the model has 3"):
        classify(model, painted(3)[0], task=Task(model.task.preparation, ["red"]))


@pytest.mark.parametrize("top", [2.0, "2", 0])
def test_how_many_classes_is_a_whole_number(model, top):
    with pytest.raises(ConfigError, match="top is"):
        classify(model, painted(3)[0], top=top)


@pytest.mark.parametrize("dtype", [str, object])
def test_paths_may_be_in_an_array(model, tmp_path, dtype):
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path, image in zip(paths, painted(3)[0], strict=True):
        Image.fromarray(image).save(path)
    assert classify(model, np.array(paths, dtype)) == classify(model, paths)


def test_a_name_longer_than_the_system_takes():
    with pytest.raises(CheckpointError, match="aaa"):
        load_pretrained("a" * 5000)
