"""Runs one visible check in this process. Python 3.9 and NumPy only: it travels with a release.

Each question runs in a process of its own (`asking`), so that a crash or an endless loop costs one check. Nothing here
is secret, and nothing here counts: the grader of the course runs its own copies, with other numbers.
"""

from __future__ import annotations

import bdb
import contextlib
import functools
import importlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from . import replay, trial

__all__ = ["COMPUTING", "COURSE", "HERE", "about", "adapters", "broken", "names", "outcome", "run"]

COURSE = Path(__file__).resolve().parent
HERE = COURSE.parent  # the student's folder
COMPUTING = 3  # times the CPU seconds that the grader gives a check: this machine may be slow
OTHER = (
    " (An argument of this comparison was not as in the release: it comes from your own earlier results, "
    "or this computer rounds otherwise.)"
)


@functools.cache
def about() -> dict[str, Any]:
    """The release's description: title, questions with their visible checks, files to hand in."""
    return json.loads((COURSE / "assignment.json").read_text(encoding="utf-8"))


@functools.cache
def _records() -> dict[str, Any]:
    return replay.unpack((COURSE / "expected.npz").read_bytes())


def broken() -> str:
    """A sentence if the folder _course has been changed, else nothing."""
    try:
        visible, records = importlib.import_module(".visible", __package__), _records()
        for question, check in names():
            getattr(visible, f"{question}_{check}")
            records[question][check]
    except Exception as error:
        what = str(error).split("\n")[0].replace(str(COURSE), "_course")
        return f"The folder _course is not as it was handed out ({what:.150}): unpack the zip again."
    return ""


def names() -> list[tuple[str, str]]:
    """All visible checks, (question, check), in the order of work."""
    return [(question["id"], check["name"]) for question in about()["questions"] for check in question["checks"]]


@functools.cache
def adapters() -> Any:
    """The student's adapters, or a sentence about why they cannot be imported."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    try:
        return importlib.import_module("adapters")
    except SyntaxError as error:
        return f"adapters.py cannot be imported: {Path(error.filename or '?').name} line {error.lineno}: {error.msg}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "adapters":
            return f"adapters.py is missing in {HERE}"
        text = str(error).strip().split("\n")[0][:200]
        kind = f"{type(error).__name__}{': ' if text else ''}{text}"
        return f"adapters.py cannot be imported: {kind}{trial.place(error)}"


def outcome(question: str, check: str, own_exception: bool = False) -> tuple[str, str]:
    """The result of one visible check, and the words for it.

    It is "right", "wrong", "open", "harmless" (a check that proves little found no fault) or "unsaid" (it could not
    look). own_exception: an exception of the student's code leaves this function, for a debugger.
    """
    found = adapters()
    if isinstance(found, str):
        return "wrong", found
    record = _records()[question][check]
    calls = next(row.get("calls", math.inf) for row in about()["questions"] if row["id"] == question)
    reference = replay.Recorded(record["reference"])
    others = {str(number): (hint, seen) for number, (hint, seen) in enumerate(record["others"])}
    direct, redrawing = trial.Direct(found, calls=calls), replay.Redrawing(record["drawn"])
    one: Any = trial.Trial(direct, reference, redrawing, lambda: others)  # type: ignore[arg-type]
    visible = importlib.import_module(".visible", __package__)
    try:
        getattr(visible, f"{question}_{check}")(one)
    except trial.Wrong as wrong:
        if own_exception and wrong.__cause__ is not None:
            raise wrong.__cause__ from None
        kind = "open" if isinstance(wrong, trial.NotAnswered) else "wrong"
        return kind, str(wrong) + (OTHER if kind == "wrong" and reference.other else "")
    except SystemExit as error:
        return "wrong", f"{one.asked} ends Python (SystemExit: {error}){trial.place(error)}"
    except Exception as error:  # the check took the result for what it is not
        return "wrong", f"the result of {one.asked} does not have the required form ({type(error).__name__})"
    return ("right", "") if one.remark is None else ("harmless" if one.remark[0] else "unsaid", one.remark[1])


def _stop(*_: Any, **__: Any) -> None:
    raise bdb.BdbQuit  # there is nobody to answer a debugger


def _limit(seconds: float) -> None:
    """This process ends when it has computed for so many seconds more, where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def run(question: str, checks: list[str], file: str, longest: float) -> None:
    """The checks of a question: a line of JSON in `file` when one starts, and one when it ends.

    longest: the most CPU seconds that each may take, whatever the grader allows.
    """
    sys.breakpointhook = _stop
    seconds = {
        check["name"]: check["seconds"]
        for row in about()["questions"]
        if row["id"] == question
        for check in row["checks"]
    }
    with open(file, "a", encoding="utf-8", buffering=1) as out:  # a line is there as soon as it is written
        out.write(json.dumps({"starts": ""}) + "\n")
        _limit(min(COMPUTING * 10, longest))
        if isinstance(found := adapters(), str):
            out.write(json.dumps({"unloaded": found}) + "\n")
            return
        for check in checks:
            out.write(json.dumps({"starts": check}) + "\n")
            _limit(min(COMPUTING * seconds[check], longest))
            begun = time.process_time()
            said = outcome(question, check)
            out.write(json.dumps({"check": check, "said": said, "cpu": time.process_time() - begun}) + "\n")
