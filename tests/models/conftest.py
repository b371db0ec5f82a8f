import functools
from pathlib import Path

import numpy as np
import pytest

from minivit import ops
from minivit.models import ViT, ViTConfig

VECTORS = Path(__file__).parents[1] / "data" / "vectors"


@pytest.fixture(scope="session")
def vector_path():
    """vector_path("vit_tok.ckpt.npz"): the path of a recorded file."""
    return lambda name: VECTORS / name


@pytest.fixture(scope="session")
def vectors():
    """vectors("train_traj"): the recorded arrays of tests/data/vectors/train_traj.npz, by name."""

    @functools.cache
    def load(name):
        with np.load(VECTORS / f"{name}.npz") as archive:
            return dict(archive)

    return load


@pytest.fixture(scope="session")
def tiny():
    """tiny(**changes): the configuration of a model with 2 x 3 patches of 2 x 4 pixels, two heads, two blocks."""

    def config(**changes):
        fields = {"image_size": (4, 12), "patch_size": (2, 4), "width": 8, "depth": 2, "heads": 2, "mlp_width": 10}
        return ViTConfig(**{**fields, "num_classes": 3, "channels": 2, **changes})

    return config


@pytest.fixture(scope="session")
def perturbed():
    """perturbed(config): a float64 model with random parameters everywhere, its head included."""

    def model(config, seed=7, scale=0.3):
        vit = ViT(config, dtype="float64")
        rng = np.random.default_rng(seed)
        for p in vit.parameters():
            p.data += scale * rng.standard_normal(p.shape)
        return vit

    return model


@pytest.fixture(scope="session")
def images():
    """images(config, batch=2): random images of the configuration's shape, float64."""

    def draw(config, batch=2, seed=3):
        return np.random.default_rng(seed).standard_normal((batch, *config.image_size, config.channels))

    return draw


@pytest.fixture(scope="session")
def layers_by_ops():
    """convolution, norm = layers_by_ops(module, groups): (x, name of a layer) -> y on arrays, by the parameters and
    ops alone, to write a model down a second time."""

    def layers(module, groups):
        p = module.state_dict()

        def convolution(x, name, stride=1):
            return ops.conv2d(x, ops.standardise(p[f"{name}.weight"])[0], stride)[0]

        def norm(x, name):
            return ops.group_norm(x, p[f"{name}.scale"], p[f"{name}.bias"], groups)[0]

        return convolution, norm

    return layers
