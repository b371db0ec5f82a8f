"""What figures have in common. matplotlib is imported here and nowhere else, and only when a figure is drawn."""

from typing import Any

import numpy as np

# Okabe and Ito's palette, distinguishable with any colour vision.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure of so many inches that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def open_axes(axes: Any) -> None:
    """Axes as a light grid without a box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def picture_axes(axes: Any) -> None:
    """Axes for a picture: no ticks."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def show_image(axes: Any, image: np.ndarray) -> None:
    """Draw an image (height, width, C) of 0..1, C = 1 (grey) or 3, pixel by pixel."""
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    picture_axes(axes)


def colour_bar(figure: Any, drawn: Any, axes: Any, label: str, **options: Any) -> Any:
    """The scale of a heat map, beside `axes`."""
    bar = figure.colorbar(drawn, ax=axes, **{"shrink": 0.8, "pad": 0.02, **options})
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar
