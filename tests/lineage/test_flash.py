"""Attention in tiles: held to a recording, and to attention as a whole."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit import tape
from minivit.errors import ConfigError
from minivit.gradcheck import check_vjp
from minivit.lineage import flash, verify
from minivit.lineage.flash import Flash, FlashConfig
from minivit.lineage.recorded import flash as recorded
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "flash"
SHAPE = {"image_size": 8, "patch_size": 2, "width": 12, "depth": 2, "heads": 3, "mlp_width": 16, "num_classes": 4}


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 12


WRONG = [
    ("forward", "total = kept * total + ", "total = total + ", "output"),
    ("forward", "kept[..., None] * gathered + ", "gathered + ", "output"),
    ("forward", "shift = finite(larger)", "shift = finite(m)", "large/output"),
    ("forward", "lse[:, :, r] = m + xp.log(some)", "lse[:, :, r] = xp.log(some)", "lse"),
    ("forward", "y[:, :, r] = gathered / some[..., None]", "y[:, :, r] = gathered", "output"),
    ("scores", "+ ahead\n", "\n", "causal/output"),
    ("scores", "s = scale * (", "s = (", "output"),
    ("backward", " - inner[:, :, r, None]", "", "grad/q"),
    ("backward", "dk[:, :, c] += scale * (", "dk[:, :, c] += (", "grad/k"),
    ("backward", "dv[:, :, c] += ", "dv[:, :, c] = ", "grad/v"),
    ("delta", "(g * y)", "(g * g)", "delta"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, name, right, wrong, seen):
    make_mistake(monkeypatch, flash, name, right, wrong)
    with np.errstate(all="ignore"):
        assert seen in wrong_arrays(verify.open_case(CASE))


def drawn(queries, keys, width=3, values=2, size=1.0):
    rng = np.random.default_rng(queries * 100 + keys)
    shapes = ((2, 2, queries, width), (2, 2, keys, width), (2, 2, keys, values))
    return [size * rng.normal(size=shape) for shape in shapes]


def by_hand(q, k, v, causal, scale):
    """One query at a time."""
    y = np.zeros((*q.shape[:3], v.shape[-1]))
    lse = np.full(q.shape[:3], -np.inf)
    for place in np.ndindex(*q.shape[:3]):
        count = k.shape[2] if not causal else place[2] + 1 + k.shape[2] - q.shape[2]
        if count > 0:
            s = np.array([scale * (q[place] @ k[(*place[:2], j)]) for j in range(count)])
            lse[place] = np.logaddexp.reduce(s)
            y[place] = np.exp(s - lse[place]) @ v[place[:2]][:count]
    return y, lse


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (5, 9), (9, 4), (1, 1), (6, 1)])
@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (1, 1), (64, 64), (3, 2)])
def test_any_tiles_agree_with_one_query_at_a_time(queries, keys, rows, columns, causal):
    q, k, v = drawn(queries, keys)
    y, lse = flash.forward(q, k, v, rows=rows, columns=columns, causal=causal, scale=0.7)
    slow, slow_lse = by_hand(q, k, v, causal, 0.7)
    assert np.allclose(y, slow, rtol=0, atol=1e-14)
    assert np.allclose(lse, slow_lse, rtol=0, atol=1e-13)  # queries that see nothing: -inf in both


@pytest.mark.parametrize("causal", [False, True])
def test_the_derivatives_are_right(causal):
    for sizes in ((5, 8), (8, 5)):
        check_vjp(flash.flash_attention, *drawn(*sizes), rows=2, columns=3, causal=causal)
        check_vjp(flash.flash_attention, *drawn(*sizes), rows=2, columns=3, causal=causal, scale=0.3)


def test_scores_of_thousands_do_not_overflow():
    q, k, v = (Tensor(x, requires_grad=True) for x in drawn(6, 6, size=60.0))
    y = flash.attention(q, k, v, rows=2, columns=2)
    assert np.isfinite(y.data).all()
    assert all(np.isfinite(g).all() for g in grad(y.sum(), [q, k, v]))


def test_for_the_way_back_no_matrix_of_weights_is_kept():
    q, k, v = (Tensor(x, requires_grad=True) for x in drawn(40, 50))
    y = flash.attention(q, k, v, rows=8, columns=8)
    assert tape.saved(y.node).keys() == {"q", "k", "v", "y", "lse"}
    assert tape.saved_bytes(y.node) == 8 * (q.size + k.size + v.size + y.size + y.size // y.shape[-1])


def test_another_recording_with_other_tiles_and_a_case_of_its_own(tmp_path):
    q, k, v = drawn(6, 8)
    g = np.random.default_rng(5).normal(size=(2, 2, 6, 2))
    y, lse = by_hand(q, k, v, False, 0.25)
    other, other_lse = by_hand(q, 2 * k, v, True, 0.25)
    found = {
        "q": q, "k": k, "v": v, "cotangent": g, "output": y, "lse": lse, "loss": np.asarray((y * g).sum()),
        "causal/k": 2 * k, "causal/output": other, "causal/lse": other_lse,
        "causal/loss": np.asarray((other * g).sum()),
    }  # fmt: skip
    case = write_case(tmp_path, "flash", {"Br": 5, "Bc": 3, "scale": 0.25}, {"unused": np.zeros(1)}, found)
    assert wrong_arrays(case) == []
    again = recorded.recompute(case)
    tensors = [Tensor(x, requires_grad=True) for x in (q, 2 * k, v)]
    rows = [x.transpose(0, 2, 1, 3).reshape(2, x.shape[2], -1) for x in tensors]
    seen = np.tri(6, 8, 2, dtype=bool)
    slow = F.attend(*rows, heads=2, mask=seen, scale=0.25)
    wanted = grad(slow, tensors, g.transpose(0, 2, 1, 3).reshape(2, 6, 4))
    for name, dx in zip("qkv", wanted, strict=True):
        assert np.allclose(again[f"causal/grad/{name}"], dx, rtol=0, atol=1e-13)


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_a_vit_in_tiles_is_the_vit(classifier):
    fields = {**SHAPE, "classifier": classifier}
    plain = ViT(ViTConfig(**fields), 3, "float64")
    tiled = Flash(FlashConfig(**fields, tile_rows=5, tile_columns=4), 3, "float64")
    plain.head.weight.data[...] = tiled.head.weight.data[...] = np.random.default_rng(0).normal(size=(12, 4))
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3))
    taps = {}, {}
    for tap, other in ((None, None), taps):
        assert np.allclose(plain(images, tap).data, tiled(images, other).data, rtol=0, atol=1e-13)
    assert taps[0].keys() == taps[1].keys()
    first, second = (grad(F.cross_entropy(m(images), np.array([1, 3])), m.parameters()) for m in (plain, tiled))
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in tiled.named_parameters()]
    assert all(np.allclose(a, b, rtol=0, atol=1e-13) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile_rows": 0},
        {"tile_columns": -1},
        {"attention_dropout": 0.1},
        {"position": "relative"},
        {"position": "rope"},
    ],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        dataclasses.replace(FlashConfig(**SHAPE), **wrong)
