"""MM-DiT as diffusers has it: names and shapes of its arrays, and what was recorded of it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.mmdit import MMDiT
from minivit.lineage.published import Arrays, beside, fill, renamed
from minivit.lineage.recorded import modules
from minivit.lineage.recorded.classifier import outputs
from minivit.lineage.verify import Case
from minivit.models import ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.tensor import Tensor

_NAMES = (  # ours -> diffusers'
    (r"^embed\.", "pos_embed.proj."),
    (r"^positions$", "pos_embed.pos_embed"),
    (r"^time\.hidden", "time_text_embed.timestep_embedder.linear_1"),
    (r"^time\.out", "time_text_embed.timestep_embedder.linear_2"),
    (r"^pooled\.hidden", "time_text_embed.text_embedder.linear_1"),
    (r"^pooled\.out", "time_text_embed.text_embedder.linear_2"),
    (r"^context\.", "context_embedder."),
    (r"^modulation\.linear", "norm_out.linear"),
    (r"^pixels", "proj_out"),
    (r"^blocks", "transformer_blocks"),
    (r"image\.modulation\.linear", "norm1.linear"),
    (r"text\.modulation\.linear", "norm1_context.linear"),
    (r"image\.(q|k)\w+_norm\.scale", r"attn.norm_\1.weight"),
    (r"text\.(q|k)\w+_norm\.scale", r"attn.norm_added_\1.weight"),
    (r"image\.(q|k|v)(uery|ey|alue)\.", r"attn.to_\1."),
    (r"text\.(q|k|v)(uery|ey|alue)\.", r"attn.add_\1_proj."),
    (r"image\.out", "attn.to_out.0"),
    (r"text\.out", "attn.to_add_out"),
    (r"image\.mlp", "ff"),
    (r"text\.mlp", "ff_context"),
    (r"(ff\w*)\.hidden", r"\1.net.0.proj"),
    (r"(ff\w*)\.out", r"\1.net.2"),
)
WORDS = (  # diffusers' names of inputs and outputs -> those of the recordings
    (r"^(grad_input/|)hidden_states$", r"\1x"),
    (r"^(grad_input/|)encoder_hidden_states$", r"\1text"),
    (r"^(grad_input/|)pooled_projections$", r"\1pooled"),
    (r"^timestep$", "t"),
    (r"^sample$", "output"),
)


def views(state: Arrays, config: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under published names and in published shapes."""
    found = {}
    for name, x in state.items():
        if name == "embed.weight":
            x = x.reshape(*config.patch_size, config.channels, config.width).transpose(3, 2, 0, 1)
        elif name == "positions":
            x = x.reshape(1, -1, config.width)
        elif name.endswith(".weight"):
            x = x.T
        found[renamed(name, _NAMES)] = x
    return found


def build(arrays: Arrays, config: Mapping[str, Any], dtype: str = "float64", source: str = "the file") -> MMDiT:
    """The network of published weights.   config: in diffusers' names; shapes tell what it does not. Raises
    CheckpointError and ConfigError."""
    shapes, block = Shapes(arrays, source, "MM-DiT's"), "transformer_blocks.0"
    width, channels, *patch = shapes("pos_embed.proj.weight", 4)
    norm = f"{block}.attn.norm_q.weight"
    head = config.get("attention_head_dim") or (shapes(norm, 1)[0] if norm in arrays else 64)
    table = config.get("pos_embed_max_size")
    if table is None:
        table = math.isqrt(shapes("pos_embed.pos_embed", 3)[1]) if "pos_embed.pos_embed" in arrays else 192
    side = config.get("sample_size", 128)
    shape = ViTConfig(
        image_size=side,
        patch_size=(patch[0], patch[1]),
        width=width,
        depth=shapes.depth(r"transformer_blocks\.(\d+)\."),
        heads=width // head,
        mlp_width=shapes(f"{block}.ff.net.0.proj.weight", 2)[0],
        channels=channels,
        num_classes=0,
        classifier="gap",
        position="sincos2d",
    )
    text, pooled = (
        shapes(f"{name}.weight", 2)[1] for name in ("context_embedder", "time_text_embed.text_embedder.linear_1")
    )
    outputs = shapes("proj_out.weight", 2)[0] // math.prod(patch)
    network = MMDiT(shape, text, pooled, outputs, norm in arrays, table, side // patch[0], None, dtype)
    own = views({name: tensor.data for name, tensor in network.named_tensors()}, shape)
    if "pos_embed.pos_embed" not in arrays:
        del own["pos_embed.pos_embed"]
    fill(own, arrays, source)
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> MMDiT:
    """The network of a file of published weights in diffusers' layout (.safetensors).

    fields: as in its config.json, which is read where it lies beside the file. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    return build(read_arrays(path)[0], {**beside(path, "mmdit"), **fields}, dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that MM-DiT defines, by its name there. The loss is the sum of output times
    cotangent."""
    network, tap = build(case.weights, case.config, source=case.name).eval(), dict[str, Any]()
    inputs = {"x": case.images("x"), "text": case.input("text"), "pooled": case.input("pooled")}
    leaves = {name: Tensor(x, requires_grad=True) for name, x in inputs.items()}
    with outputs(network) as inner:
        output = network(*leaves.values(), case.input("t"), tap=tap)
    loss = (output * case.images("cotangent")).sum()
    named, found = case.differentiated(loss, leaves, network)
    found |= modules.under(case, "", inner, lambda path: renamed(path, _NAMES))
    found |= {name: x.data for name, x in tap.items()}
    found |= {"output": case.laid_out(output.data), "loss": loss.data, "proj_out": tap["pixels"].data}
    return found | {f"grad/{name}": g for name, g in views(named, network.config).items()}
