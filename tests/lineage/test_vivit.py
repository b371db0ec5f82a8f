"""ViViT: held to recordings of published code and to a slow implementation; mistakes are seen."""

import json
from pathlib import Path

import numpy as np
import pytest
from clips_by_hand import vivit as by_hand
from recordings import wrong_arrays
from sizes_by_hand import cross_entropy, drawn, slopes

from minivit import functional as F
from minivit.data.scenes_clips import Clips
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import verify, vivit
from minivit.lineage.recorded import vivit as recorded
from minivit.lineage.vivit import Encoder, ViViT, ViViTConfig, from_vit, inflated
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_npz, write_safetensors
from minivit.models.families import build, config_of, named_fields
from minivit.nn import tubelets as tubelets_file
from minivit.tensor import Tensor, grad

CASES = Path(__file__).resolve().parents[1] / "data" / "lineage"
SMALL = {
    "image_size": (4, 6), "frames": 6, "channels": 12, "tubelet": (3, 2, 3), "width": 12, "depth": 2, "heads": 2,
    "mlp_width": 10, "temporal_depth": 1, "temporal_heads": 3, "temporal_mlp_width": 7, "num_classes": 3,
}  # fmt: skip


def random_model(seed=0, **fields):
    """A model with weights of a size at which every part matters."""
    model = ViViT(ViViTConfig(**{**SMALL, **fields}), None, "float64")
    state = {name: x.shape for name, x in model.named_tensors()}
    for name, x in drawn(state).items():
        dict(model.named_tensors())[name].data[...] = x
    return model.eval()


def scenics(model):
    return {name: x.copy() for name, x in recorded.flax_views(model.state_dict(), model.config).items()}


def hubs(model):
    return {name: x.copy() for name, x in recorded.hub_views(model.state_dict(), model.config).items()}


def clips_of(config, count=2, seed=1):
    shape = (count, config.frames, *config.image_size, config.channels // config.frames)
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(("name", "arrays"), [("vivit", 11), ("vivit_factorised", 13)])
def test_the_recordings_of_published_code(name, arrays):
    case = verify.open_case(CASES / name)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == arrays


def frames_mixed(clips, size):
    """(B, T) read as (T, B)."""
    return real_tubelets(clips.reshape(clips.shape[1], clips.shape[0], *clips.shape[2:]).transpose(1, 0, 2, 3, 4), size)


def space_before_time(clips, size):
    """The pixels of a tubelet in the order (row, column, frame)."""
    x, (t, h, w) = real_tubelets(clips, size), size
    tiles = x.reshape(*x.shape[:3], t, h, w, -1).transpose(0, 1, 2, 4, 5, 3, 6)
    return tiles.reshape(*x.shape)


def time_fastest(clips, size):
    x = real_tubelets(clips, size)
    return x.transpose(0, 2, 1, 3).reshape(*x.shape)


def mean_with_the_token(self, encoded):
    return encoded.mean(axis=1)


def no_token(self, x, rng=None, tap=None, before=""):
    return real_encoder(self, x * 1.0, rng, tap, before) + self.class_token


real_tubelets, real_encoder = tubelets_file.tubelets, Encoder.forward
MISTAKES = [
    (tubelets_file, "tubelets", frames_mixed),
    (tubelets_file, "tubelets", space_before_time),
    (tubelets_file, "tubelets", time_fastest),
    (Encoder, "answer", mean_with_the_token),
    (Encoder, "forward", no_token),
]


@pytest.mark.parametrize(("place", "name", "mistake"), MISTAKES, ids=lambda x: getattr(x, "__name__", "").strip("_"))
@pytest.mark.parametrize("case", ["vivit", "vivit_factorised"])
def test_mistakes_are_seen(monkeypatch, place, name, mistake, case):
    monkeypatch.setattr(place, name, mistake)
    assert "logits" in wrong_arrays(verify.open_case(CASES / case))


OTHERS = {
    "joint": {"attention": "joint"},
    "joint, mean": {"attention": "joint", "classifier": "gap"},
    "factorised": {"attention": "factorised"},
    "factorised, mean, tubelets of one frame": {
        "attention": "factorised", "classifier": "gap", "tubelet": (1, 4, 2), "temporal_depth": 2, "heads": 3,
    },
    "frames": {"attention": "frames"},
}  # fmt: skip


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_its_number_of_tokens_is_that_of_the_first_encoder(fields):
    model, tap = random_model(**fields), {}
    model(clips_of(model.config, 1), tap)
    assert model.config.num_tokens == tap["embedded"].shape[0] * tap["embedded"].shape[1]


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_a_slow_implementation_agrees(fields):
    given = random_model(**fields)
    weights, clips, labels = scenics(given), clips_of(given.config), np.array([2, 0])
    size = {"image": list(given.config.image_size), "frames": given.config.frames}
    model = recorded.build(weights, size, "test").eval()
    assert model.config == given.config
    logits = model(clips)
    assert np.allclose(logits.data, [by_hand(clip, weights) for clip in clips], rtol=0, atol=1e-12)
    names, learning = zip(*model.named_parameters(), strict=True)
    named = dict(zip(names, grad(F.cross_entropy(logits, labels), learning), strict=True))
    found = recorded.flax_views(named, model.config)
    assert found.keys() == weights.keys()

    def loss(changed):
        return cross_entropy([by_hand(clip, changed) for clip in clips], labels)

    some = [name for name in weights if "block" not in name or name.endswith("query/kernel")]
    for name, way, slope in slopes(loss, weights, some):
        assert (found[name] * way).sum() == pytest.approx(slope, rel=1e-5, abs=1e-7), name


def test_frames_may_be_channels_of_an_image():
    """As the images of `Clips`."""
    data = Clips(2, size=16, frames=4)
    columns = data.arrays(range(2), ("clip", "images"))
    clips, images = (np.asarray(columns[name], np.float64) / 255 for name in ("clip", "images"))
    model = random_model(image_size=16, frames=4, channels=12, tubelet=(2, 8, 8), attention="factorised")
    assert np.array_equal(model(images).data, model(clips).data)


def test_other_clips_of_a_batch_do_not_matter():
    model = random_model(attention="factorised")
    clips = clips_of(model.config, 3)
    assert np.allclose(model(clips[::-1]).data, model(clips).data[::-1], rtol=0, atol=1e-12)


def test_the_order_of_frames_matters_but_for_the_mean():
    """The baseline is blind to the order of slices, so it cannot tell a direction."""
    for attention, tells in (("joint", True), ("factorised", True), ("frames", False)):
        model = random_model(attention=attention, tubelet=(1, 2, 3))
        clips = clips_of(model.config)
        assert (abs(model(clips).data - model(clips[:, ::-1]).data).max() > 1e-3) == tells


def trained(classifier="token"):
    shape = {"image_size": (4, 6), "patch_size": (2, 3), "channels": 2, "width": 12, "depth": 2, "heads": 2}
    vit = ViT(ViTConfig(**shape, mlp_width=10, num_classes=5, classifier=classifier), None, "float64")
    for name, x in drawn({name: x.shape for name, x in vit.named_tensors()}).items():
        dict(vit.named_tensors())[name].data[...] = x
    return vit.eval()


def test_central_frame_and_inflated_kernels():
    kernel = np.arange(1.0, 13).reshape(2, 3, 1, 2)
    for t, centre in ((2, 1), (3, 1), (4, 2)):
        central = inflated(kernel, t, "central")
        assert np.array_equal(central[centre], kernel)
        assert abs(central).sum() == kernel.sum()
        assert np.allclose(inflated(kernel, t, "inflate"), kernel / t)
    with pytest.raises(ConfigError, match="expected central or inflate"):
        inflated(kernel, 2, "middle")


@pytest.mark.parametrize("how", ["central", "inflate"])
@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_a_clip_that_stands_still_is_seen_as_by_the_vit_it_starts_from(how, classifier):
    vit = trained(classifier)
    images = np.random.default_rng(2).normal(size=(2, 4, 6, 2))
    clips = np.repeat(images[:, None], 6, axis=1)
    tap, seen = {}, {}
    vit(images, tap)
    model = from_vit(vit, how, frames=6, tubelet_frames=3, attention="frames").eval()
    model(clips, seen)
    assert np.allclose(seen["features"].data, tap["features"].data, rtol=0, atol=1e-12)
    joint = from_vit(vit, how, frames=6, tubelet_frames=3, attention="joint").eval()
    joint(clips, seen)
    before = classifier == "token"
    embedded = vit.embed(Tensor(images)).data
    expected = np.concatenate([embedded[:, :before], *[embedded[:, before:]] * 2], axis=1)
    assert np.allclose(seen["embedded"].data, expected, rtol=0, atol=1e-12), "slice by slice, not place by place"


def test_a_vit_of_another_kind_is_refused():
    vit = ViT(ViTConfig(image_size=4, patch_size=2, width=12, position="sincos2d", num_classes=0), None)
    with pytest.raises(ConfigError, match="learned positions"):
        from_vit(vit)


def test_published_numbers_of_parameters():
    model = build(config_of(named_fields("vivit-b16x2"), "test"), None)
    assert model.num_parameters() == 88_954_000


def version_5(name):
    """A name of Hugging Face's files as its code has it since version 5."""
    for theirs, ours in (
        ("encoder.layer.", "layers."), ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"), ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"), ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    return name


@pytest.mark.parametrize("rename", [str, version_5])
def test_hugging_faces_files_load(tmp_path, rename):
    """Also of clips that tubelets do not fill, and without biases of queries, keys and values."""
    given = random_model(qkv_bias=False, gelu="erf", norm_eps=1e-3)
    weights = {(n if "classifier" in n else f"vivit.{n}"): x for n, x in hubs(given).items()}
    write_safetensors(tmp_path / "model.safetensors", {rename(name): x for name, x in weights.items()}, {})
    config = {
        "model_type": "vivit", "image_size": [5, 7], "num_frames": 8, "tubelet_size": [3, 2, 3],
        "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-3, "qkv_bias": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = recorded.open_pretrained(tmp_path / "model.safetensors", "float64")
    assert model.config == given.config
    clips = clips_of(given.config)
    assert np.array_equal(model.eval()(clips).data, given(clips).data)


@pytest.mark.parametrize("prefix", ["", "opt/target/", "params/"])
def test_scenics_files_load(tmp_path, prefix):
    """Without a configuration the grid is a square."""
    given = random_model(attention="factorised", image_size=(4, 6))
    write_npz(tmp_path / "model.npz", {f"{prefix}{name}": x for name, x in scenics(given).items()})
    model = recorded.open_pretrained(tmp_path / "model.npz", "float64", image_size=(4, 6))
    assert model.config == given.config
    clips = clips_of(given.config)
    assert np.array_equal(model.eval()(clips).data, given(clips).data)


def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path):
    weights = hubs(random_model())
    for change, message in (
        ({"classifier.bias": np.zeros(7)}, "classifier.weight|wrong shape"),
        ({"layernorm.bias": None}, "missing: layernorm.bias"),
        ({"more": np.zeros(1)}, "unexpected: more"),
        ({"embeddings.patch_embeddings.projection.weight": None}, "is not a ViViT"),
    ):
        changed = {name: x for name, x in {**weights, **change}.items() if x is not None}
        with pytest.raises(CheckpointError, match=message):
            recorded.build(changed, {"image_size": [4, 6], "num_frames": 6, "num_attention_heads": 2}, "file")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 5}, "do not divide 5 frames"),
        ({"channels": 13}, "13 channels are not 6 frames; in colour, set frames to 4"),
        ({"tubelet": (3, 4, 4)}, "does not divide image size"),
        ({"attention": "both"}, "expected one of joint, factorised, frames"),
        ({"heads": 5}, "do not divide width"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        ViViTConfig(**{**SMALL, **fields})


def test_drop_path_rises_from_block_to_block_and_learns_nothing_new():
    model = ViViT(ViViTConfig(**{**SMALL, "depth": 3}, drop_path=0.2))
    assert [block.drop_path.rate for block in model.encoder.blocks] == pytest.approx([0, 0.1, 0.2])
    assert not vivit.ViViT(ViViTConfig(**SMALL), 1)(clips_of(model.config)).data.any()
