"""The best learning rate by width, in the usual form and in muP, and by depth; coordinate checks: ViTs on digits.

Notebook 32 discusses them. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.widths

About half an hour of one core. Writes results/widths.json after every run; started again, it goes on where it was.
Models of one seed see the same images in the same order. Models of one seed, width and depth begin with the same
weights, and heads begin with zero. At the width BASE the usual form and muP are the same model. It is run once, as
"usual". The coordinate check has a base of its own, and heads that begin random: a head of zero would hold the blocks
still in the first update.
"""

from functools import partial
from typing import Any

import numpy as np
from experiments import record

from minivit.data import normalize
from minivit.lessons import digits, fit
from minivit.lineage.mup import Mup, MupConfig, coordinate_check
from minivit.optim import AdamW

SEEDS = 5
STEPS = 100
LAST = 20  # updates whose mean loss is the result
BASE = 32  # width of muP's base model
WIDTHS = (32, 64, 128, 256)
DEPTHS = (2, 8)
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
EPS = 1e-12  # of Adam
FIT = {"batch_size": 64, "warmup": 0.1, "weight_decay": 0.0, "clip_norm": None}
SHAPE = {"image_size": 8, "channels": 1, "patch_size": 2, "heads": 4, "num_classes": 10}
MLP = 2  # width of the MLP, in widths of the model
FORMS = ("usual", "muP", "matrices with eta", "no 1/m", "1/sqrt(Dh)")  # of the check: the last three break one rule
PARTS = ("block0", "block1", "logits1", "output")
CHECK = {"base": 64, "widths": (64, 128, 256, 512), "rate": 5e-4, "images": 32, "updates": (1, 5)}


def build(form: str, width: int, depth: int, seed: int) -> Mup:
    """A ViT for the digits.   form: "usual", or "muP" with the base width BASE. Heads grow with the width."""
    base = BASE if form == "muP" else width
    sizes = {"width": width, "depth": depth, "mlp_width": MLP * width, "base_width": base}
    return Mup(MupConfig(**SHAPE, **sizes, base_heads=SHAPE["heads"]), seed)


def settings() -> list[tuple[str, int, int]]:
    """Form, width and depth of each model: all widths in both forms, then the base width with other depths."""
    by_width = [(form, width, DEPTHS[0]) for width in WIDTHS for form in ("usual", "muP")]
    by_depth = [("usual", BASE, depth) for depth in DEPTHS[1:]]
    return [one for one in by_width if one[:2] != ("muP", BASE)] + by_depth


def name_of(form: str, width: int, depth: int) -> str:
    """The name of a model in the record."""
    return f"{form}, width {width}, {depth} blocks"


def measure(form: str, width: int, depth: int, rate: float, seed: int) -> float:
    """Train on the digits and return the mean training loss of the last updates."""
    adam = partial(AdamW, eps=EPS)
    with np.errstate(all="ignore"):  # a rate may be far too large
        model = build(form, width, depth, seed)
        history = fit(model, digits()[0], STEPS, lr=rate, optimizer=adam, seed=seed, **FIT)
    return float(np.mean([result.loss for result in history[-LAST:]]))


def checked(form: str, width: int, seed: int) -> dict[str, dict[str, float]]:
    """The coordinate check of a form: when ("init", "change1", "change5") -> part -> size."""
    base = width if form == "usual" else CHECK["base"]
    sizes = {"width": width, "depth": 2, "mlp_width": MLP * width, "base_width": base, "base_heads": SHAPE["heads"]}
    model = Mup(MupConfig(**SHAPE, **sizes, zero_head=False, multipliers=form != "matrices with eta"), seed)
    if form == "no 1/m":
        model.head.factor = 1.0
    if form == "1/sqrt(Dh)":
        for block in model.blocks:
            block.attention.scale = (width // SHAPE["heads"]) ** -0.5
    train, rng = digits()[0], np.random.default_rng((seed, 32))
    images, labels = train.fetch(rng.choice(len(train), CHECK["images"], replace=False))
    adam = AdamW(model.named_parameters(), CHECK["rate"], eps=EPS)
    found = coordinate_check(model, normalize(images).astype(np.float32), labels, adam, CHECK["updates"])
    return {when: {part: by_part[part] for part in PARTS} for when, by_part in found.items()}


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.widths",
        "data": "digits: 1,438 training images of 8x8 pixels",
        "config": {
            **SHAPE,
            **FIT,
            "mlp": MLP,
            "eps": EPS,
            "steps": STEPS,
            "last": LAST,
            "base": BASE,
            "widths": WIDTHS,
            "depths": DEPTHS,
            "rates": RATES,
            "forms": FORMS,
            "parts": PARTS,
            "check": CHECK,
        },
    }


def check_forms(results: dict[str, Any], seed: int) -> None:
    """Add the coordinate check of a seed to the results, if it is not there."""
    for form in FORMS:
        for width in CHECK["widths"]:
            by_when = results["results"].setdefault(f"check, {form}, width {width}", {})
            if by_when and len(by_when["init"][PARTS[0]]) > seed:
                continue
            for when, by_part in checked(form, width, seed).items():
                for part, size in by_part.items():
                    by_when.setdefault(when, {}).setdefault(part, []).append(round(size, 4))
            record.write("widths", results)


def main() -> None:
    results = record.begin("widths", header())
    for seed in range(SEEDS):  # outermost, so that all have as many runs, whenever this is stopped
        check_forms(results, seed)
        for one in settings():
            by_rate = results["results"].setdefault(name_of(*one), {})
            for rate in RATES:
                by_seed = by_rate.setdefault(f"{rate:g}", [])
                if len(by_seed) == seed:
                    by_seed.append(round(measure(*one, rate, seed), 4))
                    record.write("widths", results)


if __name__ == "__main__":
    main()
