"""Activation checkpointing (Chen et al. 2016): a part of the model keeps only its input for the backward pass and
repeats its forward pass there. It saves memory and costs about a third of a step."""

import copy
from collections.abc import Callable, Iterable

from minivit.backend import Array
from minivit.ops.dropping import Draws
from minivit.protocol import tensor_list
from minivit.tensor import Tensor, enable_grad, grad, lift, no_grad

Rng = Draws | None


def recompute(
    function: Callable[[Tensor, Rng], Tensor], x: Tensor, parameters: Iterable[Tensor], rng: Rng = None
) -> Tensor:
    """function(x, rng), on the tape as one node.

    parameters: all other Tensors of `function` that need a gradient; they must be leaves, or ValueError is raised. rng:
    its state is kept, so that the second forward pass draws the same masks as the first. The second pass uses the
    kernels that are active then.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else tensor_list(parameters, "recompute")
    if any(p.node for p in parameters):
        raise ValueError("recompute: parameters must be leaf Tensors, not results of operations")
    wanted = [p for p in parameters if p.requires_grad]
    replay = copy.deepcopy(rng)
    with no_grad():
        y = function(x, rng).data
    data, x_wanted = x.data, x.requires_grad

    def vjp(g: Array) -> list[Array | None]:
        with enable_grad():
            again = Tensor(data, requires_grad=x_wanted)
            z = function(again, copy.deepcopy(replay))
            return grad(z, [again, *wanted], g) if x_wanted else [None, *grad(z, wanted, g)]

    def recomputed(*arrays):
        return y, vjp

    return lift(recomputed)(x, *wanted)
