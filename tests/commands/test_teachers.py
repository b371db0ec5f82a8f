"""Runs that learn from another run: DeiT, as somebody trains it and goes on with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from minivit import load_pretrained
from minivit.models.archive import read_npz

SMALL = ["--data", "digits", "--limit", "64", "--batch-size", "16", "--width", "8", "--depth", "2", "--heads", "2"]
SMALL += ["--mlp-width", "16", "--patch-size", "4", "--schedule", "constant", "--warmup", "0"]
STUDENT = [*SMALL, "--drop-path", "0.1", "--objective", "deit", "--eval-every", "3"]


@pytest.fixture
def teacher(command):
    """The folder of a teacher's run."""
    assert command("train", *SMALL, "--steps", 3, "--out", "teacher").status == 0
    return "teacher"


def test_a_student_needs_no_file_of_its_teacher_to_go_on(teacher, command):
    argv = [*STUDENT, "--teacher", teacher, "--set", "distillation=soft"]
    assert command("train", *argv, "--steps", 6, "--out", "whole").status == 0
    assert command("train", *argv, "--steps", 3, "--out", "half").status == 0
    shutil.rmtree(teacher)
    assert command("train", "--resume", "half", "--steps", 6).status == 0
    whole, resumed = (read_npz(Path(run) / "checkpoint.npz") for run in ("whole", "half"))
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if name != "meta" and not np.array_equal(whole[name], resumed[name])] == []
    assert whole["objective/teacher.head.weight"].any()
    result = command("evaluate", "whole")
    assert result.status == 0, result.err
    assert load_pretrained("whole").task.classes == list("0123456789")


def test_what_is_learned_is_written_down(teacher, command):
    assert command("train", *STUDENT, "--teacher", teacher, "--steps", 3, "--out", "run").status == 0
    recipe = json.loads(Path("run/config.json").read_text(encoding="utf-8"))
    assert recipe["objective"]["teacher"] == str(Path(teacher).absolute())
    assert recipe["model"]["distillation_token"] is True
    assert (recipe["objective"]["cutmix"], recipe["teacher"]["width"]) == (1.0, 8)
    (line,) = map(json.loads, Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines())
    names = {"accuracy", "teacher_accuracy", "class_agrees", "distillation_agrees"}
    assert {f"{split}_{name}" for split in ("train", "test") for name in names} <= line.keys()


def test_without_a_teacher_there_is_no_second_token(command):
    argv = ["--set", "distillation=none", "--set", "loss=sigmoid", "--set", "label_smoothing=0", "--steps", 3]
    assert command("train", *STUDENT, *argv, "--out", "run").status == 0
    assert json.loads(Path("run/config.json").read_text(encoding="utf-8"))["model"]["distillation_token"] is False
    assert json.loads(Path("run/config.json").read_text(encoding="utf-8"))["teacher"] is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--teacher RUN"),
        (["--teacher", "nobody"], "nobody"),
        (["--teacher", "teacher", "--set", "distillation=none"], "a teacher is named"),
        (["--teacher", "teacher", "--mean", "0.4"], "trained with mean 0.5, but this run has 0.4"),
        (["--teacher", "teacher", "--data", "shapes", "--classifier", "token"], "knows the classes 0, 1, 2"),
        (["--teacher", "teacher", "--image-size", "12"], "image_size is (8, 8) of the teacher and (12, 12)"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_does_not_fit_is_one_line_and_makes_no_folder(argv, message, teacher, command):
    result = command("train", *STUDENT, "--steps", 3, "--out", "run", *argv)
    assert message in result.complaint
    assert not Path("run").exists()
