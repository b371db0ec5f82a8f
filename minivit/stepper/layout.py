"""Places the boxes and lines of a graph: time runs down each column and then on to the next.

Results of ops stand below one another in the order in which they were made, so the backward pass goes up. A leaf used
once stands beside its op; a leaf used more often stands in the column, like a result. A line goes straight down to the
next box; past other boxes it takes a lane on their left, and to another column a track below all columns.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from minivit.backward import Node
from minivit.plots.tape_graph import by_block
from minivit.stepper.frame import Link
from minivit.tensor import Tensor

# Pixels.
GAP = 22  # between boxes below one another
ASIDE = 22  # between an op and the leaves beside it
CLOSE = 5  # between such leaves
LANE = 10  # between parallel lines
MARGIN = 16
HEADER = 26  # for the title of a column

ROWS = 13  # at most in a column


@dataclasses.dataclass
class Box:
    """The place of a Node or leaf."""

    link: Link
    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """y of the lower edge."""
        return self.top + self.height


@dataclasses.dataclass
class Column:
    """Nodes and shared leaves, from the first to the last. left: x of the boxes; lanes: how many lines pass them."""

    title: str
    links: list[Link]
    left: float = 0
    lanes: int = 0


@dataclasses.dataclass
class Line:
    """From a Node or leaf to argument `index` of an op; path: as in an SVG <path>, with the arrow at its end."""

    source: Link
    target: Node
    index: int
    path: str = ""


@dataclasses.dataclass
class Layout:
    """A page of `width` times `height` pixels with boxes by Node or leaf, lines and columns."""

    width: float
    height: float
    boxes: dict[Link, Box]
    lines: list[Line]
    columns: list[Column]


def arrange(
    nodes: list[Node], portions: Mapping[Link, int], width: float, height_of: Callable[[Link], float]
) -> Layout:
    """The layout of a tape, oldest node first. width: of every box; height_of: what a box needs."""
    columns = _columns(nodes, portions)
    top = float(MARGIN + (HEADER if len(columns) > 1 else 0))
    boxes: dict[Link, Box] = {}
    for column in columns:
        y = top
        for link in column.links:
            y = _row(link, portions, y, width, height_of, boxes) + GAP
    bottom = max(box.bottom for box in boxes.values())
    lines = [Line(link, node, i) for node in nodes for i, link in enumerate(node.inputs) if link is not None]
    router = _Router(columns, boxes, lines, bottom)
    x = float(MARGIN)
    for column in columns:
        column.left = x + LANE * column.lanes
        for link in column.links:
            boxes[link].left = column.left
            for leaf in _beside(link, portions):
                boxes[leaf].left = column.left + width + ASIDE
        aside = any(_beside(link, portions) for link in column.links)
        x = column.left + width + (ASIDE + width if aside else 0) + 2 * MARGIN
    for line in lines:
        line.path = router.path(line)
    return Layout(x - MARGIN, bottom + LANE * router.tracks + MARGIN, boxes, lines, columns)


def _columns(nodes: list[Node], portions: Mapping[Link, int]) -> list[Column]:
    """A column for each block of a model, or several if it is long."""
    placed: set[Link] = set()
    columns = []
    for block in by_block(nodes):
        links: list[Link] = []
        for node in block.nodes:
            shared = [x for x in node.inputs if isinstance(x, Tensor) and portions[x] > 1 and x not in placed]
            links += [*dict.fromkeys(shared), node]
            placed.update(shared)
        rows = math.ceil(len(links) / math.ceil(len(links) / ROWS))
        for start in range(0, len(links), rows):
            title = f"{block.title}, continued" if start else block.title
            columns.append(Column(title, links[start : start + rows]))
    return columns


def _beside(link: Link, portions: Mapping[Link, int]) -> list[Tensor]:
    """The leaves that stand to the right of an op."""
    inputs = link.inputs if isinstance(link, Node) else ()
    return [leaf for leaf in inputs if isinstance(leaf, Tensor) and portions[leaf] == 1]


def _row(
    link: Link,
    portions: Mapping[Link, int],
    top: float,
    width: float,
    height_of: Callable[[Link], float],
    boxes: dict[Link, Box],
) -> float:
    """Place a box and the leaves beside it; the y below them."""
    y = top
    for leaf in _beside(link, portions):
        boxes[leaf] = Box(leaf, 0, y, width, height_of(leaf))
        y += boxes[leaf].height + CLOSE
    boxes[link] = Box(link, 0, top, width, max(height_of(link), y - CLOSE - top))
    return boxes[link].bottom


class _Router:
    """Finds lanes and tracks for all lines, so that no two lie on one another; then draws each."""

    def __init__(self, columns: list[Column], boxes: dict[Link, Box], lines: list[Line], bottom: float):
        self.columns, self.boxes, self.bottom = columns, boxes, bottom
        self.column_of = {link: i for i, column in enumerate(columns) for link in column.links}
        self.above = {b: a for column in columns for a, b in zip(column.links, column.links[1:], strict=False)}
        self.straight = Counter((x.source, x.target) for x in lines if self.above.get(x.target) is x.source)
        self.drawn: Counter = Counter()
        stays: list[list[tuple[float, float, Any]]] = [[] for _ in columns]
        crossings: list[tuple[float, float, Any]] = []
        for line in lines:
            if line.source not in self.column_of or (line.source, line.target) in self.straight:
                continue
            i, j = self.column_of[line.source], self.column_of[line.target]
            key = line.target, line.index
            if i == j:
                stays[i].append((self.leave(line), self.enter(line), (i, key)))
            else:
                stays[i].append((self.leave(line), bottom, (i, key)))
                stays[j].append((self.enter(line), bottom, (j, key)))
                crossings.append((i, j, key))
        self.lane: dict[Any, int] = {}
        for column, intervals in zip(columns, stays, strict=True):
            taken = _without_overlap(intervals)
            column.lanes = max(taken.values(), default=-1) + 1
            self.lane |= taken
        self.track = _without_overlap(crossings)
        self.tracks = max(self.track.values(), default=-1) + 1

    def leave(self, line: Line) -> float:
        """y at which a line leaves its source on the left."""
        return self.boxes[line.source].bottom - 8

    def enter(self, line: Line) -> float:
        """y at which a line reaches its target on the left: lower for a later argument."""
        box = self.boxes[line.target]
        return min(box.top + 10 + 9 * line.index, box.bottom - 14)

    def path(self, line: Line) -> str:
        """The line as an SVG path."""
        source, target = self.boxes[line.source], self.boxes[line.target]
        if line.source not in self.column_of:  # a leaf beside its op
            y = source.top + source.height / 2
            return f"M{source.left:g},{y:g} H{target.left + target.width:g}"
        pair = line.source, line.target
        if pair in self.straight:
            self.drawn[pair] += 1
            offset = 28 * (self.drawn[pair] - (self.straight[pair] + 1) / 2)
            return f"M{source.left + source.width / 2 + offset:g},{source.bottom:g} V{target.top:g}"
        i, j = self.column_of[line.source], self.column_of[line.target]
        key = line.target, line.index
        start, end = self._lane_x(i, key), self._lane_x(j, key)
        leave = f"M{source.left:g},{self.leave(line):g} H{start:g}"
        below = "" if i == j else f" V{self.bottom + LANE * (self.track[key] + 1):g} H{end:g}"
        return f"{leave}{below} V{self.enter(line):g} H{target.left:g}"

    def _lane_x(self, column: int, key: Any) -> float:
        return self.columns[column].left - LANE * (self.lane[column, key] + 1) - 4


def _without_overlap(intervals: list[tuple[float, float, Any]]) -> dict[Any, int]:
    """A number for each interval (start, end, key), so that intervals of one number do not touch; the first free."""
    ends: list[float] = []
    numbers = {}
    for start, end, key in sorted(intervals, key=lambda interval: interval[:2]):
        number = next((n for n, taken in enumerate(ends) if taken < start), len(ends))
        ends[number : number + 1] = [end]
        numbers[key] = number
    return numbers
