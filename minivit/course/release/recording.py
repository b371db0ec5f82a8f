"""Records the results that visible checks compare with: the reference's, and those of wrong solutions, with hints."""

import contextlib
from collections.abc import Mapping
from typing import Any

from minivit.course.assignment import Assignment, Check, CourseError, draws
from minivit.course.solution import TooLong, limited, load
from minivit.course.student.replay import NOTHING, Drawing, Noting, pack
from minivit.course.student.trial import Direct, Trial, Wrong, close

__all__ = ["expected"]

VISIBLE = b"visible"  # in place of a key: what students see is the same in every course


def _one(assignment: Assignment, check: Check) -> dict[str, Any]:
    """A check's draws, what the reference gives, and what the wrong solutions of its question give."""
    words = (assignment.id, check.question, check.name)
    drawing, noting = Drawing(draws(VISIBLE, *words)), Noting(Direct(assignment.oracle))
    try:
        master = Direct(load(assignment.master, given=assignment.given))
        trial = Trial(master, noting, drawing)  # type: ignore[arg-type]
        with limited(3 * check.seconds):
            check.run(trial)
    except (Exception, TooLong) as error:
        said = str(error) if isinstance(error, Wrong) else f"{type(error).__name__} {error}".strip()
        raise CourseError(
            f"{assignment.id}: the reference fails the visible check {check.question} {check.name}: {said}"
        ) from error
    others = []
    for name, mistake in assignment.wrongs.items():
        if mistake.question != check.question or mistake.engine:
            continue
        seen = _seen(assignment, assignment.wrong_files(name), check, words)
        told = [_told(got, trial.seen, place) for place, got in enumerate(seen)]
        if any(got is not NOTHING for got in told):
            others.append([mistake.hint, told])
    return {"drawn": drawing.drawn, "reference": noting.noted, "others": others}


def _told(got: Any, right: list[Any], place: int) -> Any:
    """What a wrong solution gave at a comparison, or NOTHING if the right one gives the same, or a mere yes or no."""
    alike = isinstance(got, bool) or (place < len(right) and close(got, right[place], 1e-7, 1e-14) is None)
    return NOTHING if alike else got


def _seen(assignment: Assignment, files: Mapping[str, str], check: Check, words: tuple[str, ...]) -> list[Any]:
    """What a wrong solution gave at each comparison, until it failed in another way."""
    seen: list[Any] = []
    with contextlib.suppress(Exception, TooLong), limited(3 * check.seconds):
        solution = Direct(load(files, given=assignment.given))
        trial = Trial(solution, Direct(assignment.oracle), draws(VISIBLE, *words))
        trial.recording, seen = True, trial.seen
        check.run(trial)
    return seen


def expected(assignment: Assignment) -> bytes:
    """expected.npz: question -> visible check -> its record. Raises CourseError if the reference fails a visible
    check."""
    records: dict[str, Any] = {question: {} for question in assignment.questions}
    for check in assignment.checks:
        if not check.hidden:
            records[check.question][check.name] = _one(assignment, check)
    return pack(records)
