"""Grades one submission: the student's code runs in one process per check, every comparison in this one.

`grade` gives the contents of `DIR/results/NAME.json`. It is the same in every run: draws come from the course's key,
the student's name, the assignment, the question and the check.
"""

import copy
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivit.course.assignment import Assignment, Check, CourseError, Question, draws
from minivit.course.hints import Hints
from minivit.course.release.given import given_files
from minivit.course.sandbox import wire
from minivit.course.sandbox.guard import BANNED
from minivit.course.sandbox.remote import Remote, SandboxError, Terms
from minivit.course.student.packing import imports
from minivit.course.student.trial import Direct, NotAnswered, Trial, Wrong
from minivit.errors import shown

__all__ = ["Outcome", "banned_imports", "check_environment", "grade", "run", "scores", "shares", "texts", "total"]

VISIBLE = 4 / 9  # of a question's points
STAFF = ("given", "given.py", "check.py", "_course")  # never taken from a submission
PATIENCE = 2  # checks of a submission that have a second try when time ran out by the clock
MOST_SOURCE = 256 << 10  # bytes of a file that is looked through for imports
SHOWN = 2000  # characters of what one check printed


@dataclass
class Outcome:
    """The result of one check.   share: of its points.   open: not answered.   unloaded: adapters.py fails on
    import."""

    words: str
    share: float = 0.0
    open: bool = False
    unloaded: bool = False
    mistake: str | None = None
    output: str = ""
    slow: bool = False  # the process was waited for in vain


def shares(question: Question, checks: list[Check]) -> dict[str, float]:
    """The points of each check. Without paid visible checks the hidden ones have all, and the reverse."""
    visible = [check.name for check in checks if not check.hidden and check.name not in question.unpaid]
    hidden = [check.name for check in checks if check.hidden and check.name not in question.unpaid]
    part = (VISIBLE if hidden else 1.0) if visible else 0.0
    points = {check.name: 0.0 for check in checks}
    points.update({name: question.points * part / len(visible) for name in visible})
    points.update({name: question.points * (1 - part) / len(hidden) for name in hidden})
    return points


def scores(question: Question, checks: list[Check], row: Mapping[str, Any]) -> dict[str, float]:
    """The points of each check, from a question's `row` in a result; missing points belong to failed checks."""
    points = shares(question, checks)
    left = row["points"] - sum(points[name] for name, words in row["checks"].items() if words == "passed")
    reached = {}
    for name, words in row["checks"].items():
        reached[name] = points[name] if words == "passed" else min(max(left, 0.0), points[name])
        left -= 0.0 if words == "passed" else reached[name]
    return reached


def texts(files: Mapping[str, str]) -> dict[str, bytes]:
    """A solution of the staff as a submission."""
    return {name: text.encode("utf-8") for name, text in files.items()}


class _Reference:
    """The reference's results, in this process. What was asked once is not computed again."""

    def __init__(self, assignment: Assignment) -> None:
        self.direct, self.known = Direct(assignment.oracle), {}  # type: ignore[var-annotated]

    def __call__(self, name: str, args: tuple) -> Any:
        try:
            key = hashlib.sha256(wire.encode((name, args), limit=1 << 40)).digest()
        except wire.BadValue:
            return self.direct(name, args)
        if key not in self.known:
            self.known[key] = self.direct(name, args)
        return copy.deepcopy(self.known[key])


def _terms(assignment: Assignment, files: Mapping[str, bytes], seconds: float, base: str, seed: int = 0) -> Terms:
    own = {path: data for path, data in files.items() if path.split("/")[0] not in STAFF}
    known = vars(assignment).setdefault("_given_files", {})  # beside what its cached properties keep
    if base not in known:
        known[base] = texts(given_files(assignment, base))
    about = assignment.about
    return Terms({**own, **known[base]}, seconds, about.get("memory_mib", 2048), tuple(about.get("banned", ())), seed)


def run(
    assignment: Assignment,
    files: Mapping[str, bytes],
    check: Check,
    student: str,
    key: bytes,
    *,
    base: str = "reference",
    hints: Hints | None = None,
    patient: bool = True,
) -> Outcome:
    """One check of one submission.   hints: wrong solutions that may be recognised.   patient: wait twice."""
    words = (student, assignment.id, check.question, check.name)
    seed = int.from_bytes(_seed_of(key, *words)[:4], "little")
    engines = assignment.engines
    listed = [(name, name in assignment.wrongs) for name in engines]
    reference = _Reference(assignment)
    if hints is not None:
        hints.reference = reference

    def engine(name: str) -> Terms:
        return _terms(assignment, texts(engines[name]), 20.0, "reference")

    def once() -> Outcome:
        calls = assignment.questions[check.question].calls
        with Remote(_terms(assignment, files, check.seconds, base, seed), engine, calls) as remote:
            known: Any = hints if hints is not None else dict
            trial = Trial(remote, reference, draws(key, *words), known, listed)
            outcome = _outcome(trial, check)
        outcome.output, outcome.unloaded, outcome.slow = remote.output, remote.unloaded, remote.slow
        return outcome

    outcome = once()
    return once() if outcome.slow and patient else outcome  # perhaps the machine was busy


def _outcome(trial: Trial, check: Check) -> Outcome:
    try:
        with np.errstate(all="ignore"):
            check.run(trial)
        return Outcome("passed", trial.fraction)
    except NotAnswered as wrong:
        return Outcome(_said(wrong), open=True)
    except Wrong as wrong:
        return Outcome(_said(wrong), _partial(trial), mistake=trial.mistake)
    except SandboxError as error:
        raise CourseError(f"environment broken: {error}") from None
    except Exception as error:  # the check took the student's result for what it is not
        words = f"the result of {trial.asked} does not have the required form ({type(error).__name__})"
        return Outcome(words)


def _said(wrong: Wrong) -> str:
    """One line that nobody takes for "passed"; part of it may come from the student's process."""
    words = shown(wrong, 1000).strip()
    return "wrong" if words in ("", "passed") else words


def _partial(trial: Trial) -> float:
    """Points of a check that gives some for a part; every other check is all or nothing."""
    return trial.fraction if trial.fraction < 1 else 0.0


def _seed_of(key: bytes, *words: str) -> bytes:
    return hmac.new(key, "|".join(words).encode(), hashlib.sha256).digest()


def banned_imports(assignment: Assignment, files: Mapping[str, bytes]) -> list[str]:
    """Sentences about imports in the source that the process will refuse. Mentions in text or comments do not count."""
    banned = {*BANNED, *assignment.about.get("banned", ())}
    banned -= {path.split("/")[0].removesuffix(".py") for path in files}
    found = []
    for path, data in sorted(files.items()):
        lines = imports(data) if path.endswith(".py") and len(data) <= MOST_SOURCE else []
        found += [f"{path} line {line} imports {top}, which is not allowed" for line, top in lines if top in banned]
    return found


class _Grading:
    """The grading of one submission, question by question."""

    def __init__(
        self, assignment: Assignment, files: Mapping[str, bytes], student: str, key: bytes, base: str, kept: Any = None
    ) -> None:
        self.kept = kept
        self.assignment, self.files, self.student, self.key, self.base = assignment, files, student, key, base
        self.questions: dict[str, Any] = {}
        self.mistakes: dict[str, list[str]] = {}
        self.seeds: dict[str, str] = {}
        self.output: dict[str, str] = {}
        self.unloaded: Outcome | None = None
        self.slow = 0  # checks whose process was waited for in vain

    def check(self, check: Check, blamed: str | None) -> Outcome:
        if self.unloaded is not None:
            return self.unloaded
        likely = self.mistakes.get(check.question, ())
        hints = None if blamed else Hints(self.assignment, check, self.student, self.key, likely, self.kept)
        about = (self.assignment, self.files, check, self.student, self.key)
        outcome = run(*about, base=self.base, hints=hints, patient=self.slow < PATIENCE)
        self.slow += outcome.slow
        if outcome.unloaded:
            self.unloaded = outcome
        elif blamed and outcome.share < 1 and not outcome.open:
            outcome.words = f"{check.question} depends on {blamed}, which is wrong: first fix {blamed}"
        text = outcome.output.strip()[:SHOWN]
        if text and text not in self.output.values():
            self.output[f"{check.question}.{check.name}"] = text
        return outcome

    def question(self, question: Question) -> None:
        checks = [check for check in self.assignment.checks if check.question == question.id]
        paid, words, points = shares(question, checks), {}, 0.0
        blamed = next((other for other in question.after if not self.right(other)), None)
        for check in checks:
            outcome = self.check(check, blamed)
            words[check.name] = outcome.words
            points += outcome.share * paid[check.name]
            if outcome.mistake and outcome.mistake not in self.mistakes.setdefault(question.id, []):
                self.mistakes[question.id].append(outcome.mistake)
            if outcome.words != "passed":
                names = (self.student, self.assignment.id, check.question, check.name)
                self.seeds[f"{check.question}.{check.name}"] = _seed_of(self.key, *names).hex()[:16]
        self.questions[question.id] = {"points": round(points, 4), "of": question.points, "checks": words}

    def right(self, question: str) -> bool:
        return all(text == "passed" for text in self.questions[question]["checks"].values())


def grade(
    assignment: Assignment,
    files: Mapping[str, bytes],
    student: str,
    key: bytes,
    *,
    base: str = "reference",
    proven: bool = False,
    kept: dict | None = None,
) -> dict[str, Any]:
    """The grades of a submission.

    files: path in the submission -> bytes.
    proven: the caller has called `check_environment`; otherwise it runs here, once per process.
    kept: the place of recorded wrong solutions, shared by submissions under the same name and key.
    Raises CourseError if the reference does not reach all points in this environment: then no grade is reliable.
    """
    if not proven:
        check_environment(assignment)
    grading = _Grading(assignment, files, student, key, base, kept)
    for question in assignment.questions.values():
        grading.question(question)
    return {
        "assignment": assignment.id,
        "total": total(grading.questions, {}),
        "questions": grading.questions,
        **({"unloaded": grading.unloaded.words} if grading.unloaded else {}),
        "mistakes": {name: found for name, found in grading.mistakes.items() if found},
        "notes": banned_imports(assignment, files),
        "output": grading.output,
        "seeds": grading.seeds,
    }


def total(questions: Mapping[str, Any], written: Mapping[str, Any]) -> float:
    """Percent of the points graded so far."""
    rows = [*questions.values(), *written.values()]
    of = sum(row["of"] for row in rows)
    return round(100 * sum(row["points"] for row in rows) / of, 2) if of else 0.0


_proven: set[tuple[str, int]] = set()


def check_environment(assignment: Assignment) -> None:
    """Raise CourseError unless the master solution reaches all points here, on the same path as submissions."""
    stamp = (str(assignment.folder), max(path.stat().st_mtime_ns for path in assignment.folder.rglob("*")))
    if stamp in _proven:
        return
    result = grade(assignment, texts(assignment.master), "reference", b"environment", proven=True)
    faults = [
        f"{name} {check}: {words}"
        for name, question in result["questions"].items()
        for check, words in question["checks"].items()
        if words != "passed"
    ]
    if faults or result["total"] != 100:
        first = f" ({faults[0]})" if faults else ""
        raise CourseError(
            f"environment broken: the reference reaches {result['total']:g} percent of {assignment.id}{first}"
        )
    _proven.add(stamp)
