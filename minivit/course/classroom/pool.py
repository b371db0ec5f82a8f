"""Grades a class in several processes. Each result is written at once, and finished ones are not graded again."""

import contextlib
import hashlib
import hmac
import json
import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import minivit
from minivit.course import grading
from minivit.course.assignment import Assignment, CourseError
from minivit.course.classroom import feedback, gradebook
from minivit.course.classroom.submissions import Submission

__all__ = ["Job", "Marking", "fingerprint", "graded", "saved", "unread", "write"]

MOST_TRIES = 2  # processes that a submission may bring down before it is left to people


@dataclass(frozen=True)
class Marking:
    """Shared by all submissions of a class.   variants: by id; most assignments have one."""

    variants: Mapping[str, Assignment]
    key: bytes
    base: str = "reference"

    @cached_property
    def sources(self) -> dict[str, str]:
        """A hash of all files of an assignment, and of earlier ones, on which its checks may depend; by id."""
        found = {}
        for name, chosen in self.variants.items():
            folders = [one.folder for one in (chosen, *chosen.earlier())]
            paths = [
                path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".toml")
            ]
            parts = [part for path in paths for part in (path.name.encode(), path.read_bytes())]
            found[name] = _digest(b"sources", *parts)
        return found


@dataclass(frozen=True)
class Job:
    """A submission and the assignment by which it is graded.   mark: hash of everything that its result depends on."""

    submission: Submission
    assignment: str
    mark: str


def fingerprint(marking: Marking, assignment: str, submission: Submission) -> str:
    """A hash of everything that a result depends on: submission, assignment, key and version. It does not reveal the
    key."""
    about = (minivit.__version__, marking.base, marking.sources[assignment], submission.key, *submission.remarks)
    files = [part for name, data in submission.files.items() for part in (name.encode("utf-8", "surrogatepass"), data)]
    return _digest(marking.key, *(word.encode("utf-8", "surrogatepass") for word in about), *files)


def _digest(key: bytes, *parts: bytes) -> str:
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        digest.update(f"{len(part)}:".encode() + part)
    return digest.hexdigest()[:32]


def saved(path: Path, job: Job) -> dict[str, Any] | None:
    """The result of exactly this job from an earlier run, or None."""
    try:
        result = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    fits = isinstance(result, dict) and result.get("fingerprint") == job.mark
    return result if fits and isinstance(result.get("questions"), dict) else None


def described(result: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """The text of a result's file: the grader's words, and the student's name."""
    one = job.submission
    stopped = [f"No check could run: {result['unloaded']}."] if result.get("unloaded") else []
    about = {"student": one.student, "id": one.id, "remarks": [*one.remarks, *stopped], "fingerprint": job.mark}
    return {**result, **about}


def failed(job: Job, reason: str) -> dict[str, Any]:
    """Replaces a result that the grader failed to make; it is not written, so the next run tries again."""
    result: dict[str, Any] = {"assignment": job.assignment, "total": None, "questions": {}}
    remark = f"NOT GRADED, the grader failed ({reason}): grade it by hand."
    shown = described(result, job)
    return {**shown, "remarks": [remark, *shown["remarks"]], "failed": True}


def unread(job: Job, marking: Marking) -> dict[str, Any]:
    """The result of a submission without an adapters.py, which needs no grader."""
    chosen = marking.variants[job.assignment]
    questions = {
        question.id: {
            "points": 0.0,
            "of": question.points,
            "checks": {one.name: feedback.NO_ADAPTERS for one in chosen.checks if one.question == name},
        }
        for name, question in chosen.questions.items()
    }
    return described({"assignment": job.assignment, "total": 0.0, "questions": questions}, job)


def graded(jobs: Sequence[Job], marking: Marking, processes: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """The jobs with their results, as they finish. The processes end with this one, however it ends."""
    todo = [(job, 1) for job in reversed(jobs)]
    # way to a process -> the process, what it grades, how often that was tried
    busy: dict[Any, tuple[Any, Job, int]] = {}
    idle: dict[Any, Any] = {}
    try:
        while todo or busy:
            while todo and len(busy) < processes:
                way, process = idle.popitem() if idle else _started(marking)
                job, tries = todo.pop()
                busy[way] = (process, job, tries)
                with contextlib.suppress(OSError):  # if it has died, that is seen below
                    way.send((job.assignment, job.submission.files, job.submission.key))
            ready: list[Any] = wait(list(busy))
            for way in ready:
                process, job, tries = busy.pop(way)
                answer: tuple[dict[str, Any] | None, str]
                try:
                    answer = way.recv()
                except (EOFError, OSError):
                    way.close()
                    process.join()
                    if tries < MOST_TRIES:
                        todo.append((job, tries + 1))
                        continue
                    answer = None, f"its process ended with status {process.exitcode}"
                else:
                    idle[way] = process
                result, reason = answer
                if reason.startswith("environment broken"):  # it is not the submission's fault
                    raise CourseError(reason)
                yield job, failed(job, reason) if result is None else described(result, job)
    finally:
        _end({**idle, **{way: process for way, (process, _, _) in busy.items()}})


def _end(processes: Mapping[Any, Any]) -> None:
    """End processes that grade: those without work by themselves, since the way to them is closed."""
    for way in processes:
        way.close()
    for process in processes.values():
        process.join(0.5)
        if process.is_alive():
            process.terminate()
            process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def _started(marking: Marking) -> tuple[Any, Any]:
    """A process that grades, and the way to it."""
    context = multiprocessing.get_context("spawn")  # which has no open files of ours: it sees when we end
    here, there = context.Pipe()
    folders = {name: str(one.folder) for name, one in marking.variants.items()}
    process = context.Process(target=_work, args=(there, folders, marking.key, marking.base), name="minivit grade")
    with _deaf():
        process.start()
    there.close()
    return here, process


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes started here do not hear Ctrl-C: it is for the one that has started them, which then ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection: Any, folders: Mapping[str, str], key: bytes, base: str) -> None:
    """Grade what comes, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not before the student's process and folder are gone
    known = {name: Assignment(Path(folder)) for name, folder in folders.items()}
    while True:
        try:
            name, files, student = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[dict[str, Any] | None, str]
        try:
            answer = grading.grade(known[name], files, student, key, base=base, proven=True), ""
        except CourseError as error:
            answer = None, str(error)
        except Exception as error:
            answer = None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        try:
            connection.send(answer)
        except OSError:
            return


def write(path: Path, result: Mapping[str, Any]) -> None:
    """A result's file."""
    gradebook.save(path, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
