"""conv2d and max_pool2d."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, distinct

from minivit import functional as F
from minivit.backend.windows import window_span

PADDINGS = st.sampled_from(["same", "valid"])
sides = st.integers(1, 3)


@st.composite
def convolutions(draw):
    """x, weight, stride, padding; "valid" windows lie inside the image."""
    window = draw(sides), draw(sides)
    padding = draw(PADDINGS)
    size = [draw(st.integers(n if padding == "valid" else 1, 5)) for n in window]
    channels, filters = draw(sides), draw(sides)
    x = draw(arrays((draw(st.integers(1, 2)), *size, channels)))
    return x, draw(arrays((*window, channels, filters))), draw(sides), padding


def border_by_tensorflow(size, window, stride):
    """The border before and after, by the case distinction of TensorFlow's documentation."""
    total = max(window - (stride if size % stride == 0 else size % stride), 0)
    return total // 2, total - total // 2


def with_border(x, window, stride, padding, fill=0.0):
    if padding == "valid":
        return x
    borders = [border_by_tensorflow(n, w, stride) for n, w in zip(x.shape[1:3], window, strict=True)]
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


@given(inputs=convolutions())
def test_conv2d_is_a_linear_layer_on_windows_side_by_side(inputs):
    x, weight, stride, padding = inputs
    places = with_border(np.arange(x.size).reshape(x.shape), weight.shape[:2], stride, padding, fill=-1)
    index = by_windows(places, weight.shape[:2], stride, lambda part: part.reshape(len(part), -1))

    def composition(x, weight):
        pixels = F.concat(x.reshape(x.size), to_device(np.zeros(1)), axis=0)  # the last, index -1, is the border
        return F.linear(pixels[to_device(index)], weight.reshape(-1, weight.shape[-1]))

    assert_same(lambda x, weight: F.conv2d(x, weight, stride, padding), composition, x, weight)


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
    with pytest.raises(ValueError, match='padding "SAME"'):
        ops.conv2d(x, np.ones((3, 3, 3, 4)), padding="SAME")
    with pytest.raises(ValueError, match="no 3x5 window lies inside images of 5x4"):
        ops.conv2d(x, np.ones((3, 5, 3, 4)), padding="valid")


# max_pool2d


@st.composite
def pools(draw):
    x = draw(arrays(st.tuples(sides, st.integers(1, 6), st.integers(1, 6), sides), distinct))
    return x, draw(sides), draw(sides)


@pytest.mark.gradient_check("max_pool2d")
@given(inputs=pools())
def test_max_pool2d(inputs):
    x, window, stride = inputs
    bordered = with_border(x, (window, window), stride, "same", fill=-np.inf)
    expected = by_windows(bordered, (window, window), stride, lambda part: part.max(axis=(1, 2)))
    np.testing.assert_array_equal(ops.max_pool2d(x, window, stride)[0], expected)
    check(ops.max_pool2d, x, window=window, stride=stride)


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


def test_max_pool2d_says_what_does_not_fit():
    for x, window, stride in ((np.ones((4, 4, 1)), 3, 2), (np.ones((1, 4, 4, 1)), 0, 2), (np.ones((1, 4, 4, 1)), 3, 0)):
        with pytest.raises(ValueError, match="max_pool2d: x "):
            ops.max_pool2d(x, window, stride)


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
