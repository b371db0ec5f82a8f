"""predict: folders, files that cannot be read, tables for other programs, drawn digits."""

import csv
import dataclasses
import io
import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit import data, predict
from minivit.files import paths as files
from minivit.models import ViT, ViTConfig, export
from minivit.runs import folder as run_folder
from minivit.runs.answers import PIECE, Task, classify, load_pretrained


@pytest.fixture
def album(tmp_path, pets):
    """A folder with 40 images, more than go through a model together, in no order of making, and other things."""
    rng = np.random.default_rng(3)
    for i in range(39, -1, -1):
        path = tmp_path / "album" / ("b" if i < 20 else "a") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    (tmp_path / "album" / "notes.txt").touch()
    (tmp_path / "album" / ".hidden.png").touch()
    return tmp_path / "album"


def names(album):
    return [
        str(album / folder / f"{i:02}.png")
        for folder, numbers in (("a", range(20, 40)), ("b", range(20)))
        for i in numbers
    ]


def test_a_folder_is_its_images_in_order(tiny_run, album, command):
    result = command("predict", tiny_run, album, "--top", 1)
    assert result.status == 0
    assert re.fullmatch(rf"{re.escape(str(album))}: left out .*1 \.txt.*\n", result.err)
    assert "1 hidden" in result.err
    assert result.out.splitlines()[::2] == names(album)
    assert len(names(album)) > PIECE
    model, recipe, classes = run_folder.load_trained(tiny_run)
    for path, line in list(zip(names(album), result.out.splitlines()[1::2], strict=True))[::13]:
        (((name, score),),) = classify(model, path, 1, Task.of(recipe, classes))
        assert line == f"  {score:7.2%}  {name}"


def test_bad_files_are_named_and_the_others_answered(tiny_run, album, command, tmp_path):
    (album / "a" / "25.png").write_bytes(b"nonsense")
    (tmp_path / "empty").mkdir()
    result = command("predict", tiny_run, tmp_path / "none.png", tmp_path / "empty", album, "--top", 1)
    assert result.status == 2
    assert result.out.splitlines()[::2] == [name for name in names(album) if "25.png" not in name]
    missing, empty, left_out, bad, last = result.err.splitlines()
    assert "left out" in left_out
    assert last == "39 images classified; 3 could not be read, see above"
    assert missing.startswith(f"error: {tmp_path / 'none.png'}: there is no such file")
    assert empty.startswith(f"error: {tmp_path / 'empty'}: there are no images in it")
    assert bad.startswith(f"error: {album / 'a' / '25.png'}: not an image")


@pytest.mark.parametrize("place", ["", "a"])
def test_the_working_folder_and_the_one_above_are_folders_too(tiny_run, album, command, monkeypatch, place):
    tiny_run = tiny_run.absolute()
    in_full = command("predict", tiny_run, album / place, "--csv", "-")
    monkeypatch.chdir(album / place)
    assert (in_full.status, in_full.out.count("\n") > 2) == (0, True)
    here = command("predict", tiny_run, ".", "--csv", "-")
    assert (here.status, here.out.count("\n")) == (0, in_full.out.count("\n"))
    monkeypatch.chdir(album / "a")
    above = command("predict", tiny_run, "..", "--csv", "-")
    assert (above.status, above.out.count("\n")) == (0, 41)


def test_tables_hold_what_is_printed(tiny_run, album, command):
    (album / "a" / "25.png").write_bytes(b"nonsense")
    result = command("predict", tiny_run, album, "--top", 3, "--csv", "t.csv", "--json", "t.json")
    assert result.status == 2
    head, *rows = csv.reader(io.StringIO(Path("t.csv").read_text(encoding="utf-8")))
    assert head == ["image", "class_1", "score_1", "class_2", "score_2", "class_3", "score_3"]
    objects = json.loads(Path("t.json").read_text(encoding="utf-8"))
    assert len(rows) == len(objects) == 39
    lines = iter(result.out.splitlines())
    for row, each in zip(rows, objects, strict=True):
        assert each.keys() == {"image", "classes"}
        assert row[0] == each["image"] == next(lines)
        for k, found in enumerate(each["classes"]):
            assert (row[1 + 2 * k], float(row[2 + 2 * k])) == (found["class"], found["score"])
            assert next(lines) == f"  {found['score']:7.2%}  {found['class']}"


def test_a_table_on_standard_output_is_alone_there(tiny_run, album, command):
    for option, read in (("--json", json.loads), ("--csv", lambda text: list(csv.reader(io.StringIO(text)))[1:])):
        assert len(read(command("predict", tiny_run, album, option, "-").out)) == 40
    assert "give one of them a file" in command("predict", tiny_run, album, "--csv", "-", "--json", "-").complaint


def test_names_that_need_care_come_back_from_a_table(tiny_run, command):
    odd = Path('a, "b" ä.png')
    Image.new("L", (8, 8)).save(odd)
    assert command("predict", tiny_run, odd, "--csv", "t.csv", "--json", "t.json").status == 0
    assert list(csv.reader(io.StringIO(Path("t.csv").read_text(encoding="utf-8"))))[1][0] == str(odd)
    assert json.loads(Path("t.json").read_text(encoding="utf-8"))[0]["image"] == str(odd)


def test_a_table_that_cannot_be_written_is_refused_before_the_work(tiny_run, album, command, monkeypatch):
    monkeypatch.setattr(predict, "classify", None)
    assert "there is no folder nowhere" in command("predict", tiny_run, album, "--csv", "nowhere/t.csv").complaint
    assert "it is a folder" in command("predict", tiny_run, album, "--json", ".").complaint


def test_a_drawn_digit_is_read_as_one_of_the_digits(tiny_run, command, monkeypatch):
    digit = data.load("digits", split="test")[3][0][..., 0]
    large = np.kron(digit > 100, np.full((9, 9), 255)).astype(np.uint8)
    Image.fromarray(255 - np.pad(large, 30)).save("drawn.png")
    Image.fromarray(np.pad(large, 30)).save("bright.png")
    shown = command("predict", tiny_run, "drawn.png").out.splitlines()
    assert shown[0] == "drawn.png (inverted, since it is dark on bright; cropped to the digit)"
    bright = command("predict", tiny_run, "bright.png").out.splitlines()
    assert bright[0] == "bright.png (cropped to the digit)"
    assert bright[1:] == shown[1:]
    as_it_is = command("predict", tiny_run, "bright.png", "--as-is").out.splitlines()
    assert as_it_is[0] == "bright.png"
    assert as_it_is[1:] != bright[1:]


def test_in_python_a_drawn_digit_is_what_the_command_says(tiny_run, command):
    digit = data.load("digits", split="test")[3][0][..., 0]
    large = np.kron(digit > 100, np.full((9, 9), 255)).astype(np.uint8)
    Image.fromarray(255 - np.pad(large, 30)).save("drawn.png")
    model = load_pretrained(tiny_run)
    untouched = dataclasses.replace(model.task, drawn=False)
    for options, task in (((), None), (("--as-is",), untouched)):
        (said,) = json.loads(command("predict", tiny_run, "drawn.png", *options, "--json", "-").out)
        expected = [(each["class"], pytest.approx(each["score"], abs=1e-5)) for each in said["classes"]]
        for form in ("drawn.png", Image.open("drawn.png"), np.asarray(Image.open("drawn.png"))):
            assert classify(model, form, task=task) == [expected]
    assert classify(model, "drawn.png") != classify(model, "drawn.png", task=untouched)


def test_images_of_other_runs_stay_as_they_are(pets, command, tmp_path):
    model = ("--image-size", 16, "--patch-size", 8, "--width", 8, "--depth", 1, "--heads", 2)
    run = ("--batch-size", 4, "--steps", 1, "--out", "a")
    assert command("train", "--data", f"folder:{pets}", *model, *run).status == 0
    drawn = np.full((60, 60), 255, np.uint8)
    drawn[20:40, 28:32] = 0
    Image.fromarray(drawn).save("drawn.png")
    assert command("predict", "a", "drawn.png").out.splitlines()[0] == "drawn.png"


def test_the_best_weights(tiny_run, command, album):
    image = album / "a" / "25.png"
    out = command("predict", tiny_run, image, "--best").out
    assert out == command("predict", tiny_run / "best.npz", image).out
    model, recipe, classes = run_folder.load_trained(tiny_run / "best.npz")
    (((name, score), *_),) = classify(model, image, 5, Task.of(recipe, classes))
    assert out.splitlines()[1] == f"  {score:7.2%}  {name}"
    (tiny_run / "best.npz").unlink()
    assert (
        "has no best.npz, because it has not been evaluated yet"
        in command("predict", tiny_run, image, "--best").complaint
    )


def test_what_is_said_of_published_weights_is_no_part_of_a_table(album, command):
    export(ViT(ViTConfig(image_size=8, patch_size=4, width=64, depth=1, heads=1, num_classes=3)), "model.npz")
    result = command("predict", "model.npz", album, "--json", "-", "--top", 1)
    assert [each["image"] for each in json.loads(result.out)] == names(album)
    assert "layout: " in result.err
    assert "is a file of published weights" in command("predict", "model.npz", album, "--best").complaint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_table_goes_through_a_pipe_which_stays(tiny_run, album, command, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text(encoding="utf-8")))
    reader.start()
    result = command("predict", tiny_run, album / "a" / "20.png", "--csv", tmp_path / "pipe")
    if not files.is_special(tmp_path / "pipe"):  # let the reader end
        os.unlink(tmp_path / "pipe")
    reader.join(10)
    assert (result.status, files.is_special(tmp_path / "pipe")) == (0, True)
    assert received[0].startswith("image,class_1,score_1")


def test_two_tables_are_not_written_to_one_file(tiny_run, album, command, tmp_path):
    result = command("predict", tiny_run, album, "--csv", tmp_path / "x", "--json", f"{tmp_path}/../{tmp_path.name}/x")
    assert "cannot both be written" in result.complaint
    assert not (tmp_path / "x").exists()


def test_every_end_of_a_line_in_a_name_is_quoted():
    name = "a\rb\nc\u2028.png"
    answer = {"image": name, "classes": [{"class": "x\r", "score": 1.0}], "done": []}
    rows = list(csv.reader(io.StringIO(predict.as_csv([answer]), newline="")))
    assert rows == [["image", "class_1", "score_1"], [name, "x\r", "1.0"]]


def test_names_are_printed_on_one_line_and_move_no_cursor():
    answer = {"image": "a\nb\x1b[2J.png", "classes": [{"class": "x\r\x1b[31m", "score": 1.0}], "done": []}
    lines = predict.as_text(answer).split("\n")
    assert lines == [r"a\nb\x1b[2J.png", r"  100.00%  x\r\x1b[31m"]
