"""The commands `minivit models` and `minivit datasets`: lists of models and data sets by name."""

import math
from collections.abc import Sequence

from minivit import cli
from minivit.data import data_root
from minivit.data.about import about
from minivit.errors import ConfigError, DataError, shown
from minivit.models import HYBRIDS, ResNetConfig, ViTConfig, addresses
from minivit.models.config import size_pair
from minivit.models.cost import multiply_adds
from minivit.models.families import ModelConfig, build, config_of, named_fields
from minivit.models.pretrained import LAYOUTS
from minivit.models.resnet import RESNETS

# The patch sizes that were published; any other that divides the image will do.
VARIANTS = ("Ti/16", "S/32", "S/16", "B/32", "B/16", "B/8", "L/32", "L/16", "H/14")


def models(argv: Sequence[str] | None = None) -> int:
    """Print the table of models."""
    p = cli.Parser("models", description="List models by name with their cost, or show how one is built.")
    p.add_argument("names", nargs="*", metavar="NAME", help="models to show layer by layer, such as Ti/4 or R50x1")
    p.add_argument(
        "--image-size", type=cli.size, default=224, metavar="N", help="pixels, or HEIGHTxWIDTH (default: 224)"
    )
    p.add_argument("--classes", type=cli.positive, default=1000, metavar="N", help="(default: 1000)")
    p.add_argument("--published", action="store_true", help="list all published weights known by name")
    args = p.parse_args(argv)
    if args.published:
        print("\n".join(addresses.listing()))
        return 0
    shape = {"image_size": size_pair(args.image_size, "image_size"), "num_classes": args.classes}
    for name, config in {name: configuration(name, **shape) for name in args.names}.items():
        table(name, {name: config})
        print(f"{build(config, seed=None)!r}\n")
    if args.names:
        return 0
    for title, names in (
        ("Vision Transformers", VARIANTS), ("hybrids", HYBRIDS), ("ResNets", [f"R{layers}x1" for layers in RESNETS])
    ):  # fmt: skip
        table(title, {name: found for name in names if (found := fitting(name, **shape))})
    print("published weights      pixels      MiB   top-1 on ImageNet-1k")
    for name, weights in addresses.by_model().items():
        figures = f"{weights.pixels:>14} {weights.mib:>8}   {weights.top1:<24}"
        print(f"  {name:<13} {figures} {shown(weights.name, 50)}")
    print()
    height, width = shape["image_size"]
    print(
        f"For images of {height}x{width} in colour and {args.classes:,} classes. GMAC: multiply-adds of one\n"
        "forward pass of one image, in 1e9. GFLOP counts each as two. A training step costs three such\n"
        "passes. Any patch size that divides the image will do, as Ti/4, and any width of a ResNet, as R50x2.\n\n"
        f"show one layer by layer:  {cli.called('models')} Ti/4 --image-size 32 --classes 10\n"
        f"train one:                {cli.called('train')} --model Ti/4 --data cifar10\n"
        f"fine-tune one:            {cli.called('train')} --init-from Ti/16 --data folder:PATH\n"
        f"Published weights are downloaded by name; all names: {cli.called('models')} --published.\n"
        f"Files of them are read in the layouts {', '.join(LAYOUTS)}: .npz of google-research,\n"
        ".safetensors of timm and of Hugging Face (docs/weights.md)."
    )
    return 0


def configuration(name: str, **changes: object) -> ModelConfig:
    """The configuration of a model by name. Raises ConfigError for an unknown name or image size."""
    return config_of({**named_fields(name), **changes}, name)


def fitting(name: str, **changes: object) -> ModelConfig | None:
    """The same, or None if the image size does not fit."""
    try:
        return configuration(name, **changes)
    except ConfigError:
        return None


def table(title: str, configs: dict[str, ModelConfig]) -> None:
    """Print one line per model, if there are any."""
    if not configs:  # of this image size
        return
    print(f"{title:<20}parameters     GMAC    GFLOP")
    for name, config in configs.items():
        shape = config.description.partition(": ")[2]
        work = multiply_adds(config) / 1e9 if isinstance(config, ViTConfig | ResNetConfig) else math.nan
        count = build(config, seed=None).num_parameters()
        print(f"  {name:<13} {count:>14,} {work:>8.2f} {2 * work:>8.2f}   {shape}".replace(" nan", "   -"))
    print()


def datasets(argv: Sequence[str] | None = None) -> int:
    """Print the table of data sets."""
    p = cli.Parser("datasets", description="List data sets by name, and which are on this machine.")
    p.add_argument(
        "--data-root", metavar="DIR", help="where data sets lie (default: $MINIVIT_DATA, or the cache folder)"
    )
    args = p.parse_args(argv)
    try:
        root, place = data_root(args.data_root), f"data folder: {data_root(args.data_root)}"
    except DataError as error:
        root, place = None, str(error)
    for name, content, where in about(root):
        print(f"{name:<12} {content:<66} {where}")
    print(f"\n{place}\ntrain on one of them: {cli.called('train')} --data NAME")
    return 0
