"""ResNet-v2: sizes, gradients, training like a ViT."""

import dataclasses
import math

import numpy as np
import pytest

from minivit import functional as F
from minivit import ops
from minivit.errors import ConfigError
from minivit.gradcheck import check_gradients
from minivit.models import ResNet, ResNetConfig, ViTConfig
from minivit.models.families import build
from minivit.models.resnet import PreActivationUnit
from minivit.optim import AdamW
from minivit.runs.presets import PRESETS
from minivit.tensor import grad, no_grad, watch
from minivit.update.supervised import step

TINY = ResNetConfig(units=(1, 2), image_size=8, width=4, groups=2, num_classes=3, channels=2, root="3x3")


def perturbed(config, seed=0, scale=0.3):
    """A float64 model with random parameters everywhere: at the start the head is zero."""
    model, rng = ResNet(config, dtype="float64"), np.random.default_rng(seed)
    for p in model.parameters():
        p.data += scale * rng.standard_normal(p.shape)
    return model


def draw_images(config, batch=2):
    return np.random.default_rng(1).standard_normal((batch, *config.image_size, config.channels))


def parameters_by_hand(units, width, classes):
    """Counted unit by unit from the description in the paper: three convolutions, three norms, a projection."""
    total, channels = 7 * 7 * 3 * width, width
    for stage, count in enumerate(units):
        inner = width * 2**stage
        for unit in range(count):
            total += channels * inner + 9 * inner * inner + inner * 4 * inner + 2 * (channels + inner + inner)
            total += channels * 4 * inner if unit == 0 else 0
            channels = 4 * inner
    return total + 2 * channels + (channels + 1) * classes


@pytest.mark.parametrize(
    ("name", "units", "width", "count"),
    [
        ("R50x1", (3, 4, 6, 3), 64, 25_549_352),  # as released by the authors of BiT, with 1000 classes
        ("R101x1", (3, 4, 23, 3), 64, 44_541_480),
        ("R152x2", (3, 8, 36, 3), 128, 236_335_208),
        ("R26x1", (2, 2, 2, 2), 64, None),
    ],
)
def test_counts(name, units, width, count):
    found = ResNet(ResNetConfig.variant(name), seed=None).num_parameters()
    assert found == parameters_by_hand(units, width, 1000)
    assert count in (found, None)


@pytest.mark.parametrize("root", ["3x3", "7x7"])
def test_gradients(root):
    config = dataclasses.replace(TINY, root=root, image_size=(9, 8))
    model = perturbed(config)
    check_gradients(lambda x, *parameters: model(x), draw_images(config, 1), *model.parameters(), rtol=1e-5)


def test_shapes_of_the_maps():
    config = dataclasses.replace(TINY, units=(1, 1, 1), image_size=(40, 24), root="7x7")
    tap = {}
    model = ResNet(config)
    assert model(draw_images(config), tap=tap).shape == (2, 3)
    assert {name: x.shape for name, x in tap.items()} == {
        "root": (2, 10, 6, 4),
        "unit0": (2, 10, 6, 16),
        "unit1": (2, 5, 3, 32),
        "unit2": (2, 3, 2, 64),
        "features": (2, 64),
    }
    assert ResNet(dataclasses.replace(config, num_classes=0))(draw_images(config)).shape == (2, 64)


@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (16, 2), (4, 1)])
def test_a_unit_normalises_before_it_convolves_and_adds_what_came_in(layers_by_ops, channels, stride):
    """Identity mappings (He et al. 2016, figure 1b); a projection sees the normalised input, as in BiT."""
    unit = PreActivationUnit(channels, 4, stride, 2, np.random.default_rng(0), "float64")
    rng = np.random.default_rng(1)
    for p in unit.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape)
    convolution, norm = layers_by_ops(unit, 2)
    x = rng.standard_normal((2, 6, 5, channels))
    active = np.maximum(norm(x, "norm1"), 0)
    y = np.maximum(norm(convolution(active, "conv1"), "norm2"), 0)
    y = np.maximum(norm(convolution(y, "conv2", stride), "norm3"), 0)
    shortcut = convolution(active, "shortcut", stride) if (channels, stride) != (16, 1) else x
    np.testing.assert_allclose(unit(x).data, convolution(y, "conv3") + shortcut, rtol=0, atol=1e-10)


def test_root_and_head(layers_by_ops):
    config = dataclasses.replace(TINY, root="7x7", image_size=(17, 12))
    model, x, tap = perturbed(config), draw_images(config), {}
    logits = model(x, tap=tap).data
    convolution, norm = layers_by_ops(model, config.groups)
    root = ops.max_pool2d(convolution(x, "root", 2))[0]  # nothing is normalised before the first unit
    np.testing.assert_allclose(tap["root"].data, root, rtol=0, atol=1e-10)
    features = np.maximum(norm(tap["unit2"].data, "norm"), 0).mean(axis=(1, 2))
    np.testing.assert_allclose(logits, features @ model.head.weight.data + model.head.bias.data, rtol=0, atol=1e-10)


def test_all_logits_begin_as_zero():
    model = ResNet(TINY)
    assert not model(draw_images(TINY)).data.any()
    (g,) = grad(F.cross_entropy(model(draw_images(TINY)), np.array([0, 1])), [model.head.weight])
    assert g.any()


def test_recomputation_gives_the_same_gradients():
    model, x, y = perturbed(TINY), draw_images(TINY), np.array([0, 2])
    plain = grad(F.cross_entropy(model(x), y), model.parameters())
    model.recompute_blocks = True
    for one, two in zip(plain, grad(F.cross_entropy(model(x), y), model.parameters()), strict=True):
        np.testing.assert_array_equal(one, two)


def test_it_learns_a_batch_by_heart():
    model, x, y = ResNet(TINY, seed=0).train(), draw_images(TINY, 6), np.arange(6) % 3
    optimizer = AdamW(model.named_parameters(), lr=1e-2)
    losses = [step(model, optimizer, x, y, accumulate=2).loss for _ in range(30)]
    assert losses[0] == pytest.approx(math.log(3), rel=1e-5)
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": ()}, "units is (), expected at least 1 in each of at least one stage"),
        ({"units": (2, 0)}, "units is (2, 0), expected at least 1 in each of at least one stage"),
        ({"width": 5}, "2 groups do not divide width 5"),
        ({"groups": 0}, "groups is 0, expected at least 1"),
        ({"num_classes": -1}, "num_classes is -1, expected at least 0"),
        ({"root": "5x5"}, 'root is "5x5", expected one of 7x7, 3x3'),
        ({"image_size": "32"}, "image_size is '32', expected a number of pixels or (height, width)"),
    ],
)
def test_a_wrong_configuration_is_named_in_one_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(TINY, **changes)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["R51x1", "R50", "R50x0", "R50x", "ResNet"])
def test_an_unknown_resnet(name):
    with pytest.raises(ConfigError, match=f'unknown ResNet "{name}": expected one of R26, R50, R101, R152'):
        ResNetConfig.variant(name)


# Work


def multiply_adds(config):
    """Of one image, counted op by op as they run."""
    total = 0

    def count(op, inputs, y):
        nonlocal total
        if op in ("linear", "linear_gelu", "conv2d"):
            weight = inputs[1]
            total += y.size * weight.size // weight.shape[-1]
        elif op == "attention":
            total += 2 * y.size * inputs[0].shape[1]

    with no_grad(), watch(count):
        tap = {}  # all rows of the last block
        build(config)(np.zeros((1, *config.image_size, config.channels)), tap=tap)
    return total


def test_the_models_that_are_compared_do_equal_work():
    vit = ViTConfig(image_size=32, num_classes=10, **PRESETS["cifar10-10min"]["model"])
    resnet = ResNetConfig(image_size=32, num_classes=10, **PRESETS["cifar10-resnet"]["model"])
    assert multiply_adds(resnet) == pytest.approx(multiply_adds(vit), rel=0.02)
    choices = [{**PRESETS[name], "model": None, "lr": None} for name in ("cifar10-10min", "cifar10-resnet")]
    assert choices[0] == choices[1]


def test_multiply_adds_of_a_published_hybrid():
    """0.439e9 by XLA's count for the published code, which includes what is done element by element."""
    assert multiply_adds(ViTConfig.variant("R+Ti/16")) == pytest.approx(0.439e9, rel=0.02)
