"""An exercise, and the verdict on an answer: right, not yet right with the reason, or not answered yet.

A judge takes an answer and returns None if it is right, otherwise the fault in a sentence or two; it may also raise
`Wrong` with that sentence. `minivit.lessons.judges` makes most judges.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

Judge = Callable[[Any], str | None]


class Unanswered(Exception):
    """The answer's function still returns None or Ellipsis, or raises NotImplementedError."""


class Wrong(Exception):
    """The answer is not right; the message says why."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """id: number of the notebook and of the exercise, "7.2".   judge: see above.   lesson: what to take away."""

    id: str
    judge: Judge
    lesson: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """right: True, False, or None for an exercise that is not answered yet.   text: the reason, or the lesson."""

    id: str
    right: bool | None
    text: str

    @property
    def headline(self) -> str:
        """The verdict in three words or fewer."""
        return {True: "right", False: "not yet right", None: "not answered yet"}[self.right]

    def __repr__(self) -> str:
        return f"Exercise {self.id}: {self.headline}. {self.text}".rstrip()

    def _repr_markdown_(self) -> str:
        sign = {True: "✅", False: "❌", None: "✏️"}[self.right]
        return f"{sign} **Exercise {self.id}: {self.headline}.** {_plain(self.text)}".rstrip()


def _plain(text: str) -> str:
    """Text as Markdown in which only `code` is markup: an answer's own words may contain anything, such as <lambda>."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([\\<>&*_$`\[\]])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def judged(exercise: Exercise, answer: Any) -> Verdict:
    """The verdict on an answer; None and Ellipsis are no answer."""
    if answer is None or answer is ...:
        return Verdict(exercise.id, None, "")
    try:
        fault = exercise.judge(answer)
    except Unanswered:
        return Verdict(exercise.id, None, "")
    except Wrong as wrong:
        fault = str(wrong)
    except Exception as error:
        fault = f"It cannot be judged: {type(error).__name__}: {error}. Is it of the kind that the exercise asks for?"
    return Verdict(exercise.id, fault is None, exercise.lesson if fault is None else fault)
