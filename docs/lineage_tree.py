"""Draws images/lineage.svg, the family tree on the page of the family, and writes the table below it:
`python docs/lineage_tree.py`.

A system is one line of NODES. It is drawn with a broken border until it is registered in minivit.lineage. The picture
brings its own light ground, so that it is legible on dark pages.
"""

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from equation_map import slug
from vit_picture import BLUE, GREEN, GREY, INK, ORANGE, text

from minivit.lineage import SYSTEMS

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/images/lineage.svg"
PAGE = ROOT / "docs/lineage.md"
BEGIN, END = "<!-- Made by `python docs/lineage_tree.py` -->\n", "<!-- until here -->\n"
COLUMNS = ("to 2017", "2018, 2019", "2020", "2021", "2022", "since 2023")
LEFT, TOP, WIDE, HIGH, ACROSS, DOWN = 16, 84, 130, 34, 158, 46  # of boxes, and from one to the next
BEFORE, BESIDE, AFTER = "before", "beside", "after"
COLOURS = {BEFORE: GREEN, BESIDE: ORANGE, AFTER: BLUE}
TINTS = {BEFORE: "#7fae90", BESIDE: "#d9a27c", AFTER: "#86a9d2"}  # of lines
TITLE = (
    "The family tree of the Vision Transformer: systems by year, those before it on the left, rivals beside it and "
    "systems built on it on the right; lines lead to each system from those whose parts or ideas it takes."
)


@dataclass(frozen=True)
class Node:
    """One system.

    key: its name in minivit.lineage, or an own one.   row: its place from above; its column follows from the year.
    arxiv: of the paper, or, with a `url`, the place of its publication.   parents: keys of systems whose parts or ideas
    it takes.   file: for what is no file of the lineage.
    """

    key: str
    name: str
    authors: str
    year: int
    arxiv: str
    kind: str
    row: int
    parents: tuple[str, ...] = ()
    file: str = ""
    url: str = ""

    @property
    def link(self) -> str:
        return self.url or f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def source(self) -> str:
        """As `System.paper` names it."""
        return self.arxiv if self.url else f"arXiv {self.arxiv}"

    @property
    def column(self) -> int:
        return min(max(self.year - 2017, 0), 6) - (self.year > 2018)

    @property
    def here(self) -> str:
        """Its file, "" if it has none yet."""
        return self.file or (f"minivit/lineage/{self.key}.py" if self.key in SYSTEMS else "")

    @property
    def corner(self) -> tuple[int, int]:
        return LEFT + ACROSS * self.column, TOP + DOWN * self.row


NODES = (
    Node("resnet", "ResNet", "He", 2015, "1512.03385", BEFORE, 10, file="minivit/models/resnet.py"),
    Node("transformer2017", "Transformer", "Vaswani", 2017, "1706.03762", BEFORE, 1),
    Node("bert", "BERT", "Devlin", 2018, "1810.04805", BEFORE, 4, ("transformer2017",)),
    Node("cordonnier", "Conv. by attention", "Cordonnier", 2019, "1911.03584", BEFORE, 7, ("transformer2017",)),
    Node("sasa", "SASA", "Ramachandran", 2019, "1906.05909", BEFORE, 8, ("transformer2017", "resnet")),
    Node("efficientnet", "EfficientNet", "Tan, Le", 2019, "1905.11946", BEFORE, 11),
    Node("noisystudent", "Noisy Student", "Xie", 2019, "1911.04252", BEFORE, 12, ("efficientnet",)),
    Node("axial", "Axial attention", "Wang", 2020, "2003.07853", BEFORE, 8, ("sasa",)),
    Node("visual_transformer", "Visual Transformers", "Wu", 2020, "2006.03677", BEFORE, 9, ("resnet",)),
    Node("linformer", "Linformer", "Wang", 2020, "2006.04768", BEFORE, 2, ("transformer2017",)),
    Node("performer", "Performer", "Choromanski", 2020, "2009.14794", BEFORE, 3, ("transformer2017",)),
    Node(
        "vit", "ViT", "Dosovitskiy", 2020, "2010.11929", AFTER, 6,
        ("transformer2017", "bert", "cordonnier", "resnet"), "minivit/models/vit.py",
    ),
    Node("relative", "Relative positions", "Dosovitskiy", 2020, "2010.11929", AFTER, 5, ("vit",)),
    Node(
        "igpt", "iGPT", "Chen", 2020, "ICML 2020", BEFORE, 12, ("transformer2017", "bert"),
        url="https://proceedings.mlr.press/v119/chen20s.html",
    ),
    Node("masked_patch", "Masked patches", "Dosovitskiy", 2020, "2010.11929", AFTER, 4, ("bert",)),
    Node("deit", "DeiT", "Touvron", 2020, "2012.12877", AFTER, 7, ("vit",)),
    Node("botnet", "BoTNet", "Srinivas", 2021, "2101.11605", BESIDE, 8, ("resnet",)),
    Node("clip", "CLIP", "Radford", 2021, "2103.00020", AFTER, 3, ("vit",)),
    Node("swin", "Swin", "Liu", 2021, "2103.14030", AFTER, 7, ("vit",)),
    Node("dino", "DINO", "Caron", 2021, "2104.14294", AFTER, 5, ("vit",)),
    Node("segmenter", "Segmenter", "Strudel", 2021, "2105.05633", AFTER, 16, ("vit",)),
    Node("segformer", "SegFormer", "Xie", 2021, "2105.15203", AFTER, 17, ("vit",)),
    Node("coatnet", "CoAtNet", "Dai", 2021, "2106.04803", BESIDE, 9, ("vit", "efficientnet")),
    Node("map_head", "Attention pooling", "Zhai", 2021, "2106.04560", AFTER, 2, ("vit",)),
    Node("timesformer", "TimeSformer", "Bertasius", 2021, "2102.05095", AFTER, 14, ("vit",)),
    Node("vivit", "ViViT", "Arnab", 2021, "2103.15691", AFTER, 15, ("vit",)),
    Node("mae", "MAE", "He", 2021, "2111.06377", AFTER, 4, ("vit", "masked_patch")),
    Node("beit", "BEiT", "Bao", 2021, "2106.08254", AFTER, 12, ("vit", "masked_patch")),
    Node("simmim", "SimMIM", "Xie", 2021, "2111.09886", AFTER, 13, ("beit",)),
    Node("convnext", "ConvNeXt", "Liu", 2022, "2201.03545", BESIDE, 10, ("resnet", "swin")),
    Node("mup", "µP", "Yang", 2022, "2203.03466", BESIDE, 1, ("transformer2017",)),
    Node("vitdet", "ViTDet", "Li", 2022, "2203.16527", AFTER, 11, ("vit",)),
    Node("flexivit", "FlexiViT", "Beyer", 2022, "2212.08013", AFTER, 7, ("vit",)),
    Node("flamingo", "Flamingo", "Alayrac", 2022, "2204.14198", AFTER, 8, ("clip",)),
    Node("modern", "EVA-02, RoPE", "Fang", 2023, "2303.11331", AFTER, 5, ("vit",)),
    Node("dinov2", "DINOv2", "Oquab", 2023, "2304.07193", AFTER, 3, ("dino",)),
    Node("sam", "SAM", "Kirillov", 2023, "2304.02643", AFTER, 11, ("vitdet",)),
    Node("blip2", "BLIP-2", "Li", 2023, "2301.12597", AFTER, 8, ("clip",)),
    Node("llava", "LLaVA", "Liu", 2023, "2304.08485", AFTER, 10, ("clip",)),
    Node("hiera", "Hiera", "Ryali", 2023, "2306.00989", AFTER, 4, ("mae",)),
    Node("navit", "NaViT", "Dehghani", 2023, "2307.06304", AFTER, 6, ("vit",)),
    Node("flash", "FlashAttention-2", "Dao", 2023, "2307.08691", BESIDE, 0, ("transformer2017",)),
    Node("dit", "DiT", "Peebles, Xie", 2022, "2212.09748", AFTER, 2, ("vit",)),
    Node("siglip", "SigLIP", "Zhai", 2023, "2303.15343", AFTER, 9, ("clip",)),
    Node("spacetime", "Spacetime patches", "Ma", 2024, "2401.03048", AFTER, 2, ("dit",)),
    Node("mmdit", "MM-DiT", "Esser", 2024, "2403.03206", AFTER, 1, ("dit",)),
    Node("naflexvit", "NaFlexViT", "Tschannen", 2025, "2502.14786", AFTER, 7, ("flexivit", "navit")),
)  # fmt: skip
BY_KEY = {node.key: node for node in NODES}


def lane(parent: Node, gap: int) -> int:
    """Pixels from a column to the place behind it where the lines of a parent change rows: lines of the column itself
    come first, so that no line meets another that goes elsewhere."""
    parents = [BY_KEY[key] for key in dict.fromkeys(key for node in NODES for key in node.parents)]
    order = sorted((node for node in parents if node.column <= gap), key=lambda node: (-node.column, node.row))
    order = [node for node in order if any(_turns(node, child) == gap for child in children(node))]
    return 5 + 17 * order.index(parent) // max(1, len(order) - 1)


def children(parent: Node) -> list[Node]:
    return [node for node in NODES if parent.key in node.parents]


def _free(row: int, parent: Node, child: Node) -> bool:
    between = range(parent.column + 1, child.column)
    return not any(node.row == row and node.column in between for node in NODES)


def _turns(parent: Node, child: Node) -> int | None:
    """The column behind which the line changes rows, None if it does not."""
    if parent.row == child.row or parent.column == child.column:
        return None
    return parent.column if _free(child.row, parent, child) else child.column - 1


def route(parent: Node, child: Node) -> list[tuple[int, int]]:
    """The corners of a line from a box to a later one, past all other boxes. Raises ValueError if there is no way.

    In one column the line joins neighbours. Otherwise it runs along the row of one end and changes rows beside the
    other.
    """
    (x1, y1), (x2, y2) = parent.corner, child.corner
    if parent.column == child.column:
        if abs(parent.row - child.row) != 1:
            raise ValueError(f"{parent.name} and {child.name} are no neighbours in their column")
        down = child.row > parent.row
        return [(x1 + WIDE // 2, y1 + (HIGH if down else 0)), (x2 + WIDE // 2, y2 + (0 if down else HIGH))]
    if not _free(child.row, parent, child) and not _free(parent.row, parent, child):
        raise ValueError(f"no free row from {parent.name} to {child.name}")
    start, end, gap = y1 + HIGH // 2, y2 + HIGH // 2, _turns(parent, child)
    if gap is None:
        return [(x1 + WIDE, start), (x2, end)]
    beside = LEFT + ACROSS * gap + WIDE + lane(parent, gap)
    return [(x1 + WIDE, start), (beside, start), (beside, end), (x2, end)]


def line(parent: Node, child: Node) -> str:
    """The line of a descent."""
    corners = " L".join(f"{x},{y}" for x, y in route(parent, child))
    return (
        f'<path d="M{corners}" fill="none" stroke="{TINTS[parent.kind]}" '
        'stroke-width="1.4" stroke-linejoin="round" marker-end="url(#tip)"/>'
    )


def box(node: Node) -> str:
    """The box of a system, linked to its paper."""
    x, y = node.corner
    size = 13 if len(node.name) < 16 else 11 if len(node.name) < 18 else 10
    colour, center = COLOURS[node.kind], node.key == "vit"
    broken = "" if node.here else ' stroke-dasharray="5 3"'
    parts = [
        f'<a href="{node.link}"><rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="5" '
        f'fill="{colour if center else "#ffffff"}" stroke="{colour}" stroke-width="1.6"{broken}/>',
        text(x + WIDE / 2, y + 15, node.name, size, "#ffffff" if center else colour, "bold"),
        text(x + WIDE / 2, y + 28, f"{node.authors} {node.year}", 10, "#ffffff" if center else GREY),
    ]
    return "".join(parts) + "</a>"


def picture() -> str:
    """The file."""
    width = 2 * LEFT + ACROSS * (len(COLUMNS) - 1) + WIDE
    height = TOP + DOWN * max(node.row for node in NODES) + HIGH + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">',
        f"<title>{escape(TITLE)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="12" fill="#fbfcfd"/>',
    ]
    legend = (
        (BEFORE, "before the ViT"), (BESIDE, "beside it"), (AFTER, "the ViT and what was built on it"),
    )  # fmt: skip
    for x, (kind, words) in zip((100, 270, 480), legend, strict=True):
        parts.append(text(x, 26, words, 13, COLOURS[kind], "bold"))
    if not all(node.here for node in NODES):
        parts.append(text(780, 26, "broken border: not here yet", 13, GREY))
    for column, years in enumerate(COLUMNS):
        parts.append(text(LEFT + ACROSS * column + WIDE / 2, 60, years, 13, INK))
    parts += [line(BY_KEY[parent], node) for node in NODES for parent in node.parents]
    return "\n".join([*parts, *map(box, NODES), "</svg>\n"])


def table(page: str) -> str:
    """The systems in the order of their papers, with links; a section of the page with the name of a system is its."""
    headings = re.findall(r"^## (.+)$", page, flags=re.M)
    lines = ["| system | year | paper | takes from | here |", "|---|---|---|---|---|"]
    for node in sorted(NODES, key=lambda node: (node.year, node.arxiv)):
        name = f"[{node.name}](#{slug(node.name)})" if node.name in headings else node.name
        here = f"[`{Path(node.here).name}`](../{node.here})" if node.here else "not yet"
        takes = ", ".join(BY_KEY[parent].name for parent in node.parents)
        paper = f"[{node.authors}, {node.arxiv}]({node.link})"
        lines.append(f"| {name} | {node.year} | {paper} | {takes} | {here} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(page)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8", newline="\n")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
