"""What check.py of a student zip does: the visible checks, in words.

Python 3.9 and NumPy alone: it travels with a release.

Each question runs in a process of its own, so that a crash or an endless loop costs one check. Nothing here is
secret, and nothing here counts: the grader of the course runs its own copies, with other numbers.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from . import packing, replay, trial

COURSE = Path(__file__).resolve().parent
HERE = COURSE.parent  # the student's folder
PATIENCE = 6  # times the seconds that the grader gives a check: this machine may be slow, and busy
SHOWN = 40  # lines of what a question printed
OTHER = (
    " (An argument of this comparison was not as in the release: it comes from your own earlier results, "
    "or this computer rounds otherwise.)"
)
HELP = """
python check.py             all questions
python check.py q3 q4       these questions
python check.py --list      the questions and their visible checks
python check.py pack        make the file that you hand in
"""


@functools.cache
def about() -> dict[str, Any]:
    """What the release says of itself: title, questions with their visible checks, what is handed in."""
    return json.loads((COURSE / "assignment.json").read_text(encoding="utf-8"))


@functools.cache
def _records() -> dict[str, Any]:
    return replay.unpack((COURSE / "expected.npz").read_bytes())


def names() -> list[tuple[str, str]]:
    """All visible checks, (question, check), in the order of work."""
    return [(question["id"], check["name"]) for question in about()["questions"] for check in question["checks"]]


def _place(error: BaseException) -> str:
    """Where in the student's files an exception arose."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if HERE in path.parents and COURSE not in path.parents:
            return f", in {path.name} line {frame.lineno}"
    return ""


@functools.cache
def adapters() -> Any:
    """The student's adapters, or a sentence that says why they cannot be imported."""
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
        return f"adapters.py cannot be imported: {type(error).__name__}{': ' if text else ''}{text}{_place(error)}"


def outcome(question: str, check: str) -> tuple[str, str]:
    """("right" | "wrong" | "open", what is to be said) of one visible check, in this process."""
    found = adapters()
    if isinstance(found, str):
        return "wrong", found
    record = _records()[question][check]
    reference = replay.Recorded(record["reference"])
    others = {str(number): (hint, seen) for number, (hint, seen) in enumerate(record["others"])}
    one: Any = trial.Trial(trial.Direct(found), reference, replay.Redrawing(record["drawn"]), lambda: others)  # type: ignore[arg-type]
    visible = importlib.import_module(".visible", __package__)
    try:
        getattr(visible, f"{question}_{check}")(one)
    except trial.NotAnswered as wrong:
        return "open", str(wrong)
    except trial.Wrong as wrong:
        return "wrong", str(wrong) + (OTHER if reference.other else "")
    except SystemExit as error:
        return "wrong", f"it ends Python (SystemExit: {error}){_place(error)}"
    except Exception as error:  # the check took the result for what it is not
        return "wrong", f"the result does not have the form that is asked ({type(error).__name__})"
    return "right", ""


# A question in a process of its own: it appends one line of JSON to a file when a check starts, and one when it ends.


def _run(question: str, checks: list[str], file: str) -> None:
    with open(file, "a", encoding="utf-8", buffering=1) as out:  # a line is there as soon as it is written
        for check in checks:
            out.write(json.dumps({"starts": check}) + "\n")
            out.write(json.dumps({"check": check, "said": outcome(question, check)}) + "\n")


def _lines(file: Path) -> list[dict[str, Any]]:
    """What has been written so far; a line that is not whole yet is left."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def _watched(process: subprocess.Popen, file: Path, seconds: dict[str, float]) -> str:
    """Wait for a question's process; why it did not end by itself, if so."""
    since, seen = time.monotonic(), 0
    while process.poll() is None:
        time.sleep(0.02)
        lines = _lines(file)
        if len(lines) != seen:
            since, seen = time.monotonic(), len(lines)
        running = lines[-1].get("starts") if lines else None
        limit = PATIENCE * (seconds[running] if running else 10)
        if time.monotonic() - since > limit:
            process.kill()
            process.wait()
            return f"it does not end; it was stopped after {limit:g} seconds. Does a loop never finish?"
    return "" if process.returncode == 0 else f"Python ended in the middle of it, with status {process.returncode}"


def ask(question: dict[str, Any]) -> tuple[dict[str, tuple[str, str]], str]:
    """check -> (kind, what is to be said) of a question, and what was printed."""
    seconds = {check["name"]: check["seconds"] for check in question["checks"]}
    said: dict[str, tuple[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "printed", "w+b") as printed:
        file = Path(folder) / "said"
        while left := [name for name in seconds if name not in said]:
            file.write_text("", encoding="utf-8")
            command = [sys.executable, "-B", str(HERE / "check.py"), "--one", question["id"], *left, "--to", str(file)]
            environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
            process = subprocess.Popen(
                command, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed
            )
            try:
                why = _watched(process, file, seconds)
            finally:
                process.kill()
                process.wait()
            lines = _lines(file)
            said.update({line["check"]: tuple(line["said"]) for line in lines if "check" in line})
            started = [line["starts"] for line in lines if "starts" in line and line["starts"] not in said]
            if missing := started or [name for name in left if name not in said]:
                said[missing[0]] = ("wrong", why or "Python ended before it gave a result")
        printed.seek(0)
        return said, printed.read().decode("utf-8", "replace")


def _report(question: dict[str, Any]) -> tuple[bool, float]:
    """Print how a question stands: is it right, and its visible points."""
    said, printed = ask(question)
    kinds = {kind for kind, _ in said.values()}
    right = kinds <= {"right"}
    word = "right" if right else "not answered yet" if kinds == {"open"} else "wrong"
    points = sum(check["points"] for check in question["checks"] if said[check["name"]][0] == "right")
    of = sum(check["points"] for check in question["checks"])
    counted = f"{points:.1f} of {of:.1f}" if of else "without points" if said else "it has hidden checks only"
    print(f"{question['id']:<4}{question['title'][:44]:<46}{word if said else '':<18}{counted}", flush=True)
    shown = list(dict.fromkeys(text for _, text in said.values() if text))
    for text in shown if word == "wrong" else []:
        print(f"      {', '.join(name for name, (_, other) in said.items() if other == text)}: {text}")
    lines = printed.rstrip().split("\n") if printed.strip() else []
    for line in lines[:SHOWN]:
        print(f"      | {line}")
    if len(lines) > SHOWN:
        print(f"      | and {len(lines) - SHOWN} more lines")
    return right, points


def check(questions: list[dict[str, Any]]) -> int:
    """Run the visible checks of these questions; 0 if all are right."""
    print(f"{about()['title']}: visible checks of {', '.join(question['id'] for question in questions)}\n", flush=True)
    results = [_report(question) for question in questions]
    of = sum(check["points"] for question in questions for check in question["checks"])
    right = sum(right for right, _ in results)
    points = sum(points for _, points in results)
    print(f"\n{right} of {len(results)} questions right, {points:.1f} of {of:.1f} visible points.")
    if right == len(results):
        print("The hidden checks use other shapes and values: test what these do not.")
    own = [path for path in HERE.glob("*.py") if path.name not in packing.ours(about())]
    for sentence in packing.banned(own, about()["banned"]):
        print(f"Careful: {sentence}")
    return 0 if right == len(results) else 1


def _chosen(words: list[str]) -> list[dict[str, Any]] | str:
    """The questions that somebody names, or a sentence."""
    known = {question["id"]: question for question in about()["questions"]}
    wanted = [f"q{word}" if word.isdigit() else word.lower() for word in words] or list(known)
    if unknown := [word for word in wanted if word not in known]:
        return f"There is no question {unknown[0]}; there are {', '.join(known)}, and the word pack."
    return [known[word] for word in dict.fromkeys(wanted)]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "check.py", usage=HELP, description=about()["title"], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="q1, q2, ..., or the word pack")
    parser.add_argument("--list", action="store_true", help="the questions and their visible checks")
    for inner in ("--one", "--imports", "--points"):
        parser.add_argument(inner, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        if given.one:
            _run(given.questions[0], given.questions[1:], given.to)
            return 0
        if given.imports:
            fault = adapters()
            print(fault if isinstance(fault, str) else "")
            return int(isinstance(fault, str))
        if given.questions == ["pack"]:
            return packing.pack(HERE, about())
        questions = _chosen(given.questions)
        if isinstance(questions, str):
            print(questions)
            return 2
        if given.points:
            print(round(sum(_report(question)[1] for question in questions), 4))
            return 0
        if given.list:
            for question in questions:
                print(f"{question['id']:<4}{question['title']}, {question['of']:g} points")
                for one in question["checks"]:
                    print(f"      {one['name']}: {one['says'] or 'one visible check'}")
            return 0
        return check(questions)
    except KeyboardInterrupt:
        if given.one:
            os._exit(130)
        print("\nStopped.")
        return 130
