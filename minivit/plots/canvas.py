"""Shared by all figures. matplotlib is imported only when a figure is drawn, here or in the notebooks' pictures."""

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito's palette, distinguishable with any colour vision.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def load_matplotlib() -> Any:
    """Import matplotlib, even if MPLBACKEND names a backend that is not installed. That backend is set if possible, for
    pyplot in a notebook. No figure here needs it."""
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    backend = os.environ.pop("MPLBACKEND", None)  # one that is not installed here would end the import
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)  # without a home folder it takes a temporary one, and says so at length
    try:
        import matplotlib

        matplotlib.get_configdir()
        matplotlib.get_cachedir()
    finally:
        logger.setLevel(before)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
    return matplotlib


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure, its size in inches, that needs no screen."""
    load_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path, dpi: int) -> None:
    """Write the figure as a PNG file. A letter missing from the font becomes an empty box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        figure.savefig(path, dpi=dpi, format="png")


def plain(text: str) -> str:
    """Outside text, such as the name of a file or class, made safe to draw. matplotlib reads text between two $ as a
    formula, and fails at the lone surrogates with which Python keeps undecodable bytes of a name."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("$", r"\$")


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
