"""iGPT: held to recorded outputs of Hugging Face's code, to a slow second implementation, and to tables of counts."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import evaluate, train
from minivit import functional as F
from minivit.data import ArrayDataset, Augment, load
from minivit.errors import CheckpointError, ConfigError, DataError
from minivit.lineage import Given, igpt, verify
from minivit.lineage.igpt import IGPT, IGPTConfig, ImageGPT, ImageGPTConfig
from minivit.lineage.recorded import igpt as recorded
from minivit.lineage.typical import k_means
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_safetensors
from minivit.nn import CausalAttention, MultiHeadAttention
from minivit.nn.rms_norm import RMSNorm, ScaleNorm
from minivit.optim import AdamW
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "igpt"
PUBLISHED = {"S": (76_682_240, 512, 24, 8), "M": (455_489_536, 1024, 36, 8), "L": (1_362_914_304, 1536, 48, 16)}
SIZES = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 7, "vocab_size": 6, "layer_norm_epsilon": 1e-5}


def shape(**fields):
    small = {"image_size": 4, "patch_size": 1, "width": 8, "depth": 2, "heads": 2, "mlp_width": 16, "channels": 1}
    return ViTConfig(**{**small, "num_classes": 0, **fields})


def small(model=None, seed=0, dtype="float64", **fields):
    objective = IGPT(IGPTConfig(**{"colours": 6, **fields}), model or shape(), seed, dtype).eval()
    colours, channels = objective.centres.shape
    rng = np.random.default_rng(5)
    objective.centres.data[...] = rng.normal(size=(colours, channels))
    objective.network.head.weight.data[...] = rng.normal(size=objective.network.head.weight.shape)
    return objective


def images_of(objective, count=3, seed=0):
    ids = np.random.default_rng(seed).integers(0, objective.config.colours, (count, objective.network.own.positions))
    return ids, objective.painted(ids)


def arrays(config, rng, hidden=None):
    """Random weights under the names of the hub."""
    width, words = config["n_embd"], config["vocab_size"]
    hidden = hidden or 4 * width
    found = {
        "transformer.wte.weight": (words, width),
        "transformer.wpe.weight": (config["n_positions"], width),
        "transformer.ln_f.weight": (width,),
        "lm_head.weight": (words - 1, width),
    }
    sizes = {"attn.c_attn": 3 * width, "attn.c_proj": width, "mlp.c_fc": hidden, "mlp.c_proj": width}
    for i in range(config["n_layer"]):
        name = f"transformer.h.{i}"
        found |= {f"{name}.ln_1.weight": (width,), f"{name}.ln_2.weight": (width,)}
        for part, out in sizes.items():
            found |= {f"{name}.{part}.weight": (hidden if part == "mlp.c_proj" else width, out)}
            found |= {f"{name}.{part}.bias": (out,)}
    return {name: rng.normal(0.1, 0.5, size) for name, size in found.items()}


def by_hand(config, weights, ids):
    """Logits of one text of pixels, one token and one head at a time."""
    heads, eps = config["n_head"], config["layer_norm_epsilon"]
    rows = [weights["transformer.wte.weight"][x] + weights["transformer.wpe.weight"][n] for n, x in enumerate(ids)]

    def norm(x, name):
        return x / math.sqrt((x * x).mean() + eps) * weights[f"{name}.weight"]

    def layer(x, name):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for i in range(config["n_layer"]):
        block = f"transformer.h.{i}"
        qkv = [np.split(layer(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn"), 3) for x in rows]
        for n, (q, _, _) in enumerate(qkv):
            parts = []
            for mine in np.split(np.arange(len(q)), heads):
                seen = [math.exp(q[mine] @ k[mine] / math.sqrt(len(mine))) for _, k, _ in qkv[: n + 1]]
                parts.append(sum(w / sum(seen) * v[mine] for w, (_, _, v) in zip(seen, qkv, strict=False)))
            x = rows[n] + layer(np.concatenate(parts), f"{block}.attn.c_proj")
            h = layer(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
            rows[n] = x + layer(h / (1 + np.exp(-1.702 * h)), f"{block}.mlp.c_proj")
    return np.array([weights["lm_head.weight"] @ norm(x, "transformer.ln_f") for x in rows])


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 20


def build_with(**changes):
    real = ImageGPTConfig.__init__
    return lambda self, **fields: real(self, **{**fields, **changes})


WRONG = [
    (RMSNorm, "forward", ScaleNorm.forward, "tap/ln_1"),  # LayerNorm, with the mean
    (CausalAttention, "forward", MultiHeadAttention.forward, "tap/attn0"),
    (ImageGPTConfig, "__init__", build_with(gelu="tanh"), "tap/mlp0"),
    (ImageGPTConfig, "__init__", build_with(norm_eps=1e-3), "tap/ln_1"),
    (ImageGPT, "embed", lambda self, ids, mask=None: self.words(ids), "tap/embedded"),
    (recorded, "nearest", lambda points, centres: (points @ centres.T).argmax(axis=-1), "cluster_ids"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_labels_that_are_not_shifted_are_seen(monkeypatch):
    real = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda logits, ids: real(logits, np.roll(ids, 1, axis=1)))
    assert "loss" in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize(
    ("changes", "hidden"), [({}, 13), ({"n_layer": 3, "n_head": 4}, None), ({"layer_norm_epsilon": 1e-2}, None)]
)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, hidden):
    config, rng = {**SIZES, **changes}, np.random.default_rng(1)
    weights = arrays(config, rng, hidden)
    ids = np.concatenate([np.full((3, 1), 5), rng.integers(0, 5, (3, 6))], axis=1)
    logits = np.array([by_hand(config, weights, row) for row in ids])
    chances = np.take_along_axis(F.log_softmax(logits[:, :-1]).data, ids[:, 1:, None], axis=-1)
    found = {"input_ids": ids, "logits": logits, "loss": np.asarray(-chances.mean())}
    case = write_case(tmp_path, "igpt", config, weights, found)
    assert wrong_arrays(case) == []


def test_a_file_opens_with_and_without_a_configuration_beside_it(tmp_path):
    weights = arrays(SIZES, np.random.default_rng(0))
    masks = {"transformer.h.0.attn.bias": np.ones((1, 1, 7, 7)), "transformer.h.0.attn.masked_bias": np.zeros(1)}
    write_safetensors(tmp_path / "model.safetensors", weights | masks, {})
    assert recorded.open_pretrained(tmp_path / "model.safetensors").own.heads == 1
    place = tmp_path / "config.json"
    place.write_text(json.dumps({"model_type": "imagegpt", "n_head": 2}), encoding="utf-8")
    network = recorded.open_pretrained(tmp_path / "model.safetensors", "float64")
    ids = np.array([[5, 0, 3, 1]])
    assert np.allclose(network(ids).data[0], by_hand(SIZES, weights, ids[0]), rtol=0, atol=1e-12)
    for written, message in (
        ({"model_type": "gpt2"}, "expected the configuration of a imagegpt"),
        ({"activation_function": "relu"}, "activation_function is"),
        ({"scale_attn_weights": False}, "scores of attention"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scores of attention"),
    ):
        place.write_text(json.dumps(written), encoding="utf-8")
        with pytest.raises(CheckpointError, match=message):
            recorded.open_pretrained(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not a iGPT checkpoint"):
        recorded.build({}, {"x": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"lm_head\.weight"):
        recorded.build({}, {name: x for name, x in weights.items() if name != "lm_head.weight"})


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_the_published_models(name):
    count, width, depth, heads = PUBLISHED[name]
    assert ImageGPT(ImageGPTConfig(width=width, depth=depth, heads=heads), None).num_parameters() == count


def test_a_pixel_is_predicted_from_those_before_it_alone():
    objective = small()
    ids, _ = images_of(objective)
    before = objective.forward({"images": objective.painted(ids)})[0].data
    for place in range(16):
        other = ids.copy()
        other[:, place] = (ids[:, place] + 1) % 6
        after = objective.forward({"images": objective.painted(other)})[0].data
        changed = np.abs(after - before).max(axis=(0, 2)) > 1e-12
        assert changed.tolist() == [n > place for n in range(16)]


def test_the_loss_is_the_mean_over_pixels_of_their_surprise():
    objective = small()
    ids, images = images_of(objective)
    batch = {"images": images}
    outputs = objective.forward(batch)
    sos = np.concatenate([np.full((3, 1), 6), ids[:, :-1]], axis=1)
    chances = F.log_softmax(objective.network(sos)).data
    assert objective.loss(outputs, batch).item() == pytest.approx(
        -np.mean([chances[b, n, ids[b, n]] for b in range(3) for n in range(16)]), rel=1e-12
    )
    right = (chances.argmax(axis=-1) == ids).mean(axis=1).sum()
    assert objective.sums(outputs, batch)["pixel_accuracy"] == pytest.approx(right)


def test_masked_pixels_are_predicted_from_all_and_images_count_alike():
    objective = small(target="masked", masked=0.3)
    ids, images = images_of(objective)
    batch = {"images": images} | objective.draw({"images": images}, 0, np.random.default_rng(0))
    mask = batch["mask"]
    assert len(set(mask.sum(axis=1))) > 1
    outputs = objective.forward(batch)
    chances = F.log_softmax(outputs[0]).data
    of_each = [-np.mean([chances[b, n, ids[b, n]] for n in np.flatnonzero(mask[b])]) for b in range(3)]
    assert objective.loss(outputs, batch).item() == pytest.approx(np.mean(of_each), rel=1e-12)
    assert objective.network.words.table.shape == (6, 8)  # no <sos>
    hidden, shown = ids.copy(), ids.copy()
    hidden[mask], shown[0, np.flatnonzero(~mask[0])[-1]] = 0, (ids[0, np.flatnonzero(~mask[0])[-1]] + 1) % 6
    same = objective.forward(batch | {"images": objective.painted(hidden)})[0].data
    other = objective.forward(batch | {"images": objective.painted(shown)})[0].data
    assert np.array_equal(same, outputs[0].data)
    assert (np.abs(other - outputs[0].data)[0].max(axis=-1) > 1e-12).all()
    none = batch | {"mask": np.zeros_like(mask), "weight": np.zeros(mask.shape)}
    assert objective.loss(objective.forward(none), none).item() == 0


def test_an_image_without_a_masked_pixel_weighs_nothing():
    objective = small(target="masked", masked=1e-9)
    drawn = objective.draw({"images": np.zeros((2, 4, 4, 1))}, 0, np.random.default_rng(0))
    assert not drawn["mask"].any()
    assert np.array_equal(drawn["weight"], np.zeros((2, 16)))


def test_typical_colours_are_those_of_the_images():
    data = load("digits")
    objective = IGPT(IGPTConfig(17), shape(image_size=8), 0, "float64")
    objective.begin(data, lambda images, rng: images / 255.0, 0)
    found = np.sort(objective.centres.data[:, 0])
    assert np.allclose(found, np.unique(data.fetch(range(len(data)))[0] / 255.0))
    images = data.fetch(range(20))[0] / 255.0
    assert np.allclose(objective.painted(objective.ids(images)), images)
    with pytest.raises(DataError, match="17 different colours for a vocabulary of 18"):
        IGPT(IGPTConfig(18), shape(image_size=8)).begin(data, lambda images, rng: images / 255.0, 0)


def test_k_means_moves_its_centres_to_the_middle_of_their_points():
    points = np.array([[0.0], [0.1], [0.2], [10.0], [10.1], [10.2]])
    for seed in range(5):
        centres = k_means(points, 2, np.random.default_rng(seed), "points")
        assert np.sort(centres[:, 0]) == pytest.approx([0.1, 10.1])


def test_a_probe_of_a_layer_finds_what_is_in_the_mean_over_pixels():
    rng = np.random.default_rng(0)
    objective, labels = small(colours=2), rng.integers(0, 2, 40)
    objective.centres.data[...] = [[0], [1]]
    images = np.broadcast_to(255 * labels[:, None, None, None], (40, 4, 4, 1)).astype(np.uint8)
    recipe = SimpleNamespace(augment=SimpleNamespace(evaluation=lambda: lambda images, rng: images / 255.0))
    lines = igpt.by_layer(objective, ArrayDataset(images, labels, ["dark", "light"], "grey"), recipe)
    assert lines == [f"layer {i}: 100.0% of 20 images by a linear probe" for i in range(3)]
    lines = igpt.by_layer(objective, ArrayDataset(images, rng.permutation(labels), ["a", "b"], "grey"), recipe)
    assert not any("100.0%" in line for line in lines)


def test_later_blocks_are_dropped_more_often():
    network = ImageGPT(ImageGPTConfig(6, 16, 8, 3, 2, drop_path=0.2), None)
    assert [block.drop_path.rate for block in network.blocks] == pytest.approx([0, 0.1, 0.2])


def test_samples_have_the_probabilities_of_the_network():
    objective = small(shape(image_size=(1, 2)), colours=3)
    drawn = objective.sample(4000, np.random.default_rng(0))
    first = np.exp(F.log_softmax(objective.network(np.array([[3]]))).data[0, 0])
    second = np.exp(F.log_softmax(objective.network(np.array([[3, 1]]))).data[0, 1])
    assert np.bincount(drawn[:, 0], minlength=3) / 4000 == pytest.approx(first, abs=0.03)
    after = drawn[drawn[:, 0] == 1, 1]
    assert np.bincount(after, minlength=3) / len(after) == pytest.approx(second, abs=4 / math.sqrt(4 * len(after)))
    begun = objective.sample(5, np.random.default_rng(0), np.full((5, 1), 2))
    assert (begun[:, 0] == 2).all()
    assert objective.pictures(np.random.default_rng(0))["samples"].shape == (10, 1, 2, 1)
    assert small(target="masked").pictures(np.random.default_rng(0)) == {}
    assert small(shape(image_size=17)).pictures(np.random.default_rng(0)) == {}


def test_features_are_means_over_pixels_of_the_chosen_layer():
    objective = small(layer=1)
    ids, images = images_of(objective)
    network = objective.network
    x = network.blocks[0](network.embed(network.after_sos(ids)))
    assert np.allclose(objective.features(images).data, x.data.mean(axis=1), rtol=0, atol=1e-12)
    deep = shape(depth=3)
    middle = small(deep, layer=2).features(images).data
    assert np.array_equal(small(deep).features(images).data, middle)


@pytest.mark.parametrize(
    ("fields", "model", "message"),
    [
        ({"colours": 0}, {}, "colours is 0"),
        ({"target": "last"}, {}, "target is"),
        ({"masked": 1.0}, {}, "masked is 1.0"),
        ({"layer": 3}, {}, "layer is 3, but the model has 2 blocks"),
        ({}, {"patch_size": 2}, "iGPT reads pixels"),
        ({}, {"register_tokens": 1}, "iGPT has no register_tokens"),
    ],
)
def test_what_does_not_fit_is_refused(fields, model, message):
    with pytest.raises(ConfigError, match=message):
        small(shape(**model), **fields)


def test_starting_weights_and_odd_networks_are_refused():
    with pytest.raises(ConfigError, match="leave out --init-from"):
        IGPT.build(IGPTConfig(), Given(shape(), [], 5, start=ViT(shape())))
    with pytest.raises(ConfigError, match="heads is 3, expected a divisor of width 8"):
        ImageGPTConfig(width=8, heads=3)
    with pytest.raises(ConfigError, match="gelu is"):
        ImageGPTConfig(gelu="swift")


def test_first_values_are_those_of_the_published_code():
    tensors = dict(ImageGPT(ImageGPTConfig(300, 300, 96, 3, 4)).named_tensors())
    expected = {
        "words.table": 0.02,
        "positions": 0.01,
        "blocks.1.attention.qkv.weight": 96**-0.5,
        "blocks.2.attention.out.weight": (96 * 3) ** -0.5,
        "blocks.0.mlp.hidden.weight": 0.02,
        "blocks.0.mlp.out.weight": 0.02,
    }
    for name, std in expected.items():
        x = tensors[name].data
        assert x.std() == pytest.approx(std, rel=5 / math.sqrt(2 * x.size)), name
    assert not any(np.any(x.data) for name, x in tensors.items() if name.endswith("bias") or name == "head.weight")


def table_by_place(ids, test):
    """Nats per pixel of a table of counts for each place alone, 0.1 added to each."""
    counts = np.stack([(ids == level).sum(axis=0) for level in range(17)], axis=1) + 0.1
    chances = np.log(counts / counts.sum(axis=1, keepdims=True))
    return -chances[np.arange(ids.shape[1]), test].mean()


def test_it_soon_predicts_digits_better_than_at_first():
    """Counts of each place alone are beaten by longer training; a few steps come half of the way."""
    data, augment = load("digits"), Augment((8, 8))
    images = augment(data.fetch(range(len(data)))[0])
    objective = IGPT(IGPTConfig(17), shape(image_size=8, width=24, heads=2, mlp_width=48), 0)
    objective.begin(data, augment, 0)
    test = {"images": images[1200:]}
    limit = table_by_place(objective.ids(images[:1200]), objective.ids(test["images"]))
    optimizer, rng = AdamW(objective.named_parameters(), lr=5e-3, betas=(0.9, 0.95)), np.random.default_rng(0)
    first = objective.loss(objective.forward(test), test).item()
    for _ in range(60):
        batch = {"images": images[rng.permutation(1200)[:32]]}
        optimizer.step(grad(objective.loss(objective.forward(batch), batch), optimizer.parameters))
    last = objective.loss(objective.forward(test), test).item()
    assert first == pytest.approx(math.log(17), rel=1e-5)
    assert 1.2 < last < (first + limit) / 2


def test_a_run_trains_samples_and_probes_each_layer(tmp_path, capsys):
    words = "--objective igpt --data digits --set colours=17 --width 8 --depth 2 --heads 2 --limit 100 --batch-size 50"
    train.main([*words.split(), "--steps", "1", "--out", str(tmp_path / "run")])
    assert "pixel accuracy" in capsys.readouterr().out.replace("_", " ")
    assert (tmp_path / "run" / "samples.png").is_file()
    evaluate.main([str(tmp_path / "run"), "--how", "layers"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["layer 0", "layer 1", "layer 2"]
    assert igpt.HOW["layers"] is igpt.by_layer
