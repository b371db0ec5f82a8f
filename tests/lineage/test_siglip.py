"""SigLIP: held to recorded outputs of Hugging Face's code, and to a slow second implementation."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from clip_by_hand import pair
from recordings import write_case, wrong_arrays
from siglip_by_hand import SIZES, ByHand, arrays

from minivit import evaluate, train
from minivit import functional as F
from minivit.data import Augment, Scenes
from minivit.data.scenes_words import CAPTION, WORDS
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import Given, matching, siglip, verify
from minivit.lineage.recorded import siglip as recorded
from minivit.lineage.siglip import ImageTower, SigLIP, SigLIPConfig
from minivit.models import ResNetConfig, ViT, ViTConfig
from minivit.models.archive import write_safetensors
from minivit.nn import CausalAttention, MultiHeadAttention
from minivit.nn.attention_pool import AttentionPool
from minivit.optim import AdamW
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "siglip"
OTHERS = {
    "not square, one channel": {"vision": {"image_size": [12, 6], "patch_size": [3, 2], "num_channels": 1}},
    "deeper": {"vision": {"num_hidden_layers": 3, "num_attention_heads": 1}, "text": {"num_hidden_layers": 1}},
    "erf, another epsilon": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "text": {"num_attention_heads": 4}},
}
PUBLISHED = {  # name: parameters; patch, image size, width, depth, heads and MLP of both towers
    "B/16": (203_155_970, 16, 224, 768, 12, 12, 3072),
    "L/16 at 256": (652_150_786, 16, 256, 1024, 24, 16, 4096),
    "So400m/14 at 384": (877_960_498, 14, 378, 1152, 27, 16, 4304),
}


def shape(**fields):
    small = {"image_size": 16, "patch_size": 8, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16, "num_classes": 0}
    return ViTConfig(**{**small, **fields})


def small(seed=0, dtype="float64", model=None, **fields):
    own = {"width": 8, "depth": 1, "heads": 2, "vocabulary": len(WORDS), "context": CAPTION}
    return SigLIP(SigLIPConfig(**{**own, **fields}), model or shape(), seed, dtype)


def merged(changes):
    return {
        key: {**x, **changes.get(key, {})} if isinstance(x, dict) else changes.get(key, x) for key, x in SIZES.items()
    }


def given(config, rng, pairs=3):
    vision, text = config["vision"], config["text"]
    ids = rng.integers(0, text["vocab_size"], (pairs, text["max_position_embeddings"]))
    return {"image": rng.normal(size=(pairs, vision["num_channels"], *pair(vision["image_size"]))), "input_ids": ids}


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 24


def divided_by_all_pairs(self, outputs, batch):
    similar = self.similarity(outputs)
    return F.sigmoid_cross_entropy(similar, np.arange(len(similar))) / len(similar)


def without_a_bias(self, outputs):
    return F.exp(self.log_scale) * (outputs[0] @ outputs[1].T)


def not_exponentiated(self, outputs):
    return self.log_scale * (outputs[0] @ outputs[1].T) + self.bias


def at_the_first_position(self, ids, rng=None, tap=None):
    return siglip.unit(self.text_head(self.text_tower(ids, rng, tap)[:, 0]))


def with_the_probe_added(self, x, mask=None, parts=1):
    y = self.probe + self.attention(F.broadcast_to(self.probe, (len(x.data), 1, x.shape[-1])), x)
    return y + self.mlp(self.norm(y))


def build_with(**changes):
    real = SigLIPConfig.__init__
    return lambda self, **fields: real(self, **{**fields, **changes})


WRONG = [
    (SigLIP, "loss", divided_by_all_pairs, "full/loss"),
    (SigLIP, "similarity", without_a_bias, "full/logits_per_image"),
    (SigLIP, "similarity", not_exponentiated, "full/logits_per_image"),
    (SigLIP, "text", at_the_first_position, "full/text_embeds"),
    (MultiHeadAttention, "forward", CausalAttention.forward, "full/tap/text_block0"),
    (AttentionPool, "forward", with_the_probe_added, "full/tap/map_head"),
    (ImageTower, "classify", ViT.classify, "full/image_embeds"),
    (siglip, "unit", lambda x: x, "full/image_embeds"),
    (SigLIPConfig, "__init__", build_with(gelu="erf"), "full/tap/vision_block0"),
    (SigLIPConfig, "__init__", build_with(norm_eps=1e-5), "full/tap/text_block0"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes):
    config, rng = merged(changes), np.random.default_rng(1)
    weights, inputs = arrays(config, rng), given(merged(changes), rng)
    slow = ByHand(config, weights, **inputs)
    found = {name: getattr(slow, name) for name in ("image_embeds", "text_embeds", "logits_per_image", "loss")}
    case = write_case(tmp_path, "siglip", config, weights, {**inputs, **found})
    assert wrong_arrays(case) == []
    check_gradients(config, weights, inputs, recorded.recompute(case))


def check_gradients(config, weights, inputs, found):
    """Along one direction through all parameters, against a difference."""
    rng, e = np.random.default_rng(2), 1e-5
    directions = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    moved = [{name: x + s * directions[name] for name, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, w, **inputs).loss for w in moved)) / (2 * e)
    assert sum((found[f"grad/{name}"] * x).sum() for name, x in directions.items()) == pytest.approx(
        difference, rel=1e-6
    )


def test_a_file_opens_with_and_without_a_configuration_beside_it(tmp_path):
    config = merged({"vision": {"num_attention_heads": 4}})
    weights, inputs = arrays(config, np.random.default_rng(0)), given(config, np.random.default_rng(1))
    beside = {"text_model.embeddings.position_ids": np.arange(6)[None]}
    write_safetensors(tmp_path / "model.safetensors", {**weights, **beside}, {})
    alone = recorded.open_pretrained(tmp_path / "model.safetensors")
    assert (alone.encoder.config.heads, alone.encoder.config.image_size, alone.config.context) == (1, (8, 8), 6)
    heads = {tower: {"num_attention_heads": config[tower]["num_attention_heads"]} for tower in ("text", "vision")}
    stated = {f"{tower}_config": fields for tower, fields in heads.items()}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", **stated}), encoding="utf-8")
    objective = recorded.open_pretrained(tmp_path / "model.safetensors", "float64")
    slow = ByHand(config, weights, **inputs)
    assert np.allclose(objective.text(inputs["input_ids"]).data, slow.text_embeds, rtol=0, atol=1e-12)
    assert np.allclose(objective.image(np.moveaxis(inputs["image"], 1, -1)).data, slow.image_embeds, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"model_type": "clip"}, "expected the configuration of a siglip"),
        ({"hidden_act": "relu"}, "hidden_act is"),
        ({"text_config": {"hidden_act": "gelu"}}, "expected one of each for both towers"),
        ({"text_config": {"hidden_size": 6}}, "wrong shape"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path, written, message):
    write_safetensors(tmp_path / "model.safetensors", arrays(merged({}), np.random.default_rng(0)), {})
    (tmp_path / "config.json").write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        recorded.open_pretrained(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not a SigLIP checkpoint"):
        recorded.build({}, {"x": np.zeros(3)})


def test_a_file_without_an_array_is_refused():
    weights = arrays(merged({}), np.random.default_rng(0))
    for lacking in ("logit_bias", "vision_model.head.probe", "vision_model.head.attention.in_proj_bias"):
        with pytest.raises(CheckpointError, match=lacking):
            recorded.build(merged({}), {name: x for name, x in weights.items() if name != lacking})


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_the_published_models(name):
    count, patch, side, width, depth, heads, hidden = PUBLISHED[name]
    model = ViTConfig(side, patch, width, depth, heads, hidden, num_classes=0)
    objective = SigLIP(SigLIPConfig(width, depth, heads, hidden), model, None)
    assert objective.num_parameters() == count
    assert (math.exp(objective.log_scale.data[0]), objective.bias.data[0]) == pytest.approx((10, -10))


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 0}, {"vocabulary": 0}, {"width": 10, "heads": 3}, {"scale": 0.0}, {"scale": math.inf},
        {"bias": math.nan}, {"gelu": "swift"}, {"norm_eps": 0.0},
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"{list(wrong)[-1]} of SigLIP"):
        SigLIPConfig(**wrong)


def test_other_models_and_captions_are_refused():
    with pytest.raises(ConfigError, match="SigLIP needs a ViT"):
        SigLIP.build(SigLIPConfig(), Given(ResNetConfig((1, 1)), [], 5))
    with pytest.raises(ConfigError, match="SigLIP has no register_tokens"):
        small(model=shape(register_tokens=1))
    with pytest.raises(ConfigError, match="but SigLIP was made for at most"):
        small().draw({"caption": np.full((2, 4), len(WORDS))}, 0, np.random.default_rng(0))


def test_the_image_tower_starts_from_a_vit():
    start, rng = ViT(shape(num_classes=3), 5), np.random.default_rng(0)
    for tensor in start.parameters():
        tensor.data[...] = rng.normal(size=tensor.shape)
    objective = SigLIP.build(SigLIPConfig(8, 1, 2), Given(shape(), [], 5, start=start))
    images = rng.normal(size=(2, 16, 16, 3)).astype("float32")
    embedded = objective.encoder.embed(objective.tensor(images)).data
    assert np.allclose(embedded, start.embed(start.tensor(images)).data[:, 1:], atol=1e-5)
    assert np.array_equal(objective.encoder.blocks[0].mlp.out.weight.data, start.blocks[0].mlp.out.weight.data)


def test_every_text_is_read_to_its_end_in_both_directions():
    objective, rng = small().eval(), np.random.default_rng(0)
    ids = rng.integers(0, len(WORDS), (1, 8))
    before = objective.text(ids).data
    for place in range(8):
        other = ids.copy()
        other[0, place] = (ids[0, place] + 1) % len(WORDS)
        assert not np.allclose(objective.text(other).data, before), place
    last = objective.text_tower(other).data[:, 0]
    assert not np.allclose(last, objective.text_tower(ids).data[:, 0])


def pairs(count, **options):
    columns = Scenes(count, 0, 16, (1, 1), **options).columns(range(count), SigLIP.columns)
    return {"images": Augment((16, 16))(columns["images"]), "caption": columns["caption"]}


def learned(batch, steps=200):
    model = shape(image_size=16, patch_size=4, width=32, depth=2, heads=2, mlp_width=64)
    objective = small(dtype="float32", model=model, width=32, depth=1, heads=2)
    optimizer, rng = AdamW(objective.named_parameters(), lr=3e-3, betas=(0.9, 0.98)), np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        some = rng.permutation(len(batch["images"]))[:64]
        piece = {name: x[some] for name, x in batch.items()}
        loss = objective.loss(objective(piece), piece)
        optimizer.step(grad(loss, optimizer.parameters))
        losses.append(loss.item())
    return objective, losses


def test_it_learns_to_find_sentences_that_it_has_not_seen_but_not_from_shuffled_ones():
    """Of one-shape scenes in 64 combinations; then sixteen others, each known by its own sentence: 1/16 by chance."""
    batch, test = pairs(1000, combinations="train"), pairs(200, combinations="held-out")
    batch["caption"], test["caption"] = batch["caption"][:, :9], test["caption"][:, :9]
    known = np.unique(test["caption"], axis=0)
    objective, losses = learned(batch)
    assert losses[0] > 8
    assert np.mean(losses[-10:]) < 4.5
    assert matching.share_found(objective, test, known) > 0.25
    shuffled = {**batch, "caption": np.random.default_rng(1).permutation(batch["caption"])}
    assert matching.share_found(learned(shuffled)[0], test, known) < 0.2


def test_the_loss_is_a_sum_over_all_pairs_divided_by_their_images():
    """Each pair is a question of its own, so the terms may be added up in any blocks."""
    similar = np.random.default_rng(0).normal(size=(6, 6))
    terms = np.log1p(np.exp(np.where(np.eye(6, dtype=bool), -1, 1) * similar))
    objective = small(scale=1.0, bias=0.0)
    outputs = objective.tensor(similar), objective.tensor(np.eye(6))
    blocks = sum(terms[i : i + 3, j : j + 2].sum() for i in (0, 3) for j in (0, 2, 4))
    assert objective.loss(outputs, {}).item() == pytest.approx(blocks / 6, rel=1e-12)


def test_a_run_trains_and_finds_sentences(tmp_path, capsys):
    sizes = {"width": 8, "depth": 1, "heads": 2, "vocabulary": len(WORDS), "context": CAPTION}
    words = ["--objective", "siglip", "--data", "captions", *(f"--set={name}={x}" for name, x in sizes.items())]
    words += [
        "--patch-size",
        "16",
        "--width",
        "6",
        "--heads",
        "2",
        "--depth",
        "1",
        "--mlp-width",
        "8",
        "--limit",
        "100",
        "--batch-size",
        "50",
        "--steps",
        "1",
    ]
    train.main([*words, "--out", str(tmp_path / "run")])
    assert "retrieval" in capsys.readouterr().out
    evaluate.main([str(tmp_path / "run"), "--how", "zero-shot"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("among ")[2] for line in lines] == ["16 (by chance 6.2%)", "80 (by chance 1.2%)"]
