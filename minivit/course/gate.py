"""The gate: runs the reference, the stub, other right solutions and every wrong one through all checks.

`gate` gives the kill matrix, on the same path as submissions. `python -m minivit.course.gate a3_attention [-v] [NAME
...]` is for authors of assignments: it runs in this process and prints the words of every check.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivit.course import grading
from minivit.course.assignment import Assignment, Check, CourseError, assignments, draws
from minivit.course.solution import TooLong, limited, load
from minivit.course.student.trial import Direct, Trial, Wrong

__all__ = ["Row", "gate", "hints", "run", "solutions"]

KEY, STUDENT = b"gate", "gate"


@dataclass(frozen=True)
class Row:
    """One solution.

    lost: question -> check -> words, for each check failed.   hint: whether its own hint is shown.   fault: the reason
    why the gate rejects it.
    """

    name: str
    lost: Mapping[str, Mapping[str, str]]
    hint: bool
    fault: str

    def seen(self, question: str) -> bool:
        """Whether a visible check of the question notices the mistake."""
        return any(check.startswith("v_") for check in self.lost.get(question, ()))


def solutions(assignment: Assignment) -> dict[str, dict[str, str]]:
    """All solutions for the gate: name -> files."""
    return {
        "reference": assignment.master,
        "stub": assignment.stub,
        **{f"right:{name}": files for name, files in assignment.rights.items()},
        **{name: assignment.wrong_files(name) for name in assignment.wrongs},
    }


def fault(assignment: Assignment, name: str, lost: Mapping[str, Any]) -> str:
    """The fault of the checks, if a solution fails these; or nothing."""
    if name == "stub":
        names = [(check.question, check.name) for check in assignment.checks]
        passed = [f"{question} {check}" for question, check in names if check not in lost.get(question, ())]
        return f"the stub passes {', '.join(passed)}" if passed else ""
    if name not in assignment.wrongs:
        return f"it loses {', '.join(lost)}" if lost else ""
    wrong = assignment.wrongs[name]
    paid = {q for q, checks in lost.items() if set(checks) - set(assignment.questions[q].unpaid)}
    if wrong.question not in paid:
        return f"it survives {wrong.question}"
    more = paid - assignment.dependents(wrong.question) - set(wrong.also)
    return f"it also loses {', '.join(sorted(more))}" if more else ""


def _row(assignment: Assignment, name: str, lost: Mapping[str, Mapping[str, str]]) -> Row:
    wrong = assignment.wrongs.get(name)
    shown = [text for words in lost.values() for text in words.values()]
    told = wrong is not None and any(wrong.hint in text for text in shown)
    return Row(name, lost, told, fault(assignment, name, lost))


# by the way of submissions


_kept: dict[str, dict] = {}


def _graded(place: tuple[str, str]) -> Row:
    """One solution of an assignment, in the sandbox."""
    folder, name = place
    assignment = Assignment(Path(folder))
    files = grading.texts(solutions(assignment)[name])
    kept = _kept.setdefault(folder, {})
    result = grading.grade(assignment, files, STUDENT, KEY, proven=True, kept=kept)
    lost = {
        question: {check: words for check, words in row["checks"].items() if words != "passed"}
        for question, row in result["questions"].items()
    }
    return _row(assignment, name, {question: words for question, words in lost.items() if words})


def gate(assignment: Assignment, *, jobs: int = 2, only: Sequence[str] = ()) -> list[Row]:
    """The kill matrix. Raises CourseError if the reference does not pass in this environment."""
    grading.check_environment(assignment)
    places = [(str(assignment.folder), name) for name in solutions(assignment) if not only or name in only]
    if jobs < 2:
        return [_graded(place) for place in places]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        return pool.map(_graded, places, 4)


def _cells(assignment: Assignment, row: Row) -> list[str]:
    """By question, how many of its checks a solution fails."""
    counts = dict.fromkeys(assignment.questions, 0)
    for check in assignment.checks:
        counts[check.question] += 1
    return [f"{len(row.lost[q])}/{counts[q]}" if q in row.lost else "" for q in assignment.questions]


def table(assignment: Assignment, rows: Iterable[Row]) -> str:
    """The matrix for a terminal."""
    lines = []
    for row in rows:
        wrong = assignment.wrongs.get(row.name)
        cells = [f"{q} {cell}" for q, cell in zip(assignment.questions, _cells(assignment, row), strict=True) if cell]
        words = ["BAD" if row.fault else "ok ", f"{row.name:<34}", "  ".join(cells)]
        if wrong is not None:
            words += [] if row.hint else ["(hint not shown)"]
            words += [] if row.seen(wrong.question) else ["(hidden checks alone)"]
        lines.append(" ".join([*words, f": {row.fault}" if row.fault else ""]).rstrip())
    return "\n".join(lines)


def markdown(assignment: Assignment, rows: Sequence[Row]) -> str:
    """The matrix of the wrong solutions as a section of a page."""
    names = list(assignment.questions)
    lines = [f"## {assignment.id.upper()}. {assignment.about['title']}", ""]
    lines += [f"| wrong solution | misconception | {' | '.join(names)} | caught by | visible | hint |"]
    lines += [f"|---|---|{'---|' * len(names)}---|---|---|"]
    for row in rows:
        wrong = assignment.wrongs.get(row.name)
        if wrong is None:
            continue
        cells = [
            f"**{cell}**" if q == wrong.question else cell
            for q, cell in zip(names, _cells(assignment, row), strict=True)
        ]
        caught = ", ".join(f"`{check}`" for check in row.lost.get(wrong.question, ()))
        what = wrong.misconception.replace("|", "\\|")
        signs = ["yes" if row.seen(wrong.question) else "no", "shown" if row.hint else "no"]
        lines.append(
            f"| `{row.name}` | {what} | {' | '.join(cells)} | {caught or '**nothing**'} | {' | '.join(signs)} |"
        )
    return "\n".join([*lines, ""])


# in this process


def run(
    assignment: Assignment,
    files: Mapping[str, str],
    check: Check,
    student: str = STUDENT,
    others: Callable = dict,
    record: bool = False,
) -> Trial | str:
    """One check of one solution of the staff, in this process: the Trial, or the fault."""
    rng = draws(KEY, student, assignment.id, check.question, check.name)
    engines = assignment.engines
    loaded: dict[str, Any] = {}

    def engine(solution: str, adapter: str) -> Any:
        if solution not in loaded:
            loaded[solution] = load(engines[solution], given=assignment.given)
        return getattr(loaded[solution], adapter)

    trial = None
    try:
        call = Direct(load(files, given=assignment.given), engine)
        listed = [(name, name in assignment.wrongs) for name in engines]
        trial = Trial(call, Direct(assignment.oracle), rng, others, listed)
        trial.recording = record
        with limited(check.seconds):
            check.run(trial)
        return trial
    except (Wrong, TooLong) as wrong:
        return trial if record and trial is not None else str(wrong) or "it takes too long"
    except Exception as error:
        words = f"the result does not have the required form ({type(error).__name__}: {error})"
        return trial if record and trial is not None else words


def hints(assignment: Assignment, check: Check, student: str = STUDENT) -> dict[str, tuple[str, list]]:
    """The results of each wrong solution of a question at the comparisons of a check."""
    found = {}
    for name, wrong in assignment.wrongs.items():
        if wrong.question == check.question:
            trial = run(assignment, assignment.wrong_files(name), check, student, record=True)
            if isinstance(trial, Trial):
                found[name] = (wrong.hint, trial.seen)
    return found


class Bench:
    """An assignment whose solutions run in this process."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.known: dict[str, Any] = {}

    def others(self, check: Check) -> dict[str, tuple[str, list]]:
        place = f"{check.question} {check.name}"
        if place not in self.known:
            self.known[place] = hints(self.assignment, check)
        return self.known[place]

    def row(self, name: str, files: Mapping[str, str], hinted: bool = True, brief: bool = False) -> Row:
        """One solution.   brief: for its own question run only checks until one fails, for others only visible ones."""
        lost: dict[str, dict[str, str]] = {}
        wrong = self.assignment.wrongs.get(name) if brief else None
        may = self.assignment.dependents(wrong.question) | set(wrong.also) if wrong else set()
        for check in self.assignment.checks:
            unpaid = check.name in self.assignment.questions[check.question].unpaid
            if wrong and (
                unpaid or check.question in lost or (check.question != wrong.question and check.question in may)
            ):
                continue
            if wrong and check.question != wrong.question and check.hidden:
                continue
            known = (lambda check=check: self.others(check)) if hinted else dict
            result = run(self.assignment, files, check, others=known)
            if isinstance(result, str):
                lost.setdefault(check.question, {})[check.name] = result
        return _row(self.assignment, name, lost)


def main(argv: Sequence[str]) -> int:
    """For authors of an assignment. Returns 1 if a line is not ok."""
    words = [word for word in argv if word != "-v"]
    known = assignments()
    if not words or words[0] not in known:
        raise CourseError(f"name an assignment: {', '.join(known)}")
    assignment, only, bad = known[words[0]], words[1:], 0
    bench = Bench(assignment)
    for name, files in solutions(assignment).items():
        if only and name not in only:
            continue
        row = bench.row(name, files)
        bad += bool(row.fault)
        print(table(assignment, [row]), flush=True)
        if "-v" in argv or row.fault:
            for question, checks in row.lost.items():
                for check, text in checks.items():
                    print(f"        {question} {check}: {text}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
