"""Attention as convolution: the construction, how fast it becomes exact, and what it is at the border."""

from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.backend.kernels import kernels
from minivit.backend.precision import precision
from minivit.errors import ConfigError
from minivit.lineage import cordonnier, verify
from minivit.lineage.cordonnier import Cordonnier, CordonnierConfig, QuadraticAttention, as_convolution, bound
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "cordonnier"


def drawn(kernel, size=(6, 5), channels=3, filters=2, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(2, *size, channels)),
        rng.normal(0, 0.3, (*kernel, channels, filters)),
        rng.normal(size=filters),
    )


def convolved(x, kernel, bias, mode):
    """One place at a time.   mode: of np.pad."""
    (rows, columns), y = kernel.shape[:2], np.zeros((*x.shape[:3], kernel.shape[3]))
    above, before = (rows - 1) // 2, (columns - 1) // 2
    around = np.pad(x, ((0, 0), (above, rows - 1 - above), (before, columns - 1 - before), (0, 0)), mode=mode)
    for i, j, u, v in np.ndindex(*x.shape[1:3], rows, columns):
        y[:, i, j] += around[:, i + u, j + v] @ kernel[u, v]
    return y + bias


def by_hand(layer, x):
    """Attention from the distances of keys to the centre, one query and head at a time."""
    batch, height, width, channels = x.shape
    seen = np.zeros((batch, height, width, len(layer.spread.data), channels))
    for i, j, h in np.ndindex(height, width, len(layer.spread.data)):
        centre = np.array([i, j]) + layer.centres.data[h]
        distances = np.array([[((centre - (a, c)) ** 2).sum() for c in range(width)] for a in range(height)])
        e = np.exp(-(layer.spread.data[h] ** 2) / 2 * (distances - distances.min()))
        seen[:, i, j, h] = np.einsum("ac,bacd->bd", e / e.sum(), x)
    return seen.reshape(batch, height, width, -1) @ layer.values.weight.data + layer.values.bias.data


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 10


def test_other_kernels_recorded_by_the_slow_implementation(tmp_path):
    x, kernel, bias = drawn((5, 3), size=(7, 4))
    heads = [[u - 2, v - 1] for u in range(5) for v in range(3)][::-1]  # in any order
    found = {
        "x_nhwc": x, "conv_weight_hwio": kernel, "conv_bias": bias,
        "conv_replicate": convolved(x, kernel, bias, "edge"), "conv_zero": convolved(x, kernel, bias, "constant"),
        "conv_valid": convolved(x, kernel, bias, "edge")[:, 2:-2, 1:-1],
    }  # fmt: skip
    for a in (0.5, 7):
        found[f"attention/alpha{a}"] = by_hand(as_convolution(kernel, bias, a, heads), x)
    case = write_case(tmp_path, "cordonnier", {"heads": heads, "alphas": [0.5, 7]}, {"conv.bias": bias}, found, "NHWC")
    assert wrong_arrays(case) == []


@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (2, 2), (5, 3)])
def test_the_limit_is_a_convolution_with_its_edge_repeated(kernel):
    x, weight, bias = drawn(kernel)
    y = as_convolution(weight, bias, 46)(Tensor(x)).data
    assert np.abs(y - convolved(x, weight, bias, "edge")).max() < 1e-13
    differ = np.abs(y - convolved(x, weight, bias, "constant")).max(axis=(0, 3)) > 1e-9
    above, before = (kernel[0] - 1) // 2, (kernel[1] - 1) // 2
    inner = np.pad(np.zeros((6 - kernel[0] + 1, 5 - kernel[1] + 1), bool), (
        (above, kernel[0] - 1 - above), (before, kernel[1] - 1 - before)), constant_values=True)  # fmt: skip
    assert np.array_equal(differ, inner)  # zeros around the image are another function at the border only


def test_the_error_falls_exponentially_and_rows_keep_to_the_bound():
    x, kernel, bias = drawn((3, 3))
    limit, errors = convolved(x, kernel, bias, "edge"), []
    exact = as_convolution(kernel, bias, 200.0).weights(6, 5).data
    for a in (6.0, 10.0, 14.0):
        layer = as_convolution(kernel, bias, a)
        errors.append(np.abs(layer(Tensor(x)).data - limit).max())
        rows = np.abs(layer.weights(6, 5).data - exact).sum(axis=-1).max()
        assert 0.9 * bound(a) < rows < 1.01 * bound(a)
    assert np.diff(np.log(errors)) == pytest.approx([-4, -4], rel=0.01)


def test_fewer_heads_than_places_are_no_convolution():
    x, kernel, bias = drawn((3, 3))
    y, limit = convolved(x, kernel, bias, "edge"), []
    for heads in (9, 8, 4):  # the best map of what the heads see, by least squares
        layer = as_convolution(kernel[..., :1], bias[:1], 46, [(h // 3 - 1, h % 3 - 1) for h in range(heads)])
        seen = (layer.weights(6, 5).data @ x.reshape(2, 1, 30, 3)).transpose(0, 2, 1, 3).reshape(60, -1)
        given = np.concatenate([seen, np.ones((60, 1))], axis=1)
        limit.append(np.abs(given @ np.linalg.lstsq(given, y.reshape(60, -1), rcond=None)[0] - y.reshape(60, -1)).max())
    assert limit[0] < 1e-12
    assert limit[1] > 0.1
    assert limit[2] > 0.1


def test_large_scores_stay_finite_in_float32_and_then_nothing_is_learned_about_sharpness():
    x, kernel, bias = (a.astype("float32") for a in drawn((3, 3), size=(16, 16)))
    for a, learns in ((46, False), (1, True)):
        layer = as_convolution(kernel, bias, a)
        y = layer(Tensor(x))
        (of_spread,) = grad((y * y).sum(), [layer.spread])
        assert y.data.dtype == np.float32
        assert np.isfinite(y.data).all()
        assert (np.abs(of_spread).max() > 1e-3) == learns


def test_scores_keep_their_digits_in_mixed_precision():
    layer = QuadraticAttention(2, 2, 5, np.random.default_rng(0))
    exact = layer.weights(12, 12).data
    with kernels("fused"), precision("bf16"):
        assert np.allclose(layer.weights(12, 12).data, exact, rtol=0, atol=1e-6)


def test_gradients_along_one_direction():
    rng = np.random.default_rng(0)
    layer = QuadraticAttention(2, 3, 4, rng, "float64")
    x, g, e = rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(1, 3, 4, 3)), 1e-6
    gradients = grad((layer(Tensor(x)) * g).sum(), layer.parameters())
    way = [rng.normal(size=p.shape) for p in layer.parameters()]
    losses = []
    for step in (e, -2 * e):
        for p, w in zip(layer.parameters(), way, strict=True):
            p.data += step * w
        losses.append((by_hand(layer, x) * g).sum())
    along = sum((d * w).sum() for d, w in zip(gradients, way, strict=True))
    assert along == pytest.approx((losses[0] - losses[1]) / (2 * e), rel=1e-6)


def test_a_head_learns_where_to_look():
    """The target is the pixel below: from a centre between places the head finds it, and sharpens."""
    rng = np.random.default_rng(0)
    layer = QuadraticAttention(2, 2, 1, None, "float64")
    layer.centres.data[...] = (0.4, 0.3)
    layer.spread.data[...] = 1.2
    layer.values.weight.data[...] = np.eye(2)
    optimizer = AdamW([("centres", layer.centres), ("spread", layer.spread)], lr=0.05)
    x = rng.normal(size=(4, 6, 6, 2))
    below = np.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    for _ in range(150):
        error = layer(Tensor(x)) - below
        optimizer.step(grad((error * error).mean(), optimizer.parameters))
    assert np.abs(layer.centres.data - (1, 0)).max() < 0.05
    assert layer.spread.data[0] > 2
    assert np.square(layer(Tensor(x)).data - below).mean() < 0.01


real = as_convolution


def towards_the_query(kernel, bias, sharpness, centres=None):
    layer = real(kernel, bias, sharpness, centres)
    layer.centres.data *= -1
    return layer


def transposed(kernel, bias, sharpness, centres=None):
    layer = real(kernel, bias, sharpness, centres)
    layer.centres.data[...] = layer.centres.data[:, ::-1].copy()
    return layer


def without_bias(kernel, bias, sharpness, centres=None):
    return real(kernel, bias * 0, sharpness, centres)


def one_head_less(kernel, bias, sharpness, centres=None):
    return real(kernel, bias, sharpness, centres[:-1])


def twice_as_sharp(kernel, bias, sharpness, centres=None):
    return real(kernel, bias, 2 * sharpness, centres)


@pytest.mark.parametrize("mistake", [towards_the_query, transposed, without_bias, one_head_less, twice_as_sharp])
def test_mistakes_are_seen(monkeypatch, mistake):
    monkeypatch.setattr("minivit.lineage.recorded.cordonnier.as_convolution", mistake)
    assert "attention/alpha5" in wrong_arrays(verify.open_case(CASE))


def test_query_minus_key_is_seen(monkeypatch):
    monkeypatch.setattr(cordonnier, "encoding", lambda *given: real_encoding(*given).transpose(1, 0, 2))
    assert "attention/alpha20" in wrong_arrays(verify.open_case(CASE))


real_encoding = cordonnier.encoding


def test_a_block_normalises_after_each_sum():
    config = CordonnierConfig(image_size=(4, 6), width=6, depth=1, heads=3, mlp_width=5, num_classes=0, norm_eps=1e-6)
    network = Cordonnier(config, 0, "float64")
    for _, tensor in network.named_parameters():
        tensor.data += np.random.default_rng(1).normal(0, 0.1, tensor.shape)
    block, images = network.blocks[0], np.random.default_rng(2).normal(size=(2, 4, 6, 3))
    patches = images.reshape(2, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 3, 12)
    x = patches @ network.embed.weight.data + network.embed.bias.data

    def norm(layer, z):
        z = z - z.mean(axis=-1, keepdims=True)
        return z / np.sqrt((z * z).mean(axis=-1, keepdims=True) + 1e-6) * layer.scale.data + layer.bias.data

    def linear(layer, z):
        return z @ layer.weight.data + layer.bias.data

    x = norm(block.norm1, x + linear(block.out, by_hand(block.attention, x)))
    hidden = F.gelu(linear(block.mlp.hidden, x), "erf").data
    x = norm(block.norm2, x + linear(block.mlp.out, hidden))
    tap = {}
    assert np.allclose(network(images, tap=tap).data, x.mean(axis=(1, 2)), rtol=0, atol=1e-13)
    assert tap["block0/attention_weights"].shape == (3, 6, 6)


def test_parameters_by_hand():
    """The network of the paper for CIFAR-10. A block: centres and spreads, 9 D to D, D to D, two LayerNorms, MLP."""
    block = 9 * 3 + (9 * 400 + 1) * 400 + 401 * 400 + 4 * 400 + 401 * 512 + 513 * 400
    network = Cordonnier(CordonnierConfig(), None)
    assert network.num_parameters() == 13 * 400 + 6 * block + 401 * 10 == 12_086_844


@pytest.mark.parametrize("wrong", [{"heads": 0}, {"num_classes": -1}, {"image_size": 33}, {"norm_eps": 0.0}])
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CordonnierConfig(**wrong)
