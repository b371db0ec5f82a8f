"""Draws the curves of two experiments of the family and writes their tables and sentences into its pages:
`python docs/result_curves.py`.

The numbers are those of notebooks/results. A sentence takes its figures from the table beside it, so that none is
typed. The pictures bring their own light ground, so that they are legible on dark pages.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean

from number_tables.small import difference, points, standard_error, stored, with_error
from number_tables.table import Table, filled
from vit_picture import BLUE, GREEN, GREY, INK, ORANGE

DOCS = Path(__file__).parent
BEGIN, END = "<!-- Made by `python docs/result_curves.py`: {name} -->\n", "<!-- until here -->\n"
WIDE, HIGH, LEFT, TOP, BETWEEN = 340, 250, 64, 44, 90  # of a panel in pixels, before, above and between them
BELOW, LEGEND = 62, 265  # for the ticks and the label; for an entry of the legend
PURPLE = "#7b3fa0"


@dataclass(frozen=True)
class Line:
    """A curve.   values: by place on the x axis, the runs in percent.   dashed, square: how it is drawn."""

    name: str
    colour: str
    values: Mapping[str, Sequence[float]]
    dashed: bool = False
    square: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves over the same places, from `low` to `high` percent."""

    title: str
    label: str
    places: Sequence[str]
    lines: Sequence[Line]
    low: int
    high: int


def word(x: float, y: float, words: str, size: int = 13, colour: str = INK, anchor: str = "middle") -> str:
    """A text at a place."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'


def stroke(path: str, colour: str, width: float = 1, dashed: bool = False) -> str:
    """A line."""
    broken = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{broken}/>'


def mark(x: float, y: float, line: Line) -> str:
    """The sign of a mean."""
    if line.square:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{line.colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{line.colour}"/>'


def panel(it: Panel, left: float) -> list[str]:
    """Axes, curves and bars of one standard error each way."""
    parts = [word(left + WIDE / 2, TOP - 18, it.title, 15)]

    def across(i: int) -> float:
        return left + WIDE * (i + 0.5) / len(it.places)

    def down(percent: float) -> float:
        return TOP + HIGH * (it.high - percent) / (it.high - it.low)

    for percent in range(it.low, it.high + 1, 10):
        y = down(percent)
        parts.append(stroke(f"M{left:g},{y:g} H{left + WIDE:g}", "#d9dee4"))
        parts.append(word(left - 8, y + 4, str(percent), 12, GREY, "end"))
    for i, place in enumerate(it.places):
        parts.append(word(across(i), TOP + HIGH + 20, place, 12, GREY))
    parts.append(word(left + WIDE / 2, TOP + HIGH + 44, it.label))
    for line in it.lines:
        dots = [(across(it.places.index(place)), runs) for place, runs in line.values.items()]
        path = " L".join(f"{x:.1f},{down(mean(runs)):.1f}" for x, runs in dots)
        parts.append(stroke(f"M{path}", line.colour, 2, line.dashed))
        for x, runs in dots:
            error = standard_error(runs)
            parts.append(stroke(f"M{x:.1f},{down(mean(runs) - error):.1f} V{down(mean(runs) + error):.1f}", INK, 1.4))
            parts.append(mark(x, down(mean(runs)), line))
    return parts


def picture(panels: Sequence[Panel], title: str) -> str:
    """The file: panels side by side, and one legend below them."""
    lines = list({line.name: line for it in panels for line in it.lines}.values())
    width = LEFT + len(panels) * WIDE + (len(panels) - 1) * BETWEEN + 24
    across = max(1, width // LEGEND)
    top = TOP + HIGH + BELOW
    height = top + 24 * -(-len(lines) // across) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="12" fill="#fbfcfd"/>',
        f'<text x="20" y="{TOP + HIGH / 2:g}" font-size="13" fill="{INK}" text-anchor="middle" '
        f'transform="rotate(-90 20 {TOP + HIGH / 2:g})">test accuracy (%)</text>',
    ]
    for i, it in enumerate(panels):
        parts += panel(it, LEFT + i * (WIDE + BETWEEN))
    for i, line in enumerate(lines):
        x, y = LEFT + LEGEND * (i % across), top + 24 * (i // across) + 12
        parts += [stroke(f"M{x:g},{y:g} H{x + 34:g}", line.colour, 2, line.dashed), mark(x + 17, y, line)]
        parts.append(word(x + 44, y + 4, line.name, 13, INK, "start"))
    return "\n".join([*parts, "</svg>\n"])


def by_place(runs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Runs by place, as percent by place of all runs."""
    return {place: points([run[place] for run in runs]) for place in runs[0]}


# model: name in the picture, colour, dashed, square
MODELS = {
    "FlexiViT, 3 times": ("FlexiViT, 3 times the updates", BLUE, False, False),
    "FlexiViT": ("FlexiViT", BLUE, True, False),
    "fixed 2": ("trained at 2 pixels", PURPLE, False, True),
    "fixed 4": ("trained at 4 pixels", ORANGE, False, True),
    "fixed 8": ("trained at 8 pixels", GREEN, False, True),
}
KERNELS = {"pseudo-inverse": "kernels by the pseudo-inverse", "like an image": "kernels like an image (control)"}


def patch_runs() -> dict[tuple[str, str], dict[str, list[float]]]:
    """The accuracies by model and way to resize its kernel, then by patch size; "own size" is a model for each."""
    found = stored("patch_sizes")["results"]
    runs = {(name, way): by_place([run[way] for run in all_of]) for name, all_of in found.items() for way in all_of[0]}
    own = {size: runs[f"fixed {size}", "pseudo-inverse"][size] for size in ("2", "4", "8")}
    return runs | {("own size", ""): own}


def patch_panels() -> list[Panel]:
    runs, panels = patch_runs(), []
    for way, title in KERNELS.items():
        lines = [Line(name, colour, runs[model, way], *how) for model, (name, colour, *how) in MODELS.items()]
        places = [*runs["FlexiViT", way]]
        panels.append(Panel(title, "side of a patch at the test (pixels)", places, lines, 10, 50))
    return panels


def patch_tables() -> dict[str, Table]:
    """Accuracies, and differences run by run."""
    runs, record = patch_runs(), stored("patch_sizes")
    sizes = [*runs["FlexiViT", "pseudo-inverse"]]
    rows = {
        f"{shown(name)}, {way}": [f"{record['config']['updates'][name]:,}", *map(with_error, by_size.values())]
        for (name, way), by_size in runs.items()
        if way
    }
    accuracy = Table("patch", "small", "", ["updates", *(f"{size} px" for size in sizes)], rows)

    def apart(one: tuple[str, str], other: tuple[str, str]) -> list[str]:
        both = [(runs[one].get(size), runs[other].get(size)) for size in sizes]
        return [difference(*pair) if all(pair) and pair[0] != pair[1] else "" for pair in both]

    four, three = ("fixed 4", "pseudo-inverse"), ("FlexiViT, 3 times", "pseudo-inverse")
    pairs = {
        "trained at 4: pseudo-inverse minus like an image": apart(four, ("fixed 4", "like an image")),
        "trained at 8 minus trained at 4": apart(("fixed 8", "pseudo-inverse"), four),
        "FlexiViT, 3 times, minus trained at 4": apart(three, four),
        "FlexiViT minus a model for each size": apart(("FlexiViT", "pseudo-inverse"), ("own size", "")),
        "FlexiViT, 3 times, minus a model for each size": apart(three, ("own size", "")),
    }
    return {"patch": accuracy, "apart": Table("apart", "small", "", [f"{size} px" for size in sizes], pairs)}


def shown(name: str) -> str:
    """The name of a model in a table."""
    return name.replace("fixed", "trained at")


# task, way: name in the picture, colour, dashed, square
PLACED = {
    "rope, stretched": ("RoPE, places stretched", BLUE, False, False),
    "rope": ("RoPE, counted on", BLUE, True, False),
    "learned": ("learned table, interpolated", ORANGE, False, True),
    "none": ("no positions", GREY, False, False),
}
TITLES = {"left": ("which is left?", 40, 100), "CIFAR-10": ("CIFAR-10", 20, 50)}


def resolution_runs() -> dict[str, dict[str, dict[str, list[float]]]]:
    """The accuracies by task, by way to place tokens, then by size."""
    found = stored("resolution_positions")["results"]
    return {task: {way: by_place(runs) for way, runs in ways.items()} for task, ways in found.items()}


def resolution_panels() -> list[Panel]:
    panels = []
    for task, ways in resolution_runs().items():
        title, low, high = TITLES[task]
        lines = [Line(name, colour, ways[way], *how) for way, (name, colour, *how) in PLACED.items()]
        panels.append(Panel(title, "side of the test images (pixels)", [*ways["none"]], lines, low, high))
    return panels


def resolution_tables() -> dict[str, Table]:
    """Accuracies, and differences run by run: to the learned table, and to the size of training."""
    rows, pairs, changes, trained = {}, {}, {}, str(stored("resolution_positions")["config"]["trained"])
    for task, ways in resolution_runs().items():
        for way in PLACED:
            runs, learned = ways[way], ways["learned"]
            rows[f"{task}: {way}"] = [*map(with_error, runs.values())]
            if way != "learned":
                pairs[f"{task}: {way} minus learned"] = [difference(runs[size], learned[size]) for size in runs]
            changes[f"{task}: {way}, minus {trained} px"] = [
                "" if size == trained else difference(runs[size], runs[trained]) for size in runs
            ]
    columns = [f"{size} px" for size in ways["none"]]
    named = {"accuracy": rows, "apart": pairs, "change": changes}
    return {name: Table(name, "small", "", columns, cells) for name, cells in named.items()}


@dataclass(frozen=True)
class Part:
    """A part of a page: a picture, sentences that take their figures from tables, and the tables."""

    page: str
    image: str
    experiment: str
    alt: str
    before: str
    after: str
    panels: Callable[[], list[Panel]]
    tables: Callable[[], dict[str, Table]]

    def block(self) -> str:
        tables = self.tables()
        shown = "\n\n".join(table.markdown() for table in tables.values())
        told = [wrapped(filled(text, tables)) for text in (self.before, self.after)]
        link = f"![{self.alt}](../images/{self.image})"
        command = f"Computed by `{stored(self.experiment)['command']}`."
        return "\n\n".join([told[0], link, told[1], shown, command]) + "\n"

    def with_block(self, page: str) -> str:
        """The page with this part between its marks."""
        begin = BEGIN.format(name=self.experiment)
        before, found, rest = page.partition(begin)
        if not found:
            raise ValueError(f"docs/{self.page} has no line {begin.strip()}")
        return f"{before}{begin}\n{self.block()}\n{END}{rest.partition(END)[2]}"


PARTS = (
    Part(
        "lineage/modern.md",
        "positions-by-size.svg",
        "resolution_positions",
        "Test accuracy by size of the test images, for two tasks and four ways to place patches",
        """
        **Experiment: images of another size.** Models learn at 32 × 32 pixels and are tested at 24 to 64 without
        learning again. A patch always has 4 × 4 pixels, so a larger image has more patches. The learned table is
        interpolated to the new grid. RoPE comes in two forms: its rows and columns are *counted on* beyond the grid of
        training, or the places are *stretched* to that grid, as in EVA-02. There are two tasks. In *left*, a drawn
        scene has two shapes of different colours, and the class is the colour of the left one. The patches show both
        colours, but without positions nobody knows which is left. So `none` is the control: about half of its answers
        are right, and the task needs positions. *CIFAR-10* has photographs, enlarged or reduced. All models have 3
        blocks of width 64, answer by the mean over patches, and learn at the same rate; ± is the standard error over
        five seeds.
        """,
        """
        In *left*, RoPE with stretched places has {accuracy|left: rope, stretched|64 px} % at 64 pixels and the
        interpolated table {accuracy|left: learned|64 px} %. RoPE that counts on falls to
        {accuracy|left: rope|64 px} %: two patches are up to 15 rows apart there, and at most 7 in training. On CIFAR-10
        all models lose at 64 pixels, also the one without positions ({change|CIFAR-10: none, minus 32 px|64 px}
        points), so positions are not the only cause. RoPE with stretched places loses least
        ({change|CIFAR-10: rope, stretched, minus 32 px|64 px} points); there its difference to the learned table is
        {apart|CIFAR-10: rope, stretched minus learned|64 px} points. RoPE that counts on loses about as much as the
        learned table ({change|CIFAR-10: rope, minus 32 px|64 px} and {change|CIFAR-10: learned, minus 32 px|64 px}
        points). So RoPE alone does not make a model independent of the resolution. Stretched places do better. In the
        tables "?" means that a 95 % interval contains 0, which leaves the sign open.
        """,
        resolution_panels,
        resolution_tables,
    ),
    Part(
        "lineage/sizes.md",
        "patch-sizes.svg",
        "patch_sizes",
        "Test accuracy by patch size, of two FlexiViTs and of models trained at one size, with two ways to resize",
        """
        **Experiment: patches of another size.** A FlexiViT learns CIFAR-10 with patches of 2, 4 and 8 pixels, and three
        models learn with one of these sizes each. All have 3 blocks of width 48, learn at the better of two rates, and
        are tested at all sizes, on 2,000 images; ± is the standard error over three seeds. They get equal compute,
        counted in multiply-adds: the larger the patches, the more updates. *3 times* is a FlexiViT with as much compute
        as the three other models together. For the test, kernels are resized by the pseudo-inverse. The control resizes
        them like images, bilinearly. At the size of its own kernel a model needs neither: that is the size of training,
        and 8 pixels for the FlexiViT.
        """,
        """
        The pseudo-inverse matters: the model trained at 4 pixels has {patch|trained at 4, pseudo-inverse|2 px} % at 2
        pixels, and {patch|trained at 4, like an image|2 px} % with a kernel resized like an image. The FlexiViT has
        nearly the same accuracy at all its sizes, {patch|FlexiViT, pseudo-inverse|2 px},
        {patch|FlexiViT, pseudo-inverse|4 px} and {patch|FlexiViT, pseudo-inverse|8 px} %. But at equal compute the
        models of one size are ahead: the FlexiViT differs from them by
        {apart|FlexiViT minus a model for each size|4 px} points at 4 pixels and
        {apart|FlexiViT minus a model for each size|8 px} at 8; at 2 pixels the sign is open. With three times the
        compute, one model in place of three, the FlexiViT differs by
        {apart|FlexiViT, 3 times, minus a model for each size|2 px} points at 2 pixels,
        {apart|FlexiViT, 3 times, minus a model for each size|4 px} at 4 and
        {apart|FlexiViT, 3 times, minus a model for each size|8 px} at 8. Small patches are
        expensive: more than four fifths of a FlexiViT's compute go to patches of 2 pixels. For the same compute the
        model trained at 8 pixels gets {patch|trained at 8, pseudo-inverse|updates} updates, the FlexiViT
        {patch|FlexiViT, pseudo-inverse|updates}. All this training is short, less than four passes over the images, and
        says little about long training. In the tables "?" means that a 95 % interval contains 0, which leaves the sign
        open.
        """,
        patch_panels,
        patch_tables,
    ),
)


def wrapped(text: str) -> str:
    """A paragraph in the lines of a page."""
    kept = " ".join(text.split()).replace(" %", "\0%").replace(" ± ", "\0±\0")
    return textwrap.fill(kept, 148, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


if __name__ == "__main__":
    for part in PARTS:
        (DOCS / "images" / part.image).write_text(picture(part.panels(), part.alt), encoding="utf-8", newline="\n")
        page = DOCS / part.page
        page.write_text(part.with_block(page.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
