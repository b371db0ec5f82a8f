"""Run `minivit.train` in forked children that die: a program for test_kill.py, run in an empty folder.

    python kill.py random OPTIONS...   train in "run", killing with SIGKILL at random moments and resuming, to the end
    python kill.py save OPTIONS...     for every moment of the 1st and the 3rd checkpoint: die there, resume to the end
    python kill.py create OPTIONS...   for every moment of making the run folder: die there, start again

The last line printed is a report in JSON. One process imports NumPy and minivit, and forks: a child is at work after
a hundredth of a second.
"""

import io
import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no threads in the parent

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401  the children draw, and should not each import this

from minivit import cli, train
from minivit.files import npz
from minivit.models import archive
from minivit.runs import folder as run_folder


def child(argv, prepare=lambda: None):
    """Start `python -m minivit.train` with these arguments, in a copy of this process."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            prepare()
            cli.run_command(lambda _: train.main(argv))
        except SystemExit as exit:
            status = exit.code
        finally:
            sys.stdout.flush()
            os._exit(status)
    return pid


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start_or_resume(folder, options):
    return ["--resume", folder] if Path(folder).exists() else [*options, "--out", folder]


def kill_at_random(options, kills=12, seed=0):
    """How the children ended, and the step that the checkpoint had then; the waits grow while no step is gained."""
    rng = random.Random(seed)
    longest, checkpoint = 0.1, Path("run/checkpoint.npz")
    ends, steps = [], [0]
    while not ends or ends[-1] < 0:
        pid = child(start_or_resume("run", options))
        if len(ends) < kills:
            time.sleep(rng.uniform(0, longest))
            os.kill(pid, signal.SIGKILL)
        ends.append(status_of(pid))
        steps.append(run_folder.read_checkpoint(checkpoint)[1]["step"] if checkpoint.exists() else 0)
        if steps[-1] == steps[-2]:
            longest *= 1.25
    return {"ends": ends, "steps": steps}


def die_once(folder, options, prepare):
    """How a child that dies and the one after it ended, and the files that the first left."""
    first = status_of(child(start_or_resume(folder, options), prepare))
    left = sorted(str(path) for path in Path().glob(f"{folder}*/*"))
    return {"ends": [first, status_of(child(start_or_resume(folder, options)))], "left": left}


def die(*args, **kwargs):
    os._exit(99)


class DiesHalfway(io.FileIO):
    """A file whose fourth write reaches the disk by half, and is the last."""

    writes = 0

    def write(self, data):
        self.writes += 1
        if self.writes == 4:
            data = memoryview(data).cast("B")
            super().write(data[: len(data) // 2])
            die()
        return super().write(data)


def die_in_save(moment, count):
    """Patch the writing of archives so that the `count`th ends the process."""
    real, calls = archive.write_npz, [0]

    def write(path, arrays):
        calls[0] += 1
        if calls[0] == count:
            if moment == "first":
                die()
            if moment == "middle":
                npz.open = lambda path, mode: DiesHalfway(path, mode)
            if moment == "unsynced":
                os.fsync = die
            if moment == "unnamed":
                os.replace = die
        real(path, arrays)
        if calls[0] == count:
            die()  # moment "last": just after

    run_folder.write_npz = write


def die_in_create(moment):
    """Patch pathlib so that making the run folder ends the process."""
    if moment == "mkdir":
        real = Path.mkdir
        Path.mkdir = lambda self: (real(self), die())
    if moment == "middle":
        real_write = Path.write_text
        Path.write_text = lambda self, text, **_: (real_write(self, text[: len(text) // 2]), die())
    if moment == "rename":
        os.replace = die


if __name__ == "__main__":
    scenario, *options = sys.argv[1:]
    report: dict = {}
    if scenario == "random":
        report = kill_at_random(options)
    elif scenario == "save":
        for moment in ("first", "middle", "unsynced", "unnamed", "last"):
            for count in (1, 3):
                folder = f"{moment}-{count}"
                report[folder] = die_once(folder, options, partial(die_in_save, moment, count))
    else:
        for moment in ("mkdir", "middle", "rename"):
            report[moment] = die_once(moment, options, partial(die_in_create, moment))
    sys.stdout.write(json.dumps(report) + "\n")
