"""A fresh model: the published initialisation, and what follows from it."""

import math

import numpy as np
import pytest

from minivit import functional as F
from minivit.models import ViT, ViTConfig
from minivit.tensor import grad

CONFIG = ViTConfig(
    image_size=128, patch_size=8, width=192, depth=2, heads=3, num_classes=7, representation_size=500, channels=3
)


@pytest.fixture(scope="module")
def arrays():
    return ViT(CONFIG, seed=1, dtype="float64").state_dict()


def largest(w, limit):
    """Whether the largest element of a uniform draw is where it should be: at the limit and not beyond."""
    return 0.999 * limit < abs(w).max() <= limit


def test_patch_projection(arrays):
    w = arrays["patch_embed.projection.weight"]
    sigma = math.sqrt(1 / 192) / 0.87962566
    assert w.std() == pytest.approx(math.sqrt(1 / 192), rel=0.01)
    assert 1.99 * sigma < abs(w).max() <= 2 * sigma


def test_position_embedding_is_normal_and_not_truncated(arrays):
    w = arrays["position_embedding"]
    assert w.shape == (1, 257, 192)
    assert w.std() == pytest.approx(0.02, rel=0.01)
    assert abs(w).max() > 3.5 * 0.02


def test_attention_kernels_each_have_the_limit_of_a_square_matrix(arrays):
    for block in ("blocks.0", "blocks.1"):
        for w in np.split(arrays[f"{block}.attention.qkv.weight"], 3, axis=1):
            assert largest(w, 0.125)
        assert largest(arrays[f"{block}.attention.out.weight"], 0.125)


def test_mlp(arrays):
    limit = math.sqrt(6 / (192 + 768))
    for layer in ("hidden", "out"):
        assert largest(arrays[f"blocks.1.mlp.{layer}.weight"], limit)
        assert arrays[f"blocks.1.mlp.{layer}.bias"].std() == pytest.approx(1e-6, rel=0.15)


def test_pre_logits(arrays):
    assert arrays["pre_logits.weight"].std() == pytest.approx(math.sqrt(1 / 192), rel=0.01)
    assert not arrays["pre_logits.bias"].any()


def test_the_rest_is_constant(arrays):
    for name, array in arrays.items():
        if name.endswith(".scale"):
            assert (array == 1).all(), name
        elif name == "class_token" or name.startswith("head") or (name.endswith("bias") and "mlp" not in name):
            assert (array == 0).all(), name
    drawn = [name for name, array in arrays.items() if array.std() > 0]
    assert len(drawn) == 1 + 1 + 2 * (2 + 4) + 1


def test_no_two_blocks_and_no_two_seeds_are_alike(arrays):
    other = ViT(CONFIG, seed=2, dtype="float64").state_dict()
    for name, array in arrays.items():
        if array.std() > 0:
            assert not np.array_equal(array, other[name])
    assert not np.array_equal(arrays["blocks.0.mlp.hidden.weight"], arrays["blocks.1.mlp.hidden.weight"])


def test_the_same_seed_gives_the_same_weights_in_both_dtypes(arrays):
    again = ViT(CONFIG, seed=1, dtype="float64").state_dict()
    rounded = ViT(CONFIG, seed=1).state_dict()
    for name, array in arrays.items():
        assert array.tobytes() == again[name].tobytes()
        assert rounded[name].dtype == "float32"
        np.testing.assert_array_equal(rounded[name], array.astype("float32"))


@pytest.mark.parametrize("position", ["learned", "learned2d", "sincos2d", "none"])
def test_position_tables(tiny, position):
    model = ViT(tiny(position=position, width=256), dtype="float64")
    state = model.state_dict()
    tables = {name: array for name, array in state.items() if name.endswith("_embedding")}
    shapes = {
        "learned": {"position_embedding": (1, 7, 256)},
        "learned2d": {"row_embedding": (2, 1, 128), "column_embedding": (1, 3, 128)},
        "sincos2d": {},
        "none": {},
    }
    assert {name: array.shape for name, array in tables.items()} == shapes[position]
    for array in tables.values():
        assert array.std() == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize("head_bias", [0.0, -10.0])
@pytest.mark.parametrize("changes", [{}, {"classifier": "gap"}, {"representation_size": 5}])
def test_logits_are_the_head_bias_and_only_the_head_learns(tiny, images, changes, head_bias):
    config = tiny(head_bias=head_bias, **changes)
    model = ViT(config, dtype="float64")
    logits = model(images(config))
    assert (logits.data == head_bias).all()
    loss = F.cross_entropy(logits, np.array([0, 2]))
    assert loss.item() == pytest.approx(math.log(3), rel=1e-14)
    for (name, _), g in zip(model.named_parameters(), grad(loss, model.parameters()), strict=True):
        assert g.any() == name.startswith("head."), name


def test_without_a_seed_nothing_is_drawn(tiny):
    for name, array in ViT(tiny(representation_size=5), seed=None).state_dict().items():
        assert (array == (1 if name.endswith("scale") else 0)).all()


def test_every_parameter_knows_its_name(tiny):
    model = ViT(tiny())
    names = [name for name, _ in model.named_parameters()]
    assert [p.name for p in model.parameters()] == names
    assert names[:4] == [
        "class_token",
        "position_embedding",
        "patch_embed.projection.weight",
        "patch_embed.projection.bias",
    ]
    assert names[4:16] == [
        f"blocks.0.{name}"
        for name in (
            *("norm1.scale", "norm1.bias", "attention.qkv.weight", "attention.qkv.bias"),
            *("attention.out.weight", "attention.out.bias", "norm2.scale", "norm2.bias"),
            *("mlp.hidden.weight", "mlp.hidden.bias", "mlp.out.weight", "mlp.out.bias"),
        )
    ]
    assert names[-4:] == ["norm.scale", "norm.bias", "head.weight", "head.bias"]
