"""Weights and logits of timm and transformers themselves, recorded, and the dialects of the released layout."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from minivit import functional as F
from minivit.errors import CheckpointError
from minivit.models import ViT, ViTConfig, export, load_pretrained, open_pretrained
from minivit.models.archive import read_arrays, write_safetensors
from minivit.tensor import grad

# file: what it does not tell
RECORDED = {
    "timm_token": {"heads": 2},
    "timm_token_float16": {"heads": 2},
    "timm_token_bfloat16": {"heads": 2},
    "timm_avg": {"heads": 2},
    "timm_avg_norm_first": {"heads": 2},
    "timm_no_class": {"heads": 2},
    "timm_reg_ls": {"heads": 2},
    "timm_reg_all_embedded": {"heads": 2},
    "timm_reg_avg": {"heads": 2},
    "timm_deit3": {"heads": 2},
    "timm_no_qkv_bias": {"heads": 2},
    "timm_headless": {"heads": 2},
    "timm_distilled": {"heads": 2},
    "timm_rect": {"heads": 2, "image_size": (8, 12)},
    "timm_no_pos": {"heads": 2, "image_size": 8},
    "timm_tanh_eps": {"heads": 2, "gelu": "tanh", "norm_eps": 1e-5},
    "timm_vit_token": {"heads": 3},
    "hf_cls": {},
    "hf_cls_v5": {"heads": 2},
    "hf_model": {},
    "hf_options": {},
    "hf_deit": {},
    "hf_vit_cls": {},
}

# What their keys, shapes and config.json say.
CONFIGS = {
    "timm_avg": {"classifier": "gap", "class_token": True, "fc_norm": True},
    "timm_avg_norm_first": {"classifier": "gap"},
    "timm_no_class": {"classifier": "gap", "fc_norm": True},
    "timm_reg_ls": {"register_tokens": 4, "layer_scale": 1e-5, "no_embed_class": True},
    "timm_reg_all_embedded": {"register_tokens": 2},
    "timm_deit3": {"layer_scale": 1e-5, "no_embed_class": True},
    "timm_no_qkv_bias": {"qkv_bias": False},
    "timm_headless": {"num_classes": 0},
    "timm_distilled": {"distillation_token": True},
    "timm_token": {},
    "hf_cls": {"norm_eps": 1e-12},
    "hf_model": {"norm_eps": 1e-12, "representation_size": 7, "num_classes": 0},
    "hf_options": {"heads": 4, "gelu": "tanh", "qkv_bias": False},
    "hf_deit": {"norm_eps": 1e-12, "distillation_token": True},
}


@pytest.fixture
def recorded(vectors, vector_path):
    """recorded("timm_token"): the path of its weights, and its arrays x, logits, ... by name."""
    io = vectors("published/io")

    def get(name):
        arrays = {key.partition("/")[2]: a for key, a in io.items() if key.startswith(f"{name}/")}
        if name == "hf_cls_v5":
            arrays = get("hf_cls")[1]
        if name.startswith("timm_token_"):
            arrays["x"] = io["timm_token/x"]
        return vector_path(f"published/{name}.safetensors"), arrays

    return get


def assert_logits(model, x, logits, tolerance=1e-9):
    np.testing.assert_allclose(model.eval()(x).data, logits, rtol=0, atol=tolerance * abs(logits).max())


@pytest.mark.parametrize("name", RECORDED)
def test_logits_of_the_other_libraries(recorded, name):
    path, arrays = recorded(name)
    assert_logits(load_pretrained(path, dtype="float64", **RECORDED[name]), arrays["x"], arrays["logits"])
    assert_logits(load_pretrained(path, **RECORDED[name]), arrays["x"], arrays["logits"], 1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configuration_is_read_from_the_file(recorded, name):
    expected = ViTConfig(image_size=8, patch_size=2, width=8, depth=2, heads=2, mlp_width=12, num_classes=5, gelu="erf")
    config = load_pretrained(recorded(name)[0], **RECORDED[name]).config
    assert config == dataclasses.replace(expected, **CONFIGS[name])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("timm_reg_ls", {"no_embed_class": False}),
        ("timm_avg", {"fc_norm": False}),
        ("timm_token", {"classifier": "gap"}),
        ("timm_token", {"heads": 4}),
        ("hf_cls", {"gelu": "tanh"}),
    ],
)
def test_the_records_tell_other_conventions_apart(recorded, name, change):
    path, arrays = recorded(name)
    model = load_pretrained(path, dtype="float64", **RECORDED[name]).eval()
    try:
        other = ViT(dataclasses.replace(model.config, **change), dtype="float64").eval()
        other.load_state_dict(model.state_dict())
    except CheckpointError:
        return  # it does not even fit
    assert abs(other(arrays["x"]).data - arrays["logits"]).max() > 1e-5


@pytest.mark.parametrize(
    ("name", "which", "size", "tolerance"),
    [
        ("hf_cls", "_large", (12, 10), 1e-9),
        ("hf_vit_cls", "_large", 48, 1e-9),
        ("timm_reg_ls", "_large", (12, 10), 1e-7),  # timm resizes in float32
        ("timm_reg_ls", "_small", (6, 4), 1e-7),
    ],
)
def test_positions_are_resized_as_the_other_library_does(recorded, name, which, size, tolerance):
    path, arrays = recorded(name)
    found = open_pretrained(path, dtype="float64", image_size=size, **RECORDED[name])
    assert_logits(found.model, arrays[f"x{which}"], arrays[f"logits{which}"], tolerance)
    assert len(found.resized) == 1
    assert "position" in found.resized[0] or "pos_embed" in found.resized[0]
    other = open_pretrained(path, dtype="float64", image_size=size, resize_method="align_corners", **RECORDED[name])
    assert abs(other.model.eval()(arrays[f"x{which}"]).data - arrays[f"logits{which}"]).max() > 1e-3
    assert open_pretrained(path, **RECORDED[name]).resized == []


@pytest.mark.parametrize("name", ["timm_distilled", "timm_reg_ls", "timm_avg"])
def test_all_ways_through_the_model_agree(recorded, name):
    """With a tap, which computes all rows of the last block, and with blocks computed again for the gradients."""
    path, arrays = recorded(name)
    model = load_pretrained(path, dtype="float64", **RECORDED[name]).eval()
    np.testing.assert_allclose(model(arrays["x"], tap={}).data, arrays["logits"], rtol=0, atol=1e-9)
    loss = F.cross_entropy(model(arrays["x"]), np.array([1, 4]))
    model.recompute_blocks = True
    again = F.cross_entropy(model(arrays["x"]), np.array([1, 4]))
    for g, h in zip(grad(loss, model.parameters()), grad(again, model.parameters()), strict=True):
        np.testing.assert_allclose(g, h, rtol=1e-9, atol=1e-12)


# Dialects of the released layout: the same logits


def renamed(arrays, *pairs):
    for old, new in pairs:
        arrays = {name.replace(old, new): array for name, array in arrays.items()}
    return arrays


LINEN = (
    ("MultiHeadDotProductAttention_1/", "MultiHeadDotProductAttention_0/"),
    ("LayerNorm_2/", "LayerNorm_1/"),
    ("MlpBlock_3/", "MlpBlock_0/"),
)
POSITION = "Transformer/posembed_input/pos_embedding"


def linen(arrays):
    return renamed(arrays, *LINEN)


def patches_alone(arrays):
    """A table of N rows: the first row, that of the [class] token, added to the token."""
    table = arrays[POSITION]
    changed = {**arrays, "cls": arrays["cls"] + table[:, :1], "pos_embedding": table[:, 1:]}
    del changed[POSITION]
    return changed


def prefixed(prefix):
    return lambda arrays: {prefix + name: array for name, array in arrays.items()}


def stacked(arrays):
    """All blocks as one, along a leading axis."""
    block = "Transformer/encoderblock_0/"
    inner = [name.removeprefix(block) for name in arrays if name.startswith(block)]
    rest = {name: array for name, array in arrays.items() if "encoderblock" not in name}
    layers = {name: [arrays[f"Transformer/encoderblock_{i}/{name}"] for i in range(3)] for name in inner}
    return rest | {f"Transformer/encoderblock/{name}": np.stack(parts) for name, parts in layers.items()}


def bfloat16(arrays):
    """As numpy.savez stores bfloat16: two bytes of no type."""
    return {name: (a.view(np.uint32) >> 16).astype(np.uint16).view("V2") for name, a in arrays.items()}


DIALECTS = {
    "linen": [linen],
    "params": [linen, prefixed("params/")],
    "opt/target": [prefixed("opt/target/")],
    "with the optimizer": [prefixed("opt/target/"), lambda a: {**a, "opt/state/step": np.array(3)}],
    "with moments of the parameters": [
        prefixed("params/"),
        lambda arrays: {**{f"opt/{name}": array * 0 for name, array in arrays.items()}, **arrays},
    ],
    "big_vision": [linen, patches_alone, prefixed("params/")],
    "scan": [linen, patches_alone, stacked, prefixed("params/")],
    "scan of old names": [stacked],
    "float64": [lambda arrays: {name: array.astype("f8") for name, array in arrays.items()}],
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_of_the_released_layout(tmp_path, vectors, dialect):
    arrays = vectors("vit_tok.ckpt")
    for change in DIALECTS[dialect]:
        arrays = change(arrays)
    np.savez(tmp_path / "model.npz", **arrays)
    io = vectors("vit_tok.io")
    model = load_pretrained(tmp_path / "model.npz", dtype="float64")
    tolerance = 1e-6 if any(change is patches_alone for change in DIALECTS[dialect]) else 1e-9  # a float32 sum
    assert_logits(model, io["x"], io["logits"], tolerance)
    assert model.config.no_embed_class == (tolerance == 1e-6)


def test_bfloat16_in_npz(tmp_path, vectors):
    arrays = vectors("vit_tok.ckpt")
    np.savez(tmp_path / "model.npz", **bfloat16(arrays))
    rounded = {name: (a.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, a in arrays.items()}
    np.savez(tmp_path / "rounded.npz", **rounded)
    one, two = (load_pretrained(tmp_path / name).state_dict() for name in ("model.npz", "rounded.npz"))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_a_fixed_position_table_is_not_guessed(tmp_path, vectors):
    arrays = {name: array for name, array in linen(vectors("vit_tok.ckpt")).items() if name not in (POSITION, "cls")}
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(CheckpointError, match='no position table: pass position="sincos2d"'):
        load_pretrained(tmp_path / "model.npz", image_size=32)
    model = load_pretrained(tmp_path / "model.npz", image_size=32, position="sincos2d")
    assert (model.config.classifier, model.config.position, model.config.grid) == ("gap", "sincos2d", (8, 8))


def test_one_place_named_twice(tmp_path, vectors):
    arrays = vectors("vit_tok.ckpt")
    np.savez(tmp_path / "model.npz", **{**arrays, **linen(arrays)})
    with pytest.raises(CheckpointError, match="holds two arrays for one place"):
        load_pretrained(tmp_path / "model.npz")


def test_a_grid_with_a_class_token_that_could_be_a_square_without(tmp_path, tiny, perturbed):
    """3 x 5 patches and a [class] token have 16 positions, as 4 x 4 patches alone."""
    model = perturbed(tiny(image_size=(6, 20)))
    export(model, tmp_path / "model.npz")
    assert load_pretrained(tmp_path / "model.npz", image_size=(6, 20)).config == model.config


def test_registers_make_a_table_of_patches_alone_the_likelier_one(tmp_path, tiny, perturbed):
    """9 positions are 3 x 3 patches, or 2 x 2 with a [class] token and four registers."""
    fields = {"register_tokens": 4, "patch_size": 2, "gelu": "erf"}
    path = tmp_path / "model.safetensors"
    for config in (tiny(image_size=6, no_embed_class=True, **fields), tiny(image_size=4, **fields)):
        export(perturbed(config), path, "timm")
        write_safetensors(path, read_arrays(path)[0], {})  # without what we say of it
        asked = {} if config.no_embed_class else {"no_embed_class": False}
        assert load_pretrained(path, heads=2, **asked).config == config


# Writing: what each layout can express, and back


FIELDS = {"image_size": 8, "patch_size": 2, "gelu": "erf", "qkv_bias": False, "norm_eps": 1e-5}
EXPORTS = [
    ("timm", {}),
    ("timm", {**FIELDS, "classifier": "gap"}),
    ("timm", {**FIELDS, "classifier": "gap", "class_token": True, "fc_norm": True, "register_tokens": 2}),
    ("timm", {**FIELDS, "classifier": "gap", "class_token": True}),
    ("timm", {**FIELDS, "fc_norm": True}),
    ("timm", {**FIELDS, "register_tokens": 5, "layer_scale": 0.1, "no_embed_class": True}),
    ("timm", {**FIELDS, "register_tokens": 5}),
    ("timm", {**FIELDS, "distillation_token": True, "heads": 4, "depth": 11}),
    ("timm", {"num_classes": 0, "position": "none"}),
    ("timm", {**FIELDS, "no_embed_class": True, "classifier": "gap"}),
    ("timm", {**FIELDS, "no_embed_class": True, "position": "none"}),
    ("hf", {"gelu": "erf", "norm_eps": 1e-12}),
    ("hf", {**FIELDS, "gelu": "tanh", "heads": 4, "depth": 11}),
    ("hf", {"representation_size": 5, "num_classes": 0}),
    ("hf", {"num_classes": 0}),
]


@pytest.mark.parametrize(("layout", "changes"), EXPORTS)
def test_export_and_load_are_exact(tmp_path, tiny, perturbed, images, layout, changes):
    model = perturbed(tiny(**changes))
    path = tmp_path / "model.safetensors"
    export(model, path, layout)
    again = load_pretrained(path, dtype="float64")
    assert again.config == model.config
    one, two = again.state_dict(), model.state_dict()
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    x = images(model.config)
    assert again.eval()(x).data.tobytes() == model.eval()(x).data.tobytes()
    export(again, path, layout)  # a config.json that says the same is no obstacle
    assert {p.name for p in tmp_path.iterdir()} <= {"model.safetensors", "config.json"}


def test_the_safetensors_package_reads_what_we_write(tmp_path, tiny, perturbed):
    from safetensors.numpy import load_file

    path = tmp_path / "model.safetensors"
    export(perturbed(tiny()), path, "timm")
    ours, theirs = read_arrays(path)[0], load_file(path)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert ours["blocks.0.mlp.fc1.weight"].shape == (10, 8)


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        ("timm", {"position": "learned2d"}),
        ("timm", {"representation_size": 5}),
        ("hf", {"classifier": "gap"}),
        ("hf", {"register_tokens": 1}),
        ("hf", {"distillation_token": True}),
        ("hf", {"fc_norm": True}),
        ("hf", {"layer_scale": 0.1}),
        ("hf", {"no_embed_class": True}),
        ("official", {"register_tokens": 1}),
        ("official", {"qkv_bias": False}),
        ("official", {"class_token": True, "classifier": "gap"}),
        ("official", {"fc_norm": True}),
        ("official", {"layer_scale": 0.1}),
        ("official", {"no_embed_class": True}),
        ("official", {"distillation_token": True}),
    ],
)
def test_what_a_layout_cannot_express(tmp_path, tiny, layout, changes):
    with pytest.raises(ValueError, match=f"the {layout} layout cannot express {next(iter(changes))}="):
        export(ViT(tiny(**changes)), tmp_path / "model", layout)
    assert list(tmp_path.iterdir()) == []


def test_two_heads_are_too_many_for_hugging_face(tmp_path, tiny):
    with pytest.raises(ValueError, match="representation_size together with num_classes"):
        export(ViT(tiny(representation_size=5)), tmp_path / "model.safetensors", "hf")
    assert list(tmp_path.iterdir()) == []


def test_another_models_config_is_not_overwritten(tmp_path, tiny):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json already exists and belongs to another model"):
        export(ViT(tiny()), tmp_path / "model.safetensors", "hf")
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


# What does not fit, and what lies beside


def test_the_four_lists(tmp_path, recorded):
    arrays, metadata = read_arrays(recorded("timm_token")[0])
    arrays["surplus"] = arrays.pop("norm.bias")
    arrays["head.weight"] = arrays["head.weight"].T.copy()
    write_safetensors(tmp_path / "model.safetensors", arrays, metadata)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(tmp_path / "model.safetensors", heads=2, image_size=16)
    assert str(caught.value).endswith(
        "does not fit the model: missing: norm.bias; unexpected: surplus; wrong shape: head.weight (8, 5), expected "
        "(5, 8); resized: pos_embed from 4 x 4 to 8 x 8 (bicubic_antialias)"
    )


def test_the_number_of_heads_must_come_from_somewhere(recorded):
    with pytest.raises(CheckpointError, match="does not say how many heads share its 8 features; pass heads"):
        load_pretrained(recorded("timm_token")[0])


def test_a_published_width_tells_the_number_of_heads(tmp_path):
    model = ViT(ViTConfig(image_size=8, patch_size=4, width=192, depth=1, heads=3, mlp_width=8, num_classes=2))
    path = tmp_path / "model.safetensors"
    export(model, path, "timm")
    write_safetensors(path, read_arrays(path)[0], {})
    assert load_pretrained(path).config.heads == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": "2"}, "heads is '2'"),
        ({"num_attention_heads": True}, "heads is True"),
        ({"num_attention_heads": 3}, "3 heads do not divide width 8"),
        ({"num_attention_heads": 0}, "heads is 0, expected at least 1"),
        ({"layer_norm_eps": -1.0}, "norm_eps is -1.0"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"pooler_act": "gelu"}, "pooler_act is 'gelu'"),
        ({"image_size": [8, "x"]}, "image_size is"),
    ],
)
def test_a_config_json_that_is_wrong(tmp_path, recorded, changes, message):
    path = recorded("hf_cls")[0]
    shutil.copy(path, tmp_path / "model.safetensors")
    values = json.loads(path.with_name("hf_cls.config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**values, **changes}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_pretrained(tmp_path / "model.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"model_type": "vit", "image_size": 1e999}', "\xff"])
def test_a_config_json_that_is_none(tmp_path, recorded, text):
    shutil.copy(recorded("hf_cls")[0], tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        load_pretrained(tmp_path / "model.safetensors")
    assert "\n" not in str(caught.value)


def test_the_config_of_another_kind_of_model_is_not_looked_at(tmp_path, recorded):
    path, arrays = recorded("hf_cls")
    shutil.copy(path, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model": {"width": 3}, "num_attention_heads": 4}', encoding="utf-8")
    model = load_pretrained(tmp_path / "model.safetensors", heads=2, dtype="float64")
    assert_logits(model, arrays["x"], arrays["logits"])


def test_normalisation_and_class_names_from_beside(tmp_path, recorded):
    path = recorded("hf_cls")[0]
    shutil.copy(path, tmp_path / "model.safetensors")
    values = json.loads(path.with_name("hf_cls.config.json").read_text(encoding="utf-8"))
    values["id2label"] = {"1": "b", "0": "a\x1b[31m", "4": "e", "2": "c", "3": "d"}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}', encoding="utf-8"
    )
    found = open_pretrained(tmp_path / "model.safetensors")
    assert (found.layout, found.mean, found.std) == ("hf", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert found.classes == ["a\\x1b[31m", "b", "c", "d", "e"]
    for mean, std in (([10**400], [1e-320]), ([float("nan")], [0]), ([True], ["1"]), ([1e300], [-1]), ("0.5", 0.5)):
        (tmp_path / "preprocessor_config.json").write_text(
            json.dumps({"image_mean": mean, "image_std": std}), encoding="utf-8"
        )
        with pytest.raises(CheckpointError, match="image_mean is "):
            open_pretrained(tmp_path / "model.safetensors")
    values["id2label"]["9" * 5000] = values["id2label"].pop("4")
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CheckpointError, match="id2label is "):
        open_pretrained(tmp_path / "model.safetensors")
    timm = {"architecture": "vit_x", "global_pool": "token", "pretrained_cfg": {"mean": [0.1], "std": [0.2]}}
    shutil.copy(recorded("timm_token")[0], tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**timm, "model_args": {"num_heads": 2}}), encoding="utf-8")
    found = open_pretrained(tmp_path / "model.safetensors")
    assert (found.model.config.heads, found.mean, found.std, found.classes) == (2, (0.1,), (0.2,), None)
