"""CLIP: held to recorded outputs of published code, and to a slow second implementation."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clip_by_hand import SIZES, ByHand, arrays, in_openai_names, pair
from recordings import write_case, wrong_arrays

from minivit import evaluate, train
from minivit import functional as F
from minivit.data import Augment, Scenes
from minivit.data.scenes import load_captions
from minivit.data.scenes_words import CAPTION, END, PAD, WORDS, encode
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import Given, clip, verify
from minivit.lineage.clip import CLIP, CLIPConfig, ImageTower, TextTower
from minivit.lineage.recorded import clip as recorded
from minivit.models import ResNetConfig, ViT, ViTConfig
from minivit.models.archive import read_arrays, write_safetensors
from minivit.nn import CausalAttention, MultiHeadAttention
from minivit.optim import AdamW
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "clip"
OTHERS = {
    "not square, one channel": {"vision": {"image_size": [12, 6], "patch_size": [3, 2], "num_channels": 1}},
    "deeper": {"vision": {"num_hidden_layers": 3, "num_attention_heads": 1}, "text": {"num_hidden_layers": 1}},
    "the largest id ends": {"text": {"eos_token_id": 2, "num_attention_heads": 4}},
    "an end that is not the largest": {"text": {"eos_token_id": 7}, "projection_dim": 9},
    "erf, another epsilon": {"hidden_act": "gelu", "layer_norm_eps": 1e-3},
}
PUBLISHED = {  # name: parameters; patch, image size, widths and depth of the towers, shared
    "B/32": (151_277_313, 32, 224, 768, 12, 512, 512),
    "B/16": (149_620_737, 16, 224, 768, 12, 512, 512),
    "L/14": (427_616_513, 14, 224, 1024, 24, 768, 768),
    "L/14 at 336": (427_944_193, 14, 336, 1024, 24, 768, 768),
}


def shape(**fields):
    small = {"image_size": 16, "patch_size": 8, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16, "num_classes": 0}
    return ViTConfig(**{**small, **fields})


def small(seed=0, dtype="float64", model=None, **fields):
    own = {"width": 8, "depth": 1, "heads": 2, "vocabulary": len(WORDS), "context": CAPTION, "end": END, "shared": 6}
    return CLIP(CLIPConfig(**{**own, **fields}), model or shape(), seed, dtype)


def merged(changes):
    return {
        key: {**x, **changes.get(key, {})} if isinstance(x, dict) else changes.get(key, x) for key, x in SIZES.items()
    }


def given(config, rng, pairs=3):
    """Images, and texts of several lengths with their end and other ids behind it."""
    vision, text = config["vision"], config["text"]
    largest, length = text["vocab_size"] - 1, text["max_position_embeddings"]
    end = largest if text["eos_token_id"] == 2 else text["eos_token_id"]
    ids = rng.choice([x for x in range(largest) if x != end], size=(pairs, length))
    ids[np.arange(pairs), 1 + np.arange(pairs) % (length - 1)] = end
    image = rng.normal(size=(pairs, vision.get("num_channels", 3), *pair(vision["image_size"])))
    return {"image": image, "input_ids": ids}


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 46


def test_the_same_weights_as_openai_names_them():
    case = verify.open_case(CASE)
    case.weights = read_arrays(CASE / "clip_openai.safetensors")[0]
    assert "visual.conv1.weight" in case.weights
    assert wrong_arrays(case) == []


def rows_only(self, outputs, batch):
    similar = self.similarity(outputs)
    return F.cross_entropy(similar, np.arange(len(similar)))


def not_exponentiated(self, outputs):
    return self.log_scale * (outputs[0] @ outputs[1].T)


def at_the_last_position(self, ids, rng=None, tap=None):
    return clip.unit(self.text_projection(self.text_tower(ids, rng, tap)[:, -1]))


def at_the_last_end(self, ids, rng=None, tap=None):
    last = ids.shape[1] - 1 - (ids == self.config.end)[:, ::-1].argmax(axis=1)
    return clip.unit(self.text_projection(F.select(self.text_tower(ids, rng, tap), last[:, None])[:, 0]))


def build_with(**changes):
    real = CLIPConfig.__init__
    return lambda self, **fields: real(self, **{**fields, **changes})


WRONG = [
    (CLIP, "loss", rows_only, "full/loss"),
    (CLIP, "similarity", not_exponentiated, "full/logits_per_image"),
    (CLIP, "text", at_the_last_position, "full/text_embeds"),
    (CLIP, "text", at_the_last_end, "full/text_embeds"),
    (CausalAttention, "forward", MultiHeadAttention.forward, "full/tap/text_block0"),
    (clip, "unit", lambda x: x, "full/image_embeds"),
    (ImageTower, "embed", ViT.embed, "full/tap/vision_pre_layernorm"),
    (CLIPConfig, "__init__", build_with(gelu="erf"), "full/tap/vision_block0"),
    (CLIPConfig, "__init__", build_with(norm_eps=1e-6), "full/tap/text_block0"),
    (recorded.Padded, "forward", CausalAttention.forward, "padded/tap/text_block0"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("names", ["hub", "OpenAI"])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, names):
    config, rng = merged(changes), np.random.default_rng(1)
    weights, inputs = arrays(config, rng), given(merged(changes), rng)
    slow = ByHand(config, weights, **inputs)
    found = {name: getattr(slow, name) for name in ("image_embeds", "text_embeds", "logits_per_image", "loss")}
    written = in_openai_names(weights) if names == "OpenAI" else weights
    case = write_case(tmp_path, "clip", config, written, {**inputs, **found})
    assert wrong_arrays(case) == []
    check_gradients(config, weights, inputs, recorded.recompute(case), names)


def check_gradients(config, weights, inputs, found, names):
    """Along one direction through all parameters, and one through the images, against differences."""
    rng, e = np.random.default_rng(2), 1e-5
    directions = {name: np.asarray(rng.normal(size=x.shape)) for name, x in weights.items()}
    moved = [{name: x + s * directions[name] for name, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, w, **inputs).loss for w in moved)) / (2 * e)
    named = in_openai_names(directions) if names == "OpenAI" else directions
    assert sum((found[f"grad/{name}"] * x).sum() for name, x in named.items()) == pytest.approx(difference, rel=1e-6)
    norm = np.sqrt(sum(np.square(found[f"grad/{name}"]).sum() for name in named))
    assert found["grad_norm"] == pytest.approx(norm, rel=1e-12)
    way = rng.normal(size=inputs["image"].shape)
    losses = [ByHand(config, weights, inputs["image"] + s * way, inputs["input_ids"]).loss for s in (e, -e)]
    assert (found["grad_input/image"] * way).sum() == pytest.approx(np.subtract(*losses) / (2 * e), rel=1e-6)


def test_files_with_numbers_beside_the_weights_load_and_others_are_refused():
    config = merged({})
    weights = arrays(config, np.random.default_rng(0))
    beside = {"text_model.embeddings.position_ids": np.arange(6)[None]}
    hub = recorded.build(config, {**weights, **beside})
    numbers = {name: np.asarray(7) for name in ("input_resolution", "context_length", "vocab_size")}
    official = recorded.build(config, in_openai_names(weights) | numbers)
    for (name, x), (_, y) in zip(hub.named_tensors(), official.named_tensors(), strict=True):
        assert np.array_equal(x.data, y.data), name
    assert not any((x.data == 0).all() for _, x in hub.named_tensors())
    for lacking in ("logit_scale", "vision_model.pre_layrnorm.weight", "text_model.encoder.layers.1.mlp.fc1.bias"):
        with pytest.raises(CheckpointError, match=lacking):
            recorded.build(config, {name: x for name, x in weights.items() if name != lacking})


def without_shapes(config):
    """What a file's shapes do not tell of a configuration."""
    untold = {"num_attention_heads", "eos_token_id"}
    towers = {f"{key}_config": {k: v for k, v in config[key].items() if k in untold} for key in ("text", "vision")}
    return {"model_type": "clip", **towers}


@pytest.mark.parametrize("names", ["hub", "OpenAI"])
def test_a_file_opens_with_and_without_a_configuration_beside_it(tmp_path, names):
    config = merged({"text": {"num_attention_heads": 4, "eos_token_id": 5}})
    weights, inputs = arrays(config, np.random.default_rng(0)), given(config, np.random.default_rng(1))
    written = in_openai_names(weights) if names == "OpenAI" else weights
    write_safetensors(tmp_path / "model.safetensors", written, {})
    alone = recorded.open_pretrained(tmp_path / "model.safetensors", "float64")
    assert (alone.encoder.config.heads, alone.config.heads, alone.config.end) == (1, 1, None)
    assert alone.encoder.config.image_size == (8, 8)
    (tmp_path / "config.json").write_text(json.dumps(without_shapes(config)), encoding="utf-8")
    objective = recorded.open_pretrained(tmp_path / "model.safetensors", "float64")
    slow = ByHand(config, weights, **inputs)
    assert np.allclose(objective.text(inputs["input_ids"]).data, slow.text_embeds, rtol=0, atol=1e-12)
    image = np.moveaxis(inputs["image"], 1, -1)
    assert np.allclose(objective.image(image).data, slow.image_embeds, rtol=0, atol=1e-12)
    changed = recorded.open_pretrained(tmp_path / "model.safetensors", "float64", hidden_act="gelu")
    assert not np.allclose(changed.image(image).data, slow.image_embeds)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"model_type": "siglip"}, "expected the configuration of a clip"),
        ([], "expected a JSON object"),
        ({"hidden_act": "relu"}, "hidden_act one of quick_gelu"),
        ({"text_config": {"hidden_act": "gelu"}}, "expected one of each for both towers"),
        ({"text_config": {"hidden_size": 6}}, "wrong shape"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path, written, message):
    weights = arrays(merged({}), np.random.default_rng(0))
    write_safetensors(tmp_path / "model.safetensors", weights, {})
    (tmp_path / "config.json").write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        recorded.open_pretrained(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not a CLIP checkpoint"):
        recorded.build({}, {"x": np.zeros(3)})


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_the_published_models(name):
    count, patch, side, width, depth, text, shared = PUBLISHED[name]
    model = ViTConfig(image_size=side, patch_size=patch, width=width, depth=depth, heads=width // 64, num_classes=0)
    objective = CLIP(CLIPConfig(width=text, heads=text // 64, shared=shared), model, None)
    assert objective.num_parameters() == count
    assert math.exp(objective.log_scale.data[0]) == pytest.approx(1 / 0.07)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classifier": "gap"}, "has no classifier"),
        ({"register_tokens": 1}, "register_tokens"),
        ({"position": "sincos2d"}, "position"),
        ({"layer_scale": 1e-5}, "layer_scale"),
        ({"representation_size": 8}, "representation_size"),
        ({"qkv_bias": False}, "qkv_bias"),
    ],
)
def test_options_that_the_image_tower_has_not_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        small(model=shape(**fields))


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match="CLIP needs a ViT"):
        CLIP.build(CLIPConfig(), Given(ResNetConfig((1, 1)), [], 5))


def test_the_image_tower_starts_from_a_vit():
    start, rng = ViT(shape(num_classes=3), 5), np.random.default_rng(0)
    for tensor in start.parameters():
        tensor.data[...] = rng.normal(size=tensor.shape)
    objective = CLIP.build(CLIPConfig(8, 1, 2, shared=6), Given(shape(), [], 5, start=start))
    images = clip.Tensor(rng.normal(size=(2, 16, 16, 3)).astype("float32"))
    assert np.allclose(ViT.embed(objective.encoder, images).data, start.embed(images).data, atol=1e-4)
    x = objective.encoder.embed(images)
    for block in (objective.encoder, start):
        for inner in block.blocks:
            inner.mlp.gelu = "erf"
        block.norm.eps = 1e-6
        block.blocks[0].norm1.eps = block.blocks[0].norm2.eps = 1e-6
    assert np.allclose(objective.encoder.encode(x).data, start.encode(x).data, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 0}, {"vocabulary": 0}, {"width": 10, "heads": 3}, {"end": 49408}, {"end": -1}, {"scale": 0.0},
        {"scale": 101.0}, {"gelu": "swift"}, {"norm_eps": 0.0},
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        CLIPConfig(**wrong)


@pytest.mark.parametrize("wrong", [np.full((2, 4), len(WORDS)), np.full((2, 4), -1), np.ones((2, CAPTION + 1), int)])
def test_captions_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ConfigError, match="captions have"):
        small().draw({"caption": wrong}, 0, np.random.default_rng(0))


def pairs(count=12, **options):
    columns = Scenes(count, 0, 16, (1, 1), **options).columns(range(count), ("images", "caption"))
    return {"images": Augment((16, 16))(columns["images"]), "caption": columns["caption"]}


def drawn(objective, batch):
    return batch | objective.draw(batch, 0, np.random.default_rng(0))


def test_equal_captions_share_a_number():
    texts = ["a red disc", "a blue ring", "a red disc", "a red", "a blue ring", "a red disc"]
    found = small().draw({"caption": np.array([encode(text, 8) for text in texts])}, 0, np.random.default_rng(0))
    assert [[int(i == j) for j in found["sentence"]] for i in found["sentence"]] == [
        [int(i == j) for j in texts] for i in texts
    ]


def test_nothing_behind_the_end_and_nothing_later_is_looked_at():
    objective, rng = small().eval(), np.random.default_rng(0)
    ids = np.array([encode("a red disc", 8), encode("a blue ring in the left", 8)])
    before = objective.text(ids).data
    other = ids.copy()
    other[0, 5:] = [7, END, 9]
    assert np.array_equal(objective.text(other).data, before)
    assert np.array_equal(objective.text(ids[:1, :5]).data.round(12), before[:1].round(12))
    other[0, 2] = 7
    assert not np.allclose(objective.text(other).data[0], before[0])
    tower = objective.text_tower
    later = rng.integers(0, len(WORDS), (2, 8))
    same = np.concatenate([ids[:, :3], later[:, 3:]], axis=1)
    assert np.array_equal(tower(same).data[:, :3], tower(ids).data[:, :3])
    assert PAD in ids


def test_sums_count_own_sentences_and_repeated_ones():
    objective = small()
    sentence = np.array([0, 1, 0, 2])
    nearest = np.array([2, 1, 3, 1])  # the second and by its twin the first
    images = np.eye(4)[nearest]
    outputs = tuple(clip.Tensor(x) for x in (images, np.eye(4)))
    assert objective.sums(outputs, {"sentence": sentence}) == {"retrieval": 2, "repeated": 2}


def test_the_scale_is_clipped_and_only_if_it_is_too_large():
    objective = small()
    for value, expected in ((math.log(100) + 1e-3, math.log(100)), (3.0, 3.0), (-2.0, -2.0)):
        objective.log_scale.data[...] = value
        objective.after_update({}, {})
        assert objective.log_scale.data[0] == pytest.approx(expected, rel=1e-15)


def test_a_fixed_scale_does_not_learn():
    objective = small(scale=1.0, learn_scale=False)
    assert "log_scale" not in dict(objective.named_parameters())
    assert objective.log_scale.data[0] == 0
    assert "log_scale" in dict(small().named_parameters())


def test_initial_values_are_those_of_the_published_code():
    config = CLIPConfig(width=64, depth=3, heads=2, vocabulary=500, context=300, shared=80)
    objective = CLIP(config, shape(width=96, image_size=128, heads=3), 0)
    expected = {
        "text_tower.words.table": 0.02,
        "text_tower.positions": 0.01,
        "text_tower.blocks.2.attention.qkv.weight": 64**-0.5,
        "text_tower.blocks.0.attention.out.weight": (64 * 2 * 3) ** -0.5,
        "text_tower.blocks.1.mlp.hidden.weight": (2 * 64) ** -0.5,
        "text_tower.blocks.1.mlp.out.weight": (64 * 2 * 3) ** -0.5,
        "text_projection.weight": 64**-0.5,
        "image_projection.weight": 96**-0.5,
        "image_tower.position_embedding": 96**-0.5,
        "image_tower.class_token": 96**-0.5,
    }
    tensors = dict(objective.named_tensors())
    for name, std in expected.items():
        x = tensors[name].data
        assert x.std() == pytest.approx(std, rel=5 / math.sqrt(2 * x.size)), name
    for name, x in tensors.items():
        if "text_tower.blocks" in name and name.endswith("bias"):
            assert np.abs(x.data).max() < 1e-5, name
    assert tensors["image_tower.patch_embed.projection.weight"].data.std() > 0
    assert "image_tower.patch_embed.projection.bias" not in tensors


def test_all_that_requires_a_gradient_has_one():
    objective = small()
    batch = drawn(objective, pairs())
    gradients = grad(objective.loss(objective(batch), batch), objective.parameters())
    for (name, _), g in zip(objective.named_parameters(), gradients, strict=True):
        assert np.abs(g).max() > 1e-9 or name.endswith("qkv.bias"), name


def test_it_learns_to_find_sentences_that_it_has_not_seen():
    """Of one-shape scenes in 64 combinations; then sixteen others, each known by its own sentence."""
    model = shape(image_size=16, patch_size=4, width=32, depth=2, heads=2, mlp_width=64)
    objective = small(dtype="float32", model=model, width=32, depth=1, heads=2, shared=32)
    batch = pairs(1000, combinations="train")
    batch["caption"] = batch["caption"][:, :9]  # the longest sentence about one shape
    optimizer = AdamW(objective.named_parameters(), lr=3e-3, betas=(0.9, 0.98))
    losses, rng = [], np.random.default_rng(0)
    for _ in range(100):
        some = rng.permutation(1000)[:64]
        piece = drawn(objective, {name: x[some] for name, x in batch.items()})
        loss = objective.loss(objective(piece), piece)
        optimizer.step(grad(loss, optimizer.parameters))
        objective.after_update({}, piece)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(64), abs=1)
    lines = clip.zero_shot(objective, load_captions("test", 200), SimpleNamespace(augment=Augment((16, 16), flip=True)))
    assert np.mean(losses[-10:]) < 3
    own, every = (float(line.split()[1].rstrip("%")) for line in lines)
    assert own > 25
    assert own > every > 2
    assert "among 16 (by chance 6.2%)" in lines[0]
    assert "among 80 (by chance 1.2%)" in lines[1]


def test_sentences_about_several_shapes_are_told_apart_among_themselves():
    objective, data = small(), Scenes(30, 0, 16, (2, 2))
    (line,) = clip.zero_shot(objective, data, SimpleNamespace(augment=Augment((16, 16))))
    captions = data.columns(range(30), ("caption",))["caption"]
    known = len(np.unique(captions, axis=0))
    assert f"among {known} " in line
    outputs = objective.eval()({"images": Augment((16, 16))(data.fetch(range(30))[0]), "caption": captions})
    nearest = (outputs[0].data @ outputs[1].data.T).argmax(axis=1)
    assert f"zero-shot: {(captions[nearest] == captions).all(axis=1).mean():.1%} of 30 images" in line


def test_a_classifier_cannot_start_from_the_image_tower(tmp_path, capsys):
    words = "--set width=8 --set depth=1 --set shared=4 --width 6 --depth 1 --limit 200 --batch-size 100 --steps 1"
    train.main(["--preset", "captions-clip", *words.split(), "--mlp-width", "8", "--out", str(tmp_path / "run")])
    assert "retrieval" in capsys.readouterr().out
    evaluate.main([str(tmp_path / "run"), "--how", "zero-shot"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("among ")[2] for line in lines] == ["16 (by chance 6.2%)", "80 (by chance 1.2%)"]
    with pytest.raises(CheckpointError, match="a Vision Transformer cannot start"):
        train.main(["--data", "shapes", "--init-from", str(tmp_path / "run"), "--out", str(tmp_path / "next")])


def test_towers_take_what_they_are_given():
    objective = small()
    with pytest.raises(ValueError, match="expected"):
        objective.image(np.zeros((2, 8, 8, 3)))
    assert isinstance(objective.encoder, ImageTower)
    assert isinstance(objective.text_tower, TextTower)
    assert objective.features(pairs(3)["images"]).shape == (3, 8)
    assert objective.tokens == 5 + CAPTION
