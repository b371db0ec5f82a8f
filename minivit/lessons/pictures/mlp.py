"""The MLP of a block: every token is processed alone, and in the same way."""

from typing import Any

import numpy as np

from minivit import ops
from minivit.data import normalize
from minivit.lessons.pictures.sketch import GREEN, INK, PURPLE, arrow, box, canvas, label, matrix, outline
from minivit.models import ViT
from minivit.tensor import Tensor, no_grad

CELL, LARGE = 0.06, 0.15  # inches
SHOWN = 9  # hidden units


def token_by_token(model: ViT, image: np.ndarray, rows: tuple[int, ...] = (0, 6, 11)) -> Any:
    """The MLP of block 1 of a model on an image (height, width, C): three of its tokens side by side."""
    block: Any = model.blocks[0]
    tap: dict = {}
    with no_grad():
        z = model.embed(Tensor(model.like(normalize(image[None]))))
        z = block.norm2(z + block.attention(block.norm1(z), tap=tap))
        inner = block.mlp.hidden(z)
        result = block.mlp.out(Tensor(ops.gelu(inner.data, block.mlp.gelu)[0]))
    before, inside, after = z.data[0], inner.data[0], result.data[0]
    gate = ops.gelu(inside, block.mlp.gelu)[0]
    tokens, width = before.shape
    wide, tall, long = width * CELL, tokens * CELL, SHOWN * LARGE
    figure, axes = canvas(11, 2.9)
    lanes = [0.62 + i * 0.8 for i in range(len(rows))]
    top = 1.42 - tall / 2
    x1, x2, x3 = wide + 0.75, wide + long + 1.95, wide + 2 * long + 3.15  # the boxes between
    for x, text in ((x1, "$W_1, b_1$"), (x2, "GELU"), (x3, "$W_2, b_2$")):
        box(axes, x, 0.35, 0.75, 2.15, text)
    limit = float(np.abs(inside[list(rows), :SHOWN]).max()) / 2
    end = x3 + 1.25
    matrix(axes, 0.3, top, before, CELL, cmap="RdBu_r", limits=(-3, 3), title=f"{tokens} tokens of width {width}")
    size = float(np.abs(after).max()) / 1.5
    matrix(axes, end, top, after, CELL, cmap="RdBu_r", limits=(-size, size), title="result")
    for row, lane, colour in zip(rows, lanes, (INK, GREEN, PURPLE), strict=True):
        y = top + (row + 0.5) * CELL
        outline(axes, 0.3, top + row * CELL, wide, CELL, colour)
        outline(axes, end, top + row * CELL, wide, CELL, colour)
        arrow(axes, (0.34 + wide, y), (x1, lane), color=colour)
        for x, values in ((x1 + 0.98, inside), (x2 + 0.98, gate)):
            matrix(
                axes,
                x,
                lane - LARGE / 2,
                values[row, :SHOWN],
                LARGE,
                cmap="RdBu_r",
                limits=(-limit, limit),
                border=colour,
            )
            arrow(axes, (x - 0.25, lane), (x - 0.02, lane), color=colour)
            arrow(axes, (x + long + 0.02, lane), (x + long + 0.25, lane), color=colour)
        arrow(axes, (x3 + 0.75, lane), (end - 0.04, y), color=colour)
    label(axes, x1 + 1 + long / 2, 2.7, f"{SHOWN} of {inside.shape[1]} hidden units")
    label(axes, x2 + 1 + long / 2, 2.7, "blue is negative: it fades")
    return figure
