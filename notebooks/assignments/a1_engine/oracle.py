"""The reference: the same adapters made of minivit's Tensors."""

import numpy as np

from minivit import Tensor, grad
from minivit import functional as F


def _values(program, leaves):
    values = list(leaves)
    for op, args, params in program:
        if op == "const":
            values.append(params["value"])
        elif op == "pow":
            values.append(F.pow(values[args[0]], params["exponent"]))
        else:
            values.append(getattr(F, op)(*(values[i] for i in args), **params))
    return [v if isinstance(v, Tensor) else Tensor(np.array(v, float)) for v in values]


def _leaves(inputs):
    return [Tensor(np.array(x), requires_grad=True) for x in inputs]


def _gradients(outputs, cotangents, wanted):
    """Of sum_i <cotangents[i], outputs[i]>, in one backward pass."""
    terms = [F.sum(F.mul(y, g)) for y, g in zip(outputs, cotangents, strict=True) if g is not None and y.requires_grad]
    if not terms:
        return [np.zeros(leaf.shape) for leaf in wanted]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return grad(total, wanted)


def run_program(program, inputs, outputs, cotangents, wrt):
    leaves = _leaves(inputs)
    values = _values(program, leaves)
    asked = [values[i] for i in outputs]
    return [y.data for y in asked], _gradients(asked, cotangents, [leaves[j] for j in wrt])


def backward_each(program, inputs, outputs, cotangents, wrt):
    pairs = zip(outputs, cotangents, strict=True)
    return [
        run_program(program, inputs, [i], [g], wrt)[1] for i, g in pairs
    ]  # a tape of minivit is used up by its pass


def accumulate(programs, inputs, cotangents, wrt):
    leaves = _leaves(inputs)
    lasts = [_values(program, leaves)[-1] for program in programs]
    return _gradients(lasts, cotangents, [leaves[j] for j in wrt])
