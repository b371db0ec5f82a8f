"""Classify images with a trained model or published weights: `python -m minivit.predict RUN_OR_FILE image.jpg ...`."""

from collections.abc import Sequence

from minivit import cli, terminal
from minivit.answers import Task, classify
from minivit.errors import MAX_MESSAGE, DataError, shown


def main(argv: Sequence[str] | None = None) -> int:
    p = cli.Parser("predict", description=__doc__)
    p.add_argument("run", type=cli.path, help="run folder, or file of published weights")
    cli.add_file_options(p)
    p.add_argument("images", type=cli.path, nargs="+", metavar="image", help="image file, any size")
    p.add_argument("--top", type=cli.positive, default=5, metavar="K", help="classes to print per image (default: 5)")
    args = p.parse_args(argv)

    model, recipe, classes = cli.load_model(args)
    task = Task.of(recipe, classes)
    status = 0
    for path in args.images:
        try:
            (answers,) = classify(model, path, args.top, task)
        except (DataError, OSError) as error:
            terminal.say(f"error: {shown(error, MAX_MESSAGE)}")
            status = 2
            continue
        print(path)
        for name, score in answers:
            print(f"  {score:7.2%}  {name}")
    return status


if __name__ == "__main__":
    cli.run_command(main)
