"""What lies beside the weights is honoured or refused by name, never dropped."""

import json
import shutil

import numpy as np
import pytest

from minivit.errors import CheckpointError
from minivit.models import export, load_pretrained, open_pretrained
from minivit.models.archive import read_arrays, write_safetensors
from minivit.models.stated import HF, TIMM, TIMM_ARGUMENTS


@pytest.fixture
def timm_folder(tmp_path, vectors, vector_path):
    """timm_folder(file, arguments, **config): a folder with recorded weights of timm and a config.json beside them."""

    def folder(file="timm_token", arguments=None, **config):
        shutil.copy(vector_path(f"published/{file}.safetensors"), tmp_path / "model.safetensors")
        values = {"architecture": "vit_x", "model_args": {"num_heads": 2, **(arguments or {})}, **config}
        (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
        return tmp_path

    return folder


@pytest.fixture
def hf_folder(tmp_path, vector_path):
    """hf_folder(file, **config): the same for transformers; None removes a field of its config.json."""

    def folder(file="hf_cls", preprocessor=None, **config):
        path = vector_path(f"published/{file}.safetensors")
        shutil.copy(path, tmp_path / "model.safetensors")
        values = {**json.loads(path.with_name(f"{file}.config.json").read_text(encoding="utf-8")), **config}
        (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
        if preprocessor is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
        return tmp_path

    return folder


def refused(folder, **options):
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


HONOURED = [
    ("timm_token", {"act_layer": "gelu_tanh"}, {}, {"gelu": "tanh"}),
    ("timm_token", {"act_layer": "gelu", "norm_layer": "layernorm"}, {}, {"gelu": "erf", "norm_eps": 1e-6}),
    ("timm_token", {"global_pool": "avg"}, {"global_pool": "token"}, {"classifier": "gap"}),
    ("timm_token", {"drop_path_rate": 0.1, "patch_drop_rate": 0.5, "weight_init": "jax"}, {}, {"drop_path": 0.0}),
    ("timm_avg", {"embed_dim": 8, "depth": 2, "mlp_ratio": 1.5, "in_chans": 3, "patch_size": 2, "num_classes": 5}, {},
     {"fc_norm": True}),
    ("timm_no_pos", {"pos_embed": "none", "img_size": 8}, {}, {"image_size": (8, 8)}),
    ("timm_no_pos", {}, {"pretrained_cfg": {"input_size": [3, 8, 8], "fixed_input_size": True}},
     {"image_size": (8, 8)}),
    ("timm_reg_ls", {"reg_tokens": 4, "init_values": 1e-5, "no_embed_class": True}, {}, {"register_tokens": 4}),
    ("timm_token", {}, {"model_type": "timm_wrapper", "architectures": ["X"], "pretrained_cfg": {"crop_pct": 0.9}}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("file", "arguments", "config", "fields"), HONOURED)
def test_what_timm_states_is_honoured(timm_folder, file, arguments, config, fields):
    found = load_pretrained(timm_folder(file, arguments, **config)).config
    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"global_pool": "max"}, "global_pool is 'max', expected one of token, avg"),
        ({"global_pool": "avgmax"}, "global_pool is 'avgmax'"),
        ({"global_pool": "map"}, "global_pool is 'map'"),
        ({"global_pool": ""}, "global_pool is ''"),
        ({"act_layer": "relu"}, "act_layer is 'relu', expected one of gelu, gelu_tanh"),
        ({"act_layer": "quick_gelu"}, "act_layer is 'quick_gelu'"),
        ({"act_layer": ["silu"]}, "act_layer is ['silu']"),
        ({"norm_layer": "rmsnorm"}, "norm_layer is 'rmsnorm'"),
        ({"qk_norm": True}, "qk_norm is True"),
        ({"pre_norm": True}, "pre_norm is True"),
        ({"final_norm": False}, "final_norm is False"),
        ({"scale_mlp_norm": True}, "scale_mlp_norm is True"),
        ({"pool_include_prefix": True}, "pool_include_prefix is True"),
        ({"proj_bias": False}, "proj_bias is False"),
        ({"block_fn": "ParallelScalingBlock"}, "block_fn is 'ParallelScalingBlock'"),
        ({"mlp_layer": "SwiGLU"}, "mlp_layer is 'SwiGLU'"),
        ({"attn_layer": "diff"}, "attn_layer is 'diff'"),
        ({"embed_layer": "HybridEmbed"}, "embed_layer is 'HybridEmbed'"),
        ({"rope_theta": 100.0}, 'unknown field "rope_theta", 100.0'),
        ({"depth": 3}, "depth is 3, which the arrays contradict"),
        ({"embed_dim": 16}, "embed_dim is 16, which"),
        ({"mlp_ratio": 4}, "mlp_ratio is 4, which"),
        ({"mlp_ratio": "4"}, "config.json: "),
        ({"num_classes": 7}, "num_classes is 7, which"),
        ({"in_chans": 1}, "in_chans is 1, which"),
        ({"patch_size": 4}, "patch_size is 4, which"),
        ({"qkv_bias": False}, "qkv_bias is False, which"),
        ({"reg_tokens": 1}, "reg_tokens is 1, which"),
        ({"class_token": False}, "class_token is False, which"),
        ({"init_values": 1e-5}, "init_values is 1e-05, which"),
        ({"fc_norm": True}, "fc_norm is True, which"),
        ({"pos_embed": "none"}, "pos_embed is 'none', which"),
        ({"img_size": 16}, "the image size is 16, the arrays are for 8x8; pass one (--image-size)"),
        ({"num_heads": 3}, "3 heads do not divide width 8"),
    ],
)
def test_what_timm_states_and_a_vit_of_ours_has_not(timm_folder, arguments, expected):
    assert expected in refused(timm_folder(arguments=arguments))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"global_pool": "max"}, "global_pool is 'max'"),
        ({"num_classes": 3}, "num_classes is 3, which the arrays contradict"),
        ({"num_features": 16}, "num_features is 16, which the arrays contradict"),
        ({"act_layer": "relu"}, 'unknown field "act_layer"'),
        ({"model_args": [["act_layer", "relu"]]}, "model_args is [['act_layer', 'relu']], expected an object"),
        ({"architecture": "vit_base_patch32_clip_quickgelu_224"}, "its activation is quick_gelu"),
        ({"architecture": "vit_base_patch16_rpn_224"}, "its norms come after"),
        ({"pretrained_cfg": {"input_size": [3, 16, 16], "fixed_input_size": True}}, "the image size is [16, 16]"),
        ({"pretrained_cfg": {"act": "relu"}}, 'unknown field "act"'),
    ],
)
def test_what_else_timms_config_says(timm_folder, config, expected):
    assert expected in refused(timm_folder(**config))


def test_a_config_is_known_by_any_of_its_marks(timm_folder, hf_folder):
    folder = timm_folder()
    (folder / "config.json").write_text('{"model_args": {"num_heads": 2, "act_layer": "relu"}}', encoding="utf-8")
    assert "act_layer is 'relu'" in refused(folder)
    folder = hf_folder()
    (folder / "config.json").write_text('{"architectures": ["ViTModel"], "hidden_act": "relu"}', encoding="utf-8")
    assert "hidden_act is 'relu'" in refused(folder)


def test_the_callers_image_size_settles_a_contradiction(timm_folder):
    assert load_pretrained(timm_folder(arguments={"img_size": 16}), image_size=16).config.grid == (8, 8)


@pytest.mark.parametrize(
    ("act", "gelu"), [("gelu_python", "erf"), ("gelu_new", "tanh"), ("gelu_fast", "tanh"), ("gelu_accurate", "tanh")]
)
def test_names_of_gelu_in_transformers(hf_folder, act, gelu):
    assert load_pretrained(hf_folder(hidden_act=act)).config.gelu == gelu


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"hidden_act": "quick_gelu"}, "hidden_act is 'quick_gelu', expected one of gelu"),
        ({"hidden_act": 3}, "hidden_act is 3"),
        ({"pooler_act": "relu"}, "pooler_act is 'relu', expected 'tanh'"),
        ({"model_type": "vit_mae"}, 'model_type is "vit_mae", expected vit or deit'),
        ({"hidden_size": 16}, "hidden_size is 16, which the arrays contradict"),
        ({"num_hidden_layers": 1}, "num_hidden_layers is 1, which"),
        ({"intermediate_size": 32}, "intermediate_size is 32, which"),
        ({"num_channels": 1}, "num_channels is 1, which"),
        ({"patch_size": 4}, "patch_size is 4, which"),
        ({"patch_size": "4"}, "patch_size is '4', expected a number of pixels"),
        ({"qkv_bias": False}, "qkv_bias is False, which"),
        ({"image_size": 16}, "the image size is 16, the arrays are for 8x8"),
        ({"id2label": {"0": "a", "1": "b"}}, "id2label is of 2 entries, which"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is of 1 entries, expected {} or None"),
        ({"problem_type": "regression"}, "problem_type is 'regression'"),
        ({"norm_type": "rms"}, 'unknown field "norm_type", rms; if it changes nothing in the model, remove it'),
        ({"quantization_config": {"bits": 8}}, 'unknown field "quantization_config"'),
    ],
)
def test_what_transformers_states_and_a_vit_of_ours_has_not(hf_folder, config, expected):
    assert expected in refused(hf_folder(**config))


def test_an_unknown_field_of_our_own_metadata(tmp_path, tiny, perturbed):
    path = tmp_path / "model.safetensors"
    export(perturbed(tiny()), path, "timm")
    arrays, metadata = read_arrays(path)
    write_safetensors(path, arrays, {"minivit": json.dumps({**json.loads(metadata["minivit"]), "norm": "rms"})})
    assert 'its metadata have an unknown field "norm"' in refused(path)


def test_no_table_names_a_field_of_vitconfig_that_is_not_there():
    fields = {rule.field for table in (HF, TIMM, TIMM_ARGUMENTS) for rule in table.values() if hasattr(rule, "field")}
    assert fields <= {"heads", "norm_eps", "image_size", "gelu", "classifier", "no_embed_class"}


HALVES = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.mark.parametrize(
    ("values", "mean", "std", "resize"),
    [
        (HALVES, 0.5, 0.25, None),
        ({**HALVES, "do_normalize": False}, 0.0, 1.0, None),
        ({**HALVES, "do_rescale": False}, 0.5 / 255, 0.25 / 255, None),
        ({**HALVES, "rescale_factor": 2 / 255}, 0.25, 0.125, None),
        ({**HALVES, "do_normalize": False, "do_rescale": False}, 0.0, 1 / 255, None),
        ({**HALVES, "size": 10, "do_center_crop": True, "crop_size": {"height": 8, "width": 8}}, 0.5, 0.25, "crop"),
        ({**HALVES, "size": {"shortest_edge": 10}, "do_resize": False}, 0.5, 0.25, None),
    ],
)
def test_how_images_are_prepared_is_honoured(hf_folder, values, mean, std, resize):
    found = open_pretrained(hf_folder(preprocessor=values))
    np.testing.assert_allclose((found.mean[0], found.std[0]), (mean, std), rtol=1e-6)
    assert found.resize == resize
    for beside in hf_folder().glob("config.json"):
        beside.unlink()  # the preprocessor counts without it as well
    assert open_pretrained(hf_folder().joinpath("model.safetensors"), heads=2).mean == found.mean


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({**HALVES, "do_flip_channel_order": True}, "do_flip_channel_order is True"),
        ({**HALVES, "size": {"height": 16, "width": 16}}, "preprocessor_config.json: the image size is (16, 16)"),
        ({**HALVES, "do_center_crop": True, "crop_size": 4}, "the image size is 4, the arrays are for 8x8"),
        ({**HALVES, "gamma": 2.2}, 'unknown field "gamma"'),
    ],
)
def test_how_images_are_prepared_otherwise_is_refused(hf_folder, values, expected):
    assert expected in refused(hf_folder(preprocessor=values))


def test_timm_says_whether_images_are_cropped(timm_folder):
    assert open_pretrained(timm_folder(pretrained_cfg={"crop_mode": "squash"})).resize == "squash"
    assert open_pretrained(timm_folder(pretrained_cfg={"crop_mode": "center"})).resize is None


def test_several_classes_at_once(hf_folder):
    assert open_pretrained(hf_folder(problem_type="multi_label_classification")).loss == "sigmoid"
    assert open_pretrained(hf_folder()).loss == "softmax"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"image_mean": ["a"]}, "image_mean"),
        ({"image_mean": [0.5, 0.5, 0.5], "image_std": [0, 0, 0]}, "image_std"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"do_normalize": "no"}, "do_normalize"),
        ({"do_center_crop": "no"}, "do_center_crop"),
    ],
)
def test_a_preparation_that_makes_no_sense_is_not_dropped(hf_folder, values, expected):
    with pytest.raises(CheckpointError, match=f"preprocessor_config.json: {expected} is "):
        open_pretrained(hf_folder(preprocessor=values))


@pytest.mark.parametrize("field", ["mean", "std"])
def test_nor_is_timms(timm_folder, field):
    with pytest.raises(CheckpointError, match=f"config.json: {field} is "):
        open_pretrained(timm_folder(pretrained_cfg={field: ["a"]}))


@pytest.mark.parametrize("labels", [lambda k: {i + (i > 0): "x" for i in range(k)}, lambda k: 5, lambda k: "x" * k])
def test_labels_are_those_of_the_classes(hf_folder, labels):
    count = open_pretrained(hf_folder()).model.config.num_classes
    assert "id2label is" in refused(hf_folder(id2label=labels(count)))
