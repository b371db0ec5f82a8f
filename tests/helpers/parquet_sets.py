"""Small Parquet files of images, in the forms in which people have them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def png(shade: int) -> bytes:
    """An image of 4 x 6 pixels, all of this shade."""
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def features(label: str = "label", names: Sequence[str] | None = ("cat", "dog", "eel"), image: str = "image") -> bytes:
    """The metadata that Hugging Face's library writes."""
    kind: dict[str, Any] = (
        {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    )
    return json.dumps({"info": {"features": {image: {"_type": "Image"}, label: kind}}}).encode()


def write(
    path: Path,
    labels: Any,
    images: Any = None,
    *,
    image: str = "image",
    label: str = "label",
    names: Sequence[str] | None = ("cat", "dog", "eel"),
    group: int = 5,
    others: dict[str, Any] | None = None,
    stated: bool = True,
    paths: Sequence[str] | None = None,
) -> Path:
    """A file with a row for each label. By default image k has shade k. stated: whether the file has Hugging Face's
    metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if images is None:
        paths = paths or [f"{k}.png" for k in range(len(labels))]
        images = pa.array([{"bytes": png(k), "path": name} for k, name in enumerate(paths)], IMAGE)
    table = pa.table({image: images, label: labels, **(others or {})})
    if stated:
        table = table.replace_schema_metadata({"huggingface": features(label, names, image)})
    pq.write_table(table, path, row_group_size=group)
    return path
