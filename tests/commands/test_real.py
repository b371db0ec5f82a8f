"""evaluate: the five likeliest classes, ReaL labels, and data whose classes have other names than the model's."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit.data.imagenet import imagenet_classes, imagenet_ids
from minivit.models import ViT, ViTConfig, export
from minivit.tensor import no_grad

RIGHT = [7, 300, 7, 999, 0, 7]  # the classes of six images


def network(classes):
    config = ViTConfig(image_size=8, patch_size=4, width=192, depth=1, heads=3, mlp_width=8, num_classes=classes)
    vit = ViT(config).eval()
    vit.head.weight.data[...] = 0.1 * np.random.default_rng(0).standard_normal(vit.head.weight.shape)
    return vit


@pytest.fixture
def answers():
    """Makes val/WNID/ILSVRC2012_val_0000000N.JPEG and model.npz of 1,000 classes; its classes of each image, likeliest
    first, (6, 1000)."""
    vit, rng, found = network(1000), np.random.default_rng(1), []
    export(vit, "model.npz")
    for number, label in enumerate(RIGHT, 1):
        folder = Path("images/val") / imagenet_ids()[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(
            path := folder / f"ILSVRC2012_val_{number:08d}.JPEG"
        )
        with no_grad():
            logits = vit(((np.asarray(Image.open(path)) / 255 - 0.5) / 0.5)[None].astype(np.float32)).data[0]
        found.append(np.argsort(-logits))
    return np.array(found)


def write_real(labels):
    Path("real.json").write_text(json.dumps([list(map(int, row)) for row in labels]), encoding="utf-8")


def test_the_first_five_answers_and_real_labels_are_counted(answers, command):
    options = ("evaluate", "model.npz", "--data", "folder:images")
    five = np.mean([label in row[:5] for row, label in zip(answers, RIGHT, strict=True)])
    assert f", top-5 accuracy {five:.2%}, " in command(*options).out
    write_real([[answers[0, 0], 4], [], [answers[2, 4]], [answers[3, 5]], [answers[4, 1], answers[4, 0]], []])
    out = command(*options, "--real", "real.json").out
    assert "ReaL labels: 4 images that have one, 2 left out, accuracy 50.00%, top-5 accuracy 75.00%\n" in out
    write_real([[]] * 6)
    assert "none of these 6 images has a ReaL label" in command(*options, "--real", "real.json").complaint


def test_skipped_images_do_not_shift_the_others(answers, command):
    damaged = Path("images/val") / imagenet_ids()[300] / "ILSVRC2012_val_00000002.JPEG"
    damaged.write_bytes(b"nonsense")
    write_real([[1], [2], *([row[0]] for row in answers[2:])])
    options = ("--data", "folder:images", "--bad-images", "skip", "--real", "real.json")
    out = command("evaluate", "model.npz", *options).out
    assert "ReaL labels: 5 images that have one, 0 left out, accuracy 80.00%, top-5 accuracy 80.00%" in out


def test_a_model_of_some_classes_is_measured_on_these(command, answers):
    ids = sorted({imagenet_ids()[label] for label in RIGHT})
    Path("names.txt").write_text("\n".join(ids), encoding="utf-8")
    export(network(len(ids)), "small.npz")
    write_real([[7, 4], [4], [300, 0, 7, 999], [], [999], [1]])
    options = ("--data", "folder:images", "--classes", "names.txt", "--real", "real.json")
    out = command("evaluate", "small.npz", *options).out
    assert "ReaL labels: 3 images that have one of the 4 classes, 3 left out, accuracy " in out
    assert "top-5" not in out


def test_what_real_labels_are_not_for(answers, command):
    write_real([[1]] * 6)
    options = ("evaluate", "model.npz", "--data", "folder:images", "--real")
    assert "gone.json is no file of ReaL labels" in command(*options, "gone.json").complaint
    Path("names.txt").write_text("\n".join(f"class {i}" for i in range(1000)), encoding="utf-8")
    for label in set(RIGHT):
        (Path("images/val") / imagenet_ids()[label]).rename(Path("images/val") / f"class {label}")
    text = command(*options, "real.json", "--classes", "names.txt").complaint
    assert 'ReaL labels are for ImageNet\'s classes, but "class 0" is none of them' in text


@pytest.mark.parametrize("names", ["words", "numbers", "some ids", "some words"])
def test_parquet_files_of_imagenet_under_other_names(names, answers, command):
    pytest.importorskip("pyarrow")
    from parquet_sets import IMAGE, pa, write

    labels, classes = RIGHT, None
    if names == "words":
        classes = [f"{name}, as others say" for name in imagenet_classes()]
    elif names.startswith("some"):
        kept = sorted(set(RIGHT))
        labels = [kept.index(label) for label in RIGHT]
        classes = [imagenet_ids()[k] if "ids" in names else f"{imagenet_classes()[k]}, in Latin" for k in kept]
    else:
        write(Path("data/train-0.parquet"), [999, 0], names=None)  # it shows that there are 1,000 classes
    files = [next(Path("images").rglob(f"*_{number:08d}.JPEG")) for number in range(1, 7)]
    stored = [f"{file.stem}_{imagenet_ids()[label]}.JPEG" for file, label in zip(files, RIGHT, strict=True)]
    rows = [{"bytes": file.read_bytes(), "path": name} for file, name in zip(files, stored, strict=True)]
    write(Path("data/validation-0.parquet"), labels, pa.array(rows, IMAGE), names=classes)
    write_real([[row[4]] for row in answers])
    out = command("evaluate", "model.npz", "--data", "parquet:data", "--real", "real.json").out
    assert "ReaL labels: 6 images that have one, 0 left out, accuracy 0.00%, top-5 accuracy 100.00%" in out
    expected = command("evaluate", "model.npz", "--data", "folder:images").out.splitlines()[-1]
    assert (
        out.splitlines()[-1].partition(" images, ")[2].rpartition(",")[0]
        == (expected.partition(" images, ")[2].rpartition(",")[0])
    )


def test_classes_that_the_model_does_not_have_are_refused(answers, command):
    pytest.importorskip("pyarrow")
    from parquet_sets import write

    write(Path("data/test.parquet"), [0, 1])
    text = command("evaluate", "model.npz", "--data", "parquet:data").complaint
    assert "the model has no class cat; it has tench, goldfish, " in text
