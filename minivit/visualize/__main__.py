"""Look inside a trained model: `python -m minivit.visualize RUN_OR_FILE [image ...] --out DIR`.

RUN_OR_FILE is a run folder, its checkpoint.npz, or a file of published weights. Without image files, the pictures show
test images of the run's data set. With image files, only the confusion matrix reads a data set.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from minivit import cli, terminal
from minivit.errors import ConfigError, MinivitError
from minivit.files.locks import replacing
from minivit.visualize.figures import FIGURES
from minivit.visualize.page import how_many, page
from minivit.visualize.subject import Subject, load_subject


def main(argv: Sequence[str] | None = None) -> int:
    p = cli.Parser("visualize", description=__doc__)
    p.add_argument(
        "run",
        type=cli.path,
        metavar="RUN_OR_FILE",
        help="run folder or checkpoint.npz, or published weights: a file, or a name such as Ti/16",
    )
    p.add_argument("images", type=cli.path, nargs="*", metavar="image", help="of any size (default: test images)")
    p.add_argument("--out", type=cli.path, default=Path("pictures"), metavar="DIR", help="(default: pictures)")
    p.add_argument(
        "--page", type=cli.path, metavar="FILE.html", help="write one page to look with in a browser instead"
    )
    p.add_argument("--index", type=indices, metavar="I,J,...", help="which test images (default: the first ones)")
    p.add_argument("--figures", type=figures, metavar="NAME,...", help=f"some of: {', '.join(FIGURES)}")
    p.add_argument("--data", help="data set of the test images (default: the one the run was trained on)")
    p.add_argument("--data-root", metavar="DIR", help="where data sets lie")
    cli.add_file_options(p)
    args = p.parse_args(argv)

    with terminal.unheard():  # the pictures are what is wanted
        subject = load_subject(args)
        if args.page:
            write_page(args, subject)
            if not args.figures:
                return 0
        return draw(args, subject)


def write_page(args: argparse.Namespace, subject: Subject) -> None:
    """Write the page that the options ask for, whole or not at all, and say how large it is."""
    if not args.images and not args.index:
        subject.index = range(min(how_many(subject), len(subject.test_data)))
    text = page(subject)
    args.page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.page) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    print(f"{args.page} ({args.page.stat().st_size / 1e6:.1f} MB)")


def draw(args: argparse.Namespace, subject: Subject) -> int:
    """Write the pictures that the options ask for, and list them."""
    # who brings images may have no data set at hand; a classifier makes no pictures
    vain = {"confusion"} if args.images else set()
    vain |= set() if subject.recipe.objective else {"examples"}
    for name in args.figures or [name for name in FIGURES if name not in vain]:
        try:
            for file, write in FIGURES[name](subject):
                args.out.mkdir(parents=True, exist_ok=True)
                write(args.out / file)
                print(args.out / file)
        except MinivitError as error:
            # what was asked for by name is not left out
            asked = args.images or args.index or args.data
            if args.figures or (asked and not isinstance(error, ConfigError)):
                raise
            print(f"left out {name}: {error}")
    return 0


def indices(text: str) -> list[int]:
    """ "3,14,15" as numbers, for argparse."""
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f'"{text}", expected numbers of test images, such as 3,14,15')
    return [int(number) for number in numbers]


def figures(text: str) -> list[str]:
    """ "attention,graph" as names of figures, for argparse."""
    names = text.split(",")
    if unknown := [name for name in names if name not in FIGURES]:
        raise argparse.ArgumentTypeError(f'there is no figure "{unknown[0]}", choose from {", ".join(FIGURES)}')
    return names


if __name__ == "__main__":
    cli.run_command(main)
