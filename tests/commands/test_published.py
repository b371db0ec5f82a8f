"""evaluate and predict with a file of published weights."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit.data.imagenet import imagenet_classes, imagenet_ids
from minivit.models import ViT, ViTConfig, export
from minivit.models.archive import read_arrays, write_safetensors
from minivit.tensor import no_grad

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def model():
    """A random model of four classes for images of 8 x 8."""
    config = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=4)
    vit = ViT(config)
    rng = np.random.default_rng(0)
    for p in vit.parameters():
        p.data[...] += rng.standard_normal(p.shape)
    return vit.eval()


@pytest.fixture
def pictures():
    """photos/val/dog and photos/val/bee with five images in all, and names.txt."""
    rng = np.random.default_rng(1)
    labels = {"dog": 3, "bee": 1}
    images = []
    for name, label in labels.items():
        folder = Path("photos/val") / name
        folder.mkdir(parents=True)
        for i in range(4 - label):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            images.append((pixels, label))
    Path("names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return images


def logits_of(model, pixels, mean=0.5, std=0.5):
    with no_grad():
        return model(((pixels / 255 - mean) / std)[None].astype(np.float32)).data[0]


def measured(model, images, **normalisation):
    rows = [(logits_of(model, pixels, **normalisation), label) for pixels, label in images]
    losses = [np.log(np.exp(row).sum()) - row[label] for row, label in rows]
    accuracy = np.mean([row.argmax() == label for row, label in rows])
    return f"{len(rows)} images, accuracy {accuracy:.2%}, loss {np.mean(losses):.4f}, "


def test_evaluate_with_a_folder_and_class_names(model, pictures, command):
    export(model, "model.npz")
    options = ("--data", "folder:photos", "--classes", "names.txt")
    result = command("evaluate", "model.npz", *options)
    assert (result.status, result.err) == (0, "")
    assert measured(model, pictures) in result.out
    assert "official layout" in result.out
    assert "squash to 8x8, mean 0.5, std 0.5" in result.out
    Path("photos/val").rename("photos/test")
    assert measured(model, pictures) in command("evaluate", "model.npz", *options).out
    assert (
        measured(model, pictures) in command("evaluate", "model.npz", "--data", "folder:photos/test", *options[2:]).out
    )


def test_the_normalisation_can_be_said_and_is_read_from_beside(model, pictures, command):
    export(model, "model.safetensors", "hf")
    options = ("--data", "folder:photos", "--classes", "names.txt")
    assert measured(model, pictures) in command("evaluate", "model.safetensors", *options).out
    expected = measured(model, pictures, mean=np.array([0.1, 0.2, 0.3]), std=np.array([0.5, 0.6, 0.7]))
    given = ("--mean", "0.1,0.2,0.3", "--std", "0.5,0.6,0.7")
    assert expected in command("evaluate", "model.safetensors", *options, *given).out
    beside = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    Path("preprocessor_config.json").write_text(json.dumps(beside), encoding="utf-8")
    assert expected in command("evaluate", "model.safetensors", *options).out


def test_names_beside_the_weights_are_used(model, pictures, command):
    export(model, "model.safetensors", "hf")
    config = json.loads(Path("config.json").read_text(encoding="utf-8"))
    config["id2label"] = {str(i): name for i, name in enumerate(NAMES)}
    Path("config.json").write_text(json.dumps(config), encoding="utf-8")
    assert measured(model, pictures) in command("evaluate", "model.safetensors", "--data", "folder:photos").out
    assert "  dog\n" in command("predict", "model.safetensors", "photos/val/dog/0.png").out


def test_the_folders_of_imagenet_and_a_file_with_names_of_its_own(command, pictures):
    """Hugging Face's names differ from ours, and two classes are called crane: a folder of that name could be both."""
    vit = ViT(ViTConfig(image_size=8, patch_size=4, width=192, depth=1, heads=3, mlp_width=8)).eval()
    vit.head.weight.data[...] = 0.1 * np.random.default_rng(0).standard_normal(vit.head.weight.shape)
    export(vit, "model.safetensors", "hf")
    config = json.loads(Path("config.json").read_text(encoding="utf-8"))
    names = [f"{name}, a synonym" for name in imagenet_classes()]
    names[134] = names[517] = "crane"
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    Path("config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, label in (("dog", 3), ("bee", 1)):
        Path(f"photos/val/{name}").rename(f"photos/val/{imagenet_ids()[label]}")
    evaluate = ("evaluate", "model.safetensors", "--data", "folder:photos")
    assert measured(vit, pictures) in command(*evaluate).out
    Path("names.txt").write_text("\n".join(f"class {i}" for i in range(1000)), encoding="utf-8")
    assert "the model has no class of this name" in command(*evaluate, "--classes", "names.txt").complaint
    Path(f"photos/val/{imagenet_ids()[1]}").rename("photos/val/crane")
    assert "photos/val/crane: the model has several classes of this name" in command(*evaluate).complaint


def test_fields_that_the_file_does_not_tell(model, pictures, command):
    export(model, "model.npz")
    path = "photos/val/dog/0.png"
    model.config = dataclasses.replace(model.config, gelu="erf", norm_eps=0.1)
    other = ViT(model.config).eval()
    other.load_state_dict(model.state_dict())
    expected = np.exp(logits_of(other, np.asarray(Image.open(path))))
    out = command("predict", "model.npz", path, "--set", "gelu=erf", "--set", "norm_eps=1e-1").out
    assert f"  {expected.max() / expected.sum():7.2%}  class {expected.argmax()}" == out.splitlines()[2]
    arrays = {name.replace("Attention_1", "Attention_0"): a for name, a in read_arrays(Path("model.npz"))[0].items()}
    del arrays["Transformer/posembed_input/pos_embedding"]
    np.savez("fixed.npz", **arrays)
    options = ("--image-size", 8, "--set", "position=sincos2d")
    assert 'pass position="sincos2d" (--set position=sincos2d)' in command("predict", "fixed.npz", path).complaint
    assert "(--image-size)" in command("predict", "fixed.npz", path, *options[2:]).complaint
    assert command("predict", "fixed.npz", path, *options).status == 0


def test_predict_prints_the_top_five_of_imagenet(command, pictures):
    config = ViTConfig(image_size=8, patch_size=4, width=192, depth=1, heads=3, mlp_width=8)
    vit = ViT(config).eval()
    vit.head.weight.data[...] = 0.1 * np.random.default_rng(0).standard_normal(vit.head.weight.shape)
    export(vit, "model.npz")
    path = "photos/val/dog/0.png"
    logits = logits_of(vit, np.asarray(Image.open(path)))
    p = np.exp(logits) / np.exp(logits).sum()
    top = [f"  {p[k]:7.2%}  {imagenet_classes()[k]}" for k in np.argsort(-p)[:5]]
    result = command("predict", "model.npz", path)
    assert result.out.splitlines()[1:] == [path, *top]
    # folders are called by the names, or by WordNet's ids
    Path("photos/val/dog").rename(f"photos/val/{imagenet_ids()[3]}")
    Path("photos/val/bee").rename(f"photos/val/{imagenet_classes()[1]}")
    assert measured(vit, pictures) in command("evaluate", "model.npz", "--data", "folder:photos").out


def test_classes_without_names_have_numbers(model, pictures, command):
    export(model, "model.npz")
    out = command("predict", "model.npz", "photos/val/dog/0.png", "--top", 9).out.splitlines()
    assert sorted(line.split("  ")[-1] for line in out[2:]) == ["class 0", "class 1", "class 2", "class 3"]


def test_another_image_size_is_said_to_be_resized(model, pictures, command):
    export(model, "model.npz")
    out = command("predict", "model.npz", "photos/val/dog/0.png", "--image-size", "16x8").out
    assert "to 16x8" in out
    assert "resized: Transformer/posembed_input/pos_embedding from 2 x 2 to 4 x 2 (align_corners)" in out


PHOTOS = ["--data", "folder:photos", "--classes"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["evaluate", "model.npz"], "published weights come without a data set: give one with --data folder:PATH"),
        (["evaluate", "model.npz", "--data", "folder:nowhere", "--classes", "names.txt"], "there is no such folder"),
        (["evaluate", "model.npz", *PHOTOS, "nowhere"], "nowhere is not a file of class names"),
        (["evaluate", "model.npz", *PHOTOS, "model.npz"], "is not a file of class names"),
        (["evaluate", "model.npz", *PHOTOS, "few.txt"], "few.txt names 3 classes, the model has 4"),
        (["evaluate", "model.npz", *PHOTOS, "twice.txt"], "twice.txt names ant twice"),
        (["evaluate", "model.npz", *PHOTOS, "other.txt"], "photos/val/bee: the model has no class of this name"),
        (["evaluate", "model.npz", "--data", "digits"], "digits has 10 classes and 1 channels, the model 4 classes"),
        (["predict", "model.npz", "x.png", "--mean", "1,2"], "mean has 2 values, the images have 3 channels"),
        (["predict", "model.npz", "x.png", "--std", "0"], "std is 0, expected more than 0"),
        (["predict", "model.npz", "x.png", "--std", "1.0e400"], '"1.0e400", expected finite numbers'),
        (["predict", "model.npz", "x.png", "--mean", "9" * 400], "9..., expected finite numbers, for pixels in 0..1"),
        (["predict", "model.npz", "x.png", "--std", "0.1e-320"], "expected more than 0 (at least 1e-06)"),
        (["predict", "model.npz", "x.png", "--image-size", "2000000"], "image_size is 2000000x2000000, expected at mo"),
        (["predict", "model.npz", "x.png", "--set", "width=3"], '"width=3", expected FIELD=VALUE, the field one of cl'),
        (["predict", "model.npz", "x.png", "--set", "norm_eps=tiny"], "argument --set: invalid field value"),
        (["predict", "model.npz", "x.png", "--set", "norm_eps=true"], '"norm_eps=true", norm_eps is of type float'),
        (["predict", "model.npz", "x.png", "--set", "norm_eps=NaN"], "argument --set: invalid field value"),
        (["predict", "model.npz", "x.png", "--set", "norm_eps=2"], "norm_eps is 2, expected 0 < norm_eps < 1"),
        (["predict", "model.npz", "x.png", "--set", "gelu=relu"], 'gelu is "relu", expected one of tanh, erf'),
        (
            ["evaluate", "model.npz", *PHOTOS, "/dev/zero"],
            "/dev/zero is not a file of class names: more than 16,777,216",
        ),
        (["predict", "four.npz", "x.png"], "four.npz reads images with 4 channels, expected 1 (grey) or 3 (colour)"),
        (["predict", "model.npz", "x.png", "--image-size", "9"], "patch size 4x4 does not divide"),
        (["predict", "model.npz", "x.png", "--heads", "4"], "wrong shape: Transformer/encoderblock_0"),
        (["predict", "headless.npz", "x.png"], "headless.npz has no classification head"),
        (["predict", "names.txt", "x.png"], "names.txt is a text, not weights"),
        (["predict", "bare.safetensors", "x.png"], "does not say how many heads share its 8 features"),
        (["predict", "nowhere.npz", "x.png"], "nowhere.npz: there is no such run folder or file"),
    ],
)
def test_bad_input_is_refused(argv, expected, model, pictures, command):
    export(model, "model.npz")
    export(ViT(ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=0)), "headless.npz")
    export(ViT(dataclasses.replace(model.config, channels=4)), "four.npz")
    export(model, "bare.safetensors", "timm")
    write_safetensors(Path("bare.safetensors"), read_arrays(Path("bare.safetensors"))[0], {})
    for name, lines in (("few", NAMES[:3]), ("twice", [*NAMES, "ant"]), ("other", ["a", "b", "c", "d"])):
        Path(f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    before = {path.name for path in Path().iterdir()}
    assert expected in command(*argv).complaint
    assert {path.name for path in Path().iterdir()} == before


def test_a_run_is_not_told_what_it_knows(tiny_run, command):
    text = command("evaluate", tiny_run, "--mean", "0.5").complaint
    assert "--mean is for a file of published weights" in text
    text = command("evaluate", tiny_run, "--set", "gelu=erf").complaint
    assert "--set is for a file of published weights" in text
    text = command("evaluate", tiny_run / "checkpoint.npz", "--mean", "0.5").complaint
    assert "--mean is for a file of published weights" in text


def test_a_head_of_zeros_is_said_and_not_taken_for_an_answer(model, pictures, command):
    for weights, expected in (
        (0.0, "note: the head is all zeros: these"),
        (0.5, "note: the head has the same weights"),
    ):
        model.head.weight.data[...] = weights
        export(model, "model.npz")
        result = command("predict", "model.npz", "photos/val/dog/0.png")
        assert result.out.splitlines()[1].startswith(expected)
        options = ("--data", "folder:photos", "--classes", "names.txt")
        assert expected in command("evaluate", "model.npz", *options).out
    model.head.weight.data[...] = np.eye(8, 4)
    model.position_embedding.data[...] = 0
    export(model, "model.npz")
    out = command("predict", "model.npz", "photos/val/dog/0.png").out
    assert "note: all zeros, so that answers mean little: position_embedding" in out


def test_a_run_whose_head_is_zeros_is_said_to_have_learned_nothing(tiny_run, command):
    assert "note" not in command("evaluate", tiny_run).out
    with np.load(tiny_run / "checkpoint.npz") as archive:
        arrays = {name: array * 0 if "head.weight" in name else array for name, array in archive.items()}
    np.savez(tiny_run / "checkpoint.npz", **arrays)
    assert "note: the head is all zeros" in command("evaluate", tiny_run).out


def test_a_folder_of_hugging_face_is_taken_by_every_command(model, pictures, command):
    Path("vit").mkdir()
    export(model, Path("vit/model.safetensors"), "hf")
    options = ("--data", "folder:photos", "--classes", "names.txt")
    assert measured(model, pictures) in command("evaluate", "vit", *options).out
    assert command("predict", "vit", "photos/val/dog/0.png").status == 0
    assert command("visualize", "vit", "photos/val/dog/0.png", "--figures", "filters").status == 0
    pets = ("--data", "folder:photos", "--epochs", 1, "--workers", 1, "--out", "run")
    shutil.copytree("photos/val", "photos/train")
    result = command("train", "--init-from", "vit", *pets)
    assert (result.status, result.err) == (0, "")


@pytest.mark.parametrize("argv", [["predict", "URL", "x.png"], ["visualize", "URL"], ["train", "--init-from", "URL"]])
def test_an_address_is_echoed_as_it_was_written(argv, command):
    url = "https://example.org/model.npz"
    told = command(*(url if word == "URL" else word for word in argv)).complaint
    assert told == f"error: {url} is an internet address: download the file first and give its path\n"


def test_several_models_in_one_file(model, pictures, command):
    export(model, "one.npz")
    arrays = read_arrays(Path("one.npz"))[0]
    both = {f"student/{name}": array + 1 for name, array in arrays.items()}
    np.savez("model.npz", **both, **{f"teacher/{name}": array for name, array in arrays.items()})
    path = "photos/val/dog/0.png"
    assert '(--prefix), "student/" or "teacher/"' in command("predict", "model.npz", path).complaint
    expected = command("predict", "one.npz", path).out
    assert command("predict", "model.npz", path, "--prefix", "teacher/").out == expected


def test_several_classes_at_once_are_scored_by_sigmoid(model, pictures, command):
    export(model, "model.safetensors", "hf")
    config = json.loads(Path("config.json").read_text(encoding="utf-8"))
    Path("config.json").write_text(
        json.dumps({**config, "problem_type": "multi_label_classification"}), encoding="utf-8"
    )
    path = "photos/val/dog/0.png"
    likeliest = logits_of(model, np.asarray(Image.open(path))).max()
    out = command("predict", "model.safetensors", path).out
    assert f"{1 / (1 + np.exp(-likeliest)):7.2%}  class" in out


def test_a_picture_on_white_is_no_drawing_of_a_digit(model, command):
    export(model, "weights.npz")
    pixels = np.full((40, 40, 3), 255, np.uint8)
    pixels[10:30, 15:25] = 60, 20, 120
    Image.fromarray(pixels).save("mug.png")
    said = command("predict", "weights.npz", "mug.png", "--heads", 2).out
    assert "\nmug.png\n" in said
    assert said == command("predict", "weights.npz", "mug.png", "--heads", 2, "--as-is").out
