"""Tables of a class: grades.csv, and the points for written questions that graders enter into written.csv."""

import contextlib
import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from minivit.course.assignment import CourseError
from minivit.course.classroom.pages import points as number
from minivit.course.grading import total
from minivit.errors import meant, shown
from minivit.files import locks

__all__ = ["begun", "harmless", "merged", "read_written", "save", "save_if_other", "table", "template"]

Person = tuple[str, str]  # student, id


def harmless(cell: str) -> str:
    """A cell that no spreadsheet reads as a formula."""
    return f"'{cell}" if cell.lstrip()[:1] in ("=", "+", "-", "@") or cell[:1] in ("\t", "\r") else cell


def table(rows: Sequence[Sequence[str]]) -> bytes:
    """A table as CSV. If it is not pure ASCII, it begins with a mark by which Excel recognises UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([harmless(" ".join(cell.split())) for cell in row] for row in rows)
    written = text.getvalue()
    return written.encode("utf-8" if written.isascii() else "utf-8-sig")


def save(path: Path, data: bytes) -> None:
    """The file with this content, whole or not at all."""
    with locks.replacing(path) as partial:
        partial.write_bytes(data)


def save_if_other(path: Path, data: bytes) -> None:
    """The same, if the file's content differs."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    save(path, data)


def grades(results: Sequence[Mapping[str, Any]], written: Collection[str], variants: bool) -> bytes:
    """grades.csv of the results, in their order.   written: written questions.   variants: whether these differ."""
    questions = sorted({name for result in results for name in result["questions"]}, key=lambda q: (len(q), q))
    rows = [["student", "id", *(["assignment"] if variants else []), *questions, *written, "total", "remarks"]]
    for result in results:
        points = {**result["questions"], **result.get("written", {})}
        cells = [number(points[name]["points"]) if name in points else "" for name in (*questions, *written)]
        sum_up = "" if result["total"] is None else number(result["total"])
        kind = [result["assignment"]] if variants else []
        rows.append([result["student"], result["id"], *kind, *cells, sum_up, " ".join(result["remarks"])])
    return table(rows)


def template(people: Sequence[Person], written: Collection[str], marks: Mapping[Person, Mapping[str, float]]) -> bytes:
    """written.csv, ready to be filled in, with the points given so far."""
    given = [[number(marks[one][name]) if name in marks.get(one, {}) else "" for name in written] for one in people]
    return table([["student", "id", *written], *([*one, *cells] for one, cells in zip(people, given, strict=True))])


def merged(result: Mapping[str, Any], given: Mapping[str, float], of: Mapping[str, float]) -> dict[str, Any]:
    """A result with points for written questions.   given: question -> points.   of: question -> most points."""
    marks = {name: {"points": given[name], "of": of[name]} for name in of if name in given}
    if result["total"] is None:
        return dict(result)
    kept = {name: value for name, value in result.items() if name != "written"}
    return {**kept, "total": total(result["questions"], marks), **({"written": marks} if marks else {})}


def read_written(path: Path, people: Collection[Person], of: Mapping[str, float]) -> dict[Person, dict[str, float]]:
    """The points in a written.csv: (student, id) -> question -> points. An empty cell means not marked yet.

    Accepts the output of spreadsheets: commas, semicolons or tabs, decimal commas, UTF-8, UTF-16 or cp1252. Raises
    CourseError for an unknown student or question, and for impossible points.
    """
    if not of:
        raise CourseError(f"{path}: the assignment has no written questions")
    rows = rows_of(path)
    head = [cell.strip().casefold() for cell in rows[0]] if rows else []
    if "student" not in head or not set(head) & set(of):
        raise CourseError(f"{path}: the first line has to be student,{','.join(of)}; it is {shown(','.join(head))!r}")
    for name in head:
        if name and name not in (*of, "student", "id", "total", "remarks") and not name.startswith("q"):
            raise CourseError(f"{path}: there is no written question {shown(name)!r}{meant(name, of)}")
    found: dict[Person, dict[str, float]] = {}
    for line, row in enumerate(rows[1:], 2):
        cells = dict(zip(head, (cell.strip() for cell in row), strict=False))
        if not any(cells.values()):
            continue
        person = _person(cells, people, f"{path}, line {line}")
        if person in found:
            raise CourseError(f"{path}, line {line}: {shown(person[0])} is there twice")
        marks = {name: _points(cells[name], of[name], f"{path}, line {line}: {name}") for name in of if cells.get(name)}
        found[person] = marks
    return found


def begun(path: Path, of: Collection[str]) -> bool:
    """Whether a written.csv has any points yet."""
    if not path.exists():
        return False
    head, *rows = rows_of(path) or [[]]
    places = [i for i, name in enumerate(head) if name.strip().casefold() in of]
    return any(row[i].strip() for row in rows for i in places if i < len(row))


def rows_of(path: Path) -> list[list[str]]:
    """The rows of a table written by a spreadsheet. Raises CourseError if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CourseError(f"{path} cannot be read: {error.strerror or error}") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    lines = text.splitlines()
    if lines and lines[0].startswith("sep="):
        lines = lines[1:]
    separator = max(",;\t", key=(lines or [""])[0].count)
    return list(csv.reader(lines, delimiter=separator))


def _person(cells: Mapping[str, str], people: Collection[Person], where: str) -> Person:
    """The student whom a line of a table is about."""
    student, number = (_meant_cell(cells.get(name, "")) for name in ("student", "id"))
    found = [one for one in people if " ".join(one[0].split()) == student and number in ("", one[1])]
    if len(found) == 1:
        return found[0]
    if found:
        raise CourseError(f"{where}: there are several students {shown(student)}: give the id")
    raise CourseError(f"{where}: there is no student {shown(student)!r}{meant(student, [one[0] for one in people])}")


def _meant_cell(cell: str) -> str:
    """What a cell was before it was made harmless."""
    return cell[1:] if cell.startswith("'") and harmless(cell[1:]) != cell[1:] else cell


def _points(cell: str, most: float, where: str) -> float:
    try:
        points = float(cell.replace(",", "."))
    except ValueError:
        raise CourseError(f"{where}: {shown(cell)!r} is not a number of points") from None
    if not (math.isfinite(points) and 0 <= points <= most):
        raise CourseError(f"{where}: {shown(cell)} points, where 0 to {number(most)} can be given")
    return points
