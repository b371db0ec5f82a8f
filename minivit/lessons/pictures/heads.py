"""Attention heads as slices of the width: what multi-head attention does to the tokens of one image."""

from typing import Any

import numpy as np

from minivit.data import normalize
from minivit.lessons.pictures.sketch import GREEN, INK, PURPLE, arrow, canvas, label, matrix, outline
from minivit.models import ViT
from minivit.ops.attention import attention, attention_weights, split_heads
from minivit.tensor import Tensor, no_grad

COLOURS = (INK, GREEN, "#b07d12", PURPLE)  # none of them a colour of the numbers
CELL = 0.062  # inches


def side_by_side(model: ViT, image: np.ndarray) -> Any:
    """Block 1 of a model on an image (height, width, C): queries, keys and values cut into heads, the attention weights
    of each, their results side by side, and the product with U_msa. The model has at most four heads."""
    layer: Any = model.blocks[0].attention
    with no_grad():
        qkv = layer.qkv(model.blocks[0].norm1(model.embed(Tensor(model.like(normalize(image[None]))))))
        result = layer.out(Tensor(attention(qkv.data, layer.heads)[0])).data[0]
    parts = dict(zip(("queries", "keys", "values"), np.split(qkv.data[0], 3, axis=1), strict=True))
    q, k, v = split_heads(qkv.data, layer.heads)
    weights = attention_weights(q, k)[0]
    tokens, width = result.shape
    wide, tall = width * CELL, tokens * CELL
    step = 1.36
    figure, axes = canvas(9.75, 0.55 + layer.heads * step)
    tops = [0.5 + i * step for i in range(layer.heads)]
    middle = 0.5 + (layer.heads - 1) * step / 2
    limit = float(np.abs(qkv.data).max()) / 2
    for (name, values), top in zip(parts.items(), (middle - 1.5, middle, middle + 1.5), strict=True):
        matrix(axes, 0.45, top, values, CELL, cmap="RdBu_r", limits=(-limit, limit), title=name)
        slices(axes, 0.45, top, wide, tall, layer.heads)
    label(axes, 0.22, middle + tall / 2, f"{tokens} tokens", rotation=90)
    label(axes, 0.45 + wide / 2, middle + 1.65 + tall, f"{width} features")
    for i, (top, colour) in enumerate(zip(tops, COLOURS, strict=False)):
        arrow(axes, (0.6 + wide, middle + tall / 2), (3.55, top + tall / 2), color=colour)
        matrix(axes, 3.65, top, weights[i], CELL, cmap="gray_r", border=colour, title=f"A of head {i}")
        arrow(axes, (3.75 + tall, top + tall / 2), (5.35, top + tall / 2), "A v", color=colour)
        mine = (weights[i] @ v[0, i]) / limit
        matrix(axes, 5.45, top, mine, CELL, cmap="RdBu_r", limits=(-1, 1), border=colour)
        arrow(axes, (5.55 + wide / layer.heads, top + tall / 2), (7.2, middle - 0.75 + tall / 2), color=colour)
    joined = np.concatenate(list(weights @ v[0]), axis=1)
    matrix(axes, 7.35, middle - 0.75, joined, CELL, cmap="RdBu_r", limits=(-limit, limit), title="side by side")
    slices(axes, 7.35, middle - 0.75, wide, tall, layer.heads)
    arrow(axes, (7.35 + wide / 2, middle - 0.65 + tall), (7.35 + wide / 2, middle + 0.95))
    label(axes, 7.5 + wide / 2, middle + 0.62, "times $\\mathbf{U}_{msa}$", ha="left")
    size = float(np.abs(result).max()) / 1.5
    matrix(axes, 7.35, middle + 1.0, result, CELL, cmap="RdBu_r", limits=(-size, size))
    label(axes, 7.35 + wide / 2, middle + 1.15 + tall, "result: the heads are mixed", color=INK)
    label(axes, 7.35 + wide / 2, middle + 1.5 + tall, "red: positive, blue: negative", 9)
    return figure


def slices(axes: Any, x: float, y: float, width: float, height: float, heads: int) -> None:
    """Coloured frames around the columns of each head."""
    for i, colour in zip(range(heads), COLOURS, strict=False):
        outline(axes, x + i * width / heads, y, width / heads, height, colour)
