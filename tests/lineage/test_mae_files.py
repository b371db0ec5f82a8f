"""Published weights of masked autoencoders: their names, their sizes, what is refused."""

import json
import re

import numpy as np
import pytest
from mae_by_hand import SIZES, arrays, in_hub_names

from minivit.errors import CheckpointError
from minivit.lineage.mae import MAE, MAEConfig
from minivit.lineage.recorded import mae as recorded
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_safetensors


def dialects(weights):
    """Names as Hugging Face's files have them, as its version 5 writes them, and as it holds them."""
    hub = in_hub_names(weights)
    held = {r"^vit\.encoder\.layer": "vit.layers", r"attention\.output\.dense": "attention.o_proj"}
    held |= {rf"attention\.attention\.{name}": f"attention.{name[0]}_proj" for name in ("query", "key", "value")}
    held |= {r"\.intermediate\.dense": ".mlp.fc1", r"(\d)\.output\.dense": r"\1.mlp.fc2"}
    in_memory = {}
    for name, x in hub.items():
        for old, new in held.items():
            name = re.sub(old, new, name)
        in_memory[name] = x
    written = {name.replace("decoder.decoder_layers.", "decoder.decoder_encoder.layer."): x for name, x in hub.items()}
    bare = {name.removeprefix("vit."): x for name, x in hub.items()}
    wrapped = {f"model.{name}": x for name, x in weights.items()}
    return {"official": weights, "hub": hub, "version 5": written, "held": in_memory, "bare": bare, "wrapped": wrapped}


@pytest.mark.parametrize("dialect", ["official", "hub", "version 5", "held", "bare", "wrapped"])
def test_a_pretraining_file_is_read_under_all_its_names(tmp_path, dialect):
    weights = arrays(SIZES, np.random.default_rng(0))
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, dialects(weights)[dialect], {})
    heads = {"num_attention_heads": 2, "decoder_num_attention_heads": 2}
    objective = recorded.open_pretrained(path, "float64", **heads)
    assert objective.config == MAEConfig(0.75, width=8, depth=1, heads=2, mlp_width=12)
    assert objective.encoder.config == ViTConfig(
        12, 4, width=16, depth=2, heads=2, mlp_width=20, num_classes=0, gelu="erf"
    )
    found = recorded.views({n: t.data for n, t in objective.named_tensors()}, objective.encoder.config)
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], x) for name, x in weights.items())
    assert not any("position" in name for name, _ in objective.named_parameters())


def test_a_config_beside_the_file_is_believed(tmp_path):
    config = {**SIZES, "num_attention_heads": 4, "image_size": [12, 6], "patch_size": [3, 2], "layer_norm_eps": 1e-5}
    write_safetensors(tmp_path / "model.safetensors", in_hub_names(arrays(config, np.random.default_rng(0))), {})
    beside = tmp_path / "config.json"
    beside.write_text(json.dumps({**config, "model_type": "vit_mae", "norm_pix_loss": False}), encoding="utf-8")
    objective = recorded.open_pretrained(tmp_path / "model.safetensors", mask_ratio=0.5)
    encoder = objective.encoder.config
    assert (encoder.grid, encoder.heads, encoder.norm_eps) == ((4, 3), 4, 1e-5)
    assert (objective.config.masked, objective.config.normalise) == (0.5, False)
    for text, message in (('{"model_type": "vit"}', "vit_mae"), ("[]", "expected a JSON object"), ("{", "config.json")):
        beside.write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError, match=message):
            recorded.open_pretrained(tmp_path / "model.safetensors")


def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path):
    weights = arrays(SIZES, np.random.default_rng(0))
    for change, message in (
        ({"decoder_pred.bias": None}, "missing: decoder_pred.bias"),
        ({"decoder_embed.weight": None}, "decoder_embed.weight"),
        ({"head.weight": np.zeros(3)}, "unexpected: head.weight"),
        ({"norm.bias": np.zeros(3)}, r"wrong shape: norm.bias \(3,\)"),
        ({"vit.layernorm.bias": np.zeros(16)}, "two arrays for one place"),
    ):
        changed = {name: x for name, x in {**weights, **change}.items() if x is not None}
        write_safetensors(tmp_path / "weights.safetensors", changed, {})
        with pytest.raises(CheckpointError, match=message) as caught:
            recorded.open_pretrained(
                tmp_path / "weights.safetensors", num_attention_heads=2, decoder_num_attention_heads=2
            )
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "patch", "everything", "learned"),
    [
        ("B", 16, 111_907_840, 111_655_680),
        ("L", 16, 329_541_888, 329_239_296),
        ("H", 14, 657_074_508, 656_613_964),
    ],
)
def test_the_published_models_have_as_many_parameters(name, patch, everything, learned):
    encoder = ViTConfig.variant(f"{name}/{patch}", num_classes=0, image_size=224)
    objective = MAE(MAEConfig(), ViT(encoder, None), None)
    assert objective.num_parameters() == learned
    assert sum(tensor.size for _, tensor in objective.named_tensors()) == everything
