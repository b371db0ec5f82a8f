"""Flamingo: held to recorded outputs of the open reference, and to a slow second implementation; mistakes are seen."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from flamingo_by_hand import by_hand
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.data import Scenes
from minivit.data.scenes_words import END, START, WORDS, decode, encode
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import verify
from minivit.lineage.flamingo import (
    FeedForward,
    Flamingo,
    FlamingoConfig,
    GatedBlock,
    Reading,
    Resampler,
    ResamplerLayer,
    SeeingLlama,
)
from minivit.lineage.recorded import flamingo as recorded
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_safetensors
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "flamingo"
CONFIG = {
    "text": {"num_attention_heads": 2, "rms_norm_eps": 1e-5},
    "resampler": {"dim_head": 3, "frames": 2, "media": 0},
    "cross": {"dim_head": 4, "every_n_layers": 2, "only_attend_immediate_media": True},
    "media_token": 8, "depth": 3,
}  # fmt: skip
OTHERS = {
    "as it is": {},
    "all images, with vectors of images": {
        "cross": {"only_attend_immediate_media": False}, "resampler": {"media": 4, "frames": 0},
    },
    "every layer, images and frames": {"cross": {"every_n_layers": 1}, "resampler": {"media": 2, "frames": 3}},
    "every third layer": {"cross": {"every_n_layers": 3}, "text": {"rms_norm_eps": 1e-6, "rope_theta": 5e5}},
}  # fmt: skip


def merged(changes):
    config = copy.deepcopy(CONFIG)
    for name, x in changes.items():
        config[name] = {**config[name], **x}
    return config


def arrays(config, rng, width=8, seen=6, words=9):
    shapes = {"perceiver.latents": (3, seen), "lang_encoder.lm_head.weight": (words, width)}
    shapes |= {f"perceiver.norm.{kind}": (seen,) for kind in ("weight", "bias")}
    if config["resampler"]["frames"]:
        shapes["perceiver.frame_embs"] = (config["resampler"]["frames"], seen)
    if config["resampler"]["media"]:
        shapes["perceiver.media_time_embs"] = (config["resampler"]["media"], 1, seen)

    def reading(at, wide, context, inner, norms):
        found = {f"{at}.{name}.{kind}": (wide,) for name in norms for kind in ("weight", "bias")}
        found |= {f"{at}.to_q.weight": (inner, wide), f"{at}.to_kv.weight": (2 * inner, context)}
        return found | {f"{at}.to_out.weight": (wide, inner)}

    def ffw(at, wide, hidden):
        return {
            f"{at}.0.weight": (wide,), f"{at}.0.bias": (wide,), f"{at}.1.weight": (hidden, wide),
            f"{at}.3.weight": (wide, hidden),
        }  # fmt: skip

    for i in (0, 1):
        shapes |= reading(f"perceiver.layers.{i}.0", seen, seen, 6, ("norm_media", "norm_latents"))
        shapes |= ffw(f"perceiver.layers.{i}.1", seen, 7)
    shapes |= {"lang_encoder.model.embed_tokens.weight": (words, width), "lang_encoder.model.norm.weight": (width,)}
    for i in range(config["depth"]):
        at = f"lang_encoder.model.layers.{i}.decoder_layer"
        shapes |= {f"{at}.{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
        shapes |= {f"{at}.mlp.{n}_proj.weight": (7, width) for n in ("gate", "up")}
        shapes |= {f"{at}.mlp.down_proj.weight": (width, 7), f"{at}.self_attn.o_proj.weight": (width, width)}
        shapes |= {f"{at}.self_attn.{n}_proj.weight": (k, width) for n, k in (("q", width), ("k", 4), ("v", 4))}
        if (i + 1) % config["cross"]["every_n_layers"] == 0:
            at = f"lang_encoder.model.layers.{i}.gated_cross_attn_layer"
            shapes |= {f"{at}.attn_gate": (1,), f"{at}.ff_gate": (1,)} | ffw(f"{at}.ff", width, 10)
            shapes |= reading(f"{at}.attn", width, seen, 12, ("norm",))
    return {name: 0.5 * rng.normal(size=shape) + (len(shape) == 1) for name, shape in shapes.items()}


def given(config, rng):
    """Texts with words before the first of two images, with padding, and with one image only."""
    ids = np.array([[1, 8, 3, 8, 4, 2], [8, 8, 5, 6, 0, 0], [2, 3, 8, 7, 7, 1]])
    seen = np.array([[1] * 6, [1] * 4 + [0] * 2, [1] * 6])
    labels = np.where((ids == 8) | (seen == 0), -100, ids)
    return {
        "features": rng.normal(size=(3, 2, 2, 3, 6)), "input_ids": ids, "attention_mask": seen, "labels": labels,
    }  # fmt: skip


def own_case(folder, config, weights, inputs, slow):
    return write_case(folder, "flamingo", config, weights, {**inputs, **slow}, "features")


def test_the_recording_of_the_open_reference():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 17


WRONG = [
    (GatedBlock, "forward", "F.tanh(self.gate)", "F.sigmoid(self.gate)", "cross_block1"),
    (GatedBlock, "forward", "F.tanh(self.gate)", "F.sigmoid(self.gate)", "gates_zero/logits"),  # not 0 at first
    (GatedBlock, "forward", "F.tanh(self.mlp_gate)", "F.tanh(self.gate)", "grad_norm"),  # equal in the recording
    (SeeingLlama, "sight", "ids == self.config.image", "ids >= 0", "cross_attention1"),  # by position
    (SeeingLlama, "sight", "number == images", "number >= images", "cross_attention1"),
    (SeeingLlama, "sight", "number == images", "number <= images", "cross_attention1"),
    (SeeingLlama, "sight", "& (self.config.all_media | (number[:, :, 0] > 0))", "& True", "cross_attention1"),
    (SeeingLlama, "forward", "divmod(i + 1, self.config.every)", "divmod(i, self.config.every)", "logits"),
    (ResamplerLayer, "forward", "F.concat(self.media_norm(features), asking, axis=1)", "self.media_norm(features)",
     "resampled"),
    (ResamplerLayer, "forward", "self.media_norm(features)", "self.norm(features)", "resampled"),
    (Resampler, "forward", "features + self.frames[:frames].reshape(frames, 1, width)", "features", "resampled"),
    (Resampler, "forward", "self.norm(latents)", "latents", "resampled"),
    (FeedForward, "forward", '"erf"', '"tanh"', "resampled"),
    (FeedForward, "forward", 'self.activation == "gelu"', "False", "resampled"),  # the paper's squared ReLU
]  # fmt: skip


@pytest.mark.parametrize(("place", "name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, right, wrong, seen):
    make_mistake(monkeypatch, place, name, right, wrong)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes):
    config, rng = merged(changes), np.random.default_rng(1)
    weights, inputs = arrays(config, rng), given(config, rng)
    case = own_case(tmp_path, config, weights, inputs, by_hand(config, weights, inputs))
    assert wrong_arrays(case) == []
    check_gradients(config, weights, inputs, case)


def check_gradients(config, weights, inputs, case):
    """Along one direction through all parameters and the features, against a difference."""
    rng, e = np.random.default_rng(2), 2e-6
    ways = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    way, losses = rng.normal(size=inputs["features"].shape), []
    for s in (e, -e):
        moved = {name: x + s * ways[name] for name, x in weights.items()}
        losses.append(by_hand(config, moved, {**inputs, "features": inputs["features"] + s * way})["loss"])
    case.arrays |= {f"grad/{name}": x for name, x in weights.items()}
    found = recorded.recompute(case)
    along = sum((found[f"grad/{name}"] * x).sum() for name, x in ways.items())
    along += (found["grad_input/features"] * way).sum()
    assert along == pytest.approx((losses[0] - losses[1]) / (2 * e), rel=1e-6)


def test_words_before_the_first_image_read_the_mean_of_all_only_if_all_images_are_seen(monkeypatch, tmp_path):
    config, rng = merged(OTHERS["all images, with vectors of images"]), np.random.default_rng(1)
    weights, inputs = arrays(config, rng), given(config, rng)
    case = own_case(tmp_path, config, weights, inputs, by_hand(config, weights, inputs))
    make_mistake(monkeypatch, Reading, "forward", "evenly is not None and mask is not None", "False")
    assert "cross_attention1" in wrong_arrays(case)


def test_published_files_have_their_gated_blocks_beside_the_language_model():
    case, other = verify.open_case(CASE), verify.open_case(CASE)
    inside, beside = "lang_encoder.model.layers.1.gated_cross_attn_layer", "lang_encoder.gated_cross_attn_layers.1"
    other.weights = {name.replace(inside, beside): x for name, x in case.weights.items()}
    other.arrays = {name.replace(inside, beside): x for name, x in case.arrays.items()}
    assert sum(beside in name for name in other.arrays) == 4
    assert wrong_arrays(other) == []
    del other.weights[f"{beside}.ff.1.weight"]
    with pytest.raises(CheckpointError, match=r"ff\.1\.weight"):
        recorded.build(other.meta, recorded.canonical(other.weights))


def published(name):
    """The file that has an array, and its name there."""
    if "gated_cross_attn_layer" in name or name.startswith("perceiver."):
        number = name.partition("layers.")[2].partition(".")[0]
        inside = f"lang_encoder.model.layers.{number}.gated_cross_attn_layer."
        return "trained", f"module.{name.replace(inside, f'lang_encoder.gated_cross_attn_layers.{number}.')}"
    return "language", name.removeprefix("lang_encoder.").replace(".decoder_layer", "")


def test_what_was_trained_and_its_language_model_open_from_two_files(tmp_path):
    config, rng = merged({}), np.random.default_rng(0)
    weights = {name: x.astype(np.float32) for name, x in arrays(config, rng).items()}
    files = {
        "trained": {"vision_encoder.proj": np.zeros(2)},
        "language": {"model.layers.0.rotary.inv_freq": np.ones(2)},
    }
    for name, x in weights.items():
        file, there = published(name)
        files[file][there] = x
    assert sorted(name.partition(".")[0] for name in files["language"])[:2] == ["lm_head", "model"]
    for file, found in files.items():
        (tmp_path / file).mkdir()
        write_safetensors(tmp_path / file / "model.safetensors", found, {})
    stated = {"model_type": "llama", **config["text"]}
    (tmp_path / "language" / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    paths = [tmp_path / file / "model.safetensors" for file in ("trained", "language")]
    chosen = {name: config[name] for name in ("resampler", "cross", "media_token")}
    inputs = given(config, rng)
    slow = by_hand(config, {name: x.astype(float) for name, x in weights.items()}, inputs)
    model = recorded.open_pretrained(*paths, "float64", **chosen).eval()
    logits = model(Tensor(inputs["features"]), inputs["input_ids"], inputs["attention_mask"])
    assert np.allclose(logits.data, slow["logits"], rtol=0, atol=1e-10)

    table = weights["lang_encoder.model.embed_tokens.weight"] + 1  # one that was trained as well
    learned = {**files["trained"], "module.lang_encoder.model.embed_tokens.weight": table}
    write_safetensors(paths[0], learned, {})
    words = recorded.open_pretrained(*paths, "float64", **chosen).language.words.table.data
    assert np.array_equal(words, table)
    del learned["module.perceiver.latents"]
    write_safetensors(paths[0], learned, {})
    with pytest.raises(CheckpointError, match="perceiver"):
        recorded.open_pretrained(*paths, **chosen)


def small(seed=0, dtype="float32", **fields):
    shape = ViTConfig(image_size=16, patch_size=8, width=8, depth=1, heads=2, mlp_width=16, num_classes=0)
    own = {
        "vocabulary": len(WORDS) + 1, "image": len(WORDS), "width": 16, "mlp_width": 24, "depth": 2, "heads": 2,
        "latents": 4, "resampler_depth": 1, "resampler_heads": 2, "resampler_features": 8, "cross_heads": 2,
        "cross_features": 8, "deviation": 0.2,
    }  # fmt: skip
    return Flamingo(FlamingoConfig(**{**own, **fields}), ViT(shape, seed, dtype), seed, dtype)


def drawn(objective, count=8):
    columns = Scenes(count, 0, 16).columns(range(count), objective.columns)
    columns["question"] = np.tile(encode("what is there", 12), (count, 1))
    batch = {name: x for name, x in columns.items() if name != "images"}
    images = columns["images"].astype(np.float32) / 127.5 - 1
    return {"images": images, **batch, **objective.draw(batch, 0, np.random.default_rng(0))}


def test_at_first_it_says_what_the_language_model_says_and_only_the_gates_learn():
    objective = small()
    batch = drawn(objective)
    (logits,) = objective(batch)
    language = objective.reader.language
    alone = language(language.words(batch["ids"]), batch["seen"])
    assert np.array_equal(logits.data, alone.data)
    names, tensors = zip(*objective.named_parameters(), strict=True)
    assert all(name.startswith(("reader.gated", "reader.resampler")) for name in names)
    gradients = grad(objective.loss((logits,), batch), tensors)
    assert {name.rpartition(".")[2] for name, g in zip(names, gradients, strict=True) if abs(g).any()} == {
        "gate", "mlp_gate",
    }  # fmt: skip


def test_the_text_has_one_image_behind_its_start():
    batch = drawn(small())
    assert batch["ids"].shape == (8, 14)
    assert (batch["ids"][:, :2] == [START, len(WORDS)]).all()
    for ids, labels, answer in zip(batch["ids"], batch["labels"], batch["answer"], strict=True):
        assert decode(ids[2:]) == f"what is there {WORDS[answer]}"
        assert labels[labels != -100].tolist() == [answer, END]


def test_it_learns_to_answer_and_another_picture_misleads_it():
    objective = small(learn="all", gate=0.5, every=2)
    batch = drawn(objective)
    optimizer = AdamW(objective.named_parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        loss = objective.loss(objective(batch, np.random.default_rng(0)), batch)
        optimizer.step(grad(loss, objective.parameters()))
    objective.eval()
    outputs = objective(batch)
    assert float(objective.sums(outputs, batch)["word_accuracy"]) == pytest.approx(8)
    other = {**batch, "images": np.roll(batch["images"], 1, axis=0)}
    assert objective.loss(objective(other), batch).item() > 2 * objective.loss(outputs, batch).item()


def test_the_papers_squared_relu():
    layer = FeedForward(4, 2.0, "squared_relu", "float64")
    rng = np.random.default_rng(0)
    for _, tensor in layer.named_parameters():
        tensor.data = rng.normal(size=tensor.shape)
    x = Tensor(rng.normal(size=(3, 4)))
    hidden = (F.layer_norm(x, layer.norm.scale, layer.norm.bias, 1e-5).data @ layer.hidden.weight.data).clip(0)
    assert np.allclose(layer(x).data, hidden**2 @ layer.out.weight.data, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("fields", "match"), [
    ({"every": 3}, "2 layers"), ({"activation": "relu"}, "activation"), ({"image": 41}, "0 to 40"),
    ({"learn": "vision"}, "learn"), ({"latents": 0}, "latents"), ({"cross_ratio": 0.0}, "cross_ratio"),
])  # fmt: skip
def test_what_cannot_be_is_refused(fields, match):
    with pytest.raises(ConfigError, match=match):
        small(**fields)


def test_too_many_frames_and_no_encoder_are_refused():
    model = SeeingLlama(small(frames=1).config, 8, 0, "float64")
    with pytest.raises(ValueError, match="2 frames"):
        model.resampler(Tensor(np.zeros((1, 1, 2, 3, 8))))
    with pytest.raises(ConfigError, match="needs a ViT"):
        Flamingo(FlamingoConfig(), None)
