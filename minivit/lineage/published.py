"""Published weights of systems: arrays copied into views of ours, and the config.json beside a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, shown
from minivit.models.beside_weights import read_json
from minivit.models.stated import GELU
from minivit.nn.module import check_match

Arrays = Mapping[str, np.ndarray]


def fill(views: Arrays, arrays: Arrays, source: str) -> None:
    """Copy published arrays into views of ours, by name. Raises CheckpointError, with lists, unless all fit; then
    nothing has been copied."""
    check_match({name: view.shape for name, view in views.items()}, arrays, source)
    for name, view in views.items():
        view[...] = arrays[name]


def gelu(act: Any, source: str) -> str:
    """The form of gelu that Hugging Face's `hidden_act` names. Raises CheckpointError for another activation."""
    if act not in GELU:
        raise CheckpointError(f"{source}: hidden_act is {shown(str(act))}, expected one of {', '.join(GELU)}")
    return GELU[act]


def beside(path: Path, kind: str) -> dict[str, Any]:
    """The config.json beside a file of weights, {} if there is none. Raises CheckpointError for one of another
    `model_type`."""
    place = path.with_name("config.json")
    if not place.is_file():
        return {}
    fields = read_json(place)
    if fields.get("model_type", kind) != kind:
        raise CheckpointError(f"{place}: expected the configuration of a {kind}")
    return fields


def pair(size: Any) -> Any:
    """One side or two, as in JSON."""
    return tuple(size) if isinstance(size, list) else size
