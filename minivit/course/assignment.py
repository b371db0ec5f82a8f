"""An assignment in its folder: its questions, its checks, its right and wrong solutions."""

import hashlib
import hmac
import re
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minivit.course.solution import load
from minivit.errors import MinivitError

__all__ = ["Assignment", "Check", "CourseError", "Question", "WrongSolution", "assignments", "draws"]

FOLDER = Path("notebooks", "assignments")


def home(package: Path) -> Path:
    """The folder of the assignments: beside the package in a clone; for an installed package, below the working
    folder."""
    beside = package.parent / FOLDER
    return beside if beside.is_dir() else FOLDER


ROOT = home(Path(__file__).resolve().parents[1])
REGION = re.compile(r"^([ \t]*)# BEGIN SOLUTION (\w+)\n(.*?)^[ \t]*# END SOLUTION\n", re.M | re.S)


class CourseError(MinivitError):
    """An assignment, a key or a submission cannot be used; the message is one line."""


@dataclass(frozen=True)
class Question:
    """A code question.   after: questions on which a right answer depends.   unpaid: visible checks give no points."""

    id: str
    points: float
    title: str
    after: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    unpaid: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)  # check -> CPU seconds, where not 10
    calls: int = 2000  # that a function of the students may make of one engine


@dataclass(frozen=True)
class WrongSolution:
    """The master solution with one mistake.

    question: the question that it must fail.   also: further questions that it may fail, besides dependent ones.
    """

    name: str
    question: str
    misconception: str
    hint: str
    file: str
    old: str
    new: str
    also: tuple[str, ...] = ()
    engine: bool = False  # one of those that the students' own tests have to find


@dataclass(frozen=True)
class Check:
    """One check of a question.   run: a function of a Trial."""

    question: str
    name: str
    run: Callable
    seconds: float

    @property
    def hidden(self) -> bool:
        return self.name.startswith("h_")


@dataclass(frozen=True)
class Assignment:
    """A folder of notebooks/assignments.   Raises CourseError for an incomplete one."""

    folder: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        """The contents of assignment.toml."""
        return tomllib.loads((self.folder / "assignment.toml").read_text(encoding="utf-8"))

    @property
    def id(self) -> str:
        return self.about["id"]

    @cached_property
    def questions(self) -> dict[str, Question]:
        lists = ("after", "adapters", "unpaid")
        rows: list[dict[str, Any]] = self.about.get("questions", [])
        rows = [{k: tuple(v) if k in lists else v for k, v in row.items()} for row in rows]
        return {row["id"]: Question(**row) for row in rows}

    @cached_property
    def checks(self) -> list[Check]:
        """Of visible.py and hidden.py, by question."""
        found = []
        files = ("visible", "hidden")
        texts = {f"{file}.py": (self.folder / f"{file}.py").read_text(encoding="utf-8") for file in files}
        for file in files:  # what is hidden may import from what is visible
            for name, run in vars(load(texts, file)).items():
                match = re.fullmatch(rf"(q\d+)_({file[0]}_\w+)", name)
                if match:
                    question, check = match.groups()
                    found.append(Check(question, check, run, self.questions[question].seconds.get(check, 10.0)))
        return sorted(found, key=lambda check: list(self.questions).index(check.question))

    @cached_property
    def master(self) -> dict[str, str]:
        """The files of the master solution: name -> text."""
        return {path.name: path.read_text(encoding="utf-8") for path in sorted((self.folder / "master").glob("*.py"))}

    @cached_property
    def stub(self) -> dict[str, str]:
        """The files that students start with: every region between BEGIN SOLUTION and END SOLUTION is left open."""
        return {name: REGION.sub(r'\1raise NotImplementedError("\2")\n', text) for name, text in self.master.items()}

    @cached_property
    def rights(self) -> dict[str, dict[str, str]]:
        """Further right solutions, each a single file: name -> its files."""
        paths = sorted((self.folder / "right").glob("*.py"))
        return {path.stem: {"adapters.py": path.read_text(encoding="utf-8")} for path in paths}

    @cached_property
    def wrongs(self) -> dict[str, WrongSolution]:
        text = (self.folder / "wrong.toml").read_text(encoding="utf-8")
        rows = tomllib.loads(text).get("wrong", [])
        return {row["name"]: WrongSolution(**{**row, "also": tuple(row.get("also", ()))}) for row in rows}

    def wrong_files(self, name: str) -> dict[str, str]:
        """The files of a wrong solution. CourseError unless its edit fits the master solution at exactly one place."""
        wrong = self.wrongs[name]
        text = self.master[wrong.file]
        count = text.count(wrong.old)
        if count != 1:
            raise CourseError(f"{self.folder.name}: {name} changes {count} places of {wrong.file}, not one")
        return {**self.master, wrong.file: text.replace(wrong.old, wrong.new)}

    @property
    def engines(self) -> dict[str, dict[str, str]]:
        """The solutions on which students' own tests are tried, right and wrong ones: name -> files."""
        wrong = {name: self.wrong_files(name) for name, wrong in self.wrongs.items() if wrong.engine}
        return {"master": self.master, **self.rights, **wrong}

    @cached_property
    def oracle(self) -> types.ModuleType:
        """The reference: adapters made of minivit's own functions."""
        return load({"oracle.py": (self.folder / "oracle.py").read_text(encoding="utf-8")}, "oracle")

    @cached_property
    def given(self) -> dict[str, Any]:
        """The adapters of earlier assignments, from the master solutions: the contents of `given`."""
        found: dict[str, Any] = {}
        for earlier in self.earlier():
            module = load(earlier.master, given=earlier.given)
            names = [name for question in earlier.questions.values() for name in question.adapters]
            found.update({name: getattr(module, name) for name in names if name != "find_bugs"})
        return found

    def earlier(self) -> Iterator["Assignment"]:
        """The assignments whose adapters are given, in order."""
        by_id = {other.id: other for other in assignments(self.folder.parent).values()}
        return (by_id[name] for name in self.about.get("given", []))

    def dependents(self, question: str) -> set[str]:
        """The question and all that depend on it."""
        found = {question}
        while more := {q.id for q in self.questions.values() if found & set(q.after)} - found:
            found |= more
        return found


def assignments(root: Path = ROOT) -> dict[str, Assignment]:
    """All assignments: name of the folder -> Assignment."""
    return {path.parent.name: Assignment(path.parent) for path in sorted(root.glob("*/assignment.toml"))}


def draws(key: bytes, *words: str) -> np.random.Generator:
    """The generator of a check: a function of the course's key and of words such as student, question and check."""
    digest = hmac.new(key, "|".join(words).encode(), hashlib.sha256).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
