"""Classify images with a trained model or published weights: `python -m minivit.predict RUN_OR_FILE image.jpg ...`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minivit import cli
from minivit.data import read_image
from minivit.data.images import to_channels
from minivit.functional import sigmoid, softmax
from minivit.tensor import no_grad


def main(argv: Sequence[str] | None = None) -> int:
    p = cli.Parser("predict", description=__doc__)
    p.add_argument("run", type=Path, help="run folder, or file of published weights")
    cli.add_file_options(p)
    p.add_argument("images", type=Path, nargs="+", metavar="image", help="image file, any size")
    p.add_argument("--top", type=cli.positive, default=5, metavar="K", help="classes to print per image (default: 5)")
    args = p.parse_args(argv)

    model, recipe, classes = cli.load_model(args)
    classes = classes or [f"class {k}" for k in range(recipe.model.num_classes)]
    transform = recipe.augment.evaluation()
    for path in args.images:
        image = to_channels(read_image(path), recipe.model.channels)
        with no_grad():
            logits = model(transform([image]))
            scores = (sigmoid if recipe.loss == "sigmoid" else softmax)(logits).data[0]
        print(path)
        for k in np.argsort(-scores, kind="stable")[: args.top]:
            print(f"  {scores[k]:7.2%}  {classes[k]}")
    return 0


if __name__ == "__main__":
    cli.run_command(main)
