"""Runs of other objectives than classification, as somebody trains and looks at them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from painting import painting  # noqa: F401

from minivit.models.archive import read_npz
from minivit.runs import folder as run_folder

pytestmark = pytest.mark.usefixtures("painting")
SMALL = ["--data", "digits", "--limit", "64", "--batch-size", "16", "--patch-size", "4", "--width", "8", "--depth", "1"]
SMALL += ["--heads", "2", "--mlp-width", "16", "--dropout", "0.1", "--schedule", "constant", "--warmup", "0"]


@pytest.fixture
def painted(command):
    """A finished run folder, and what its training printed."""
    argv = ["--objective", "paint", "--set", "share=0.25", *SMALL, "--steps", 6, "--eval-every", 3, "--out", "painted"]
    result = command("train", *argv)
    assert result.status == 0, result.err
    return Path("painted"), result


def test_what_is_printed_says_no_accuracy_that_there_is_not(painted):
    run, result = painted
    lines = [line for line in result.out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    assert all("test loss" in line and "test brightness" in line and "test knn" in line for line in lines)
    assert "accuracy" not in result.out
    assert "objective paint" in result.out
    assert "10 classes" not in result.out
    values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert values["objective"] == {"name": "paint", "share": 0.25, "sizes": [1, 2], "teacher": None}
    assert values["model"]["num_classes"] == 0
    assert sorted(path.name for path in run.iterdir() if path.suffix == ".png") == ["curves.png"]


def test_it_goes_on_exactly_where_it_stopped(painted, command):
    run, _ = painted
    argv = ["--objective", "paint", "--set", "share=0.25", *SMALL, "--eval-every", 3]
    assert command("train", *argv, "--steps", 3, "--out", "half").status == 0
    assert command("train", "--resume", "half", "--steps", 6).status == 0
    whole, resumed = (read_npz(folder / "checkpoint.npz") for folder in (run, Path("half")))
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if name != "meta" and not np.array_equal(whole[name], resumed[name])] == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--objective", "pant"], 'there is no objective "pant"; did you mean "paint"?; known: classification, '),
        (["--objective", "paint", "--set", "shar=1"], 'has no field "shar"; did you mean "share"?'),
        (["--objective", "paint", "--set", "share=x"], '--set share: "x", expected float'),
        (["--objective", "paint", "--set", "share"], '"share", expected FIELD=VALUE'),
        (["--objective", "paint", "--set", "share=7"], "share is 7, expected more than 0 and less than 1"),
        (["--objective", "paint", "--mixup", "0.2"], "mixup belongs to classification, but the objective is paint"),
        (["--set", "share=1"], "name it with --objective"),
        (["--preset", "digits-pain"], 'unknown preset "digits-pain"; did you mean "digits-paint"?'),
    ],
    ids=" ".join,
)
def test_what_does_not_fit_is_one_line_and_makes_no_folder(argv, message, command):
    result = command("train", *argv, "--out", "a")
    assert result.status == 2
    assert message in result.complaint
    assert not Path("a").exists()


def test_a_preset_of_the_family(command):
    assert command("train", "--preset", "digits-paint", "--limit", 64).status == 0
    assert run_folder.read_recipe(Path("runs/digits-paint")).objective["share"] == 0.25


def test_evaluate_prints_what_the_objective_measures(painted, command):
    result = command("evaluate", "painted")
    assert result.status == 0, result.err
    last = result.out.splitlines()[-1]
    assert "digits test: " in last
    for word in ("loss 0.", "brightness ", "knn ", "images/s"):
        assert word in last
    assert "accuracy" not in result.out


def test_evaluate_can_do_what_the_file_of_the_objective_can(painted, command):
    result = command("evaluate", "painted", "--how", "brightness")
    assert result.out.splitlines()[-1].endswith("images seen by Paint")
    wrong = command("evaluate", "painted", "--how", "brightnes")
    has = "it has linear-probe, brightness"
    assert f'paint has no --how "brightnes"; did you mean "brightness"?; {has}' in wrong.complaint
    assert "--per-class is for classifiers" in command("evaluate", "painted", "--per-class").complaint


def test_how_is_for_other_objectives(tiny_run, command):
    assert "--how is for other objectives" in command("evaluate", tiny_run, "--how", "brightness").complaint


def test_predict_says_that_there_are_no_classes(painted, command):
    Path("a.png").write_bytes(b"")
    result = command("predict", "painted", "a.png")
    assert result.status == 2
    assert "painted has no classes: its objective is paint; to get a classifier from it" in result.complaint
    assert "--init-from painted" in result.complaint


def test_visualize_draws_the_encoder(painted, command):
    result = command("visualize", "painted", "--out", "pictures")
    assert result.status == 0
    drawn = {path.name for path in Path("pictures").iterdir()}
    assert {"attention-1.png", "rollout.png", "distance.png", "positions.png", "filters.png", "curves.png"} <= drawn
    assert "left out confusion: the model is an encoder without a head" in result.out


def test_visualize_draws_no_graph_of_an_encoder_that_does_not_learn(command):
    command("train", "--objective", "paint", *SMALL, "--steps", 1, "--freeze", "backbone", "--out", "frozen")
    assert command("visualize", "frozen", "--figures", "graph").complaint == "error: nothing in the model learns\n"


def test_a_classifier_starts_from_its_encoder_and_it_from_a_classifier(painted, tiny_run, command):
    small = ["--limit", 64, "--batch-size", 16, "--steps", 2]
    result = command("train", "--init-from", "painted", *small, "--out", "tuned")
    assert result.status == 0, result.err
    recipe = run_folder.read_recipe(Path("tuned"))
    assert (recipe.objective, recipe.model.num_classes, recipe.model.width) == (None, 10, 8)
    before, _, _ = run_folder.load_trained("painted")
    assert "replaced" not in result.out
    assert "new: head.weight, head.bias" in result.out
    assert before.config.num_classes == 0
    again = command("train", "--objective", "paint", "--init-from", tiny_run, *small, "--out", "again")
    assert again.status == 0, again.err
    recipe = run_folder.read_recipe(Path("again"))
    assert (recipe.objective["name"], recipe.model.num_classes) == ("paint", 0)
    assert "left out: head.weight, head.bias" in again.out
    assert (
        "keep_head belongs to classification"
        in command("train", "--objective", "paint", "--init-from", tiny_run, "--keep-head", "--out", "b").complaint
    )


def test_a_teacher_is_part_of_the_run_whose_files_are_not_needed_again(tiny_run, command):
    wanted = read_npz(tiny_run / "best.npz")
    argv = ["--objective", "paint", "--teacher", tiny_run / "best.npz", *SMALL, "--out", "taught"]
    result = command("train", *argv, "--steps", 2)
    assert result.status == 0, result.err
    recipe = run_folder.read_recipe(Path("taught"))
    assert recipe.objective["teacher"].endswith("best.npz")
    assert (recipe.teacher.width, recipe.teacher.num_classes) == (8, 10)
    shutil.move(tiny_run, "elsewhere")
    assert command("train", "--resume", "taught", "--steps", 4).status == 0
    assert command("evaluate", "taught").status == 0
    saved = read_npz(Path("taught/checkpoint.npz"))
    averages = {n.removeprefix("ema/average/model."): x for n, x in wanted.items() if n.startswith("ema/average/")}
    assert len(averages) > 20
    assert [n for n, x in averages.items() if not np.array_equal(saved[f"objective/teacher.{n}"], x)] == []
    again = command("train", "--config", "taught/config.json", "--out", "b")
    assert "best.npz" in again.complaint  # which is not there any more
    assert not Path("b").exists()


@pytest.mark.parametrize("argv", [["--teacher", "gone"], ["--set", "teacher=gone"]])
def test_a_teacher_that_is_not_there(argv, command):
    assert "gone: there is no such run folder or file" in command("train", "--objective", "paint", *argv).complaint
    assert not Path("runs").exists()


def test_the_family_has_a_command(command):
    result = command("lineage")
    assert result.status == 0
    assert "new: paints" in result.out


def test_neither_help_nor_training_a_classifier_imports_the_systems():
    script = (
        "import sys; from minivit import lineage, presets, train; train.parser().format_help(); "
        "presets.preset('digits'); print(*[m for m in sys.modules if m.startswith('minivit.lineage.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    tables = ("names", "system", "systems")
    assert sorted(done.stdout.split()) == [f"minivit.lineage.{file}" for file in tables]
