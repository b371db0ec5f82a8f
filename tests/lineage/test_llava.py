"""LLaVA: held to recorded outputs of published code, and to a slow second implementation; mistakes are seen."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from llava_by_hand import by_hand
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit.data import Scenes
from minivit.data.scenes_words import END, PAD, START, WORDS, decode, encode
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import llama, verify
from minivit.lineage.answers import answered
from minivit.lineage.llama import Llama, LlamaConfig, shares
from minivit.lineage.llava import HOW, LLaVA, LLaVAConfig, Projector, greedy
from minivit.lineage.matching import Tower
from minivit.lineage.recorded import llava as recorded
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_safetensors
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "llava"
CONFIG = {
    "vision": {"num_attention_heads": 2, "hidden_act": "quick_gelu", "image_size": [4, 6]},
    "text": {"num_attention_heads": 4, "rms_norm_eps": 1e-5, "rope_theta": 1e4},
    "image_token": 3, "feature_layer": -2, "select": "default",
}  # fmt: skip
OTHERS = {
    "as it is": {},
    "as many keys as queries, with [class]": {
        "text": {"kv": 4, "rope_theta": 5e5, "rms_norm_eps": 1e-6}, "select": "full",
    },
    "one head of keys, one dense layer, tied, last layer": {
        "text": {"kv": 1, "tied": True}, "feature_layer": -1, "layers": 1, "vision": {"hidden_act": "gelu"},
    },
    "wide heads, before the first block": {"text": {"head": 6}, "feature_layer": 0},
}  # fmt: skip


def merged(changes):
    config = copy.deepcopy(CONFIG)
    for name, x in changes.items():
        config[name] = {**config[name], **x} if isinstance(x, dict) else x
    return config


def arrays(config, rng, width=8, wide=6, words=9):
    """Weights by the names of transformers 5: patches of 2 x 2 pixels, two layers of the encoder and two of words."""
    text = config["text"]
    head, many = text.get("head", width // 4), text.get("kv", 2)
    shapes = {
        "model.vision_tower.embeddings.class_embedding": (wide,),
        "model.vision_tower.embeddings.patch_embedding.weight": (wide, 3, 2, 2),
        "model.vision_tower.embeddings.position_embedding.weight": (7, wide),
        "model.multi_modal_projector.linear_1.weight": (width, wide),
        "model.multi_modal_projector.linear_1.bias": (width,),
        "model.language_model.embed_tokens.weight": (words, width),
        "model.language_model.norm.weight": (width,),
    }
    if config.get("layers", 2) == 2:
        shapes |= {f"model.multi_modal_projector.linear_2.{n}": (width,) * k for n, k in (("weight", 2), ("bias", 1))}
    if not text.get("tied"):
        shapes["lm_head.weight"] = (words, width)
    for name in (
        "pre_layrnorm",
        "post_layernorm",
        *(f"encoder.layers.{i}.layer_norm{k}" for i in (0, 1) for k in "12"),
    ):
        shapes |= {f"model.vision_tower.{name}.{kind}": (wide,) for kind in ("weight", "bias")}
    for i in (0, 1):
        at = f"model.vision_tower.encoder.layers.{i}"
        kernels = {f"self_attn.{n}_proj": (wide, wide) for n in ("q", "k", "v", "out")}
        for name, shape in {**kernels, "mlp.fc1": (5, wide), "mlp.fc2": (wide, 5)}.items():
            shapes |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
        at = f"model.language_model.layers.{i}"
        shapes |= {f"{at}.{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
        shapes |= {f"{at}.mlp.{n}_proj.weight": s for n, s in (("gate", (7, width)), ("up", (7, width)))}
        shapes |= {f"{at}.mlp.down_proj.weight": (width, 7), f"{at}.self_attn.o_proj.weight": (width, 4 * head)}
        shapes |= {
            f"{at}.self_attn.{n}_proj.weight": (k * head, width) for n, k in zip("qkv", (4, many, many), strict=True)
        }
    return {name: 0.5 * rng.normal(size=shape) + (len(shape) == 1) for name, shape in shapes.items()}


def given(config, rng):
    """Two texts with one and two images, one of them padded."""
    row, image = [config["image_token"]] * (6 + (config["select"] == "full")), 3
    texts = [[1, *row, 4, 5, 2], [*row, 4, *row, 8, 7]]
    longest = max(map(len, texts))
    ids = np.array([text + [0] * (longest - len(text)) for text in texts])
    labels = np.where((ids == 0) | (ids == image), -100, ids)
    labels[0, : len(row) + 1] = -100
    seen = (np.arange(longest) < np.array([[len(text)] for text in texts])).astype(int)
    return {"images": rng.normal(size=(3, 3, 4, 6)), "input_ids": ids, "attention_mask": seen, "labels": labels}


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 22


WRONG = [
    (llama.Attention, "forward", "F.rotate(self._by_head(self.key(x)), turn, halves=True)",
     "self._by_head(self.key(x))", "attention0"),  # positions in queries alone
    (llama.Attention, "forward", "halves=True", "halves=False", "attention0"),  # Meta's order of weights
    (llama.Attention, "_shared", "(batch, tokens, count, 1, width), (batch, tokens, count, times, width)",
     "(batch, tokens, 1, count, width), (batch, tokens, times, count, width)", "attention0"),  # h modulo G
    (llama, "visible", "if seen is None", "if True", "logits"),
    (llama, "visible", "dtype=bool)", "dtype=bool) | True", "logits"),  # looks ahead
    (llama, "angles", "/ width)", "/ (width - 1))", "rope/cos"),
    (llama.Layer, "forward", "self.mlp(self.norm2(x))", "self.mlp(x)", "decoder_layer0"),
    (llama, "next_token_loss", "labels[:, 1:]", "labels[:, :-1]", "loss"),  # not the next word
    (llama, "next_token_loss", "labels[:, 1:]", "labels[:, [*range(2, labels.shape[1]), -1]]", "loss"),  # shifted twice
    (LLaVA, "project", "else len(vision.blocks) + 1 + layer", "else len(vision.blocks)", "vision_layer_minus2"),
    (LLaVA, "project", "x[:, before:] if before else x", "x[:, :-1]", "projected"),  # [class] instead of a patch
    (LLaVA, "inserted", "- 1, 0)", "- 2, 0)", "logits"),
    (Projector, "forward", '"erf"', '"tanh"', "projected"),
    (Tower, "embed", "self.before(ViT.embed(self, images))", "ViT.embed(self, images)", "projected"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, right, wrong, seen):
    make_mistake(monkeypatch, place, name, right, wrong)
    monkeypatch.setattr(recorded, "angles", llama.angles)
    case = verify.open_case(CASE)
    assert seen in wrong_arrays(case)


def test_the_loss_is_a_mean_over_words_not_over_texts_and_not_on_the_question():
    case = verify.open_case(CASE)
    labels = case.input("labels")
    weight = shares(labels)
    assert weight.sum() == pytest.approx(len(labels))
    assert np.unique(weight[weight > 0]).size == 1
    case.arrays["labels"] = np.where(case.input("attention_mask") == 1, case.input("input_ids"), -100)
    assert "loss" in wrong_arrays(case)  # on the question, too


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes):
    config, rng = merged(changes), np.random.default_rng(1)
    weights, inputs = arrays(config, rng), given(config, rng)
    slow = by_hand(config, weights, inputs)
    case = write_case(tmp_path, "llava", config, weights, {**inputs, **slow})
    assert wrong_arrays(case) == []
    if "full" in config["select"]:
        check_gradients(config, weights, inputs, case)


def test_a_recording_may_state_theta_by_its_angles_alone(tmp_path):
    config, rng = merged({"text": {"rope_theta": 5e5}}), np.random.default_rng(1)
    weights, inputs = arrays(config, rng), given(config, rng)
    turn = np.arange(7)[:, None] * 5e5 ** (-np.arange(3) / 3)
    q, twice = rng.normal(size=(1, 2, 7, 6)), np.concatenate([turn, turn], axis=1)[None]
    slow = by_hand(config, weights, inputs) | {"rope/q": q, "rope/sin": np.sin(twice), "rope/cos": np.cos(twice)}
    slow["rope/rotated"] = q * np.cos(twice) + np.concatenate([-q[..., 3:], q[..., :3]], axis=-1) * np.sin(twice)
    del config["text"]["rope_theta"]
    assert wrong_arrays(write_case(tmp_path, "llava", config, weights, {**inputs, **slow})) == []


def check_gradients(config, weights, inputs, case):
    """Along one direction through all parameters and the images, against a difference."""
    rng, e = np.random.default_rng(2), 1e-5
    ways = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    way, losses = rng.normal(size=inputs["images"].shape), []
    for s in (e, -e):
        moved = {name: x + s * ways[name] for name, x in weights.items()}
        losses.append(by_hand(config, moved, {**inputs, "images": inputs["images"] + s * way})["loss"])
    case.arrays |= {f"grad/{name}": x for name, x in weights.items()}
    found = recorded.recompute(case)
    along = (
        sum((found[f"grad/{name}"] * x).sum() for name, x in ways.items()) + (found["grad_input/images"] * way).sum()
    )
    assert along == pytest.approx((losses[0] - losses[1]) / (2 * e), rel=1e-6)


def test_the_published_sizes_have_as_many_parameters():
    assert Llama(LlamaConfig(), None).num_parameters() == 6_738_415_616
    assert Llama(LlamaConfig(vocabulary=32_064), None).num_parameters() == 7_063_427_072 - 303_507_456 - 20_979_712
    assert Projector(1024, 4096, 2, "float32").num_parameters() == 20_979_712
    shape = ViTConfig(image_size=336, patch_size=14, width=1024, depth=24, heads=16, mlp_width=4096, num_classes=0)
    tower = Tower(shape, "quick", None)
    assert tower.num_parameters() == 303_507_456
    whole = LLaVA(LLaVAConfig(vocabulary=32_064, image=32_000), tower, None)
    assert whole.image_tokens == 576
    assert sum(tensor.size for _, tensor in whole.named_tensors()) == 7_063_427_072


def older(name):
    for now, before in (
        ("model.vision_tower.", "vision_tower.vision_model."), ("model.multi_modal", "multi_modal"),
        ("model.language_model.", "language_model.model."), ("lm_head", "language_model.lm_head"),
    ):  # fmt: skip
        if name.startswith(now):
            return name.replace(now, before)
    raise AssertionError(name)


def haotians(name):
    name = name.replace("model.language_model.", "model.").replace("multi_modal_projector.linear_1", "mm_projector.0")
    name = name.replace("multi_modal_projector.linear_2", "mm_projector.2")
    return name.replace("model.vision_tower.", "model.vision_tower.vision_tower.vision_model.")


@pytest.mark.parametrize("named", [str, older, haotians])
def test_files_in_all_layouts_open(tmp_path, named):
    config, rng = merged({}), np.random.default_rng(0)
    weights = {name: x.astype(np.float32) for name, x in arrays(config, rng).items()}
    stated = {
        "model_type": "llava", "vision_config": config["vision"], "text_config": config["text"],
        "image_token_index": 3, "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
    }  # fmt: skip
    write_safetensors(tmp_path / "model.safetensors", {named(name): x for name, x in weights.items()}, {})
    (tmp_path / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    objective = recorded.open_pretrained(tmp_path / "model.safetensors", "float64").eval()
    inputs = given(config, rng)
    batch = {
        "images": np.moveaxis(inputs["images"], 1, -1),
        "ids": inputs["input_ids"],
        "seen": inputs["attention_mask"],
    }
    slow = by_hand(config, {name: x.astype(float) for name, x in weights.items()}, inputs)
    assert np.allclose(objective(batch)[0].data, slow["logits"], rtol=0, atol=1e-10)
    lacking = {named(name): x for name, x in weights.items() if not name.endswith("1.mlp.up_proj.weight")}
    with pytest.raises(CheckpointError, match="up_proj"):
        recorded.build(stated, recorded.canonical(lacking))
    with pytest.raises(CheckpointError, match="rope_type"):
        recorded.build({**stated, "rope_parameters": {"rope_type": "yarn"}}, recorded.canonical(weights))


def small(seed=0, dtype="float32", **fields):
    shape = ViTConfig(image_size=16, patch_size=8, width=8, depth=2, heads=2, mlp_width=16, num_classes=0)
    own = {"vocabulary": len(WORDS) + 1, "image": len(WORDS), "width": 16, "mlp_width": 24, "depth": 1, "heads": 2}
    return LLaVA(LLaVAConfig(**{**own, "deviation": 0.2, **fields}), ViT(shape, seed, dtype), seed, dtype)


def drawn(objective, count=8, question=None):
    columns = Scenes(count, 0, 16).columns(range(count), objective.columns)
    if question:
        columns["question"] = np.tile(encode(question, 12), (count, 1))
    batch = {name: x for name, x in columns.items() if name != "images"}
    images = columns["images"].astype(np.float32) / 127.5 - 1
    return {"images": images, **batch, **objective.draw(batch, 0, np.random.default_rng(0))}, columns


def test_a_question_is_read_and_its_answer_predicted():
    objective = small()
    batch, columns = drawn(objective)
    assert batch["ids"].shape == (8, 12 + 1 + 4)
    assert (batch["ids"][:, 0] == START).all()
    assert (batch["ids"][:, 1:5] == objective.config.image).all()
    for ids, labels, question, answer in zip(
        batch["ids"], batch["labels"], columns["question"], columns["answer"], strict=True
    ):
        assert decode(ids[5:]) == f"{decode(question)} {WORDS[answer]}"
        assert labels[labels != -100].tolist() == [answer, END]
        assert (ids[labels != -100] == labels[labels != -100]).all()
    assert ((batch["ids"] != PAD) == batch["seen"]).all()
    spoken, _ = drawn(small(text="caption"))
    assert (spoken["labels"][:, :5] == -100).all()
    assert all(decode(labels[labels != -100]) for labels in spoken["labels"])
    full = np.array([[START, *[5] * 10, END]])
    assert answered(full, np.array([6]))[0][0, -2:].tolist() == [6, END]


@pytest.mark.parametrize(("learn", "parts"), [
    ("projector", {"projector"}), ("language", {"projector", "language"}), ("all", {"projector", "language", "vision"}),
])  # fmt: skip
def test_a_stage_trains_its_parts(learn, parts):
    objective = small(learn=learn)
    assert {name.partition(".")[0] for name, _ in objective.named_parameters()} == parts
    batch, _ = drawn(objective)
    gradients = grad(objective.loss(objective(batch, np.random.default_rng(0)), batch), objective.parameters())
    idle = {name for (name, _), g in zip(objective.named_parameters(), gradients, strict=True) if not abs(g).any()}
    assert all(name.startswith(("vision.blocks.1.", "vision.norm.")) for name in idle)  # behind the layer that is read


def test_it_learns_to_answer_and_another_picture_misleads_it():
    objective = small(learn="all", layer=-1)
    batch, columns = drawn(objective, question="what is there")
    optimizer = AdamW(objective.named_parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        loss = objective.loss(objective(batch, np.random.default_rng(0)), batch)
        optimizer.step(grad(loss, objective.parameters()))
    objective.eval()
    outputs = objective(batch)
    assert float(objective.sums(outputs, batch)["word_accuracy"]) == pytest.approx(8)
    other = {**batch, "images": np.roll(batch["images"], 1, axis=0)}
    assert objective.loss(objective(other), batch).item() > 2 * objective.loss(outputs, batch).item()
    first = int((batch["labels"][0] != -100).argmax())
    words = greedy(objective, batch["images"][:1], batch["ids"][:1, :first], 2)
    assert words.tolist() == [[columns["answer"][0], END]]


def test_the_controls_exchange_the_image_leave_one_token_of_it_and_mix_its_tokens(monkeypatch):
    """With answers that tell a picture apart by its sum over the tokens, or by their order."""
    objective, data = small(), Scenes(3, 0, 16)
    rows = np.array([[[1.0], [0], [0], [0]], [[0], [2], [0], [0]], [[0], [0], [3], [0]]]) * np.ones(16)
    monkeypatch.setattr(objective, "prepare", lambda columns, augment, rng: {**columns, "images": np.arange(3)})
    monkeypatch.setattr(objective, "project", lambda images: Tensor(rows[images]))
    asked = data.columns(range(3), ("answer",))["answer"]
    monkeypatch.setattr(objective, "inserted", lambda ids, rows: rows)

    def says(read, seen, tap):
        image = [int(x.max()) - 1 if x.max() >= 1 else 0 for x in read.data]
        words = np.zeros((len(seen), seen.shape[1], 41))
        for n, i in enumerate(image):
            words[n, :, asked[i]] = 1
        return Tensor(words)

    monkeypatch.setattr(objective, "language", says)
    recipe = SimpleNamespace(seed=0, augment=SimpleNamespace(evaluation=lambda: None))
    shown = [float(line.split()[1].rstrip("%")) for line in HOW["controls"](objective, data, recipe)]
    expected = [100.0, 100 * (asked == np.roll(asked, -1)).mean(), 100 * (asked == asked[0]).mean(), 100.0]
    assert shown == pytest.approx(expected, abs=0.06)


def test_greedy_words_follow_the_most_probable_word_of_each_whole_text():
    objective = small(seed=3, learn="all").eval()
    batch, _ = drawn(objective, 2)
    ids = batch["ids"][:, :7]
    words = greedy(objective, batch["images"], ids, 3)
    for _ in range(3):
        logits = objective({"images": batch["images"], "ids": ids, "seen": np.ones_like(ids)})[0].data
        ids = np.concatenate([ids, logits[:, -1:].argmax(axis=-1)], axis=1)
    assert (ids[:, 7:] == words).all()


@pytest.mark.parametrize(("fields", "match"), [
    ({"kv_heads": 3}, "kv_heads is 3"), ({"head_width": 3}, "even number"), ({"image": 41}, "0 to 40"),
    ({"projector": 3}, "1 or 2"), ({"learn": "vision"}, "learn"), ({"layer": -4}, "2 layers"), ({"heads": 3}, "divide"),
])  # fmt: skip
def test_what_cannot_be_is_refused(fields, match):
    with pytest.raises(ConfigError, match=match):
        small(**fields)


def test_other_encoders_and_too_few_words_are_refused():
    with pytest.raises(ConfigError, match="needs a ViT"):
        LLaVA(LLaVAConfig(), None)
    with pytest.raises(ConfigError, match="give a vocabulary of 41"):
        drawn(small(vocabulary=20, image=19))
    shape = ViTConfig(
        image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=0, classifier="gap"
    )
    with pytest.raises(ConfigError, match="no \\[class\\]"):
        LLaVA(LLaVAConfig(keep_class=True), ViT(shape, None), None)
