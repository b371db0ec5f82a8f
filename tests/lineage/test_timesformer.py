"""TimeSformer: held to a recording of published code and to a slow implementation; mistakes are seen."""

import json
from pathlib import Path

import numpy as np
import pytest
from clips_by_hand import timesformer as by_hand
from recordings import wrong_arrays
from sizes_by_hand import cross_entropy, drawn, slopes

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import timesformer, verify
from minivit.lineage.recorded import timesformer as recorded
from minivit.lineage.timesformer import DividedBlock, TimeSformer, TimeSformerConfig, from_vit
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_safetensors
from minivit.models.families import build, config_of, named_fields
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "timesformer_divided"
SMALL = {
    "image_size": (4, 4), "patch_size": (2, 2), "frames": 3, "channels": 6, "width": 8, "depth": 2, "heads": 2,
    "mlp_width": 10, "num_classes": 3,
}  # fmt: skip
KINDS = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}


def random_model(**fields):
    """A model with weights of a size at which every part matters."""
    model = TimeSformer(TimeSformerConfig(**{**SMALL, **fields}), None, "float64")
    tensors = dict(model.named_tensors())
    for name, x in drawn({name: tensor.shape for name, tensor in tensors.items()}).items():
        tensors[name].data[...] = x
    return model.eval()


def officials(model):
    return {name: x.copy() for name, x in recorded.views(model.state_dict(), model.config).items()}


def clips_of(frames=3, size=(4, 4), channels=2, count=2):
    return np.random.default_rng(1).normal(size=(count, frames, *size, channels))


def test_the_recording_of_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 23


def across_places(self, x, rng=None, tap=None, frames=1):
    """Attention in time with places and times exchanged."""
    batch, tokens, width = x.shape[0], x.shape[1] - 1, x.shape[2]
    wrong = x[:, 1:].reshape(batch, frames, tokens // frames, width).transpose(0, 2, 1, 3)
    return real_block(self, F.concat(x[:, :1], wrong.reshape(batch, tokens, width), axis=1), rng, tap, frames)


def summed_token(self, x, rng=None, tap=None, frames=1):
    """The results of [class] are summed, not averaged."""
    mean = Tensor.mean

    def total(x, axis=None, keepdims=False):
        return mean(x, axis, keepdims) * (frames if axis == 1 else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "mean", total)
        return real_block(self, x, rng, tap, frames)


def linear_resize(table, rows):
    if table.shape[1] == rows:
        return table
    return F.resize(table.reshape(1, 1, *table.shape[1:]), (1, rows)).reshape(1, rows, table.shape[2])


def token_with_time(self, clips, rng=None):
    x = real_embedded(self, clips, rng)
    return F.concat(x[:, :1] + self.time_embedding[:, :1], x[:, 1:], axis=1)


def time_slowest(self, clips, rng=None):
    x = real_embedded(self, clips, rng)
    batch, frames = clips.shape[:2]
    tiles = x[:, 1:].reshape(batch, -1, frames, x.shape[2]).transpose(0, 2, 1, 3)
    return F.concat(x[:, :1], tiles.reshape(batch, -1, x.shape[2]), axis=1)


real_block, real_embedded = DividedBlock.forward, TimeSformer.embedded
MISTAKES = [
    (DividedBlock, "forward", across_places, "same/logits"),
    (DividedBlock, "forward", summed_token, "same/logits"),
    (timesformer, "nearest", linear_resize, "resized/logits"),
    (TimeSformer, "embedded", token_with_time, "same/logits"),
    (TimeSformer, "embedded", time_slowest, "same/logits"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), MISTAKES, ids=lambda x: getattr(x, "__name__", ""))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("kind", KINDS)
def test_its_number_of_tokens_is_that_before_the_first_block(kind):
    model, tap = random_model(attention=kind), {}
    model(clips_of(count=1), tap)
    assert model.config.num_tokens == tap["embedded"].shape[0] * tap["embedded"].shape[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("frames", "size"), [(3, (4, 4)), (5, (6, 4))], ids=["own size", "stretched"])
def test_a_slow_implementation_agrees(kind, frames, size):
    gelu = {"hidden_act": "gelu_new"} if kind == "joint" else {}
    weights, clips, labels = officials(random_model(attention=kind)), clips_of(frames, size), np.array([2, 0])
    form = "tanh" if gelu else "erf"
    model = recorded.build(weights, {"attention_type": KINDS[kind], "num_heads": 2, "num_frames": 3, **gelu}, "test")
    logits = model.eval()(clips)
    assert np.allclose(logits.data, [by_hand(clip, weights, 2, form) for clip in clips], rtol=0, atol=1e-12)
    names, learning = zip(*model.named_parameters(), strict=True)
    named = dict(zip(names, grad(F.cross_entropy(logits, labels), learning), strict=True))
    found = recorded.views(named, model.config)
    assert found.keys() == weights.keys()

    def loss(changed):
        return cross_entropy([by_hand(clip, changed, 2, form) for clip in clips], labels)

    some = [n for n in weights if n.endswith(("embed", "token", "temporal_fc.bias", "1.attn.qkv.weight"))]
    for name, way, slope in slopes(loss, weights, some):
        assert (found[name] * way).sum() == pytest.approx(slope, rel=1e-5, abs=1e-7), name


def test_a_grid_that_is_not_square():
    model = random_model(image_size=(4, 6))
    clips = clips_of(2, (6, 4))
    expected = [by_hand(clip, officials(model), 2, grid=(2, 3)) for clip in clips]
    assert np.allclose(model(clips).data, expected, rtol=0, atol=1e-12)


def test_the_frames_of_an_image_are_its_channels():
    clips = clips_of()
    images = clips.transpose(0, 2, 3, 1, 4).reshape(2, 4, 4, 6)
    model = random_model()
    assert np.array_equal(model(images).data, model(clips).data)


def test_other_clips_of_a_batch_do_not_matter():
    model, clips = random_model(), clips_of(count=3)
    assert np.allclose(model(clips[::-1]).data, model(clips).data[::-1], rtol=0, atol=1e-12)


def test_only_attention_in_time_or_over_all_tells_the_order():
    for kind in KINDS:
        model, clips = random_model(attention=kind), clips_of()
        moved = abs(model(clips).data - model(clips[:, ::-1]).data).max()
        assert (moved > 1e-3) == (kind != "space"), kind


def test_a_clip_that_stands_still_has_uniform_attention_in_time():
    """With the table of times at zero, all keys of a place are equal."""
    model = random_model()
    model.time_embedding.data[...] = 0
    clips = np.repeat(clips_of(1), 3, axis=1)
    x = model.embedded(Tensor(clips))
    block, places = model.blocks[0], x[:, 1:].reshape(8, 3, 8)
    tap = {}
    block.temporal_attention(block.temporal_norm(places), tap=tap)
    assert np.allclose(tap["attention_weights"], 1 / 3, rtol=0, atol=1e-12)
    assert np.allclose(model(clips).data, model(clips[:, :1].repeat(5, axis=1)).data, rtol=0, atol=1e-12)


def test_first_values():
    """W is zero in all blocks but the first, so time is seen, and every block can learn."""
    model = TimeSformer(TimeSformerConfig(**{**SMALL, "depth": 3}), 0, "float64")
    assert [bool(block.temporal_out.weight.data.any()) for block in model.blocks] == [True, False, False]
    assert not model.time_embedding.data.any()
    assert model.head.weight.data.std() == pytest.approx(0.02, rel=0.5)
    drawn = TimeSformer(TimeSformerConfig(**{**SMALL, "frames": 200, "channels": 200, "time_std": 0.3}), 0, "float64")
    assert drawn.time_embedding.data.std() == pytest.approx(0.3, rel=0.1)


def test_the_order_of_frames_is_known_by_the_table_of_times_alone():
    clips = clips_of()
    for time_std, seen in ((0.0, False), (0.3, True)):
        model = TimeSformer(TimeSformerConfig(**SMALL, time_std=time_std), 0, "float64").eval()
        model.head.weight.data[...] = np.random.default_rng(2).normal(size=model.head.weight.shape)
        assert (abs(model(clips).data - model(clips[:, ::-1]).data).max() > 1e-6) == seen


def test_the_bias_behind_drop_path_survives():
    model = random_model(drop_path=0.5, depth=2)
    block = model.blocks[1]
    for tensor in (block.attention.out, block.mlp.out):
        tensor.weight.data[...] = tensor.bias.data[...] = 0
    block.drop_path.rate = 1 - 1e-9
    x = model.embedded(Tensor(clips_of()))
    moved = block.train()(x, np.random.default_rng(0), frames=3) - x
    assert np.allclose(moved.data[:, 1:], block.temporal_out.bias.data)
    assert not moved.data[:, :1].any()


def trained():
    shape = {"image_size": 4, "patch_size": 2, "channels": 2, "width": 8, "depth": 2, "heads": 2, "mlp_width": 10}
    vit = ViT(ViTConfig(**shape, num_classes=5, gelu="erf"), None, "float64")
    tensors = dict(vit.named_tensors())
    for name, x in drawn({name: tensor.shape for name, tensor in tensors.items()}).items():
        tensors[name].data[...] = x
    return vit.eval()


def test_starting_from_a_vit():
    """Attention in time is a copy of that in space. Without it, a frame is seen as by the ViT."""
    vit, clips = trained(), clips_of()
    model = from_vit(vit, frames=3).eval()
    for ours, theirs in zip(model.blocks, vit.blocks, strict=True):
        assert np.array_equal(ours.temporal_attention.qkv.weight.data, theirs.attention.qkv.weight.data)
        assert np.array_equal(ours.temporal_norm.scale.data, theirs.norm1.scale.data)
    model.blocks[0].temporal_out.weight.data[...] = 0
    tap, seen = {}, {}
    vit(clips[:, 0], tap)
    model(clips[:, :1], seen)
    assert np.allclose(seen["features"].data, tap["features"].data, rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match="no others, and learned positions"):
        from_vit(ViT(ViTConfig(image_size=4, patch_size=2, width=8, heads=2, classifier="gap"), None))


COUNTS = {
    "timesformer": 121_566_352, "timesformer-joint": 86_112_400, "timesformer-space": 86_106_256,
    "timesformer-hr": 122_024_080, "timesformer-l": 121_633_936,
}  # fmt: skip


def test_published_numbers_of_parameters():
    found = {name: build(config_of(named_fields(name), name), None).num_parameters() for name in COUNTS}
    assert found == COUNTS


def of_hub(name):
    """An official name as Hugging Face has it."""
    for theirs, ours in (
        ("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"),
        ("time_embed", "embeddings.time_embeddings"), ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("blocks.", "encoder.layer."), ("temporal_norm1", "temporal_layernorm"), ("temporal_fc", "temporal_dense"),
        ("attn.qkv", "attention.attention.qkv"), ("attn.proj", "attention.output.dense"),
        (".norm1", ".layernorm_before"), (".norm2", ".layernorm_after"), ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    if name.startswith("head."):
        return name.replace("head", "classifier")
    return "timesformer." + (name.replace("norm.", "layernorm.") if name.startswith("norm.") else name)


@pytest.mark.parametrize("rename", [str, "model.{}".format, of_hub])
@pytest.mark.parametrize("kind", KINDS)
def test_published_files_load(tmp_path, rename, kind):
    given = random_model(attention=kind, norm_eps=1e-3)
    weights = officials(given)
    names = {name: rename(name) for name in weights}
    assert len(set(names.values())) == len(weights)
    write_safetensors(tmp_path / "model.safetensors", {names[name]: x for name, x in weights.items()}, {})
    config = {"model_type": "timesformer", "attention_type": KINDS[kind], "num_attention_heads": 2, "num_frames": 3}
    config |= {"image_size": 4, "layer_norm_eps": 1e-3, "hidden_act": "gelu"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = recorded.open_pretrained(tmp_path / "model.safetensors", "float64")
    assert model.config == given.config
    assert np.array_equal(model.eval()(clips_of()).data, given(clips_of()).data)


def test_a_file_that_does_not_fit_is_refused_in_one_line():
    weights = officials(random_model())
    for change, message in (
        ({"norm.bias": None}, "missing: norm.bias"),
        ({"more": np.zeros(1)}, "unexpected: more"),
        ({"patch_embed.proj.weight": None}, "is not a TimeSformer"),
        ({"model.norm.bias": np.zeros(8)}, "two arrays for one place"),
    ):
        changed = {name: x for name, x in {**weights, **change}.items() if x is not None}
        with pytest.raises(CheckpointError, match=message):
            recorded.build(changed, {"num_heads": 2}, "file")
    with pytest.raises(CheckpointError, match="attention_type is none of divided_space_time"):
        recorded.build(weights, {"attention_type": "both"}, "file")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 8}, "8 channels are not 3 frames; in colour, set frames to 2"),
        ({"attention": "both"}, "expected one of divided, joint, space"),
        ({"patch_size": 3}, "does not divide image size"),
        ({"heads": 3}, "do not divide width"),
        ({"time_std": -0.1}, "time_std is -0.1, expected 0"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        TimeSformerConfig(**{**SMALL, **fields})
