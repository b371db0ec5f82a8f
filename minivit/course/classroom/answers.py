"""What students have written: the files of each, and a page that holds all answers to one question side by side."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minivit.course.classroom.gradebook import save_if_other
from minivit.course.classroom.pages import page, points, text

__all__ = ["page_of", "parts", "save_files"]


def save_files(folder: Path, name: str, files: Mapping[str, bytes]) -> None:
    """answers.md as NAME.md, other files in a folder NAME. Code is not among them."""
    for file, data in files.items():
        if not file.endswith(".py"):
            path = folder / f"{name}.md" if file == "answers.md" else folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            save_if_other(path, data)


def parts(answers: str, names: Sequence[str]) -> dict[str, str]:
    """The answer to each question, by the headings of answers.md. What stands elsewhere is under the name ""."""
    found = dict.fromkeys(names, "")
    found[""], now = "", ""
    for line in answers.splitlines():
        head = re.match(r"#+\s*(\w+)", line)
        if head and head[1].lower() in names:
            now = head[1].lower()
        elif not (now == "" and line.startswith("# ")):  # the title of the page
            found[now] += line + "\n"
    return {name: answer.strip() for name, answer in found.items()}


def page_of(title: str, written: Sequence[Mapping[str, Any]], answers: Sequence[tuple[str, str]]) -> bytes:
    """The page of all answers.   written: the questions.   answers: of each student, the name and their answers.md."""
    names = [question["id"] for question in written]
    split = [(student, parts(answer, names)) for student, answer in answers]
    body = [f"<h1>{text(title)}: written answers</h1>"]
    for question in written:
        heading = f"{question['id']} · {question.get('title', '')} · {points(question['points'])} points"
        body += [f"<h2>{text(heading)}</h2>", *_blocks(question["id"], split)]
    if apart := [(student, found) for student, found in split if not any(found[name] for name in names)]:
        body += ["<h2>Under none of these headings</h2>", *_blocks("", apart)]
    return page(f"{title}: written answers", body)


def _blocks(name: str, split: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    return [
        f"<p><strong>{text(student)}</strong></p><pre>{text(found[name])}</pre>"
        for student, found in split
        if found[name]
    ] or ["<p>Nobody has written anything.</p>"]
