"""conv2d, max_pool2d and avg_pool2d."""

import itertools
import re

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, distinct

from minivit import functional as F
from minivit.backend import kernels
from minivit.backend.windows import window_span
from minivit.ops.convolution import conv2d
from minivit.tensor import Tensor, grad

PIXELS = st.integers(0, 3)
PADDINGS = st.one_of(st.sampled_from(["same", "valid"]), PIXELS, st.tuples(PIXELS, PIXELS))
sides = st.integers(1, 3)


@st.composite
def convolutions(draw):
    """x, weight, stride, padding; every window finds room."""
    window = draw(sides), draw(sides)
    padding = draw(PADDINGS)
    size = [draw(st.integers(least, max(least, 5))) for least in least_size(window, padding)]
    channels, filters = draw(sides), draw(sides)
    x = draw(arrays((draw(st.integers(1, 2)), *size, channels)))
    return x, draw(arrays((*window, channels, filters))), draw(sides), padding


def least_size(window, padding):
    """The smallest image on which a window finds room."""
    pixels = {"same": window, "valid": (0, 0)}.get(padding, padding) if isinstance(padding, str) else padding
    pixels = (pixels, pixels) if isinstance(pixels, int) else pixels
    return [max(1, n - 2 * p) for n, p in zip(window, pixels, strict=True)]


def border_by_tensorflow(size, window, stride):
    """The border before and after, by the case distinction of TensorFlow's documentation."""
    total = max(window - (stride if size % stride == 0 else size % stride), 0)
    return total // 2, total - total // 2


def with_border(x, window, stride, padding, fill=0.0):
    if padding == "valid":
        return x
    if padding == "same":
        borders = [border_by_tensorflow(n, w, stride) for n, w in zip(x.shape[1:3], window, strict=True)]
    else:
        borders = [(p, p) for p in (padding if isinstance(padding, tuple) else (padding, padding))]
    return np.pad(x, [(0, 0), *borders, (0, 0)], constant_values=fill)


def windows(x, window, stride):
    """(row, column) of the output and the window (B, h, w, C) that lies there."""
    rows = range(0, x.shape[1] - window[0] + 1, stride)
    columns = range(0, x.shape[2] - window[1] + 1, stride)
    for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
        yield i, j, x[:, top : top + window[0], left : left + window[1]]


def by_windows(x, window, stride, reduce):
    """The function `reduce` of every window, put together to (B, rows, columns, ...)."""
    found = {(i, j): reduce(part) for i, j, part in windows(x, window, stride)}
    rows, columns = (1 + max(place) for place in zip(*found, strict=True))
    return np.stack([np.stack([found[i, j] for j in range(columns)], axis=1) for i in range(rows)], axis=1)


@pytest.mark.gradient_check("conv2d")
@given(inputs=convolutions())
def test_conv2d(inputs):
    x, weight, stride, padding = inputs
    bordered = with_border(x, weight.shape[:2], stride, padding)
    expected = by_windows(bordered, weight.shape[:2], stride, lambda part: np.einsum("bhwc,hwce->be", part, weight))
    assert_close(ops.conv2d(x, weight, stride, padding)[0], expected)
    check(ops.conv2d, x, weight, stride=stride, padding=padding)


@pytest.mark.parametrize(
    "lay", [lambda x: x[..., 0][..., None], lambda x: np.moveaxis(np.moveaxis(x, -1, 1).copy(), 1, -1)]
)
def test_a_single_channel_may_have_any_stride_in_memory(lay):
    """NumPy calls such an array contiguous, whatever the stride of an axis of one element is."""
    rng = np.random.default_rng(0)
    x, weight, g = (rng.standard_normal(shape) for shape in ((2, 6, 5, 1), (3, 3, 1, 2), (2, 4, 3, 2)))
    y, vjp = conv2d(x, weight, 1, "valid")
    laid = Tensor(lay(x), requires_grad=True), Tensor(weight, requires_grad=True)
    with kernels("fused"):
        found = F.conv2d(*laid, 1, "valid")
        gradients = grad((found * Tensor(g)).sum(), laid)
    assert_close(found.data, y)
    assert_close(gradients, vjp(g))


@given(inputs=convolutions())
def test_conv2d_is_a_linear_layer_on_windows_side_by_side(inputs):
    x, weight, stride, padding = inputs
    places = with_border(np.arange(x.size).reshape(x.shape), weight.shape[:2], stride, padding, fill=-1)
    index = by_windows(places, weight.shape[:2], stride, lambda part: part.reshape(len(part), -1))

    def composition(x, weight):
        pixels = F.concat(x.reshape(x.size), to_device(np.zeros(1)), axis=0)  # the last, index -1, is the border
        return F.linear(pixels[to_device(index)], weight.reshape(-1, weight.shape[-1]))

    assert_same(lambda x, weight: F.conv2d(x, weight, stride, padding), composition, x, weight)


@st.composite
def grouped(draw):
    """x, weight, stride, padding, groups: of equal channels and filters one by one (depthwise), and otherwise."""
    x, weight, stride, padding = draw(convolutions())
    groups = draw(sides)
    filters = groups * (1 if draw(st.booleans()) else weight.shape[3])
    channels = 1 if filters == groups else weight.shape[2]
    x = draw(arrays((*x.shape[:3], groups * channels)))
    return x, draw(arrays((*weight.shape[:2], channels, filters))), stride, padding, groups


@given(inputs=grouped())
def test_groups_are_convolutions_side_by_side(inputs):
    """Equal to one convolution whose weight is 0 from the channels of one group to the filters of another."""
    x, weight, stride, padding, groups = inputs
    own, filters = weight.shape[2], weight.shape[3]
    whole = np.zeros((*weight.shape[:2], x.shape[3], filters))
    for e in range(filters):
        first = e // (filters // groups) * own
        whole[:, :, first : first + own, e] = weight[..., e]
    y, vjp = ops.conv2d(x, weight, stride, padding, groups)
    expected, whole_vjp = ops.conv2d(x, whole, stride, padding)
    assert_close(y, expected)
    g = np.random.default_rng(0).standard_normal(y.shape)
    dx, dweight = vjp(g)
    expected_dx, dwhole = whole_vjp(g)
    inside = [
        dwhole[:, :, e // (filters // groups) * own : e // (filters // groups) * own + own, e] for e in range(filters)
    ]
    assert_close((dx, dweight), (expected_dx, np.stack(inside, axis=-1)))
    check(ops.conv2d, x, weight, stride=stride, padding=padding, groups=groups)


def test_windows_that_tile_the_image_are_patches():
    x, weight = np.random.default_rng(0).standard_normal((2, 4, 6, 3)), np.ones((2, 2, 3, 1))
    patches = x.reshape(2, 2, 2, 3, 2, 3).sum(axis=(2, 4, 5))
    for padding in ("same", "valid"):
        assert_close(ops.conv2d(x, weight, 2, padding)[0][..., 0], patches)


@pytest.mark.parametrize(
    ("size", "window", "stride", "expected"),
    [
        (224, 7, 2, (112, 2, 3)),  # the root: not 3 and 3
        (112, 3, 2, (56, 0, 1)),
        (9, 3, 2, (5, 1, 1)),
        (5, 3, 1, (5, 1, 1)),
        (5, 2, 1, (5, 0, 1)),
        (6, 1, 2, (3, 0, 0)),
        (2, 7, 2, (1, 2, 3)),
    ],
)
def test_same_padding_is_that_of_tensorflow(size, window, stride, expected):
    assert window_span(size, window, stride, "same") == expected
    assert expected[1:] == border_by_tensorflow(size, window, stride)


@pytest.mark.parametrize(("name", "stride"), [("k7s2", 2), ("k3s2", 2), ("k1s2", 2), ("k3s1", 1)])
def test_convolution_with_standardised_weights_equals_the_published_code(name, stride, recorded):
    v = {key.partition("/")[2]: array for key, array in recorded("ops").items() if key.startswith(f"stdconv_{name}/")}
    weight, standardise_vjp = ops.standardise(v["w"])
    y, vjp = ops.conv2d(v["x"], weight, stride)
    dx, dweight = vjp(v["upstream"])
    for found, expected in ((y, "y"), (dx, "gx"), (standardise_vjp(dweight)[0], "gw")):
        np.testing.assert_allclose(found, v[expected], rtol=1e-9, atol=1e-11)


def test_conv2d_says_what_does_not_fit():
    x = np.ones((2, 5, 4, 3))
    for bad_x, weight in ((x, np.ones((3, 3, 2, 4))), (x[0], np.ones((3, 3, 3, 4))), (x, np.ones((0, 3, 3, 4)))):
        with pytest.raises(ValueError, match=r"conv2d: x \(.*\) and weight \(.*\) are not"):
            ops.conv2d(bad_x, weight)
    with pytest.raises(ValueError, match="conv2d: stride is 0"):
        ops.conv2d(x, np.ones((3, 3, 3, 4)), stride=0)
    for padding in ("SAME", -1, 1.0, (1, 2, 3), (1, "same"), True, None):
        with pytest.raises(ValueError, match=re.escape(f'padding "{padding}", expected 1 or more, and "same"')):
            ops.conv2d(x, np.ones((3, 3, 3, 4)), padding=padding)
    with pytest.raises(ValueError, match=r"weight .* are not \(B, height, width, C\) and \(h, w, C / 2, E\)"):
        ops.conv2d(x, np.ones((3, 3, 2, 4)), groups=2)
    with pytest.raises(ValueError, match=r"conv2d: 3 groups do not divide the 4 filters of weight \(3, 3, 1, 4\)"):
        ops.conv2d(x, np.ones((3, 3, 1, 4)), groups=3)
    with pytest.raises(ValueError, match="no 3x3 window lies inside images of 1x4"):
        ops.conv2d(x[:, :1], np.ones((3, 3, 3, 4)), padding=(0, 1))
    with pytest.raises(ValueError, match="no 3x5 window lies inside images of 5x4"):
        ops.conv2d(x, np.ones((3, 5, 3, 4)), padding="valid")


# max_pool2d


@st.composite
def pools(draw):
    """x, window, stride, padding."""
    window = draw(sides)
    pixels = st.integers(0, window // 2)
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), pixels, st.tuples(pixels, pixels)))
    rows, columns = (draw(st.integers(n, max(n, 6))) for n in least_size((window, window), padding))
    return draw(arrays((draw(sides), rows, columns, draw(sides)), distinct)), window, draw(sides), padding


@pytest.mark.gradient_check("max_pool2d")
@given(inputs=pools())
def test_max_pool2d(inputs):
    x, window, stride, padding = inputs
    bordered = with_border(x, (window, window), stride, padding, fill=-np.inf)
    expected = by_windows(bordered, (window, window), stride, lambda part: part.max(axis=(1, 2)))
    np.testing.assert_array_equal(ops.max_pool2d(x, window, stride, padding)[0], expected)
    check(ops.max_pool2d, x, window=window, stride=stride, padding=padding)


def test_the_first_of_equal_maxima_takes_the_gradient():
    """As XLA and PyTorch have it; after a ReLU whole windows are zero."""
    x = np.array([[0, 0, 0, 0], [0, 2, 2, 0], [0, 2, 0, 0], [1, 0, 0, 1]], float).reshape(1, 4, 4, 1)
    y, vjp = ops.max_pool2d(x)
    np.testing.assert_array_equal(y[0, :, :, 0], [[2, 2], [2, 1]])
    (dx,) = vjp(np.array([[1.0, 10], [100, 1000]]).reshape(y.shape))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 0, 0, 0], [0, 1, 10, 0], [0, 100, 0, 0], [0, 0, 0, 1000]])
    (dx,) = ops.max_pool2d(np.zeros((1, 4, 4, 1)))[1](np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("size", ["9x12", "8x8", "7x5"])
def test_max_pool2d_equals_the_published_code(size, recorded):
    v = {key.partition("/")[2]: array for key, array in recorded("ops").items() if key.startswith(f"maxpool_{size}/")}
    y, vjp = ops.max_pool2d(v["x"])
    np.testing.assert_array_equal(y, v["y"])
    np.testing.assert_allclose(vjp(v["upstream"])[0], v["gx"], rtol=1e-12)


@pytest.mark.gradient_check("avg_pool2d")
@given(inputs=pools(), count_border=st.booleans())
def test_avg_pool2d(inputs, count_border):
    x, window, stride, padding = inputs
    bordered = with_border(x, (window, window), stride, padding, fill=0 if count_border else np.nan)
    expected = by_windows(bordered, (window, window), stride, lambda part: np.nanmean(part, axis=(1, 2)))
    params = {"window": window, "stride": stride, "padding": padding, "count_border": count_border}
    assert_close(ops.avg_pool2d(x, **params)[0], expected)
    check(ops.avg_pool2d, x, **params)


def test_the_default_of_avg_pool2d_halves_the_image():
    x = np.arange(40.0).reshape(1, 5, 4, 2)  # the last row is left out
    assert_close(ops.avg_pool2d(x)[0], x[:, :4].reshape(1, 2, 2, 2, 2, 2).mean(axis=(2, 4)))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_a_pooling_says_what_does_not_fit(name):
    op, x = getattr(ops, name), np.ones((1, 4, 4, 1))
    for bad, window, stride in ((x[0], 3, 2), (x, 0, 2), (x, 3, 0)):
        with pytest.raises(ValueError, match=f"{name}: x "):
            op(bad, window, stride)
    for padding in ("SAME", -1, 2, (1, 2), 0.5, None):
        with pytest.raises(ValueError, match=re.escape(f'{name}: padding "{padding}", expected "same", "valid" or')):
            op(x, 3, 2, padding)
    with pytest.raises(ValueError, match=f"{name}: no 5x5 window lies inside images of 4x4"):
        op(x, 5, 1, "valid")


# beside PyTorch, where it is installed


@pytest.mark.parametrize(
    ("size", "window", "stride"), [((8, 9), 3, 1), ((8, 9), 3, 2), ((16, 14), 7, 2), ((5, 6), 1, 2)]
)
def test_beside_torch(size, window, stride):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, *size, 3)), rng.standard_normal((window, window, 3, 4))
    y, vjp = ops.conv2d(x, weight, stride)
    g = rng.standard_normal(y.shape)
    borders = [border_by_tensorflow(n, window, stride) for n in size]
    theirs_x, theirs_w = (torch.tensor(a, requires_grad=True) for a in (x, weight))
    padded = torch.nn.functional.pad(theirs_x.permute(0, 3, 1, 2), [*borders[1], *borders[0]])
    theirs = torch.nn.functional.conv2d(padded, theirs_w.permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)
    theirs.backward(torch.tensor(g))
    assert_close((y, *vjp(g)), (theirs.detach().numpy(), theirs_x.grad.numpy(), theirs_w.grad.numpy()))


@pytest.mark.parametrize(
    ("groups", "filters", "padding"), [(1, 4, 1), (2, 4, 3), (6, 6, (1, 2)), (6, 12, 0), (3, 6, 2)]
)
def test_groups_and_padding_beside_torch(groups, filters, padding):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 8, 9, 6)), rng.standard_normal((5, 3, 6 // groups, filters))
    y, vjp = ops.conv2d(x, weight, 2, padding, groups)
    g = rng.standard_normal(y.shape)
    theirs_x, theirs_w = (torch.tensor(a, requires_grad=True) for a in (x, weight))
    nchw, oihw = theirs_x.permute(0, 3, 1, 2), theirs_w.permute(3, 2, 0, 1)
    theirs = torch.nn.functional.conv2d(nchw, oihw, None, 2, padding, 1, groups).permute(0, 2, 3, 1)
    theirs.backward(torch.tensor(g))
    assert_close((y, *vjp(g)), (theirs.detach().numpy(), theirs_x.grad.numpy(), theirs_w.grad.numpy()))
