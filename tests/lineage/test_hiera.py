"""Hiera: held to a slow second implementation that leaves tokens in their places, and each likely mistake is seen."""

import json

import numpy as np
import pytest
from hiera_by_hand import SIZES, arrays, in_hub_names, in_timm_names, logits, maps
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.backend.resizing import resize_matrix
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import hiera
from minivit.lineage.hiera import VARIANTS, Hiera, HieraBlock, HieraConfig, UnitAttention, pooled, unrolled
from minivit.lineage.recorded import hiera as recorded
from minivit.models.archive import write_safetensors
from minivit.models.families import build, config_of, mapping, named_fields
from minivit.tensor import Tensor, grad

OTHERS = {
    "as recorded": {},
    "another map": {"img_size": [32, 16], "stages": [1, 1, 3]},
    "one pool, more heads": {"q_pool": 1, "num_heads": 2},
    "global everywhere": {"mask_unit_attn": [False, False, False]},
    "units everywhere": {"mask_unit_attn": [True, True, True]},
    "patches that do not overlap": {"patch_kernel": [2, 2], "patch_padding": [0, 0]},
    "one and a half times": {"embed_dim": 8, "dim_mul": 1.5, "head_mul": 1.0, "num_heads": 2},
    "what timm has added": {
        "abs_win_pos_embed": True, "global_pos_size": [5, 3], "init_values": 0.1, "use_expand_proj": False
    },
}  # fmt: skip


def resize(old, new):
    return resize_matrix(old, new, "bicubic_antialias")


def given(changes, batch=2):
    """Configuration, weights, images of a case."""
    config, rng = {**SIZES, **changes}, np.random.default_rng(0)
    return config, arrays(config, rng), rng.standard_normal((batch, 2, *config["img_size"]))


def own_case(folder, changes, names="timm"):
    """A recording of the second implementation, in the names of one of the codes. Tokens are unrolled as recorded."""
    config, w, images = given(changes)
    labels, output = np.array([2, 0]), logits(w, config, images, resize)
    likely = output - np.log(np.exp(output).sum(axis=1, keepdims=True))
    found = {"a/image": images, "a/labels": labels, "a/output": output, "a/loss": -likely[[0, 1], labels].mean()}
    named = {"timm": in_timm_names, "official": dict, "hub": lambda w: in_hub_names(w, config["stages"])}[names](w)
    if names == "hub":
        ours = {"image_size": "img_size", "depths": "stages", "num_query_pool": "q_pool", "query_stride": "q_stride",
                "masked_unit_size": "mask_unit_size", "masked_unit_attention": "mask_unit_attn"}  # fmt: skip
        same = ("embed_dim", "patch_stride", "patch_padding", "mlp_ratio")
        heads = [config["num_heads"] * 2**i for i in range(len(config["stages"]))]
        config = {theirs: config[own] for theirs, own in ours.items()} | {name: config[name] for name in same}
        config |= {"num_heads": heads, "embed_dim_multiplier": 2.0, "hidden_act": "gelu", "layer_norm_eps": 1e-6}
    return write_case(folder, "hiera", config, named, found)


def small(seed=0, dtype="float64", **fields):
    shape = {
        "image_size": (16, 24),
        "patch_size": 2,
        "patch_kernel": 3,
        "patch_padding": (1, 1),
        "width": 4,
        "channels": 1,
    }
    units = {"depths": (2, 2, 1), "unit": 4, "pools": 2, "num_classes": 3}
    return Hiera(HieraConfig(**{**shape, **units, **fields}), seed, dtype)


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_a_slow_implementation_agrees(tmp_path, changes):
    assert wrong_arrays(own_case(tmp_path, changes)) == []


@pytest.mark.parametrize("names", ["official", "hub"])
def test_the_names_of_other_codes(tmp_path, names):
    assert wrong_arrays(own_case(tmp_path, {}, names)) == []


def test_a_recording_may_hide_units(tmp_path):
    config, w, images = given({})
    last = maps(w, config, images)[-1].reshape(2, 6, -1)  # pooled as often as unrolled: in rows again
    pull = np.random.default_rng(1).standard_normal(last.shape)
    found = {"a/image": images, "a/mask": np.ones((2, 6), bool), "a/cotangent": pull, "a/output": last}
    case = write_case(tmp_path, "hiera", config, w, found | {"a/loss": np.array((last * pull).sum())})
    assert wrong_arrays(case) == []
    case.arrays["a/mask"] = np.tile([True, False, False, True, True, False], (2, 1))
    case.arrays["a/cotangent"] = pull[:, :3]
    case.arrays["a/image"] = images * np.kron(case.arrays["a/mask"][0].reshape(2, 3), np.ones((8, 8)))
    model = recorded.build(config, w)
    shown = np.array([[0, 3, 4]] * 2)
    hidden = model.encode(Tensor(np.moveaxis(case.arrays["a/image"], 1, -1)), shown=shown).data
    case.arrays |= {"a/output": hidden, "a/loss": np.array((hidden * pull[:, :3]).sum())}
    case.arrays["a/image"] = images
    assert wrong_arrays(case) == []


@pytest.mark.parametrize("number", range(5))
def test_every_block_gives_the_map_that_it_should(number):
    config, w, images = given({})
    tap, found = {}, maps(w, config, images)[number]
    recorded.build(config, w)(np.moveaxis(images, 1, -1), tap)
    stage = (0, 0, 1, 2, 2)[number]
    assert np.allclose(tap[f"block{number}"].data, unrolled(Tensor(found), (2, 2), 2 - stage).data, rtol=0, atol=1e-12)


def test_the_gradients_are_those_of_the_slow_implementation():
    config, w, images = given({})
    labels, rng, step = np.array([2, 0]), np.random.default_rng(1), 1e-6

    def loss(w, images):
        z = logits(w, config, images)
        return -(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))[[0, 1], labels].mean()

    model = recorded.build(config, w)
    x = Tensor(np.moveaxis(images, 1, -1), requires_grad=True)
    learning = dict(model.named_parameters())
    in_images, *found = grad(F.cross_entropy(model(x), labels), [x, *learning.values()])
    gradients = recorded.views(dict(zip(learning, found, strict=True)), model.config)
    into, pixels = (
        {name: rng.standard_normal(g.shape) for name, g in gradients.items()},
        rng.standard_normal(images.shape),
    )
    w = in_timm_names(w)
    back = {"head.norm.": "norm.", "head.fc.": "head.projection."}

    def moved(by):
        named = {name: x + by * into[name] for name, x in w.items()}
        for theirs, own in back.items():
            named = {own + n.removeprefix(theirs) if n.startswith(theirs) else n: x for n, x in named.items()}
        return loss(named, images + by * pixels)

    expected = (moved(step) - moved(-step)) / (2 * step)
    slope = (
        sum((g * into[name]).sum() for name, g in gradients.items()) + (np.moveaxis(in_images, -1, 1) * pixels).sum()
    )
    assert abs(slope - expected) < 1e-7 * max(1, abs(expected))


# mistakes


def keys_pooled_too(self, x):
    (batch, tokens, _), new = x.shape, self.out.weight.shape[0]
    units = tokens // (self.merged * self.unit) if self.unit else 1
    qkv = self.qkv(x).reshape(batch, tokens // units, units, 3 * new).transpose(0, 2, 1, 3)
    qkv = pooled(qkv.reshape(batch * units, tokens // units, 3 * new), self.merged)
    y = F.attend(*(qkv[..., i * new : (i + 1) * new] for i in range(3)), heads=self.heads)
    y = y.reshape(batch, units, -1, new).transpose(0, 2, 1, 3)
    return self.out(y.reshape(batch, tokens // self.merged, new))


def units_slow(self, x):
    """A unit as a run of tokens that follow each other."""
    (batch, tokens, _), new = x.shape, self.out.weight.shape[0]
    units = tokens // (self.merged * self.unit) if self.unit else 1
    qkv = self.qkv(x).reshape(batch * units, tokens // units, 3 * new)
    q, k, v = (qkv[..., i * new : (i + 1) * new] for i in range(3))
    y = F.attend(pooled(q, self.merged), k, v, heads=self.heads)
    return self.out(y.reshape(batch, tokens // self.merged, new))


def shortcut_of_the_unnormed(self, x, normed):
    return pooled(self.projection(x), self.attention.merged)


def pooled_before_projection(self, x, normed):
    return self.projection(pooled(normed, self.attention.merged))


def mean_of_pooled(x, merged):
    return x.reshape(x.shape[0], merged, -1, x.shape[2]).mean(axis=1)


def neighbours_pooled(x, merged):
    return F.max(x.reshape(x.shape[0], -1, merged, x.shape[2]), axis=2)


def not_unrolled(x, by, times):
    return x.reshape(x.shape[0], -1, x.shape[3])


def unrolled_once_for_all(x, by, times):
    return real_unrolled(x, (by[0] ** times, by[1] ** times), 1)


def norm_before_the_mean(self, images, tap=None, rng=None):
    return self.head(self.norm(self.encode(self.tensor(images), tap, rng)).mean(axis=1))


real_unrolled = unrolled
WRONG = [
    (UnitAttention, "forward", keys_pooled_too),
    (UnitAttention, "forward", units_slow),
    (HieraBlock, "shortcut", shortcut_of_the_unnormed),
    (HieraBlock, "shortcut", pooled_before_projection),
    (hiera, "pooled", mean_of_pooled),
    (hiera, "pooled", neighbours_pooled),
    (hiera, "unrolled", not_unrolled),
    (hiera, "unrolled", unrolled_once_for_all),
    (Hiera, "forward", norm_before_the_mean),
]


@pytest.mark.parametrize(("place", "name", "mistake"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, tmp_path, place, name, mistake):
    case = own_case(tmp_path, {})
    monkeypatch.setattr(place, name, mistake)
    assert "a/output" in wrong_arrays(case)


def test_a_third_stage_that_is_global_at_once_is_seen():
    config, w, images = given({})
    model = recorded.build(config, w)
    assert np.allclose(model(np.moveaxis(images, 1, -1)).data, logits(w, config, images))
    model.blocks[3].attention.unit = None
    assert abs(model(np.moveaxis(images, 1, -1)).data - logits(w, config, images)).max() > 1e-4


# parts


def test_a_unit_is_alone_up_to_the_first_block_of_the_last_stage():
    model, rng = small(), np.random.default_rng(0)
    x = Tensor(rng.standard_normal((1, 16, 24, 1)), requires_grad=True)
    for block, alone in ((1, True), (3, True), (4, True)):
        tap = {}
        model(x, tap)
        units = 6
        (d,) = grad(tap[f"block{block}"][0, ::units].sum(), [x])
        seen = np.argwhere(abs(d[0, :, :, 0]) > 0).max(axis=0)
        assert alone == bool((seen <= 8).all())  # a unit has 8 x 8 pixels, and patches reach one further
    deeper = small(depths=(2, 2, 2))
    tap = {}
    deeper(x, tap)
    (d,) = grad(tap["block5"][0, 0].sum(), [x])
    assert abs(d).min() >= 0
    assert (np.argwhere(abs(d[0, :, :, 0]) > 0).max(axis=0) == (15, 23)).all()


def test_hidden_units_can_be_left_out():
    """While attention stays in units, the others compute what they do in the presence of hidden ones."""
    model, rng = small(), np.random.default_rng(0)
    images, shown = rng.standard_normal((2, 16, 24, 1)), np.array([[1, 3, 4], [0, 5, 2]])
    here = np.zeros((2, 6), bool)
    here[np.arange(2)[:, None], shown] = True
    images *= here.reshape(2, 2, 3).repeat(8, axis=1).repeat(8, axis=2)[..., None]
    everything, some = {}, {}
    model.encode(Tensor(images), everything)
    last = model.encode(Tensor(images), some, shown=shown)
    for i in range(4):
        whole = everything[f"block{i}"].data
        whole = whole.reshape(2, -1, 6, whole.shape[-1])
        for b in range(2):
            part = some[f"block{i}"].data[b].reshape(-1, 3, whole.shape[-1])
            assert np.allclose(part, whole[b][:, shown[b]], rtol=0, atol=1e-13)
    assert last.shape == (2, 3, 16)


def test_unrolled_tokens_pool_by_their_first_quarter():
    x = np.arange(4 * 8.0).reshape(1, 4, 8, 1)
    once = unrolled(Tensor(x), (2, 2), 2).data[0, :, 0]
    assert once[:4].tolist() == [0, 4, 2, 6]
    most = pooled(Tensor(once[None, :, None]), 4).data[0, :, 0]
    assert most.tolist() == unrolled(Tensor(x[:, 1::2, 1::2]), (2, 2), 1).data[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("hiera-t", 27_910_216),
        ("hiera-s", 35_008_072),
        ("hiera-b", 51_524_968),
        ("hiera-b+", 69_896_616),
        ("hiera-l", 213_739_912),
        ("hiera-h", 672_779_752),
    ],
)
def test_the_published_models_have_as_many_parameters(name, count):
    assert Hiera(HieraConfig(**VARIANTS[name]), None).num_parameters() == count


def test_the_third_stage_begins_inside_units():
    model = Hiera(HieraConfig(**VARIANTS["hiera-t"]), None)
    found = [(block.attention.unit, block.attention.merged) for block in model.blocks[:5]]
    assert found == [(64, 1), (16, 4), (16, 1), (4, 4), (None, 1)]
    assert [block.attention.heads for block in model.blocks] == [1, 2, 2, *[4] * 7, 8, 8]


def test_blocks_are_left_out_and_recomputed():
    model = small(drop_path=0.4).train()
    assert np.allclose([block.drop_path.rate for block in model.blocks], [0, 0.1, 0.2, 0.3, 0.4])
    images = np.random.default_rng(0).standard_normal((4, 16, 24, 1))
    model.head.weight.data[...] = np.random.default_rng(1).standard_normal((16, 3))
    found = []
    for on in (False, True):
        model.recompute_blocks = on
        loss = F.cross_entropy(model(images, rng=np.random.default_rng(0)), np.array([0, 2, 1, 1]))
        found.append(grad(loss, model.parameters()))
    assert all(np.allclose(a, b, rtol=1e-10, atol=1e-14) for a, b in zip(*found, strict=True))
    assert abs(model(images, rng=np.random.default_rng(1)).data - model.eval()(images).data).max() > 1e-6


def test_hiera_is_a_family_of_models():
    config = config_of({**named_fields("hiera-mini"), "image_size": 32, "num_classes": 10}, "test")
    assert (config.grid, config.merges, config.shapes) == ((16, 16), [1, 4, 4], [(48, 1), (96, 2), (192, 4)])
    assert isinstance(build(config, None), Hiera)
    assert config_of(json.loads(json.dumps(mapping(config))), "test") == config


# files


def test_files_of_published_weights(tmp_path):
    config, w, images = given({})
    expected = logits(w, config, images)
    told = {"image_size": (16, 24), "pools": 2, "unit": 4, "local": (True, True, False), "patch_padding": (2, 2)}
    for named, beside in (
        (w, None),
        (in_timm_names(w), {"architecture": "hiera_tiny_224", "pretrained_cfg": {"input_size": [2, 16, 24]}}),
        (in_hub_names(w, (2, 1, 2)), {"model_type": "hiera", "depths": [2, 1, 2], "num_heads": [1, 2, 4]}),
    ):
        write_safetensors(tmp_path / "model.safetensors", named, {"format": "pt"})
        if beside:
            beside |= {"patch_stride": [2, 2]}
            (tmp_path / "config.json").write_text(json.dumps(beside), encoding="utf-8")
        model = recorded.load(tmp_path / "model.safetensors", "float64", patch_size=2, **told)
        assert np.allclose(model(np.moveaxis(images, 1, -1)).data, expected, rtol=0, atol=1e-12)


def test_files_of_transformers_need_no_configuration(tmp_path):
    _, w, _ = given({})
    write_safetensors(tmp_path / "a.safetensors", in_hub_names(w, (2, 1, 2)), {})
    told = {"image_size": (16, 24), "pools": 2, "unit": 4, "patch_padding": (2, 2), "patch_size": 2}
    assert recorded.load(tmp_path / "a.safetensors", **told).config.depths == (2, 1, 2)
    both = {**w, "head.fc.bias": w["head.projection.bias"]}
    write_safetensors(tmp_path / "b.safetensors", both, {})
    with pytest.raises(CheckpointError, match="two arrays for one place"):
        recorded.load(tmp_path / "b.safetensors", **told)


def test_a_published_file_needs_no_configuration(tmp_path):
    model = Hiera(HieraConfig(depths=(1, 1, 1, 1), width=8, num_classes=2, image_size=64), 3)
    named = recorded.views({name: x.data for name, x in model.named_tensors()}, model.config)
    write_safetensors(tmp_path / "a.safetensors", {name: np.ascontiguousarray(x) for name, x in named.items()}, {})
    again = recorded.load(tmp_path / "a.safetensors")
    assert again.config == model.config
    images = np.random.default_rng(0).standard_normal((1, 64, 64, 3))
    assert np.array_equal(again(images).data, model(images).data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.bias": None}, "missing: head.norm.bias"),
        ({"mask_token": np.zeros(3)}, "unexpected: mask_token"),
        ({"blocks.2.proj.bias": np.zeros(3)}, r"wrong shape: blocks.2.proj.bias \(3,\)"),
        ({"patch_embed.proj.weight": None}, "no patch_embed.proj.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(change, message):
    config, w, _ = given({})
    with pytest.raises(CheckpointError, match=message) as caught:
        recorded.build(config, {name: x for name, x in {**w, **change}.items() if x is not None})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 20}, "image_size 20 is 10 patches, and the convolution gives 10 tokens.*multiple of 4"),
        ({"patch_padding": (3, 3)}, "image_size 16 is 8 patches, and the convolution gives 10 tokens"),
        ({"unit": 5}, r"units of \(5, 5\) tokens do not divide a map of 96"),
        ({"unit": 1}, "do not divide"),
        ({"pools": 3}, "fewer pools than stages"),
        ({"local": (True,)}, "as many entries of local"),
        ({"widen": 1.0}, "must be wider than the last"),
        ({"more_heads": 0.1}, "stage 2 has 0 heads"),
        ({"heads": 3}, "stage 1 has 3 heads and width 4"),
        ({"width": 0}, "at least 1"),
        ({"gelu": "quick"}, "gelu"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"mlp_ratio": 0.1}, "mlp_ratio 0.1 leaves no width"),
    ],
)
def test_what_is_no_hiera_is_refused_in_one_line(wrong, message):
    with pytest.raises(ConfigError, match=message) as caught:
        small(**wrong)
    assert "\n" not in str(caught.value)
