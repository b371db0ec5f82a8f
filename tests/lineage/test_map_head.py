"""A ViT with attention pooling: held to a recording of timm's and to a slow implementation; mistakes are seen."""

from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays
from sizes_by_hand import (
    block,
    block_shapes,
    cross_entropy,
    dense,
    drawn,
    map_pool,
    norm,
    patches_of,
    pool_shapes,
    slopes,
)

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import verify
from minivit.lineage.map_head import MapHead, MapHeadConfig
from minivit.lineage.recorded import map_head as recorded
from minivit.lineage.recorded import pooling
from minivit.nn.attention_pool import AttentionPool
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "vit_map_head"


def arrays(width=8, hidden=12, pool_hidden=12, grid=4, patch=(2, 3), before=(), scales=False, qkv_bias=True):
    shapes = {"patch_embed.proj.weight": (width, 2, *patch), "patch_embed.proj.bias": (width,)}
    shapes |= {"pos_embed": (1, grid, width), **dict(before), "norm.weight": (width,), "norm.bias": (width,)}
    shapes |= {"head.weight": (3, width), "head.bias": (3,), **pool_shapes(width, pool_hidden)}
    for i in range(2):
        shapes |= block_shapes(f"blocks.{i}", width, hidden, qkv_bias, scales=scales)
    return drawn(shapes)


def by_hand(w, image, gelu, pool_heads=2, skipped=0):
    kernel = w["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    cut = patches_of(image, kernel.shape[:2])
    x = cut.reshape(-1, cut.shape[-1]) @ kernel.reshape(cut.shape[-1], -1)
    x, table = x + w["patch_embed.proj.bias"], w["pos_embed"][0]
    before = [w[name][0] for name in ("cls_token", "reg_token") if name in w]
    x = x + table if len(table) == len(x) else x
    x = np.concatenate([*before, x])
    x = x + table if len(table) == len(x) and before else x
    for i in range(2):
        x = block(x, w, f"blocks.{i}", 2, gelu)
    return dense(map_pool(norm(x, w["norm.weight"], w["norm.bias"])[skipped:], w, pool_heads, gelu), w, "head")


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 14


@pytest.mark.parametrize(
    ("gelu", "pool_heads", "pool_hidden"), [("erf", 2, 12), ("tanh", 4, 12), ("erf", 1, 20)], ids=str
)
def test_a_slow_implementation_agrees(gelu, pool_heads, pool_hidden):
    w, images = arrays(pool_hidden=pool_hidden), np.random.default_rng(1).normal(size=(3, 4, 6, 2))
    labels = np.array([0, 2, 1])
    fields = {"image_size": (4, 6), "heads": 2, "gelu": gelu, "pool_heads": pool_heads}
    model = recorded.build(w, **fields).eval()
    logits = model(images)
    assert np.allclose(logits.data, [by_hand(w, image, gelu, pool_heads) for image in images], rtol=0, atol=1e-12)
    names, learning = zip(*model.named_parameters(), strict=True)
    named = dict(zip(names, grad(F.cross_entropy(logits, labels), learning), strict=True))
    found = pooling.with_kv(pooling.views(named, model.config.base))

    def loss(weights):
        return cross_entropy([by_hand(weights, image, gelu, pool_heads) for image in images], labels)

    for array, way, slope in slopes(loss, w, [name for name in w if "attn_pool" in name]):
        assert (found[array] * way).sum() == pytest.approx(slope, rel=1e-6, abs=1e-7), array


@pytest.mark.parametrize(
    ("before", "rows", "size"),
    [
        ({"cls_token": (1, 1, 8)}, 5, None),
        ({"cls_token": (1, 1, 8), "reg_token": (1, 2, 8)}, 4, None),
        ({"reg_token": (1, 3, 8)}, 9, (4, 9)),
        ({"reg_token": (1, 3, 8)}, 6, (4, 9)),
    ],
    ids=str,
)
@pytest.mark.parametrize("pooled", [True, False])
def test_tokens_before_the_patches_are_pooled_if_asked(tmp_path, before, rows, size, pooled):
    w = arrays(grid=rows, before=before, scales=True, qkv_bias=False)
    images = np.random.default_rng(1).normal(size=(2, *(size or (4, 6)), 2))
    skipped = 0 if pooled else sum(shape[1] for shape in before.values())
    expected = np.array([by_hand(w, image, "erf", skipped=skipped) for image in images])
    config = {
        "num_heads": 2,
        **({"pool_include_prefix": True} if pooled else {}),
        **({"img_size": size} if size else {}),
    }
    found = {"image": np.moveaxis(images, -1, 1), "output": expected, "cotangent": np.ones((2, 3))}
    case = write_case(tmp_path, "vit_map_head", config, w, found)
    assert wrong_arrays(case) == []


def test_a_recording_may_have_the_names_of_big_vision(tmp_path):
    case = verify.open_case(CASE)
    model = recorded.build(case.weights, image_size=12, heads=2)
    found, config = recorded.recompute(case), {"img_size": 12, "num_heads": 2, "gelu": "erf"}
    weights = pooling.views({name: x.data for name, x in model.named_tensors()}, model.config.base, official=True)
    arrays = {"image": np.moveaxis(case.arrays["image"], 1, -1), "labels": case.arrays["labels"]}
    arrays |= {"output": found["output"], "grad_input/image": np.moveaxis(found["grad_input/image"], 1, -1)}
    arrays["grad/MAPHead_0/probe"] = found["grad/attn_pool.latent"]
    arrays["grad/MAPHead_0/MlpBlock_0/Dense_0/kernel"] = found["grad/attn_pool.mlp.fc1.weight"].T
    arrays["grad/params/Transformer/encoderblock_1/MlpBlock_0/Dense_1/bias"] = found["grad/blocks.1.mlp.fc2.bias"]
    arrays["grad/Transformer/encoderblock_1/LayerNorm_1/scale"] = found["grad/blocks.1.norm2.weight"]
    named = {name: np.ascontiguousarray(x) for name, x in weights.items()}
    assert wrong_arrays(write_case(tmp_path, "map_head", config, named, arrays, "NHWC")) == []


# mistakes


def pooled(change):
    def forward(self, x, mask=None, parts=1):
        probe = F.broadcast_to(self.probe, (x.shape[0], parts, x.shape[-1]))
        return change(self, x, probe)

    return forward


def probe_added(self, x, probe):
    y = probe + self.attention(probe, x)
    return y + self.mlp(self.norm(y))


def nothing_added(self, x, probe):
    return self.mlp(self.norm(self.attention(probe, x)))


def normed_twice(self, x, probe):
    y = self.attention(probe, self.norm(x))
    return y + self.mlp(self.norm(y))


def not_normed(self, x, probe):
    y = self.attention(probe, x)
    return y + self.mlp(y)


def mean_of_values(self, x, probe):
    y = self.attention.out(self.attention.value(x).mean(axis=1, keepdims=True)) + 0 * self.attention(probe, x)
    return y + self.mlp(self.norm(y))


def values_first(arrays):
    found = dict(arrays)
    for leaf in ("weight", "bias"):
        v, k = np.split(found.pop(f"attn_pool.kv.{leaf}"), 2)
        found |= {f"attn_pool.k.{leaf}": k, f"attn_pool.v.{leaf}": v}
    return found


WRONG = [
    (AttentionPool, "forward", pooled(change), change)
    for change in (probe_added, nothing_added, normed_twice, not_normed, mean_of_values)
] + [(pooling, "split_kv", values_first, values_first)]


@pytest.mark.parametrize(("place", "name", "mistake", "what"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, what):
    monkeypatch.setattr(place, name, mistake)
    assert {"output", "tap/map"} <= set(wrong_arrays(verify.open_case(CASE)))


@pytest.mark.parametrize("change", [{"act_layer": "gelu_tanh"}, {"num_heads": 4}])
def test_a_wrong_configuration_is_seen(change):
    case = verify.open_case(CASE)
    case.config |= change
    assert "output" in wrong_arrays(case)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pool_heads": 5}, "5 heads do not divide width 768"),
        ({"heads": 7}, "7 heads do not divide width 768"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"pool_mlp_width": -5}, "pool_mlp_width is -5"),
        ({"patch_size": 15}, "patch size 15x15 does not divide image size 224x224"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        MapHead(MapHeadConfig(**fields), None)
    assert "\n" not in str(caught.value)
