"""A small Vision Transformer for tests of updates and runs."""

import dataclasses

import numpy as np

from minivit.models import ViT, ViTConfig

CONFIG = ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, mlp_width=12, num_classes=10, channels=1)
RANDOM = dataclasses.replace(CONFIG, dropout=0.2, attention_dropout=0.1, drop_path=0.3)


def perturbed(config: ViTConfig = CONFIG, dtype: str = "float64", seed: int = 1) -> ViT:
    """A model with random weights everywhere, its head included."""
    model = ViT(config, dtype=dtype)
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape).astype(dtype)
    return model
