"""Shared by drawings of the tape: the page, colours by kind of op, text, shapes and sizes in words."""

import base64
from xml.sax.saxutils import escape, quoteattr

# Tints of Okabe and Ito's palette by the kind of op; grey for those that only move or add arrays.
TINTS = {
    **dict.fromkeys(("linear", "linear_gelu", "matmul", "conv2d"), "#cfe6f5"),
    **dict.fromkeys(("attention", "attend"), "#fbe0cc"),
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "softmax"), "#cdeee2"),
    **dict.fromkeys(("gelu", "tanh", "sigmoid", "swiglu"), "#fbf3c4"),
    **dict.fromkeys(("cross_entropy", "sigmoid_cross_entropy"), "#f3dcea"),
}
PLAIN = "#ececec"


def page(width: int, height: int, title: str) -> str:
    """The opening tag of a drawing in pixels, with a title for screen readers and white paper."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="DejaVu Sans, Verdana, Arial, sans-serif" font-size="12" role="img">\n'
        f"<title>{in_xml(title)}</title>\n"
        f'<rect width="{width}" height="{height}" fill="white"/>'
    )


def in_xml(text: str) -> str:
    """Text that is safe between tags: without markup, and with unprintable characters, which XML may forbid, in
    ASCII."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


def img(drawing: str, text: str) -> str:
    """A drawing as an HTML image with an alternative text. It also shows where <svg> is removed from HTML, as in
    notebooks that are not trusted yet."""
    data = base64.b64encode(drawing.encode()).decode()
    return f'<img alt={quoteattr(text)} src="data:image/svg+xml;base64,{data}"/>'


def tip(name: str, colour: str = "#333", orient: str = "auto") -> str:
    """The tip of an arrow, for <defs>."""
    shape = 'viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"'
    return f'<marker id="{name}" {shape} orient="{orient}"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'


def caption(x: float, y: float, line: str, size: int, weight: str = "normal", anchor: str = "start") -> str:
    """One line of text whose baseline starts (or ends, anchor "end") at (x, y)."""
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {style} fill="#111">{in_xml(line)}</text>'


def shape_in_words(shape: tuple[int, ...]) -> str:
    """ "2 × 3"; "one number" for ()."""
    return " × ".join(map(str, shape)) if shape else "one number"


def size_in_words(count: int) -> str:
    """A number of bytes in the largest decimal unit that gives at least one."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"
