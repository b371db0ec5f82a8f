"""iGPT as Hugging Face's files have it: names and shapes of its arrays, and what was recorded of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.errors import CheckpointError, shown
from minivit.files import expanded
from minivit.lineage.igpt import ImageGPT, ImageGPTConfig
from minivit.lineage.published import GELUS, Arrays, beside, fill, renamed
from minivit.lineage.recorded import modules
from minivit.lineage.typical import nearest
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes

_RULES = (  # ours -> Hugging Face's
    (r"^words\.table$", "transformer.wte.weight"),
    (r"^positions$", "transformer.wpe.weight"),
    (r"^norm\.scale$", "transformer.ln_f.weight"),
    (r"^head\.weight$", "lm_head.weight"),
    (r"^blocks\.(\d+)\.", r"transformer.h.\1."),
    (r"\.norm([12])\.scale$", r".ln_\1.weight"),
    (r"\.attention\.qkv\.", ".attn.c_attn."),
    (r"\.attention\.out\.", ".attn.c_proj."),
    (r"\.mlp\.hidden\.", ".mlp.c_fc."),
    (r"\.mlp\.out\.", ".mlp.c_proj."),
)
_MASKS = re.compile(r"\.attn\.(bias|masked_bias)$")  # constants that old files have beside the weights


def views(state: Arrays) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under Hugging Face's names. Its matrices are (in, out), as ours; only
    that of the logits is not."""
    return {renamed(name, _RULES): x.T if name == "head.weight" else x for name, x in state.items()}


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> ImageGPT:
    """The network with these weights.   config: Hugging Face's, as far as it is known; without it heads are of 64
    features. Raises CheckpointError."""
    shapes = Shapes(arrays, source, "iGPT")
    words, width = shapes("transformer.wte.weight", 2)
    act = config.get("activation_function", config.get("activation", "quick_gelu"))
    if act not in GELUS:
        raise CheckpointError(f"{source}: activation_function is {shown(str(act))}, expected one of {', '.join(GELUS)}")
    if not config.get("scale_attn_weights", True) or config.get("scale_attn_by_inverse_layer_idx"):
        raise CheckpointError(
            f"{source}: scores of attention are scaled in another way, expected by the root of a head's width"
        )
    own = ImageGPTConfig(
        colours=words - 1,
        positions=shapes("transformer.wpe.weight", 2)[0],
        width=width,
        depth=shapes.depth(r"transformer\.h\.(\d+)\."),
        heads=config.get("n_head", max(1, width // 64)),
        mlp_width=shapes("transformer.h.0.mlp.c_fc.weight", 2)[1],
        gelu=GELUS[act],
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
    )
    network = ImageGPT(own, None, dtype)
    given = {name: x for name, x in arrays.items() if not _MASKS.search(name)}
    fill(views({name: tensor.data for name, tensor in network.named_tensors()}), given, source)
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> ImageGPT:
    """The network of a file of published weights (.safetensors) with Hugging Face's names.

    fields: as in Hugging Face's config.json, which is read where it lies beside the file. Raises CheckpointError and
    ConfigError.
    """
    path = expanded(path)
    return build({**beside(path, "imagegpt"), **fields}, read_arrays(path)[0], dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that iGPT defines, by its name there."""
    network = build(case.config, case.weights, source=case.name).eval()
    ids = case.input("input_ids")
    embedded = network.embed(ids)
    tap: dict[str, Any] = {}
    with modules.noted(network) as inner:
        logits = network.head(network.encode(embedded, tap=tap))
    loss = F.cross_entropy(logits[:, :-1], ids[:, 1:])
    named, differentiated = case.differentiated(loss, embedded, network)
    found = {"logits": logits.data, "loss": loss.data, "pixels": ids[:, 1:], "tap/embedded": embedded.data}
    found |= modules.taps(case, "", inner, {r"transformer\.": ""})
    found["grad_input/embedded"] = differentiated.pop("grad_input/image")
    x = embedded
    for i, block in enumerate(network.blocks):
        normed = block.norm1(x)
        found |= {} if i else {"tap/ln_1": normed.data}
        attended = block.attention(normed)
        x = x + attended
        found |= {f"tap/attn{i}": attended.data, f"tap/mlp{i}": block.mlp(block.norm2(x)).data}
        x = tap[f"block{i}/output"]
        found[f"tap/block{i}"] = x.data
    found["tap/ln_f"] = tap["encoded"].data
    if "clusters" in case.arrays:
        pixels, centres = case.input("cluster_image_nhwc"), case.input("clusters")
        found["cluster_ids"] = nearest(pixels.reshape(len(pixels), -1, pixels.shape[-1]), centres)
    return found | differentiated | {f"grad/{name}": g for name, g in views(named).items()}
