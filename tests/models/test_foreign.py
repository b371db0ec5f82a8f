"""Files and models of other kinds are refused by name, before any advice."""

import gzip
import json
import struct
import zipfile

import numpy as np
import pytest

from minivit.errors import CheckpointError
from minivit.models import ViT, export, load_pretrained
from minivit.models.archive import read_arrays, write_safetensors

PAGE = b"\n <!DOCTYPE html><html><head><title>Not found</title></head></html>"
FILES = {
    "nothing": (b"", "is empty (0 bytes)"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3\n", "`git lfs pull`"),
    "a web page": (PAGE, "is a web page, not the file"),
    "a web page with a mark": (b"\xef\xbb\xbf" + PAGE, "is a web page"),
    "a server's error": (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "is XML"),
    "an index of shards": (
        json.dumps({"metadata": {"total_size": 3}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}).encode(),
        "is the index of weights in several files",
    ),
    "JSON": (b'{"hidden_size": 768}', "is JSON, not weights"),
    "JSON that could be a header": (b'{"meta":{"a": 1}}', "is JSON, not weights"),
    "a JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is an image, not weights"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(20), "is an image, not weights"),
    "a WebP": (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "is an image, not weights"),
    "a tar.gz": (gzip.compress(b"words"), "is an archive (tar, gz, ...): unpack it"),
    "a tar": (b"model.npz" + bytes(248) + b"ustar\x0000" + bytes(500), "is an archive"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(20), "is HDF5 (.h5, of Keras), which is not read"),
    "llama.cpp": (b"GGUF\x03\x00\x00\x00" + bytes(20), "is GGUF"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "seems to be ONNX"),
    "Flax": (b"\x82\xa6params\x81\xa9embedding", "seems to be msgpack (of Flax)"),
    "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3" + bytes(20), "is TensorFlow Lite"),
    "a text": (b"ant\nbee\n", "is a text, not weights"),
    "a pickle": (b"\x80\x02}q\x00.", "is a pickle, which could run anything; ask for a .safetensors file instead"),
}


def refused(path, **options):
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz"])
@pytest.mark.parametrize("case", FILES)
def test_files_that_are_something_else(tmp_path, case, name):
    content, expected = FILES[case]
    (tmp_path / name).write_bytes(content)
    assert expected in refused(tmp_path / name)


@pytest.mark.parametrize("member", ["archive/data.pkl", "model/data.pkl"])
def test_what_torch_saves_since_it_writes_zip_files(tmp_path, member):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/version", b"3")
        archive.writestr(member, b"\x80\x02}q\x00.")
    assert "is a file of PyTorch with a pickle in it" in refused(path)


def test_a_header_whose_length_begins_like_a_pickle(tmp_path):
    """640 bytes are 80 02 00 ... in the file, and 80 02 begins a pickle."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(640)
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 640) + header + bytes(4))
    assert read_arrays(tmp_path / "model.safetensors")[0]["w"] == np.zeros(1)


@pytest.fixture
def with_names(tmp_path, tiny):
    """with_names(*names, without=...): a model of unusual width in timm's names, with arrays of these names as well."""

    def write(*names, without=()):
        path = tmp_path / "model.safetensors"
        export(ViT(tiny(image_size=8, patch_size=2, gelu="erf", width=12)), path, "timm")
        arrays = {name: a for name, a in read_arrays(path)[0].items() if name not in without}
        write_safetensors(path, arrays | {name: np.ones(3, "f4") for name in names}, {})
        return path

    return write


MODELS = [
    ("layers.0.blocks.0.attn.relative_position_bias_table", "a Swin Transformer"),
    ("blocks.0.attn.relative_position_bias_table", "BEiT"),
    ("blocks.0.attn.rel_pos.mlp.fc1.weight", "relative positions"),
    ("blocks.0.attn.q_bias", "EVA"),
    ("rope.periods", "rotary positions"),
    ("blocks.0.attn.rope.freqs", "rotary positions"),
    ("blocks.0.gamma_1", "DINOv3"),
    ("blocks.0.mlp.fc1_g.weight", "SwiGLU"),
    ("blocks.0.mlp.w12.weight", "SwiGLU"),
    ("blocks.0.attn.q_norm.weight", "more norms in its blocks"),
    ("norm_pre.weight", "a norm before its blocks"),
    ("attn_pool.q.weight", "attention pooling"),
    ("decoder_embed.weight", "masked autoencoder (MAE)"),
    ("blocks.0.temporal_attn.qkv.weight", "a model of videos"),
    ("blocks.0.attn.rel_pos_h", "SAM or ViTDet"),
    ("text_model.encoder.layers.0.mlp.fc1.weight", "CLIP or SigLIP"),
    ("stages.0.blocks.0.conv_dw.weight", "ConvNeXt"),
    ("base_model.lora_A.weight", "adapters (LoRA)"),
]


@pytest.mark.parametrize(("name", "expected"), MODELS)
def test_other_architectures_are_named_before_any_advice(with_names, name, expected):
    message = refused(with_names(name))
    assert f"is {expected}" in message or expected in message
    assert "not a ViT that can be read: it has" in message
    assert "pass" not in refused(with_names(name, without=["pos_embed"]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv_proj.weight", ""),
        ("encoder.layers.encoder_layer_0.ln_1.weight", "torchvision's names"),
        ("to_patch_embedding.1.weight", "vit-pytorch"),
        ("visual.conv1.weight", "CLIP or SigLIP"),
        ("model.layers.0.mlp.gate_proj.weight", "SwiGLU"),
        ("model.embed_tokens.weight", "a language model"),
        ("layer1.0.conv1.weight", "a convolutional network"),
    ],
)
def test_models_without_a_patch_projection_of_ours(tmp_path, name, expected):
    write_safetensors(tmp_path / "model.safetensors", {name: np.ones(3, "f4")}, {})
    assert expected in refused(tmp_path / "model.safetensors")


@pytest.mark.parametrize("without", [(), ("pos_embed",)])
def test_an_unknown_architecture_is_refused_by_lists_before_any_advice(with_names, without):
    message = refused(with_names("blocks.0.novelty.weight", without=without))
    assert "does not fit the model" in message
    assert "unexpected: blocks.0.novelty.weight" in message
    assert "pass heads" in refused(with_names())
    assert "pass it (--image-size)" in refused(with_names(without=["pos_embed"]), heads=2)


def test_a_token_for_masked_patches_changes_nothing(with_names):
    assert load_pretrained(with_names("mask_token"), heads=2).config == load_pretrained(with_names(), heads=2).config
