"""ViTDet: held to recorded outputs of published code, and to a slow second implementation."""

import json
import math
import re
from pathlib import Path

import dense_by_hand as by_hand
import numpy as np
import pytest
from recordings import write_case, wrong_arrays
from windows_by_hand import bicubic, block, conv, enlarged

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import verify, vitdet, windowed
from minivit.lineage.recorded import vitdet as recorded
from minivit.lineage.vitdet import VARIANTS, Branch, Level, ViTDet, ViTDetConfig
from minivit.lineage.windowed import MapAttention, WindowBlock
from minivit.models import families
from minivit.models.archive import write_safetensors
from minivit.ops.attend import attend
from minivit.tensor import lift

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "vitdet"
PARAMETERS = {"vitdet-b": 85_889_024, "vitdet-l": 303_432_704, "vitdet-h": 631_116_800}  # relative positions, 1024 px


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 16


real_bias, real_between, real_resized = MapAttention.bias, windowed.between, vitdet.resized


def of_scaled_queries(self, q, size):
    return real_bias(self, q * (q.shape[-1] // self.heads) ** -0.5, size)


def one_table_for_both(self, q, size):
    self.columns = self.rows
    return real_bias(self, q, size)


def the_other_sign(table, side):
    return real_between(table, side).transpose(1, 0, 2)


def first_rows_of_the_table(table, side):
    return real_between(table[: 2 * side - 1] if table.shape[0] > 2 * side - 1 else table, side)


def without_filled_keys(self, x):
    """Places beyond the map are not attended to."""
    rows, columns = x.shape[1:3]
    shown = windowed.windows(windowed.filled(x * 0 + 1, self.window), (self.window,) * 2).data[:, :, 0] > 0
    here = {"mask": shown[:, None, None]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "attend", lambda *args, **kwargs: lift(attend)(*args, **kwargs, **here))
        size = tuple(-(-side // self.window) * self.window for side in (rows, columns))
        parts = windowed.windows(windowed.filled(x, self.window), (self.window,) * 2)
        parts = self.attention(parts.reshape(-1, self.window, self.window, x.shape[-1]))
    parts = parts.reshape(-1, self.window**2, x.shape[-1])
    return windowed.whole(parts, (self.window,) * 2, size)[:, :rows, :columns]


def filled_before_the_norm(self, x, rng=None):
    rows, columns = x.shape[1:3]
    y = self.attended(self.norm1(windowed.filled(x, self.window or 1)))[:, :rows, :columns]
    return x + y + self.mlp(self.norm2(x + y))


def bilinear(table, size):
    side = math.isqrt(table.shape[1])
    return F.resize(table.reshape(1, side, side, -1), size, "bilinear")


def without_branch(self, x):
    return x


def mean_of_four(self, x):
    for i, layer in enumerate(self.enlarge):
        x = layer(x)
        x = F.gelu(self.norm(x), form="erf") if self.norm and i == 0 else x
    return self.mix(self.narrow(F.avg_pool2d(x, 2, 2, 0) if self.level == 5 else x))


WRONG = [
    (MapAttention, "bias", of_scaled_queries, "rect/block0"),
    (MapAttention, "bias", one_table_for_both, "rect/block0"),
    (windowed, "between", the_other_sign, "rect/block0"),
    (windowed, "between", first_rows_of_the_table, "larger/block2"),
    (WindowBlock, "attended", without_filled_keys, "rect/block0"),
    (WindowBlock, "forward", filled_before_the_norm, "rect/block0"),
    (vitdet, "resized", bilinear, "rect/block0"),
    (Branch, "forward", without_branch, "rect/block1"),
    (Level, "forward", mean_of_four, "rect/p5"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    if mistake is without_filled_keys:  # the global block has no window
        whole_map = WindowBlock.attended
        monkeypatch.setattr(place, name, lambda self, x: (mistake if self.window else whole_map)(self, x))
    else:
        monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters(name):
    """Of few blocks: those with windows are alike, and so are those without."""

    def count(depth, whole):
        fields = {**VARIANTS[name], "depth": depth, "global_blocks": whole, "num_classes": 0}
        return ViTDet(ViTDetConfig(**fields), None).num_parameters()

    one, windowed_block, depth = count(1, ()), count(2, ()) - count(1, ()), VARIANTS[name]["depth"]
    tables = count(1, (0,)) - one
    assert one + (depth - 1) * windowed_block + len(VARIANTS[name]["global_blocks"]) * tables == PARAMETERS[name]
    assert ViTDetConfig(**VARIANTS[name]).grid == (64, 64)
    assert families.named_fields(name) == {"name": "vitdet", **VARIANTS[name]}


def slow(weights, image, config):
    """(height, width, C) -> the last map, and the levels of the pyramid. By the names of the recording."""
    kernel = weights["net.embeddings.projection.weight"]
    x = conv(image, kernel, kernel.shape[-1], bias=weights["net.embeddings.projection.bias"])
    if "net.embeddings.position_embeddings" in weights:
        table = weights["net.embeddings.position_embeddings"][0]
        side = math.isqrt(len(table))
        x = x + bicubic(table[len(table) - side**2 :].reshape(side, side, -1), x.shape[:2])
    depth = 1 + max(int(m[1]) for name in weights if (m := re.match(r"net\.encoder\.layer\.(\d+)", name)))
    for b in range(depth):
        name = f"net.encoder.layer.{b}"
        window = config["window_size"] if b in config["window_block_indices"] else 0
        x = block(x, weights, name, ("norm", "attention", "mlp.fc"), config["num_attention_heads"], window)
        if f"{name}.residual.conv1.weight" in weights:
            y = x
            for k in (1, 2, 3):
                y = conv(y, weights[f"{name}.residual.conv{k}.weight"], border=int(k == 2))
                y = by_hand.norm(y, weights, f"{name}.residual.norm{k}", 1e-6)
                y = by_hand.gelu(y) if k < 3 else y
            x = x + y
    found = {"map": x}
    for level, start in {2: 4, 3: 1, 4: 0, 5: 1}.items():
        name, y = f"fpn.simfp_{level}", x
        if f"{name}.{start}.weight" not in weights:
            continue
        if level < 4:
            y = enlarged(y, weights, f"{name}.0")
        if level == 2:
            y = enlarged(by_hand.gelu(by_hand.norm(y, weights, f"{name}.1", 1e-6)), weights, f"{name}.3")
        if level == 5:
            tiles = y[: len(y) // 2 * 2, : y.shape[1] // 2 * 2].reshape(len(y) // 2, 2, y.shape[1] // 2, 2, -1)
            y = tiles.max(axis=(1, 3))
        for place, border in ((start, 0), (start + 1, 1)):
            y = conv(y, weights[f"{name}.{place}.weight"], border=border)
            y = by_hand.norm(y, weights, f"{name}.{place}.norm", 1e-6)
        found[f"p{level}"] = y
    return found


SHAPE = {
    "image_size": 16, "patch_size": 4, "pretrain_size": 12, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12,
    "window": 3, "global_blocks": (1,), "pyramid": 4, "num_classes": 0,
}  # fmt: skip
OTHERS = {
    "odd map, all levels": ((16, 21), {"residual_blocks": (0, 1)}),
    "two levels, no row of a class": ((12, 8), {"levels": (3, 5), "class_row": False}),
    "no positions, one channel": ((11, 13), {"absolute": False, "relative": False, "channels": 1, "levels": (4,)}),
    "no biases of queries, windows only": ((8, 8), {"qkv_bias": False, "global_blocks": (), "levels": (2,)}),
}


def drawn(network, rng):
    """Weights by the names of the recording."""
    state, weights = {name: tensor.data for name, tensor in network.named_tensors()}, {}
    for name, x in recorded.views(network, state, recorded.names(network.config)).items():
        gain = name.endswith("weight") and x.ndim == 1
        weights[name] = rng.normal(1 if gain else 0, 0.4, x.shape)
    return weights


@pytest.mark.parametrize(("size", "fields"), OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, size, fields):
    network, rng = ViTDet(ViTDetConfig(**{**SHAPE, **fields}), 0, "float64"), np.random.default_rng(1)
    shape, weights = network.config, drawn(network, rng)
    image = rng.normal(size=(*size, shape.channels))
    config = {
        "num_attention_heads": shape.heads, "image_size": 16, "window_size": shape.window,
        "window_block_indices": [i for i in range(shape.depth) if i not in shape.global_blocks],
    }  # fmt: skip
    outputs = slow(weights, image, config)
    cotangents = {name: rng.normal(size=x.shape) for name, x in outputs.items() if name != "map"}

    def loss(weights):
        found = slow(weights, image, config)
        return sum((found[name] * x).sum() for name, x in cotangents.items())

    along, slope = by_hand.slope(loss, weights, rng)
    maps = {**outputs, **{f"cotangent_{name}": x for name, x in cotangents.items()}, "image": image}
    maps[f"block{shape.depth - 1}"] = maps.pop("map")
    found = {name: np.moveaxis(x, -1, 0)[None] for name, x in maps.items()} | {"loss": np.asarray(loss(weights))}
    case = write_case(tmp_path, "vitdet", config, weights, found)
    assert wrong_arrays(case) == []
    computed = recorded.recompute(case)
    assert sum((computed[f"grad/{name}"] * x).sum() for name, x in along.items()) == pytest.approx(slope, rel=1e-6)


def in_detectron2s_names(weights):
    found = {"model.proposal_generator.rpn_head.conv.bias": np.zeros(2)}
    for name, x in weights.items():
        name = name.replace("net.embeddings.position_embeddings", "net.pos_embed").replace("fpn.", "")
        name = name.replace("embeddings.projection", "patch_embed.proj").replace("encoder.layer", "blocks")
        found[f"model.backbone.{name.replace('.attention.', '.attn.')}"] = x
    return found


def in_hub_names(weights):
    return {f"vitdet.{name.removeprefix('net.')}": x for name, x in weights.items() if name.startswith("net.")}


@pytest.mark.parametrize("layout", [dict, in_detectron2s_names, in_hub_names])
def test_published_layouts_load(tmp_path, layout):
    weights = drawn(ViTDet(ViTDetConfig(**SHAPE, residual_blocks=(1,)), 0), np.random.default_rng(0))
    path = tmp_path / "model.safetensors"
    write_safetensors(path, layout(weights), {})
    stated = {"num_attention_heads": 2, "image_size": 16, "window_size": 3, "window_block_indices": [0]}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vitdet", **stated}), encoding="utf-8")
    network = recorded.open_pretrained(path, "float64")
    assert network.config.global_blocks == network.config.residual_blocks == (1,)
    assert network.config.pyramid == (0 if layout is in_hub_names else 4)
    state = {name: tensor.data for name, tensor in network.named_tensors()}
    for name, x in recorded.views(network, state, recorded.names(network.config)).items():
        assert np.array_equal(x, weights[name]), name
    missing = {name: x for name, x in layout(weights).items() if not name.endswith("1.mlp.fc1.bias")}
    write_safetensors(path, missing, {})
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        recorded.open_pretrained(path)


def test_the_number_of_heads_must_be_known():
    with pytest.raises(CheckpointError, match="does not say how many heads"):
        recorded.build({}, drawn(ViTDet(ViTDetConfig(**SHAPE), None), np.random.default_rng(0)))


def test_a_window_as_large_as_the_map_is_no_window():
    images, found = np.random.default_rng(0).normal(size=(2, 12, 12, 3)), []
    for fields in ({"window": 3}, {"window": 0}):
        fields = {**SHAPE, "image_size": 12, "global_blocks": (), "num_classes": 0, **fields}
        network = ViTDet(ViTDetConfig(**fields), 0, "float64")
        recorded.load(network, drawn(network, np.random.default_rng(1)), "test", recorded.names(network.config))
        found.append(network(images).data)
    assert abs(found[0] - found[1]).max() < 1e-12


def test_it_classifies_by_the_mean_of_the_last_map():
    network = ViTDet(ViTDetConfig(**{**VARIANTS["vitdet-mini"], "num_classes": 4, "residual_blocks": (0,)}), 0)
    tap, images = {}, np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    assert network(images, tap).shape == (2, 4)
    assert [tap[f"block{i}"].shape for i in range(4)] == [(2, 8, 8, 64)] * 4
    assert np.array_equal(tap["features"].data, tap["block3"].data.mean(axis=(1, 2)))
    assert not network.branches[0].layers[-1].norm.scale.data.any()
    assert not network.blocks[0].attention.rows.data.any()
    assert network.config.num_tokens == 64


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 5}, "5 heads do not divide width 768"),
        ({"image_size": 8}, "smaller than a patch"),
        ({"global_blocks": (12,)}, "global_blocks is .12,., expected numbers from 0 to 11"),
        ({"residual_blocks": (-1,)}, "residual_blocks"),
        ({"pyramid": 256}, "with a pyramid num_classes is 0"),
        ({"levels": (1,)}, "levels is .1,., expected some of"),
        ({"pyramid": 4, "num_classes": 0, "width": 6, "heads": 1}, "width 6 cannot be halved"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        ViTDetConfig(**fields)
