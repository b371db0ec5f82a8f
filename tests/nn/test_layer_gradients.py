"""The gradient of every layer, with respect to its input and every parameter, against central differences.

Parameters are perturbed first: at their initial values biases are zero and scales one, which would hide errors.
"""

import copy

import numpy as np
import pytest
from devices import check_gradients, placed

from minivit.nn import MLP, Dropout, DropPath, EncoderBlock, LayerNorm, Linear, MultiHeadAttention, PatchEmbed, patchify

pytestmark = pytest.mark.usefixtures("device")


def rng(seed=0):
    return np.random.default_rng(seed)


TOKENS = rng(1).standard_normal((4, 5, 6))
IMAGES = rng(1).standard_normal((2, 4, 9, 2))


def block(attention_dropout=0.0, mlp_dropout=0.0, gelu="tanh", **options):
    generator = rng()
    attention = MultiHeadAttention(6, 3, generator, "float64", attention_dropout)
    return EncoderBlock(attention, MLP(6, 7, generator, "float64", mlp_dropout, gelu), 6, "float64", **options)


LAYERS = {
    "linear": (Linear(6, 4, rng(), "float64"), TOKENS),
    "layer_norm": (LayerNorm(6, dtype="float64"), TOKENS),
    "layer_norm with a large eps": (LayerNorm(6, 0.5, "float64"), TOKENS),
    "attention, one head": (MultiHeadAttention(6, 1, rng(), "float64"), TOKENS),
    "attention, three heads": (MultiHeadAttention(6, 3, rng(), "float64"), TOKENS),
    "attention with dropout": (MultiHeadAttention(6, 2, rng(), "float64", dropout=0.3), TOKENS),
    "mlp": (MLP(6, 7, rng(), "float64"), TOKENS),
    "mlp, erf": (MLP(6, 7, rng(), "float64", gelu="erf"), TOKENS),
    "mlp with dropout": (MLP(6, 7, rng(), "float64", dropout=0.3), TOKENS),
    "block": (block(), TOKENS),
    "block, erf": (block(gelu="erf", norm_eps=1e-2), TOKENS),
    "block with layer scale": (block(layer_scale=0.1), TOKENS),
    "block with all noise": (block(0.2, 0.2, dropout=0.2, drop_path=0.3), TOKENS),
    "patch_embed": (PatchEmbed((2, 3), 2, 5, rng(), "float64"), IMAGES),
    "dropout": (Dropout(0.4), TOKENS),
    "drop_path": (DropPath(0.4), TOKENS),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    layer, x = copy.deepcopy(LAYERS[name])
    generator = rng(2)
    for p in layer.parameters():
        p.data += 0.3 * generator.standard_normal(p.shape)
    placed(layer)
    noise = not isinstance(layer, Linear | LayerNorm | PatchEmbed)

    def forward(x, *parameters):
        return layer(x, rng(3)) if noise else layer(x)  # the same masks at every call

    check_gradients(forward, x, *layer.parameters())


def test_gradients_of_patchify():
    check_gradients(lambda images: patchify(images, (2, 3)), IMAGES)
