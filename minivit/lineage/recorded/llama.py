"""The language model of LLaVA and Flamingo as published code has it: names of its arrays, and its configuration."""

from collections.abc import Mapping
from typing import Any

from minivit.errors import CheckpointError, shown
from minivit.lineage.llama import LlamaConfig
from minivit.models.layouts import Shapes

LAYERS = (  # ours -> theirs, of the parts of a layer
    (r"(?<=\d)\.norm1\.", ".input_layernorm."),
    (r"(?<=\d)\.norm2\.", ".post_attention_layernorm."),
    (r"(?<=\d)\.attention\.query\.", ".self_attn.q_proj."),
    (r"(?<=\d)\.attention\.key\.", ".self_attn.k_proj."),
    (r"(?<=\d)\.attention\.value\.", ".self_attn.v_proj."),
    (r"(?<=\d)\.attention\.out\.", ".self_attn.o_proj."),
    (r"(?<=\d)\.mlp\.gate\.", ".mlp.gate_proj."),
    (r"(?<=\d)\.mlp\.value\.", ".mlp.up_proj."),
    (r"(?<=\d)\.mlp\.out\.", ".mlp.down_proj."),
    (r"\.scale$", ".weight"),
)


def fields(
    text: Mapping[str, Any], shapes: Shapes, table: str, layer: str, head: str, kind: type[LlamaConfig] = LlamaConfig
) -> dict[str, Any]:
    """Fields of LlamaConfig: what the arrays tell, and of the rest what the configuration of transformers says, or the
    usual.   table: the name of the table of words; layer: a pattern of the names of layers, with a group for the
    number; head: the name of the logits' matrix. Raises CheckpointError for what is not supported."""
    first = layer.replace(r"(\d+)", "0").replace("\\", "")
    vocabulary, width = shapes(table, 2)
    wide, narrow = (shapes(f"{first}self_attn.{name}_proj.weight", 2)[0] for name in "qk")
    heads = text.get("num_attention_heads") or max(1, wide // 128)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    theta = text.get("rope_theta") or rope.get("rope_theta") or kind.theta
    act, kind_of_rope = text.get("hidden_act", "silu"), rope.get("rope_type", rope.get("type", "default"))
    if act not in ("silu", "swish") or kind_of_rope != "default" or text.get("attention_bias") or text.get("mlp_bias"):
        raise CheckpointError(
            f"{shapes.source}: hidden_act {shown(str(act))}, rope_type {shown(str(kind_of_rope))}: expected silu and "
            "default, without biases"
        )
    if wide % heads or narrow % (wide // heads):
        raise CheckpointError(f"{shapes.source}: {heads} heads do not divide queries of {wide}, keys of {narrow}")
    return {
        "vocabulary": vocabulary,
        "width": width,
        "mlp_width": shapes(f"{first}mlp.gate_proj.weight", 2)[0],
        "depth": shapes.depth(layer),
        "heads": heads,
        "kv_heads": narrow // (wide // heads),
        "head_width": wide // heads,
        "norm_eps": text.get("rms_norm_eps", 1e-5),
        "theta": float(theta),
        "tied": head not in shapes,
    }
