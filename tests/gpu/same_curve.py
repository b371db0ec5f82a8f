"""The same training run on NumPy and on CuPy in float32: losses of the first 50 steps side by side."""

import dataclasses
import sys

from minivit.data import load
from minivit.models import ViTConfig
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer

STEPS = 2 if "--small" in sys.argv else 50
MODEL = ViTConfig(image_size=8, patch_size=2, width=64, depth=4, heads=4, mlp_width=128, channels=1, num_classes=10)
RECIPE = Recipe(model=MODEL, batch_size=64, steps=STEPS, lr=1e-3, mixup=0.2, ema=0.99, eval_every=1, workers=1)


def losses(backend: str) -> list[float]:
    """Of every step."""
    data = load("digits").limit(640)
    trainer = Trainer(dataclasses.replace(RECIPE, backend=backend), data, None, None)
    return [progress.metrics["train_loss"] for progress in trainer.run() if progress.metrics]


numpy_losses, cupy_losses = losses("numpy"), losses("cupy")
for step, (one, other) in enumerate(zip(numpy_losses, cupy_losses, strict=True), 1):
    print(f"{step:3} {one:.7f} {other:.7f}")
differences = [abs(one - other) / abs(one) for one, other in zip(numpy_losses, cupy_losses, strict=True)]
print(f"largest difference {max(differences):.2e}")
