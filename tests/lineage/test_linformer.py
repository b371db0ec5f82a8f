"""Attention to mixtures of tokens: held to a recording, to loops, and to what no low rank can do."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.gradcheck import check_gradients
from minivit.lineage import linformer, verify
from minivit.lineage.linformer import Linformer, LinformerConfig
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "linformer"
SHAPE = {"image_size": 8, "patch_size": 2, "width": 12, "depth": 3, "heads": 3, "mlp_width": 16, "num_classes": 4}


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 12


WRONG = [
    ("attend", "key_mix @ k", "value_mix @ k", "weights"),
    ("attend", "(value_mix @ v)", "(key_mix @ v)", "output"),
    ("attend", "weights(q, key_mix @ k)", "weights(q, k) @ key_mix.T", "output"),
    ("weights", "q.shape[-1] ** -0.5", "mixed.shape[2] ** -0.5", "weights"),
    ("weights", "q * q.shape[-1] ** -0.5 @", "q @", "output"),
    ("tail", "np.sqrt(", "(", "svd_tail"),
    ("tail", "[..., ::-1].cumsum", ".cumsum", "svd_tail"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, name, right, wrong, seen):
    make_mistake(monkeypatch, linformer, name, right, wrong)
    if name == "weights":  # what is recorded is computed beside, with the same function
        case = verify.open_case(CASE)
        assert {seen, "output"} <= set(wrong_arrays(case))
    elif seen == "weights":
        assert "output" in wrong_arrays(verify.open_case(CASE))
    else:
        assert seen in wrong_arrays(verify.open_case(CASE))


def drawn(each_head, queries=5, keys=7, count=3):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, n, 4)) for n in (queries, keys, keys))
    shape = (3, count, keys) if each_head else (count, keys)
    return q, k, v, rng.normal(size=shape), rng.normal(size=shape)


def by_hand(q, k, v, e, f):
    """One query of one head at a time."""
    y = np.zeros(q.shape)
    for b, h, m in np.ndindex(*q.shape[:3]):
        of_head = [x[h] if x.ndim == 3 else x for x in (e, f)]
        keys, values = (
            [sum(row[n] * x[b, h, n] for n in range(len(row))) for row in mix]
            for mix, x in zip(of_head, (k, v), strict=True)
        )
        s = np.array([q[b, h, m] @ key / 2 for key in keys])
        a = np.exp(s) / np.exp(s).sum()
        y[b, h, m] = sum(weight * value for weight, value in zip(a, values, strict=True))
    return y


@pytest.mark.parametrize("each_head", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_other_sharings_agree_with_loops(tmp_path, each_head, shared):
    q, k, v, e, f = drawn(each_head)
    mixes = {"E": e} if shared else {"E": e, "F": f}
    found = {"q": q, "k": k, "v": v, "output": by_hand(q, k, v, e, mixes.get("F", e))}
    assert wrong_arrays(write_case(tmp_path, "linformer", {}, mixes, found)) == []


def test_the_gradients_agree_with_differences():
    check_gradients(linformer.attend, *(Tensor(x, requires_grad=True) for x in drawn(True, 3, 4, 2)))


def test_without_mixing_it_is_attention():
    q, k, v, _, _ = drawn(False)
    y = linformer.attend(*map(Tensor, (q, k, v, np.eye(7), np.eye(7)))).data
    rows = [x.transpose(0, 2, 1, 3).reshape(2, x.shape[2], 12) for x in (q, k, v)]
    exact = F.attend(*rows, heads=3).data.reshape(2, 5, 3, 4).transpose(0, 2, 1, 3)
    assert np.allclose(y, exact, rtol=0, atol=1e-14)


def test_no_matrix_of_low_rank_comes_nearer_than_the_tail():
    rng = np.random.default_rng(0)
    a = rng.dirichlet(np.ones(6), size=9)
    floor = linformer.tail(a)
    assert floor.shape == (6,)
    assert floor[0] == pytest.approx(np.linalg.norm(a))
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    for r in range(1, 6):
        assert np.linalg.norm(a - u[:, :r] * s[:r] @ vt[:r]) == pytest.approx(floor[r])
        e = rng.normal(size=(r, 6)) / r**0.5
        assert np.linalg.norm(a - a @ e.T @ e) > floor[r]


@pytest.mark.parametrize(
    ("sharing", "more"),
    [
        ("none", 3 * 2 * 3 * 5 * 17),
        ("headwise", 3 * 2 * 5 * 17),
        ("key-value", 3 * 5 * 17),
        ("layerwise", 5 * 17),
    ],
)
def test_each_sharing_has_its_parameters_and_its_gradients(sharing, more):
    model = Linformer(LinformerConfig(**SHAPE, projected=5, sharing=sharing), 0, "float64")
    assert model.num_parameters() == ViT(ViTConfig(**SHAPE), None).num_parameters() + more
    model.head.weight.data[...] = 0.1 * np.random.default_rng(0).normal(size=(12, 4))
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3))
    tap = {}
    assert np.allclose(model(images).data, model(images, tap).data, rtol=0, atol=1e-13)
    assert tap["block2/attention_weights"].shape == (2, 3, 17, 5)
    F.cross_entropy(model(images), np.array([1, 3])).backward()
    assert all(np.abs(t.grad).max() > 0 for n, t in model.named_parameters() if "mix" in n)
    again = Linformer(model.config, None, "float64")
    again.load_state_dict(model.state_dict())
    assert np.array_equal(again(images).data, model(images).data)


def test_it_belongs_to_one_number_of_tokens():
    layer = Linformer(LinformerConfig(**SHAPE, projected=5), 0).blocks[0].attention
    with pytest.raises(ValueError, match="for 17 tokens, not 9"):
        layer(Tensor(np.zeros((1, 9, 12), np.float32)))


def test_products_grow_with_the_number_of_tokens_not_its_square():
    assert linformer.products(50, 50, 8) == 2 * 50 * 50 * 8
    assert linformer.products(50, 50, 8, 6) == 4 * 50 * 6 * 8


@pytest.mark.parametrize(
    "wrong",
    [{"projected": 0}, {"sharing": "all"}, {"attention_dropout": 0.1}, {"position": "relative"}, {"position": "rope"}],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        dataclasses.replace(LinformerConfig(**SHAPE), **wrong)
