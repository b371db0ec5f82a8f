"""The acceptance script itself: it fits its time, reads what the stages print, and says so when they do not."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
acceptance, stages = importlib.import_module("acceptance"), importlib.import_module("stages")
sys.path.pop(0)
CALLS = {1: stages.first_call(), 2: stages.second_call(Path("out"))}

TABLE = """
Ti/4 training step: batch 128, 65 tokens, 140 GFLOP in matrix products; NVIDIA H200, bf16, 700000 GFLOP/s at best
                     ms  images/s  GFLOP/s  of best  peak MB   minivit's time / its time
minivit             2.0   64000.0    70000      10%      900
torch               5.0   25600.0    28000       4%     1500   0.40  (half of 7 rounds in 0.32 .. 0.50)
"""


def test_a_ratio_is_theirs_over_ours():
    assert stages.ratio_to("torch", 2)(TABLE) == (True, "2.50 (2.00 to 3.12); minivit 2.0 ms, torch 5.0 ms")
    assert stages.ratio_to("torch", 2.6)(TABLE)[0] is False
    assert stages.ratio_to("torch", None)(TABLE)[0] is None
    assert stages.ratio_to("torch", 2)("error: out of memory") == (False, "no figure")


@pytest.mark.parametrize(
    ("verdict", "good", "bad"),
    [
        ("passed_tests", "1200 passed, 30 skipped in 80.00s", "1 failed, 1199 passed in 80.00s"),
        ("passed_tests", "3 passed in 1.00s", "no tests ran"),
        ("passed_tests", "3 passed in 1.00s", "3 passed, 2 errors in 1.00s"),
        ("passed_tests", "9 deselected, 1 passed in 1.00s", "12 skipped in 1.00s"),  # without a GPU all are skipped
        ("no_errors", "every kernel ran\n== ERROR SUMMARY: 0 errors", "every kernel ran\n== ERROR SUMMARY: 2 errors"),
        (
            "no_errors",
            "every kernel ran\n== RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
            "== RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
        ),
        ("no_errors", "every kernel ran\n== ERROR SUMMARY: 0 errors", "every kernel ran"),
        ("alike", "largest difference 3.10e-06", "largest difference 2.00e-03"),
        ("alike", "largest difference 9e-4", "Traceback"),
    ],
)
def test_a_verdict_depends_on_the_output(verdict, good, bad):
    assert getattr(stages, verdict)(good)[0] is True
    assert getattr(stages, verdict)(bad)[0] is False


def test_of_training_the_last_accuracy_is_reported():
    output = "test accuracy 42.00%\ntest accuracy 90.12%\ntrained in 50 s; run: config.json"
    assert stages.accuracy(output) == (None, "90.12% after 50 s")
    assert stages.accuracy("test accuracy 42.00%") == (None, "did not finish; 1 evaluations, last ['42.00']")


def stage(code, limit=60.0, part="checks", verdict=None, name="x"):
    return stages.Stage(name, "right", [sys.executable, "-c", code], limit, verdict or stages.passed_tests, part)


def test_a_stage_that_fails_is_no_pass():
    result, output = acceptance.run(stage("print('3 passed'); raise SystemExit(3)"), {}, 60)
    assert output == "3 passed\n"
    assert result["passed"] is False
    assert result["found"].startswith("ended 3")


def test_what_a_stage_said_before_its_limit_is_kept():
    code = "print('FAILED tests/x.py::y', flush=True); import time; time.sleep(60)"
    result, output = acceptance.run(stage(code), {}, 5)
    assert output == "FAILED tests/x.py::y\n"
    assert result["found"].startswith("ended at its limit of 5 s")
    assert result["failed"] == ["FAILED tests/x.py::y"]


def carried_out(some, folder, seconds=60.0):
    record, environment = acceptance.Record(folder), dict(os.environ)
    acceptance.carry_out(some, record, environment, time.perf_counter() + seconds, rehearse=False)
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_a_process_that_dies_leaves_the_others_alone(tmp_path):
    fine = "print('3 passed')"
    found = carried_out([stage("import os; os.abort()", name="a"), stage(fine, name="b")], tmp_path)
    assert [found[name]["passed"] for name in "ab"] == [False, True]
    assert "3 passed" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_results_are_written_after_each_stage(tmp_path):
    look = f"import json; print(sorted(json.load(open({str(tmp_path / 'results.json')!r}))), '1 passed')"
    found = carried_out([stage("", name="a", part="machine"), stage(look, name="b", part="speed")], tmp_path)
    assert found["b"] | {"seconds": 0} == {
        "asked": "right", "passed": True, "found": "['a'] 1 passed", "seconds": 0, "failed": [],
    }  # fmt: skip


def test_without_time_nothing_is_begun(tmp_path):
    found = carried_out([stage("print('1 passed')")], tmp_path, seconds=0)
    assert found["x"]["found"] == "no time left"
    assert found["x"]["passed"] is False


@pytest.mark.parametrize(("output", "expected"), [("1 passed", "None"), ("1 failed", "0")])
def test_without_cublaslt_speed_is_measured_with_what_is_left(tmp_path, output, expected, monkeypatch):
    monkeypatch.delenv("MINIVIT_CUBLASLT", raising=False)
    ask = "import os; print(os.environ.get('MINIVIT_CUBLASLT'))"
    steps = [stage(f"print({output!r})", name="products"), stage(ask, part="speed", verdict=stages.lines)]
    assert carried_out(steps, tmp_path)["x"]["found"] == expected


@pytest.mark.parametrize("call", CALLS)
def test_the_limits_add_up(call):
    """Also if every stage runs into its own: parts one after another, of which some run all at once."""
    seconds = 0.0
    for part in {stage.part for stage in CALLS[call]}:
        limits = [stage.limit for stage in CALLS[call] if stage.part == part]
        at_once = part in stages.SIDE_BY_SIDE
        assert not at_once or len(limits) <= 12  # of 16 cores
        seconds += max(limits) if at_once else sum(limits)
    assert seconds <= 60 * stages.MINUTES[call]


def test_two_calls_and_their_machines_fit_into_a_quarter_of_an_hour():
    starting = 2  # minutes of a machine
    assert sum(stages.MINUTES.values()) + 2 * starting < 15


def test_what_matters_most_comes_first():
    parts = list(dict.fromkeys(stage.part for stage in CALLS[1]))
    assert parts == ["machine", "checks", "speed", "sanitizers"]
    asked = [stage.name for stage in CALLS[1] if stage.part == "speed"]
    assert asked[:3] == ["ceilings", "Ti/4 32px B=128 bf16", "B/16 B=256 bf16"]


def test_no_stage_collects_tests_that_need_other_packages():
    """The notebooks' need jupytext. A folder that is not named is not collected."""
    for stage in CALLS[1]:
        if "pytest" in stage.command:
            named = [part for part in stage.command if part.startswith("tests/")]
            assert named
            assert all((acceptance.ROOT / part).exists() for part in named)


def test_every_test_of_a_kernel_on_the_gpu_is_in_a_family():
    command = [*CALLS[1][1].command, "--collect-only"]
    command[command.index("-k") + 1] = ""
    found = subprocess.run(command, cwd=acceptance.ROOT, capture_output=True, text=True, check=False).stdout
    tests = [line for line in found.splitlines() if "::" in line]
    assert len(tests) > 30

    def chosen(words, test):
        name = test.partition("::")[2]
        return eval(re.sub(r"\b(?!(?:or|and|not)\b)\w+", lambda word: str(word[0] in name), words))

    for words in stages.FAMILIES.values():
        assert {test.partition("::")[0] for test in tests if chosen(words, test)}
    assert not [test for test in tests if not any(chosen(words, test) for words in stages.FAMILIES.values())]


def test_sanitizers_look_at_kernels_that_exist():
    sources = acceptance.ROOT / "minivit/backend/cupy_kernels/cuda"
    text = "".join(path.read_text(encoding="utf-8") for path in sources.glob("*.cu"))
    names = importlib.import_module("cuda_on_cpu").SIGNATURE.findall(text)
    assert all(any(kernel in name for _, name, _ in names) for kernel in stages.SHARED)
    with_shared = [
        path.stem
        for path in sources.glob("*.cu")
        if "SHARED" in path.read_text(encoding="utf-8") or "__shared__" in path.read_text(encoding="utf-8")
    ]
    assert sorted(with_shared) == [
        "attention",
        "attention_backward",
        "augment",
        "column_sums",
        "layer_norm",
        "optimizer",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for compute-sanitizer is a shell script")
@pytest.mark.parametrize("knows", ["--kernel-name", "--kernel-regex"])
def test_the_sanitizer_is_asked_for_one_kernel_in_the_words_of_its_version(tmp_path, knows):
    fake = tmp_path / "compute-sanitizer"
    lines = [
        "#!/bin/sh",
        f'case "$*" in *{knows}*) echo "$*"; echo every kernel ran;; *) echo unknown option; exit 1;; esac',
    ]
    fake.write_text("\n".join(lines), encoding="utf-8")
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = stages.sanitizer("racecheck", "attention")
    result = subprocess.run(command, cwd=acceptance.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert f"--tool racecheck --target-processes application-only {knows} kns=attention " in result.stdout
    assert "every_kernel.py" in result.stdout


def test_every_stage_can_be_rehearsed():
    for call in CALLS.values():
        for stage in call:
            command = acceptance.rehearsal(stage).command
            assert command[0] == sys.executable
            assert all((acceptance.ROOT / part).exists() for part in command if part.startswith("tests/"))


def test_one_stage_from_end_to_end(tmp_path):
    """The script itself, on the stand-in."""
    command = [
        sys.executable,
        "tests/gpu/acceptance.py",
        "--rehearse",
        "--out",
        str(tmp_path),
        "--only",
        "every kernel",
    ]
    result = subprocess.run(command, cwd=acceptance.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("pass every kernel")
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["every kernel"]["passed"] is True
    unknown = subprocess.run(
        [*command[:-1], "nothing"], cwd=acceptance.ROOT, capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 2
    assert "nothing is called nothing" in unknown.stderr
