"""The acceptance script itself: it reads what the stages print, and says so when they do not."""

import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("acceptance", Path(__file__).with_name("acceptance.py"))
acceptance = importlib.util.module_from_spec(SPEC)
sys.modules["acceptance"] = acceptance  # dataclasses look there
SPEC.loader.exec_module(acceptance)

TABLE = """
Ti/4 training step: batch 128, 65 tokens, 140 GFLOP in matrix products; NVIDIA H200, bf16, 700000 GFLOP/s at best
                     ms  images/s  GFLOP/s  of best  peak MB   minivit's time / its time
minivit             2.0   64000.0    70000      10%      900
torch               5.0   25600.0    28000       4%     1500   0.40  (half of 7 rounds in 0.32 .. 0.50)
"""


def test_a_ratio_is_theirs_over_ours():
    assert acceptance.ratio_to("torch", 2)(TABLE) == (True, "2.50 (2.00 to 3.12); ours 2.0 ms, theirs 5.0 ms")
    assert acceptance.ratio_to("torch", 2.6)(TABLE)[0] is False
    assert acceptance.ratio_to("torch", None)(TABLE)[0] is None
    assert acceptance.ratio_to("torch", 2)("error: out of memory") == (False, "no figure")


@pytest.mark.parametrize(
    ("verdict", "good", "bad"),
    [
        ("passed_tests", "1200 passed, 30 skipped in 80.00s", "1 failed, 1199 passed in 80.00s"),
        ("passed_tests", "3 passed in 1.00s", "no tests ran"),
        ("no_errors", "every kernel ran\n== ERROR SUMMARY: 0 errors", "every kernel ran\n== ERROR SUMMARY: 2 errors"),
        (
            "no_errors",
            "every kernel ran\n== RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
            "== RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
        ),
        ("no_errors", "every kernel ran\n== ERROR SUMMARY: 0 errors", "every kernel ran"),
        (
            "best_accuracy",
            "test accuracy 42.00%\ntest accuracy 90.12%\ntrained in 200 s; run: config.json",
            "test accuracy 91.00%\ntest accuracy 89.99%\ntrained in 200 s; run: config.json",
        ),
        ("best_accuracy", "test accuracy 90.00%\ntrained in 200 s", "test accuracy 95.00%"),
        ("alike", "largest difference 3.10e-06", "largest difference 2.00e-03"),
        ("alike", "largest difference 9e-4", "Traceback"),
    ],
)
def test_a_verdict_depends_on_the_output(verdict, good, bad):
    assert getattr(acceptance, verdict)(good)[0] is True
    assert getattr(acceptance, verdict)(bad)[0] is False


def test_a_stage_that_fails_is_no_pass():
    stage = acceptance.Stage(
        "x", "y", [sys.executable, "-c", "print('3 passed'); raise SystemExit(3)"], 60, acceptance.passed_tests
    )
    result, output = acceptance.run(stage, {}, 60)
    assert output == "3 passed\n"
    assert result["passed"] is False
    assert result["found"].startswith("exit 3")
    slow = acceptance.Stage(
        "x", "y", [sys.executable, "-c", "import time; time.sleep(60)"], 60, acceptance.passed_tests
    )
    assert acceptance.run(slow, {}, 0.2)[0]["found"].startswith("exit TimeoutExpired")


def test_every_stage_can_be_rehearsed(tmp_path):
    for stage in acceptance.stages(tmp_path):
        command = acceptance.rehearsal(stage).command
        assert command[0] == sys.executable
        assert all((acceptance.ROOT / part).exists() for part in command if part.startswith("tests/"))
