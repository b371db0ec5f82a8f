"""Recognises foreign files and models, to refuse them by name: "is a web page" helps, "is not a zip file" does not.

A file is recognised by its first bytes, a model by the names of its arrays.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from minivit.errors import CheckpointError, shown

START = 512  # bytes that tell what a file is

_ASK = "ask for a .safetensors file instead, or write one where PyTorch is (docs/weights.md)"
_GIVE = "name a file of weights, .npz or .safetensors"
_UNPACK = "unpack it and name the file of weights in it"
_AGAIN = "download the file itself"
_SHARDS = (
    "is the index of weights in several files, which are not read: "
    'write one file, in transformers by save_pretrained(folder, max_shard_size="100GB")'
)
_NOT_READ = "which is not read: ask for the same weights as .safetensors or .npz"

# What the first bytes of a file look like, and what to say of it.
_FILES = {
    rb"\Z": f"is empty (0 bytes): {_AGAIN} again",
    rb"\x80[\x02-\x05]": f"is a pickle, which could run anything; {_ASK}",
    rb"\x93NUMPY": f"holds one array, not named arrays: {_GIVE}",
    rb"version https://git-lfs": f"is a Git LFS pointer, not the file: run `git lfs pull` in its clone, or {_AGAIN}",
    rb"(?i)<(!doctype html|html|head|body|script|!--)": f"is a web page, not the file: {_AGAIN}",
    rb"<": f"is XML, perhaps the answer of a server, not the file: {_AGAIN}",
    rb'\{.*"weight_map"': _SHARDS,
    rb"[{\[]": f"is JSON, not weights: {_GIVE}",
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM....\x00{4}|II\*\x00|MM\x00\*": f"is an image, not weights: {_GIVE}",
    rb"%PDF": f"is a PDF, not weights: {_GIVE}",
    rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!|.{257}ustar": f"is an archive (tar, gz, ...): {_UNPACK}",
    rb"\x89HDF\r\n": f"is HDF5 (.h5, of Keras), {_NOT_READ}",
    rb"GGUF|lmgg|tjgg": f"is GGUF (of llama.cpp), {_NOT_READ}",
    rb".{4}TFL3": f"is TensorFlow Lite, {_NOT_READ}",
    rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]": f"seems to be ONNX, {_NOT_READ}",
    rb"[\x81-\x8f][\xa1-\xbf\xd9]|\xde..[\xa1-\xbf\xd9]": f"seems to be msgpack (of Flax), {_NOT_READ}",
    rb"MATLAB ": f"is a file of MATLAB, {_NOT_READ}",
    rb"\x7fELF|MZ": f"is a program, not weights: {_GIVE}",
    rb"[\t\n\r -~]{64}|[\t\n\r -~]+\Z": f"is a text, not weights: {_GIVE}",
}

# What the name of an array says of a model that is no ViT of ours. The first that fits any array is told.
_MODELS = {
    r"\blora_[AB]\b": "adapters (LoRA) without the model that they change",
    r"adaLN_modulation|transformer_blocks\.\d": "a diffusion transformer (DiT)",
    r"(^|\.)layers\.\d+\.(blocks\.\d+|downsample)\.|(^|\.)swinv?2?\.": "a Swin Transformer",
    r"mask_decoder\.|prompt_encoder\.|rel_pos_[hw]$": "SAM or ViTDet",
    r"(^|[./])(text_model|txt)[./]|(^|[./])logit_scale$|vision_model\.(emb|enc|post|head)|visual\.(conv1|trunk|tr)": (
        "CLIP or SigLIP"
    ),
    r"(^|[./])(attn_pool|MAPHead_0|attentional_pooler)[./]": "a ViT with attention pooling (a MAP head, as SigLIP's)",
    r"(^|\.)decoder_(pos_embed$|embed\.|blocks\.|norm\.|pred\.)|(^|\.)decoder\.decoder_": (
        "a masked autoencoder (MAE) with its decoder"
    ),
    r"SpatialTransformer/|temporal_|time_embed|(^|\.)(vivit|timesformer|videomae)\.": "a model of videos",
    r"conv_dw|dwconv|conv\d_kxk": "ConvNeXt, CoAtNet or another convolutional network",
    r"word_embeddings|embed_tokens|(^|\.)wte\.|transformer\.h\.\d|token_embedding": "a language model",
    r"relative_position|rel_pos|(^|\.)lambda_[12]$|(^|\.)(beit|data2vec_vision)\.": (
        "BEiT or another with relative positions"
    ),
    r"(^|[._])rope|rotary|(^|\.)freqs|storage_tokens|attn\.[qkv]_bias$": (
        "EVA, DINOv3 or another with rotary positions"
    ),
    r"layer_scale[12]\.lambda1$|(^|\.)embeddings\.(register_tokens|patch_embeddings\.weight)$": (
        "DINOv2 or DINOv3 in Hugging Face's names"
    ),
    r"mlp\.(fc1_[gx]|w[123]|w12|gate_proj|up_proj|weights_(in|out))\b": "a ViT whose MLPs have gates (SwiGLU)",
    r"(attn|attention)\.([qk]_norm|norm_[qk]|norm)\.|mlp\.norm\.": "a ViT with more norms in its blocks (QK norm, say)",
    r"(^|\.)(norm_pre|pre_layr?norm|ln_pre)\.": "a ViT with a norm before its blocks, as CLIP's",
    r"blocks\.\d+\.gamma_[12]$": (
        "EVA, DINOv3, RoPE-ViT or the first DeiT III, by gamma_1 for its scales (timm's files of DeiT III are read)"
    ),
    r"blocks\.\d+\.(attns|ffns|in_proj)\.|lambda_q1": "a ViT with parallel or differential blocks",
    r"blocks_token_only|attn\.(temperature|gating_param|proj_l)|tokens_to_token|(^|\.)transformers\.\d": (
        "CaiT, XCiT, PiT or another relative of the ViT"
    ),
    r"encoder_layer_\d+\.": "a ViT in torchvision's names, which are not read",
    r"to_patch_embedding\.": "a ViT in the names of vit-pytorch, which are not read",
    r"(^|\.)embeds\.proj\.": "NaFlexViT",
    r"token_mixing|mlp_tokens|MixerBlock_": "an MLP-Mixer",
    r"sequence_reduction|attn\.sr\.|pool_q|blocks\.\d+\.proj\.": "Hiera, SegFormer or another ViT in stages",
    r"(^|\.)layer[1-4]\.\d+\.conv|root_block/|downsample_layers\.|running_mean$": "a convolutional network",
}


def refuse_file(path: Path) -> None:
    """Raise CheckpointError if the file is of a kind without readable arrays. Raises OSError as `open`."""
    with open(path, "rb") as file:
        start = file.read(START)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip() or start  # a page may begin with a mark and empty lines
    for pattern, what in _FILES.items():
        if re.match(pattern, start, re.DOTALL) or re.match(pattern, text, re.DOTALL):
            raise CheckpointError(f"{path} {what}")


def refuse_members(path: Path, members: Sequence[str]) -> None:
    """Raise CheckpointError for a zip file with these members, which are not arrays; not if there are none."""
    if any(member.endswith((".pkl", ".pickle")) for member in members):  # as in what torch.save writes
        raise CheckpointError(f"{path} is a file of PyTorch with a pickle in it, which could run anything; {_ASK}")
    if members:
        raise CheckpointError(
            f"{path} is not a checkpoint: {shown(members[0])} in it is not an array; if weights are in it, {_UNPACK}"
        )


def refuse_model(names: Iterable[str], source: str) -> None:
    """Raise CheckpointError if the names of the arrays belong to another architecture."""
    names = list(names)
    for pattern, what in _MODELS.items():
        if found := next((name for name in names if re.search(pattern, name)), None):
            raise CheckpointError(f"{source} is {what}, not a ViT that can be read: it has {shown(found)}")
