"""At infinity, at poles and far from zero: the limit, where there is one, and no warning. Ops and kernels alike."""

import math

import numpy as np
import pytest
from devices import ops, tensor, to_host

from minivit import functional as F
from minivit.backend import kernels
from minivit.tensor import grad

pytestmark = [pytest.mark.usefixtures("device"), pytest.mark.filterwarnings("error")]
INF = math.inf


@pytest.fixture(autouse=True, params=["reference", "fused"])
def both_definitions(request):
    with kernels(request.param):
        yield


def both_dtypes(x):
    return [np.array(x, dtype) for dtype in ("float32", "float64")]


def value_and_slope(f, x):
    """f(x), and its gradient for a cotangent of ones."""
    t = tensor(x, requires_grad=True)
    y = f(t)
    (d,) = grad(y, [t], tensor(np.ones(y.shape, x.dtype)).data)
    return to_host(y.data), to_host(d)


@pytest.mark.parametrize(
    ("f", "x", "y", "slope"),
    [
        (F.gelu, [-INF, -1e30, -50, 50, 1e30, INF], [0, 0, 0, 50, 1e30, INF], [0, 0, 0, 1, 1, 1]),
        (lambda x: F.gelu(x, "erf"), [-INF, -1e30, -50, 50, 1e30, INF], [0, 0, 0, 50, 1e30, INF], [0, 0, 0, 1, 1, 1]),
        (lambda x: F.gelu(x, "quick"), [-INF, -1e30, -80, 50, 1e30, INF], [0, 0, 0, 50, 1e30, INF], [0, 0, 0, 1, 1, 1]),
        (F.silu, [-INF, -1e30, -800, 800, 1e30, INF], [0, 0, 0, 800, 1e30, INF], [0, 0, 0, 1, 1, 1]),
        (F.relu, [-INF, INF], [0, INF], [0, 1]),
        (F.sigmoid, [-INF, -1e30, 1e30, INF], [0, 0, 1, 1], [0, 0, 0, 0]),
        (F.tanh, [-INF, -1e30, 1e30, INF], [-1, -1, 1, 1], [0, 0, 0, 0]),
        (F.erf, [-INF, -1e30, 1e30, INF], [-1, -1, 1, 1], [0, 0, 0, 0]),
        (F.exp, [-INF, 0], [0, 1], [0, 1]),
        (F.sqrt, [0, 4, INF], [0, 2, INF], [INF, 0.25, 0]),
        (lambda x: x**0, [0, -2, INF], [1, 1, 1], [0, 0, 0]),
        (lambda x: x**2, [0, -3], [0, 9], [0, -6]),
        (lambda x: x**0.5, [0, 4], [0, 2], [INF, 0.25]),
        (lambda x: 0.0**x, [0, 0.5, 2], [1, 0, 0], [0, 0, 0]),
        (lambda x: x ** tensor(np.array([2.0, 2, 3])), [-2, 3, -2], [4, 9, -8], [-4, 6, 12]),
        (lambda x: x ** tensor(np.array([0.0, 2, 1])), [0, 0, 0], [1, 0, 0], [0, 0, 1]),
        (lambda x: F.maximum(x, 0.0), [-INF, 0, INF], [0, 0, INF], [0, 0.5, 1]),
        (lambda x: F.maximum(x, x * 0 + 1), [-2, 2], [1, 2], [0, 1]),
        (abs, [-INF, -2, 0, INF], [INF, 2, 0, INF], [-1, -1, 0, 1]),
        (F.max, [1, INF, -INF], INF, [0, 1, 0]),
        (F.max, [-INF, -INF], -INF, [0.5, 0.5]),
        (lambda x: F.where(x > 0, x, 0.0), [-INF, INF], [0, INF], [0, 1]),
        (F.var, [3], 0, [0]),
        (F.mean, [3], 3, [1]),
        (lambda x: F.var(x, ddof=1), [3], math.nan, [math.nan]),
        (F.softmax, [1, -INF, 1], [0.5, 0, 0.5], [0, 0, 0]),
        (F.log_softmax, [1, -INF, 1], [-math.log(2), -INF, -math.log(2)], [-0.5, 1, -0.5]),
    ],
)  # fmt: skip
def test_values_and_slopes(f, x, y, slope):
    for argument in both_dtypes(x):
        found, d = value_and_slope(f, argument)
        np.testing.assert_allclose(found, y, rtol=1e-6)
        np.testing.assert_allclose(d, slope, rtol=1e-6, atol=1e-30)


def test_nan_is_not_taken_for_a_limit():
    for f in (F.gelu, lambda x: F.gelu(x, "erf"), lambda x: F.gelu(x, "quick"), F.silu, F.sigmoid, F.erf, F.max):
        y, d = value_and_slope(f, np.array([math.nan], np.float32))
        assert np.isnan(y).all()
        assert f is F.max or np.isnan(d).all()


def test_the_gradient_of_a_maximum_that_is_nan_goes_to_the_nan():
    assert value_and_slope(F.max, np.array([1.0, math.nan]))[1].tolist() == [0, 1]


def test_the_gradient_of_an_exponent():
    x = np.array([2.0, 0.0, 0.0, INF, -2.0, math.nan])
    p = tensor(np.array([3.0, 2.0, 0.0, -1.0, 2.0, 2.0]), requires_grad=True)
    (dp,) = grad(F.pow(tensor(x), p), [p], tensor(np.ones(6)).data)
    np.testing.assert_allclose(to_host(dp), [8 * math.log(2), 0, 0, 0, math.nan, math.nan])


class TestLosses:
    """A class that a logit of minus infinity rules out counts where it is asked for, and only there."""

    Z = (1.0, 2.0, -INF)
    P = (1 / (1 + math.e), math.e / (1 + math.e), 0)

    def loss(self, loss, logits, labels, **params):
        found = []
        for z in both_dtypes(logits):
            labels = labels.astype(z.dtype) if labels.dtype.kind == "f" else labels
            y, d = value_and_slope(lambda z, labels=labels: loss(z, tensor(labels).data, **params), z)
            found.append((y, d))
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
        np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-6)
        return found[1]

    @pytest.mark.parametrize(
        ("labels", "targets"),
        [
            (np.array([1]), (0, 1, 0)),
            (np.array([[0.0, 1.0, 0.0]]), (0, 1, 0)),
            (np.array([[0.75, 0.25, 0.0]]), (0.75, 0.25, 0)),
        ],
    )
    def test_cross_entropy(self, labels, targets):
        y, d = self.loss(F.cross_entropy, [self.Z], labels)
        np.testing.assert_allclose(y, targets[0] * math.log(1 + math.e) + targets[1] * math.log(1 + 1 / math.e))
        np.testing.assert_allclose(d, [np.subtract(self.P, targets)], atol=1e-15)

    @pytest.mark.parametrize(
        ("labels", "targets", "smoothing"),
        [
            (np.array([2]), (0, 0, 1), 0.0),
            (np.array([[0.5, 0.0, 0.5]]), (0.5, 0, 0.5), 0.0),
            (np.array([1]), (0.1, 0.8, 0.1), 0.3),
        ],
    )
    def test_cross_entropy_of_a_class_that_is_ruled_out(self, labels, targets, smoothing):
        y, d = self.loss(F.cross_entropy, [self.Z], labels, label_smoothing=smoothing)
        assert y == INF
        np.testing.assert_allclose(d, [np.subtract(self.P, targets)], atol=1e-15)

    def test_a_loss_of_zero_is_zero(self):
        y, _ = self.loss(F.cross_entropy, [[0.0, -INF], [-INF, 3.0]], np.array([0, 1]))
        assert math.copysign(1, y) == 1
        assert y == 0

    def test_sigmoid_cross_entropy(self):
        y, d = self.loss(F.sigmoid_cross_entropy, [[-INF, INF, 0.0]], np.array([[0.0, 1.0, 0.5]]))
        np.testing.assert_allclose(y, math.log(2))
        np.testing.assert_allclose(d, [[0, 0, 0]], atol=1e-15)
        y, d = self.loss(F.sigmoid_cross_entropy, [[-INF, INF, INF]], np.array([[1.0, 0.0, 0.5]]))
        assert y == INF
        np.testing.assert_allclose(d, [[-1, 1, 0.5]])
        y, _ = self.loss(F.sigmoid_cross_entropy, [[-INF, INF, -INF]], np.array([1]))
        assert y == 0


def test_what_is_dropped_counts_zero_even_if_it_is_infinite():
    x = np.array([[INF, -INF, 3.0, math.nan]] * 8)
    for f in (F.dropout, F.drop_path):
        seed = np.random.default_rng(0)
        kept = to_host(f(tensor(np.ones_like(x)), 0.5, np.random.default_rng(0)).data) > 0
        y, d = value_and_slope(lambda x, f=f, rng=seed: f(x, 0.5, rng), x)
        np.testing.assert_array_equal(y, np.where(kept, 2 * x, 0))
        np.testing.assert_array_equal(d, np.where(kept, 2, 0))


def test_an_infinite_cotangent_stays_where_it_belongs():
    x, g = np.array([[-1.0, 2.0]]), np.array([[INF, 1.0]])
    assert ops.relu(x)[1](g)[0].tolist() == [[0, 1]]
    assert ops.maximum(x, np.array([[0.0, 0.0]]))[1](g)[0].tolist() == [[0, 1]]
    images = np.array([[3.0, 1.0], [2.0, 0.0]]).reshape(1, 2, 2, 1)
    pooled, vjp = ops.max_pool2d(images, 2, 2)
    assert vjp(np.full(pooled.shape, INF))[0].ravel().tolist() == [INF, 0, 0, 0]


class TestRange:
    """Float32 results stay where the function stays."""

    X = np.linspace(-30, 30, 20_001, dtype=np.float32)

    def test_erf(self):
        y = to_host(F.erf(tensor(self.X)).data)
        assert y.dtype == np.float32
        assert abs(y).max() == 1
        np.testing.assert_allclose(y, np.vectorize(math.erf)(self.X), atol=5e-7)
        wide = to_host(F.erf(tensor(self.X.astype(float))).data)
        assert abs(wide).max() == 1
        np.testing.assert_allclose(wide, np.vectorize(math.erf)(self.X), atol=2e-15)

    @pytest.mark.parametrize("form", ["tanh", "erf", "quick"])
    def test_gelu_has_the_sign_of_x(self, form):
        y = to_host(F.gelu(tensor(self.X), form).data)
        assert y[self.X < 0].max() <= 0
        assert abs(y[self.X < -12]).max() <= (2e-8 if form == "quick" else 0)
        assert (y[self.X > 12] == self.X[self.X > 12]).all()

    def test_probabilities(self):
        rows = np.random.default_rng(0).normal(0, 30, (200, 7)).astype(np.float32)
        for f, low, high in ((F.softmax, 0, 1), (F.sigmoid, 0, 1), (F.log_softmax, -INF, 0), (F.tanh, -1, 1)):
            y = to_host(f(tensor(rows)).data)
            assert low <= y.min() <= y.max() <= high
        for i in range(7):
            assert to_host(F.cross_entropy(tensor(rows), tensor(np.full(200, i)).data).data) >= 0
