"""Commands as processes, in surroundings that are not theirs: variables of other programs, closed or narrow streams,
readers that leave, other processes at the same run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit.runs import folder as run_folder

FILES = {"config.json", "metrics.jsonl", "checkpoint.npz", "best.npz", "curves.png"}
SMALL = ["--limit", "64", "--width", "8", "--depth", "1", "--heads", "2", "--mlp-width", "8", "--batch-size", "8"]
LONG = [*SMALL, "--steps", "100000", "--checkpoint-every", "2"]
posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell or its signals")


def start(name, *argv, environment=None, **options):
    command = [sys.executable, "-m", f"minivit.{name}", *map(str, argv)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {**os.environ, **(environment or {})}
    return subprocess.Popen(command, env=environment, text=True, encoding="utf-8", errors="replace", **pipes)


def run(name, *argv, environment=None):
    """Exit status, standard output and standard error."""
    process = start(name, *argv, environment=environment)
    out, err = process.communicate(timeout=280)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def shell(script, *argv):
    """What a POSIX shell makes of `script`, where "$@" is `python -m minivit.train` with small options and `argv`."""
    command = [sys.executable, "-m", "minivit.train", *SMALL, "--steps", "3", *map(str, argv)]
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, text=True, encoding="utf-8", timeout=280
    )


def wait_for(path, process):
    while not Path(path).exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


# Variables

ALIEN = {
    "MPLCONFIGDIR": os.devnull + "/none",
    "TQDM_NCOLS": "wide",
    "TQDM_MININTERVAL": "abc",
    "COLUMNS": "0",
    "OMP_NUM_THREADS": "abc",
    "PYTHONOPTIMIZE": "2",
}


@pytest.mark.parametrize("backend", ["module://not_installed.backend_inline", "garbage"])
def test_variables_of_other_programs(backend):
    environment = {**ALIEN, "MPLBACKEND": backend}
    status, out, err = run("train", *SMALL, "--steps", 3, "--out", "a", environment=environment)
    assert (status, err) == (0, "")
    assert "trained in" in out
    assert {path.name for path in Path("a").iterdir()} == FILES
    status, out, err = run("visualize", "a", "--figures", "curves,filters", "--out", "b", environment=environment)
    assert (status, err) == (0, "")
    assert {path.name for path in Path("b").iterdir()} == {"curves.png", "filters.png"}
    status, out, err = run("doctor", environment=environment)
    found = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (status, err) == (0, "")
    assert all(re.match(r"\d", found[name]) for name in ("numpy", "matplotlib", "tqdm"))


def test_a_notebook_keeps_the_backend_that_it_chose():
    program = (
        "from minivit.plots.canvas import new_figure; new_figure(1, 1); import matplotlib; "
        "print(matplotlib.rcParams['backend'], matplotlib.get_backend())"
    )
    environment = {**os.environ, "MPLBACKEND": "svg"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "svg svg\n"


def test_no_warning_is_an_error():
    status, out, err = run("train", *SMALL, "--steps", 3, environment={"PYTHONWARNINGS": "error"})
    assert (status, err) == (0, "")
    assert "trained in" in out


NOBODY = """
import pwd, runpy, sys

def unknown(number):
    raise KeyError(number)

pwd.getpwuid = unknown
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@posix
def test_a_user_without_name_and_home():
    environment = {name: text for name, text in os.environ.items() if name not in ("HOME", "MINIVIT_DATA")}
    for argv in (
        ["train", *SMALL, "--steps", "3", "--out", "a"],
        ["evaluate", "a"],
        ["visualize", "a", "--figures", "curves", "--out", "b"],
        ["doctor"],
    ):
        program = [sys.executable, "-c", NOBODY, f"minivit.{argv[0]}", *argv[1:]]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=280)
        assert (done.returncode, done.stderr) == (0, ""), argv
    assert "set MINIVIT_DATA to a writable folder" in done.stdout
    assert "1438 training images" in done.stdout


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("train", ["--resume", "~nosuch/x"]),
        ("train", ["--out", "~nosuch/x"]),
        ("train", ["--config", "~nosuch/x"]),
        ("train", ["--init-from", "~nosuch/x"]),
        ("train", ["--data", "folder:~nosuch/x"]),
        ("train", ["--data-root", "~nosuch/x"]),
        ("evaluate", ["~nosuch/x"]),
        ("predict", ["~nosuch/x", "a.png"]),
        ("visualize", ["~nosuch/x"]),
    ],
)
def test_a_home_folder_that_is_not_known(name, argv, command):
    assert "~nosuch/x: the home folder ~nosuch is not known here" in command(name, *argv).complaint
    assert list(Path().iterdir()) == []


# Streams


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&- <&-", "| true", "2>&1 | true", ">/dev/full"])
def test_a_run_is_finished_when_nobody_hears_of_it(closed):
    done = shell(f'{{ "$@"; echo $? > status; }} {closed}', "--out", "a")
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    assert Path("status").read_text(encoding="utf-8") == "0\n"
    assert {path.name for path in Path("a").iterdir()} == FILES
    assert run_folder.read_checkpoint(Path("a/checkpoint.npz"))[1]["step"] == 3


@posix
@pytest.mark.parametrize(
    ("where", "status", "complaint"),
    [("| true", 1, ""), (">/dev/full", 2, "error: reading or writing: No space left on device\n")],
)
def test_an_answer_that_nobody_gets(where, status, complaint, tiny_run):
    if "full" in where and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    evaluate = f'"{sys.executable}" -m minivit.evaluate finished'
    done = shell(f"{{ sleep 0.5; {evaluate}; echo $? > status; }} {where}")
    assert (Path("status").read_text(encoding="utf-8"), done.stderr) == (f"{status}\n", complaint)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii:strict", "utf-8:strict"])
def test_names_that_an_encoding_lacks(encoding, tmp_path):
    root, strange = tmp_path / "pets 猫", "b\udcff" if os.name == "posix" else "b"
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a 猫", strange):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / f"{i} 猫.png")
    environment = {"PYTHONIOENCODING": encoding}
    options = [*SMALL[2:], "--batch-size", "4", "--steps", "2", "--image-size", "8", "--patch-size", "4"]
    folder = Path("run 猫")
    status, out, err = run("train", "--data", f"folder:{root}", *options, "--out", folder, environment=environment)
    assert (status, err) == (0, "")
    assert run_folder.read_checkpoint(folder / "checkpoint.npz")[1]["classes"] == ["a 猫", strange]
    assert run("train", "--resume", folder, environment=environment)[0] == 0
    status, out, err = run("evaluate", folder, environment=environment)
    assert (status, err) == (0, "")
    assert "val: 8 images" in out
    status, out, err = run("predict", folder, root / "val" / strange / "0 猫.png", environment=environment)
    assert (status, err) == (0, "")
    assert ("猫" if "utf" in encoding else "\\u732b") in out
    status, out, err = run("visualize", folder, "--out", "pictures 猫", environment=environment)
    assert (status, err) == (0, "")
    assert "left out" not in out
    status, out, err = run("predict", "no 猫", "x.png", environment=environment)
    assert (status, err.count("\n")) == (2, 1)


@posix
def test_titles_of_bytes_that_are_no_text(tiny_run):
    """In the C locale a name in UTF-8 is such bytes to Python."""
    tiny_run.rename("run ö")
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, out, err = run("visualize", "run ö", "--out", "b", environment=environment)
    assert (status, err) == (0, "")
    assert "b/curves.png" in out


# Signals and other processes


@posix
@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_a_terminal_that_is_closed_saves_the_run(name):
    process = start("train", *LONG, "--out", "a b")
    try:
        wait_for("a b/checkpoint.npz", process)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=280)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "")
    assert out.endswith("go on with: python -m minivit.train --resume 'a b'\n")
    assert {"config.json", "checkpoint.npz"} <= {path.name for path in Path("a b").iterdir()} <= FILES


def test_a_run_has_one_writer_and_one_that_was_killed_is_none():
    process = start("train", *LONG, "--out", "a")
    try:
        wait_for("a/checkpoint.npz", process)
        status, _, err = run("train", "--resume", "a")
        assert status == 2
        said = rf"error: a is in use: process {process.pid} on \S+ since [-: \d]+ is training it; .*\n"
        assert re.fullmatch(said, err)
        assert run("evaluate", "a")[0] == 0  # who only reads may
    finally:
        process.kill()
        process.communicate()
    process = start("train", "--resume", "a")  # at once
    try:
        step = run_folder.read_checkpoint(Path("a/checkpoint.npz"))[1]["step"]
        while run_folder.read_checkpoint(Path("a/checkpoint.npz"))[1]["step"] == step:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    records = [json.loads(line)["step"] for line in Path("a/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert records == sorted(set(records))


def test_runs_that_begin_at_once_get_folders_of_their_own():
    processes = [start("train", *SMALL, "--steps", 3) for _ in range(3)]
    results = [process.communicate(timeout=280) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], results
    assert {path.name for path in Path("runs").iterdir()} == {"digits", "digits-2", "digits-3"}
    assert all({path.name for path in folder.iterdir()} == FILES for folder in Path("runs").iterdir())
