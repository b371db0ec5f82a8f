"""`python -m minivit.course grade`: its options, its progress, and its summary."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minivit import cli
from minivit.course import catalogue, grading
from minivit.course.assignment import Assignment, CourseError
from minivit.course.classroom import gradebook
from minivit.course.classroom.collection import Outcome, finish, place
from minivit.course.classroom.pool import Job, Marking, fingerprint, graded, saved, unread, write
from minivit.course.classroom.submissions import Submission, collect
from minivit.course.release.archives import course_key
from minivit.errors import meant, shown

__all__ = ["grade"]

EXAMPLES = """examples:
  python -m minivit.course grade a3 submissions --key course.key --out graded/a3
  python -m minivit.course grade a3 submissions.zip --key course.key --out graded/a3 --written graded/a3/written.csv
  python -m minivit.course grade a7 submissions --key course.key --out graded/a7 --variant mae"""


def grade(argv: Sequence[str]) -> int:
    """Grade a class and return the exit status."""
    options = _grade_parser().parse_args(argv)
    variants = _variants(options)
    source, out = options.submissions, options.out
    key, _ = course_key(options.key, [source, out])
    marking = Marking(variants, key, options.base)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise CourseError(f"{out} lies among the submissions: choose another folder for --out")
    submissions, aside = collect(source, catalogue.wanted(variants.values(), options.base))
    if aside:
        print(f"ignored, because they belong to no student: {shown(', '.join(aside), 300)}")
    jobs = [_job(one, marking) for one in submissions]
    of = {row["id"]: float(row["points"]) for one in variants.values() for row in one.about.get("written", [])}
    people = [(one.student, one.id) for one in submissions]
    marks = _marks(options, people, of)
    again = _again(options.again or [], submissions)
    with place(out):
        _only_of(out, options.assignment, variants)
        outcome = Outcome(out, jobs, of, marks)
        for job in jobs:
            known = None if job.submission.name in again else saved(outcome.path(job), job)
            if known is None and "adapters.py" not in job.submission.files:
                known = unread(job, marking)
                write(outcome.path(job), known)
            if known is not None:
                outcome.results[job.submission.name] = known
        old = [job for job in jobs if job.submission.name not in (*outcome.results, *again)]
        if changed := sum(outcome.path(job).exists() for job in old):
            print(f"graded again, because submission, key, assignment or version changed: {changed}")
        return _run(outcome, marking, options.jobs)


def _grade_parser() -> cli.Parser:
    made = catalogue.parser(
        "grade",
        "ASSIGNMENT SUBMISSIONS --key FILE --out DIR [options]",
        description="Grade a class. If it is stopped, start it again: it continues where it was.",
        epilog=EXAMPLES,
    )
    add = made.add_argument
    add("assignment", metavar="ASSIGNMENT", help="a3, a3_attention, or its folder; a7 for all its variants")
    help_of = "a folder or a zip of folders, zips and .py files, one a student, named by Moodle, Canvas, Blackboard, "
    add("submissions", type=cli.path, metavar="SUBMISSIONS", help=f"{help_of}Gradescope, or plainly")
    add("--key", type=cli.path, required=True, metavar="FILE", help="the course's key, made by `release`")
    add(
        "--out", type=cli.path, required=True, metavar="DIR", help="for results, feedback, grades.csv and overview.html"
    )
    add("--jobs", type=cli.positive, default=2, metavar="N", help="submissions graded at the same time (default: 2)")
    add(
        "--base", choices=("reference", "own"), default="reference", help="contents of `given` (default: the reference)"
    )
    add("--variant", metavar="NAME", help="of a7: mae, dino, ... (default: by the functions in each adapters.py)")
    add(
        "--written",
        type=cli.path,
        metavar="FILE.csv",
        help="points given by hand, added to those in the written.csv of DIR",
    )
    add("--again", action="append", metavar="NAME", help="grade this student again; `all` for all")
    return made


def _variants(options: Any) -> dict[str, Assignment]:
    found = {one.id: one for one in catalogue.named(options.assignment, options.assignments)}
    if options.variant:
        word = options.variant.lower()
        fitting = {name: one for name, one in found.items() if word in (name.lower(), name.lower().rpartition("-")[2])}
        if not fitting:
            names = [name.rpartition("-")[2] for name in found]
            near = meant(word, names) or f"; there are {', '.join(names)}"
            raise CourseError(f'{options.assignment} has no variant "{shown(options.variant)}"{near}')
        return fitting
    return found


def _job(submission: Submission, marking: Marking) -> Job:
    """The job for a submission, by its variant."""
    variants = dict(marking.variants)
    assignment, remark = next(iter(variants)), ""
    if len(variants) > 1:
        assignment, remark = catalogue.variant_of(submission.files.get("adapters.py", b""), variants)
    if remark and submission.files:
        submission = Submission(
            submission.student, submission.id, submission.name, submission.files, (*submission.remarks, remark)
        )
    return Job(submission, assignment, fingerprint(marking, assignment, submission))


def _marks(options: Any, people: Sequence[tuple[str, str]], of: dict[str, float]) -> dict:
    """Points given by hand, by student: those in the folder's own written.csv, and those of --written over them."""
    own = options.out / "written.csv"
    files = [own] if gradebook.begun(own, of) else []
    if options.written and not (files and options.written.exists() and options.written.samefile(own)):
        files.append(options.written)
    marks: dict[tuple[str, str], dict[str, float]] = {}
    for file in files:
        for person, given in gradebook.read_written(file, people, of).items():
            marks[person] = {**marks.get(person, {}), **given}
    return marks


def _only_of(out: Path, word: str, variants: Mapping[str, Assignment]) -> None:
    """CourseError if the folder holds grades of another assignment, which would be lost."""
    kinds = {name.partition("-")[0] for name in variants}
    for path in sorted((out / "results").glob("*.json")):
        try:
            other = json.loads(path.read_bytes()).get("assignment", "")
        except (OSError, ValueError, AttributeError):
            continue
        if other and other.partition("-")[0] not in kinds:
            raise CourseError(
                f"{out} holds grades of {shown(other)}: choose another folder for {shown(word)}, with --out"
            )


def _again(wanted: Sequence[str], submissions: Sequence[Submission]) -> set[str]:
    """Names of the files of those who are graded again."""
    if "all" in wanted:
        return {one.name for one in submissions}
    found = set()
    for text in wanted:
        names = {one.name for one in submissions if text in (one.name, one.student, one.id)}
        if not names:
            near = meant(text, [name for one in submissions for name in (one.student, one.name)])
            raise CourseError(f'--again: there is no student "{shown(text)}"{near}')
        found |= names
    return found


def _run(outcome: Outcome, marking: Marking, processes: int) -> int:
    """Grade what is left, write everything, say it."""
    todo = [job for job in outcome.jobs if job.submission.name not in outcome.results]
    done_before = sum("adapters.py" in job.submission.files for job in outcome.jobs) - len(todo)
    if done_before:
        print(f"{done_before} of {done_before + len(todo)} are done already")
    try:
        if todo:
            for name in sorted({job.assignment for job in todo}):
                _check_environment(marking.variants[name])
            for job, result in _with_progress(graded(todo, marking, processes), len(todo)):
                outcome.results[job.submission.name] = result
                if not result.get("failed"):
                    write(outcome.path(job), result)
    except KeyboardInterrupt:
        done = len(outcome.results)
        raise KeyboardInterrupt(
            f"interrupted: {done} of {len(outcome.jobs)} are graded; the same command continues"
        ) from None
    finish(outcome, marking)
    return _say(outcome)


def _check_environment(assignment: Assignment) -> None:
    print(f"first the reference of {assignment.id} is graded", flush=True)
    grading.check_environment(assignment)


def _with_progress(results: Iterator[Any], count: int) -> Iterator[Any]:
    """The results, with a bar on a terminal, or else a line every half a minute."""
    start = said = time.monotonic()
    with cli.progress_bar(total=count, unit="submission", leave=False) as bar:
        for done, one in enumerate(results, 1):
            yield one
            bar.update()
            now = time.monotonic()
            if bar.disable and now - said > 30 and done < count:
                said = now
                left = (now - start) / done * (count - done)
                print(f"graded {done} of {count}, about {max(1, round(left / 60))} min left", flush=True)


def _say(outcome: Outcome) -> int:
    results = [outcome.results[job.submission.name] for job in outcome.jobs]
    totals = [result["total"] for result in results if result["total"] is not None]
    mean = f"; mean {sum(totals) / len(totals):.1f} %" if totals else ""
    noted = sum(bool(result["remarks"]) for result in results)
    print(f"{len(totals)} graded{mean}{f'; {noted} with remarks' if noted else ''}")
    if outcome.strangers:
        print(f"of nobody in this class, and left as they are: {shown(', '.join(outcome.strangers), 300)}")
    unread = sum(not set(outcome.of) <= set(outcome.marks.get(one, {})) for one in outcome.people)
    if outcome.of and unread:
        table = outcome.folder / "written.csv"
        print(f"written questions of {unread} are not graded: fill in {table}, and give the same command again")
    grades, overview, feedback = (outcome.folder / name for name in ("grades.csv", "overview.html", "feedback"))
    print(f"{grades}, {overview}, a page each in {feedback}")
    if failed := [result["student"] for result in results if result.get("failed")]:
        print(f"the grader failed on {shown(', '.join(failed), 300)}: the same command tries again")
        return 1
    return 0
