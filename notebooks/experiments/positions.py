"""Positions compared: none, learned (1-D), learned for rows and columns (2-D), fixed sines and cosines (2-D), relative
(1-D) and rotary.

Appendix D.4 and Table 8 of the paper, in small, with two kinds more. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.positions

A few minutes of one core. Writes results/positions.json after every run; started again, it goes on where it was.
"""

from typing import Any

from experiments import record

from minivit.lessons import accuracy, digits, fit
from minivit.models import ViT, ViTConfig

POSITIONS = ("none", "learned", "learned2d", "sincos2d", "relative", "rope")
SEEDS = 10
STEPS = 600
BATCH = 128  # images
RATE = 3e-3
SHAPE = {"image_size": 8, "channels": 1, "patch_size": 2, "width": 32, "depth": 2, "heads": 2, "mlp_width": 64}


def measure(position: str, seed: int) -> float:
    """Train on the digits and return the accuracy on their 359 test images."""
    train, test = digits()
    model = ViT(ViTConfig(**SHAPE, num_classes=10, position=position), seed)
    fit(model, train, STEPS, batch_size=BATCH, lr=RATE, seed=seed)
    return accuracy(model, test)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.positions",
        "data": "digits: 1,438 training and 359 test images of 8x8 pixels",
        "config": {**SHAPE, "steps": STEPS, "batch_size": BATCH, "lr": RATE},
    }


def main() -> None:
    record.complete("positions", header(), SEEDS, POSITIONS, measure)


if __name__ == "__main__":
    main()
