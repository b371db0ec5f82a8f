"""The gradient of every layer, with respect to its input and every parameter, against central differences.

Parameters are perturbed first: at their initial values biases are zero and scales one, which would hide errors.
"""

import copy

import numpy as np
import pytest
from devices import check_gradients, placed, to_device

from minivit.nn import (
    MLP,
    CausalAttention,
    CrossAttention,
    Dropout,
    DropPath,
    Embedding,
    EncoderBlock,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PatchEmbed,
    RMSNorm,
    SwiGLU,
    patchify,
)

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
    "causal attention": (CausalAttention(6, 3, rng(), "float64"), TOKENS),
    "causal attention with dropout": (CausalAttention(6, 2, rng(), "float64", dropout=0.3), TOKENS),
    "cross attention": (CrossAttention(6, 3, 4, rng(), "float64"), TOKENS),
    "cross attention with dropout": (CrossAttention(6, 2, 4, rng(), "float64", dropout=0.3, bias=False), TOKENS),
    "mlp": (MLP(6, 7, rng(), "float64"), TOKENS),
    "mlp, erf": (MLP(6, 7, rng(), "float64", gelu="erf"), TOKENS),
    "mlp, quick": (MLP(6, 7, rng(), "float64", gelu="quick"), TOKENS),
    "mlp with dropout": (MLP(6, 7, rng(), "float64", dropout=0.3), TOKENS),
    "swiglu": (SwiGLU(6, 7, rng(), "float64"), TOKENS),
    "swiglu with dropout": (SwiGLU(6, 7, rng(), "float64", dropout=0.3, bias=False), TOKENS),
    "rms_norm": (RMSNorm(6, dtype="float64"), TOKENS),
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
    noise = not isinstance(layer, Linear | LayerNorm | RMSNorm | PatchEmbed)

    def forward(x, *parameters):
        inputs = (x, x[:, :3, :4]) if isinstance(layer, CrossAttention) else (x,)
        return layer(*inputs, rng(3)) if noise else layer(*inputs)  # the same masks at every call

    check_gradients(forward, x, *layer.parameters())


def test_gradients_of_patchify():
    check_gradients(lambda images: patchify(images, (2, 3)), IMAGES)


def test_gradients_of_what_cross_attention_attends_to():
    layer = placed(CrossAttention(6, 3, 4, rng(), "float64"))
    context, values, bias = (rng(i).standard_normal(shape) for i, shape in enumerate([(4, 3, 4), (4, 3, 4), (3, 5, 3)]))
    mask = to_device(np.tri(5, 3, dtype=bool))

    def forward(x, context, values, bias):
        return layer(x, context, values=values, bias=bias, mask=mask)

    check_gradients(forward, TOKENS, context, values, bias)


def test_gradients_of_an_embedding():
    layer = placed(Embedding(5, 3, rng(), "float64"))
    ids = to_device(np.array([[4, 0, 4], [1, 4, 0]]))
    check_gradients(lambda _: layer(ids), layer.table)
