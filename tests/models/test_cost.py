"""Multiply-adds, against published figures and against the products that a forward pass does."""

import numpy as np
import pytest

from minivit.models import ResNetConfig, ViTConfig
from minivit.models.cost import multiply_adds
from minivit.models.families import build
from minivit.nn import layers
from minivit.tensor import Tensor, no_grad


def test_the_published_figures():
    work = {name: round(multiply_adds(ViTConfig.variant(name)) / 1e9, 2) for name in ("B/16", "B/32", "S/16", "L/16")}
    assert work == {"B/16": 17.56, "B/32": 4.41, "S/16": 4.6, "L/16": 61.55}
    # He et al. 2016 give 3.8e9 for the 50 layers with the stride in the first convolution; in the second it is 4.1e9
    assert round(multiply_adds(ResNetConfig.variant("R50x1")) / 1e9, 1) == 4.1


SMALL = {"image_size": (64, 32), "width": 32, "heads": 4, "mlp_width": 24, "depth": 3, "num_classes": 7}
CONFIGS = [
    ViTConfig(**SMALL, patch_size=8),
    ViTConfig(**SMALL, patch_size=8, classifier="gap", representation_size=20),
    ViTConfig(**SMALL, patch_size=8, distillation_token=True),
    ViTConfig(**SMALL, patch_size=8, register_tokens=3, channels=1),
    ViTConfig(**SMALL, patch_size=8, position="relative"),
    ViTConfig(**SMALL, patch_size=8, position="rope"),
    ViTConfig(**{**SMALL, "num_classes": 0}, patch_size=(16, 8)),
    ViTConfig(**SMALL, patch_size=2, stem=(), stem_width=32),
    ViTConfig(**SMALL, patch_size=1, stem=(2, 1, 2), stem_width=32),
    ResNetConfig((2, 1), image_size=(33, 47), width=32, num_classes=7),
    ResNetConfig((1, 2, 1), image_size=32, width=32, num_classes=7, root="3x3", channels=1),
]


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: f"{config.description} {getattr(config, 'position', '')}"
)
def test_it_is_the_work_of_the_products_that_are_done(config, monkeypatch):
    done = []

    def count(product, multiply):
        def counted(*args, **kwargs):
            result = product(*args, **kwargs)
            done.append(multiply(result.shape, *args))
            return result

        return counted

    functional = layers.F
    linear = lambda y, x, weight, *_: np.prod(y) * weight.shape[0]
    monkeypatch.setattr(functional, "linear", count(functional.linear, linear))
    monkeypatch.setattr(functional, "linear_gelu", count(functional.linear_gelu, linear))
    attention = count(functional.attention, lambda y, qkv, *_: 2 * np.prod(y) * qkv.shape[1])
    monkeypatch.setattr(functional, "attention", attention)
    attend = count(functional.attend, lambda y, q, k, *_: 2 * np.prod(y) * k.shape[1])
    monkeypatch.setattr(functional, "attend", attend)
    by_offset = count(Tensor.__matmul__, lambda y, a, b: np.prod(y) * a.shape[-1])
    monkeypatch.setattr(Tensor, "__matmul__", by_offset)
    convolution = count(functional.conv2d, lambda y, x, weight, *_: np.prod(y) * np.prod(weight.shape[:3]))
    monkeypatch.setattr(functional, "conv2d", convolution)
    model = build(config).eval()
    image = np.zeros((1, *config.image_size, config.channels), np.float32)
    with no_grad():
        model(image)
        assert sum(done) == multiply_adds(config, class_row_only=True)
        done.clear()
        model(image, tap={})
    assert sum(done) == multiply_adds(config)
