"""The computation graph of a step as an SVG drawing, made without any other program.

Time runs down each column and then on to the next. A box is an op, a pill to its right a parameter or data that it
takes, a line an array that one op passes to another. The bar in a box shows the memory that the op keeps for the
backward pass.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from minivit.backward import Node
from minivit.plots.svg import PLAIN, TINTS, caption, page, shape_in_words, size_in_words, tip
from minivit.plots.tape_graph import IN_BLOCK, Column, columns_of, kept_bytes
from minivit.tape import tape
from minivit.tensor import Tensor

# Pixels.
BOX_WIDTH, BOX_HEIGHT, GAP = 170, 62, 24  # of an op, and between ops
PILL_HEIGHT, PILL_STEP = 19, 21  # of a parameter, and from one to the next
LETTER = 6.8  # width of a letter in a pill
LEFT = 52  # room in a column for lines that pass by ops
LANE = 14  # between two such lines
TOP = 150  # of the first op of a column

Place = tuple[int, int, int]  # left, top and bottom of the box of an op


def computation_graph(loss: Tensor, title: str, path: Path) -> None:
    """The graph that made `loss`, as an SVG file; call it before the backward pass, which empties the tape.

    Each op shows the shape of its result and the bytes that it keeps (`kept_bytes`), each parameter its name and shape.
    Blocks and units (ops on parameters named "blocks.0. ...") have a column each; equal neighbours share one. Raises
    ValueError if nothing was recorded.
    """
    nodes = tape(loss)
    if not nodes:
        raise ValueError("computation_graph: nothing was recorded: no input requires a gradient, or no_grad was on")
    columns = columns_of(nodes)
    kept = kept_bytes(nodes)
    starts = list(itertools.accumulate(map(_width, columns), initial=10))
    places: dict[int, Place] = {}  # by the `order` of the node
    for x, column in zip(starts, columns, strict=False):
        y = TOP
        for node in column.nodes:
            places[node.order] = x + LEFT, y, y + _height(node)
            y += _height(node) + GAP
    width = starts[-1] + 4
    height = max(bottom for _, _, bottom in places.values()) + 50
    most = max(kept.values()) or 1
    total = size_in_words(sum(kept.values()))
    subtitle = f"{len(nodes)} ops; bar and size in a box: what it keeps for the backward pass, in all {total}"
    parts = [
        page(width, height, title),
        f"<defs>{tip('tip')}</defs>",
        caption(20, 36, title, 20, "bold"),
        caption(20, 60, subtitle, 13),
    ]
    for x, column in zip(starts, columns, strict=False):
        parts += _column(x, column, height)
    for column, following in itertools.pairwise(columns):
        parts.append(_to_next_column(places[column.nodes[-1].order], places[following.nodes[0].order]))
    for column in columns:
        parts += _lines_within(column, places)
        for node in column.nodes:
            parts += _op(node, places[node.order], kept[node.order], most)
    path.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")


def _width(column: Column) -> int:
    """Of a column, with room for the longest name in it."""
    longest = max((len(text) for node in column.nodes for text, _ in _from_outside(node)), default=0)
    return LEFT + BOX_WIDTH + 30 + round(LETTER * longest) + 18


def _height(node: Node) -> int:
    """Of the box of an op, with room for all that it takes."""
    return max(BOX_HEIGHT, PILL_STEP * len(_from_outside(node)))


def _column(x: int, column: Column, height: int) -> Iterator[str]:
    """Its background and title."""
    size = f'width="{_width(column) - 6}" height="{height - 90}"'
    yield f'<rect x="{x}" y="78" {size} rx="10" fill="#f8f8f8" stroke="#dddddd"/>'
    yield caption(x + LEFT, 104, column.title, 15, "bold")


def _op(node: Node, place: Place, kept: int, most: int) -> Iterator[str]:
    """The box of an op and the pills of what it takes from outside the graph."""
    x, y, bottom = place
    size = f'width="{BOX_WIDTH}" height="{bottom - y}"'
    yield f'<rect x="{x}" y="{y}" {size} rx="6" fill="{TINTS.get(node.op, PLAIN)}" stroke="#555"/>'
    yield caption(x + 10, y + 19, node.op, 14, "bold")
    yield caption(x + 10, y + 37, shape_in_words(node.output_shape), 13)
    if kept:
        length = max(1, round((BOX_WIDTH - 90) * kept / most))
        yield f'<rect x="{x + 10}" y="{y + 46}" width="{length}" height="8" fill="#0072B2"/>'
        yield caption(x + BOX_WIDTH - 10, y + 54, size_in_words(kept), 12, anchor="end")
    outside = _from_outside(node)
    top = (y + bottom - PILL_STEP * len(outside)) // 2 + 1
    for i, (text, is_data) in enumerate(outside):
        left, above = x + BOX_WIDTH + 14, top + i * PILL_STEP
        size = f'width="{round(LETTER * len(text)) + 18}" height="{PILL_HEIGHT}"'
        fill = "white" if is_data else "#fff3d6"
        yield f'<rect x="{left}" y="{above}" {size} rx="9" fill="{fill}" stroke="#b08a3c"/>'
        yield caption(left + 9, above + 14, text, 12)
        yield f'<path d="M{left},{above + PILL_HEIGHT // 2} h-13" stroke="#333" marker-end="url(#tip)"/>'


def _from_outside(node: Node) -> list[tuple[str, bool]]:
    """What an op takes that no op of the graph made: name and shape, and whether it is data rather than a leaf."""
    taken = []
    for link, shape in zip(node.inputs, node.input_shapes, strict=True):
        if isinstance(link, Tensor):
            name = link.name or "leaf"
            taken.append((f"{IN_BLOCK.sub('', name)} {shape_in_words(shape)}", False))
        elif link is None and shape:  # numbers are not worth a pill
            taken.append((f"data {shape_in_words(shape)}", True))
    return taken


def _lines_within(column: Column, places: Mapping[int, Place]) -> Iterator[str]:
    """Lines into the ops of a column: down from the op above, or past others on the left.

    What comes from an earlier column enters at its top, where `_to_next_column` ends.
    """
    x, first, _ = places[column.nodes[0].order]
    here = {node.order for node in column.nodes}
    lanes: list[int] = []  # down to where each lane on the left is taken
    for node in column.nodes:
        y = places[node.order][1]
        for link in node.inputs:
            if not isinstance(link, Node):
                continue
            start = places[link.order][2] if link.order in here else first - GAP
            if y - start == GAP:
                yield _arrow(f"M{x + BOX_WIDTH // 2},{start} V{y}")
                continue
            leave = start - BOX_HEIGHT // 3 if link.order in here else start
            lane = next((i for i, taken in enumerate(lanes) if taken < leave), len(lanes))
            lanes[lane : lane + 1] = [y + BOX_HEIGHT // 3]
            side = x - LANE * (lane + 1)
            yield _arrow(f"M{x},{leave} H{side} V{y + BOX_HEIGHT // 3} H{x}")


def _to_next_column(last: Place, first: Place) -> str:
    """The line from the last op of a column to the top of the next column."""
    middle = BOX_WIDTH // 2
    path = f"M{last[0] + middle},{last[2]} v14 H{first[0] - LEFT - 3} V{first[1] - GAP} H{first[0] + middle}"
    return f'<path d="{path}" fill="none" stroke="#333" stroke-linejoin="round"/>'


def _arrow(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#333" stroke-linejoin="round" marker-end="url(#tip)"/>'
