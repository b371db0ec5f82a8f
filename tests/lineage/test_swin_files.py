"""Files of Swin's published weights: of timm, transformers and the official code, and what is no such file."""

import json
import subprocess
import sys

import numpy as np
import pytest
from swin_by_hand import SIZES, arrays, in_hub_names, in_timm_names, logits

from minivit.errors import CheckpointError, ConfigError
from minivit.lineage.recorded import swin as recorded
from minivit.lineage.swin import Swin, SwinConfig
from minivit.models.archive import write_safetensors
from minivit.models.families import build, config_of, named_fields
from minivit.runs import recipes

TABLES = [(4, 4), (4, 4)]
IMAGES = np.random.default_rng(1).standard_normal((1, 2, 20, 28))
# as timm and transformers write them beside the weights
TIMM = {
    "architecture": "swin_tiny_patch4_window7_224", "num_classes": 3, "model_args": {"window_size": 4},
    "pretrained_cfg": {"input_size": [2, 20, 28], "fixed_input_size": True, "classifier": "head.fc"},
}  # fmt: skip
HUB = {
    **SIZES, "model_type": "swin", "architectures": ["SwinForImageClassification"], "hidden_act": "gelu",
    "layer_norm_eps": 1e-5, "drop_path_rate": 0.1, "num_layers": 2, "id2label": {"0": "a", "1": "b", "2": "c"},
}  # fmt: skip


def weights():
    return arrays(SIZES, np.random.default_rng(0), TABLES)


def written(folder, named, beside=None):
    write_safetensors(folder / "model.safetensors", named, {"format": "pt"})
    if beside:
        (folder / "config.json").write_text(json.dumps(beside), encoding="utf-8")
    return folder / "model.safetensors"


def constants():
    """What the official code stores beside the weights."""
    found = {f"layers.{i}.blocks.{j}.attn.relative_position_index": np.zeros((16, 16)) for i in (0, 1) for j in (0, 1)}
    return found | {"layers.0.blocks.1.attn_mask": np.zeros((12, 16, 16))}


@pytest.mark.parametrize("code", ["timm", "hf 4", "hf 5", "official"])
def test_files_of_every_code_load(tmp_path, code):
    w = weights()
    named, beside = {
        "timm": (in_timm_names(w), TIMM),
        "hf 4": (in_hub_names(w, 4), HUB),
        "hf 5": (in_hub_names(w, 5), HUB),
        "official": ({**w, **constants()}, None),
    }[code]
    told = {} if beside else {"image_size": (20, 28)}
    model = recorded.load(written(tmp_path, named, beside), "float64", **told)
    assert model.config == SwinConfig(
        image_size=(20, 28), patch_size=2, width=4, depths=(2, 2), heads=(2, 1), window=4, mlp_ratio=2.0, num_classes=3,
        channels=2, padding=code.split()[0],
    )  # fmt: skip
    found = model(np.moveaxis(IMAGES, 1, -1)).data
    assert np.allclose(found, logits(w, SIZES, IMAGES, code.split()[0]), rtol=0, atol=1e-12)


def test_a_file_without_a_head_gives_features(tmp_path):
    named = {name: x for name, x in in_timm_names(weights()).items() if not name.startswith("head")}
    model = recorded.load(written(tmp_path, named, TIMM))
    assert model.config.num_classes == 0
    assert model(np.moveaxis(IMAGES, 1, -1)).shape == (1, 8)
    assert model.first_array().dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.bias": None}, "missing: norm.bias"),
        ({"head.fc.extra": np.zeros(3)}, "unexpected: head.extra"),
        ({"layers.1.downsample.norm.bias": np.zeros(3)}, r"wrong shape: layers.0.downsample.norm.bias \(3,\)"),
        ({"patch_embed.proj.weight": None}, "no patch_embed.proj.weight"),
        ({"layers.0.blocks.0.attn.relative_position_bias_table": None}, "relative_position_bias_table"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, change, message):
    named = {name: x for name, x in {**in_timm_names(weights()), **change}.items() if x is not None}
    with pytest.raises(CheckpointError, match=message) as caught:
        recorded.load(written(tmp_path, named, TIMM))
    assert "\n" not in str(caught.value)


def test_a_config_of_another_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="expected the configuration of a swin"):
        recorded.load(written(tmp_path, in_hub_names(weights(), 5), {**HUB, "model_type": "vit"}))


def test_timm_may_leave_its_nested_fields_empty(tmp_path):
    path = written(tmp_path, in_timm_names(weights()), {**TIMM, "model_args": None, "pretrained_cfg": None})
    assert recorded.load(path, window=4, image_size=(20, 28)).config.window == (4, 4)


def test_swin_is_a_family_of_models():
    fields = named_fields("swin-mini")
    config = config_of({**fields, "image_size": 32, "num_classes": 10}, "test")
    assert (config.grids, config.width, config.window) == ([(16, 16), (8, 8), (4, 4)], 48, (4, 4))
    assert isinstance(build(config, None), Swin)
    recipe = recipes.Recipe(model=config)
    assert recipes.from_mapping(json.loads(recipes.to_json(recipe)), "test") == recipe
    with pytest.raises(ConfigError, match=r'unknown model "swin-x"; did you mean .*known: swin-t, swin-s'):
        named_fields("swin-x")


def test_families_of_the_lineage_are_imported_on_use():
    code = (
        "import sys, minivit, minivit.lineage\n"
        "from minivit.models.families import ViTConfig, mapping, named_fields\n"
        "mapping(ViTConfig()), named_fields('B/16')\n"
        "early = [name for name in sys.modules if name in ('minivit.lineage.swin', 'minivit.lineage.hiera')]\n"
        "named_fields('swin-t')\n"
        "print(early, 'minivit.lineage.swin' in sys.modules, 'minivit.lineage.hiera' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[] True False"
