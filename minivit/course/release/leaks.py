"""Searches the files for students for answers and for traces of staff.

Code is compared as tokens, without spaces, quotes, markup and comments. So a line is also found in prose, in HTML, in a
notebook or in the strings of an .npz. Renamed or rewritten code is not found.
"""

import base64
import getpass
import html
import io
import json
import re
import socket
import tokenize
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.course.assignment import REGION, Assignment

__all__ = ["leaks", "texts_of"]

KINDS = (".md", ".py", ".svg", ".png", ".json", ".npz", ".ipynb", ".html", ".txt", ".csv", ".toml")
PRIVATE = re.compile(
    r"(^|/)(hidden\.py|oracle\.py|wrong\.toml|rubric[^/]*|master|right|__pycache__|\.[^/]+)(/|$)|\.py[cod]$", re.I
)
TOKEN = re.compile(r"\d[\w.]*|\w+|[^\s\w\"'`\\]")
TRIVIAL = frozenset(
    """( ) [ ] { } , : . ; = 0 1 i j k shape range len zip enumerate list tuple dict int float
    return None pass else elif try self def for in if and or not is import from as lambda True False""".split()  # noqa: SIM905
)
PATHS = re.compile(
    r"(?<![\w./-])/(?:home|Users|root|tmp|work|mnt|private|scratch|var/folders)/[\w.-]+"
    r"|\b[A-Za-z]:\\+(?:Users|Windows|Program Files|Documents)\b"
)
COMMON = {
    "root",
    "user",
    "admin",
    "student",
    "ubuntu",
    "runner",
    "jovyan",
    "localhost",
    "build",
    "builder",
    "nobody",
    "autograder",
}
COMMENT_WORDS = 5  # a comment of a region with fewer words may be anywhere
CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"bKGD", b"sBIT"}
NOTEBOOK_KEYS = {"kernelspec", "language_info"}
CELL_KEYS = {"nbgrader", "deletable", "editable"}


def tokens(text: str) -> list[str]:
    """The words, numbers and signs of a text, without quotes and backslashes."""
    return TOKEN.findall(text)


def joined(words: Iterable[str]) -> str:
    """Tokens as one text in which any run of them can be searched for."""
    return "\0" + "\0".join(words) + "\0"


def without_comments(code: str) -> tuple[str, list[str]]:
    """Code, and its comments. Text that is not Python stays whole."""
    lines, comments = code.splitlines(), []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                comments.append(token.string.lstrip("# "))
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError, IndentationError):
        pass
    return "\n".join(lines), comments


def telling(words: list[str]) -> int:
    """The number of tokens that distinguish one line from another."""
    return sum(word not in TRIVIAL for word in words)


def passages(code: str) -> Iterator[tuple[str, list[str]]]:
    """The parts of a piece of code that must not be found: long lines, and three lines in a row, as (text, tokens)."""
    bare = without_comments(code)[0]
    lines = [(line.strip(), tokens(line)) for line in bare.splitlines() if tokens(line)]
    for shown, words in lines:
        if telling(words) >= 4:
            yield shown, words
    for first, second, third in zip(lines, lines[1:], lines[2:], strict=False):
        words = first[1] + second[1] + third[1]
        if telling(words) >= 4:
            yield " / ".join((first[0], second[0], third[0])), words


def _arrays(content: bytes) -> Iterator[tuple[str, np.ndarray | None]]:
    """(name, array) of an .npz; None in place of an array that cannot be read, such as a pickle."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for name in file.files:
                try:
                    yield name, file[name]
                except ValueError:
                    yield name, None
    except (ValueError, OSError, zipfile.BadZipFile):
        yield "all of it", None


def _strings(value: Any) -> Iterator[str]:
    """All text in a JSON value; the lines of a cell are one text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield "".join(value)
        for item in value:
            yield from _strings(item)


def texts_of(name: str, content: bytes) -> list[str]:
    """The texts in a file: as it is, without markup, from a notebook's cells, from arrays."""
    if name.endswith(".npz"):
        found: list[str] = []
        for label, array in _arrays(content):
            found.append(label)
            if array is not None and array.dtype.kind in "US":
                found.extend(str(item) for item in np.ravel(array).astype(str))
            elif array is not None and array.dtype == np.uint8:
                found.extend(texts_of("text.json", array.tobytes()))
        return found
    text = content.decode("utf-8", "ignore")
    if name.endswith((".json", ".ipynb")):
        try:
            return [text, *_strings(json.loads(text))]
        except ValueError:
            return [text]
    if name.endswith((".html", ".svg", ".md")):
        return [text, html.unescape(re.sub(r"<[^>]*>", "", text))]
    return [text]


def _answers(assignment: Assignment) -> Iterator[tuple[str, str]]:
    """(which it is, code) of every region that students write."""
    for name, text in assignment.master.items():
        for region in REGION.finditer(text):
            yield f"the region {region.group(2)} of master/{name}", region.group(3)


def _code_leaks(assignment: Assignment, texts: Mapping[str, list[str]], allowed: Iterable[str]) -> Iterator[str]:
    fair = "".join(joined(tokens(without_comments(text)[0])) for text in [*assignment.stub.values(), *allowed])
    fair_words = " ".join(" ".join(tokens(text)).lower() for text in [*assignment.stub.values(), *allowed])
    streams = {
        name: "".join(joined(tokens(text)) + joined(tokens(without_comments(text)[0])) for text in found)
        for name, found in texts.items()
    }
    prose = {name: " ".join(" ".join(tokens(text)) for text in found).lower() for name, found in texts.items()}
    for what, code in _answers(assignment):
        for shown, words in passages(code):
            wanted = joined(words)
            if wanted not in fair:
                for name in (name for name, stream in streams.items() if wanted in stream):
                    yield f"{name} holds a line of {what}: {shown[:80]}"
        for comment in without_comments(code)[1]:
            wanted = " ".join(tokens(comment)).lower()
            if len(tokens(comment)) >= COMMENT_WORDS and wanted not in fair_words:
                for name in (name for name, text in prose.items() if wanted in text):
                    yield f"{name} holds a comment of {what}: {comment[:80]}"


def _staff_leaks(assignment: Assignment, texts: Mapping[str, list[str]]) -> Iterator[str]:
    """Pieces of three lines of what only staff have, and names of hidden checks."""
    open_files = ("handout.md", "visible.py")
    fair = "".join(
        joined(tokens(path.read_text("utf-8"))) for name in open_files if (path := assignment.folder / name).exists()
    )
    fair += "".join(joined(tokens(text)) for text in assignment.stub.values())
    for private in ("hidden.py", "oracle.py", "rubric.md", "wrong.toml"):
        path = assignment.folder / private
        lines = [tokens(line) for line in path.read_text("utf-8").splitlines() if tokens(line)] if path.exists() else []
        runs = [
            joined(a + b + c) for a, b, c in zip(lines, lines[1:], lines[2:], strict=False) if telling(a + b + c) >= 8
        ]
        runs = [run for run in runs if run not in fair]
        for name, found in texts.items():
            stream = "".join(joined(tokens(text)) for text in found)
            if any(run in stream for run in runs):
                yield f"{name} holds a part of {private}"
    for name, found in texts.items():
        if match := re.search(r"\bq\d+_h_\w+", "\n".join(found)):
            yield f"{name} names the hidden check {match.group()}"


def _notebook(name: str, content: bytes) -> Iterator[str]:
    try:
        notebook = json.loads(content)
    except ValueError:
        yield f"{name} is not a notebook"
        return
    for key in sorted(set(notebook.get("metadata", {})) - NOTEBOOK_KEYS):
        yield f"{name} has the metadata {key}"
    for number, cell in enumerate(notebook.get("cells", [])):
        for key in sorted(set(cell.get("metadata", {})) - CELL_KEYS):
            yield f"{name} has the metadata {key} in cell {number}"
        if cell.get("outputs") or cell.get("execution_count") is not None:
            yield f"{name} has an output in cell {number}"
        if cell.get("attachments"):
            yield f"{name} has an attachment in cell {number}"


def _png(name: str, content: bytes) -> Iterator[str]:
    place = 8
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if kind not in CHUNKS:
            yield f"{name} has metadata ({kind.decode('latin-1')})"
        place += length + 12


def _traces(name: str, content: bytes, texts: list[str]) -> Iterator[str]:
    """Marks of the machine and the people that made a file."""
    if name.endswith(".ipynb"):
        yield from _notebook(name, content)
    if name.endswith(".png"):
        yield from _png(name, content)
    text = "\n".join(texts)
    if name.endswith((".svg", ".html")) and re.search(
        r"<metadata|inkscape:|sodipodi:|<meta[^>]*\b(author|generator)\b", text
    ):
        yield f"{name} has metadata"
    if match := PATHS.search(text):
        yield f"{name} holds the path {match.group()}"
    people = {getpass.getuser(), socket.gethostname(), Path.home().name} - COMMON
    for person in people:
        if len(person) >= 4 and re.search(rf"(?<!\w){re.escape(person)}(?!\w)", text):
            yield f"{name} holds the name {person} of this computer or its user"
    if re.search(r"\b(executionInfo|user_?[iI]d|userId)\b", text) and name.endswith(".ipynb"):
        yield f"{name} holds who ran it"


def _key_leak(content: bytes, texts: list[str], key: bytes) -> bool:
    """Whether a key is in a file, as bytes or written in one of the usual ways."""
    everything = [content, *(text.encode() for text in texts)]
    for one in {key, key.strip()}:
        forms = {one, one.hex().encode(), one.hex().upper().encode()}
        forms |= {code(one).rstrip(b"=") for code in (base64.b64encode, base64.urlsafe_b64encode, base64.b32encode)}
        if any(form in part for form in forms for part in everything):
            return True
    return False


def leaks(
    files: Mapping[str, bytes], assignment: Assignment, key: bytes = b"", allowed: Iterable[str] = ()
) -> list[str]:
    """Forbidden contents of these files, as sentences; empty if they are clean.

    files: path -> content.   allowed: texts whose lines are not secret, such as those given of earlier assignments.
    """
    texts = {name: texts_of(name, content) for name, content in files.items()}
    found = [f"{name} must not go out" for name in files if PRIVATE.search(name)]
    found += [f"{name} is of a kind that is not handed out" for name in files if not name.endswith(KINDS)]
    for name, content in files.items():
        if (
            re.match(rb"..\r\n", content, re.S)
            and not name.endswith(KINDS[:1])
            and b"\0" in content[:32]
            and name[-4:] != ".npz"
        ):
            found.append(f"{name} is bytecode")
        found += _traces(name, content, texts[name])
        arrays = list(_arrays(content)) if name.endswith(".npz") else []
        found += [f"{name} has an array that cannot be read: {label}" for label, array in arrays if array is None]
        raw = [content, *(array.tobytes() for _, array in arrays if array is not None)]
        if key and any(_key_leak(part, texts[name], key) for part in raw):
            found.append(f"{name} holds the key of the course")
    found += _code_leaks(assignment, texts, list(allowed))
    found += _staff_leaks(assignment, texts)
    return list(dict.fromkeys(found))
