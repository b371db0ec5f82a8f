"""The output folder of grading: results, feedback, answers, grades.csv, written.csv, overview.html."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivit.course.assignment import Assignment, CourseError
from minivit.course.classroom import answers, feedback, gradebook, overview
from minivit.course.classroom.pool import Job, Marking, write
from minivit.files import locks

__all__ = ["Outcome", "finish", "place"]


@dataclass
class Outcome:
    """A class and its results so far.   of: points of written questions.   marks: points already given, by student."""

    folder: Path
    jobs: Sequence[Job]
    of: Mapping[str, float]
    marks: Mapping[tuple[str, str], Mapping[str, float]]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the name of their files
    strangers: list[str] = field(default_factory=list)  # results of others in the folder

    @property
    def people(self) -> list[tuple[str, str]]:
        """Student and id of each submission."""
        return [(job.submission.student, job.submission.id) for job in self.jobs]

    def path(self, job: Job) -> Path:
        """The file of a result."""
        return self.folder / "results" / f"{job.submission.name}.json"


@contextlib.contextmanager
def place(folder: Path) -> Iterator[None]:
    """In this context the folder exists and nobody else grades into it. Raises CourseError if that is impossible."""
    with contextlib.ExitStack() as stack:
        try:
            for name in ("results", "feedback"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            stack.enter_context(locks.lock(folder / "lock"))
        except locks.HeldError as error:
            raise CourseError(f"{folder} is in use: {error} is grading into it; wait, or stop it first") from None
        except OSError as error:
            raise CourseError(f"cannot write into {folder}: {error.strerror or error}") from None
        yield


def finish(outcome: Outcome, marking: Marking) -> None:
    """Write everything that follows from the results."""
    ordered = []
    for job in outcome.jobs:
        name, one = job.submission.name, job.submission
        of = {row["id"]: row["points"] for row in marking.variants[job.assignment].about.get("written", [])}
        result = gradebook.merged(outcome.results[name], outcome.marks.get((one.student, one.id), {}), of)
        if result != outcome.results[name]:
            write(outcome.path(job), result)
            outcome.results[name] = result
        gradebook.save_if_other(
            outcome.folder / "feedback" / f"{name}.html", feedback.page_of(result, marking.variants[job.assignment])
        )
        if of:
            answers.save_files(outcome.folder / "answers", name, one.files)
        ordered.append(result)
    names = [job.submission.name for job in outcome.jobs]
    variants = {
        name: one for name, one in marking.variants.items() if any(job.assignment == name for job in outcome.jobs)
    }
    outcome.strangers = sorted({path.stem for path in (outcome.folder / "results").glob("*.json")} - set(names))
    gradebook.save_if_other(outcome.folder / "overview.html", overview.page_of(ordered, variants, names))
    if outcome.of:
        _template(outcome)
        _answers(outcome, variants)
    gradebook.save_if_other(
        outcome.folder / "grades.csv", gradebook.grades(ordered, list(outcome.of), len(marking.variants) > 1)
    )


def _answers(outcome: Outcome, variants: Mapping[str, Assignment]) -> None:
    """answers.html, question by question; of A7 a page for each variant."""
    for name, one in variants.items():
        sent = [job.submission for job in outcome.jobs if job.assignment == name]
        given = [
            (f"{who.student} · {who.id}" if who.id else who.student, who.files["answers.md"].decode("utf-8", "replace"))
            for who in sent
            if "answers.md" in who.files
        ]
        file = outcome.folder / (f"answers-{name}.html" if len(variants) > 1 else "answers.html")
        title = f"{name.upper()} · {one.about.get('title', '')}"
        gradebook.save_if_other(file, answers.page_of(title, one.about.get("written", []), given))


def _template(outcome: Outcome) -> None:
    """written.csv of all students, with all points given. One that says this already stays as its author wrote it."""
    path = outcome.folder / "written.csv"
    people = outcome.people
    if gradebook.begun(path, outcome.of):
        with contextlib.suppress(CourseError):
            if gradebook.read_written(path, people, outcome.of) == {one: outcome.marks.get(one, {}) for one in people}:
                return
    gradebook.save_if_other(path, gradebook.template(people, list(outcome.of), outcome.marks))
