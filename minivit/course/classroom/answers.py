"""The students' written answers: files for each student, and a page with all answers to a question side by side."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minivit.course.classroom.gradebook import save_if_other
from minivit.course.classroom.pages import page, points, text
from minivit.course.release.handouts import WHERE
from minivit.course.student.packing import STATEMENT

__all__ = ["page_of", "parts", "save_files"]


def save_files(folder: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Save answers.md as NAME.md and other files in a folder NAME, without code."""
    for file, data in files.items():
        if not file.endswith(".py"):
            path = folder / f"{name}.md" if file == "answers.md" else folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            save_if_other(path, data)


def parts(answers: str, names: Sequence[str]) -> dict[str, str]:
    """The answer to each question, by the headings of answers.md. Text elsewhere has the name ""."""
    found = dict.fromkeys(names, "")
    found[""], now = "", ""
    for line in re.sub(r"(?s)<!--.*?-->", "", answers).splitlines():  # comments of the template
        head = re.match(r"#+\s*(\w+)", line)
        if head and head[1].lower() in names:
            now = head[1].lower()
        elif head and line.strip("# ") == STATEMENT:
            now = ""
        elif now or not (line.startswith("# ") or line.strip() == WHERE):  # a title, and the words of the handout
            found[now] += line + "\n"
    return {name: answer.strip() for name, answer in found.items()}


def page_of(title: str, written: Sequence[Mapping[str, Any]], answers: Sequence[tuple[str, str]]) -> bytes:
    """The page of all answers.   written: the questions.   answers: for each student, the name and the text of
    answers.md."""
    names = [question["id"] for question in written]
    split = [(student, parts(answer, names)) for student, answer in answers]
    body = [f"<h1>{text(title)}: written answers</h1>"]
    for question in written:
        heading = f"{question['id']} · {question.get('title', '')} · {points(question['points'])} points"
        body += [f"<h2>{text(heading)}</h2>", *_blocks(question["id"], split)]
    if any(found[""] for _, found in split):
        body += ["<h2>Under none of these headings</h2>", *_blocks("", split)]
    return page(f"{title}: written answers", body)


def _blocks(name: str, split: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    """The answers of all students to a question, in full."""
    shown = [(student, found[name]) for student, found in split if found[name]]
    told = [
        f'<p><strong>{text(student)}</strong></p><pre style="max-height: none">{text(answer)}</pre>'
        for student, answer in shown
    ]
    return told or ["<p>Nobody has written anything.</p>"]
