"""Errors with a one-line message for the user. The commands print the line and exit with status 2."""

import copyreg
import difflib
import os
import shlex
import subprocess
from collections.abc import Iterable
from typing import Any

MAX_MESSAGE = 1000  # characters; a list of arrays that do not fit is the longest


def shown(text: Any, limit: int = 80) -> str:
    """Text from a file or an option, for one line of a terminal: unprintable characters are escaped, and text longer
    than `limit` characters is cut."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "..."


def with_article(name: str) -> str:
    """ "a ResNet", "an int"."""
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def quoted(path: str | os.PathLike[str]) -> str:
    """A path that can be pasted into a command, even with spaces."""
    text = os.fspath(path)
    text = os.path.join(os.curdir, text) if text.startswith("-") else text  # no option
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


def reasons(error: BaseException | None) -> str:
    """The message of an error, preceded by those of its causes, in one line."""
    found: list[str] = []
    while error is not None:
        reason = " ".join(str(error).split()) or type(error).__name__
        found = [reason, *(other for other in found if other != reason)]
        error = error.__cause__ or error.__context__
    return "; then ".join(found)


def meant(name: str, known: Iterable[str], alike: float = 0.6) -> str:
    """A suggestion for a misspelt `name`, '; did you mean "NAME"?', or nothing.   alike: required similarity."""
    near = difflib.get_close_matches(name, list(known), 1, alike)
    return f'; did you mean "{near[0]}"?' if near else ""


class MinivitError(Exception):
    """Something outside the program is wrong (a file, an option, a device); the message says how to fix it.

    Messages may quote any text, so they are made printable and one line here.
    """

    def __init__(self, message: Any):
        lines = [line.strip() for line in str(message).splitlines()]
        super().__init__(shown(" ".join(line for line in lines if line), MAX_MESSAGE))

    def __reduce__(self) -> Any:
        """Other processes get the message as it is, whatever the arguments from which a subclass has made it."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class BackendError(MinivitError):
    """The requested array library or device cannot be used."""


class DataError(MinivitError):
    """A data set, archive or image is missing, damaged or of the wrong kind."""


class MissingDataError(DataError):
    """A data set is not on this machine; nothing is wrong with it."""


class ConfigError(MinivitError, ValueError):
    """Options that do not fit together, such as a patch size that does not divide the image."""


class CheckpointError(MinivitError):
    """A checkpoint or run folder is missing, damaged or belongs to another model."""


class NonFiniteError(MinivitError):
    """Training met a value that is NaN or infinite."""
