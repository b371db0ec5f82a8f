"""Relative links in pages and notebooks lead to files, and to headings, that exist."""

import re
from pathlib import Path

import pytest
from equation_map import markdown_cells, slug

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("docs/course/*.md")),
    ROOT / "notebooks/README.md",
]
NOTEBOOKS = sorted(ROOT.glob("notebooks/source/*.py"))

FENCE = re.compile(r"^ *```.*?^ *```", flags=re.M | re.S)
LINK = re.compile(r"\]\(([^()\s]+)\)")


@pytest.mark.parametrize("file", PAGES + NOTEBOOKS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_relative_link_resolves(file):
    assert not broken_links(file)


def broken_links(file: Path) -> list[str]:
    """The links of a file that lead nowhere."""
    return [link for link in LINK.findall(FENCE.sub("", text_of(file))) if "://" not in link and is_broken(link, file)]


def is_broken(link: str, file: Path) -> bool:
    """Whether there is no such file, or no such heading in it."""
    path, _, anchor = link.partition("#")
    folder = file.parents[1] if file in NOTEBOOKS else file.parent  # the .ipynb, where the links work, is one up
    target = (folder / path).resolve() if path else file
    if not target.exists():
        return True
    if target.suffix == ".ipynb":
        target = target.parent / "source" / f"{target.stem}.py"
    return bool(anchor) and anchor not in anchors(target)


def anchors(file: Path) -> set[str]:
    """The anchors of the headings of a page or notebook; repeated ones are numbered."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(file)), flags=re.M):
        anchor = slug(heading)
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return set(found)


def text_of(file: Path) -> str:
    """A page, or all the Markdown of a notebook."""
    return "\n".join(markdown_cells(file)) if file.suffix == ".py" else file.read_text(encoding="utf-8")


def test_broken_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# Other\n## A heading\n```\n# no heading\n```\n", encoding="utf-8")
    page = tmp_path / "page.md"
    right = (
        "# Here\n[a](other.md) [b](other.md#a-heading) [c](#here) [d](https://nowhere.org)\n```\n[code](no.md)\n```\n"
    )
    wrong = ["none.md", "other.md#no-heading", "#there", "none.md#here"]
    page.write_text(right, encoding="utf-8")
    assert not broken_links(page)
    page.write_text(right + " ".join(f"[x]({link})" for link in wrong), encoding="utf-8")
    assert broken_links(page) == wrong
