"""The options of `python -m minivit.train`: fields of the recipe and the model, and the starting point of a run."""

import argparse
import dataclasses
import typing
from typing import Any

from minivit.cli.parser import Parser, numbers, part, size
from minivit.files.fields import hints
from minivit.models import HYBRIDS, VARIANTS
from minivit.runs import presets, recipes
from minivit.runs.recipes import Recipe

EXAMPLES = """examples:
  python -m minivit.train                                     digits, under a minute
  python -m minivit.train --data cifar10                      photographs, about ten minutes on two cores
  python -m minivit.train --data folder:flowers --val-share 0.2 --model Ti/16 --image-size 224
  python -m minivit.train --init-from Ti/16 --data folder:flowers --val-share 0.2
  python -m minivit.train --config runs/digits/config.json --seed 1
  python -m minivit.train --resume runs/digits
"""
MODEL = "model (default: the preset's)"
# Fields of ViTConfig that are options: how they are read, what stands for the value, what they are.
OF_THE_MODEL: dict[str, tuple[Any, str, str]] = {
    "image_size": (size, "N", "pixels, or HEIGHTxWIDTH (default: the data's; 224 for a folder)"),
    "patch_size": (size, "N", "pixels, or HEIGHTxWIDTH"),
    "width": (int, "N", "of the tokens, D"),
    "depth": (int, "N", "number of layers, L"),
    "heads": (int, "N", "attention heads, H"),
    "mlp_width": (int, "N", "hidden width of the MLP"),
    "representation_size": (int, "N", "width of a tanh layer before the head"),
    "classifier": (None, "NAME", "token ([class] token) or gap (global average pooling)"),
    "position": (None, "NAME", "positions: learned, learned2d, sincos2d, relative, rope or none"),
    "gelu": (None, "NAME", "tanh or erf"),
    "dropout": (float, "RATE", "dropout rate while training"),
    "attention_dropout": (float, "RATE", "attention dropout rate while training"),
    "drop_path": (float, "RATE", "drop path rate while training"),
}


def parser(description: str) -> Parser:
    """The parser. Its namespace holds only the options that were given."""
    p = Parser("train", "[options]", description=description, epilog=EXAMPLES, argument_default=argparse.SUPPRESS)
    run = p.add_argument_group(recipes.RUN)
    add = run.add_argument
    add("--preset", metavar="NAME", help=f"start from a named recipe: {', '.join(presets.PRESETS)}")
    add("--config", metavar="FILE", help="start from the config.json of an earlier run")
    add(
        "--resume",
        metavar="RUN",
        help="continue the run in this folder exactly where it stopped; --data says where its data has moved, "
        "--epochs or --steps extends the training",
    )
    add("--out", metavar="DIR", help="run folder to create (default: runs/PRESET, numbered if that exists)")
    add_fields(run)
    for title in (recipes.TUNING, recipes.DATA):
        add_fields(p.add_argument_group(title))
    add = p.add_argument_group(MODEL).add_argument
    add(
        "--model",
        metavar="NAME",
        help=f"variant and patch size, such as Ti/4 or B/16 ({', '.join(VARIANTS)}); a hybrid ({', '.join(HYBRIDS)}); "
        "or a ResNet and its width, such as R50x1",
    )
    for name, (read, value, text) in OF_THE_MODEL.items():
        add(spelled(name), type=read, metavar=value, help=text)
    add = p.add_argument_group("objective (default: classification)").add_argument
    add("--objective", metavar="NAME", help="training objective: classification, or one listed by `minivit lineage`")
    add("--set", type=setting, action="append", metavar="FIELD=VALUE", help="a field of the objective: masked=0.6")
    add("--teacher", metavar="RUN", help="the network to learn from: a run folder, or published weights")
    for title in (recipes.LEARNING, recipes.IMAGES, recipes.KEEPING):
        add_fields(p.add_argument_group(title))
    return p


def add_fields(group: argparse._ArgumentGroup) -> None:
    """Add options for the fields of Recipe in a group, in their order."""
    for field in dataclasses.fields(Recipe):
        if field.metadata.get("group") != group.title:
            continue
        kind, text = hints(Recipe)[field.name], field.metadata["help"]
        if kind is bool:
            group.add_argument(spelled(field.name), action=argparse.BooleanOptionalAction, help=text)
        else:
            group.add_argument(spelled(field.name), type=reader(kind), metavar=field.metadata["value"], help=text)


def reader(kind: Any) -> Any:
    """The function that parses the text of an option; None if the text is the value."""
    kinds = [option for option in typing.get_args(kind) or (kind,) if option is not type(None)]
    if tuple[str, ...] in kinds:  # the option names a file
        return None
    if any(typing.get_origin(option) is tuple for option in kinds):
        return numbers
    if str in kinds:
        return part if int in kinds else None
    return kinds[0]


def setting(text: str) -> tuple[str, str]:
    """ "masked=0.6" as a field and its value, for argparse."""
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise argparse.ArgumentTypeError(f'"{text}", expected FIELD=VALUE')
    return name.replace("-", "_"), value


def spelled(field: str) -> str:
    """The option that sets a field."""
    return f"--{field.replace('_', '-')}"
