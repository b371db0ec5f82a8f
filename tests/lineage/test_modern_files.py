"""Files of published modern ViTs: their names, what they do not tell, what is refused."""

import json
import re

import numpy as np
import pytest
from modern_by_hand import BASE, ByHand, arrays
from recordings import write_case, wrong_arrays

from minivit.errors import CheckpointError
from minivit.lineage.recorded.modern import open_pretrained, recompute, views
from minivit.models.archive import write_safetensors

GAMMAS = {"gammas": ("gamma_1", "gamma_2")}
DINOV3 = {
    "use_rot_pos_emb": True, "rope_type": "dinov3", "rope_rotate_half": True, "rope_temperature": 100, **GAMMAS,
    "num_reg_tokens": 2, "global_pool": "token", "num_classes": 0, "eps": 1e-5, "img_size": [16, 16],
}  # fmt: skip
EVA = {
    "use_rot_pos_emb": True, "ref_feat_shape": [16, 16], "positions": "all", "qkv": "qv", "fc_norm": True,
    "img_size": [12, 12],
}  # fmt: skip
BEIT = {"use_rel_pos_bias": True, "qkv": "qv", "fc_norm": True, **GAMMAS, "img_size": [12, 12]}
ROPE_VIT = {"use_rot_pos_emb": True, "global_pool": "token", **GAMMAS, "img_size": [12, 12]}
MIXED = {**ROPE_VIT, "rope_type": "mixed", "rope_grid_indexing": "xy"}


def renamed(weights, *rules):
    found = {}
    for name, x in weights.items():
        for theirs, ours in rules:
            name = re.sub(theirs, ours, name)
        found[name] = x
    return found


def official_eva(weights):
    found = renamed(
        weights, (r"fc1_g", "w1"), (r"fc1_x", "w2"), (r"mlp\.fc2", "mlp.w3"), (r"mlp\.norm", "mlp.ffn_ln"),
        (r"attn\.norm", "attn.inner_attn_ln"), (r"([qv])_proj\.bias", r"\1_bias"),
    )  # fmt: skip
    return {**found, "rope.freqs_cos": np.ones((9, 8)), "blocks.0.attn.rope.freqs_sin": np.ones((9, 8))}


def official_dinov3(weights):
    found = renamed(weights, (r"reg_token", "storage_tokens"), (r"gamma_([12])", r"ls\1.gamma"))
    for name in [name for name in found if name.endswith("q_bias")]:
        key = name.replace("q_bias", "qkv.bias")
        q, v = found.pop(name), found.pop(name.replace("q_bias", "v_bias"))
        found[key] = np.concatenate([q, np.full_like(q, 9.0), v])  # what the mask takes away
        found[f"{key}_mask"] = np.zeros(len(q) * 3)
    return {**found, "mask_token": np.zeros((1, 16)), "rope_embed.periods": np.ones(2)}


def split(weights):
    """Queries, keys and values in matrices of their own."""
    found = {}
    for name, x in weights.items():
        if ".qkv." in name:
            thirds = zip("qkv", np.split(x, 3), strict=True)
            found |= {name.replace("qkv", f"{letter}_proj"): third for letter, third in thirds}
        else:
            found[re.sub(r"\.([qv])_bias", r".\1_proj.bias", name)] = x
    return found


def hub_dinov3(weights):
    return renamed(
        split(weights), (r"^cls_token", "embeddings.cls_token"), (r"^reg_token", "embeddings.register_tokens"),
        (r"^patch_embed\.proj", "embeddings.patch_embeddings"), (r"^blocks", "layer"),
        (r"attn\.proj", "attention.o_proj"), (r"\.attn\.", ".attention."),
        (r"gamma_([12])", r"layer_scale\1.lambda1"), (r"fc1_g", "gate_proj"),
        (r"fc1_x|fc1", "up_proj"), (r"fc2", "down_proj"),
    )  # fmt: skip


def hub_beit(weights):
    found = renamed(
        split(weights), (r"^cls_token", "beit.embeddings.cls_token"), (r"^blocks", "beit.encoder.layer"),
        (r"^patch_embed\.proj", "beit.embeddings.patch_embeddings.projection"), (r"norm1", "layernorm_before"),
        (r"norm2", "layernorm_after"), (r"attn\.proj", "attention.output.dense"),
        (r"attn\.q_proj", "attention.attention.query"), (r"attn\.k_proj", "attention.attention.key"),
        (r"attn\.v_proj", "attention.attention.value"),
        (r"attn\.(?=relative)", "attention.attention.relative_position_bias."), (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense"), (r"gamma_", "lambda_"), (r"^fc_norm", "beit.pooler.layernorm"),
        (r"^head", "classifier"), (r"^rel_pos_bias", "beit.encoder.relative_position_bias"),
    )  # fmt: skip
    index = "beit.encoder.layer.0.attention.attention.relative_position_bias.relative_position_index"
    return {**found, index: np.zeros((10, 10)), "beit.embeddings.mask_token": np.zeros((1, 1, 16))}


def hub_beit_of_version_5(weights):
    return renamed(
        hub_beit(weights), (r"attention\.attention\.(query|key|value)", r"attention.\1"), (r"query", "q_proj"),
        (r"key", "k_proj"), (r"value", "v_proj"), (r"attention\.output\.dense", "attention.o_proj"),
        (r"attention\.attention\.(?=relative)", ""), (r"encoder\.relative", "shared"), (r"encoder\.layer", "layers"),
        (r"intermediate\.dense", "mlp.fc1"), (r"output\.dense", "mlp.fc2"),
    )  # fmt: skip


def official_beit(weights):
    return {**weights, "blocks.0.attn.relative_position_index": np.zeros((10, 10))}


def official_mixed(weights):
    freqs = weights["rope.freqs"]
    found = {name: x for name, x in weights.items() if name != "rope.freqs"}
    return {**found, "freqs": freqs.reshape(2, len(freqs[0]), -1), "freqs_t_x": np.zeros(9), "freqs_t_y": np.zeros(9)}


FILES = {
    "timm, EVA-02 Tiny": ({**EVA, "gated": True}, dict),
    "timm, EVA-02 Base": ({**EVA, "qkv_fused": False, "split": True, "scale_mlp": True}, dict),
    "official, EVA-02 Base": ({**EVA, "qkv_fused": False, "split": True, "scale_mlp": True}, official_eva),
    "official, EVA-02 CLIP": (
        {**EVA, "qkv_fused": False, "split": True, "scale_mlp": True, "scale_attn_inner": True}, official_eva,
    ),
    "timm, DINOv3": ({**DINOV3, "qkv": "none"}, dict),
    "official, DINOv3": ({**DINOV3, "qkv": "qv"}, official_dinov3),
    "official, DINOv3 Plus": ({**DINOV3, "qkv": "qv", "split": True}, official_dinov3),
    "hub, DINOv3": ({**DINOV3, "qkv": "qv"}, hub_dinov3),
    "hub, DINOv3 Plus": ({**DINOV3, "qkv": "qv", "split": True}, hub_dinov3),
    "timm, BEiT": (BEIT, dict),
    "official, BEiT": (BEIT, official_beit),
    "hub, BEiT": (BEIT, hub_beit),
    "hub, BEiT, one table": ({**BEIT, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, hub_beit),
    "hub 5, BEiT": (BEIT, hub_beit_of_version_5),
    "hub 5, BEiT, one table": (
        {**BEIT, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, hub_beit_of_version_5,
    ),
    "timm, axial RoPE with registers, no [class]": (
        {"use_rot_pos_emb": True, "ref_feat_shape": [16, 16], **GAMMAS, "class_token": False, "num_reg_tokens": 1,
         "fc_norm": True, "img_size": [12, 12]}, dict,
    ),
    "timm, RoPE-ViT": ({**ROPE_VIT, "rope_grid_indexing": "xy", "rope_temperature": 100.0}, dict),
    "timm, RoPE-ViT mixed": (MIXED, dict),
    "official, RoPE-ViT mixed": (MIXED, official_mixed),
    "timm, vit_relpos": ({"rel_pos_type": "mlp", "class_token": False, "qkv": "none", "img_size": [12, 12]}, dict),
}  # fmt: skip


def written(folder, config, dialect, seed=0):
    weights = arrays(config, np.random.default_rng(seed))
    write_safetensors(folder / "model.safetensors", dialect(weights), {})
    return folder / "model.safetensors", weights


def agrees(model, config, weights):
    """Whether it answers as the slow implementation."""
    shape = 2, BASE["in_chans"], *config["img_size"]
    image = np.random.default_rng(3).normal(size=shape)
    slow = ByHand({**BASE, **config}, weights, image, cotangent=0)
    return np.allclose(model(np.moveaxis(image, 1, -1)).data, slow.output, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("config", "dialect"), FILES.values(), ids=FILES)
def test_a_file_is_read_under_all_its_names(tmp_path, config, dialect):
    path, weights = written(tmp_path, {**BASE, **config}, dialect)
    has_table = config.get("positions") or "use_rel_pos_bias" in config  # which tells the grid, if it is a square
    told = {"num_heads": 2} if has_table else {"num_heads": 2, "img_size": config["img_size"]}
    model = open_pretrained(path, "float64", **told)
    assert agrees(model, config, weights)
    again = views({name: tensor.data for name, tensor in model.named_tensors()}, model.config, weights)
    assert all(np.array_equal(again[name], x) for name, x in weights.items())


@pytest.mark.parametrize("name", [
    "official, EVA-02 CLIP", "hub, DINOv3", "hub, DINOv3 Plus", "hub, BEiT", "hub 5, BEiT",
])  # fmt: skip
def test_a_recording_may_have_the_names_of_its_publisher(tmp_path, name):
    config, dialect = {**BASE, **FILES[name][0]}, FILES[name][1]
    rng = np.random.default_rng(0)
    weights = arrays(config, rng)
    shape = 2, config["in_chans"], *config["img_size"]
    given = {"image": rng.normal(size=shape), "cotangent": rng.normal(size=(2, config["num_classes"] or 16))}
    stored = {key: x for key, x in config.items() if key not in ("inner", "eps")}
    found = recompute(write_case(tmp_path, "modern", {**stored, "norm_layer": f"eps={config['eps']}"}, weights, given))
    gradients = dialect({key: found[f"grad/{key}"] for key in weights})
    learned = {f"grad/{k}": x for k, x in gradients.items() if not re.search("freqs_|index$|mask_token$", k)}
    hub = {"hidden_size": 16, "num_attention_heads": 2, "layer_norm_eps": config["eps"], "image_size": shape[2]}
    taps = {"tap/layer.0.attention" if "DINO" in name else "tap/blocks.0.attn": found["tap/blocks.0.attn"]}
    told = hub if name.startswith("hub") else {"num_heads": 2}
    others = {key: found[key] for key in ("loss", "grad_input/image")}
    case = write_case(tmp_path, "modern", told, dialect(weights), {**given, **learned, **taps, **others})
    assert len(case.arrays) > 30
    assert wrong_arrays(case) == []


def test_a_config_beside_the_file_is_believed(tmp_path):
    config = {**ROPE_VIT, "rope_grid_indexing": "xy", "rope_temperature": 100.0, "positions": "patches"}
    path, weights = written(tmp_path, {**BASE, **config}, dict)
    assert open_pretrained(path, num_heads=2).config.rope == "none"  # the arrays are those of DeiT III
    beside = {"architecture": "vit_small_patch16_rope_ape_224", "global_pool": "token", "model_args": {"num_heads": 2}}
    (tmp_path / "config.json").write_text(json.dumps(beside), encoding="utf-8")
    assert agrees(open_pretrained(path, "float64"), config, weights)

    config = {**DINOV3, "qkv": "qv", "eps": 1e-3, "rope_temperature": 50.0}
    path, weights = written(tmp_path, {**BASE, **config}, hub_dinov3)
    hub = {"model_type": "dinov3_vit", "num_attention_heads": 2, "image_size": 16, "layer_norm_eps": 1e-3}
    (tmp_path / "config.json").write_text(json.dumps({**hub, "rope_theta": 50.0}), encoding="utf-8")
    assert agrees(open_pretrained(path, "float64"), config, weights)

    path, weights = written(tmp_path, {**BASE, **BEIT}, hub_beit)
    hub = {"model_type": "beit", "num_attention_heads": 2, "image_size": 12}
    (tmp_path / "config.json").write_text(json.dumps(hub), encoding="utf-8")
    model = open_pretrained(path, "float64")
    assert (model.config.norm_eps, model.config.classifier) == (1e-12, "gap")
    assert agrees(model, {**BEIT, "eps": 1e-12}, weights)

    path, weights = written(tmp_path, {**BASE, **BEIT}, dict)
    for name in ("beitv2_base_patch16_224", "beit_base_patch16_224"):  # any name, if the arrays tell the rest
        told = {"architecture": name, "model_args": {"num_heads": 2, "img_size": 12}}
        (tmp_path / "config.json").write_text(json.dumps(told), encoding="utf-8")
        assert agrees(open_pretrained(path, "float64"), BEIT, weights)
    for told in ({"architecture": "vit_relpos_base_patch16_rpn_224"}, {"model_args": {"use_post_norm": True}}):
        (tmp_path / "config.json").write_text(json.dumps(told), encoding="utf-8")
        with pytest.raises(CheckpointError, match="not known here"):
            open_pretrained(path)

    (tmp_path / "config.json").write_text('{"model_type": "swin"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="expected the configuration of timm, of a beit or of a dinov3_vit"):
        open_pretrained(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm1": None}, "missing: blocks.0.norm1"),
        ({"decoder.weight": np.zeros(3)}, "unexpected: decoder.weight"),
        ({"blocks.0.attn.proj.bias": np.zeros(3)}, r"wrong shape: blocks.0.attn.proj.bias \(3,\)"),
        ({"storage_tokens": np.zeros((1, 2, 16)), "reg_token": np.zeros((1, 2, 16))}, "two arrays for one place"),
        ({"patch_embed.proj.weight": None}, "has no patch_embed.proj.weight with 4 axes"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, change, message):
    weights = arrays({**BASE, **BEIT}, np.random.default_rng(0))
    changed = {name: x for name, x in {**weights, **change}.items() if x is not None}
    if "norm1" in change:
        changed = {name: x for name, x in changed.items() if not name.startswith("blocks.0.norm1.w")}
    write_safetensors(tmp_path / "model.safetensors", changed, {})
    with pytest.raises(CheckpointError, match=message) as caught:
        open_pretrained(tmp_path / "model.safetensors", num_heads=2)
    assert "\n" not in str(caught.value)


def test_a_gate_at_the_end_and_other_activations_are_refused(tmp_path):
    path, _ = written(tmp_path, {**BASE, "gated": True, "class_token": False}, dict)
    with pytest.raises(CheckpointError, match="the gate of its MLP comes last"):
        open_pretrained(path, num_heads=2, mlp_layer="GluMlp", img_size=[8, 12])
    path, _ = written(tmp_path, {**BASE, "class_token": False}, dict)
    with pytest.raises(CheckpointError, match="with SiLU is not known"):
        open_pretrained(path, num_heads=2, act_layer="SiLU", img_size=[8, 12])
