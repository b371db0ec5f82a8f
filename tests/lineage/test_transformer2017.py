"""The Transformer of 2017: held to a recording of torch's encoder, and to one sentence and one head at a time."""

import math
from pathlib import Path

import numpy as np
import pytest
import transformer_by_hand as by_hand
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import transformer2017, verify
from minivit.lineage.recorded import transformer2017 as recorded
from minivit.lineage.transformer2017 import (
    Encoder,
    PatchTransformer,
    Transformer,
    Transformer2017Config,
    rate,
    sinusoids,
)
from minivit.nn import post_norm
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "transformer2017"


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 12


WRONG = [  # place, function, right, wrong, what sees it
    (transformer2017, "sinusoids", "axis=-1).reshape", "axis=1).reshape", "sinusoid"),  # all sines, then all cosines
    (transformer2017, "sinusoids", "(np.arange(0, width, 2) / width)", "(np.arange(width // 2) / width)", "sinusoid"),
    (Encoder, "forward", "padding[:, None, None, :]", "padding[:, None, :, None]", "a/output"),  # of queries
    (Encoder, "forward", "~padding", "padding", "a/output"),
    (Encoder, "forward", "mask = None if padding is None else", "mask = None and", "a/output"),
    (Encoder, "forward", "self.norm(x) if self.norm else x", "LayerNorm(16, 1e-5, 'float64')(x)", "a/output"),
    (transformer2017.FeedForward, "forward", 'self.act == "relu"', "False", "a/output"),
    (post_norm.PostNormBlock, "forward", "self.norm1(x + self.", "x + self.norm1(self.", "a/output"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, right, wrong, seen):
    make_mistake(monkeypatch, place, name, right, wrong)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_a_layer_that_normalises_before_is_seen(monkeypatch):
    monkeypatch.setattr(transformer2017, "PostNormBlock", transformer2017.PreNormBlock)
    assert "a/output" in wrong_arrays(verify.open_case(CASE))


OTHERS = {
    "in words": ("d 12, heads 3, ff 20, 1 layers, eps 1e-3", {"heads": 3, "eps": 1e-3}, False),
    "torch's names": (
        {"nhead": 4, "layer_norm_eps": 1e-6, "activation": "gelu"}, {"heads": 4, "eps": 1e-6, "gelu": 1}, False
    ),
    "before, with a last norm": ({"nhead": 2, "norm_first": True}, {"heads": 2, "eps": 1e-5, "first": 1}, True),
    "said in words": ("pre-LN, 6 heads, gelu", {"heads": 6, "eps": 1e-5, "first": 1, "gelu": 1}, True),
}  # fmt: skip


@pytest.mark.parametrize(("config", "meant", "final"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("padded", [False, True])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, config, meant, final, padded):
    rng = np.random.default_rng(0)
    arrays = by_hand.torch_arrays(rng, 12, 20, 2, final=final)
    x = rng.normal(size=(2, 5, 12))
    padding = np.array([[False] * 5, [False] * 3 + [True] * 2])
    act = by_hand.gelu if meant.get("gelu") else lambda y: np.maximum(y, 0)

    def stack(x):
        found = []
        for sentence, hidden in zip(x, padding, strict=True):
            seen = np.broadcast_to(~hidden, (5, 5)) if padded else np.ones((5, 5), bool)
            for i in (0, 1):
                how = meant["heads"], seen, meant["eps"], meant.get("first"), act
                sentence = by_hand.layer(arrays, f"layers.{i}.", sentence, *how)
            if final:
                sentence = by_hand.norm(sentence, arrays["norm.weight"], arrays["norm.bias"], meant["eps"])
            found.append(sentence)
        return np.stack(found)

    found = {"image": x, "output": stack(x), "cotangent": rng.normal(size=x.shape)}
    found |= {"key_padding": padding} if padded else {}
    case = write_case(tmp_path, "transformer2017", config, arrays, found)
    assert wrong_arrays(case) == []
    way, e = rng.normal(size=x.shape), 1e-5
    difference = ((stack(x + e * way) - stack(x - e * way)) * found["cotangent"]).sum() / (2 * e)
    assert (recorded.recompute(case)["grad_input/image"] * way).sum() == pytest.approx(difference, rel=1e-6)


def small(**fields):
    return Transformer2017Config(width=12, depth=2, heads=3, mlp_width=20, vocabulary=9, **fields)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_whole_agrees_with_the_slow_implementation(norm):
    rng = np.random.default_rng(1)
    model = Transformer(small(norm=norm, final_norm=norm == "pre", norm_eps=1e-5), 0, "float64").eval()
    encoder, decoder = (by_hand.torch_arrays(rng, 12, 20, 2, i, norm == "pre") for i in (False, True))
    recorded.load(model.encoder, encoder)
    stack = Encoder(model.config, None, "float64")
    stack.layers, stack.norm = model.layers, model.norm
    recorded.load(stack, decoder)
    source, target = np.array([[1, 2, 3, 0], [4, 5, 6, 7]]), np.array([[8, 1, 2], [8, 3, 4]])
    padding = source == 0
    logits = model(source, target, padding).data
    table = model.words.table.data
    how = {"heads": 3, "eps": 1e-5, "first": norm == "pre", "act": lambda y: np.maximum(y, 0)}
    for sentence, words, hidden, found in zip(source, target, padding, logits, strict=True):
        memory, x = (table[ids] * math.sqrt(12) + sinusoids(len(ids), 12) for ids in (sentence, words))
        seen = np.broadcast_to(~hidden, (4, 4))
        for i in (0, 1):
            memory = by_hand.layer(encoder, f"layers.{i}.", memory, seen=seen, **how)
        if norm == "pre":
            memory = by_hand.norm(memory, encoder["norm.weight"], encoder["norm.bias"], 1e-5)
        for i in (0, 1):
            x = by_hand.layer(
                decoder, f"layers.{i}.", x, seen=np.tri(3, dtype=bool), memory=memory, there=seen[:3], **how
            )
        if norm == "pre":
            x = by_hand.norm(x, decoder["norm.weight"], decoder["norm.bias"], 1e-5)
        assert np.allclose(found, x @ table.T, rtol=0, atol=1e-11)


def test_padding_changes_nothing_and_later_words_do_not_either():
    model = Transformer(small(), 0, "float64").eval()
    source, target = np.array([[1, 2, 3, 0, 0]]), np.array([[8, 1, 2]])
    before = model(source, target, source == 0).data
    other = np.array([[1, 2, 3, 7, 6]])
    assert np.array_equal(model(other, target, source == 0).data, before)
    assert np.abs(model(other, target).data - before).max() > 1e-3
    changed = model(source, np.array([[8, 1, 5]]), source == 0).data
    assert np.array_equal(changed[:, :2], before[:, :2])
    assert np.abs(changed[:, 2] - before[:, 2]).max() > 1e-3


def test_sines_and_cosines_alternate():
    table = sinusoids(50, 7)
    for p, i in ((0, 0), (3, 2), (49, 5), (17, 6)):
        angle = p / 10_000 ** (2 * (i // 2) / 7)
        assert table[p, i] == pytest.approx((math.cos if i % 2 else math.sin)(angle), abs=1e-12)


def test_the_rate_rises_to_the_end_of_the_warm_up_and_falls_as_its_root():
    assert rate(4000) == pytest.approx(512**-0.5 * 4000**-0.5)
    assert rate(1000) == pytest.approx(rate(4000) / 4)
    assert rate(16_000) == pytest.approx(rate(4000) / 2)
    assert rate(10, 64, 5) == pytest.approx(1 / 8 / 10**0.5)


def test_the_base_model_has_as_many_parameters_as_torchs():
    base = Transformer2017Config(final_norm=True, vocabulary=1)
    assert Encoder(Transformer2017Config(), None).num_parameters() == 18_914_304
    assert Transformer(base, None).num_parameters() - 512 == 44_140_544  # torch.nn.Transformer() has no words


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_it_classifies_images_and_needs_its_order(norm):
    config = small(norm=norm, image_size=8, patch_size=4, num_classes=3, channels=1)
    model, rng = PatchTransformer(config, 0, "float64"), np.random.default_rng(0)
    images, tap = rng.normal(size=(2, 8, 8, 1)), {}
    assert np.array_equal(model.eval()(images, tap).data, np.zeros((2, 3)))
    assert {"embedded", "layer1/output", "layer0/attention_weights", "encoded", "features"} <= tap.keys()
    model.head.weight.data[...] = rng.normal(size=(12, 3))
    assert np.abs(model(images).data - model(images[:, ::-1].copy()).data).max() > 1e-3
    with pytest.raises(ValueError, match="rng"):
        model.train()(images)
    assert not np.array_equal(model(images, rng=np.random.default_rng(1)).data, model.eval()(images).data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"norm": "none"},
        {"act": "tanh"},
        {"heads": 5},
        {"depth": 0},
        {"dropout": 1.0},
        {"patch_size": 5},
        {"num_classes": -1},
        {"norm_eps": 0.0},
    ],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)).partition("_")[0]):
        Transformer2017Config(**wrong)


def test_arrays_that_do_not_fit_are_refused():
    arrays = by_hand.torch_arrays(np.random.default_rng(0), 12, 20, 2)
    with pytest.raises(CheckpointError, match=r"missing: layers\.1\.norm2\.bias"):
        recorded.load(Encoder(small(), None), {n: x for n, x in arrays.items() if n != "layers.1.norm2.bias"})
    encoder = Encoder(small(), None)
    recorded.load(encoder, arrays)
    assert encoder(Tensor(np.ones((1, 4, 12), np.float32)), np.random.default_rng(0)).shape == (1, 4, 12)
