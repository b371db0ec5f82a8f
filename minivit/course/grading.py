"""One submission, graded: every check in a child process of its own, every comparison here."""

import hashlib
from collections.abc import Mapping
from typing import Any

from minivit.course.assignment import Assignment, Check, CourseError, Question, draws
from minivit.course.solution import load
from minivit.course.trial import Direct, Trial, Wrong

__all__ = ["check_environment", "grade"]

VISIBLE = 4 / 9  # of a question's points


def shares(question: Question, checks: list[Check]) -> dict[str, float]:
    """The points of each check of a question. Without paid visible checks the hidden ones have all, and the reverse."""
    visible = [check.name for check in checks if not check.hidden and check.name not in question.unpaid]
    hidden = [check.name for check in checks if check.hidden and check.name not in question.unpaid]
    part = (VISIBLE if hidden else 1.0) if visible else 0.0
    points = {check.name: 0.0 for check in checks}
    points.update({name: question.points * part / len(visible) for name in visible})
    points.update({name: question.points * (1 - part) / len(hidden) for name in hidden})
    return points


def grade(
    assignment: Assignment,
    files: Mapping[str, bytes],
    student: str,
    key: bytes,
    *,
    base: str = "reference",
    written: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What a submission has reached.   files: path in the submission -> bytes.   written: points given by hand, by written question."""
    texts = {name: data.decode("utf-8-sig") for name, data in files.items() if name.endswith(".py")}
    questions: dict[str, Any] = {}
    for question in assignment.questions.values():
        checks = [check for check in assignment.checks if check.question == question.id]
        paid, words, points = shares(question, checks), {}, 0.0
        for check in checks:
            rng = draws(key, student, assignment.id, check.question, check.name)
            try:
                trial = Trial(Direct(load(texts, given=assignment.given)), Direct(assignment.oracle), rng)
                check.run(trial)
                words[check.name], share = "passed", trial.fraction
            except Wrong as wrong:
                words[check.name], share = str(wrong), 0.0
            points += share * paid[check.name]
        questions[question.id] = {"points": round(points, 4), "of": question.points, "checks": words}
    return {"assignment": assignment.id, "total": total(questions, {}), "questions": questions}


def total(questions: Mapping[str, Any], written: Mapping[str, Any]) -> float:
    """Percent of the points graded so far."""
    rows = [*questions.values(), *written.values()]
    of = sum(row["of"] for row in rows)
    return round(100 * sum(row["points"] for row in rows) / of, 2) if of else 0.0


def check_environment(assignment: Assignment) -> None:
    """CourseError unless the master solution reaches all points here."""
    files = {name: text.encode() for name, text in assignment.master.items()}
    result = grade(assignment, files, "reference", hashlib.sha256(assignment.id.encode()).digest())
    if result["total"] != 100:
        raise CourseError(f"environment broken: the reference reaches {result['total']} percent in {assignment.id}")
