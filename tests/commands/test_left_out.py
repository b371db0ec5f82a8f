"""What lies among the images of a folder and is no image: each command that reads the folder counts it aloud."""

import numpy as np
from PIL import Image

from minivit.models import ViT, ViTConfig, export

OPTIONS = (
    "--image-size",
    8,
    "--patch-size",
    4,
    "--width",
    8,
    "--depth",
    1,
    "--heads",
    2,
    "--mlp-width",
    8,
    "--steps",
    1,
)


def test_train_and_evaluate_count_what_they_leave_out(command, pets):
    (pets / "train" / "cat" / "1.heic").touch()
    (pets / "train" / "dog" / ".DS_Store").touch()
    (pets / "val" / "notes.txt").touch()
    data = f"folder:{pets}"
    result = command("train", "--data", data, *OPTIONS, "--batch-size", 2, "--out", "run")
    assert result.status == 0
    assert f"{data}: left out 1 .heic, 1 hidden\n" in result.err
    assert f"{data}: left out 1 beside the class folders\n" in result.err
    assert command("evaluate", "run").err == f"{data}: left out 1 beside the class folders\n"
    export(ViT(ViTConfig(image_size=8, patch_size=4, width=64, depth=1, heads=1, num_classes=2)), "model.npz")
    (pets / "names.txt").write_text("cat\ndog\n", encoding="utf-8")
    for name in ("evaluate", "visualize"):
        figures = ("--figures", "confusion", "--out", "pictures") if name == "visualize" else ()
        result = command(name, "model.npz", "--data", data, "--classes", pets / "names.txt", *figures)
        assert (result.status, result.err) == (0, f"{data}: left out 1 beside the class folders\n")


def test_what_lies_in_a_folder_that_is_divided_is_counted_once(command, pets):
    (pets / "train" / "cat" / "1.heic").touch()
    data = f"folder:{pets / 'train'}"
    result = command("train", "--data", data, "--val-share", 0.5, *OPTIONS, "--batch-size", 2, "--out", "run")
    assert result.status == 0
    line = f"{data}: left out 1 .heic\n"
    assert result.err.count(line) == 1
    assert command("evaluate", "run").err == line
    assert command("train", "--resume", "run", "--steps", 2).err.count(line) == 1


def test_nothing_is_said_of_nothing(command, pets):
    for index, suffix in enumerate((".webp", ".BMP", ".gif", ".jfif")):
        path = pets / "train" / "cat" / f"{index}{suffix}"
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path, {".jfif": "JPEG"}.get(suffix))
    result = command("train", "--data", f"folder:{pets}", *OPTIONS, "--batch-size", 2, "--out", "run")
    assert "12 training and 4 val images" in result.out
    assert "left out" not in result.err
