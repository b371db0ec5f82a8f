"""Outputs of the modules of a Transformer, by the names that published code has for them.

Our names and theirs have one common form, near to timm's: blocks.0.norm1, blocks.0.attn.proj, blocks.0.mlp.fc1.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minivit.lineage.published import Arrays, renamed
from minivit.lineage.recorded.classifier import outputs
from minivit.lineage.verify import Case
from minivit.nn import Module

_OURS = (  # paths of ours -> the common form
    (r"(^|\.)(embed|patch_embed)\.projection$", r"\1patch_embed.proj"),
    (r"(^|\.)embed$", r"\1patch_embed"),
    (r"(?<=\d\.)temporal_out$", "temporal_fc"),
    (r"(?<=\d\.)temporal_norm$", "temporal_norm1"),
    (r"(?<=\d\.)(temporal_)?attention(?=\.|$)", r"\1attn"),
    (r"(?<=attn\.)out$", "proj"),
    (r"(?<=attn\.)(query|key|value)$", r"\1_proj"),
    (r"(?<=mlp\.)hidden$", "fc1"),
    (r"(?<=mlp\.)out$", "fc2"),
    (r"(?<=\d\.)scale([12])$", r"ls\1"),
)
_THEIRS: tuple[tuple[str, Any], ...] = (  # names of transformers, diffusers and timm -> the common form
    (r"(^|\.)(encoder\.)?(layer|layers|h|resblocks|transformer_blocks)\.(?=\d)", r"\1blocks."),
    (r"(?<=\d\.)(layernorm_before|layer_norm1|ln_1|input_layernorm)$", "norm1"),
    (r"(?<=\d\.)(layernorm_after|layer_norm2|ln_2|post_attention_layernorm)$", "norm2"),
    (r"(?<=\d\.)temporal_layernorm$", "temporal_norm1"),
    (r"(?<=\d\.)temporal_dense$", "temporal_fc"),
    (r"(?<=\d\.)(temporal_)?(self_attn|attention|attn1?)(\.attention(?=\.))?(?=\.|$)", r"\1attn"),
    (r"(?<=attn\.)c_attn$", "qkv"),
    (r"(?<=attn\.)(o_proj|out_proj|to_out\.0|to_out|c_proj|output\.dense|output\.dropout|output|proj_drop)$", "proj"),
    (r"(?<=attn\.)(resid_dropout|dropout)$", "proj"),
    (r"(?<=attn\.)(q|k|v|query|key|value|to_q|to_k|to_v)(_proj)?$", lambda m: f"{m[1].removeprefix('to_')[0]}_proj"),
    (r"(?<=\d\.)(intermediate\.dense|mlp\.c_fc|mlp\.lin1|ff\.net\.0\.proj)$", "mlp.fc1"),
    (r"(?<=\d\.)(intermediate(\.\w+)?|ff\.net\.0)$", "mlp.act"),
    (r"(?<=mlp\.)(activation_fn|activation|act_fn|act|drop1)$", "act"),
    (r"(?<=\d\.)(output|output\.dense|output\.dropout|ff\.net\.2)$", "mlp.fc2"),
    (r"(?<=mlp\.)(c_proj|lin2|dropout|drop|drop2)$", "fc2"),
    (r"(?<=\d\.)ff$", "mlp"),
    (r"(?<=\d\.)layer_scale([12])$", r"ls\1"),
    (r"(?<=\d\.)(drop_path|drop_path2)$", "branch"),
    (r"(^|\.)(embeddings\.patch_embeddings\.projection|embeddings\.patch_embedding|embeddings\.projection)$",
     r"\1patch_embed.proj"),
    (r"(?<=\d\.)(dropout|hidden_dropout)$", "mlp"),
    (r"(^|\.)embeddings\.token_embedding$", r"\1words"),
    (r"(^|\.)embeddings\.patch_embeddings$", r"\1patch_embed"),
    (r"(^|\.)embeddings(\.(dropout|pos_drop))?$", r"\1embedded"),
    (r"(^|\.)(layernorm|post_layernorm|final_layer_norm|ln_f|ln_post|ln_final)$", r"\1norm"),
    (r"(^|\.)(classifier|lm_head)$", r"\1head"),
)  # fmt: skip
_LETTERS = {"q_proj": 0, "k_proj": 1, "v_proj": 2, "query_proj": 0, "key_proj": 1, "value_proj": 2}


@contextlib.contextmanager
def noted(model: Module) -> Iterator[dict[str, np.ndarray]]:
    """In this context, what the modules of `model` give when it is called; at its end by the common names."""
    found: dict[str, np.ndarray] = {}
    with outputs(model) as own:
        yield found
    found |= common(own)


def common(own: Arrays) -> dict[str, np.ndarray]:
    """Outputs by the paths of our modules -> by the common names. `branch` is what a block adds last, `encoder` the
    output of the last block."""
    found = {}
    for path, x in own.items():
        name = renamed(path, _OURS)
        found[re.sub(r"(query|key|value)_proj$", lambda m: f"{m[1][0]}_proj", name)] = x
    last: dict[str, int] = {}
    for name in list(found):
        if match := re.fullmatch(r"(.*)blocks\.(\d+)\.mlp", name):
            block = name.removesuffix(".mlp")
            found[f"{block}.branch"] = found.get(f"{block}.ls2", found[name])
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    for before, i in last.items():
        if f"{before}blocks.{i}" in found:
            found.setdefault(f"{before}encoder", found[f"{before}blocks.{i}"])
    return found


def taps(case: Case, group: str, found: Arrays, parts: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The recorded outputs of modules in a group of arrays, such as "square/", by their names there.

    found: by the common names.   parts: patterns of what the recorded names of a part begin with -> the common names'.
    """
    known = {}
    for name in (name for name in case.arrays if name.startswith(group) and "grad" not in name):
        common = name.removeprefix(group).removeprefix("tap/")
        for theirs, ours in (parts or {}).items():
            if re.match(theirs, common):
                common = re.sub(theirs, ours, common, count=1)
                break
        common = renamed(common, _THEIRS)
        whole, _, letter = common.rpartition(".")
        if common in found:
            known[name] = fitted(found[common], case.arrays[name].shape)
        elif letter in _LETTERS and f"{whole}.qkv" in found:
            part = np.split(found[f"{whole}.qkv"], 3, axis=-1)[_LETTERS[letter]]
            known[name] = fitted(part, case.arrays[name].shape)
    return known


def under(
    case: Case, group: str, own: Arrays, theirs: Callable[[str], str], maps: bool = False
) -> dict[str, np.ndarray]:
    """As `taps`, where one function tells the recorded names of arrays.   own: by the paths of our modules. maps:
    whether recorded outputs of four axes are laid out as images are."""
    found = {theirs(f"{path}.").removesuffix("."): x for path, x in own.items()}
    known = {}
    for name in (name for name in case.arrays if name.startswith(group)):
        bare = name.removeprefix(group).removeprefix("tap/")
        if bare in found:
            x, shape = found[bare], case.arrays[name].shape
            known[name] = case.laid_out(x) if maps and x.ndim == len(shape) == 4 else fitted(x, shape)
    return known


def fitted(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An output (B, ..., D) in the shape of a recording, which may have features behind the batch, as maps."""
    if x.shape == shape or x.size != np.prod(shape):
        return x
    first = np.moveaxis(x, -1, 1) if x.ndim > 2 else x
    if len(shape) > 3 and first.shape[1] == shape[1] and x.shape[-1] != shape[-1]:
        return first.reshape(shape)
    return first if first.shape == shape else x.reshape(shape)
