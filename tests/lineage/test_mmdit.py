"""MM-DiT: held to a slow second implementation, which the recorded network of diffusers agrees with, too."""

import mmdit_by_hand as slow
import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import Given, mmdit, modulated
from minivit.lineage.mmdit import MMDiT, MMDiTConfig, Stream, TextFlow
from minivit.lineage.recorded import mmdit as recorded
from minivit.models import ViTConfig
from minivit.models.archive import write_safetensors
from minivit.nn import RMSNorm
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

OTHERS = {
    "norms of queries and keys": {},
    "none, a table of the image's size": {"qk_norm": None, "pos_embed_max_size": 4},
    "three blocks, another output": {"num_layers": 3, "out_channels": 1, "num_attention_heads": 1},
}


def recording(folder, config, seed=0):
    rng = np.random.default_rng(seed)
    w = slow.weights_of(config, rng)
    given = {
        "x": rng.normal(size=(2, config["in_channels"], 4, 8)),
        "text": rng.normal(size=(2, 3, config["joint_attention_dim"])),
        "pooled": rng.normal(size=(2, config["pooled_projection_dim"])),
        "t": np.array([17.5, 940.0]),
    }
    output = np.array([slow.one(w, config, *of) for of in zip(*given.values(), strict=True)])
    cotangent = rng.normal(size=output.shape)
    found = {**given, "cotangent": cotangent, "output": output, "loss": np.array((output * cotangent).sum())}
    return write_case(folder, "mmdit", config, w, found, "NCHW latents")


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_it_agrees_with_the_slow_implementation(tmp_path, changes):
    assert wrong_arrays(recording(tmp_path, {**slow.SIZES, **changes})) == []


def test_gradients_are_those_of_differences(tmp_path):
    config, rng, e = slow.SIZES, np.random.default_rng(2), 1e-5
    case = recording(tmp_path, config)
    found, w = recorded.recompute(case), case.weights
    way = {name: rng.normal(size=x.shape) for name, x in w.items() if name != "pos_embed.pos_embed"}
    given = {name: case.arrays[name] for name in ("x", "text", "pooled")}
    ways = {name: rng.normal(size=x.shape) for name, x in given.items()}

    def loss(step):
        moved = w | {name: w[name] + step * way[name] for name in way}
        inputs = [given[name] + step * ways[name] for name in given]
        outputs = [slow.one(moved, config, *of) for of in zip(*inputs, case.arrays["t"], strict=True)]
        return (np.array(outputs) * case.arrays["cotangent"]).sum()

    along = sum((found[f"grad/{name}"] * way[name]).sum() for name in way)
    along += sum((found[f"grad_input/{name}"] * ways[name]).sum() for name in ways)
    assert along == pytest.approx((loss(e) - loss(-e)) / (2 * e), rel=1e-6)
    last = f"transformer_blocks.{config['num_layers'] - 1}.attn"
    assert not found[f"grad/{last}.add_q_proj.weight"].any(), "the text of the last block asks nothing"
    assert not found[f"grad/{last}.norm_added_q.weight"].any()


def text_first(*sequences, axis):
    return real_concat(*reversed(sequences), axis=axis)


def shift_first(self, x, c):
    shift, scale, *rest = self.modulation(c)
    return modulated.modulated(x, shift, scale, self.eps), rest


def one_norm_over_all_heads(self, x, norm):
    if norm is None:
        return x
    rows = x.shape[1] * self.heads
    size = F.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6)
    return ((x / size).reshape(x.shape[0], rows, -1) * norm.scale).reshape(*x.shape)


def from_the_corner(self, grid):
    rows, columns = grid
    return self.positions[:rows, :columns].reshape(rows * columns, -1)


def without_pooled(self, x, text, pooled, t, rng=None, tap=None):
    return real_forward(self, x, text, pooled * 0.0, t, rng, tap)


def swapped(x, shift, scale, eps=1e-6):
    return modulated.normed(x, eps) * (shift + 1) + scale


F = mmdit.F
real_concat, real_forward = F.concat, MMDiT.forward
WRONG = [
    (Stream, "steer", shift_first),
    (Stream, "by_head", one_norm_over_all_heads),
    (MMDiT, "middle", from_the_corner),
    (MMDiT, "forward", without_pooled),
    (mmdit, "modulated", swapped),
    (RMSNorm, "forward", lambda self, x: F.layer_norm(x, self.scale, self.scale.data * 0, 1e-6)),
]


@pytest.mark.parametrize(("place", "name", "mistake"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, tmp_path, place, name, mistake):
    case = recording(tmp_path, slow.SIZES)
    monkeypatch.setattr(place, name, mistake)
    assert "output" in wrong_arrays(case)


def test_the_order_of_the_streams_matters_only_for_their_rows(monkeypatch, tmp_path):
    """With the text first, the rows of the image are the text's."""
    case = recording(tmp_path, slow.SIZES)
    monkeypatch.setattr(F, "concat", text_first)
    assert "output" in wrong_arrays(case)


def test_a_file_in_the_published_layout_is_read(tmp_path):
    config = slow.SIZES
    w = slow.weights_of(config, np.random.default_rng(0))
    path = tmp_path / "model.safetensors"
    fields = {name: config[name] for name in ("sample_size", "attention_head_dim", "pos_embed_max_size")}
    for arrays in (w, {name: x for name, x in w.items() if name != "pos_embed.pos_embed"}):
        write_safetensors(path, arrays, {})
        network = recorded.open_pretrained(path, "float64", **fields)
        assert np.allclose(network.positions.data.reshape(1, -1, 8), w["pos_embed.pos_embed"], rtol=0, atol=1e-15)
        found = recorded.views({n: x.data for n, x in network.named_tensors()}, network.config)
        assert found.keys() == w.keys()
        assert all(np.array_equal(found[name], x) for name, x in arrays.items())
    write_safetensors(path, {name: x for name, x in w.items() if name != "proj_out.bias"}, {})
    with pytest.raises(CheckpointError, match=r"missing: proj_out\.bias"):
        recorded.open_pretrained(path, **fields)
    with pytest.raises(ValueError, match="the table of positions has 6x6"):
        network.middle((7, 2))


def test_the_loss_by_hand_and_texts_hidden_in_training_only():
    objective, data = mmdit.tiny("float64")
    columns = data.columns(range(2), ("images", "caption"))
    images = np.asarray(columns["images"]) / 127.5 - 1
    batch = {"images": images, "caption": np.asarray(columns["caption"])}
    batch |= objective.draw(batch, 0, np.random.default_rng(0))
    seen = {}
    for hidden in (True, False):
        batch["dropped"] = np.array([hidden] * 2)
        seen[hidden] = objective.eval()(batch)[0].data
        found = objective.loss(objective(batch), batch).item()
        assert found == pytest.approx(np.square(seen[hidden] - (batch["noise"] - images)).mean(), rel=1e-12)
    assert np.array_equal(seen[True], seen[False]), "in evaluation every text is read"
    objective.network.blocks[0].image.mlp.dropout.rate = objective.network.blocks[0].text.mlp.dropout.rate = 0.0
    objective.network.blocks[1].image.mlp.dropout.rate = 0.0
    assert np.array_equal(objective.train()(batch)[0].data, seen[False])
    batch["dropped"] = np.array([True] * 2)
    assert not np.array_equal(objective(batch)[0].data, seen[False])


def test_the_network_is_told_1000_times_the_time_and_the_mean_of_the_words():
    objective, data = mmdit.tiny("float64")
    columns = data.columns(range(1), ("images", "caption"))
    x, words, t = np.asarray(columns["images"]) / 127.5 - 1, np.asarray(columns["caption"]), np.array([0.25])
    text = objective.eval().words(words)
    expected = objective.network(x, text, Tensor(text.data.mean(axis=1)), 1000 * t).data
    assert np.allclose(objective.told(x, words, t).data, expected, rtol=0, atol=1e-12)


def test_pictures_are_of_known_captions():
    objective, _ = mmdit.tiny()
    ((names, images),) = objective.pictures(np.random.default_rng(0)).items()
    assert names.split("\n") == [*mmdit.SHOWN]
    assert images.shape == (len(mmdit.SHOWN), 16, 16, 3)
    other = MMDiTConfig(vocabulary=3, context=1, text_width=4)
    own = TextFlow(other, objective.network, 0)
    assert own.pictures(np.random.default_rng(0)) == {}, "of a language that it does not know"


def test_it_learns_which_picture_a_word_means():
    known = np.array([-1.0, 1.0])[:, None, None, None] * np.ones((1, 2, 2, 1))
    shape = ViTConfig(2, 1, 16, 1, 2, 32, 0, 1, classifier="gap", position="sincos2d")
    config = MMDiTConfig(vocabulary=3, context=1, text_width=4, walk=8, guidance=1.0)
    objective = TextFlow(config, MMDiT(shape, 4, 4, 1, dtype="float64"), 0, "float64")
    optimizer = AdamW(objective.named_parameters(), lr=1e-2, weight_decay=0.0)
    words = (np.arange(32) % 2 + 1)[:, None]
    for i in range(120):
        batch = {"images": known[words[:, 0] - 1], "caption": words}
        batch |= objective.draw(batch, i, np.random.default_rng(i))
        loss = objective.loss(objective(batch), batch)
        optimizer.step(grad(loss, optimizer.parameters))
    made = objective.sample(np.array([[1], [2], [1]]), 0, np.random.default_rng(1))
    assert np.abs(made - known[[0, 1, 0]]).mean() < 0.3


@pytest.mark.parametrize("wrong", [{"vocabulary": 0}, {"drop": 2.0}, {"table": -1}, {"walk": 0}], ids=str)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MMDiTConfig(**wrong)


def test_what_it_cannot_be_made_of_is_refused():
    shape = ViTConfig(8, 2, 8, 1, 2, 16, 0, 1)
    with pytest.raises(ConfigError, match="table is 3"):
        TextFlow.build(MMDiTConfig(table=3), Given(shape, "a", 6))
    with pytest.raises(ConfigError, match="multiple of 4"):
        MMDiT(ViTConfig(8, 2, 6, 1, 2, 16, 0, 1), 4, 4, 1)
