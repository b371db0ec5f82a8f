"""check.py of a student zip: runs the visible checks and prints the results in words.

Python 3.9 and NumPy only: it travels with a release.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from . import packing
from .asking import ask
from .outcomes import HERE, about, adapters, broken, names, outcome, run

__all__ = ["broken", "check", "main", "names", "outcome"]

SHOWN = 40  # lines of what a question printed
ALONE = "graded by hidden checks alone"
HELP = """
python check.py             all questions
python check.py q3 q4       these questions
python check.py --list      the questions and their visible checks
python check.py pack        make the file that you hand in

The checks are in _course/visible.py, which you may read. A question that asks for find_bugs has no visible points:
it is graded by hidden checks alone. For breakpoint() use python -m pytest -s -k q3
"""
current = ""  # the question that is running


def _word(kinds: set[str]) -> str:
    """The state of a question, from the results of its checks."""
    if kinds == {"open"}:
        return "not answered yet"
    if kinds & {"wrong", "open"}:
        return "wrong"
    return "says nothing" if "unsaid" in kinds else "no false alarm" if "harmless" in kinds else "right"


def _tell(sentence: str) -> None:
    if sys.stdout.isatty():
        print(sentence, flush=True)


def _report(question: dict[str, Any]) -> tuple[bool, float, str]:
    """Print the state of a question: whether it has no fault, its visible points, and any reason why it could not be
    checked."""
    global current
    current = question["id"]
    answer = ask(question, _tell)
    current = ""
    if answer.fault:
        return False, 0.0, answer.fault
    said, word = answer.said, _word({kind for kind, _ in answer.said.values()})
    points = sum(check["points"] for check in question["checks"] if said[check["name"]][0] == "right")
    of = sum(check["points"] for check in question["checks"])
    counted = f"{points:.1f} of {of:.1f}" if of else ALONE
    print(f"{question['id']:<4}{question['title'][:44]:<46}{word if said else '':<18}{counted}", flush=True)
    stub = word == "not answered yet" and question["id"] in packing.stubs(HERE, about())
    for text in dict.fromkeys(text for _, text in said.values() if text and not stub):
        print(f"      {', '.join(name for name, (_, other) in said.items() if other == text)}: {text}")
    for sentence in answer.slow:
        print(f"      Careful: {sentence}")
    lines = answer.printed.rstrip().split("\n") if answer.printed.strip() else []
    for line in lines[:SHOWN]:
        print(f"      | {line}")
    if len(lines) > SHOWN:
        print(f"      | and {len(lines) - SHOWN} more lines")
    return word in ("right", "no false alarm"), points, ""


def check(questions: list[dict[str, Any]]) -> int:
    """Run the visible checks of these questions; 0 if all are right."""
    print(f"{about()['title']}: visible checks of {', '.join(question['id'] for question in questions)}\n", flush=True)
    fine, right, points = True, 0, 0.0
    paid = [question["id"] for question in questions if any(check["points"] for check in question["checks"])]
    of = sum(check["points"] for question in questions for check in question["checks"])
    for question in questions:
        good, reached, fault = _report(question)
        fine, points, right = fine and good, points + reached, right + (good and question["id"] in paid)
        if fault:  # the others would say the same
            print(fault)
            break
    print(f"\n{right} of {len(paid)} questions right, {points:.1f} of {of:.1f} visible points." if paid else "")
    if fine:
        print("The hidden checks use other shapes and values, so test your own cases too.")
    for sentence in packing.banned(HERE, packing.chosen(HERE, about()), about()["banned"]):
        print(f"Careful: {sentence}")
    return 0 if fine else 1


def _chosen(words: list[str]) -> list[dict[str, Any]] | str:
    """The questions that somebody names, or a sentence."""
    known = {question["id"]: question for question in about()["questions"]}
    words = [word.lower() for text in words for word in text.replace(",", " ").split()]
    wanted = [f"q{word}" if word.isdigit() else word for word in words] or list(known)
    if "pack" in wanted:
        return "`pack` stands alone: python check.py pack"
    if written := [word for word in wanted if word in {row["id"] for row in about()["written"]}]:
        return f"{written[0]} is a written question: answer it in answers.md."
    if unknown := [word for word in wanted if word not in known]:
        return f"There is no question {unknown[0]}; there are {', '.join(known)}, and the word pack."
    return [known[word] for word in dict.fromkeys(wanted)]


def _list(questions: list[dict[str, Any]]) -> None:
    for question in questions:
        print(f"{question['id']:<4}{question['title']}, {question['of']:g} points")
        for one in question["checks"]:
            print(f"      {one['name']}: {one['says'] or one['name'][2:].replace('_', ' ')}")
        if not any(one["points"] for one in question["checks"]):
            print(f"      no visible points: {ALONE}")
    for row in about()["written"]:
        print(f"{row['id']:<4}{row['title']}, {row['points']:g} points, in answers.md")
    print("\nThe checks are in _course/visible.py, which you may read.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "check.py", usage=HELP, description="The visible checks.", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="q1, q2, ..., or the word pack")
    parser.add_argument("--list", action="store_true", help="the questions and their visible checks")
    for inner in ("--one", "--imports", "--points"):
        parser.add_argument(inner, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    parser.add_argument("--longest", type=float, help=argparse.SUPPRESS)
    return parser


def _do(given: argparse.Namespace) -> int:
    if given.one:
        run(given.questions[0], given.questions[1:], given.to, given.longest)
        return 0
    if given.imports:
        fault = adapters()
        print(fault if isinstance(fault, str) else "")
        return int(isinstance(fault, str))
    if fault := broken():
        print(fault)
        return 2
    if [word.lower() for word in given.questions] == ["pack"]:
        return packing.pack(HERE, about())
    questions = _chosen(given.questions)
    if isinstance(questions, str):
        print(questions)
        return 2
    if given.points:
        print(round(sum(_report(question)[1] for question in questions), 4))
        return 0
    if given.list:
        _list(questions)
        return 0
    return check(questions)


def main(words: list[str] | None = None) -> int:
    given = _parser().parse_args(words)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return _do(given)
    except KeyboardInterrupt:
        if given.one:
            os._exit(130)
        print(f"\nStopped in {current}." if current else "\nStopped.")
        return 130
