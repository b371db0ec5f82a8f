"""One HTML file to look inside a model with a browser: `python -m minivit.visualize RUN --page FILE.html`.

The file holds everything that it shows and asks for nothing from the network. `page.html` is its template: the layout,
the style and the script. Here is the data for it.

L layers, H heads, N tokens, P patches, B images.
"""

import base64
import hashlib
import html
import io
import json
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
GUESSES = 5  # classes whose probability a page tells

NAMES = {"class_token": "[class]", "distillation_token": "[distillation]", "register_tokens": "register"}


def page(subject: Subject) -> str:
    """The text of the page. Raises ConfigError for a model that attends to no patches."""
    config = subject.vit.config
    names = [(NAMES[name], count) for name, count in config.prefix_tokens.items()]
    rows, columns = config.grid
    height, width = config.image_size
    facts = (
        f"A Vision Transformer of {config.depth} layers, {config.heads} heads and {config.width} features. "
        f"It sees images of {height}×{width} pixels as {rows * columns} patches."
    )
    data = {
        "name": subject.name,
        "facts": facts,
        "grid": config.grid,
        "tokens": [f"{name} {i + 1}" if count > 1 else name for name, count in names for i in range(count)],
        "layers": config.depth,
        "heads": config.heads,
        "positions": positions(subject),
        "images": list(images(subject)),
    }
    return filled(data)


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
