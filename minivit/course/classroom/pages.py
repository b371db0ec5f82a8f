"""Shared by the pages of a grading: each is one self-contained file, light and dark, without a script."""

from collections.abc import Sequence
from html import escape

__all__ = ["bar", "columns", "page", "points", "text"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --paper: #fff; --box: #f4f6f8; --line: #d5dae0;
  --right: #1a7f37; --wrong: #b42318; --open: #8a6100; --fill: #3b6fb6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a3abb5; --paper: #15181c; --box: #1f242a;
  --line: #3a414a; --right: #56d364; --wrong: #ff8b80; --open: #e3b341; --fill: #79a9e8; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 52rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; } .soft { color: var(--soft); } .big { font-size: 2.2rem; font-weight: 650; }
.box { background: var(--box); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem;
  margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; } caption { text-align: left; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }
th { white-space: nowrap; } td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.right { color: var(--right); } .wrong { color: var(--wrong); } .open { color: var(--open); }
.check { width: 9rem; } pre { background: var(--box); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem .8rem; white-space: pre-wrap; font-size: .85rem; max-height: 20rem; overflow: auto; }
code { font-size: .92em; } svg { width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .fill { fill: var(--fill); } svg .rest { fill: var(--box); stroke: var(--line); } details { margin: .5rem 0; }
@media print { body { margin: 0; } .box { break-inside: avoid; } }
"""
SAFE = "default-src 'none'; style-src 'unsafe-inline'"


def text(value: object) -> str:
    """Text as HTML."""
    return escape(str(value))


def points(value: float) -> str:
    """A number of points."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def page(title: str, body: Sequence[str]) -> bytes:
    """A whole page.   body: pieces of HTML."""
    head = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{SAFE}">\n<style>{STYLE}</style>\n</head>\n<body>\n'
    )
    return (head + "\n".join(body) + "\n</body>\n</html>\n").encode("utf-8", "replace")


def bar(share: float, label: str) -> str:
    """A horizontal bar, filled to `share`."""
    width = 300 * min(max(share, 0.0), 1.0)
    return (
        f'<svg viewBox="0 0 300 3" role="img" aria-label="{text(label)}"><rect class="rest" width="300" height="3"/>'
        f'<rect class="fill" width="{width:.1f}" height="3"/></svg>'
    )


def columns(values: Sequence[float], labels: Sequence[str], tops: Sequence[str], most: float, label: str) -> str:
    """A chart of columns.   most: the maximum of the scale.   tops: the labels above the columns."""
    high, wide, step = 150, 640, 640 / max(len(values), 1)
    parts = [f'<svg viewBox="0 0 {wide} {high + 40}" role="img" aria-label="{text(label)}">']
    for place, (value, below, above) in enumerate(zip(values, labels, tops, strict=True)):
        tall = high * value / most if most else 0
        middle, broad = (place + 0.5) * step, min(step - 8, 64)
        parts += [
            f'<rect class="fill" x="{middle - broad / 2:.1f}" y="{high + 18 - tall:.1f}" width="{broad:.1f}"'
            f' height="{tall:.1f}"/>',
            f'<text x="{middle:.1f}" y="{high + 13 - tall:.1f}" text-anchor="middle">{text(above)}</text>',
            f'<text x="{middle:.1f}" y="{high + 34}" text-anchor="middle">{text(below)}</text>',
        ]
    line = f'<rect x="0" y="{high + 18}" width="{wide}" height="1" class="rest"/>'
    return "".join([*parts, line, "</svg>"])
