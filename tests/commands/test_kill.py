"""Runs that die without a word (SIGKILL, a power cut) and are resumed end bit for bit as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = {"config.json", "metrics.jsonl", "checkpoint.npz", "best.npz", "curves.png"}
KILL = Path(__file__).with_name("kill.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def report_of(*arguments):
    """What kill.py, run in the working folder, reports in its last line."""
    argv = [sys.executable, str(KILL), *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


TO_CLASSIFICATION_ALONE = ("--mixup", "0", "--cutmix", "0", "--crop-padding", "0")
OBJECTIVES = {
    "classification": (),
    "dino": (*TO_CLASSIFICATION_ALONE, "--data", "digits", "--objective", "dino", *(
        word for field in ("outputs=9", "hidden=6", "bottleneck=4", "local_size=4", "local_crops=2", "momentum=0.9")
        for word in ("--set", field)
    )),
}  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_killed_again_and_again_at_random_moments(tiny_options, train_tiny, same_bits, objective):
    options = ("--steps", "90", "--checkpoint-every", "1", *objective)
    report = report_of("random", *tiny_options, *options)
    assert report["ends"].count(-9) >= 10
    assert report["ends"][-1] == 0
    assert report["steps"] == sorted(report["steps"])
    assert len({step for step in report["steps"] if 0 < step < 90}) >= 2
    assert train_tiny("--out", "reference", *options).status == 0
    same_bits("reference", "run")


def test_killed_while_a_checkpoint_is_written(tiny_options, tiny_run, same_bits):
    """The first checkpoint, before there is another to go back to, and the third."""
    report = report_of("save", *tiny_options)
    assert len(report) == 10
    for folder, found in report.items():
        moment, count = folder.split("-")
        assert found["ends"] == [99, 0], folder
        torn = moment in ("middle", "unsynced", "unnamed")
        partial = [name for name in found["left"] if name.endswith(".partial")]
        assert len(partial) == torn, folder
        assert (f"{folder}/checkpoint.npz" in found["left"]) == (count == "3" or moment == "last"), folder
        same_bits(tiny_run, folder)
        assert {path.name for path in Path(folder).iterdir()} == FILES


def test_killed_while_the_run_folder_is_made(tiny_options, tiny_run, same_bits):
    report = report_of("create", *tiny_options)
    assert len(report) == 3
    for folder, found in report.items():
        assert found["ends"] == [99, 0], folder
        assert [Path(name).name for name in found["left"]] == ([] if folder == "mkdir" else ["config.json"])
        same_bits(tiny_run, folder)
        assert [path.name for path in Path().glob(f"{folder}*")] == [folder]
