"""Commands on Parquet files: train, continue where the data has moved, evaluate, published weights."""

from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from parquet_sets import IMAGE, pa, png, write

from minivit.data.imagenet import imagenet_ids
from minivit.models import ViT, ViTConfig, export

MODEL = ("--image-size", 8, "--patch-size", 4, "--width", 8, "--depth", 1, "--heads", 2, "--mlp-width", 8)
RUN = (*MODEL, "--batch-size", 4, "--steps", 4, "--eval-every", 2, "--out", "run")


def test_a_run_on_parquet_files_is_trained_continued_and_measured(command):
    rows = [{"bytes": png(k)} for k in range(10)]
    rows[7] = {"bytes": b"nonsense"}
    write(Path("here/train-00000-of-00001.parquet"), [0, 1, 2, 0, 1, 2, 0, 1, 2, -1], pa.array(rows, IMAGE))
    write(Path("here/test-00000-of-00001.parquet"), [0, 1, 2])
    refused = command("train", "--data", "parquet:here", *RUN)
    assert refused.status == 2
    assert "train-00000-of-00001.parquet row 7: not an image" in refused.err
    assert "--bad-images skip" in refused.err
    result = command("train", "--data", "parquet:here", "--bad-images", "skip", *RUN)
    assert "8 training and 3 test images, 3 classes" in result.out
    assert "left out 1 rows without a label" in result.err
    assert "train-00000-of-00001.parquet row 7: not an image" in result.err
    Path("here").rename("there")
    assert "there is no such folder, but run was trained on it" in command("train", "--resume", "run").complaint
    assert command("train", "--resume", "run", "--data", "parquet:there", "--steps", 6).status == 0
    assert "parquet:" in command("evaluate", "run", "--data", "parquet:there/test-*.parquet").out
    assert "there test: 3 images, accuracy " in command("evaluate", "run").out
    assert command("train", "--config", "run/config.json", "--out", "again").status == 0


def test_a_share_of_parquet_files_is_held_out(command):
    write(Path("some/part.parquet"), [0, 1, 2] * 8)
    assert "--val-share 0.2" in command("train", "--data", "parquet:some", *RUN).complaint
    assert command("train", "--data", "parquet:some", "--val-share", 0.25, *RUN).status == 0
    assert "measured on the 25% of each class that the run held out" in command("evaluate", "run").out


def test_published_weights_name_classes_that_are_only_numbers(command):
    export(ViT(ViTConfig(image_size=8, patch_size=4, width=64, depth=1, heads=1, num_classes=3)), "model.npz")
    Path("names.txt").write_text("ant\nbee\ncat\n", encoding="utf-8")
    write(Path("data/train.parquet"), [2, 0], names=None)
    write(Path("data/test.parquet"), [2, 0, 2], names=None)
    options = ("evaluate", "model.npz", "--data", "parquet:data", "--classes", "names.txt")
    lines = [line.split()[:2] for line in command(*options).out.splitlines()]
    assert ["ant", "1"] in lines
    assert ["cat", "2"] in lines
    write(Path("data/test.parquet"), [0, 1], names=["bee", "cat"])
    lines = [line.split()[:2] for line in command(*options).out.splitlines()]
    assert ["bee", "1"] in lines
    assert ["cat", "1"] in lines


def test_a_run_on_ids_is_measured_on_words(command):
    ids, words = [imagenet_ids()[k] for k in (0, 1)], ["goldfish, Carassius auratus", "tench, Tinca tinca"]
    for split in ("train", "test"):
        write(Path(f"ids/{split}.parquet"), [0, 1] * 4, names=ids)
        write(Path(f"words/{split}.parquet"), [1, 0] * 4, names=words)
    assert command("train", "--data", "parquet:ids", *RUN).status == 0
    first, second = (command("evaluate", "run", "--data", f"parquet:{name}").out for name in ("ids", "words"))
    assert "tench (n01440764)" in second
    assert second.partition("accuracy")[2].rpartition(",")[0] == first.partition("accuracy")[2].rpartition(",")[0]
