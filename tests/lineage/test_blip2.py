"""BLIP-2: held to recorded outputs of published code, and to a slow second implementation; mistakes are seen."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from blip2_by_hand import CONFIG, ByHand, arrays, in_lavis_names
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.data import Augment, Scenes
from minivit.data.scenes_words import CAPTION, WORDS
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import blip2, verify
from minivit.lineage.blip2 import BLIP2, LOTS, BLIP2Config, chances, drawn, greedy
from minivit.lineage.qformer import Layer, Prefix, QFormer, QFormerConfig
from minivit.lineage.recorded import blip2 as recorded
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_arrays, write_safetensors
from minivit.nn import Linear
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "blip2"
OTHERS = {
    "as it is": {},
    "tanh, every third": {
        "vision": {"hidden_act": "gelu_new"},
        "qformer": {"hidden_act": "gelu_new", "cross_attention_frequency": 3, "num_hidden_layers": 4},
    },
    "every layer, one query, other padding": {
        "qformer": {"cross_attention_frequency": 1, "num_attention_heads": 4, "pad_token_id": 3},
        "num_query_tokens": 1, "bos": 4,
    },
    "no biases in the encoder": {"vision": {"qkv_bias": False, "num_hidden_layers": 2}},
}  # fmt: skip


def the_case():
    case = verify.open_case(CASE)
    for name, x in read_arrays(CASE / "blip2_layers.safetensors")[0].items():
        case.weights[name] = np.asarray(x, float)
    return case


def merged(changes):
    config = copy.deepcopy(CONFIG)
    for name, x in changes.items():
        config[name] = {**config[name], **x} if isinstance(x, dict) else x
    return config


def given(config, rng, count=3):
    """Pairs with padding, and wrong pairs."""
    pad, known, (high, wide) = config["qformer"]["pad_token_id"], config["qformer"]["vocab_size"], (4, 6)
    ids = rng.choice([x for x in range(known) if x != pad], size=(count, 5))
    seen = np.arange(5) < np.array([5, 3, 4])[:count, None]
    others = np.roll(np.arange(count), 1), np.roll(np.arange(count), -1)
    names = ("itm/negative_image_of_text", "itm/negative_text_of_image")
    return {
        "image": rng.normal(size=(count, 3, high, wide)), "input_ids": np.where(seen, ids, pad),
        "attention_mask": seen.astype(int), **dict(zip(names, others, strict=True)),
    }  # fmt: skip


def test_the_recording_of_the_published_code():
    case = the_case()
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 37


WRONG = [
    (QFormer, "forward", "self.norm(F.concat(*parts, axis=1) if len(parts) > 1 else parts[0])",
     "F.concat(*parts[:-1], self.norm(parts[-1]), axis=1)", "itg/logits"),  # queries beside the LayerNorm
    (QFormer, "forward", "+ self.positions.table[: ids.shape[1]]",
     "+ self.positions.table[(0 if context is None else 4):][: ids.shape[1]]", "itg/logits"),  # queries take places
    (QFormer, "mask", "seen is None", "seen is seen", "itg/allowed"),
    (QFormer, "mask", "if not causal", "if True", "itg/logits"),
    (QFormer, "mask", "before[:queries, :queries] = True", "pass", "itc/image_features"),
    (QFormer, "mask", "before[:queries, :queries]", "before[:queries]", "itc/image_features"),
    (Layer, "forward", "self.query_mlp(asking, rng)", "self.mlp(asking, rng)", "itc/image_features"),
    (Layer, "forward", "self.mlp(text, rng)", "self.query_mlp(text, rng)", "text/output"),
    (Layer, "forward", "asking = branch(asking, self.cross(asking, context, rng), self.cross_norm)", "pass",
     "queries/layer0"),
    (BLIP2, "similarity", "F.max(self.by_query(outputs), axis=2)", "self.by_query(outputs).mean(axis=2)",
     "itc/sim_i2t"),
    (BLIP2, "similarity", "/ self.temperature", "* self.temperature", "itc/sim_t2i"),
    (BLIP2, "text", "encoded[:, 0]", "encoded[:, -1]", "itc/text_features"),
    (BLIP2, "itc", "own, smoothing)", "own)", "itc/loss"),
    (BLIP2, "itc", "similar.T", "similar", "itc/loss"),
    (BLIP2, "matches", "joint[:, : self.config.queries]", "joint[:, :1]", "itm/logits"),
    (BLIP2, "matches", "seen)", "seen, causal=True)", "itm/logits"),
    (BLIP2, "itg", "outputs[3][:, :-1]", "outputs[3][:, 1:]", "itg/loss"),
    (BLIP2, "itg", "self.config.smoothing", "0.0", "itg/loss"),
    (BLIP2, "labels", "ids == self.config.pad", "ids == -1", "itg/labels"),
    (BLIP2, "begun", "ids[:, 0] = self.config.start", "pass", "itg/decoder_input_ids"),
    (BLIP2, "logits", "words.table.T", "words.table.detach().T", "grad/model.embeddings.word_embeddings.weight"),
    (blip2, "unit", "x / F", "x * F", "itc/text_features"),
    (recorded, "recompute", "chances(similar.data)", "chances(similar.data.T)", "itm/weights_i2t"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, right, wrong, seen):
    make_mistake(monkeypatch, place, name, right, wrong)
    assert seen in wrong_arrays(the_case())


def test_a_right_pair_must_not_be_drawn_as_a_wrong_one(monkeypatch):
    make_mistake(monkeypatch, blip2, "chances", "xp.eye(len(rows), dtype=bool)", "False")
    monkeypatch.setattr(recorded, "chances", blip2.chances)
    assert "itm/weights_i2t" in wrong_arrays(the_case())


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("names", ["hub", "LAVIS"])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, names):
    config, rng = merged(changes), np.random.default_rng(1)
    weights, inputs = arrays(config, rng), given(config, rng)
    if names == "LAVIS" and config["vision"]["qkv_bias"]:
        for name, x in weights.items():
            if name.endswith("qkv.bias"):
                x[len(x) // 3 : -len(x) // 3] = 0  # of keys
    slow = ByHand(config, weights, inputs).found
    written = in_lavis_names(weights) if names == "LAVIS" else {f"model.{name}": x for name, x in weights.items()}
    case = write_case(tmp_path, "blip2", config, written, {**inputs, **slow})
    assert wrong_arrays(case) == []
    if names == "hub" and "bos" in changes:
        check_gradients(config, weights, inputs, case)


def check_gradients(config, weights, inputs, case):
    """Along one direction through all parameters, and one through the images, against differences."""
    rng, e = np.random.default_rng(2), 1e-5
    ways = {name: np.asarray(rng.normal(size=x.shape)) for name, x in weights.items()}
    way = rng.normal(size=inputs["image"].shape)
    moved = [{name: x + s * ways[name] for name, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, w, inputs).found["loss"] for w in moved)) / (2 * e)
    case.arrays |= {f"grad/{name}": x for name, x in weights.items()}
    found = recorded.recompute(case)
    assert sum((found[f"grad/{name}"] * x).sum() for name, x in ways.items()) == pytest.approx(difference, rel=1e-5)
    images = [{**inputs, "image": inputs["image"] + s * way} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, weights, x).found["loss"] for x in images)) / (2 * e)
    assert (found["grad_input/image"] * way).sum() == pytest.approx(difference, rel=1e-5)


def test_gradients_have_the_names_of_the_layout_of_the_recording():
    case, official = the_case(), the_case()
    hub = {name.removeprefix("model."): x for name, x in case.weights.items()}
    for name in [name for name in hub if name.endswith("qkv.bias")]:
        hub[name] = np.concatenate([np.split(hub[name], 3)[0], np.zeros(20), np.split(hub[name], 3)[2]])
    case.weights, official.weights = hub, in_lavis_names(hub)
    case.arrays |= {f"grad/{name}": x for name, x in hub.items()}
    official.arrays |= {f"grad/{name}": x for name, x in in_lavis_names(hub).items() if "position_ids" not in name}
    one, other = ({k: x for k, x in recorded.recompute(c).items() if k in c.arrays} for c in (case, official))
    assert other.keys() == official.arrays.keys() - official.given
    renamed = in_lavis_names({k.removeprefix("grad/"): x for k, x in one.items() if k[:5] == "grad/" and k[5:] in hub})
    for name in renamed.keys() - {"Qformer.bert.embeddings.position_ids"}:
        assert np.allclose(other[f"grad/{name}"], renamed[name], rtol=0, atol=1e-12), name


def test_the_published_sizes_have_as_many_parameters():
    without = QFormer(QFormerConfig(text=False), 1408, None)
    assert without.num_parameters() == 105_137_664 + 24_576
    full = QFormer(QFormerConfig(), 1408, None)
    tables = (30_523 + 512) * 768
    assert full.num_parameters() == 161_825_280 + 24_576 + tables


def test_a_file_opens_with_and_without_a_configuration_beside_it(tmp_path):
    config, rng = merged({}), np.random.default_rng(0)
    weights, inputs = arrays(config, rng), given(config, rng)
    write_safetensors(tmp_path / "model.safetensors", weights, {})
    stated = {"model_type": "blip-2", "vision_config": config["vision"], "qformer_config": config["qformer"]}
    alone = recorded.open_pretrained(tmp_path / "model.safetensors")
    assert (alone.encoder.config.image_size, alone.config.heads, alone.config.cross_every) == ((4, 6), 1, 2)
    assert alone.vision.norm.eps == alone.vision.blocks[0].norm1.eps == 1e-6
    write_safetensors(tmp_path / "lavis.safetensors", in_lavis_names(weights), {})
    official = recorded.open_pretrained(tmp_path / "lavis.safetensors")
    assert (official.vision.norm.eps, official.vision.blocks[0].norm1.eps) == (1e-5, 1e-6)
    (tmp_path / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    objective = recorded.open_pretrained(tmp_path / "model.safetensors", "float64", bos=8).eval()
    patches = objective.patches(np.moveaxis(inputs["image"], 1, -1))
    assert np.allclose(patches.data, ByHand(config, weights, inputs).found["vision/output"], rtol=0, atol=1e-12)
    table = {"lm_head.decoder.weight": weights["embeddings.word_embeddings.weight"] + 1}
    with pytest.raises(CheckpointError, match="with which BLIP-2 shares it"):
        recorded.canonical(weights | table)
    for lacking in ("temp", "qformer.encoder.layer.1.output_query.dense.bias"):
        with pytest.raises(CheckpointError, match=lacking):
            recorded.build(stated, {name: x for name, x in weights.items() if name != lacking})


def small(seed=0, dtype="float64", **fields):
    shape = ViTConfig(image_size=16, patch_size=8, width=8, depth=1, heads=2, mlp_width=16, num_classes=0)
    own = {"queries": 3, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12, "positions": CAPTION, "shared": 6}
    words = {"vocabulary": len(WORDS) + 1, "start": len(WORDS)}
    return BLIP2(BLIP2Config(**{**own, **words, **fields}), ViT(shape, seed, dtype), seed, dtype)


def pairs(objective, count=8):
    columns = Scenes(count, 0, 16).columns(range(count), objective.columns)
    batch = {"images": Augment((16, 16))(columns["images"]).astype(float), "caption": columns["caption"]}
    return batch | objective.draw(batch, 0, np.random.default_rng(0))


def test_wrong_pairs_are_drawn_by_similarity_and_never_the_right_one():
    rng = np.random.default_rng(0)
    weights = chances(rng.normal(size=(4, 4)))
    lots = rng.integers(0, LOTS, (20_000, 4))
    found = np.array([drawn(weights, row) for row in lots])
    for i in range(4):
        share = np.bincount(found[:, i], minlength=4) / len(lots)
        assert np.abs(share - weights[i] / weights[i].sum()).max() < 0.015
        assert share[i] == 0
    for edge in (0, LOTS - 1):
        assert (drawn(weights, np.full(4, edge)) != np.arange(4)).all()
        assert drawn(weights, np.full(4, edge)).max() < 4


def test_what_may_look_at_what():
    objective = small().eval()
    batch = pairs(objective)
    patches, images, texts, said = objective(batch)
    other = {**batch, "images": batch["images"][::-1]}
    assert np.array_equal(objective(other)[2].data, texts.data), "ITC: a text does not see its image"
    later = batch["caption"].copy()
    later[:, 3] = (later[:, 3] + 1) % len(WORDS)
    _, same, changed, words = objective({**batch, "caption": later})
    assert np.array_equal(same.data, images.data), "ITC: queries do not see words"
    assert not np.allclose(changed.data, texts.data)
    assert np.allclose(words.data[:, :3], said.data[:, :3], rtol=0, atol=1e-12), "ITG: words do not see later ones"
    matched = [objective.matches(patches, ids, batch["seen"]).data for ids in (batch["caption"], later)]
    assert not np.allclose(*matched), "ITM: queries see words"
    padded = np.where(batch["seen"] == 1, batch["caption"], 5)
    assert np.allclose(objective({**batch, "caption": padded})[2].data, texts.data, rtol=0, atol=1e-12)


def test_one_pass_over_queries_and_words_gives_what_two_give():
    objective = small().eval()
    batch = pairs(objective)
    patches = objective.patches(batch["images"])
    assert np.allclose(objective.image(objective.qformer(patches)).data, objective(batch)[1].data, rtol=0, atol=1e-14)


def test_the_loss_is_the_weighted_sum_and_a_batch_of_one_has_no_wrong_pairs():
    values = []
    for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 0.5)):
        objective = small(**dict(zip(("itc", "itm", "itg"), weights, strict=True))).eval()
        batch = pairs(objective)
        values.append(objective.loss(objective(batch), batch).item())
    assert values[3] == pytest.approx(values[0] + 2 * values[1] + 0.5 * values[2], rel=1e-12)
    one = {name: x[:1] for name, x in batch.items()}
    outputs = objective(one)
    yes = objective.matches(outputs[0], one["caption"], one["seen"])
    expected = F.cross_entropy(yes, np.array([1])).item()
    assert objective.itm(outputs, one, objective.similarity(outputs)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_encoder_is_frozen_except_for_its_last_norm(frozen):
    objective = small(frozen=frozen)
    batch = pairs(objective)
    learning = dict(objective.named_parameters())
    inside = [name for name in learning if name.startswith("vision.")]
    assert (inside == ["vision.norm.scale", "vision.norm.bias"]) == frozen
    loss = objective.loss(objective(batch, np.random.default_rng(0)), batch)
    for name, g in zip(learning, grad(loss, learning.values()), strict=True):
        assert np.abs(g).max() > 1e-12 or "bias" in name, name
    assert objective.train().vision.training != frozen


def test_sums_count_own_sentences_and_repeated_ones():
    objective = small()
    nearest = np.array([2, 1, 3, 1])  # the first by its twin, and the second
    outputs = tuple(Tensor(x) for x in (np.eye(4), np.eye(4)[nearest][:, None], np.eye(4), np.eye(4)))
    found = objective.sums(outputs, {"caption": np.array([[0, 1], [1, 1], [0, 1], [2, 1]])})
    assert found == {"retrieval": 2, "repeated": 2}


def test_it_learns_to_find_and_to_write_captions():
    """Of four scenes."""
    plain = {"dropout": 0.0, "attention_dropout": 0.0, "smoothing": 0.0, "itm": 0.0, "frozen": False, "deviation": 0.25}
    objective = small(dtype="float32", width=16, shared=16, depth=1, **plain)
    batch = pairs(objective, 4)
    batch["images"] = batch["images"].astype(np.float32)
    optimizer = AdamW(objective.named_parameters(), lr=2e-3)
    for _ in range(100):
        optimizer.step(grad(objective.loss(objective(batch), batch), optimizer.parameters))
        objective.after_update({}, batch)
    outputs = objective.eval()(batch)
    assert objective.sums(outputs, batch)["retrieval"] == 4
    following = outputs[3].data.argmax(axis=-1)[:, :-1]
    assert (following == batch["caption"][:, 1:])[batch["seen"][:, 1:] == 1].mean() > 0.75


def test_captions_are_written_word_by_word():
    objective = small().eval()
    batch = pairs(objective, 3)
    written = greedy(objective, batch["images"], 6)
    assert written.shape == (3, 6)
    assert (written[:, 0] == objective.config.start).all()
    again = objective({**batch, "caption": written, "seen": np.ones_like(written)})[3].data.argmax(axis=-1)
    assert np.array_equal(again[:, :-1], written[:, 1:])


def test_first_values_have_the_deviation_of_the_configuration():
    objective = small(width=32, mlp_width=64, deviation=0.1)
    cut = 0.8796  # the deviation of a standard normal number between -2 and 2
    for name in ("qformer.words.table", "qformer.layers.0.mlp.hidden.weight", "transform.weight"):
        x = dict(objective.named_tensors())[name].data
        assert x.std() == pytest.approx(0.1 * cut, rel=0.1), name
        assert np.abs(x).max() <= 0.2
    assert not dict(objective.named_tensors())["qformer.layers.0.mlp.hidden.bias"].data.any()


def test_the_temperature_does_not_reach_zero():
    objective = small()
    for value, expected in ((-0.1, 0.01), (0.005, 0.01), (0.5, 0.5)):
        objective.temperature.data[...] = value
        objective.after_update({}, {})
        assert objective.temperature.data[0] == expected


def test_stage_two_gives_a_prefix_for_a_language_model():
    former = QFormer(QFormerConfig(3, 8, 2, 2, 12, text=False), 6, 0, "float64")
    prefix = Prefix(former, 10, np.random.default_rng(0), "float64").eval()
    patches = Tensor(np.random.default_rng(1).normal(size=(2, 5, 6)))
    found = prefix(patches)
    assert found.shape == (2, 3, 10)
    by_hand = former(patches).data @ prefix.projection.weight.data + prefix.projection.bias.data
    assert np.allclose(found.data, by_hand, rtol=0, atol=1e-14)
    assert not hasattr(former, "words")


@pytest.mark.parametrize(
    "wrong",
    [
        {"queries": 0}, {"heads": 5}, {"dropout": 1.0}, {"gelu": "swift"}, {"norm_eps": 0.0}, {"temperature": 0.0},
        {"deviation": 0.0},
        {"smoothing": 1.0}, {"pad": -1}, {"start": 30_523}, {"itc": 0.0, "itm": 0.0, "itg": 0.0}, {"text": False},
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        BLIP2Config(**wrong)


@pytest.mark.parametrize("ids", [np.full((2, 4), 99), np.full((2, 4), -1), np.ones((2, CAPTION + 1), int)])
def test_captions_that_do_not_fit_are_refused(ids):
    with pytest.raises(ConfigError, match="captions have"):
        small().draw({"caption": ids}, 0, np.random.default_rng(0))


def test_another_encoder_is_refused():
    with pytest.raises(ConfigError, match="needs a ViT"):
        BLIP2(small().config, Linear(2, 2, None))


def test_gradients_of_each_loss_add_up_to_those_of_all():
    case = the_case()
    names = [name for name in case.arrays if name.startswith("grad/")]
    parts = ("itc", "itm", "itg")
    case.arrays |= {f"{part}/{name}": np.zeros(()) for part in parts for name in names}
    found = recorded.recompute(case)
    for name in names:
        total = sum(found[f"{part}/{name}"] for part in parts)
        np.testing.assert_allclose(total, case.arrays[name], atol=1e-12)
