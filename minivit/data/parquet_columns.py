"""What the columns of a Parquet file of images mean: where the images, the labels and the names of the classes are.

Hugging Face's data sets keep an image as struct<bytes: binary, path: string>, a label as an integer, and the types of
the columns, with the names of the classes, as JSON in the metadata of the schema, under "huggingface":
{"info": {"features": {"label": {"names": [...], "_type": "ClassLabel"}, "image": {"_type": "Image"}}}}.
Without this JSON, type and name of a column decide.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minivit.errors import DataError, shown

IMAGES = ("image", "img", "images", "jpg", "jpeg", "png", "webp", "picture", "photo", "pixel_values")  # the first is it
LABELS = (
    *("label", "labels", "fine_label", "cls", "class", "class_id", "class_label", "class_name", "category", "target"),
    *("target_class", "y"),
)
ADVICE = "an image is a column of bytes or of struct<bytes, path>, its label a column of integers or texts"


class Columns(NamedTuple):
    """The columns to read, as Parquet calls them.   image: the bytes.   path: the file names of the images, if they are
    kept.   label: the labels.   names: of the classes, if they are stated."""

    image: str
    path: str | None
    label: str
    names: list[str] | None


def columns_of(schema: Any, place: str) -> Columns:
    """The columns of a file.   schema: a pyarrow.Schema.   place: the file, for messages. Raises DataError."""
    features = _features(schema)
    image = _image(schema, features, place)
    label = _label(schema, features, place)
    kind = schema.field(image).type
    inside = [kind.field(k).name for k in range(kind.num_fields)]
    names = features.get(label, {}).get("names")
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        names = None
    bytes_of = f"{image}.bytes" if inside else image
    return Columns(bytes_of, f"{image}.path" if "path" in inside else None, label, names)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Column -> its feature, as Hugging Face states it; nothing for other files."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _image(schema: Any, features: Mapping[str, Any], place: str) -> str:
    """The column of images."""
    stated = [name for name, feature in features.items() if feature.get("_type") == "Image" and name in schema.names]
    able = [field.name for field in schema if _holds_bytes(field.type)]
    chosen = _best([name for name in stated if name in able] or able, IMAGES)
    if chosen is not None:
        return chosen
    for name in [*stated, *(name for name in IMAGES if name in schema.names)]:
        kind = schema.field(name).type
        if "list" in str(kind):
            raise DataError(f'{place}: its column "{shown(name)}" holds lists; one image in each row is needed')
        if str(kind) in ("string", "large_string") or "path" in str(kind):
            raise DataError(
                f'{place}: its column "{shown(name)}" holds only the paths of images, not the images: use the image '
                "files with folder:PATH, or save the data set with its images inside"
            )
    what = "several columns could hold the images" if able else "no column holds images"
    raise DataError(f"{place}: {what}; it has {_described(schema)}; {ADVICE}")


def _label(schema: Any, features: Mapping[str, Any], place: str) -> str:
    """The column of labels."""
    stated = [
        name for name, feature in features.items() if feature.get("_type") == "ClassLabel" and name in schema.names
    ]
    able = [field.name for field in schema if _holds_labels(field.type)]
    named = [name for name in able if name.lower() in LABELS]
    chosen = _best([name for name in stated if name in able] or named, LABELS)
    if chosen is not None:
        return chosen
    if lists := [name for name in schema.names if name.lower() in LABELS and "list" in str(schema.field(name).type)]:
        raise DataError(f'{place}: its column "{lists[0]}" holds lists; one label in each row is needed')
    what = "several columns could hold the labels" if stated else "no column is known to hold labels"
    raise DataError(f"{place}: {what}; it has {_described(schema)}; rename the right one to label")


def _best(candidates: Sequence[str], order: Sequence[str]) -> str | None:
    """The candidate whose name comes first in `order`, in upper or lower case, or the only one."""
    for name in order:
        for candidate in candidates:
            if candidate.lower() == name:
                return candidate
    return candidates[0] if len(candidates) == 1 else None


def _holds_bytes(kind: Any) -> bool:
    """Whether a column is of bytes, or of structs with bytes."""
    inside = {kind.field(k).name: kind.field(k).type for k in range(kind.num_fields)} if "struct<" in str(kind) else {}
    return str(inside.get("bytes", kind)) in ("binary", "large_binary", "binary_view")


def _holds_labels(kind: Any) -> bool:
    text = str(kind).removeprefix("dictionary<values=").partition(",")[0]
    texts, numbers = ("string", "large_string", "string_view"), ("int8", "int16", "int32", "int64", "float", "double")
    return text in (*texts, "bool") or text.removeprefix("u") in numbers


def _described(schema: Any) -> str:
    """ "image (string), label (int64)"."""
    found = [f"{shown(field.name, 30)} ({shown(field.type, 40)})" for field in schema]
    return ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
