"""Finds the known mistake behind a wrong result: the wrong solutions of a question run on the same arguments.

The wrong solutions are the staff's own, so they run in this process; one that does not end is abandoned.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from minivit.course.assignment import Assignment, Check, draws
from minivit.course.solution import TooLong, limited, load
from minivit.course.student.trial import Direct, Trial

__all__ = ["Hints"]

_endless: set[tuple[str, str, str]] = set()  # wrong solutions that ran out of time in a check once


class Hints:
    """The results of a question's wrong solutions in a check, computed one by one on demand.

    likely: names of those recognised before, tried first.   kept: recordings of the same draws.
    """

    def __init__(
        self,
        assignment: Assignment,
        check: Check,
        student: str,
        key: bytes,
        likely: Sequence[str] = (),
        kept: dict | None = None,
    ) -> None:
        self.assignment, self.check, self.student, self.key = assignment, check, student, key
        self.likely, self.kept = likely, {} if kept is None else kept
        self.reference: Callable = Direct(assignment.oracle)

    def __call__(self) -> "Hints":
        return self

    def items(self) -> Iterator[tuple[str, tuple[str, Sequence[Any]]]]:
        wrongs = [wrong for wrong in self.assignment.wrongs.values() if wrong.question == self.check.question]
        for wrong in sorted(wrongs, key=lambda wrong: wrong.name not in self.likely):
            place = (self.check.question, self.check.name, wrong.name)
            if place not in self.kept:
                self.kept[place] = self._seen(wrong.name)
            yield wrong.name, (wrong.hint, self.kept[place])

    def _seen(self, name: str) -> list[Any]:
        """What a wrong solution gives at each comparison; nothing if it takes too long."""
        place = (str(self.assignment.folder), name, self.check.name)
        if place in _endless:
            return []
        files = self.assignment.wrong_files(name)
        seconds = max(2.0, 0.5 * self.check.seconds)
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
            return []
        trial = self._trial(files)
        try:
            with limited(seconds):
                self.check.run(trial)
        except TooLong:
            _endless.add(place)
            return []
        except Exception:  # it cannot go on: what it gave before can be recognised
            pass
        return trial.seen

    def _trial(self, files: Mapping[str, str]) -> Trial:
        words = (self.student, self.assignment.id, self.check.question, self.check.name)
        trial = Trial(_Late(files, self.assignment), self.reference, draws(self.key, *words))
        trial.recording = True
        return trial


class _Late:
    """Adapters of the staff that are loaded at the first call, in this process."""

    def __init__(self, files: Mapping[str, str], assignment: Assignment) -> None:
        self.files, self.assignment = files, assignment
        self.direct: Direct | None = None

    def __call__(self, name: str, args: tuple) -> Any:
        if self.direct is None:
            self.direct = Direct(load(self.files, given=self.assignment.given))
        return self.direct(name, args)
