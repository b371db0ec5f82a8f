"""muP: the published library's groups, the coordinate check, and both forms of the same model."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from mistakes import make_mistake
from recordings import wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError, DataError
from minivit.lineage import mup, verify
from minivit.lineage.mup import MuAdamW, Mup, MupConfig, shapes_of
from minivit.lineage.recorded import mup as recorded
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "mup"
SHAPE = {"image_size": 8, "patch_size": 4, "depth": 2, "heads": 2, "num_classes": 3, "channels": 1}


def case_of(*beginnings, seeds=3):
    """The recording, but only the numbers whose place begins so."""
    case = verify.open_case(CASE)
    case.meta["setup"] = case.meta["setup"].replace("mean of 3 seeds", f"mean of {seeds} seeds")
    case.arrays = {name: x for name, x in case.arrays.items() if name.startswith(beginnings)}
    return case


def test_the_groups_of_the_published_library():
    case = case_of("library_groups/")
    assert wrong_arrays(case) == []
    assert len(case.arrays) == 4 * 20 * 4


def test_deeper_models_of_other_widths_have_groups_too(tmp_path):
    group = {"ninf": 2, "lr": 0.01 / 1.5, "wd": 0.3}
    names = {"norm.weight": {"ninf": 1, "lr": 0.01, "wd": 0.2}, "blocks.2.mlp.fc2.weight": group}
    (tmp_path / "mup").mkdir()
    for name, table in (("mup", {"results": {}}), ("mup_library_groups", {"96": names})):
        (tmp_path / "mup" / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")
    case = verify.open_case(tmp_path / "mup")
    assert len(case.arrays) == 6
    assert wrong_arrays(case) == []


def test_the_recorded_coordinate_check():
    case = case_of("sp/64/", seeds=1)
    assert wrong_arrays(case) == []
    assert len(case.arrays) == 3 * 7


WRONG = [
    (mup, "groups", "lr / m", "lr", "library_groups/512/blocks.0.attn.qkv.weight/lr"),
    (mup, "groups", "(1 if decoupled else m)", "1", "library_groups/128/blocks.0.mlp.fc1.weight/wd"),
    (mup, "groups", "if len(growth) == 2", "if len(growth)", "library_groups/256/patch_embed.proj.weight/lr"),
    (mup, "groups", "if len(growth) == 2", "if len(growth)", "library_groups/256/head.weight/lr"),
]


@pytest.mark.parametrize(("place", "name", "right", "wrong", "seen"), WRONG)
def test_mistakes_in_the_groups_are_seen(monkeypatch, place, name, right, wrong, seen):
    make_mistake(monkeypatch, place, name, right, wrong)
    assert seen in wrong_arrays(case_of("library_groups/"))


def test_axes_that_do_not_grow_must_be_known(monkeypatch):
    make_mistake(monkeypatch, mup, "base_shape", "a if a != b else None", "a")
    with pytest.raises(ValueError, match="axes of cls_token grow"):
        recorded.library_groups(128, 64, 1e-3, 0.1)


def random_numbers_of_another_size(case):
    case.arrays = {name: 2 * x for name, x in case.arrays.items()}
    return case


def test_random_numbers_must_be_near_the_recorded_ones():
    assert len(wrong_arrays(random_numbers_of_another_size(case_of("mup/64/init", seeds=1)))) == 7
    wrong = wrong_arrays(random_numbers_of_another_size(case_of("library_groups/64/")))
    assert "library_groups/64/blocks.0.mlp.fc1.weight/std" in wrong


def changes(kind, widths=(64, 128, 256), lr=0.004, **fields):
    """The output's and the last block's change in the first update, by width."""
    found = {"block1": {}, "output": {}, "logits1": {}}
    for width in widths:
        config = MupConfig(
            image_size=16, patch_size=4, width=width, depth=2, heads=4, num_classes=10, classifier="gap",
            position="none", gelu="erf", zero_head=False, base_width=64 if kind == "mup" else width,
            base_heads=4, **fields,
        )  # fmt: skip
        runs = []
        for seed in (0,):
            rng = np.random.default_rng((seed, 5))
            images, labels = rng.standard_normal((16, 16, 16, 3)).astype(np.float32), rng.integers(0, 10, 16)
            model = recorded.drawn(config, seed)
            optimizer = AdamW(model.named_parameters(), lr, eps=1e-12)
            runs.append(mup.coordinate_check(model, images, labels, optimizer, (1,))["change1"])
        for name, by_width in found.items():
            by_width[width] = np.mean([run[name] for run in runs])
    return {name: mup.slope(by_width) for name, by_width in found.items()}


def test_changes_grow_with_the_width_but_not_in_mup():
    usual, constant = changes("sp"), changes("mup")
    assert min(usual["block1"], usual["output"]) > 0.6
    assert max(abs(constant["block1"]), abs(constant["output"])) < 0.15


def test_without_a_part_of_it_changes_depend_on_the_width(monkeypatch):
    config = MupConfig(**SHAPE, width=64, base_width=16, multipliers=False)
    assert not hasattr(Mup(config, 0).blocks[0].attention.qkv, "factor")
    slopes = changes("mup", multipliers=False)  # matrices with the rate lr
    assert slopes["block1"] > 0.6
    with monkeypatch.context() as context:
        context.setattr(mup.Readout, "forward", mup.Head.forward)
        assert changes("mup")["output"] > 0.4


def test_with_a_head_of_zero_the_first_update_moves_the_head_alone():
    model, rng = Mup(MupConfig(**SHAPE, width=64, base_width=16), 0), np.random.default_rng(0)
    images, labels = rng.standard_normal((4, 8, 8, 1)).astype(np.float32), np.array([0, 1, 2, 1])
    found = mup.coordinate_check(model, images, labels, AdamW(model.named_parameters(), 0.01), (1, 2))
    assert found["change1"]["block1"] == 0 < found["change1"]["output"]
    assert found["change2"]["block1"] > 0


def test_a_model_of_the_base_width_is_the_usual_one():
    model = Mup(MupConfig(**SHAPE, width=16, base_width=16, base_heads=2), 3, "float64")
    plain, rng = ViT(ViTConfig(**SHAPE, width=16), 3, "float64"), np.random.default_rng(0)
    model.head.weight.data[...] = plain.head.weight.data[...] = rng.normal(size=(16, 3))
    images, tap = rng.normal(size=(2, 8, 8, 1)), {}
    assert np.allclose(model(images, tap).data, plain(images).data, rtol=0, atol=1e-13)
    scores = tap["block0/attention_scores"]
    e = np.exp(scores)
    assert np.allclose(tap["block0/attention_weights"], e / e.sum(axis=-1, keepdims=True), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({"base_heads": 2}, math.sqrt(8) / 32),  # heads of 8 became heads of 32
        ({}, 1 / math.sqrt(32)),  # more heads
        ({"base_heads": 1}, math.sqrt(16) / 32),
    ],
)
def test_the_scale_of_scores_falls_with_the_width_of_a_head(fields, scale):
    config = MupConfig(**SHAPE, width=64, base_width=16, **fields)
    assert config.score_scale == pytest.approx(scale)
    model, tap = Mup(config, 0, "float64"), {}
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 1))
    model(images, tap)
    block = model.blocks[0]
    qkv = block.attention.qkv(block.norm1(tap["embedded"])).data.reshape(1, -1, 3, 2, 32)
    q, k = qkv[:, :, 0].transpose(0, 2, 1, 3), qkv[:, :, 1].transpose(0, 2, 3, 1)
    assert np.allclose(tap["block0/attention_scores"], scale * q @ k, rtol=0, atol=1e-13)


def shapes(width, **fields):
    return shapes_of(Mup(MupConfig(**SHAPE, width=width, base_width=16, **fields), None))


@pytest.mark.parametrize("decoupled", [False, True])
def test_both_forms_are_the_same_model(decoupled):
    forms = []
    rng = np.random.default_rng(0)
    images, labels, head = rng.normal(size=(4, 8, 8, 1)), np.array([0, 1, 2, 1]), rng.normal(size=(64, 3))
    for multipliers in (True, False):
        model = Mup(
            MupConfig(**SHAPE, width=64, base_width=16, base_heads=2, qkv_bias=False, multipliers=multipliers),
            0,
            "float64",
        )
        model.head.weight.data[...] = head
        options = {"lr": 0.01, "eps": 1e-30, "weight_decay": 0.3}
        if multipliers:
            optimizer = AdamW(model.named_parameters(), **options)
        else:
            base, delta = (shapes(width, multipliers=False, qkv_bias=False) for width in (16, 32))
            optimizer = MuAdamW(model.named_parameters(), base, delta, **options, decoupled=decoupled)
        outputs = [model(images).data]
        for _ in range(3):
            optimizer.step(grad(F.cross_entropy(model(images), labels), optimizer.parameters))
            outputs.append(model(images).data)
        forms.append(outputs)
    assert np.allclose(forms[0][0], forms[1][0], rtol=0, atol=1e-12)
    same = np.allclose(forms[0][3], forms[1][3], rtol=0, atol=1e-6)
    assert same is not decoupled
    assert np.abs(forms[0][3] - forms[0][0]).max() > 0.1


def test_rates_and_decays_of_the_optimiser():
    model = Mup(MupConfig(**SHAPE, width=64, base_width=16, multipliers=False), 0)
    base, delta = (shapes(width, multipliers=False) for width in (16, 32))
    for decoupled, decay in ((False, 0.4), (True, 0.1)):
        optimizer = MuAdamW(model.named_parameters(), base, delta, 1e-3, weight_decay=0.1, decoupled=decoupled)
        found = dict(zip(optimizer.names, optimizer.current(), strict=True))
        assert found["blocks.0.mlp.out.weight"] == pytest.approx((0.00025, decay))
        assert found["head.weight"] == pytest.approx((1e-3, 0.1))
        assert found["patch_embed.projection.weight"] == pytest.approx((1e-3, 0.1))
        assert found["blocks.1.attention.qkv.bias"] == pytest.approx((1e-3, 0.0))


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"not in all models: \['b'\]"):
        mup.groups({"a": (2,)}, {"a": (2,), "b": (1,)}, {"a": (3,)}, 1.0)
    with pytest.raises(ValueError, match="3 axes of a grow"):
        mup.groups({"a": (4, 4, 4)}, {"a": (2, 2, 2)}, {"a": (3, 3, 3)}, 1.0)
    with pytest.raises(ValueError, match="zip"):
        mup.groups({"a": (4, 4)}, {"a": (2, 2)}, {"a": (3,)}, 1.0)
    group = mup.groups({"a": (6, 8)}, {"a": (2, 2)}, {"a": (3, 3)}, 1.0, 1.0)["a"]
    assert (group.infinite, group.growth, group.lr, group.weight_decay) == (2, 3.0, 1 / 3, 3.0)
    assert mup.groups({"a": (6, 8)}, {"a": (2, 2)}, {"a": (3, 3)}, 1.0, fan_in=-1)["a"].growth == 4.0


def test_first_values():
    config = MupConfig(**SHAPE, width=64, base_width=16, zero_head=False, zero_query=True)
    model = Mup(config, 0)
    qkv = model.blocks[0].attention.qkv
    assert not qkv.weight.data[:, :64].any()
    assert (qkv.weight.data[:, 64:] * qkv.factor).std() == pytest.approx(1 / 8, rel=0.05)
    assert model.head.weight.data.std() == pytest.approx(1 / 4, rel=0.2)  # as if the width were 16
    assert not Mup(MupConfig(**SHAPE, width=64, base_width=16), 0).head.weight.data.any()
    assert Mup(config, None).num_parameters() == model.num_parameters()


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_width": 0},
        {"base_width": 15, "base_heads": 2},
        {"representation_size": 4},
        {"attention_dropout": 0.1},
        {"position": "relative"},
        {"position": "rope"},
    ],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MupConfig(**{**SHAPE, "width": 64, **wrong})


def test_a_recording_of_numbers_is_found_and_a_damaged_one_is_named(tmp_path):
    assert verify.folders_in(CASE) == [CASE]
    assert CASE in verify.folders_in(CASE.parent)
    place = tmp_path / "mup"
    place.mkdir()
    with pytest.raises(DataError, match="expected a folder"):
        verify.folders_in(place)
    (place / "mup.json").write_text(json.dumps({"results": {"sp": {"64": 1.5}}, "config": 3}), encoding="utf-8")
    (place / "mup_more.json").write_text(json.dumps({"a": {"b": 2, "c": "text"}}), encoding="utf-8")
    assert {name: float(x) for name, x in verify.open_case(place).arrays.items()} == {"sp/64": 1.5, "more/a/b": 2.0}
    (place / "mup_more.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"mup_more\.json"):
        verify.open_case(place)
    (place / "mup_more.json").unlink()
    (place / "mup.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"no results, and mup\.io\.npz is not beside it"):
        verify.open_case(place)
