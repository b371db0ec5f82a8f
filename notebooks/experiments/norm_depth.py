"""Where the LayerNorm stands in a block, and the rate at which training breaks: shallow and deep ViTs on digits.

Notebook 10b discusses them. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.norm_depth

About a quarter of an hour of one core. Writes results/norm_depth.json after every run; started again, it goes on where
it was. The models of one seed see the same images in the same order and, but for DeepNorm's factor, begin with the
same parameters.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.lessons import digits, fit
from minivit.models import ViT, ViTConfig
from minivit.nn import EncoderBlock
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

SEEDS = 5
STEPS = 120
LAST = 20  # updates whose mean loss is the result
DEPTHS = (2, 12)
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
WARMUP = 0.3  # share of the updates in which the rate rises
LAYER_SCALE = 0.1
SETTINGS = ("pre-LN", "pre-LN, warm-up", "post-LN", "post-LN, warm-up", "DeepNorm", "LayerScale")
FIT = {"batch_size": 64, "weight_decay": 0.0, "clip_norm": None}
SHAPE = {"image_size": 8, "channels": 1, "patch_size": 2, "width": 32, "heads": 4, "mlp_width": 64}


class PostBlock(EncoderBlock):
    """The parts of a block in post-LN order, the stream multiplied by `alpha`: 1, or more in DeepNorm."""

    alpha = 1.0

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, queries: int | None = None) -> Tensor:
        stream = x if queries is None else x[:, :queries]
        stream = self.norm1(stream * self.alpha + self.attention(x, rng, tap, queries))
        return self.norm2(stream * self.alpha + self.mlp(stream, rng))


def build(setting: str, depth: int, seed: int) -> ViT:
    """A ViT for the digits."""
    scale = LAYER_SCALE if setting == "LayerScale" else None
    model = ViT(ViTConfig(**SHAPE, num_classes=10, depth=depth, layer_scale=scale), seed)
    if setting.startswith(("post", "Deep")):
        for block in model.blocks:
            block.__class__ = PostBlock  # the same parameters, another forward
            if setting == "DeepNorm":
                deep_norm(block, depth)
    return model


def deep_norm(block: EncoderBlock, depth: int) -> None:
    """Wang et al. 2022, for an encoder: a factor on the stream, smaller values, projections and MLP at the start."""
    block.alpha = (2 * depth) ** 0.25
    smaller = (8 * depth) ** -0.25
    width = SHAPE["width"]
    block.attention.qkv.weight.data[:, 2 * width :] *= smaller
    for layer in (block.attention.out, block.mlp.hidden, block.mlp.out):
        layer.weight.data *= smaller


def measure(setting: str, depth: int, rate: float, seed: int) -> float:
    """Train on the digits and return the mean training loss of the last updates."""
    warmup = WARMUP if "warm-up" in setting else 0.0
    with np.errstate(all="ignore"):  # a run may leave the numbers altogether
        history = fit(build(setting, depth, seed), digits()[0], STEPS, lr=rate, warmup=warmup, seed=seed, **FIT)
    return float(np.mean([result.loss for result in history[-LAST:]]))


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.norm_depth",
        "data": "digits: 1,438 training images of 8x8 pixels",
        "config": {
            **SHAPE,
            **FIT,
            "steps": STEPS,
            "last": LAST,
            "depths": DEPTHS,
            "rates": RATES,
            "warmup": WARMUP,
            "layer_scale": LAYER_SCALE,
            "settings": SETTINGS,
        },
    }


def main() -> None:
    results = record.begin("norm_depth", header())
    for seed in range(SEEDS):  # outermost, so that all have as many runs, whenever this is stopped
        for setting in SETTINGS:
            for depth in DEPTHS:
                for rate in RATES:
                    runs = results["results"].setdefault(setting, {}).setdefault(str(depth), {})
                    by_seed = runs.setdefault(f"{rate:g}", [])
                    if len(by_seed) == seed:
                        by_seed.append(round(measure(setting, depth, rate, seed), 4))
                        record.write("norm_depth", results)


if __name__ == "__main__":
    main()
