"""Files of published weights of networks for images of all sizes: big_vision's and timm's, and what is no such file."""

import json

import numpy as np
import pytest
from sizes_by_hand import block_shapes, drawn, pool_shapes

from minivit.errors import CheckpointError
from minivit.lineage.flexivit import FlexiViT, FlexiViTConfig
from minivit.lineage.map_head import MapHead, MapHeadConfig
from minivit.lineage.naflexvit import NaFlexViT, NaFlexViTConfig
from minivit.lineage.recorded import flexivit, map_head, naflexvit, pooling
from minivit.models.archive import write_npz, write_safetensors

SHAPE = {"width": 64, "depth": 2, "heads": 2, "mlp_width": 24, "num_classes": 3}
FLEXI = FlexiViTConfig(image_size=24, patch_size=4, base_patch=4, base_grid=3, **SHAPE)
MAP = MapHeadConfig(image_size=12, patch_size=4, **SHAPE)
NAFLEX = NaFlexViTConfig(
    image_size=12, patch_size=4, base_grid=3, register_tokens=2, layer_scale=1e-5, **{**SHAPE, "heads": 1}
)
LINEN = {"Attention_1/": "Attention_0/", "LayerNorm_2/": "LayerNorm_1/", "MlpBlock_3/": "MlpBlock_0/"}
IMAGES = np.random.default_rng(3).normal(size=(2, 24, 24, 3))


def filled_with_noise(model):
    rng = np.random.default_rng(0)
    for tensor in model.parameters():
        tensor.data[...] = 0.3 * rng.standard_normal(tensor.shape)
    return model


def plain(arrays):
    return {name: np.ascontiguousarray(x) for name, x in arrays.items()}


def state(model):
    return {name: tensor.data for name, tensor in model.named_tensors()}


def big_vision(model, base):
    """The arrays as big_vision's files have them."""
    found = {}
    for name, x in pooling.views(state(model), base, official=True).items():
        for released, linen in {
            "Attention_1/": "Attention_0/",
            "LayerNorm_2/": "LayerNorm_1/",
            "MlpBlock_3/": "MlpBlock_0/",
        }.items():
            name = name.replace(released, linen) if "encoderblock" in name else name
        found["params/" + name.replace("Transformer/posembed_input/pos_embedding", "pos_embedding")] = x
    return plain(found)


def timm(model, base):
    """The arrays as timm's files have them."""
    found = pooling.with_kv(pooling.views(state(model), base))
    return plain({name: x for name, x in found.items() if ".k." not in name and ".v." not in name})


@pytest.mark.parametrize("classifier", ["token", "gap", "map"])
def test_files_of_flexivit_load(tmp_path, classifier):
    config = FlexiViTConfig(**{**vars(FLEXI), "classifier": classifier})
    model = filled_with_noise(FlexiViT(config, None, "float64")).eval()
    write_npz(tmp_path / "flexivit_s_i1k.npz", big_vision(model, config.base))
    told = {"image_size": 24}
    again = flexivit.load(tmp_path / "flexivit_s_i1k.npz", "float64", **told).eval()
    assert again.config == config
    for grid in (3, 6, 12):
        assert np.array_equal(again(IMAGES, grid=grid).data, model(IMAGES, grid=grid).data)
    write_safetensors(tmp_path / "model.safetensors", timm(model, config.base), {})
    other = flexivit.load(tmp_path / "model.safetensors", "float64", heads=2, **told)
    assert (other.config.gelu, other.config.kernel_method, other.config.table_method) == (
        "erf", "bicubic_antialias", "bicubic_antialias",
    )  # fmt: skip
    assert all(np.array_equal(x, state(model)[name]) for name, x in state(other).items())


def test_files_with_attention_pooling_load(tmp_path):
    model = filled_with_noise(MapHead(MAP, None, "float64")).eval()
    images = IMAGES[:, :12, :12]
    write_npz(tmp_path / "vit.npz", big_vision(model, MAP.base))
    again = map_head.load(tmp_path / "vit.npz", "float64").eval()
    assert again.config == MAP
    assert np.array_equal(again(images).data, model(images).data)
    write_safetensors(tmp_path / "model.safetensors", timm(model, MAP.base), {})
    other = map_head.load(tmp_path / "model.safetensors", "float64", heads=2, gelu="tanh").eval()
    assert np.array_equal(other(images).data, model(images).data)
    assert map_head.load(tmp_path / "model.safetensors").config.gelu == "erf"


def test_an_image_tower_beside_others_loads(tmp_path):
    """As SigLIP's files have it."""
    config = MapHeadConfig(**{**vars(MAP), "num_classes": 0})
    model = filled_with_noise(MapHead(config, None, "float64"))
    arrays = {name.replace("params/", "params/img/"): x for name, x in big_vision(model, config.base).items()}
    arrays |= {"params/t": np.ones(1), "params/txt/Embed_0/embedding": np.ones((4, 64))}
    write_npz(tmp_path / "siglip.npz", arrays)
    again = map_head.load(tmp_path / "siglip.npz", "float64")
    assert again.config == config
    assert again(IMAGES[:, :12, :12]).shape == (2, 64)


@pytest.mark.parametrize("old", [False, True], ids=["naflexvit", "a classic ViT's names"])
def test_files_of_naflexvit_load(tmp_path, old):
    model = filled_with_noise(NaFlexViT(NAFLEX, None, "float64")).eval()
    arrays = plain(naflexvit.views(state(model)))
    if old:
        kernel = arrays.pop("embeds.proj.weight").reshape(64, 4, 4, 3).transpose(0, 3, 1, 2)
        arrays |= {"patch_embed.proj.weight": np.ascontiguousarray(kernel)}
        arrays |= {"patch_embed.proj.bias": arrays.pop("embeds.proj.bias")}
        arrays |= {"pos_embed": arrays.pop("embeds.pos_embed").reshape(1, 9, 64)}
        arrays |= {"reg_token": arrays.pop("embeds.reg_token")}
    write_safetensors(tmp_path / "model.safetensors", arrays, {})
    again = naflexvit.load(tmp_path / "model.safetensors", "float64").eval()
    assert again.config == NAFLEX
    assert np.array_equal(again(IMAGES).data, model(IMAGES).data)


@pytest.mark.parametrize(
    ("beside", "fields"),
    [
        ({"architecture": "naflexvit_base_patch16_par_gap"}, {"aspect": True}),
        ({"architecture": "naflexvit_base_patch16_siglip"}, {"gelu": "tanh", "resize": "bilinear_antialias"}),
        (
            {"model_args": {"pos_embed_interp_mode": "bilinear", "num_heads": 4}},
            {"resize": "bilinear_antialias", "heads": 4},
        ),
        ({"model_args": {"pos_embed_use_grid_sample": True}}, {"resize": "bicubic"}),
        ({}, {"resize": "bicubic_antialias", "aspect": False, "gelu": "erf"}),
    ],
    ids=str,
)
def test_a_config_beside_the_file_is_believed(tmp_path, beside, fields):
    model = filled_with_noise(NaFlexViT(NAFLEX, None))
    write_safetensors(tmp_path / "model.safetensors", plain(naflexvit.views(state(model))), {})
    (tmp_path / "config.json").write_text(json.dumps(beside), encoding="utf-8")
    found = naflexvit.load(tmp_path / "model.safetensors").config
    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"model_args": {"rope_type": "axial"}}, "has rope_type axial, which is not here"),
        ({"architecture": "naflexvit_base_patch16_radio_v3"}, "has pos_embed_align_corners True, which is not here"),
    ],
)
def test_a_naflexvit_with_other_positions_is_refused(tmp_path, beside, message):
    write_safetensors(tmp_path / "model.safetensors", plain(naflexvit.views(state(NaFlexViT(NAFLEX, None)))), {})
    (tmp_path / "config.json").write_text(json.dumps(beside), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        naflexvit.load(tmp_path / "model.safetensors")


def vit_arrays():
    shapes = {"patch_embed.proj.weight": (8, 3, 4, 4), "patch_embed.proj.bias": (8,), "pos_embed": (1, 9, 8)}
    shapes |= {"norm.weight": (8,), "norm.bias": (8,), **block_shapes("blocks.0", 8, 12), **pool_shapes(8, 12)}
    return drawn(shapes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.bias": None}, "missing: norm.bias"),
        ({"norm.bias": np.zeros(3)}, r"wrong shape: norm.bias \(3,\)"),
        ({"mask_token": np.zeros(3)}, "unexpected: mask_token"),
        ({"pos_embed": None}, "no pos_embed with 3 axes"),
        ({"patch_embed.proj.weight": None}, "is not a Vision Transformer: it has no patch_embed.proj.weight"),
        ({"other.patch_embed.proj.weight": np.zeros((8, 3, 4, 4))}, "holds several models, .*: keep one of them"),
        ({"attn_pool.kv.bias": np.zeros(3)}, "attn_pool.k.bias"),
    ],
)
@pytest.mark.parametrize("build", [flexivit.build, map_head.build])
def test_a_file_that_does_not_fit_is_refused_in_one_line(build, change, message):
    arrays = {name: x for name, x in {**vit_arrays(), **change}.items() if x is not None}
    assert build(vit_arrays(), heads=2, image_size=12).config.width == 8
    with pytest.raises(CheckpointError, match=message) as caught:
        build(arrays, heads=2, image_size=12)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc_norm.bias": None}, "missing: fc_norm.bias"),
        ({"embeds.proj.weight": None}, "no embeds.proj.weight"),
        ({"embeds.extra": np.zeros(3)}, "unexpected: embeds.extra"),
        ({"embeds.pos_embed": np.zeros((1, 8, 64))}, "no embeds.pos_embed with 4 axes"),
    ],
)
def test_a_file_that_is_no_naflexvit_is_refused_in_one_line(change, message):
    arrays = {**naflexvit.views(state(NaFlexViT(NAFLEX, 0))), **change}
    with pytest.raises(CheckpointError, match=message) as caught:
        naflexvit.build({}, {name: x for name, x in arrays.items() if x is not None})
    assert "\n" not in str(caught.value)
