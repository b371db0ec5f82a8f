"""SAM as published code has it: names and shapes of its arrays, and what was recorded of it."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage import published_layers
from minivit.lineage.published import Arrays, beside, fill, pair, renamed
from minivit.lineage.recorded import modules
from minivit.lineage.sam import SAM, SAMConfig, errors, overlaps
from minivit.lineage.sam_decoder import KINDS, Attention, prompts
from minivit.lineage.sam_encoder import VARIANTS, ImageEncoder, SAMEncoderConfig
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.tensor import Tensor

_OURS: tuple[tuple[str, Any], ...] = (  # -> transformers
    (r"^network\.patch_embed\.", "vision_encoder.patch_embed.projection."),
    (r"^network\.positions$", "vision_encoder.pos_embed"),
    (r"^network\.blocks\.(\d+)\.norm", r"vision_encoder.layers.\1.layer_norm"),
    (r"^network\.blocks\.", "vision_encoder.layers."),
    (r"\.attention\.out\.", ".attn.proj."),
    (r"\.attention\.rows$", ".attn.rel_pos_h"),
    (r"\.attention\.columns$", ".attn.rel_pos_w"),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.hidden\.", ".mlp.lin1."),
    (r"\.mlp\.out\.", ".mlp.lin2."),
    (r"^network\.neck\.(\d)\.conv\.", lambda m: f"vision_encoder.neck.conv{int(m[1]) + 1}."),
    (r"^network\.neck\.(\d)\.norm\.", lambda m: f"vision_encoder.neck.layer_norm{int(m[1]) + 1}."),
    (r"^prompt\.gaussian$", "shared_image_embedding.positional_embedding"),
    (r"^prompt\.(not_a_point|no_mask)$", r"prompt_encoder.\1_embed.weight"),
    (r"^prompt\.conv", "prompt_encoder.mask_embed.conv"),
    (r"^prompt\.norm", "prompt_encoder.mask_embed.layer_norm"),
    (r"^decoder\.(iou_token|mask_tokens)$", r"mask_decoder.\1.weight"),
    (r"^decoder\.layers\.(\d+)\.norm", r"mask_decoder.transformer.layers.\1.layer_norm"),
    (r"^decoder\.layers\.(\d+)\.hidden\.", r"mask_decoder.transformer.layers.\1.mlp.lin1."),
    (r"^decoder\.layers\.(\d+)\.shown\.", r"mask_decoder.transformer.layers.\1.mlp.lin2."),
    (r"^decoder\.layers\.", "mask_decoder.transformer.layers."),
    (r"\.own\.(?=query|key|value|out)", ".self_attn."),
    (r"\.to_image\.", ".cross_attn_token_to_image."),
    (r"\.to_tokens\.", ".cross_attn_image_to_token."),
    (r"^decoder\.last\.", "mask_decoder.transformer.final_attn_token_to_image."),
    (r"^decoder\.norm\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"\.(query|key|value)\.", lambda m: f".{m[1][0]}_proj."),
    (r"(?<=attn)\.out\.|(?<=image)\.out\.|(?<=token)\.out\.", ".out_proj."),
    (r"^decoder\.enlarge(\d)\.", r"mask_decoder.upscale_conv\1."),
    (r"^decoder\.enlarge_norm\.", "mask_decoder.upscale_layer_norm."),
    (r"^decoder\.masks\.", "mask_decoder.output_hypernetworks_mlps."),
    (r"^decoder\.iou\.", "mask_decoder.iou_prediction_head."),
)
_WHOLE = (  # of modules that hold others
    (r"^network\.patch_embed\.$", "vision_encoder.patch_embed."),
    (r"\.attention\.$", ".attn."),
    (r"\.own\.$", ".self_attn."),
)
_THEIRS: tuple[tuple[str, Any], ...] = (  # of the official code -> transformers
    (r"^image_encoder\.blocks\.(\d+)\.norm", r"vision_encoder.layers.\1.layer_norm"),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.neck\.([02])\.", lambda m: f"vision_encoder.neck.conv{int(m[1]) // 2 + 1}."),
    (r"^image_encoder\.neck\.([13])\.", lambda m: f"vision_encoder.neck.layer_norm{int(m[1]) // 2 + 1}."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.([036])\.", lambda m: f"prompt_encoder.mask_embed.conv{int(m[1]) // 3 + 1}."),
    (r"^prompt_encoder\.mask_downscaling\.([14])\.", lambda m: f"prompt_encoder.mask_embed.layer_norm{m[1]}."),
    (r"(?<=mask_embed\.layer_norm)4", "2"),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm", r"\1.layer_norm"),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
)
WORDS = (  # transformers' names of inputs and outputs -> those of the recordings
    (r"(?<![^/])input_points$", "points"),
    (r"(?<![^/])input_labels$", "point_labels"),
    (r"(?<![^/])input_boxes$", "boxes"),
    (r"(?<![^/])input_masks$", "mask_input"),
    (r"(?<![^/])pred_masks$", "masks"),
    (r"(?<![^/])iou_scores$", "iou"),
)
_PERCEPTRON = re.compile(r"(.*(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)\.(.*)")
_AGAIN = "prompt_encoder.shared_embedding.positional_embedding"  # the matrix of places once more


def in_transformers(names: list[str]) -> dict[str, str]:
    """Names in which the layers of small networks are counted -> those of transformers: the first is proj_in, the last
    proj_out, and those between are counted from 0."""
    found, last = {}, dict[str, int]()
    for name in names:
        if m := _PERCEPTRON.fullmatch(name):
            last[m[1]] = max(last.get(m[1], 0), int(m[2]))
    for name in names:
        if m := _PERCEPTRON.fullmatch(name):
            i = int(m[2])
            place = "proj_in" if i == 0 else "proj_out" if i == last[m[1]] else f"layers.{i - 1}"
            found[name] = f"{m[1]}.{place}.{m[3]}"
    return {name: found.get(name, name) for name in names}


def canonical(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays of a file, official or of transformers, under the names of transformers."""
    kept = {name: x for name, x in arrays.items() if name != _AGAIN}
    if any(name.startswith("image_encoder.") for name in kept):
        renamed_ = {renamed(name, _THEIRS): x for name, x in kept.items()}
        new = in_transformers(list(renamed_))
        return {new[name]: x for name, x in renamed_.items()}
    return kept


def views(objective: SAM, arrays: Arrays | None = None) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the names of transformers."""
    found = published_layers.views(objective, arrays, lambda name: renamed(name, _OURS))
    if "prompt.kinds" in found:
        table = found.pop("prompt.kinds")
        found |= {f"prompt_encoder.point_embed.{i}.weight": table[i : i + 1] for i in range(KINDS)}
    new = in_transformers(list(found))
    return {new[name]: x for name, x in found.items()}


def build(
    config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file", **changes: Any
) -> SAM:
    """The objective of a configuration of transformers', with these weights, whose shapes tell most sizes.
    changes: fields of SAMConfig, such as norm_eps."""
    arrays = canonical(arrays)
    shapes = Shapes(arrays, source, "SAM's")
    vision, mask = (config.get(f"{name}_config", {}) for name in ("vision", "mask_decoder"))
    width, channels, patch, _ = shapes("vision_encoder.patch_embed.projection.weight", 4)
    depth, first = shapes.depth(r"vision_encoder\.layers\.(\d+)\."), "vision_encoder.layers.0."
    known = next((fields for fields in VARIANTS.values() if (fields["width"], fields["depth"]) == (width, depth)), {})
    heads = vision.get("num_attention_heads", known.get("heads"))
    if heads is None:
        raise CheckpointError(f"{source} does not say how many heads there are; pass vision_config")
    absolute = "vision_encoder.pos_embed" in arrays
    size = shapes("vision_encoder.pos_embed", 4)[1:3] if absolute else (0, 0)
    stated = pair(vision.get("image_size", 1024))
    encoder = SAMEncoderConfig(
        image_size=(size[0] * patch, size[1] * patch) if absolute else stated,
        patch_size=patch,
        width=width,
        depth=depth,
        heads=heads,
        mlp_width=shapes(f"{first}mlp.lin1.weight", 2)[0],
        window=vision.get("window_size", 14),
        global_blocks=tuple(vision.get("global_attn_indexes", known.get("global_blocks", ()))),
        absolute=absolute,
        relative=f"{first}attn.rel_pos_h" in arrays,
        qkv_bias=f"{first}attn.qkv.bias" in arrays,
        filters=shapes("vision_encoder.neck.conv1.weight", 4)[0],
        norm_eps=vision.get("layer_norm_eps", 1e-6),
        channels=channels,
    )
    block, iou = "mask_decoder.transformer.layers.0.", "mask_decoder.iou_prediction_head."
    outer = shapes(f"{block}cross_attn_token_to_image.q_proj.weight", 2)
    fields = {
        "depth": shapes.depth(r"mask_decoder\.transformer\.layers\.(\d+)\."),
        "heads": mask.get("num_attention_heads", 8),
        "mlp_width": shapes(f"{block}mlp.lin1.weight", 2)[0],
        "narrowing": outer[1] // outer[0],
        "iou_width": shapes(f"{iou}proj_in.weight", 2)[0],
        "iou_depth": 2 + shapes.depth(r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\.weight"),
        "mask_channels": shapes("prompt_encoder.mask_embed.conv2.weight", 4)[0],
        "masks": shapes("mask_decoder.mask_tokens.weight", 2)[0] - 1,
    }
    objective = SAM(SAMConfig(**{**fields, **changes}), ImageEncoder(encoder, None, dtype), None, dtype)
    last = shapes("mask_decoder.transformer.final_attn_token_to_image.q_proj.weight", 2)
    if last[0] != outer[0]:  # transformers narrows only this one by its attention_downsample_rate
        objective.decoder.last = Attention(last[1], last[0], objective.decoder.last.heads, None, dtype)
    fill(views(objective), arrays, source)
    return objective


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> SAM:
    """The objective of a file of published weights, by the names of the official code or of transformers.

    A config.json beside the file is read. fields: others of it, or of SAMConfig: transformers computes with
    norm_eps=1e-6. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    own = {field.name for field in dataclasses.fields(SAMConfig)}
    stated = {**beside(path, "sam"), **{name: x for name, x in fields.items() if name not in own}}
    changes = {name: x for name, x in fields.items() if name in own}
    return build(stated, read_arrays(path)[0], dtype, str(path), **changes)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that SAM defines, by its name there.

    The name of a group tells its prompts: points, boxes, mask; of "single" the first mask is recorded, of others the
    rest; "train" has points and the loss.
    """
    eps = case.config.get("mask_decoder_config", {}).get("layer_norm_eps", 1e-6)
    objective = build(case.config, case.weights, source=case.name, norm_eps=eps).eval()
    objective.prompt.gaussian.requires_grad = True  # fixed in training, but its gradient is recorded
    rows, columns = objective.network.config.grid
    places = objective.prompt.grid(rows, columns).data.reshape(1, rows, columns, -1)
    found = {"image_positional_encoding": case.laid_out(places)}
    groups = {name.partition("/")[0] for name in case.arrays if "/" in name} - {"vision", "official_eps"}
    for group in sorted(groups):
        found |= of_group(case, objective, group)
    if any(name.startswith("official_eps/") for name in case.arrays):
        official = build(case.config, case.weights, source=case.name, norm_eps=1e-5).eval()
        for name in case.arrays:
            if match := re.fullmatch(r"official_eps/(\w+)_image(\d+)_(masks|iou)", name):
                found[name] = of_group(case, official, match[1])[f"{match[1]}/{match[3]}"][int(match[2])]
    return found


def of_group(case: Case, objective: SAM, group: str) -> dict[str, np.ndarray]:
    """The arrays of one group, such as "points"."""
    words, tap = group.split("_"), dict[str, Any]()
    clicks = "points" in words or "train" in words
    boxes = case.input("boxes") if "boxes" in words else None
    points, labels = (case.input(name) if clicks else None for name in ("points", "point_labels"))
    places, kinds = prompts(points, labels, boxes)
    prior = Tensor(case.input("mask_input")) if "mask" in words else None
    images = Tensor(case.images("image"), requires_grad=True)
    with modules.outputs(objective) as inner:
        masks, scores = objective.answer(images, places, kinds, prior, tap=tap)
    own = slice(0, 1) if "single" in words else slice(1, None)
    masks, scores = masks[:, :, own], scores[:, :, own]
    dense = tap["dense"].data[:, 0]
    found = {
        "masks": masks.data,
        "iou": scores.data,
        "prompt/sparse": tap["sparse"].data,
        "prompt/dense": case.laid_out(np.broadcast_to(dense, tap["encoded"].shape)),
        "decoder/tokens": tap["tokens"].data.reshape(*scores.shape[:2], *tap["tokens"].shape[1:]),
        "decoder/image": tap["image"].data[:, None],
        "decoder/upscaled_before_gelu": case.laid_out(tap["enlarged"].data),
    }
    loss = None
    if f"{group}/target" in case.arrays:
        target = case.input(f"{group}/target") > 0.5
        focal, dice = errors(masks, target)
        found |= {"focal": focal.data, "dice": dice.data, "iou_true": overlaps(masks.data, target)}
        found["best"] = (20 * focal.data + dice.data).argmin(axis=-1)
        loss = objective.loss((masks, scores), {"target": target})
    elif f"{group}/cotangent_masks" in case.arrays:
        loss = (masks * Tensor(case.input(f"{group}/cotangent_masks"))).sum()
        loss = loss + (scores * Tensor(case.input(f"{group}/cotangent_iou"))).sum()
    if loss is not None:
        gradients, new = case.differentiated(loss, images, objective)
        found |= new | {"loss": loss.data} | {f"grad/{name}": x for name, x in views(objective, gradients).items()}
    found = {f"{group}/{name}": x for name, x in found.items()}
    theirs = {f"{path}.": renamed(f"{path}.", (*_OURS, *_WHOLE)) for path in inner}
    counted = in_transformers([f"{name}weight" for name in theirs.values()])
    paths = {path: counted[f"{name}weight"].removesuffix("weight") for path, name in theirs.items()}
    for before in (f"{group}/", "vision/"):
        found = modules.under(case, before, inner, lambda path: paths.get(path, path)) | found
    found |= {"vision/patch_embedded": tap["embedded"].data, "vision/neck_output": case.laid_out(tap["encoded"].data)}
    return found | {f"vision/{k.replace('block', 'layer')}": x.data for k, x in tap.items() if k.startswith("block")}
