"""The MLP of a block: (B, N, D) -> (B, N, F) -> (B, N, D)."""

import gelu_forms


def forward(x, params, form):
    """The result, (B, N, D)."""
    # BEGIN SOLUTION q2
    hidden = gelu_forms.forward(_linear(x, params, "hidden"), form)
    return _linear(hidden, params, "out")
    # END SOLUTION


def backward(x, params, form, g):
    """(dx, gradients of the four parameters)."""
    # BEGIN SOLUTION q2
    before = _linear(x, params, "hidden")
    dhidden, out_grads = _linear_backward(gelu_forms.forward(before, form), params, "out", g)
    dbefore = gelu_forms.backward(before, form, dhidden)
    dx, hidden_grads = _linear_backward(x, params, "hidden", dbefore)
    return dx, {**hidden_grads, **out_grads}
    # END SOLUTION


def _linear(x, params, name):
    """x W + b with the weight and bias of that name.   x: (B, N, in) -> (B, N, out)."""
    # BEGIN SOLUTION q2
    return x @ params[f"{name}.weight"] + params[f"{name}.bias"]
    # END SOLUTION


def _linear_backward(x, params, name, g):
    """(dx, {"name.weight": ..., "name.bias": ...}).   g: the gradient of the result, (B, N, out)."""
    # BEGIN SOLUTION q2
    dweight = (x.swapaxes(1, 2) @ g).sum(axis=0)
    dbias = g.sum(axis=(0, 1))
    return g @ params[f"{name}.weight"].T, {f"{name}.weight": dweight, f"{name}.bias": dbias}
    # END SOLUTION
