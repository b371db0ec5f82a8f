"""The graph of a backward pass as SVG: a box for each result and leaf, in the state of one step."""

import dataclasses
from collections.abc import Iterator

from minivit.backward import Node
from minivit.plots.svg import PLAIN, TINTS, caption, img, in_xml, page, shape_in_words, size_in_words, tip
from minivit.plots.tape_graph import IN_BLOCK
from minivit.stepper import words
from minivit.stepper.frame import Frame, Link
from minivit.stepper.layout import Box, Line, arrange
from minivit.stepper.walk import Walk

LINE, LETTER = 16, 7.2  # pixels: height of a line of text, and width of a letter in it
PADDING = 9
LONGEST_TITLE = 34  # letters
MONOSPACE = 'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace"'

# Border of a box by what has reached it: colour, width, dashes. Colours of Okabe and Ito's palette.
STATES = {
    "waits": ("#8a8a8a", 1, "none"),
    "part": ("#b87700", 3, "6 4"),  # some of its portions are there
    "whole": ("#0072b2", 3, "none"),
    "runs": ("#c44e00", 5, "none"),
    "done": ("#00795a", 2, "none"),
}
LEGEND = {
    "waits": "waits for its cotangent g",
    "part": "has some portions of it",
    "whole": "has all",
    "runs": "its vjp runs",
    "done": "its vjp has run",
}
_LOOKS = dict(zip(STATES, ("thin and grey", "dashed", "blue", "thick and orange", "green"), strict=True))
LEGEND_TEXT = "Borders of boxes. " + "; ".join(f"{_LOOKS[state]}: {meaning}" for state, meaning in LEGEND.items())
LEGEND_WIDTH, LEGEND_HEIGHT = 240, 22 * len(LEGEND) + 8


@dataclasses.dataclass
class Face:
    """The text in the box of a Node or leaf. title; fixed: the lines below it; room: the number of lines to come about
    the cotangent; longest: letters in the longest line, including those to come."""

    title: str
    fixed: list[str]
    room: int
    longest: int

    @property
    def height(self) -> int:
        """The height of the box in pixels."""
        return LINE * (1 + len(self.fixed) + self.room) + PADDING


class Drawing:
    """A graph with places for all its boxes, which can be drawn at any step."""

    def __init__(self, stepper: Walk):
        self.stepper = stepper
        self.faces: dict[Link, Face] = {link: self._face(link) for link in stepper.portions}
        width = max(face.longest for face in self.faces.values()) * LETTER + 2 * PADDING
        heights = {link: face.height for link, face in self.faces.items()}
        self.layout = arrange(stepper.nodes, stepper.portions, round(width), heights.__getitem__)
        self.links = list(self.layout.boxes)  # box i is that of links[i]
        self.number = {link: i for i, link in enumerate(self.links)}

    def _face(self, link: Link) -> Face:
        stepper = self.stepper
        if isinstance(link, Node):
            shape, kept = link.output_shape, stepper.saved_bytes[link]
            title = _expression(stepper, link)
            fixed = [shape_in_words(shape) + (f", saves {size_in_words(kept)}" if kept else "")]
        else:
            shape = link.shape
            title = f"{IN_BLOCK.sub('', stepper.label(link))} ({shape_in_words(shape)})"
            fixed = []
        value = stepper.value(link)
        if value is not None and words.is_small(shape):
            first, *others = words.lines_of(value)
            fixed += [f"value {first}", *(f"      {line}" for line in others)]
        title = title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"
        if words.is_small(shape) and shape:  # "g (1 of 2) =" and below it the numbers, about 8 letters each
            room, coming = 1 + words.number_of_lines(shape), 8 * min(shape[-1], words.PER_LINE)
        else:  # "✓ g norm 0.000123 (1 of 2)"
            room, coming = 1, 26
        bold = 1.1  # times as wide
        return Face(title, fixed, room, round(max(bold * len(title), *map(len, fixed), coming, 24)))

    def changes(self, position: int) -> dict[int, tuple[str, list[str]]]:
        """The changes of a step: for the number of a box its new state and lines about its cotangent."""
        frame = self.stepper.frame(position)
        changed: dict[Link, tuple[str, list[str]]] = {}
        before = self.stepper.frame(position - 1).node if position else None
        if before is not None:
            changed[before] = "done", self._cotangent_lines(before, frame, "✓ ")
        touched = frame.accumulated if frame.node is None else frame.node.inputs
        for link in touched:
            if link is not None:
                state = "whole" if frame.arrived[link] == self.stepper.portions[link] else "part"
                changed[link] = state, self._cotangent_lines(link, frame)
        if frame.node is not None:
            changed[frame.node] = "runs", self._cotangent_lines(frame.node, frame, "▶ ")
        return {self.number[link]: change for link, change in changed.items()}

    def _cotangent_lines(self, link: Link, frame: Frame, mark: str = "") -> list[str]:
        total, arrived = self.stepper.portions[link], frame.arrived[link]
        part = f" ({arrived} of {total})" if total > 1 else ""
        lines = words.lines_of(frame.accumulated[link])
        if self.faces[link].room == 1:
            return [f"{mark}g {'' if lines[0].startswith('norm') else '= '}{lines[0]}{part}"]
        return [f"{mark}g{part} =", *lines]

    def waiting(self, link: Link) -> list[str]:
        """The lines of a box that no cotangent has reached."""
        total = self.stepper.portions[link]
        return ["g waits" + (f" (0 of {total})" if total > 1 else "")]

    def active_lines(self, position: int) -> list[int]:
        """The numbers of the lines along which a step sends cotangents."""
        node = self.stepper.frame(position).node
        return [i for i, line in enumerate(self.layout.lines) if node is not None and line.target is node]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, without the legend."""
        return round(self.layout.width), round(self.layout.height)

    def body(self, position: int, prefix: str) -> Iterator[str]:
        """The graph at a step, without the page. prefix: of its marker names, which must differ between drawings on one
        page."""
        yield f"<defs>{tip(prefix + '-tip')}{tip(prefix + '-back', STATES['runs'][0], 'auto-start-reverse')}</defs>"
        for column in self.layout.columns if len(self.layout.columns) > 1 else ():
            yield caption(column.left, 26, column.title, 14, "bold")
        active = set(self.active_lines(position))
        for i, line in enumerate(self.layout.lines):
            yield _line(line, i in active, prefix)
        state: dict[int, tuple[str, list[str]]] = {}
        for step in range(position + 1):
            state |= self.changes(step)
        for i, link in enumerate(self.links):
            yield from self._box(self.layout.boxes[link], *state.get(i, ("waits", self.waiting(link))))

    def _box(self, box: Box, state: str, lines: list[str]) -> Iterator[str]:
        """A box; only the texts of class "g" and the border change from step to step."""
        face = self.faces[box.link]
        fill = TINTS.get(box.link.op, PLAIN) if isinstance(box.link, Node) else "#fff8e6"
        colour, thick, dash = STATES[state]
        yield f'<g class="box"><title>{in_xml(self.stepper.label(box.link))}</title>'
        yield (
            f'<rect x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" height="{box.height:g}" rx="6" '
            f'fill="{fill}" stroke="{colour}" stroke-width="{thick}" stroke-dasharray="{dash}"/>'
        )
        x, y = box.left + PADDING, box.top + LINE
        yield caption(x, y, face.title, 12, "bold")
        for line in face.fixed:
            y += LINE
            yield _monospaced(x, y, line)
        for i in range(face.room):
            y += LINE
            yield _monospaced(x, y, lines[i] if i < len(lines) else "", "g")
        yield "</g>"

    def graph(self, position: int, prefix: str) -> str:
        """The graph at a step, without legend and text."""
        title = page(*self.size, f"The graph of the backward pass. {self.stepper.heading(position)}")
        return "\n".join([title, *self.body(position, prefix), "</svg>\n"])

    def svg(self, position: int) -> str:
        """The graph at a step, with the text of the step below it."""
        width, height = self.size
        lines = self.stepper.details(position).splitlines()
        heading = self.stepper.heading(position)
        wide = max(width, round(max(map(len, [heading, *lines])) * LETTER) + 40)
        parts = [
            page(wide, height + LEGEND_HEIGHT + LINE * len(lines) + 50, f"Backward pass. {heading}"),
            *self.body(position, "backward"),
            *legend(height),
            caption(18, height + LEGEND_HEIGHT + 20, heading, 14, "bold"),
            *(_monospaced(18, height + LEGEND_HEIGHT + 44 + LINE * i, line) for i, line in enumerate(lines)),
        ]
        return "\n".join([*parts, "</svg>\n"])


@dataclasses.dataclass(repr=False)
class Strip:
    """Several steps in one still picture, four in a row."""

    drawing: Drawing
    positions: list[int]

    def svg(self) -> str:
        """The picture."""
        width, height = self.drawing.size
        across = min(4, len(self.positions))
        down = -(-len(self.positions) // 4)
        parts = [page(width * across, (height + 30) * down + LEGEND_HEIGHT, "Steps of the backward pass, in order")]
        for i, position in enumerate(self.positions):
            row, column = divmod(i, 4)
            parts.append(f'<g transform="translate({width * column},{(height + 30) * row})">')
            heading = self.drawing.stepper.heading(position)
            parts.append(caption(18, 22, heading.partition(":")[0] if position else "Start", 14, "bold"))
            parts += ['<g transform="translate(0,26)">', *self.drawing.body(position, f"strip{position}"), "</g></g>"]
        return "\n".join([*parts, *legend((height + 30) * down), "</svg>\n"])

    def html(self) -> str:
        """The picture as an HTML image, which also shows in notebooks that are not trusted."""
        headings = "; ".join(map(self.drawing.stepper.heading, self.positions))
        return img(self.svg(), f"The graph of the backward pass at {len(self.positions)} steps. {headings}")

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return f"steps {', '.join(map(str, self.positions))} of a backward pass"


def legend(top: float) -> Iterator[str]:
    """The meaning of the borders of boxes."""
    for i, (state, meaning) in enumerate(LEGEND.items()):
        y = top + 22 * i
        colour, thick, dash = STATES[state]
        yield (
            f'<rect x="18" y="{y:g}" width="26" height="14" rx="4" fill="white" stroke="{colour}" '
            f'stroke-width="{thick}" stroke-dasharray="{dash}"/>'
        )
        yield caption(54, y + 12, meaning, 12)


def _expression(stepper: Walk, node: Node) -> str:
    """ "c = mul(a, b)", "c = mul" where an argument has no name, "mul" for a result without one."""
    name = f"{stepper.label(node)} = " if stepper.is_named(node) else ""
    arguments = [argument.link for argument in stepper.inputs[node]]
    if name and all(link is not None and stepper.is_named(link) for link in arguments):
        return f"{name}{node.op}({', '.join(stepper.label(link) for link in arguments if link is not None)})"
    return name + node.op


def _line(line: Line, active: bool, prefix: str) -> str:
    """A line: grey with the data, or thick against it while cotangents go along it."""
    if active:
        style = f'stroke="{STATES["runs"][0]}" stroke-width="3" marker-start="url(#{prefix}-back)"'
    else:
        style = f'stroke="#777" stroke-width="1" marker-end="url(#{prefix}-tip)"'
    return f'<path class="line" d="{line.path}" fill="none" stroke-linejoin="round" {style}/>'


def _monospaced(x: float, y: float, line: str, kind: str = "fixed") -> str:
    style = f'font-size="11.5" {MONOSPACE} xml:space="preserve" fill="#111"'
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" {style}>{in_xml(line)}</text>'
