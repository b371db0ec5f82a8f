"""ImageNet in the commands: a choice of classes, class names in words, published weights, a resumed run."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit import data
from minivit.models import ViT, ViTConfig, export
from minivit.runs import folder as run_folder

TENCH, GOLDFISH, SHARK = "n01440764", "n01443537", "n01484850"
MODEL = ("--image-size", 8, "--patch-size", 4, "--width", 8, "--depth", 1, "--heads", 2, "--mlp-width", 8)
RUN = (*MODEL, "--batch-size", 4, "--steps", 4, "--eval-every", 2, "--randaugment", "0,0", "--workers", 1)


@pytest.fixture
def fish(tmp_path):
    """Imagenette's layout: three classes in train/ and val/."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for wnid in TENCH, GOLDFISH, SHARK:
            (tmp_path / "fish" / split / wnid).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
                image.save(tmp_path / "fish" / split / wnid / f"ILSVRC2012_val_0000{number:04}.JPEG")
    return tmp_path / "fish"


@pytest.fixture
def chosen(tmp_path):
    """A list of two of the classes."""
    (tmp_path / "two.txt").write_text(f"# fish\ngreat white shark\n{TENCH} tench\n", encoding="utf-8")
    return tmp_path / "two.txt"


def test_a_run_on_some_classes_needs_the_list_only_once(fish, chosen, command):
    options = ("--data", f"imagenet:{fish}", *RUN)
    result = command("train", *options, "--classes", chosen, "--out", "run")
    assert "12 training and 4 val images, 2 classes" in result.out
    recipe = run_folder.read_recipe(Path("run"))
    assert (recipe.data, recipe.classes) == (f"imagenet:{fish}", (TENCH, SHARK))
    assert json.loads(Path("run/config.json").read_text(encoding="utf-8"))["classes"] == [TENCH, SHARK]
    chosen.unlink()
    assert command("train", "--resume", "run", "--steps", 6).status == 0
    assert command("train", "--config", "run/config.json", "--out", "again", "--steps", 1).status == 0
    assert run_folder.read_recipe(Path("again")).classes == (TENCH, SHARK)
    moved = fish.rename(fish.with_name("moved"))
    assert command("train", "--resume", "run", "--data", f"imagenet:{moved}", "--steps", 7).status == 0
    result = command("evaluate", "run")
    assert f"imagenet:{moved} val: 4 images" in result.out
    started = command("train", "--init-from", "run", "--out", "third", "--steps", 1, "--batch-size", 4)
    assert "12 training and 4 val images, 2 classes" in started.out


def test_all_that_people_read_is_in_words(fish, command):
    command("train", "--data", f"imagenet:{fish}", *RUN, "--out", "run")
    evaluated = command("evaluate", "run", "--per-class").out
    image = fish / "val" / TENCH / "ILSVRC2012_val_00000000.JPEG"
    predicted = command("predict", "run", image, "--csv", "answers.csv", "--json", "answers.json").out
    for wnid, word in ((TENCH, "tench"), (GOLDFISH, "goldfish"), (SHARK, "great white shark")):
        assert f"{word} ({wnid})" in evaluated
        assert f"{word} ({wnid})" in predicted
    (row,) = csv.DictReader(Path("answers.csv").read_text(encoding="utf-8").splitlines())
    assert {row[f"class_{k}"] for k in (1, 2, 3)} == {
        f"tench ({TENCH})", f"goldfish ({GOLDFISH})", f"great white shark ({SHARK})"
    }  # fmt: skip
    (answer,) = json.loads(Path("answers.json").read_text(encoding="utf-8"))
    assert {(each["class"], each["words"]) for each in answer["classes"]} > {(TENCH, "tench")}
    assert f"classes with 6 images each: tench ({TENCH}), goldfish" in repr(data.load(f"imagenet:{fish}"))
    assert f"3 (tench ({TENCH}), " in command("evaluate", "run", "--data", "digits").complaint
    for split in "train", "val":
        (fish / split / GOLDFISH).rename(fish / split / "n01491361")
    complaint = command("train", "--resume", "run", "--steps", 9).complaint
    assert f"new: tiger shark (n01491361); missing: goldfish ({GOLDFISH})" in complaint


def test_a_run_is_measured_on_some_of_its_classes(fish, chosen, command):
    command("train", "--data", f"imagenet:{fish}", *RUN, "--out", "run")
    for option in "--only", "--classes":
        result = command("evaluate", "run", option, chosen)
        assert "measured on 2 of 3 classes" in result.out
        assert "val: 4 images" in result.out
    chosen.write_text("gold\n", encoding="utf-8")
    assert 'there is no class "gold"' in command("evaluate", "run", "--only", chosen).complaint


def test_a_run_on_a_part_is_measured_on_the_whole(fish, command):
    shutil.copytree(fish, "part", ignore=shutil.ignore_patterns(GOLDFISH))
    assert command("train", "--data", "imagenet:part", *RUN, "--out", "run").status == 0
    assert "val: 4 images" in command("evaluate", "run", "--data", f"imagenet:{fish}").out
    shutil.rmtree(fish / "train" / SHARK)
    complaint = command("evaluate", "run", "--data", f"imagenet:{fish}").complaint
    assert f'there is no class "great white shark ({SHARK})"' in complaint


def test_published_weights_are_measured_on_what_there_is(fish, chosen, command):
    """A model of 1,000 classes: validation images alone, three of its classes, two of these."""
    vit = ViT(ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=1000), seed=0)
    vit.head.bias.data[2] = 9  # great white shark
    export(vit, "model.npz")
    shutil.rmtree(fish / "train")
    options = ("evaluate", "model.npz", "--heads", 2, "--data", f"imagenet:{fish}")
    result = command(*options)
    assert "val: 6 images, accuracy 33.33%" in result.out
    assert "goldfish " in result.out
    result = command(*options, "--only", chosen)
    assert "val: 4 images, accuracy 50.00%" in result.out
    assert "measured on 2 of 1000 classes" in result.out
    drawn = command("visualize", *options[1:], "--figures", "attention", "--index", "0")
    assert (drawn.status, drawn.err) == (0, "")
    (fish / "val" / "n99999999").mkdir()
    assert "the model has no class n99999999" in command(*options).complaint
    chosen.write_text("\n".join(f"class {number}" for number in range(1000)), encoding="utf-8")
    assert "the model has no class tench" in command(*options, "--classes", chosen).complaint


def test_a_list_that_names_what_is_not_there_is_one_line(fish, chosen, command):
    chosen.write_text("n01440765\n", encoding="utf-8")
    options = ("--data", f"imagenet:{fish}", *RUN, "--out", "run", "--classes")
    assert 'there is no class "n01440765"; did you mean "n01440764"?' in command("train", *options, chosen).complaint
    assert "nowhere.txt is not a list of classes" in command("train", *options, "nowhere.txt").complaint
    assert "digits always has all of its own" in command("train", "--data", "digits", "--classes", chosen).complaint
    assert not Path("run").exists()
