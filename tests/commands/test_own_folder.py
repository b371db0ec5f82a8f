"""A person with a folder of images: from class folders alone to figures of each class, and what is said on the way."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit import train
from minivit.cli.training import duration
from minivit.data import scan
from minivit.runs import folder as run_folder

SHADES = {"cat": 30, "dog": 120, "ox": 220}
MODEL = ("--image-size", 16, "--patch-size", 8, "--width", 8, "--depth", 1, "--heads", 2, "--mlp-width", 8)
RUN = (*MODEL, "--batch-size", 4, "--steps", 6, "--eval-every", 2, "--randaugment", "0,0", "--out", "run")


@pytest.fixture
def mine(tmp_path):
    """Ten images in each of three class folders, and nothing else."""
    rng = np.random.default_rng(0)
    for name, shade in SHADES.items():
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(rng.normal(shade, 15, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / name / f"{i}.png")
    return tmp_path / "mine"


@pytest.fixture
def trained(mine, command):
    """The folder of a run on it."""
    assert command("train", "--data", f"folder:{mine}", "--val-share", 0.3, *RUN).status == 0
    return Path("run")


def test_the_refusal_names_the_option_that_helps(mine, command):
    text = command("train", "--data", f"folder:{mine}", *RUN).complaint
    assert "there is no train/ and no val/ or test/ in it" in text
    assert "--val-share 0.2" in text
    assert not Path("run").exists()
    assert (
        "expected more than 0 and less than 1"
        in command("train", "--data", f"folder:{mine}", "--val-share", 2).complaint
    )
    assert "digits has its own test images" in command("train", "--val-share", 0.2).complaint


def test_the_share_is_recorded_and_every_command_divides_the_same(mine, command, monkeypatch):
    used = []
    monkeypatch.setattr(train.look, "at_files", lambda *datasets: used.append([data.paths for data in datasets]))
    options = ("--data", f"folder:{mine}", "--val-share", 0.3, "--seed", 5)
    result = command("train", *options, *RUN)
    assert "21 training and 9 val images, 3 classes" in result.out
    assert "val accuracy" in result.out
    recipe = run_folder.read_recipe(Path("run"))
    assert (recipe.val_share, recipe.val_seed) == (0.3, 5)
    out = command("evaluate", "run").out
    assert re.search(r" val: 9 images, accuracy ", out)
    assert "measured on the 30% of each class that the run held out" in out
    out = command("evaluate", "run", "--split", "train").out
    assert " train: 21 images, " in out
    assert "held out" not in out
    assert command("train", "--resume", "run").status == 0
    again = ("--config", "run/config.json", "--seed", 6, "--out", "again")
    assert command("train", *again).status == 0
    assert command("train", "--init-from", "run", "--steps", 2, "--seed", 7, "--out", "tuned").status == 0
    assert used[1:] == used[:1] * 3  # other seeds start from other weights, and hold out the same images
    assert run_folder.read_recipe(Path("tuned")).val_share == 0.3


def test_data_that_has_moved_is_divided_as_before(mine, trained, command, tmp_path):
    before = command("evaluate", trained).out.split(" val: ")[1].rpartition(",")[0]
    shutil.move(mine, tmp_path / "moved")
    out = command("evaluate", trained, "--data", f"folder:{tmp_path / 'moved'}").out
    assert out.split(" val: ")[1].rpartition(",")[0] == before
    assert command("train", "--resume", trained, "--data", f"folder:{tmp_path / 'moved'}", "--steps", 8).status == 0


def test_the_start_is_not_praised_as_the_best(trained, command):
    """An update so small changes nothing, and of equal evaluations the first is the best."""
    again = ("--init-from", trained, "--keep-head", "--steps", 2, "--lr", 1e-30)
    out = command("train", *again, "--out", "same").out
    assert "no evaluation beat the one before the first step" in out
    assert "--best" not in out


def test_other_data_with_a_val_of_its_own_is_measured_whole(mine, trained, command, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(mine, tmp_path / "other" / split)
    out = command("evaluate", trained, "--data", f"folder:{tmp_path / 'other'}").out
    assert " val: 30 images, " in out
    assert "held out" not in out


def spoilt(mine, *names):
    """These files, cut in half."""
    paths = [mine / name for name in names]
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return paths


def test_all_unreadable_files_are_named_before_anything_is_written(mine, command):
    bad = spoilt(
        mine, "cat/1.png", "dog/2.png", "ox/3.png", *(f"ox/{i}.png" for i in range(4, 10)), "dog/5.png", "dog/6.png"
    )
    text = command("train", "--data", f"folder:{mine}", "--val-share", 0.3, *RUN).complaint
    assert "11 images cannot be read, also " in text
    assert text.endswith(" and 1 more\n")
    named = [path for path in bad if f"{path.parent.name}/{path.name}" in text]
    assert len(named) == 10
    assert "--bad-images skip" in text
    assert not Path("run").exists()


def test_skipped_files_are_named_once_and_evaluate_skips_them_too(mine, command):
    bad = spoilt(mine, *(f"cat/{i}.png" for i in range(4)), *(f"ox/{i}.png" for i in range(8)))
    result = command("train", "--data", f"folder:{mine}", "--val-share", 0.3, "--bad-images", "skip", *RUN)
    assert result.status == 0
    lines = result.err.splitlines()
    assert [line.startswith("skipped ") for line in lines] == [True] * 11
    assert lines[10] == "skipped 2 more images that cannot be read"
    assert len({line for line in lines[:10] if any(str(path) in line for path in bad)}) == 10
    counts = [int(number) for number in re.search(r"(\d+) training and (\d+) val images", result.out).groups()]
    assert sum(counts) == 18
    assert "--val-share 0.3 --bad-images skip (docs" in result.out
    result = command("evaluate", "run")
    assert f" val: {counts[1]} images, " in result.out
    assert command("evaluate", "run", "--bad-images", "refuse").status == 2


def test_nothing_readable_is_refused(mine, command):
    for path in mine.rglob("*.png"):
        path.write_bytes(b"nonsense")
    result = command("train", "--data", f"folder:{mine}", "--val-share", 0.3, "--bad-images", "skip", *RUN)
    assert result.status == 2
    assert "none of its 21 images could be read" in result.err.splitlines()[-1]
    assert not Path("run").exists()


def test_what_the_look_missed_is_named_at_the_end(mine, command, monkeypatch):
    (bad,) = spoilt(mine, "cat/1.png")
    monkeypatch.setattr(
        train.look, "unreadable", lambda data, threads, seen: scan.unreadable(data, threads, 0.0, seen=seen)
    )
    result = command("train", "--data", f"folder:{mine}", "--val-share", 0.3, "--bad-images", "skip", *RUN)
    assert result.err.count(f"skipped {bad}: ") == result.err.count("\n") == 1


def test_what_there_was_no_time_for_is_said(mine, command, monkeypatch):
    monkeypatch.setattr(train.look, "unreadable", lambda data, threads, seen: scan.unreadable(data, threads, 0.0, 0.0))
    result = command("train", "--data", f"folder:{mine}", "--val-share", 0.3, *RUN)
    assert result.status == 0
    told = f"folder:{mine}: checked 0 of 21 images; a damaged one among the others ends the run, which then saves"
    assert told in result.err


def test_from_scratch_on_few_images_is_said(mine, trained, command, monkeypatch):
    again = ("train", "--config", "run/config.json")
    out = command(*again, "--out", "a").out
    assert "note: 21 images are few to learn from scratch" in out
    assert f"--init-from Ti/16 --data folder:{mine} --val-share 0.3" in out
    assert "note:" not in command("train", "--init-from", "run", "--steps", 2, "--out", "b").out
    with monkeypatch.context() as few:
        few.setattr(train, "FEW_IMAGES", 21)
        assert "note:" not in command(*again, "--out", "c").out
    assert "note:" not in command("train", "--steps", 1, "--depth", 1, "--width", 8, "--out", "d").out  # digits


def test_figures_of_each_class(mine, trained, command):
    names = ["cat", "dog", "ox"]
    confusion = np.zeros((3, 3), int)
    json_lines = []
    for k, name in enumerate(names):
        files = [mine / name / f"{i}.png" for i in range(10)]
        out = command("predict", trained, *files, "--json", "-", "--top", 1).out
        json_lines += [(k, names.index(each["classes"][0]["class"])) for each in json.loads(out)]
    for truth, guess in json_lines:
        confusion[truth, guess] += 1
    for split in ("train", "val"):
        shutil.copytree(mine, mine.parent / "other" / split)
    out = command("evaluate", trained, "--data", f"folder:{mine.parent / 'other'}").out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:4]}
    for k, name in enumerate(names):
        images, recall, precision, other = rows[name]
        taken = confusion[:, k].sum()
        assert (int(images), recall) == (10, f"{confusion[k, k] / 10:.2%}")
        assert precision == (f"{confusion[k, k] / taken:.2%}" if taken else "-")
        others = np.where(np.arange(3) == k, 0, confusion[k])
        assert other == (names[others.argmax()] if others.any() else "-")
    recalls = [float(rows[name][1].rstrip("%")) for name in rows]
    assert recalls == sorted(recalls)


def test_of_many_classes_the_worst_are_shown(command, tiny_run, monkeypatch):
    monkeypatch.setattr("minivit.evaluate.WORST", 3)
    short, whole = (command("evaluate", "finished", *more).out.splitlines() for more in ((), ("--per-class",)))
    assert (len(short), len(whole)) == (1 + 3 + 1 + 1, 1 + 10 + 1)
    assert short[4] == "and 7 more classes; --per-class prints all"
    assert short[:4] == whole[:4]
    assert short[-1].startswith("digits test: 359 images")


def test_the_best_weights_and_an_early_end(command, tiny_options):
    options = ("--patience", 1, "--steps", 60, "--lr", 0.03)
    result = command("train", *tiny_options, *options, "--out", "run")
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    best = max(lines, key=lambda line: (line["test_accuracy"], -line["test_loss"]))
    assert lines[-2] is best
    assert f"stopped early, after step {lines[-1]['step']} of 60: no better for 1 evaluation" in result.out
    assert f"{best['test_accuracy']:.2%}; its weights are in best.npz" in result.out
    expected = f"accuracy {best['test_accuracy']:.2%}, loss {best['test_loss']:.4f}"
    for argv in (("run", "--best"), ("run/best.npz",)):
        assert expected in command("evaluate", *argv).out
    assert expected not in command("evaluate", "run").out
    result = command("train", "--resume", "run")
    assert "no better for 1 evaluation; to go on: python -m minivit.train --resume run --patience N" in result.out
    assert command("train", "--init-from", "run/best.npz", "--steps", 1, "--out", "tuned").status == 0
    again = json.loads(Path("tuned/metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert again["step"] == 0


def test_a_finished_run_is_trained_longer(tiny_run, command):
    out = command("train", "--resume", tiny_run).out
    assert (
        "complete: all 12 steps are done; to train longer: python -m minivit.train --resume finished --steps N" in out
    )
    result = command("train", "--resume", tiny_run, "--epochs", 2)
    assert result.status == 0
    assert "16 steps in all: the learning rate now follows the schedule for this length" in result.out
    assert "continuing after step 12" in result.out
    assert (run_folder.read_recipe(tiny_run).epochs, run_folder.read_recipe(tiny_run).steps) == (2, None)
    assert "complete: all 16 steps" in command("train", "--resume", tiny_run).out
    assert "has done 16 steps, more than 3" in command("train", "--resume", tiny_run, "--steps", 3).complaint
    assert "give one of them" in command("train", "--resume", tiny_run, "--steps", 30, "--epochs", 3).complaint


def test_without_a_terminal_each_line_says_the_time_left(train_tiny):
    lines = [line for line in train_tiny("--out", "a").out.splitlines() if line.startswith("epoch")]
    assert [bool(re.search(r" \d+ s left$", line)) for line in lines] == [True, True, False]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3569, "59 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min")],
)
def test_a_duration_in_words(seconds, words):
    assert duration(seconds) == words
