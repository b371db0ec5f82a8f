"""Networks whose modules are called as in published PyTorch code: their arrays in PyTorch's shapes, and recordings."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.lineage.published import Arrays, fill
from minivit.lineage.verify import Case
from minivit.lineage.windowed import Enlarge
from minivit.models.beside_weights import read_json
from minivit.nn import Conv, Linear, Module
from minivit.nn.batch_norm import batch_statistics, statistics_rows, update_running
from minivit.tensor import Tensor

Names = Callable[[str], str]  # of our arrays and modules -> of published ones
_LEAVES = {"scale": "weight", "running_variance": "running_var"}


def views(module: Module, arrays: Arrays | None = None, names: Names = str) -> dict[str, np.ndarray]:
    """Our arrays, or those of `arrays` by our paths, such as gradients, as views with PyTorch's names and shapes.
    Kernels are (E, C / groups, rows, columns) there, those of transposed convolutions (C, E, rows, columns), matrices
    (out, in)."""
    data = arrays or {name: tensor.data for name, tensor in module.named_tensors()}
    found = {}
    for path, owner in _modules(module):
        for leaf, value in vars(owner).items():
            if isinstance(value, Tensor) and f"{path}{leaf}" in data:
                x = data[f"{path}{leaf}"]
                if leaf == "weight" and isinstance(owner, Conv | Linear):
                    x = x.transpose(3, 2, 0, 1) if isinstance(owner, Conv) else x.T
                x = x.transpose(0, 3, 1, 2) if leaf == "weight" and isinstance(owner, Enlarge) else x
                found[names(f"{path}{_LEAVES.get(leaf, leaf)}")] = x
    return found


def load(module: Module, arrays: Arrays, source: str, names: Names = str) -> None:
    """Copy published arrays into the module. A matrix may be stored as a kernel of one pixel, (out, in, 1, 1), a vector
    with axes of one element before it. Counts of batches and constant indices are left out. Raises CheckpointError,
    with lists, unless all fit."""
    own = views(module, names=names)
    constant = ("num_batches_tracked", "relative_position_index")
    kept = {name: x for name, x in arrays.items() if not name.endswith(constant)}
    fill(own, {name: _fitted(x, own[name].shape if name in own else x.shape) for name, x in kept.items()}, source)


def beside(path: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    """What the config.json beside a file of weights states, {} if there is none, and timm's size of images in it, else
    224. Raises CheckpointError."""
    place = path.with_name("config.json")
    stated = read_json(place) if place.is_file() else {}
    of_images = stated.get("pretrained_cfg")
    size = of_images.get("input_size") if isinstance(of_images, dict) else None
    known = isinstance(size, list) and len(size) == 3 and all(type(side) is int and side > 0 for side in size)
    return stated, (size[1], size[2]) if known else (224, 224)  # type: ignore[index]


def recompute_network(
    case: Case, network: Module, names: Names = str, channels_last: str = "$^"
) -> dict[str, np.ndarray]:
    """Every array of a recording of a network: output, loss, gradients, and the outputs of modules inside it.

    names: also of arrays and modules of the recording, where it has them by other names.
    The loss is the cross-entropy with `labels`, or else the sum of output times `cotangent`. A recording of training
    has running statistics under `after/`. Arrays may stand in groups, such as `a/image`. channels_last: a pattern of
    the modules whose outputs are recorded so.
    """
    found: dict[str, np.ndarray] = {}
    network.train(any(re.match("(.*/)?after/", name) for name in case.arrays))
    for name in [name for name in case.arrays if re.fullmatch("(.*/)?image", name) and "grad_input/" not in name]:
        group = name[: -len("image")]
        computed = _one_image(case, network, group, names, re.compile(channels_last))
        after = {f"after/{name}": x.copy() for name, x in views(network, names=names).items() if "running" in name}
        found |= {f"{group}{key}": x for key, x in {**computed, **after}.items()} | after
    for name, x in case.arrays.items():
        known = next((ours for ours in _known(name, names) if ours in found), None)
        if known:
            found[name] = _fitted(found[known], x.shape)
    return found


def _one_image(
    case: Case, network: Module, group: str, names: Names, channels_last: re.Pattern
) -> dict[str, np.ndarray]:
    def laid_out(x: np.ndarray) -> np.ndarray:
        return case.laid_out(x) if x.ndim == 4 else x

    images = Tensor(case.images(f"{group}image"), requires_grad=True)
    with batch_statistics() as seen, outputs_inside(network) as inside:
        output = network(images)
    if f"{group}labels" in case.arrays:
        loss = F.cross_entropy(output, case.input(f"{group}labels"))
    else:
        maps = output.ndim == 4
        loss = (output * Tensor((case.images if maps else case.input)(f"{group}cotangent"))).sum()
    gradients, found = case.differentiated(loss, images, network)
    if seen:
        update_running(network, statistics_rows(network, seen, 1).data[0])
    found |= {"output": laid_out(output.data), "loss": loss.data}
    found |= {f"grad/{name}": x for name, x in views(network, gradients, names).items()}
    taps = {names(name): x for name, x in inside.items()}
    return found | {f"tap/{name}": x if channels_last.search(name) else laid_out(x) for name, x in taps.items()}


@contextlib.contextmanager
def outputs_inside(network: Module) -> Iterator[dict[str, np.ndarray]]:
    """In this context, the output of every module in `network` is noted under its path."""
    noted: dict[str, np.ndarray] = {}

    def listening(path: str, forward: Callable) -> Callable:
        def listened(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            noted[path] = result.data
            return result

        return listened

    modules = [(path[:-1], module) for path, module in _modules(network) if path]
    for path, module in modules:
        module.forward = listening(path, module.forward)  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        for _, module in modules:
            del module.forward


def _modules(module: Module, path: str = "") -> Iterator[tuple[str, Module]]:
    yield path, module
    for name, child in module.named_children():
        yield from _modules(child, f"{path}{name}.")


def _known(name: str, names: Names) -> list[str]:
    """Names by which we may know an array or a module of a recording."""
    group, slash, last = name.rpartition("/")
    return [name, *(f"{group}{slash}{ours}" for ours in (names(last), names(f"{last}.").removesuffix(".")))]


def _fitted(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """x with or without axes of one element, as `shape` has them."""
    alike = [side for side in x.shape if side != 1] == [side for side in shape if side != 1]
    return x.reshape(shape) if alike else x
