"""Tensor: arrays that remember how they were made, so that derivatives can be pulled back through them.

`lift(op)` turns an op on arrays, `(y, vjp)`, into a function of Tensors. When an input wants a gradient, the output
gets a `Node`: the vjp, and links to the nodes of the inputs. `grad` walks the nodes from the loss backwards.

State that is not in the graph (grad mode, watchers) is a context variable, so every thread has its own.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from minivit import ops
from minivit.backend import Array, is_array
from minivit.backend.kernels import chosen
from minivit.backward import Cotangents, Node, first_cotangent, pull_back, reachable
from minivit.backward import unbroadcast as unbroadcast
from minivit.ops.signature import array_parameters, explain
from minivit.protocol import TensorProtocol, owned, tensor_list, unpacked
from minivit.tape import closure_values as closure_values
from minivit.tape import tape as tape

_GRAD_ENABLED: ContextVar[bool] = ContextVar("grad_enabled", default=True)
_WATCHER: ContextVar[Callable | None] = ContextVar("watcher", default=None)


class Tensor(TensorProtocol):
    """An array with a place on the tape.

    data: the array; requires_grad: True if gradients flow to it; grad: the array that `backward` adds into (leaves
    only), or None; name: for messages and drawings; node: the Node that made it, None for a leaf.

    Python numbers and lists become float32 arrays; arrays keep their dtype. Raises TypeError for a gradient of
    anything but floating-point data. `minivit.protocol` says what NumPy may do with it.
    """

    __slots__ = ("__weakref__", "data", "grad", "name", "node", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        if not is_array(data):
            dtype = None if isinstance(data, np.generic) else np.float32
            data = data.data if isinstance(data, Tensor) else np.asarray(data, dtype=dtype)
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor {name or ''}: only floating-point data has gradients, this is {data.dtype}")
        self.data: Array = data
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.name = name
        self.node: Node | None = None

    shape = property(lambda self: self.data.shape, doc="Length of each axis.")
    dtype = property(lambda self: self.data.dtype, doc="Type of the elements.")
    ndim = property(lambda self: self.data.ndim, doc="Number of axes.")
    size = property(lambda self: self.data.size, doc="Number of elements.")

    @property
    def T(self) -> "Tensor":
        """The axes reversed."""
        return _transpose(self)

    def backward(self, g: Array | None = None) -> None:
        """Add d(self)/d(leaf), pulled back from cotangent `g` (default 1 for a scalar), into every leaf's `.grad`.

        Raises RuntimeError if no gradient flows to this Tensor, and what `grad` raises.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: nothing was recorded: no input requires a gradient, or no_grad was on")
        leaves = [node for node in reachable(self) if isinstance(node, Tensor)]
        for leaf, gradient in zip(leaves, grad(self, leaves, g), strict=True):
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient

    def detach(self) -> "Tensor":
        """The same data as a leaf without gradient."""
        return Tensor(self.data, name=self.name)

    def item(self) -> float:
        """The value of a one-element Tensor as a Python number."""
        return self.data.item()

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        made_by = f", op={self.node.op}" if self.node else ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({self.data}, shape={self.shape}, dtype={self.dtype}{made_by}{name})"

    def __add__(self, other):
        return _add(self, other)

    def __radd__(self, other):  # other + self
        return _add(other, self)

    def __sub__(self, other):
        return _sub(self, other)

    def __rsub__(self, other):  # other - self
        return _sub(other, self)

    def __mul__(self, other):
        return _mul(self, other)

    def __rmul__(self, other):  # other * self
        return _mul(other, self)

    def __truediv__(self, other):
        return _div(self, other)

    def __rtruediv__(self, other):  # other / self
        return _div(other, self)

    def __pow__(self, exponent):
        return _pow(self, exponent)

    def __rpow__(self, base):  # base ** self
        return _pow(base, self)

    def __matmul__(self, other):
        return _matmul(self, other)

    def __rmatmul__(self, other):  # other @ self
        return _matmul(other, self)

    def __neg__(self):
        return _neg(self)

    def __getitem__(self, index):
        return _getitem(self, index)

    def reshape(self, *shape):
        """As NumPy's: lengths one by one or as one tuple; one may be -1."""
        return _reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes):
        """As NumPy's: axes one by one or as one tuple; none reverses them."""
        return _transpose(self, (axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes) or None)

    def sum(self, axis=None, keepdims=False):
        """Sum over `axis`."""
        return _sum(self, axis, keepdims)

    def mean(self, axis=None, keepdims=False):
        """Mean over `axis`."""
        return _mean(self, axis, keepdims)

    def max(self, axis=None, keepdims=False):
        """Largest over `axis`."""
        return _max(self, axis, keepdims)


def lift(op: Callable) -> Callable:
    """The op as a function of Tensors.

    The op's leading parameters annotated `Array`, or with neither annotation nor default, take Tensors, arrays or
    numbers; the others are passed on as copies. Raises what the op raises, with op, arguments and shapes in it.
    """
    name = op.__name__
    array_names, limit = array_parameters(op)

    @functools.wraps(op)
    def lifted(*args: Any, **params: Any) -> Tensor:
        if params and not params.keys().isdisjoint(array_names):
            bound = inspect.signature(op).bind(*args, **params)  # an array passed by keyword takes its place
            args, params = bound.args, bound.kwargs
        inputs = unpacked(args, name) if limit is None else args[:limit]
        others = [owned(a) for a in args[len(inputs) :]] if len(args) > len(inputs) else ()
        params = {key: owned(a) for key, a in params.items()} if params else params
        values = [a.data if isinstance(a, Tensor) else a.item() if isinstance(a, np.generic) else a for a in inputs]
        links = [(a.node or a) if isinstance(a, Tensor) and a.requires_grad else None for a in inputs]
        recording = _GRAD_ENABLED.get() and True in [link is not None for link in links]
        try:
            y, vjp = chosen(name, op, values, recording)(*values, *others, **params)
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            # not type(error): a subclass may be made from other things than a message
            kind = next(k for k in (ValueError, TypeError, IndexError, AttributeError) if isinstance(error, k))
            raise kind(explain(name, error, array_names, values)) from error
        out = Tensor(y)
        if out.data.dtype.char == "e":
            raise TypeError(f"{name}: float16 has too few digits to sum and derive in; use float32")
        if recording:
            out.requires_grad = True
            out.node = Node(name, vjp, tuple(links), values, out.data)
        watcher = _WATCHER.get()
        if watcher is not None:
            watcher(name, inputs, out)
        return out

    return lifted


@np.errstate(divide="ignore")  # the derivative at a pole is infinite
def grad(loss: Tensor, tensors: Iterable[Tensor], g: Array | None = None) -> list[Array]:
    """d(loss)/d(tensor) for each of `tensors` (leaves or intermediate results), as arrays of their shape and dtype.

    Changes nothing but the tape, whose saved arrays are released as they are used. A tensor that the loss does not
    depend on gets zeros. g: the cotangent of `loss`; may be left out if loss has one element.
    Raises TypeError if `tensors` is no list (for one, write `[x]`), ValueError for a cotangent of the wrong shape or a
    tensor that requires no gradient, RuntimeError if nothing was recorded or the tape was used up by an earlier call.
    """
    [loss], tensors = tensor_list([loss], "the loss of grad"), tensor_list(tensors, "grad")
    if not loss.requires_grad:
        raise RuntimeError("grad: nothing was recorded: no input requires a gradient, or no_grad was on")
    for i, tensor in enumerate(tensors):
        if not tensor.requires_grad:
            raise ValueError(f"grad: tensor {tensor.name or i} {tensor.shape} was made without requires_grad=True")
    wanted = {id(tensor.node or tensor) for tensor in tensors}
    cotangents = Cotangents()
    cotangents.add(loss.node or loss, first_cotangent(loss, g))
    for node in reachable(loss):
        if isinstance(node, Node) and node in cotangents:
            pull_back(node, cotangents, keep=id(node) in wanted)
    return [cotangents.take(t.node or t, t.data) for t in tensors]


@contextlib.contextmanager
def _recording(enabled: bool) -> Iterator[None]:
    token = _GRAD_ENABLED.set(enabled)
    try:
        yield
    finally:
        _GRAD_ENABLED.reset(token)


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Within this context (and this thread) nothing is recorded, so no forward array is kept for a backward pass."""
    return _recording(False)


def enable_grad() -> contextlib.AbstractContextManager[None]:
    """Within this context (and this thread) operations are recorded, also inside `no_grad`."""
    return _recording(True)


@contextlib.contextmanager
def watch(watcher: Callable[[str, Sequence[Any], Tensor], None]) -> Iterator[None]:
    """Within this context (and this thread) call `watcher(op name, inputs, output)` after every op."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


_add, _sub, _mul, _div = lift(ops.add), lift(ops.sub), lift(ops.mul), lift(ops.div)
_neg, _pow, _matmul, _getitem = lift(ops.neg), lift(ops.pow), lift(ops.matmul), lift(ops.getitem)
_reshape, _transpose = lift(ops.reshape), lift(ops.transpose)
_sum, _mean, _max = lift(ops.sum), lift(ops.mean), lift(ops.max)
