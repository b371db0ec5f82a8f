"""Published weights of systems: arrays copied into views of ours, and the config.json beside a file."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, ConfigError, meant, shown
from minivit.models.beside_weights import read_json
from minivit.models.stated import GELU
from minivit.nn.module import check_match

Arrays = Mapping[str, np.ndarray]
GELUS = {"quick_gelu": "quick", **GELU}  # of networks that have this form, too


def fill(views: Arrays, arrays: Arrays, source: str) -> None:
    """Copy published arrays into views of ours, by name. Raises CheckpointError, with lists, unless all fit; then
    nothing has been copied."""
    check_match({name: view.shape for name, view in views.items()}, arrays, source)
    for name, view in views.items():
        view[...] = arrays[name]


def renamed(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """A name after all rules, (pattern, replacement), one after another."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def variant(variants: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The fields for which the name of a model stands. Raises ConfigError for an unknown name."""
    if name not in variants:
        raise ConfigError(f'unknown model "{shown(name)}"{meant(name, variants)}; known: {", ".join(variants)}')
    return dict(variants[name])


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


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config.json; those that timm nests stand beside the others, the size of images as img_size."""
    arguments, source = (config.get(name) for name in ("model_args", "pretrained_cfg"))
    found = dict(config) | (arguments if isinstance(arguments, dict) else {})
    size = source.get("input_size") if isinstance(source, dict) else None
    return {"img_size": size[1:], **found} if isinstance(size, list) and len(size) == 3 else found


def pair(size: Any) -> Any:
    """One side or two, as in JSON."""
    return tuple(size) if isinstance(size, list) else size
