"""Stand-alone self-attention: held to a recording and to a slow second implementation, pixel by pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import sasa, verify
from minivit.lineage.recorded import sasa as recorded
from minivit.lineage.sasa import SASA, VARIANTS, AttentionStem, LocalAttention, SASAConfig
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "sasa"


def softmax(scores):
    e = np.exp(scores - max(scores))
    return e / e.sum()


def by_hand(x, w, heads, border):
    """The layer, one pixel, head and key at a time.   (B, height, width, C) -> y, weights (B, H, height, width, W)."""
    (batch, height, width, _), window = x.shape, w["row_relative"].shape[-1]
    filters, reach = w["query"].shape[1], window // 2
    own = filters // heads
    y, weights = np.zeros((batch, height, width, filters)), np.zeros((batch, heads, height, width, window**2))
    for b, i, j, h in np.ndindex(batch, height, width, heads):
        part, scores, values = slice(h * own, (h + 1) * own), [], []
        q = x[b, i, j] @ w["query"][:, part]
        for u, v in np.ndindex(window, window):
            a, c = i + u - reach, j + v - reach
            outside = not (0 <= a < height and 0 <= c < width)
            pixel = np.zeros(x.shape[-1]) if outside else x[b, a, c]
            r = np.concatenate([w["row_relative"][h, :, u], w["column_relative"][h, :, v]])
            scores.append(-np.inf if outside and border == "masked" else q @ (pixel @ w["key"][:, part]) + q @ r)
            values.append(pixel @ w["value"][:, part])
        weights[b, h, i, j] = softmax(np.array(scores))
        y[b, i, j, part] = weights[b, h, i, j] @ np.array(values)
    return y, weights


def stem_by_hand(x, w, heads, blocks):
    """The stem in the same way; with `blocks` a pixel's window is the block that it lies in."""
    (batch, height, width, channels), window = x.shape, len(w["row"])
    filters = w["query"].shape[1]
    own, y = filters // heads, np.zeros((batch, height, width, filters))
    for b, i, j, h in np.ndindex(batch, height, width, heads):
        part, scores, values = slice(h * own, (h + 1) * own), [], []
        top, left = (
            (i // window * window, j // window * window) if blocks else (i - (window - 1) // 2, j - (window - 1) // 2)
        )
        for u, v in np.ndindex(window, window):
            inside = 0 <= top + u < height and 0 <= left + v < width
            pixel = x[b, top + u, left + v] if inside else np.zeros(channels)
            shares = softmax((w["row"][u] + w["column"][v]) @ w["mix"].T)
            matrix = sum(share * value for share, value in zip(shares, w["value"], strict=True))
            scores.append((x[b, i, j] @ w["query"][:, part]) @ (pixel @ w["key"][:, part]))
            values.append(pixel @ matrix[:, part])
        y[b, i, j, part] = softmax(np.array(scores)) @ np.array(values)
    return y


def weights(rng, channels, filters, heads, window):
    halves = (heads, filters // heads // 2, window)
    shapes = dict.fromkeys(("query", "key", "value"), (channels, filters))
    shapes |= {"row_relative": halves, "column_relative": halves}
    return {name: rng.normal(0, 0.7, shape) for name, shape in shapes.items()}


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 31


@pytest.mark.parametrize(
    ("size", "channels", "filters", "heads", "window"),
    [((4, 3), 1, 4, 1, 3), ((3, 5), 2, 8, 4, 5), ((3, 2), 3, 4, 2, 7)],
    ids=["one channel, one head", "not square", "a window larger than the image"],
)
@pytest.mark.parametrize("border", ["zeros", "masked"])
def test_other_configurations_agree_with_the_slow_implementation(
    tmp_path, size, channels, filters, heads, window, border
):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, *size, channels)), weights(rng, channels, filters, heads, window)
    g = rng.normal(size=(2, *size, filters))
    y, shares = by_hand(x, w, heads, border)
    kind = {"zeros": "zero_padded", "masked": "masked"}[border]
    arrays = {"cotangent": g, "output": y, "weights": shares, "loss": np.array((y * g).sum())}
    case = write_case(
        tmp_path, "sasa", {"heads": heads}, w, {f"{kind}/{n}": a for n, a in arrays.items()} | {"x": x}, "NHWC"
    )
    assert wrong_arrays(case) == []
    found, e = recorded.recompute(case), 1e-5
    way = {name: rng.normal(size=a.shape) for name, a in w.items()}
    moved = [{n: a + s * way[n] for n, a in w.items()} for s in (e, -e)]
    difference = np.subtract(*((by_hand(x, m, heads, border)[0] * g).sum() for m in moved)) / (2 * e)
    assert sum((found[f"{kind}/grad/{n}"] * way[n]).sum() for n in w) == pytest.approx(difference, rel=1e-6)
    across = rng.normal(size=x.shape)
    difference = np.subtract(*((by_hand(x + s * across, w, heads, border)[0] * g).sum() for s in (e, -e))) / (2 * e)
    assert (found[f"{kind}/grad_input/x"] * across).sum() == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize(("blocks", "window", "mixtures"), [(False, 4, 3), (False, 3, 2), (True, 2, 3), (True, 4, 1)])
def test_stems_agree_with_the_slow_implementation(blocks, window, mixtures):
    rng = np.random.default_rng(1)
    stem = AttentionStem(3, 4, 2, rng, "float64", window, mixtures, rank=3, blocks=blocks)
    x = rng.normal(size=(2, 8, 4, 3))
    w = {name: tensor.data for name, tensor in recorded.views(dict(stem.named_tensors())).items()}
    assert np.allclose(stem(Tensor(x)).data, stem_by_hand(x, w, 2, blocks), rtol=0, atol=1e-13)


def test_a_stride_is_an_average_after_attention():
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 2))
    one, two = (
        LocalAttention(2, 4, 1, np.random.default_rng(1), "float64", 3, stride)(Tensor(x)).data for stride in (1, 2)
    )
    assert np.allclose(two, one.reshape(1, 2, 2, 3, 2, 4).mean(axis=(2, 4)), rtol=0, atol=1e-15)


real_relative, real_attend, real_windows = LocalAttention.relative, F.attend, sasa.windows


def scaled(*args, scale, **options):
    return real_attend(*args, **options)


def query_minus_key(self, q):
    return real_relative(self, q)[..., ::-1]


def columns_first(self, q):
    window = self.window
    by_place = real_relative(self, q).reshape(-1, self.heads, 1, window, window)
    return by_place.transpose(0, 1, 2, 4, 3).reshape(-1, self.heads, 1, window**2)


def shared_by_heads(self, q):
    heads = [self.row_relative[:1], self.column_relative[:1]]
    own = self.row_relative, self.column_relative
    self.row_relative, self.column_relative = (F.concat(*[x] * self.heads) for x in heads)
    try:
        return real_relative(self, q)
    finally:
        self.row_relative, self.column_relative = own


def without_places(self, q):
    return None


def everywhere(self, x):
    return None


def one_pixel_earlier(x, window):
    return real_windows(F.roll(x, 1, 1), window) if window == 4 else real_windows(x, window)


def over_places(self):
    places = (self.row[:, None] + self.column[None]).reshape(self.window**2, -1)
    return F.softmax(places @ self.mix.transpose(), axis=0)


def without_columns(self):
    places = (self.row[:, None] + self.column[None] * 0).reshape(self.window**2, -1)
    return F.softmax(places @ self.mix.transpose())


WRONG = [
    (F, "attend", scaled, "zero_padded/output"),
    (F, "attend", scaled, "stem/output"),
    (LocalAttention, "relative", query_minus_key, "masked/output"),
    (LocalAttention, "relative", columns_first, "masked/weights"),
    (LocalAttention, "relative", shared_by_heads, "zero_padded/weights"),
    (LocalAttention, "relative", without_places, "zero_padded/grad/row_relative"),
    (LocalAttention, "mask", everywhere, "masked/output"),
    (sasa, "windows", one_pixel_earlier, "stem/output"),
    (AttentionStem, "mixture", over_places, "stem/mixture"),
    (AttentionStem, "mixture", without_columns, "stem/grad/column"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize(("name", "printed"), [("sasa-r26", 10.3), ("sasa-r38", 14.1), ("sasa-r50", 18.0)])
@pytest.mark.parametrize("stem", ["", "-conv-stem"])
def test_published_numbers_of_parameters(name, printed, stem):
    """Cut after the first digit: from one network to the next each stage gets one unit, so their steps are equal."""
    network = SASA(SASAConfig(**VARIANTS[name + stem]), None)
    assert math.floor(network.num_parameters() / 1e5) / 10 == printed


def test_parameters_by_hand():
    """Of a 3x3 convolution's 9 w^2 weights, 3 w^2 remain, and 7 w for places: 7 rows and columns of half a head."""
    convolutions = 25_557_032  # ResNet-50
    wide = sum(count * 64**2 * 4**stage for stage, count in enumerate((3, 4, 6, 3)))
    narrow = sum(count * 64 * 2**stage for stage, count in enumerate((3, 4, 6, 3)))
    network = SASA(SASAConfig(**VARIANTS["sasa-r50-conv-stem"]), None)
    assert network.num_parameters() == convolutions - 6 * wide + 7 * narrow


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 24}, "multiple of twice the 8 heads"),
        ({"border": "edge"}, "expected one of zeros, masked"),
        ({"root": "5x5"}, "expected one of 7x7, 3x3, attention"),
        ({"image_size": 36}, "multiples of 32"),
        ({"image_size": 32}, "4 stages leave a map of one place"),
        ({"window": 0}, "window is 0"),
        ({"units": ()}, "at least one stage"),
    ],
)
def test_wrong_fields_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        SASAConfig(**wrong)
    with pytest.raises(ConfigError, match="not a multiple of twice"):
        LocalAttention(4, 6, 2, None)
