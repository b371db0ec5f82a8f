"""Module: owns parameters and other modules, which it finds by walking its attributes."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from minivit.backend import Array, asarray, to_numpy
from minivit.backend.arrays import asarray_like
from minivit.errors import CheckpointError, shown
from minivit.tensor import Tensor


class Module:
    """Base of layers and models. Subclasses set Tensors, Modules and lists of Modules as attributes, in the order in
    which they are used, and define `forward`."""

    training = True
    frozen = False
    task: Any = None  # what a trained classifier answers, see `minivit.runs.answers`

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def __repr__(self) -> str:
        """The contents from the input on: names, shapes and numbers of parameters, with similar modules on one line."""
        title = type(self).__name__
        description = getattr(getattr(self, "config", None), "description", "")
        learning = self.num_parameters()
        frozen = sum(tensor.size for _, tensor in self.named_tensors() if not tensor.requires_grad)
        count = f"{learning:,} parameters{f' and {frozen:,} frozen' if frozen else ''}"
        words = [description.removeprefix(f"{title}: "), *_shapes(self), count]
        return "\n".join([f"{title}: {', '.join(filter(None, words))}", *_lines(self, "  ")])

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules directly inside this one; a list of them under "attribute.0", "attribute.1", ..."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, Module))

    def named_tensors(self) -> list[tuple[str, Tensor]]:
        """Every Tensor, including frozen ones, with its path, such as ("blocks.0.attention.qkv.weight", Tensor)."""
        pairs = [(name, value) for name, value in vars(self).items() if isinstance(value, Tensor)]
        for name, child in self.named_children():
            pairs += [(f"{name}.{inner}", tensor) for inner, tensor in child.named_tensors()]
        return pairs

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """Every Tensor that learns (requires_grad), with its path; a shared one appears once, under its first path."""
        pairs: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in self.named_tensors():
            if tensor.requires_grad:
                pairs.setdefault(id(tensor), (name, tensor))
        return list(pairs.values())

    def parameters(self) -> list[Tensor]:
        """Every Tensor that learns."""
        return [tensor for _, tensor in self.named_parameters()]

    def num_parameters(self) -> int:
        """The number of trainable values."""
        return sum(tensor.size for tensor in self.parameters())

    def train(self, mode: bool = True) -> Self:
        """Switch dropout and stochastic depth on (or off with mode=False), here and in all parts that are not
        frozen."""
        self.training = mode and not self.frozen
        for _, child in self.named_children():
            child.train(mode)
        return self

    @property
    def varies(self) -> bool:
        """Whether the shapes of a training step change from one step to the next, so that none can be recorded."""
        return any(child.varies for _, child in self.named_children())

    def eval(self) -> Self:
        """Switch dropout and stochastic depth off."""
        return self.train(False)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """In this context the module is in evaluation mode; afterwards the old mode returns."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    def freeze(self) -> Self:
        """Stop all parts from learning, for good: no gradients, no dropout, no stochastic depth."""
        self.frozen = True
        for _, child in self.named_children():
            child.freeze()
        for _, tensor in self.named_tensors():
            tensor.requires_grad = False
        return self.eval()

    def to(self, backend: str) -> Self:
        """Move every Tensor to "numpy" or "cupy", before an optimiser is made for it. Raises BackendError if that
        backend cannot be used."""
        for _, tensor in self.named_tensors():
            tensor.data = asarray(tensor.data, backend)
            tensor.grad = None
        return self

    def first_array(self) -> Array:
        """The data of the first Tensor, which has the device and dtype of all. Raises ValueError without Tensors."""
        for value in vars(self).values():
            if isinstance(value, Tensor):
                return value.data
        for _, child in self.named_children():
            with contextlib.suppress(ValueError):
                return child.first_array()
        raise ValueError(f"{type(self).__name__} has no Tensors, so its device and dtype are unknown")

    def like(self, x: Array) -> Array:
        """`x` on the device and in the dtype of this module's Tensors; unchanged, if it fits already."""
        return asarray_like(x, self.first_array())

    def tensor(self, x: Tensor | Array) -> Tensor:
        """A Tensor as it is; an array as a Tensor, converted by `like`."""
        return x if isinstance(x, Tensor) else Tensor(self.like(x))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every Tensor's data as a NumPy array, by path; data on the CPU is not copied."""
        return {name: to_numpy(tensor.data) for name, tensor in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Array], source: str = "the given state") -> None:
        """Copy arrays into the Tensors. Raises CheckpointError with lists of missing, unexpected and wrongly shaped
        arrays, TypeError for anything but a dictionary; then nothing has been changed."""
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: got a {type(state).__name__}, expected what state_dict() returns")
        state = {name: x.data if isinstance(x, Tensor) else x for name, x in state.items()}
        own = dict(self.named_tensors())
        check_match({name: tensor.shape for name, tensor in own.items()}, state, source)
        for name, tensor in own.items():
            tensor.data[...] = asarray_like(to_numpy(state[name]), tensor.data)


def check_match(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Array], source: str, resized: Sequence[str] = ()
) -> None:
    """Raise CheckpointError unless `found` has exactly the names and shapes of `expected`.   resized: arrays that would
    have been resized, to be listed with the rest."""
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "wrong shape": [
            f"{name} {tuple(found[name].shape)}, expected {tuple(shape)}"
            for name, shape in expected.items()
            if name in found and tuple(found[name].shape) != tuple(shape)
        ],
    }
    if any(problems.values()):
        problems["resized"] = list(resized)
        lists = "; ".join(f"{title}: {_first(items)}" for title, items in problems.items() if items)
        raise CheckpointError(f"{source} does not fit the model: {lists}")


def _first(items: list[str], limit: int = 5) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(shown(item, 200) for item in items[:limit]) + more


def _shapes(module: Module) -> list[str]:
    """The tensors of a module that contains only tensors: "weight (192, 10)"."""
    if any(module.named_children()):
        return []
    return [f"{name} {tensor.shape}" for name, tensor in module.named_tensors()]


def _lines(module: Module, margin: str) -> Iterator[str]:
    """A line for each tensor and module in `module`, indented for their contents."""
    entries: list[tuple[list[str], str, list[str]]] = []  # names, text, lines below it
    children = [(name, child) for name, child in module.named_children() if child.named_tensors() or _acts(child)]
    for name, value in vars(module).items() if children else ():
        if isinstance(value, Tensor):
            text = f"{value.shape}{'' if value.requires_grad else ', frozen'}"
            entries.append(([name], f"{text:<41} {value.size:>12,}", []))
        for path, child in [pair for pair in children if pair[0].partition(".")[0] == name]:
            size = sum(tensor.size for _, tensor in child.named_tensors())
            frozen = ["frozen"] if size and not child.num_parameters() else []
            text = f"{', '.join([type(child).__name__, *frozen, *_shapes(child)]):<41} {size:>12,}"
            below = list(_lines(child, margin + "  "))
            if entries and entries[-1][1:] == (text, below) and _follows(entries[-1][0][-1], path):
                entries[-1][0].append(path)
            else:
                entries.append(([path], text, below))
    for names, text, below in entries:
        label = names[0] if len(names) == 1 else f"{names[0]} to {names[-1].rpartition('.')[2]}, each"
        yield f"{margin}{label:<{24 - len(margin)}} {text}"
        yield from below


def _acts(module: Module) -> bool:
    """Whether a module without tensors does anything; dropout at rate 0 does not."""
    return bool(getattr(module, "rate", True))


def _follows(name: str, other: str) -> bool:
    """Whether these are neighbours in a list: "blocks.3" and "blocks.4"."""
    (a, _, i), (b, _, j) = name.rpartition("."), other.rpartition(".")
    return bool(a) and a == b and int(j) == int(i) + 1
