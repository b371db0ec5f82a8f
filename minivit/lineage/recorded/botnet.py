"""BoTNet's attention as timm has it: names and shapes of its arrays, and what was recorded of it."""

import functools

import numpy as np

from minivit.lineage.botnet import RelativeAttention
from minivit.lineage.published import renamed
from minivit.lineage.published_layers import load, recompute_network
from minivit.lineage.verify import Case
from minivit.models.layouts import Shapes

_NAMES = {r"^(height|width)$": r"pos_embed.\1_rel"}
TO_TIMM = functools.partial(renamed, rules=_NAMES.items())


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that the attention defines, by its name there."""
    shapes = Shapes(case.weights, case.name, "timm BoTNet")
    (rows, head_width), (columns, _) = shapes("pos_embed.height_rel", 2), shapes("pos_embed.width_rel", 2)
    heads = case.config.get("num_heads", 4)
    width, channels, *_ = shapes("qkv.weight", 4)
    attention = RelativeAttention(
        channels,
        width - 2 * heads * head_width,
        ((rows + 1) // 2, (columns + 1) // 2),
        heads,
        head_width,
        None,
        "float64",
        scaled=bool(case.config.get("scale_pos_embed", False)),
        bias="qkv.bias" in case.weights,
        pools=case.config.get("stride", 1) == 2,
    )
    load(attention, case.weights, case.name, TO_TIMM)
    return recompute_network(case, attention, TO_TIMM)
