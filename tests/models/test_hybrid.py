"""The ResNet stem: its shape, its units, its released names."""

import dataclasses

import numpy as np
import pytest

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.gradcheck import check_gradients
from minivit.models import HYBRIDS, ResNet, ResNetConfig, ViT, ViTConfig, export, load_pretrained
from minivit.models.archive import read_arrays, write_safetensors
from minivit.models.hybrid import Bottleneck
from minivit.nn.convolution import GroupNorm, StdConv

TINY = ViTConfig(
    image_size=(24, 32), patch_size=1, width=8, depth=1, heads=2, num_classes=3, channels=2, stem=(1, 2), stem_width=32
)


def perturbed(module, seed=0, scale=0.3):
    """The module with random parameters everywhere: at the start, branches and head are zero."""
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.data += scale * rng.standard_normal(p.shape)
    return module


# The configuration


@pytest.mark.parametrize(
    ("name", "tokens", "map_size", "channels"),
    [
        ("R+Ti/16", 50, 56, 64),
        ("R26+S/32", 50, 7, 2048),
        ("R50+B/16", 197, 14, 1024),
        ("R50+L/32", 50, 7, 2048),
        ("R26+B/32", 50, 7, 2048),
    ],
)
def test_sizes_of_the_published_hybrids(name, tokens, map_size, channels):
    config = ViTConfig.variant(name)
    assert (config.num_tokens, config.map_size, config.map_channels) == (tokens, (map_size, map_size), channels)
    assert set(HYBRIDS) == {"R+Ti/16", "R26+S/32", "R26+B/32", "R50+B/16", "R50+L/32"}


def test_a_map_is_rounded_up():
    assert dataclasses.replace(TINY, image_size=(25, 31)).map_size == (4, 4)
    assert dataclasses.replace(TINY, stem=()).map_size == (6, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": (3, 0)}, "stem is (3, 0), expected at least 1 unit in each stage"),
        ({"stem_width": 48}, "stem_width is 48, expected a multiple of 32 (groups)"),
        (
            {"patch_size": 2},
            "patch size 2x2 does not divide the stem's feature map 3x4; the nearest image size that fits is 32x32",
        ),
    ],
)
def test_a_wrong_stem_is_named_in_one_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(TINY, **changes)
    assert str(caught.value) == message


# The model


@pytest.mark.parametrize("stem", [(), (1,), (1, 2)])
@pytest.mark.parametrize("size", [(24, 32), (25, 31)])
def test_the_feature_map_has_the_size_that_the_configuration_says(stem, size):
    config = dataclasses.replace(TINY, stem=stem, image_size=size)
    model = ViT(config)
    images = np.ones((2, *size, 2), "float32")
    assert model.stem(F.broadcast_to(images, images.shape)).shape == (2, *config.map_size, config.map_channels)
    assert model(images).shape == (2, 3)


def test_gradients_of_the_layers():
    x = np.random.default_rng(1).standard_normal((2, 4, 5, 4))
    for layer in (
        StdConv(3, 4, 2, np.random.default_rng(0), "float64", stride=2),
        GroupNorm(4, 2, "float64", eps=1e-2),
        Bottleneck(4, 32, 2, np.random.default_rng(0), "float64"),
    ):
        perturbed(layer)
        check_gradients(lambda x, *parameters, layer=layer: layer(x), x, *layer.parameters(), rtol=1e-5)


def test_residual_branches_begin_as_zero():
    unit = Bottleneck(128, 32, 1, np.random.default_rng(0))
    assert not unit.projects
    x = np.random.default_rng(1).standard_normal((1, 3, 3, 128)).astype("float32")
    np.testing.assert_array_equal(unit(F.relu(x)).data, np.maximum(x, 0))


@pytest.mark.parametrize(("channels", "stride"), [(128, 1), (128, 2), (16, 1)])
def test_a_unit_is_what_the_published_code_computes(layers_by_ops, channels, stride):
    unit = perturbed(Bottleneck(channels, 32, stride, np.random.default_rng(0), "float64"), scale=0.1)
    convolution, norm = layers_by_ops(unit, 32)
    x = np.random.default_rng(1).standard_normal((2, 6, 5, channels))
    y = np.maximum(norm(convolution(x, "conv1"), "norm1"), 0)
    y = np.maximum(norm(convolution(y, "conv2", stride), "norm2"), 0)
    y = norm(convolution(y, "conv3"), "norm3")
    shortcut = norm(convolution(x, "shortcut", stride), "shortcut_norm") if (channels, stride) != (128, 1) else x
    expected = np.maximum(y + shortcut, 0)
    np.testing.assert_allclose(unit(x).data, expected, rtol=0, atol=1e-10 * abs(expected).max())


# Released files


def test_the_recorded_file_is_a_hybrid_of_the_root_alone(vector_path):
    config = load_pretrained(vector_path("hyb_r.ckpt.npz")).config
    assert (config.stem, config.stem_width, config.patch_size, config.image_size) == ((), 64, (2, 2), (32, 32))
    assert (config.channels, config.map_channels) == (3, 64)


def test_export_and_load_are_exact_and_use_the_released_names(tmp_path):
    model = perturbed(ViT(dataclasses.replace(TINY, image_size=32), dtype="float64"))
    export(model, tmp_path / "hybrid.npz")
    again = load_pretrained(tmp_path / "hybrid.npz", dtype="float64")
    assert again.config == model.config
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    with np.load(tmp_path / "hybrid.npz") as released:
        shapes = {key: released[key].shape for key in released if "ransformer" not in key}
    assert shapes["conv_root/kernel"] == (7, 7, 2, 32)
    assert shapes["gn_root/scale"] == (1, 1, 1, 32)
    assert shapes["block1/unit1/conv_proj/kernel"] == (1, 1, 32, 128)
    assert shapes["block2/unit1/gn_proj/bias"] == (1, 1, 1, 256)
    assert shapes["block2/unit2/conv2/kernel"] == (3, 3, 64, 64)
    assert shapes["block2/unit2/gn3/scale"] == (1, 1, 1, 256)
    assert "block2/unit2/conv_proj/kernel" not in shapes


def test_group_norm_parameters_of_newer_files_have_one_axis(tmp_path, vectors, vector_path):
    arrays = vectors("hyb_r.ckpt")
    newer = {key: a.reshape(-1) if key.startswith("gn_root") else a for key, a in arrays.items()}
    np.savez(tmp_path / "newer.npz", **newer)
    one, two = load_pretrained(tmp_path / "newer.npz"), load_pretrained(vector_path("hyb_r.ckpt.npz"))
    for name, array in two.state_dict().items():
        np.testing.assert_array_equal(one.state_dict()[name], array)


def test_another_image_size_resizes_positions_on_the_map(vector_path):
    model = load_pretrained(vector_path("hyb_r.ckpt.npz"), image_size=48)
    assert model.config.grid == (6, 6)
    assert model(np.zeros((1, 48, 48, 3))).shape == (1, 10)


def test_a_damaged_stem_is_named(tmp_path, vectors):
    arrays = vectors("hyb_r.ckpt")
    for spoil, message in (
        (lambda a: {k: v for k, v in a.items() if k != "gn_root/scale"}, "missing: gn_root/scale"),
        (
            lambda a: {**a, "block1/unit1/conv1/kernel": np.ones((1, 1, 64, 64))},
            "missing: block1/unit1/conv_proj/kernel, .* and 6 more",
        ),
        (lambda a: {**a, "conv_root/kernel": np.ones((7, 7, 3, 65))}, "stem_width is 65"),
    ):
        np.savez(tmp_path / "spoilt.npz", **spoil(arrays))
        with pytest.raises(CheckpointError, match=message) as caught:
            load_pretrained(tmp_path / "spoilt.npz")
        assert "\n" not in str(caught.value)


def test_a_map_that_is_not_square_must_be_asked_for(tmp_path):
    model = perturbed(ViT(TINY, dtype="float64"))
    export(model, tmp_path / "hybrid.npz")
    with pytest.raises(CheckpointError, match="12 position embeddings are not a square grid"):
        load_pretrained(tmp_path / "hybrid.npz")
    again = load_pretrained(tmp_path / "hybrid.npz", dtype="float64", image_size=(24, 32))
    assert again.config == TINY
    images = np.random.default_rng(1).standard_normal((2, 24, 32, 2))
    np.testing.assert_array_equal(again(images).data, model(images).data)


def test_a_hybrid_with_the_optimisers_state_beside_it(tmp_path, vectors, vector_path):
    arrays = {f"opt/target/{key}": array for key, array in vectors("hyb_r.ckpt").items()}
    np.savez(tmp_path / "trained.npz", **arrays, **{"opt/state/step": np.ones(())})
    one, two = load_pretrained(tmp_path / "trained.npz"), load_pretrained(vector_path("hyb_r.ckpt.npz"))
    for name, array in two.state_dict().items():
        np.testing.assert_array_equal(one.state_dict()[name], array)


def test_another_head_keeps_the_stem(vector_path):
    model, fresh = (load_pretrained(vector_path("hyb_r.ckpt.npz"), **changes) for changes in ({}, {"num_classes": 4}))
    np.testing.assert_array_equal(fresh.stem.root.weight.data, model.stem.root.weight.data)
    assert not fresh.head.weight.data.any()


# Layouts without hybrids


@pytest.mark.parametrize("layout", ["timm", "hf"])
def test_other_layouts_do_not_express_a_hybrid(tmp_path, layout):
    with pytest.raises(ValueError, match=rf"the {layout} layout cannot express stem=\(1, 2\)"):
        export(ViT(TINY), tmp_path / "model", layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layout", "title", "key"),
    [
        ("timm", "timm", "patch_embed.backbone.stem.conv.weight"),
        ("hf", "Hugging Face", "vit.embeddings.patch_embeddings.backbone.bit.embedder.convolution.weight"),
    ],
)
def test_hybrids_of_other_layouts_are_refused_in_one_line(tmp_path, layout, title, key):
    config = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=3)
    export(ViT(config), tmp_path / "plain", layout)
    arrays, metadata = read_arrays(tmp_path / "plain")
    write_safetensors(tmp_path / "hybrid", {**arrays, key: np.zeros((4, 3, 7, 7), "float32")}, metadata)
    message = f"hybrids are read from released .npz files, not in the layout of {title}"
    for file, changes in (("hybrid", {}), ("plain", {"stem": ()})):
        with pytest.raises(CheckpointError, match=message) as caught:
            load_pretrained(tmp_path / file, **changes)
        assert "\n" not in str(caught.value)


def test_a_resnet_is_not_exported(tmp_path):
    resnet = ResNet(ResNetConfig(units=(1,), width=4, groups=2, image_size=8))
    with pytest.raises(ValueError, match="no published layout"):
        export(resnet, tmp_path / "resnet.npz")
