"""The engine: values that remember how they were made, and the way back through them.

An op is a function of arrays that returns its value and its pullback: `op(*arrays, **params) -> (value, pullback)`.
The pullback takes g, the gradient of the value (same shape), and returns a tuple with one gradient for each array
argument. Where NumPy stretched an argument, it may return the gradient of the stretched one: `pull` sums it back.
"""

import numpy as np


class Node:
    """A value of a program.

    value: its array.   parents: the Nodes it was made from, as often as they were used.
    pullback: as above; None for an input or a constant.
    """

    def __init__(self, value, parents=(), pullback=None):
        self.value = value
        self.parents = parents
        self.pullback = pullback


def apply(op, parents, params):
    """The Node of one application of `op` to the values of `parents`."""
    value, pullback = op(*[parent.value for parent in parents], **params)
    return Node(value, tuple(parents), pullback)


def pull(node, g):
    """The gradients that `node` sends to its parents, each in the shape of the parent, in the order of node.parents."""
    sent, count = node.pullback(g), len(node.parents)
    if not isinstance(sent, (tuple, list)) or len(sent) != count:
        op = node.pullback.__qualname__.split(".")[0].rstrip("_")
        what = f"{len(sent)} gradients" if isinstance(sent, (tuple, list)) else "None" if sent is None else "an array"
        raise TypeError(
            f"the pullback of {op} returned {what}; a tuple of {count} gradient{'s' * (count > 1)} is asked"
        )
    return [unbroadcast(sent[i], np.shape(parent.value)) for i, parent in enumerate(node.parents)]


def unbroadcast(g, shape):
    """The gradient of an argument of this shape. g is the gradient of what NumPy stretched it to."""
    if np.shape(g) == shape:
        return g
    # BEGIN SOLUTION q2
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(axis for axis, length in enumerate(shape) if length == 1 and g.shape[axis] != 1)
    return g.sum(axis=stretched, keepdims=True)
    # END SOLUTION


def simple_way_back(outputs, cotangents, wanted):
    """Stands in for `gradients` until q6 is written, so that q1 to q5 can be checked.

    It is right for one instruction, or two in a row, with no argument used twice by one of them; for other programs it
    says that q6 is open. It is no start for q6: the general way back has another form.
    """
    node = outputs[0]
    inner = [parent for parent in node.parents if parent.parents]
    deeper = [parent for middle in inner for parent in middle.parents if parent.parents]
    twice = any(len(set(x.parents)) < len(x.parents) for x in (node, *inner))
    if len(outputs) > 1 or not node.parents or len(inner) > 1 or deeper or twice:
        raise NotImplementedError("q6")
    sent = dict(zip(node.parents, pull(node, cotangents[0])))
    second = {x: dict(zip(x.parents, pull(x, sent[x]))) for x in inner}
    zeros = {leaf: np.zeros(np.shape(leaf.value)) for leaf in wanted}
    return [zero + sum(way.get(leaf, 0) for way in (sent, *second.values())) for leaf, zero in zeros.items()]


def gradients(outputs, cotangents, wanted):
    """The way back (q6). As long as this raises NotImplementedError, `simple_way_back` stands in for it.

    outputs: Nodes.   cotangents: for each an array of its shape, or None.   wanted: Nodes without parents.

    Returns for each Node of `wanted` the gradient of sum_i <cotangents[i], outputs[i]>: an array of its shape, zeros if
    nothing depends on it. Nothing that was handed in is changed, and the graph can be used again.
    """
    # BEGIN SOLUTION q6
    waiting = uses(outputs)
    sums = {}
    for i, output in enumerate(outputs):
        if cotangents[i] is not None:
            add_up(sums, output, cotangents[i])
    ready = [node for node, count in waiting.items() if count == 0]
    while ready:
        node = ready.pop()
        if node.pullback is not None:
            sent = pull(node, sums[node]) if node in sums else [None] * len(node.parents)
            for i, parent in enumerate(node.parents):
                if sent[i] is not None:
                    add_up(sums, parent, sent[i])
                waiting[parent] -= 1
                if waiting[parent] == 0:
                    ready.append(parent)
    return [sums[node] if node in sums else np.zeros(np.shape(node.value)) for node in wanted]


def uses(outputs):
    """Everything that `outputs` were made from -> how often these use it."""
    counts = dict.fromkeys(outputs, 0)
    stack = list(counts)
    while stack:
        for parent in stack.pop().parents:
            if parent not in counts:
                counts[parent] = 0
                stack.append(parent)
            counts[parent] += 1
    return counts


def add_up(sums, node, g):
    """Add g to the gradient of a node, in a new array: g may belong to somebody else too."""
    sums[node] = sums[node] + g if node in sums else g
    # END SOLUTION
