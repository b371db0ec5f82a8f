"""All that is called from outside. Glue only: it turns programs into calls of the engine.

Behind it you may write what you like. A program is a list of one instruction or more, `[op, args, params]`. The
inputs are values 0 .. n-1, and instruction k makes value n + k from earlier values, `args`. The ops and their params:

    const                        value: a Python number, without gradient
    add sub mul div maximum      two args, broadcast as NumPy does
    neg exp log sqrt tanh        one arg
    pow                          one arg; exponent: a Python float, without gradient
    sum mean max                 one arg; axis: None, int or tuple; keepdims: bool
    reshape broadcast_to         one arg; shape: tuple
    transpose                    one arg; axes: tuple or None
    getitem                      one arg; index: int, slice, None, Ellipsis, int64 array, or a tuple of these
    concat                       one arg or more; axis: int
    matmul                       two args

All arrays are float64. No argument may be changed.
"""

import numpy as np
from bugs import find_bugs
from elementwise import add, div, exp, log, maximum, mul, neg, power, sqrt, sub, tanh
from engine import Node, apply, gradients, simple_way_back
from movement import broadcast_to, concat, getitem, reshape, transpose
from products import matmul
from reductions import max_, mean, sum_

__all__ = ["accumulate", "backward_each", "find_bugs", "run_program"]

OPS = {
    **{"add": add, "sub": sub, "mul": mul, "div": div, "maximum": maximum},
    **{"neg": neg, "exp": exp, "log": log, "sqrt": sqrt, "tanh": tanh, "pow": power},
    **{"sum": sum_, "mean": mean, "max": max_},
    **{"reshape": reshape, "transpose": transpose, "broadcast_to": broadcast_to, "getitem": getitem, "concat": concat},
    "matmul": matmul,
}


def run_program(program, inputs, outputs, cotangents, wrt):
    """Values of a program, and the gradients that one backward pass gives.

    inputs: list of arrays.   outputs: list of value numbers; an input may be among them, a number may come twice.
    cotangents: for each output an array of its shape, or None for "no gradient from here"; one at least is an array.
    wrt: list of one input number or more, all different, in any order.

    Returns (values, grads), two lists. values[i] is value outputs[i]; grads[j] is the gradient of
    sum_i <cotangents[i], values[i]> with respect to input wrt[j], in its shape: zeros if nothing depends on it.
    """
    leaves = [Node(x) for x in inputs]
    values = interpret(program, leaves)
    asked = [values[i] for i in outputs]
    wanted = [leaves[j] for j in wrt]
    try:
        grads = gradients(asked, cotangents, wanted)
    except NotImplementedError:  # q6 is open
        grads = simple_way_back(asked, cotangents, wanted)
    return [node.value for node in asked], grads


def interpret(program, leaves):
    """The Nodes of all values of a program, those of the inputs first."""
    values = list(leaves)
    for op, args, params in program:
        if op == "const":
            values.append(Node(np.array(params["value"], dtype=float)))
        else:
            values.append(apply(OPS[op], [values[i] for i in args], params))
    return values


def backward_each(program, inputs, outputs, cotangents, wrt):
    """One forward pass, then one backward pass for each output alone.

    Arguments as run_program's; no cotangent is None. Returns a list with the grads of each output in turn: entry i
    holds, for each input of wrt, the gradient of <cotangents[i], values[i]>.
    """
    # BEGIN SOLUTION q7
    leaves = [Node(x) for x in inputs]
    values = interpret(program, leaves)
    wanted = [leaves[j] for j in wrt]
    return [gradients([values[i]], [cotangents[k]], wanted) for k, i in enumerate(outputs)]
    # END SOLUTION


def accumulate(programs, inputs, cotangents, wrt):
    """Several programs on the same leaves, whose gradients add up.

    The leaves are made once from inputs. Each program in turn runs on them, and cotangents[k], an array, is pulled back
    from the last value of programs[k]. Returns, for each input of wrt, the sum of the gradients over all programs, in
    the shape of the input.
    """
    # BEGIN SOLUTION q7
    leaves = [Node(x) for x in inputs]
    totals = [np.zeros(np.shape(inputs[j])) for j in wrt]
    for k, program in enumerate(programs):
        found = gradients([interpret(program, leaves)[-1]], [cotangents[k]], [leaves[j] for j in wrt])
        totals = [total + found[j] for j, total in enumerate(totals)]
    return totals
    # END SOLUTION
