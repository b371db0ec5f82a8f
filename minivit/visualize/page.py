"""One HTML file to look inside a model with a browser: `python -m minivit.visualize RUN --page FILE.html`.

The file holds everything that it shows and asks for nothing from the network. `page.html` is its template: the layout,
the style and the script. Here is the data for it.

L layers, H heads, N tokens, P patches, B images; for clicks, Q points and M masks of h x w for each.
"""

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Iterable
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from minivit.data.imagenet import in_words
from minivit.errors import ConfigError
from minivit.functional import sigmoid, softmax
from minivit.models import inside
from minivit.tensor import no_grad
from minivit.visualize.subject import Subject

MOST_IMAGES = 8  # that a page shows unless others are asked for
MOST_BYTES = 1_500_000  # that they take, if one alone does not take more
MOST_POINTS = 16  # in a row, for which a page has masks
GUESSES = 5  # classes whose probability a page tells

NAMES = {"class_token": "[class]", "distillation_token": "[distillation]", "register_tokens": "register"}


def page(subject: Subject) -> str:
    """The text of the page: masks, if the model answers clicks. Raises ConfigError for one that does not and attends to
    no patches."""
    height, width = subject.model.config.image_size
    sees = f"It sees images of {height}×{width} pixels"
    inner = of_clicks(subject, sees) if subject.answers_clicks else of_attention(subject, sees)
    return filled({"name": subject.name, **inner})


def of_attention(subject: Subject, sees: str) -> dict[str, Any]:
    """The data of a page about attention."""
    config = subject.vit.config
    names = [(NAMES[name], count) for name, count in config.prefix_tokens.items()]
    rows, columns = config.grid
    return {
        "facts": f"A Vision Transformer of {config.depth} layers, {config.heads} heads and {config.width} features. "
        f"{sees} as {rows * columns} patches.",
        "grid": config.grid,
        "tokens": [f"{name} {i + 1}" if count > 1 else name for name, count in names for i in range(count)],
        "layers": config.depth,
        "heads": config.heads,
        "positions": positions(subject),
        "images": list(images(subject)),
    }


def of_clicks(subject: Subject, sees: str) -> dict[str, Any]:
    """The data of a page about masks: those of every point of a grid."""
    side, size = click_grid(subject)[0], (0, 0, 0)
    shown: list[dict[str, Any]] = []
    for image, caption in zip(subject.images, subject.captions(), strict=True):
        masks, scores = clicked(subject, image, side)
        seen, size = subject.as_seen(image), masks.shape[1:]
        shown.append(
            {
                "picture": picture(seen),
                "size": seen.shape[:2],
                "caption": caption.partition("\n")[0],
                "guesses": [],
                "masks": {"bits": text_of(np.packbits(masks)), "scores": text_of(scores.astype("<f4"))},
            }
        )
    return {
        "facts": f"{subject.model.config.description}. {sees}. Here are its answers to clicks at {side}×{side} points.",
        "grid": (side, side),
        "tokens": [],
        "masks": {"answers": size[0], "size": size[1:]},
        "images": shown,
    }


def clicked(subject: Subject, image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The masks (Q, M, h, w) and scores (Q, M) of points in the middle of side x side cells of an image."""
    height, width = image.shape[:2]
    x, y = ((np.arange(side) + 0.5) / side * length - 0.5 for length in (width, height))
    points = np.stack([np.tile(x, side), np.repeat(y, side)], axis=-1)[None].astype(np.float32)
    found = subject.objective.clicked(image[None], points)
    assert found is not None  # only then there is such a page
    return found[0][0], found[1][0]


def click_grid(subject: Subject) -> tuple[int, int]:
    """The points in a row of the grid, as many as keep the page small, and the bytes of an image with their masks."""
    config, side = subject.model.config, MOST_POINTS
    (_, *shape), _ = (x.shape for x in clicked(subject, np.zeros((*config.image_size, config.channels), np.float32), 1))
    each = -(-math.prod(shape) // 8) * 4 // 3  # base64 has 4 letters for 3 bytes
    while side > 4 and side**2 * each > MOST_BYTES:
        side //= 2
    return side, side**2 * each


def images(subject: Subject) -> Iterable[dict[str, Any]]:
    """What the page holds of each image."""
    for image, caption in zip(subject.images, subject.captions(), strict=True):
        attention = inside.attention_weights(subject.vit, image[None])[:, 0]  # (L, H, N, N)
        mixed = np.stack([inside.rollout(attention[: layer + 1]) for layer in range(len(attention))])  # (L, N, N)
        seen = subject.as_seen(image)
        yield {
            "picture": picture(seen),
            "size": seen.shape[:2],
            "caption": caption.partition("\n")[0],
            "guesses": guesses(subject, image),
            "attention": weights(attention),
            "rollout": weights(mixed),
        }


def how_many(subject: Subject) -> int:
    """The number of images for a page, if nobody has asked for any: as many as keep it small, at least one."""
    if subject.answers_clicks:
        each = click_grid(subject)[1]
    else:
        config = subject.vit.config
        each = config.depth * (config.heads + 1) * config.num_tokens**2 * 4 // 3  # base64 has 4 letters for 3 bytes
    return max(1, min(MOST_IMAGES, MOST_BYTES // each))


def weights(matrices: np.ndarray) -> dict[str, str]:
    """Rows of numbers from 0 on, (..., N, N), as bytes: 255 for the largest of its row, which is kept as well."""
    largest = matrices.max(axis=-1)
    whole = np.rint(matrices / np.maximum(largest, np.finfo(matrices.dtype).tiny)[..., None] * 255)
    return {"bytes": text_of(whole.astype(np.uint8)), "largest": text_of(largest.astype("<f4"))}


def positions(subject: Subject) -> str | None:
    """The cosines of all pairs of position embeddings (P, P), 127 for 1; None for a model without a table."""
    try:
        table = inside.position_table(subject.vit)
    except ConfigError:
        return None
    cosines = inside.cosine_similarity(table, subject.vit.config.grid)
    return text_of(np.rint(cosines * 127).astype(np.int8))


def guesses(subject: Subject, image: np.ndarray) -> list[tuple[str, float]]:
    """The most probable classes, the most probable first; [] for a model without a head."""
    classes = subject.vit.config.num_classes
    if not classes:
        return []
    with no_grad():
        activation = sigmoid if subject.recipe.loss == "sigmoid" else softmax
        probabilities = activation(subject.vit(image[None])).data[0]
    names = subject.classes or [f"class {k}" for k in range(classes)]
    return [(in_words(names[k]), float(probabilities[k])) for k in (-probabilities).argsort(kind="stable")[:GUESSES]]


def picture(image: np.ndarray) -> str:
    """An image (height, width, C), C 1 or 3, of values 0..1 as the address of a PNG."""
    whole = np.rint(image * 255).astype(np.uint8)
    if whole.shape[-1] not in (1, 3):
        raise ConfigError(f"there are no colours for images of {whole.shape[-1]} channels")
    file = io.BytesIO()
    Image.fromarray(whole.squeeze(-1) if whole.shape[-1] == 1 else whole).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def text_of(array: np.ndarray) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def filled(data: dict[str, Any]) -> str:
    """The template with its data. The page runs and styles nothing but its own script and style, by their hashes."""
    text = resources.files("minivit.visualize").joinpath("page.html").read_text(encoding="utf-8")
    for name, tag in (("SCRIPT", "script"), ("STYLE", "style")):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]  # type: ignore[index]
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode("ascii")
        text = text.replace(f"{name}_HASH", digest)
    safe = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return text.replace("TITLE", html.escape(f"{data['name']}: inside the model"), 1).replace("DATA", safe, 1)
