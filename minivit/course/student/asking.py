"""A question's visible checks in a process of its own, which is stopped when it takes too long.

Python 3.9 alone: it travels with a release.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .outcomes import COMPUTING, HERE

__all__ = ["Answer", "ask"]

PATIENCE = 6  # times the seconds that the grader gives a check, by the clock: this machine may be busy
SHORT = 10  # seconds at most for each check, after one that did not end
SILENT = 10  # seconds, after which a question is said to be running


@dataclass
class Answer:
    """said: check -> (kind, words) as from `outcome`.   slow: sentences.   fault: why adapters.py fails."""

    said: dict[str, tuple[str, str]] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)
    printed: str = ""
    fault: str = ""


def _lines(file: Path) -> list[dict[str, Any]]:
    """What has been written so far; a line that is not whole yet is left."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def _stopped(seconds: float, more: str = "") -> str:
    time_ = f"{seconds:g} second{'s' * (seconds != 1)}{more}"
    return f"it does not end; it was stopped after {time_}. Does a loop never finish?"


class _Watch:
    """Waits for one process of a question."""

    def __init__(self, question: str, seconds: Mapping[str, float], tell: Callable[[str], None]) -> None:
        self.question, self.seconds, self.tell = question, seconds, tell
        self.longest = float("inf")
        self.begun, self.told = time.monotonic(), False

    def wait(self, process: subprocess.Popen, file: Path) -> str:
        """Why the process did not end by itself, if so."""
        since, seen, running = time.monotonic(), 0, ""
        while process.poll() is None:
            time.sleep(0.02)
            lines = _lines(file)
            if len(lines) != seen:
                since, seen = time.monotonic(), len(lines)
                running = lines[-1].get("starts", "")
            if not self.told and time.monotonic() - self.begun > SILENT:
                self.tell(f"{self.question}: still running{' ' * bool(running)}{running} ...")
                self.told = True
            limit = min(PATIENCE * self.seconds.get(running, 10), self.longest)
            if time.monotonic() - since > limit:
                process.kill()
                process.wait()
                self.longest = SHORT
                return _stopped(limit)
        if process.returncode == -getattr(signal, "SIGXCPU", 0) != 0:
            started = [line["starts"] for line in _lines(file) if "starts" in line]
            limit = min(COMPUTING * self.seconds.get(started[-1], 10), self.longest)
            self.longest = SHORT
            return _stopped(max(limit, 1), " of computing")
        return "" if process.returncode == 0 else f"Python ended unexpectedly, with status {process.returncode}"


def ask(question: Mapping[str, Any], tell: Callable[[str], None]) -> Answer:
    """The visible checks of a question: after a crash, the remaining ones run in a new process.

    tell: called with a sentence if it takes long.
    """
    seconds = {check["name"]: check["seconds"] for check in question["checks"]}
    answer, watch = Answer(), _Watch(question["id"], seconds, tell)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # as in the grader
    environment = {**os.environ, **threads, "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "printed", "w+b") as printed:
        file = Path(folder) / "said"
        while (left := [name for name in seconds if name not in answer.said]) and not answer.fault:
            file.write_text("", encoding="utf-8")
            command = [sys.executable, "-B", str(HERE / "check.py"), "--one", question["id"], *left]
            command += ["--to", str(file), "--longest", str(watch.longest)]
            process = subprocess.Popen(
                command, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed
            )
            try:
                why = watch.wait(process, file)
            finally:
                process.kill()
                process.wait()
            _read(_lines(file), left, seconds, why or "Python ended before it gave a result", answer)
        printed.seek(0)
        answer.printed = printed.read().decode("utf-8", "replace")
    return answer


def _read(lines: list[dict[str, Any]], left: list[str], seconds: Mapping[str, float], why: str, into: Answer) -> None:
    """Add what a process has written, and `why` for the check in which it ended."""
    for line in lines:
        if "unloaded" in line:
            into.fault = line["unloaded"]
            return
        if "check" in line:
            name, most = line["check"], seconds[line["check"]]
            into.said[name] = tuple(line["said"])
            if line["cpu"] > most and line["said"][0] == "right":
                into.slow.append(f"{name} took {line['cpu']:.1f} s; the grader allows {most:g} s of CPU time")
    started = [line["starts"] for line in lines if "starts" in line]
    if not any(started):
        into.fault = f"adapters.py cannot be imported: {why}"
    elif missing := [name for name in started[1:] + left if name not in into.said]:
        into.said[missing[0]] = ("wrong", why)
