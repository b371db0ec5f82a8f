"""SAM as boxes: an encoder that sees the image once, tokens of a prompt, and masks as products."""

from minivit.lessons.pictures.sketch import BLUE, GREEN, ORANGE, PALE, PURPLE, arrow, box, canvas, label, outline

TOP, LOW, HIGH = 0.45, 2.0, 0.75  # the row of the image, the row of the tokens, the height of a box


def masks_from_a_click() -> None:
    """The way from an image and a click to three masks and their scores."""
    _, axes = canvas(10.6, 3.3)
    box(axes, 0.15, TOP, 1.0, HIGH, "image")
    box(axes, 1.75, TOP, 1.45, HIGH, "encoder\n(ViTDet, neck)", BLUE)
    box(axes, 3.8, TOP, 1.0, HIGH, "map\n$h \\times w$")
    box(axes, 0.15, LOW, 1.0, HIGH, "click\n$(x, y)$")
    box(axes, 1.75, LOW, 1.45, HIGH, "sines, cosines\n+ kind", GREEN)
    for i, (name, colour) in enumerate(
        (("score", PURPLE), ("mask 0", PALE), *[(f"mask {m}", ORANGE) for m in (1, 2, 3)])
    ):
        box(axes, 3.8, LOW - 0.45 + 0.26 * i, 1.0, 0.24, name, colour)
    box(axes, 3.8, LOW - 0.45 + 0.26 * 5, 1.0, 0.24, "click", GREEN)
    label(axes, 4.3, LOW + 1.2, "tokens")
    box(axes, 5.5, 0.95, 1.35, 1.35, "two-way\ndecoder,\n2 blocks", BLUE)
    box(axes, 7.5, TOP, 1.3, HIGH, "enlarged map\n$4h \\times 4w$")
    box(axes, 7.5, LOW, 1.3, HIGH, "kernels of\nmasks 1 to 3", ORANGE)
    box(axes, 9.4, 1.2, 1.05, HIGH, "products:\n3 masks", ORANGE)
    for start, end in (
        ((1.15, TOP + 0.37), (1.75, TOP + 0.37)),
        ((3.2, TOP + 0.37), (3.8, TOP + 0.37)),
        ((1.15, LOW + 0.37), (1.75, LOW + 0.37)),
        ((3.2, LOW + 0.37), (3.8, LOW + 0.9)),
        ((4.8, TOP + 0.37), (5.5, 1.3)),
        ((4.8, LOW + 0.3), (5.5, 1.95)),
        ((6.85, 1.3), (7.5, TOP + 0.37)),
        ((6.85, 1.95), (7.5, LOW + 0.37)),
        ((8.8, TOP + 0.37), (9.4, 1.45)),
        ((8.8, LOW + 0.37), (9.4, 1.75)),
    ):
        arrow(axes, start, end)
    outline(axes, 0.05, 0.3, 4.87, 1.03)
    label(axes, 2.5, 0.14, "once for an image; the rest runs for every click", 11)
    label(axes, 8.15, LOW + 0.95, "the score token gives 3 scores", 10)
