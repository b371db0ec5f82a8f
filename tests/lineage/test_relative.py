"""Attention with relative positions: held to recordings, to loops, and to what it must not do."""

import math
from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError, DataError
from minivit.lineage import relative, verify
from minivit.lineage.recorded import relative as recorded
from minivit.lineage.relative import AlibiAttention, RelativeAttention, RelativeConfig, diagonals
from minivit.models import relative as tables
from minivit.tensor import Tensor

CASES = Path(__file__).resolve().parents[1] / "data" / "lineage"


@pytest.mark.parametrize(("name", "count"), [("vit_rel1d", 28), ("alibi2d", 15)])
def test_the_recordings(name, count):
    case = verify.open_case(CASES / name)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == count


def by_loops(x, weights, heads, bias, scale):
    """One query and one head at a time.   bias(h, i, j, q_i): what is added to a score."""
    batch, tokens, width = x.shape
    d, out = width // heads, np.zeros_like(x)
    for b in range(batch):
        qkv = x[b] @ weights["qkv"] + weights.get("qkv_bias", 0)
        for h in range(heads):
            q, k, v = (qkv[:, p * width + h * d : p * width + (h + 1) * d] for p in range(3))
            for i in range(tokens):
                scores = [q[i] @ k[j] * scale + bias(h, i, j, q[i]) for j in range(tokens)]
                e = np.exp(scores)
                out[b, i, h * d : (h + 1) * d] = (e / e.sum()) @ v
    return out @ weights["out"] + weights.get("out_bias", 0)


@pytest.mark.parametrize("tokens", [1, 2, 5])
@pytest.mark.parametrize("reading", ["shared", "per_head", "unscaled"])
def test_other_sizes_agree_with_loops(tmp_path, reading, tokens):
    rng, heads, width = np.random.default_rng(0), 2, 8
    shape = (2 * tokens - 1, heads, 4) if reading == "per_head" else (2 * tokens - 1, 4)
    name = "relative_per_head" if reading == "per_head" else "relative"
    sizes = {
        "qkv": (width, 3 * width),
        "qkv_bias": (3 * width,),
        "out": (width, width),
        "out_bias": (width,),
        name: shape,
    }
    weights = {key: rng.normal(size=size) for key, size in sizes.items()}
    x, cotangent, r = rng.normal(size=(2, tokens, width)), rng.normal(size=(2, tokens, width)), weights[name]
    scale = 1 / math.sqrt(4)

    def term(h, i, j, q):
        row = r[i - j + tokens - 1]
        return q @ (row[h] if reading == "per_head" else row) * (1 if reading == "unscaled" else scale)

    output = by_loops(x, weights, heads, term, scale)
    found = {"x": x, f"{reading}/cotangent": cotangent, f"{reading}/output": output}
    found[f"{reading}/loss"] = np.asarray((output * cotangent).sum())
    case = write_case(tmp_path, "vit_rel1d", {"heads": heads}, weights, found)
    assert wrong_arrays(case) == []
    again, rng, e = recorded.recompute(case), np.random.default_rng(2), 1e-5
    ways = {key: rng.normal(size=x.shape) for key, x in weights.items()}
    losses = []
    for s in (e, -e):
        moved = {key: x + s * ways[key] for key, x in weights.items()}
        r = moved[name]
        losses.append((by_loops(x, moved, heads, term, scale) * cotangent).sum())
    along = sum((again[f"{reading}/grad/{key}"] * way).sum() for key, way in ways.items())
    assert along == pytest.approx(np.subtract(*losses) / (2 * e), rel=1e-6)


@pytest.mark.parametrize(("grid", "heads"), [((2, 3), 3), ((1, 5), 1), ((3, 3), 4)])
def test_alibi_on_other_grids_agrees_with_loops(tmp_path, grid, heads):
    rng, width = np.random.default_rng(0), 4 * heads
    weights = {"qkv": rng.normal(size=(width, 3 * width)), "out": rng.normal(size=(width, width))}
    places, slopes = list(np.ndindex(grid)), tables.alibi_slopes(heads)
    x, cotangent = rng.normal(size=(2, len(places), width)), rng.normal(size=(2, len(places), width))
    output = by_loops(x, weights, heads, lambda h, i, j, q: -slopes[h] * math.dist(places[i], places[j]), 0.5)
    found = {"x": x, "cotangent": cotangent, "output": output, "loss": np.asarray((output * cotangent).sum())}
    config = {"grids": [[7, 7], list(grid)], "heads": [heads], "width": width}
    layer = AlibiAttention(grid, width, heads, None, "float64", bias=False)
    layer.qkv.weight.data[...], layer.out.weight.data[...] = weights["qkv"], weights["out"]
    tap = {}
    assert np.allclose(layer(Tensor(x), tap=tap).data, output)
    found |= {"weights": tap["attention_weights"], "distance/1x3": np.array([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])}
    found["bias/1x3"] = -slopes[:, None, None] * found["distance/1x3"]
    case = write_case(tmp_path, "alibi2d", config, weights, found)
    assert wrong_arrays(case) == []
    del case.config["grids"][1]
    with pytest.raises(DataError, match=f"none of the grids .* has {len(places)} patches"):
        recorded.recompute(case)


def other_sign(x):
    return real_diagonals(x[..., ::-1])


def one_place_off(x):
    n = x.shape[2]
    return real_diagonals(x[..., [*range(1, 2 * n - 1), 0]])


def same_for_all_queries(x):
    return x[..., x.shape[2] - 1 :] * 1.0


real_diagonals, real_slopes, real_attend = diagonals, tables.alibi_slopes, F.attend


def next_power(heads):
    return real_slopes(2 ** math.ceil(math.log2(heads)))[:heads]


def from_one(heads):
    return real_slopes(heads) * 2 ** (8 / heads)


def by_steps(grid):
    y, x = tables.places(grid)
    return abs(y[:, None] - y) + abs(x[:, None] - x)


def one_direction(q, k, v, bias=None, **options):
    return real_attend(q, k, v, bias, **options, mask=np.tri(q.shape[1], dtype=bool))


def before_scaling(q, k, v, bias=None, **options):
    return real_attend(q, k, v, bias * (q.shape[-1] // options["heads"]) ** -0.5, **options)


@pytest.mark.parametrize(
    ("name", "place", "function", "mistake"),
    [
        ("vit_rel1d", relative, "diagonals", other_sign),
        ("vit_rel1d", relative, "diagonals", one_place_off),
        ("vit_rel1d", relative, "diagonals", same_for_all_queries),
        ("vit_rel1d", F, "attend", before_scaling),
        ("alibi2d", tables, "alibi_slopes", next_power),
        ("alibi2d", tables, "alibi_slopes", from_one),
        ("alibi2d", tables, "distances", by_steps),
        ("alibi2d", F, "attend", one_direction),
        ("alibi2d", F, "attend", before_scaling),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_mistakes_are_seen(monkeypatch, no_tables_kept, name, place, function, mistake):
    monkeypatch.setattr(place, function, mistake)
    wrong = wrong_arrays(verify.open_case(CASES / name))
    assert {"vit_rel1d": "shared/output", "alibi2d": "output"}[name] in wrong


def test_readings_of_the_paper_are_different():
    case = verify.open_case(CASES / "vit_rel1d")
    outputs = [case.arrays[f"{reading}/output"] for reading in ("shared", "per_head", "unscaled")]
    assert not any(np.allclose(outputs[i], outputs[i - 1], rtol=1e-3) for i in range(3))


def test_stretches_of_rows_are_the_diagonals():
    for n in (1, 2, 4):
        x = np.random.default_rng(0).normal(size=(2, 3, n, 2 * n - 1))
        y = diagonals(Tensor(x)).data
        for i, j in np.ndindex(n, n):
            assert np.array_equal(y[:, :, i, j], x[:, :, i, j - i + n - 1])


def test_the_offset_across_the_end_of_a_row_is_that_of_neighbours():
    """On a grid of 3 columns, patches 2 and 3 are a row apart, but their offset is 1: it is one-dimensional."""
    layer = RelativeAttention(RelativeConfig(4, 1, 6), np.random.default_rng(0), "float64")
    q = Tensor(np.ones((1, 6, 4)))
    found = layer.by_offset(q).data[0, 0]
    assert found[3, 2] == found[1, 0] == found[5, 4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 3}, "3 heads do not divide width 8"),
        ({"tokens": 0}, "tokens is 0, expected at least 1"),
        ({"width": 0}, "width is 0, expected at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        RelativeConfig(**{"width": 8, "heads": 2, "tokens": 4, **wrong})
    layer = RelativeAttention(RelativeConfig(8, 2, 4), np.random.default_rng(0), "float64")
    with pytest.raises(ValueError, match="expected 4 tokens"):
        layer(Tensor(np.zeros((1, 5, 8))))
