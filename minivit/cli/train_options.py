"""The options of `python -m minivit.train`."""

import argparse

from minivit.cli.parser import Parser, numbers, part, size
from minivit.models import HYBRIDS, VARIANTS
from minivit.models.posemb import METHODS
from minivit.runs import presets

EXAMPLES = """examples:
  python -m minivit.train                                     digits, under a minute
  python -m minivit.train --data cifar10                      photographs, about ten minutes on two cores
  python -m minivit.train --data folder:flowers --val-share 0.2 --model Ti/16 --image-size 224
  python -m minivit.train --init-from Ti/16 --data folder:flowers --val-share 0.2
  python -m minivit.train --config runs/digits/config.json --seed 1
  python -m minivit.train --resume runs/digits
"""


def parser(description: str) -> Parser:
    """The parser; only the options that are given end up in its namespace."""
    p = Parser("train", "[options]", description=description, epilog=EXAMPLES, argument_default=argparse.SUPPRESS)
    add = p.add_argument_group("run").add_argument
    add("--preset", metavar="NAME", help=f"start from a named recipe: {', '.join(presets.PRESETS)}")
    add("--config", metavar="FILE", help="start from the config.json of an earlier run")
    add(
        "--resume",
        metavar="RUN",
        help="continue the run in this folder exactly where it stopped; --data says where its data has moved, --epochs "
        "or --steps that it shall train longer",
    )
    add("--out", metavar="DIR", help="run folder to create (default: runs/PRESET, numbered if that exists)")
    add("--seed", type=int, metavar="N", help="of initial weights, shuffling, augmentation and dropout (default: 0)")
    add("--backend", metavar="NAME", help="numpy, cupy (GPU), or auto: cupy if it works (default: numpy)")
    add("--precision", metavar="NAME", help="float32, float64, bf16 (mixed), or tf32 (GPU) (default: float32)")
    add("--kernels", metavar="NAME", help="fused, or reference: the readable ops only, slower (default: fused)")
    add("--graph", action=argparse.BooleanOptionalAction, help="on a GPU: record the step as a CUDA graph (default)")
    add("--workers", type=int, metavar="N", help="threads that share a batch (default: as suits cores and batch)")

    add = p.add_argument_group("fine-tuning").add_argument
    add(
        "--init-from",
        metavar="FILE",
        help="start from published weights (a file, or a name such as Ti/16), or a run folder",
    )
    add("--resize-positions", metavar="HOW", help=f"{', '.join(METHODS)}, or fresh: drawn anew (default: the source's)")
    add(
        "--keep-head",
        action=argparse.BooleanOptionalAction,
        help="the data has classes of the source (default: new head)",
    )
    add("--freeze", type=part, metavar="PART", help="backbone: only the head learns; or N: not the first N blocks")

    add = p.add_argument_group("data").add_argument
    add(
        "--data",
        metavar="NAME",
        help="digits, shapes, scenes, captions, clips, cifar10, cifar100, or folder:PATH, with PATH/train/CLASS/*.jpg "
        "and PATH/val/CLASS/*.jpg, or with --val-share PATH/CLASS/*.jpg",
    )
    add(
        "--data-root",
        metavar="DIR",
        help="where data sets lie (default: $MINIVIT_DATA, or minivit in the cache folder)",
    )
    add("--val-share", type=float, metavar="S", help="hold out a share of each class of a folder without PATH/val")
    add("--limit", type=int, metavar="N", help="train on N images only, as even over the classes as can be")
    add("--bad-images", metavar="HOW", help="unreadable images in folders: refuse (stop) or skip (default: refuse)")

    add = p.add_argument_group("model (default: the preset's)").add_argument
    add(
        "--model",
        metavar="NAME",
        help=f"variant and patch size, such as Ti/4 or B/16 ({', '.join(VARIANTS)}); a hybrid ({', '.join(HYBRIDS)}); "
        "or a ResNet and its width, such as R50x1",
    )
    add(
        "--image-size",
        type=size,
        metavar="N",
        help="pixels, or HEIGHTxWIDTH (default: the data's; of a folder 224)",
    )
    add("--patch-size", type=size, metavar="N", help="pixels, or HEIGHTxWIDTH")
    for name, text in (
        ("width", "of the tokens, D"),
        ("depth", "number of layers, L"),
        ("heads", "attention heads, H"),
        ("mlp-width", "hidden width of the MLP"),
        ("representation-size", "width of a tanh layer before the head"),
    ):
        add(f"--{name}", type=int, metavar="N", help=text)
    add("--classifier", metavar="NAME", help="token ([class] token) or gap (global average pooling)")
    add("--position", metavar="NAME", help="position embedding: learned, learned2d, sincos2d or none")
    add("--gelu", metavar="NAME", help="tanh or erf")
    for name in ("dropout", "attention-dropout", "drop-path"):
        add(f"--{name}", type=float, metavar="RATE", help=f"{name.replace('-', ' ')} rate while training")

    add = p.add_argument_group("optimisation (default: the preset's)").add_argument
    add("--epochs", type=float, metavar="N", help="passes over the training data")
    add("--steps", type=int, metavar="N", help="number of updates, instead of epochs")
    add("--batch-size", type=int, metavar="N", help="images per update")
    add(
        "--accumulate",
        type=int,
        metavar="N",
        help="pieces of each worker's share of a batch: more save memory (default: 2,048 tokens each)",
    )
    add(
        "--recompute",
        action=argparse.BooleanOptionalAction,
        help="compute each block's forward pass again in the backward pass instead of keeping it: less memory, slower",
    )
    add("--optimizer", metavar="NAME", help="adamw or sgd")
    add("--lr", type=float, metavar="RATE", help="highest learning rate")
    add("--schedule", metavar="NAME", help="cosine, linear or constant, after the warm-up")
    add("--warmup", type=float, metavar="SHARE", help="share of the steps over which the rate rises from 0")
    add("--weight-decay", type=float, metavar="W", help="decoupled, on kernels only")
    add("--momentum", type=float, metavar="M", help="of sgd")
    add("--beta2", type=float, metavar="B", help="of adamw")
    add("--clip-norm", type=float, metavar="NORM", help="largest global norm of the gradient (0: any)")
    add("--ema", type=float, metavar="DECAY", help="evaluate an exponential moving average of the weights")
    add("--loss", metavar="NAME", help="softmax or sigmoid cross-entropy")
    add("--label-smoothing", type=float, metavar="S", help="share of the target spread over all classes")

    add = p.add_argument_group("augmentation (default: the preset's)").add_argument
    add("--flip", action=argparse.BooleanOptionalAction, help="mirror half of the images")
    add("--crop-padding", type=int, metavar="PIXELS", help="pad and crop at random")
    add("--resized-crop", type=numbers, metavar="MIN,MAX", help="random resized crop of this share of the area")
    add("--randaugment", type=numbers, metavar="N,M", help="N random operations of magnitude M (of 10)")
    add("--resize", metavar="HOW", help="images of another size: squash them, or crop the edges off (default: squash)")
    add("--erasing", type=float, metavar="P", help="probability of erasing a random box")
    add("--mixup", type=float, metavar="ALPHA", help="blend pairs of images")
    add("--cutmix", type=float, metavar="ALPHA", help="paste boxes between pairs of images")
    add(
        "--mean",
        type=numbers,
        metavar="M",
        help="of pixels in 0..1, for normalisation: one number or one per channel",
    )
    add("--std", type=numbers, metavar="S", help="likewise")

    add = p.add_argument_group("bookkeeping (in steps)").add_argument
    add("--eval-every", type=int, metavar="N", help="evaluate on the test split (default: once an epoch)")
    add("--checkpoint-every", type=int, metavar="N", help="save a checkpoint (default: at every evaluation)")
    add("--patience", type=int, metavar="N", help="stop after N evaluations without a better one (default: never)")
    return p
