"""ViTConfig: variants by name, and every way in which a configuration can be wrong."""

import copy
import dataclasses
import json
import pickle
import re

import numpy as np
import pytest

from minivit.errors import ConfigError
from minivit.models import VARIANTS, ResNetConfig, ViTConfig


@pytest.mark.parametrize(
    ("name", "patch", "width", "depth", "heads", "mlp_width"),
    [
        ("Ti/16", 16, 192, 12, 3, 768),
        ("S/32", 32, 384, 12, 6, 1536),
        ("B/16", 16, 768, 12, 12, 3072),
        ("L/32", 32, 1024, 24, 16, 4096),
        ("H/14", 14, 1280, 32, 16, 5120),
    ],
)
def test_variants_of_the_papers(name, patch, width, depth, heads, mlp_width):
    config = ViTConfig.variant(name)
    assert config.patch_size == (patch, patch)
    assert (config.width, config.depth, config.heads, config.mlp_width) == (width, depth, heads, mlp_width)
    assert config.image_size == (224, 224)
    assert config.num_classes == 1000


def test_the_defaults_follow_the_published_code():
    config = ViTConfig()
    assert (config.classifier, config.gelu, config.norm_eps, config.position) == ("token", "tanh", 1e-6, "learned")
    assert (config.dropout, config.attention_dropout, config.drop_path) == (0, 0, 0)
    assert (config.representation_size, config.head_bias, config.channels) == (None, 0, 3)


def test_the_list_of_fields_is_closed():
    """What a later system changes is written in that system's own file, from the parts of `minivit.nn`. An option here
    would be one more thing to read for everybody who wants to know the ViT."""
    assert [field.name for field in dataclasses.fields(ViTConfig)] == [
        *("image_size", "patch_size", "width", "depth", "heads", "mlp_width", "num_classes", "channels", "classifier"),
        *("representation_size", "dropout", "attention_dropout", "drop_path", "gelu", "norm_eps", "position"),
        *("head_bias", "class_token", "register_tokens", "distillation_token", "no_embed_class", "fc_norm"),
        *("layer_scale", "qkv_bias", "stem", "stem_width"),
    ]


def test_changes_replace_fields_even_those_of_the_variant():
    config = ViTConfig.variant("S/16", image_size=32, patch_size=4, depth=2, num_classes=10, dropout=0.1)
    assert config == ViTConfig(
        image_size=(32, 32), patch_size=(4, 4), width=384, depth=2, heads=6, num_classes=10, dropout=0.1
    )


def test_grid_and_tokens():
    config = ViTConfig(image_size=(32, 48), patch_size=(8, 4))
    assert config.grid == (4, 12)
    assert config.num_tokens == 49
    assert dataclasses.replace(config, classifier="gap").num_tokens == 48


@pytest.mark.parametrize(
    ("changes", "before", "tokens", "positions"),
    [
        ({}, {"class_token": 1}, 5, 5),
        ({"no_embed_class": True}, {"class_token": 1}, 5, 4),
        ({"classifier": "gap"}, {}, 4, 4),
        ({"classifier": "gap", "class_token": True}, {"class_token": 1}, 5, 5),
        ({"register_tokens": 3}, {"class_token": 1, "register_tokens": 3}, 8, 8),
        ({"register_tokens": 3, "no_embed_class": True}, {"class_token": 1, "register_tokens": 3}, 8, 4),
        ({"distillation_token": True}, {"class_token": 1, "distillation_token": 1}, 6, 6),
    ],
)
def test_tokens_before_the_patches(changes, before, tokens, positions):
    config = ViTConfig(image_size=8, patch_size=4, **changes)
    assert list(config.prefix_tokens.items()) == list(before.items())
    assert (config.num_tokens, config.num_positions) == (tokens, positions)


def test_what_the_classifier_needs_anyway_is_not_told_apart():
    assert ViTConfig(class_token=True) == ViTConfig()
    assert ViTConfig(class_token=False, classifier="gap") == ViTConfig(classifier="gap")


@pytest.mark.parametrize("changes", [{"position": "none"}, {"position": "sincos2d"}, {"classifier": "gap"}])
def test_where_no_positions_are_learned_for_tokens_no_embed_class_says_nothing(changes):
    assert ViTConfig(no_embed_class=True, **changes) == ViTConfig(**changes)


def test_mlp_width_is_four_times_the_width_by_default():
    assert ViTConfig(width=12).mlp_width == 48
    assert ViTConfig(width=12, mlp_width=7).mlp_width == 7


def test_frozen_hashable_and_comparable():
    config = ViTConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.width = 3
    assert config == ViTConfig()
    assert {config: 1}[ViTConfig()] == 1
    assert config != ViTConfig(depth=3)


@pytest.mark.parametrize("size", [(32, 48), [32, 48], (np.int64(32), np.int64(48))])
def test_sizes_are_stored_as_two_ints(size):
    config = ViTConfig(image_size=size, patch_size=np.int32(8))
    assert config.image_size == (32, 48)
    assert config.patch_size == (8, 8)
    assert {type(n) for n in (*config.image_size, *config.patch_size)} == {int}


def test_a_number_of_pixels_stands_for_both_sides():
    assert (ViTConfig().image_size, ViTConfig().patch_size) == ((224, 224), (16, 16))
    assert ViTConfig.variant("Ti/4", image_size=12) == ViTConfig.variant("Ti/4", image_size=(12, 12))
    small = dataclasses.replace(ViTConfig(image_size=(32, 48)), patch_size=8)
    assert (small.image_size, small.patch_size) == ((32, 48), (8, 8))
    assert copy.deepcopy(small) == pickle.loads(pickle.dumps(small)) == small
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.image_size = 3
    assert small.image_size == (32, 48)
    assert ResNetConfig((1,)).image_size == (224, 224)
    assert ResNetConfig.variant("R50x1", image_size=12).image_size == (12, 12)


def test_json_round_trip():
    config = ViTConfig.variant("Ti/16", image_size=(32, 64), representation_size=5, drop_path=0.1, position="sincos2d")
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    assert fields["image_size"] == [32, 64]
    again = ViTConfig(**fields)
    assert again == config
    assert hash(again) == hash(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width is 0, expected at least 1"),
        ({"depth": 0}, "depth is 0, expected at least 1"),
        ({"heads": -1}, "heads is -1, expected at least 1"),
        ({"mlp_width": -4}, "mlp_width is -4, expected at least 1"),
        ({"channels": 0}, "channels is 0, expected at least 1"),
        ({"num_classes": -1}, "num_classes is -1, expected 0 (for none) or more"),
        ({"representation_size": -1}, "representation_size is -1, expected 0 (for none) or more"),
        ({"heads": 5}, "5 heads do not divide width 192"),
        ({"image_size": 0}, "image_size is 0x0, expected at least 1x1"),
        ({"patch_size": (16, -1)}, "patch_size is 16x-1, expected at least 1x1"),
        ({"image_size": (224,)}, "image_size is (224,), expected a number of pixels or (height, width)"),
        ({"image_size": [1, 2, 3]}, "image_size is [1, 2, 3], expected a number of pixels or (height, width)"),
        ({"image_size": "224"}, "image_size is '224', expected a number of pixels or (height, width)"),
        ({"patch_size": 16.0}, "patch_size is 16.0, expected a number of pixels or (height, width)"),
        ({"patch_size": None}, "patch_size is None, expected a number of pixels or (height, width)"),
        (
            {"image_size": (230, 32), "patch_size": 16},
            "patch size 16x16 does not divide image size 230x32; the nearest image size that fits is 224x32",
        ),
        (
            {"image_size": (32, 230)},
            "patch size 16x16 does not divide image size 32x230; the nearest image size that fits is 32x224",
        ),
        (
            {"image_size": 5, "patch_size": 16},
            "patch size 16x16 does not divide image size 5x5; the nearest image size that fits is 16x16",
        ),
        ({"classifier": "mean"}, 'classifier is "mean", expected one of token, gap'),
        ({"gelu": "exact"}, 'gelu is "exact", expected one of tanh, erf'),
        (
            {"position": "spiral"},
            'position is "spiral", expected one of learned, learned2d, sincos2d, relative, rope, none',
        ),
        (
            {"position": "sincos2d", "width": 6, "heads": 1},
            "position sincos2d cannot split width 6 evenly between its axes",
        ),
        (
            {"position": "learned2d", "width": 7, "heads": 1},
            "position learned2d cannot split width 7 evenly between its axes",
        ),
        ({"register_tokens": -1}, "register_tokens is -1, expected 0 (for none) or more"),
        ({"layer_scale": 0.0}, "layer_scale is 0.0, expected a positive number, or None for none"),
        ({"layer_scale": float("nan")}, "layer_scale is nan, expected a positive number, or None for none"),
        ({"layer_scale": 10**400}, f"layer_scale is 1{'0' * 79}..., expected a positive number, or None for none"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0, expected 0 < norm_eps < 1"),
        ({"norm_eps": float("nan")}, "norm_eps is nan, expected 0 < norm_eps < 1"),
        ({"image_size": (8, 2**15)}, "image_size is 8x32768, expected at most 16384x16384"),
        ({"class_token": False}, 'classifier "token" reads the [class] token, which class_token=False removes'),
        (
            {"distillation_token": True, "classifier": "gap"},
            "a distillation_token does not go together with classifier='gap'",
        ),
        (
            {"distillation_token": True, "representation_size": 3},
            "a distillation_token does not go together with representation_size=3",
        ),
        (
            {"distillation_token": True, "register_tokens": 1},
            "a distillation_token does not go together with register_tokens=1",
        ),
        ({"dropout": 1.0}, "dropout is 1.0, expected 0 <= rate < 1"),
        ({"attention_dropout": -0.1}, "attention_dropout is -0.1, expected 0 <= rate < 1"),
        ({"drop_path": float("nan")}, "drop_path is nan, expected 0 <= rate < 1"),
    ],
)
def test_a_wrong_configuration_is_named_in_one_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        ViTConfig(**changes)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["X/16", "b/16", "B16", "B/", "/16", "B/16/2", "B/-1", ""])
def test_an_unknown_variant_lists_the_known_ones(name):
    with pytest.raises(ConfigError) as caught:
        ViTConfig.variant(name)
    assert str(caught.value).startswith(f'unknown variant "{name}": expected one of Ti, S, B, L, H and a patch size')


def test_a_variant_whose_patches_do_not_fit():
    with pytest.raises(ConfigError, match="patch size 15x15 does not divide image size 224x224"):
        ViTConfig.variant("B/15")
    with pytest.raises(ConfigError, match="patch_size is 0x0"):
        ViTConfig.variant("B/0")


def test_an_unknown_field_is_named():
    with pytest.raises(TypeError, match="widht"):
        ViTConfig.variant("B/16", widht=3)


def test_the_table_of_variants():
    assert list(VARIANTS) == ["Ti", "S", "B", "L", "H"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("b/16", "B/16"),
        ("TI/4", "Ti/4"),
        ("B16", "B/16"),
        ("ViT-B_16", "B/16"),
        ("ViT-H/14", "H/14"),
        ("vit_base_patch16_224", "B/16"),
        ("deit_tiny_patch16_224", "Ti/16"),
        ("google/vit-large-patch32-384", "L/32"),
        ("r50+b/16", "R50+B/16"),
        ("S", "S/16"),
        ("tiny", "Ti/16"),
    ],
)
def test_the_name_that_others_give_a_variant_is_understood(name, meant):
    with pytest.raises(ConfigError, match=rf"did you mean {re.escape(meant)}\?$"):
        ViTConfig.variant(name)
    ViTConfig.variant(meant, image_size=224)


@pytest.mark.parametrize("name", ["X/3", "swin_v2", "16", "", "best16", "cats/16"])
def test_what_is_like_no_variant_is_not_guessed(name):
    with pytest.raises(ConfigError) as caught:
        ViTConfig.variant(name)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["B/" + "9" * 5000, "B/\u0661\u0666"])
def test_numbers_that_no_patch_has(name):
    with pytest.raises(ConfigError):
        ViTConfig.variant(name)
