"""What recordings of networks that classify have in common: outputs of all modules, loss, gradients; in every case."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.errors import CheckpointError
from minivit.lineage.modern import ModernMLP
from minivit.lineage.published import Arrays
from minivit.lineage.verify import Case
from minivit.nn import MLP, Module
from minivit.tensor import Tensor

PART = re.compile(r"\.attn\.([012])(?=\.|$)")  # queries, keys or values, which others pack into attn.qkv


@contextlib.contextmanager
def outputs(model: Module) -> Iterator[dict[str, np.ndarray]]:
    """What the modules of a model gave when it was last called, by their paths in it."""
    found: dict[str, np.ndarray] = {}
    watched = dict(modules(model))

    def watch(name: str, module: Module) -> Callable[..., Any]:
        inner = module.forward

        def forward(*args: Any, **named: Any) -> Any:
            y = inner(*args, **named)
            if form := form_of(module):  # it fuses its first layer and the activation
                hidden = module.hidden(args[0])  # type: ignore[attr-defined]
                found[f"{name}.hidden"] = hidden.data
                found[f"{name}.act"] = F.gelu(hidden, form).data
            if isinstance(y, Tensor):
                found[name] = y.data
            return y

        return forward

    for name, module in watched.items():
        module.forward = watch(name, module)  # type: ignore[method-assign]
    try:
        yield found
    finally:
        for module in watched.values():
            del module.forward


def form_of(module: Module) -> str | None:
    """The form of gelu in a network of two layers without a gate, None for other modules."""
    if isinstance(module, MLP):
        return module.gelu
    return "erf" if isinstance(module, ModernMLP) and module.kind == "gelu" else None


def modules(module: Module, path: str = "") -> Iterator[tuple[str, Module]]:
    """All modules in a module, by path."""
    for name, child in module.named_children():
        yield path + name, child
        yield from modules(child, f"{path}{name}.")


def recompute(
    case: Case,
    model: Module,
    official: Callable[[str], str],
    views: Callable[[Arrays], dict[str, np.ndarray]],
    inside: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    call: Callable[[Tensor, str], Tensor] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of every case in a recording: "a/image" and its like.

    official: a recorded name of a module or array -> its official name, where queries, keys and values that stand apart
    are attn.0, attn.1 and attn.2.   views: our arrays or gradients -> under official names.   inside: outputs by our
    paths -> by official names.   call: images and the beginning of a case's names -> output, None for the model's own.
    """
    found: dict[str, np.ndarray] = {}
    beginnings = [name.removesuffix("image") for name in case.arrays if re.fullmatch(r"([^/]+/)?image", name)]
    for before in beginnings:
        wanted = {name.removeprefix(before): x for name, x in case.arrays.items() if name.startswith(before)}
        images = Tensor(case.images(f"{before}image"), requires_grad=True)
        with outputs(model) as own:
            output = call(images, before) if call else model(images)
        if "labels" in wanted:
            loss = F.cross_entropy(output, case.input(f"{before}labels"))
        else:
            loss = (output * case.input(f"{before}cotangent")).sum()
        named, new = case.differentiated(loss, images, model)
        new |= {"output": output.data, "logits": output.data, "loss": loss.data}
        for kind, official_arrays in (("tap", inside(own)), ("grad", views(named))):
            new |= in_their_names(kind, official_arrays, wanted, official)
        found |= {before + name: x for name, x in new.items()}
    return found


def in_their_names(
    kind: str, arrays: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], official: Callable[[str], str]
) -> dict[str, np.ndarray]:
    """Of arrays under official names those that a recording has, under its names and in its shapes."""
    found = {}
    for name in (name for name in wanted if name.startswith(f"{kind}/")):
        theirs = official(name.removeprefix(f"{kind}/"))
        part = PART.search(theirs)
        whole = PART.sub(".attn.qkv", theirs)
        if whole in arrays:
            x = arrays[whole]
            x = np.split(x, 3, axis=0 if kind == "grad" else -1)[int(part[1])] if part else x
            found[name] = laid_out(x, wanted[name].shape) if kind == "tap" else x
    return found


def laid_out(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map (B, R, C, D), or its places in a row, as a recording has it: with the channels first, or as a sequence."""
    if x.ndim == 4 and x.shape != shape and np.moveaxis(x, -1, 1).shape == shape:
        return np.moveaxis(x, -1, 1)
    return x.reshape(shape) if x.size == np.prod(shape) else x


def official_arrays(arrays: Arrays, official: Callable[[str], str], source: str) -> dict[str, np.ndarray]:
    """The arrays of a file under official names, queries, keys and values packed. Raises CheckpointError for two of
    one name."""
    found = {official(name): x for name, x in arrays.items()}
    if len(found) < len(arrays):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    for name in [name for name in found if (part := PART.search(name)) and part[1] == "0"]:
        parts = [PART.sub(f".attn.{i}", name) for i in range(3)]
        if all(part in found for part in parts):
            found[PART.sub(".attn.qkv", name)] = np.concatenate([found.pop(part) for part in parts])
    return found
