"""Classify images with a trained model or published weights: `python -m minivit.predict RUN_OR_FILE image.jpg FOLDER`.

A folder stands for all images in it and its sub-folders. If a file cannot be read, the command names it, classifies the
others and exits with status 2.
"""

import contextlib
import csv
import dataclasses
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit import cli, terminal
from minivit.data.dataset import in_words as counted
from minivit.data.drawn_digit import as_the_digits
from minivit.data.imagenet import in_words
from minivit.data.trees import image_files
from minivit.errors import MAX_MESSAGE, ConfigError, DataError, shown
from minivit.files import is_special
from minivit.models.archive import replacing
from minivit.runs import folder as run_folder
from minivit.runs.answers import PIECE, Task, as_pixels, classify

PIECE_BYTES = 2**28  # of pixels in memory, whatever the number of images
Answer = dict[str, Any]  # "image", "classes": the likeliest first, each with "class" and "score", "done" to the image


def main(argv: Sequence[str] | None = None) -> int:
    p = cli.Parser("predict", description=__doc__)
    p.add_argument("run", type=cli.path, help="run folder, or published weights: a file, or a name such as Ti/16")
    cli.add_file_options(p)
    p.add_argument(
        "images", type=cli.path, nargs="+", metavar="image", help="image file, any size, or a folder of them"
    )
    p.add_argument("--top", type=cli.positive, default=5, metavar="K", help="classes to print per image (default: 5)")
    p.add_argument("--best", action="store_true", help="the weights of the run's best evaluation (default: the last)")
    p.add_argument("--csv", metavar="FILE", help="write a table, one line per image (-: to standard output)")
    p.add_argument("--json", metavar="FILE", help="write a list of images, each with its classes (-: likewise)")
    p.add_argument("--as-is", action="store_true", help="for digits: neither crop nor invert the image")
    args = p.parse_args(argv)
    tables = check_tables(args.csv, args.json)

    with contextlib.redirect_stdout(sys.stderr if "-" in tables else sys.stdout):
        model, recipe, classes = cli.load_model(args)
    task = Task.of(recipe, classes)
    prepare = task.drawn and not args.as_is
    task = dataclasses.replace(task, drawn=False)  # it is done below, which also says what was done
    complaints: list[str] = []

    def complain(error: Exception) -> None:
        complaints.append(shown(error, MAX_MESSAGE))
        terminal.say(f"error: {complaints[-1]}")

    answers = []
    for piece in pieces(files(args.images, complain), recipe.model.channels, complain):
        prepared = [as_the_digits(pixels) if prepare else (pixels, []) for _, pixels in piece]
        found = classify(model, [pixels for pixels, _ in prepared], args.top, task)
        for (path, _), (_, done), likeliest in zip(piece, prepared, found, strict=True):
            answer = {"image": str(path), "classes": [{"class": n, "score": s} for n, s in likeliest], "done": done}
            answers.append(answer)
            if "-" not in tables:
                print(as_text(answer))
    for name, text in ((args.csv, as_csv), (args.json, as_json)):
        if name is not None:
            write(name, text(answers))
    if complaints and len(answers) > 1:  # the complaints stand somewhere above
        terminal.say(f"{len(answers):,} images classified; {len(complaints):,} could not be read, see above")
    return 2 if complaints else 0


def files(paths: Sequence[Path], complain: Callable[[Exception], None]) -> Iterator[Path]:
    """The files among the paths, and the images in the folders among them, sorted by name."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        try:
            left_out: Counter[str] = Counter()
            found = image_files(str(path), left_out)
        except DataError as error:
            complain(error)
            continue
        if left_out:
            terminal.say(f"{shown(path, MAX_MESSAGE)}: left out {counted(left_out)}")
        yield from map(Path, found)


def pieces(
    paths: Iterator[Path], channels: int, complain: Callable[[Exception], None]
) -> Iterator[list[tuple[Path, np.ndarray]]]:
    """The readable images with their paths, in batches that fit into memory."""
    piece: list[tuple[Path, np.ndarray]] = []
    for path in paths:
        try:
            piece.append((path, as_pixels(path, channels)))
        except (DataError, OSError) as error:
            complain(error)
        if len(piece) == PIECE or sum(pixels.nbytes for _, pixels in piece) > PIECE_BYTES:
            yield piece
            piece = []
    if piece:
        yield piece


def check_tables(*names: str | None) -> list[str]:
    """The files to write. Raises ConfigError before any work is done if one cannot be written."""
    given = [name for name in names if name is not None]
    if given.count("-") > 1:
        raise ConfigError("--csv and --json cannot both go to standard output: give one of them a file")
    if len({cli.path(name).resolve() for name in given}) < len(given):
        raise ConfigError(f"--csv and --json cannot both be written to {given[0]}: give one of them another file")
    for path in map(cli.path, given):
        if path.is_dir() or not path.parent.is_dir():
            reason = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
            raise ConfigError(f"{path} cannot be written: {reason}")
    return given


def as_text(answer: Answer) -> str:
    """The answer for one image as text for the terminal."""
    done = f" ({'; '.join(answer['done'])})" if answer["done"] else ""
    lines = [f"  {each['score']:7.2%}  {shown(in_words(each['class']), MAX_MESSAGE)}" for each in answer["classes"]]
    return "\n".join([f"{shown(answer['image'], MAX_MESSAGE)}{done}", *lines])


def as_csv(answers: Sequence[Answer]) -> str:
    """A line for each image: its name, then classes in words and scores, the most likely first."""
    most = max((len(answer["classes"]) for answer in answers), default=0)
    rows: list[list[Any]] = [["image", *(f"{name}_{k}" for k in range(1, most + 1) for name in ("class", "score"))]]
    for answer in answers:
        rows.append(
            [answer["image"], *(x for each in answer["classes"] for x in (in_words(each["class"]), each["score"]))]
        )
    return "".join(map(_csv_line, rows))


def _csv_line(row: Sequence[Any]) -> str:
    """A row of a table. Names with any kind of line break are quoted; Python before 3.13 quotes only its own."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(row)
    return text.getvalue().removesuffix("\r\n") + "\n"


def as_json(answers: Sequence[Answer]) -> str:
    """A list of {"image", "classes": [{"class", "score"}, ...]}; a class that is a WordNet id also has its "words"."""
    found = [{"image": a["image"], "classes": [_with_words(each) for each in a["classes"]]} for a in answers]
    return json.dumps(found, indent=1) + "\n"


def _with_words(answer: Answer) -> Answer:
    words = in_words(answer["class"]).removesuffix(f" ({answer['class']})")
    return answer if words == answer["class"] else {**answer, "words": words}


def write(name: str, text: str) -> None:
    """Write a whole file, or to standard output, a pipe or a device."""
    if name == "-":
        sys.stdout.write(text)
        return
    path = cli.path(name)
    with run_folder.writing(path) if is_special(path) else replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


if __name__ == "__main__":
    cli.run_command(main)
