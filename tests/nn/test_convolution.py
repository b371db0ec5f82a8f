"""Conv: the op with a weight and a bias."""

import numpy as np
import pytest
from devices import assert_allclose, assert_equal, check_gradients, placed, tensor, to_device

from minivit import functional as F
from minivit.nn.convolution import Conv

pytestmark = pytest.mark.usefixtures("device")

IMAGES = np.random.default_rng(1).standard_normal((2, 5, 4, 6))
CASES = {
    "same": ({"window": 3, "channels": 6, "filters": 4}, (3, 3, 6, 4), (2, 5, 4, 4)),
    "a symmetric border": (
        {"window": 3, "channels": 6, "filters": 4, "stride": 2, "padding": 1},
        (3, 3, 6, 4),
        (2, 3, 2, 4),
    ),
    "groups": ({"window": 2, "channels": 6, "filters": 4, "padding": "valid", "groups": 2}, (2, 2, 3, 4), (2, 4, 3, 4)),
    "depthwise": (
        {"window": 5, "channels": 6, "filters": 6, "padding": (2, 1), "groups": 6},
        (5, 5, 1, 6),
        (2, 5, 2, 6),
    ),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_shapes_values_and_gradients(name, bias):
    options, weight_shape, y_shape = CASES[name]
    layer = placed(Conv(**options, rng=np.random.default_rng(0), dtype="float64", bias=bias))
    assert layer.weight.shape == weight_shape
    assert [p.shape for p in layer.parameters()] == [weight_shape, (options["filters"],)][: 1 + bias]
    shift = np.zeros(options["filters"])
    if bias:
        assert_equal(layer.bias, shift)
        shift = np.arange(1.0, 1 + options["filters"])
        layer.bias.data += to_device(shift)
    y = layer(tensor(IMAGES))
    assert y.shape == y_shape
    rest = options.get("stride", 1), options.get("padding", "same"), options.get("groups", 1)
    assert_allclose(y, F.conv2d(tensor(IMAGES), layer.weight, *rest).data + to_device(shift), rtol=1e-13)

    def f(x, *parameters):
        for parameter, given in zip(("weight", "bias"), parameters, strict=False):
            setattr(layer, parameter, given)
        return layer(x)

    check_gradients(f, IMAGES, *(np.array(p.data.tolist()) for p in layer.parameters()))


@pytest.mark.parametrize(("groups", "fan_in"), [(1, 9 * 64), (8, 9 * 8), (64, 9)])
def test_the_weight_is_drawn_for_the_pixels_that_a_filter_sees(groups, fan_in):
    layer = Conv(3, 64, 64, np.random.default_rng(0), groups=groups)
    assert layer.weight.data.std() == pytest.approx(fan_in**-0.5, rel=0.1)
