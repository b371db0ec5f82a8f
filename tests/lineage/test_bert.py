"""BERT: held to a recording of Hugging Face's model, to one sentence and one head at a time, and its files read."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import transformer_by_hand as by_hand
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import bert, verify, words
from minivit.lineage.bert import IGNORED, Bert, BertConfig
from minivit.lineage.recorded import bert as recorded
from minivit.models.archive import write_npz, write_safetensors
from minivit.nn import post_norm
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "bert"
SIZES = {"vocab_size": 11, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
         "max_position_embeddings": 7, "type_vocab_size": 3}  # fmt: skip


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 19


WRONG = [
    (Bert, "forward", "(seen != 0)[:, None, None, :]", "(seen != 0)[:, None, :, None]", "logits"),
    (Bert, "forward", "None if seen is None else", "None and", "logits"),
    (Bert, "embed", "self.norm(x)", "x", "tap/bert.embeddings"),
    (Bert, "embed", " + self.types(types)", "", "tap/bert.embeddings"),
    (Bert, "embed", "self.positions.table[:length]", "self.positions.table[1 : length + 1]", "tap/bert.embeddings"),
    (Bert, "transformed", "F.gelu(self.transform(encoded), self.config.gelu)", "self.transform(encoded)", "logits"),
    (Bert, "transformed", "self.transform_norm(", "(", "logits"),
    (Bert, "logits", "words.table.T", "words.table.detach().T", "grad/bert.embeddings.word_embeddings.weight"),
    (Bert, "logits", " + self.words_bias", "", "logits"),
    (words, "loss", "labels != IGNORED", "labels == labels", "loss"),
    (post_norm.PostNormBlock, "forward", "self.norm2(x + self.", "x + self.norm2(self.", "logits"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, right, wrong, seen):
    make_mistake(monkeypatch, place, name, right, wrong)
    if name == "loss":
        with pytest.raises(ValueError, match="labels span -100"):
            wrong_arrays(verify.open_case(CASE))
    else:
        assert seen in wrong_arrays(verify.open_case(CASE))


def arrays(rng, pooler=True, words=True, follows=True, sizes=SIZES):
    """Random arrays under Hugging Face's names."""
    wide, hidden = sizes["hidden_size"], sizes["intermediate_size"]
    tables = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    shapes = {f"bert.embeddings.{name}_embeddings.weight": (sizes[size], wide) for name, size in tables.items()}
    norms, dense = ["bert.embeddings.LayerNorm"], {}
    for i in range(sizes["num_hidden_layers"]):
        place = f"bert.encoder.layer.{i}."
        norms += [f"{place}attention.output.LayerNorm", f"{place}output.LayerNorm"]
        dense |= {f"{place}attention.self.{name}": (wide, wide) for name in ("query", "key", "value")}
        dense[f"{place}attention.output.dense"] = wide, wide
        dense |= {f"{place}intermediate.dense": (hidden, wide), f"{place}output.dense": (wide, hidden)}
    if pooler:
        dense["bert.pooler.dense"] = wide, wide
    if words:
        dense["cls.predictions.transform.dense"] = wide, wide
        norms.append("cls.predictions.transform.LayerNorm")
        shapes["cls.predictions.bias"] = (sizes["vocab_size"],)
    if follows:
        dense["cls.seq_relationship"] = 2, wide
    for name, shape in dense.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes |= {f"{name}.{kind}": (wide,) for name in norms for kind in ("weight", "bias")}
    return {name: rng.normal(0, 0.4, s) + name.endswith("LayerNorm.weight") for name, s in shapes.items()}


def of_one(w, config, ids, types, seen):
    """last_hidden_state, pooler_output, logits and those of the next sentence, of one sentence."""
    eps, form = config.get("layer_norm_eps", 1e-12), config.get("form", "erf")

    def dense(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        return by_hand.norm(x, w[f"{name}.LayerNorm.weight"], w[f"{name}.LayerNorm.bias"], eps)

    table = {name: w[f"bert.embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
    x = norm("bert.embeddings", table["word"][ids] + table["position"][: len(ids)] + table["token_type"][types])
    for i in range(2):
        place = f"bert.encoder.layer.{i}."
        names = [f"{place}attention.self.{name}" for name in ("query", "key", "value")] + [
            f"{place}attention.output.dense"
        ]
        pairs = [(w[f"{name}.weight"], w[f"{name}.bias"]) for name in names]
        a = by_hand.attention(x, x, *pairs, 3, np.broadcast_to(seen, (len(ids), len(ids))))
        x = norm(f"{place}attention.output", x + a)
        hidden = by_hand.gelu(dense(f"{place}intermediate.dense", x), form)
        x = norm(f"{place}output", x + dense(f"{place}output.dense", hidden))
    pooled = np.tanh(dense("bert.pooler.dense", x[0]))
    said = norm("cls.predictions.transform", by_hand.gelu(dense("cls.predictions.transform.dense", x), form))
    return x, pooled, said @ table["word"].T + w["cls.predictions.bias"], dense("cls.seq_relationship", pooled)


def log_softmax(x):
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def given(rng):
    labels = rng.integers(0, 11, (2, 5))
    labels[:, ::2] = IGNORED
    return {
        "input_ids": rng.integers(0, 11, (2, 5)), "token_type_ids": rng.integers(0, 3, (2, 5)), "labels": labels,
        "attention_mask": np.array([[1] * 5, [1, 1, 1, 0, 0]]), "next_sentence_label": np.array([1, 0]),
    }  # fmt: skip


def expected(w, config, inputs):
    rows = [inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask")]
    found = [of_one(w, config, ids, types, seen == 1) for ids, types, seen in zip(*rows, strict=True)]
    names = ("last_hidden_state", "pooler_output", "logits", "seq_relationship_logits")
    out = {name: np.stack([part[i] for part in found]) for i, name in enumerate(names)}
    labels = inputs["labels"]
    chosen = labels != IGNORED
    picked = np.take_along_axis(log_softmax(out["logits"]), np.where(chosen, labels, 0)[..., None], axis=-1)[..., 0]
    follows = log_softmax(out["seq_relationship_logits"])[[0, 1], inputs["next_sentence_label"]]
    return out | {"loss": np.asarray(-picked[chosen].mean() - follows.mean())}


@pytest.mark.parametrize(
    "changes", [{}, {"layer_norm_eps": 1e-3, "hidden_act": "gelu_new", "form": "tanh"}], ids=["erf", "tanh"]
)
@pytest.mark.parametrize("names", ["hub", "official"])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, names):
    rng = np.random.default_rng(0)
    w, inputs, config = arrays(rng), given(rng), {**SIZES, **changes}
    named = in_google_names if names == "official" else dict
    asked = {f"grad/{name}": np.zeros(0) for name in named(w)}
    wanted = expected(w, config, inputs)
    pooled = {"tap/bert.pooler": wanted["pooler_output"]}
    case = write_case(tmp_path, "bert", config, named(w), {**inputs, **wanted, **pooled})
    assert wrong_arrays(case) == []
    case.arrays |= asked
    found, e = recorded.recompute(case), 1e-5
    way = {name: rng.normal(size=x.shape) for name, x in w.items()}
    moved = [expected({n: x + s * way[n] for n, x in w.items()}, config, inputs)["loss"] for s in (e, -e)]
    along = sum((found[f"grad/{name}"] * x).sum() for name, x in named(way).items())
    assert along == pytest.approx((moved[0] - moved[1]) / (2 * e), rel=1e-6)
    assert found["grad_norm"] == pytest.approx(np.sqrt(sum(np.square(found[name]).sum() for name in asked)), rel=1e-12)


def in_google_names(w):
    """As in google-research's checkpoints, whose kernels are (in, out)."""
    found = {}
    for name, x in w.items():
        kernel = name.endswith(("dense.weight", "query.weight", "key.weight", "value.weight"))
        for hub, theirs in (
            (r"_embeddings\.weight$", "_embeddings"), (r"LayerNorm\.weight$", "LayerNorm.gamma"),
            (r"LayerNorm\.bias$", "LayerNorm.beta"), (r"relationship\.(weight|bias)$", r"relationship.output_\1"),
            (r"output_weight$", "output_weights"), (r"predictions\.bias$", "predictions.output_bias"),
            (r"\.weight$", ".kernel"), (r"layer\.(\d)", r"layer_\1"), (r"\.", "/"),
        ):  # fmt: skip
            name = re.sub(hub, theirs, name)
        found[name] = x.T if kernel else x
    return found


def dialects(w):
    older = {
        re.sub("LayerNorm.weight", "LayerNorm.gamma", re.sub("LayerNorm.bias", "LayerNorm.beta", n)): x
        for n, x in w.items()
    }
    tied = {"cls.predictions.decoder.weight": w["bert.embeddings.word_embeddings.weight"]}
    tied |= {
        "cls.predictions.decoder.bias": w["cls.predictions.bias"],
        "bert.embeddings.position_ids": np.arange(7)[None],
    }
    adam = {"bert/embeddings/LayerNorm/beta/adam_m": np.zeros(12), "global_step": np.zeros(())}
    return {"hub": w, "older": older, "tied": {**w, **tied}, "google": {**in_google_names(w), **adam},
            "parallel": {f"module.{n}": x for n, x in w.items()}}  # fmt: skip


@pytest.mark.parametrize("dialect", ["hub", "older", "tied", "google", "parallel"])
def test_a_file_is_read_under_all_its_names(tmp_path, dialect):
    w = arrays(np.random.default_rng(0))
    path = tmp_path / ("weights.npz" if dialect == "google" else "weights.safetensors")
    content = dialects(w)[dialect]
    write_npz(path, content) if dialect == "google" else write_safetensors(path, content, {})
    model = recorded.open_pretrained(path, "float64", num_attention_heads=3)
    assert (model.config.heads, model.config.next_head, model.config.norm_eps) == (3, True, 1e-12)
    found = recorded.views({name: tensor.data for name, tensor in model.named_tensors()})
    assert found.keys() == w.keys()
    assert all(np.array_equal(found[name], x) for name, x in w.items())


def test_a_file_of_the_encoder_alone_and_the_configuration_beside_it(tmp_path):
    w = arrays(np.random.default_rng(0), words=False, follows=False)
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {name.removeprefix("bert."): x for name, x in w.items()}, {})
    beside = tmp_path / "config.json"
    beside.write_text(json.dumps({**SIZES, "model_type": "bert", "layer_norm_eps": 1e-5}), encoding="utf-8")
    model = recorded.open_pretrained(path)
    assert (model.config.heads, model.config.norm_eps, model.config.words_head) == (3, 1e-5, False)
    for fields, message in (
        ({"model_type": "vit"}, "of a bert"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "relative positions"),
    ):
        beside.write_text(json.dumps({**SIZES, **fields}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=message):
            recorded.open_pretrained(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bert.pooler.dense.bias": None}, "missing: bert.pooler.dense.bias"),
        ({"classifier.weight": np.zeros((2, 12))}, "unexpected: classifier.weight"),
        ({"cls.predictions.decoder.weight": np.zeros((11, 12))}, "differs from bert.embeddings.word_embeddings"),
        ({"bert/embeddings/LayerNorm/gamma": np.zeros(12)}, "two arrays for one place"),
        ({"bert.embeddings.word_embeddings.weight": None}, "not a BERT checkpoint"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, change, message):
    w = {**arrays(np.random.default_rng(0)), **change}
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {name: x for name, x in w.items() if x is not None}, {})
    with pytest.raises(CheckpointError, match=message) as caught:
        recorded.open_pretrained(path, num_attention_heads=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"words_head": False}, 109_482_240),
        ({"pooler": False}, 109_514_298),
        ({"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096, "words_head": False}, 335_141_888),
    ],
)
def test_the_published_models_have_as_many_parameters(fields, count):
    assert Bert(BertConfig(**fields), None).num_parameters() == count


def small(**fields):
    sizes = {"vocabulary": 30, "positions": 8, "width": 12, "depth": 2, "heads": 3, "mlp_width": 16}
    return BertConfig(**{**sizes, **fields})


def test_words_are_hidden_in_the_known_shares():
    ids = np.random.default_rng(0).integers(5, 1000, (400, 500))
    ids[:, 0], ids[:, -1] = 1, 2
    hidden, labels = bert.hide(ids, np.random.default_rng(1), mask=3, vocabulary=1000, never=(1, 2))
    chosen = labels != IGNORED
    assert np.array_equal(hidden[~chosen], ids[~chosen])
    assert np.array_equal(labels[chosen], ids[chosen])
    assert not chosen[:, [0, -1]].any()
    assert chosen[:, 1:-1].mean() == pytest.approx(0.15, abs=0.005)
    masked, same = (hidden == 3)[chosen].mean(), (hidden == ids)[chosen].mean()
    assert (masked, same) == (pytest.approx(0.8, abs=0.012), pytest.approx(0.1, abs=0.01))


def test_what_is_hidden_behind_padding_changes_nothing_and_word_order_matters():
    model = Bert(small(), 0, "float64").eval()
    ids, seen = np.array([[4, 5, 6, 7, 8]]), np.array([[1, 1, 1, 0, 0]])
    other = np.array([[4, 5, 6, 9, 3]])
    assert np.array_equal(model(ids, seen=seen).data[:, :3], model(other, seen=seen).data[:, :3])
    assert np.abs(model(ids).data[:, :3] - model(other).data[:, :3]).max() > 1e-3
    assert np.abs(model(ids[:, ::-1].copy()).data[:, ::-1] - model(ids).data).max() > 1e-6


def test_it_begins_with_normal_values_cut_at_two_deviations_and_decays_them_only():
    model = Bert(BertConfig(vocabulary=2000, width=64, depth=1, heads=2, mlp_width=128), 0)
    for name, tensor in model.named_parameters():
        assert bert.decays(name, tensor) == (tensor.ndim == 2)
        if tensor.ndim == 2:
            assert np.abs(tensor.data).max() <= 0.04
        elif not name.endswith("scale"):
            assert not tensor.data.any()
    assert model.words.table.data.std() == pytest.approx(0.02 * 0.8796, rel=0.01)


def test_texts_that_are_too_long_and_losses_of_nothing_are_refused():
    model = Bert(small(), 0).eval()
    with pytest.raises(ValueError, match="9 words, the table of positions 8"):
        model(np.zeros((1, 9), int))
    with pytest.raises(ValueError, match="no word is to be predicted"):
        words.loss(Tensor(np.zeros((1, 2, 30))), np.full((1, 2), IGNORED))


def test_dropout_draws_in_training():
    model, ids = Bert(small(), 0), np.array([[4, 5, 6]])
    first, again, other = (model(ids, rng=np.random.default_rng(seed)).data for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("wrong", [{"heads": 5}, {"types": 0}, {"dropout": 1.0}, {"pooler": False, "next_head": True},
                                   {"gelu": "relu"}, {"norm_eps": 0.0}])  # fmt: skip
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        small(**wrong)
