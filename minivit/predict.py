"""Classify images with a trained model or published weights: `python -m minivit.predict RUN_OR_FILE image.jpg ...`."""

from collections.abc import Sequence

import numpy as np

from minivit import cli, terminal
from minivit.data import read_image
from minivit.data.images import to_channels
from minivit.errors import MAX_MESSAGE, DataError, shown
from minivit.functional import sigmoid, softmax
from minivit.tensor import no_grad


def main(argv: Sequence[str] | None = None) -> int:
    p = cli.Parser("predict", description=__doc__)
    p.add_argument("run", type=cli.path, help="run folder, or file of published weights")
    cli.add_file_options(p)
    p.add_argument("images", type=cli.path, nargs="+", metavar="image", help="image file, any size")
    p.add_argument("--top", type=cli.positive, default=5, metavar="K", help="classes to print per image (default: 5)")
    args = p.parse_args(argv)

    model, recipe, classes = cli.load_model(args)
    classes = classes or [f"class {k}" for k in range(recipe.model.num_classes)]
    transform = recipe.augment.evaluation()
    status = 0
    for path in args.images:
        try:
            image = to_channels(read_image(path), recipe.model.channels)
        except (DataError, OSError) as error:
            terminal.say(f"error: {shown(error, MAX_MESSAGE)}")
            status = 2
            continue
        with no_grad():
            logits = model(transform([image]))
            scores = (sigmoid if recipe.loss == "sigmoid" else softmax)(logits).data[0]
        print(path)
        for k in np.argsort(-scores, kind="stable")[: args.top]:
            print(f"  {scores[k]:7.2%}  {classes[k]}")
    return status


if __name__ == "__main__":
    cli.run_command(main)
