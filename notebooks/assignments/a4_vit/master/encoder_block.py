"""One layer of the encoder, normalising before each branch (Eq. 2 and 3)."""

import mlp_branch
from given import layer_norm, layer_norm_backward, multi_head_attention, multi_head_attention_backward


def part(params, prefix):
    """The parameters whose names begin so, with the beginning cut off: part(params, "mlp.") has hidden.weight."""
    return {name[len(prefix) :]: value for name, value in params.items() if name.startswith(prefix)}


def named(grads, prefix):
    """The way back: the same arrays with `prefix` put before their names."""
    return {prefix + name: value for name, value in grads.items()}


def forward(x, params, config):
    """z'' of Eq. 3, (B, N, D)."""
    # BEGIN SOLUTION q3
    middle = x + attention_branch(x, params, config)
    return middle + mlp_of_norm(middle, params, config)
    # END SOLUTION


def backward(x, params, config, g):
    """(dx, gradients of the 12 parameters). The forward pass is computed again: only x was kept."""
    # BEGIN SOLUTION q3
    middle = x + attention_branch(x, params, config)
    grads = {}
    dnormed, inner = mlp_branch.backward(
        normed(middle, params, "norm2", config), part(params, "mlp."), config["gelu"], g
    )
    grads.update(named(inner, "mlp."))
    dbranch, inner = normed_backward(middle, params, "norm2", config, dnormed)
    grads.update(named(inner, "norm2."))
    dmiddle = g + dbranch
    attended = normed(x, params, "norm1", config)
    weights = part(params, "attention.")
    dnormed, inner = multi_head_attention_backward(attended, weights, config["heads"], dmiddle)
    grads.update(named(inner, "attention."))
    dbranch, inner = normed_backward(x, params, "norm1", config, dnormed)
    grads.update(named(inner, "norm1."))
    return dmiddle + dbranch, grads
    # END SOLUTION


def attention_branch(x, params, config):
    """MSA(LN1(x)), without the residual."""
    # BEGIN SOLUTION q3
    return multi_head_attention(normed(x, params, "norm1", config), part(params, "attention."), config["heads"])
    # END SOLUTION


def mlp_of_norm(z, params, config):
    """MLP(LN2(z)), without the residual."""
    # BEGIN SOLUTION q3
    return mlp_branch.forward(normed(z, params, "norm2", config), part(params, "mlp."), config["gelu"])
    # END SOLUTION


def normed(x, params, name, config):
    """The LayerNorm with the parameters name.scale and name.bias."""
    # BEGIN SOLUTION q3
    return layer_norm(x, params[f"{name}.scale"], params[f"{name}.bias"], config["norm_eps"])
    # END SOLUTION


def normed_backward(x, params, name, config, g):
    """(dx, {"scale": ..., "bias": ...}) of `normed`."""
    # BEGIN SOLUTION q3
    scale, bias = params[f"{name}.scale"], params[f"{name}.bias"]
    dx, dscale, dbias = layer_norm_backward(x, scale, bias, config["norm_eps"], g)
    return dx, {"scale": dscale, "bias": dbias}
    # END SOLUTION
