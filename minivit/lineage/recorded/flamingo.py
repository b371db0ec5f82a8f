"""Flamingo as open_flamingo has it: names and shapes of its arrays, and what was recorded of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.flamingo import FlamingoConfig, SeeingLlama
from minivit.lineage.llama import IGNORED, next_token_loss, shares
from minivit.lineage.published import Arrays, beside, fill, renamed
from minivit.lineage.recorded import llama
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.tensor import Tensor, no_grad

_LANGUAGE = "lang_encoder.model."
_TABLE, _HEAD = f"{_LANGUAGE}embed_tokens.weight", "lang_encoder.lm_head.weight"
_LAYER = r"lang_encoder\.model\.layers\.(\d+)\.decoder_layer\."
_GATED = r"lang_encoder\.model\.layers\.(\d+)\.gated_cross_attn_layer\."
_NAMES = (  # ours -> theirs
    (r"^resampler\.frames$", "perceiver.frame_embs"),
    (r"^resampler\.media$", "perceiver.media_time_embs"),
    (r"^resampler\.layers\.(\d+)\.media_norm\.", r"perceiver.layers.\1.0.norm_media."),
    (r"^resampler\.layers\.(\d+)\.norm\.", r"perceiver.layers.\1.0.norm_latents."),
    (r"^resampler\.layers\.(\d+)\.attention\.", r"perceiver.layers.\1.0."),
    (r"^resampler\.layers\.(\d+)\.mlp\.", r"perceiver.layers.\1.1."),
    (r"^resampler\.", "perceiver."),
    (r"^gated\.(\d+)\.gate$", r"gated.\1.attn_gate"),
    (r"^gated\.(\d+)\.mlp_gate$", r"gated.\1.ff_gate"),
    (r"^gated\.(\d+)\.norm\.", r"gated.\1.attn.norm."),
    (r"^gated\.(\d+)\.attention\.", r"gated.\1.attn."),
    (r"^gated\.(\d+)\.mlp\.", r"gated.\1.ff."),
    (r"(?:(?<=\d\.1\.)|(?<=\.ff\.))norm\.", "0."),
    (r"(?:(?<=\d\.1\.)|(?<=\.ff\.))hidden\.", "1."),
    (r"(?:(?<=\d\.1\.)|(?<=\.ff\.))out\.", "3."),
    (r"(?<=\d\.0\.)query\.|(?<=\.attn\.)query\.", "to_q."),
    (r"(?<=\d\.0\.)key_value\.|(?<=\.attn\.)key_value\.", "to_kv."),
    (r"(?<=\d\.0\.)out\.|(?<=\.attn\.)out\.", "to_out."),
    (r"^language\.words\.table$", _TABLE),
    (r"^language\.head\.", "lang_encoder.lm_head."),
    (r"^language\.layers\.(\d+)\.", rf"{_LANGUAGE}layers.\1.decoder_layer."),
    (r"^language\.", _LANGUAGE),
    (r"\.scale$", ".weight"),
)
_ALONE = (  # those of a language model's own file -> inside open_flamingo's
    (r"^model\.layers\.(\d+)\.", rf"{_LANGUAGE}layers.\1.decoder_layer."),
    (r"^model\.", _LANGUAGE),
    (r"^lm_head\.", "lang_encoder.lm_head."),
)
_DROPPED = re.compile(r"(^|\.)(inv_freq|old_decoder_blocks\..*)$|^vision_encoder\.")  # numbers and copies beside
_OTHERS = ((r"^lang_encoder\.gated_cross_attn_layers\.(\d+)\.", rf"{_LANGUAGE}layers.\1.gated_cross_attn_layer."),)


def canonical(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays under the names inside the layers of the language model, where a published file may have its gated
    blocks beside them."""
    return {renamed(name, _OTHERS): x for name, x in arrays.items()}


def views(state: Arrays, every: int) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the published names and in their shapes."""
    found = {}
    for name, x in state.items():
        theirs = renamed(renamed(name, llama.LAYERS) if name.startswith("language.") else name, _NAMES)
        if match := re.match(r"gated\.(\d+)\.", theirs):
            layer = (int(match[1]) + 1) * every - 1
            theirs = f"{_LANGUAGE}layers.{layer}.gated_cross_attn_layer.{theirs[match.end() :]}"
        found[theirs] = x[:, None] if name == "resampler.media" else x.T if name.endswith(".weight") else x
    return found


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> SeeingLlama:
    """The model with these arrays, `canonical` ones, without an encoder. What they tell of its shape need not stand in
    the configuration: text, as Hugging Face's of the language model; cross, resampler: arguments of open_flamingo.
    Raises CheckpointError."""
    shapes = Shapes(arrays, source, "Flamingo")
    text, cross, resampler = (config.get(name, {}) for name in ("text", "cross", "resampler"))
    own = llama.fields(text, shapes, _TABLE, _LAYER, _HEAD)
    gated = sorted({int(match[1]) for match in (re.match(_GATED, name) for name in arrays) if match})
    if not gated or gated != list(range(gated[0], own["depth"], gated[0] + 1)):
        raise CheckpointError(f"{source}: gated blocks stand before layers {gated}, expected every n-th")
    latents, width = shapes("perceiver.latents", 2)
    block = f"{_LANGUAGE}layers.{gated[0]}.gated_cross_attn_layer."
    parts: dict[str, Any] = {}
    for part, given, query, hidden, wide in (
        ("resampler", resampler, "perceiver.layers.0.0.to_q.weight", "perceiver.layers.0.1.1.weight", width),
        ("cross", cross, f"{block}attn.to_q.weight", f"{block}ff.1.weight", own["width"]),
    ):
        features = given.get("dim_head", 64)
        parts[f"{part}_features"] = features
        parts[f"{part}_heads"] = max(1, shapes(query, 2)[0] // features)
        parts[f"{part}_ratio"] = shapes(hidden, 2)[0] / wide
    image = config.get("media_token", config.get("image_token", config.get("media_token_id")))
    shape = FlamingoConfig(
        **own,
        image=own["vocabulary"] - 1 if image is None else image,
        latents=latents,
        resampler_depth=shapes.depth(r"perceiver\.layers\.(\d+)\."),
        **parts,
        frames=len(arrays.get("perceiver.frame_embs", ())),
        media=len(arrays.get("perceiver.media_time_embs", ())),
        every=gated[0] + 1,
        all_media=not cross.get("only_attend_immediate_media", True),
        learn="all",
    )
    model = SeeingLlama(shape, width, None, dtype)
    state = {name: tensor.data for name, tensor in model.named_tensors()}
    fill(views(state, shape.every), arrays, source)
    return model


def open_pretrained(path: str | Path, language: str | Path, dtype: str = "float32", **fields: Any) -> SeeingLlama:
    """The model of two files (.safetensors), without an encoder: `path` has what was trained, resampler and gated
    blocks, in open_flamingo's layout, and `language` the Llama in that of transformers, with its config.json beside it.
    What both have is taken from the first.   fields: as in the configuration of `build`, such as media_token, the id of
    <image>. Raises CheckpointError and ConfigError."""
    trained, frozen = expanded(path), expanded(language)
    arrays = {renamed(name, _ALONE): x for name, x in read_arrays(frozen)[0].items()}
    arrays |= canonical({re.sub(r"^module\.", "", name): x for name, x in read_arrays(trained)[0].items()})
    arrays = {name: x for name, x in arrays.items() if not _DROPPED.search(name)}
    return build({"text": beside(frozen, "llama"), **fields}, arrays, dtype, f"{trained} with {frozen}")


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there."""
    config, ids = {**case.meta, **case.config}, case.input("input_ids")
    features, labels = Tensor(case.input("features"), requires_grad=True), case.input("labels")
    seen = case.input("attention_mask") if "attention_mask" in case.arrays else np.ones_like(ids)
    silent = np.unique(ids[(labels == IGNORED) & (seen != 0)])  # where nobody speaks stands an <image>
    if len(silent) == 1:
        config.setdefault("media_token", int(silent[0]))
    model = build(config, canonical(case.weights), source=case.name).eval()
    tap: dict[str, Any] = {}
    logits = model(features, ids, seen, tap)
    loss = next_token_loss(logits, labels, shares(labels))
    named, differentiated = case.differentiated(loss, features, model)
    found = {
        "logits": logits.data,
        "resampled": tap["resampled"].data,
        "loss": loss.data,
        "grad_norm": differentiated["grad_norm"],
        "grad_input/features": differentiated["grad_input/image"],
    }
    for name in (name for name in tap if name.startswith("gated")):
        kind = "cross_attention" if name.endswith("attention") else "cross_block"
        found[kind + name.removeprefix("gated").partition("/")[0]] = tap[name].data
    theirs = views(named, model.config.every)
    for name in (name.removeprefix("grad/") for name in case.arrays if name.startswith("grad/")):
        if (place := renamed(name, _OTHERS)) in theirs:
            found[f"grad/{name}"] = theirs[place]
    for block in model.gated:
        block.gate.data[...] = block.mlp_gate.data[...] = 0
    with no_grad():
        found["gates_zero/logits"] = model(features, ids, seen).data
    return found
