"""Answers to the exercises of notebook 10b."""

import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.tensor import Tensor, grad


def layer_scale(f, gamma, dz_out):
    D = len(gamma)
    dgamma = np.einsum("ij,ij->j", dz_out.reshape(-1, D), f.reshape(-1, D))
    return dz_out.copy(), dgamma, np.einsum("bnd,d->bnd", dz_out, gamma)


def norm_backward(s, g):
    """Token by token, by the Jacobian of LayerNorm."""
    result = np.zeros_like(g)
    D = s.shape[1]
    for i, row in enumerate(s):
        sigma = np.sqrt(row.var() + 1e-6)
        x = (row - row.mean()) / sigma
        jacobian = (np.eye(D) - 1 / D - np.outer(x, x) / D) / sigma
        result[i] = jacobian.T @ g[i]
    return result


def norm(s):
    return (s - s.mean(axis=1, keepdims=True)) / np.sqrt(s.var(axis=1, keepdims=True) + 1e-6)


def res_post_norm(z, W, dz_out, skip=True):
    db = norm_backward(z @ W, dz_out)
    return db @ W.T + skip * dz_out, np.einsum("ni,nj->ij", z, db)


def deep_norm(z0, W, alpha, dz_out, alpha_back=True):
    sums, inputs, z = [], [], z0
    for matrix in W:
        inputs.append(z)
        sums.append(z @ (alpha * np.eye(z0.shape[1]) + matrix))
        z = norm(sums[-1])
    dW = []
    dz = dz_out
    while sums:
        i = len(sums) - 1
        ds = norm_backward(sums.pop(), dz)
        dW.insert(0, inputs.pop().T @ ds)
        dz = ds @ W[i].T + (alpha if alpha_back else 1) * ds
    return dz, np.array(dW)


def post_ln(z, W, dz_out):
    ds = norm_backward(z + z @ W, dz_out)
    return ds @ W.T + ds, z.T @ ds


def with_ops(z, W, dz_out, eps=1e-6):
    _, vjp = ops.layer_norm(z @ W, np.ones(z.shape[1]), np.zeros(z.shape[1]), eps)
    db, _, _ = vjp(dz_out)
    return dz_out + db @ W.T, z.T @ db


def by_the_engine(z, W, dz_out):
    leaves = [Tensor(z, requires_grad=True), Tensor(W, requires_grad=True)]
    one, zero = (Tensor(np.full(z.shape[1], number)) for number in (1.0, 0.0))
    out = leaves[0] + F.layer_norm(leaves[0] @ leaves[1], one, zero)
    return tuple(grad((out * Tensor(dz_out)).sum(), leaves))


# number -> answers that must pass
RIGHT = {
    "10b.1": [25, 25.0, np.float64(1 + 2 * 12)],
    "10b.2": [layer_scale],
    "10b.3": [res_post_norm, with_ops],
    "10b.4": [deep_norm],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "10b.1": [(13, "two branches"), (24, "z_0"), (5, "standard deviation"), (4096, "do not double"), (26, "It is not")],
    "10b.2": [
        (lambda f, gamma, dz_out: (dz_out, dz_out * f, dz_out * gamma), "shape"),
        (lambda f, gamma, dz_out: (dz_out, layer_scale(f, gamma, dz_out)[1], dz_out), "multiplied by gamma"),
        (lambda f, gamma, dz_out: (dz_out * (1 + gamma), *layer_scale(f, gamma, dz_out)[1:]), "Along the stream only"),
        (lambda f, gamma, dz_out: (dz_out + f, *layer_scale(f, gamma, dz_out)[1:]), "the right one plus f"),
        (lambda f, gamma, dz_out: layer_scale(f, gamma, dz_out)[1:], "tuple of 3"),
        (lambda *args: layer_scale(*args)[::-1], "it returns (df, dgamma, dz), expected (dz, dgamma, df)"),
        (
            lambda f, gamma, dz_out: (dz_out, (dz_out * f).sum((0, 1)) / len(f), dz_out * gamma),
            "a mean instead of a sum",
        ),
    ],
    "10b.3": [
        (lambda z, W, dz_out: res_post_norm(z, W, dz_out, skip=False), "along the stream is missing"),
        (lambda z, W, dz_out: (dz_out, res_post_norm(z, W, dz_out)[1]), "through the branch is missing"),
        (lambda z, W, dz_out: (dz_out + dz_out @ W.T, z.T @ dz_out), "LayerNorm is missing"),
        (post_ln, "post-LN layer"),
        (
            lambda z, W, dz_out: (res_post_norm(z, W, dz_out)[0], res_post_norm(z, W, dz_out)[1].T),
            "dW is the right one transposed. dz is right.",
        ),
    ],
    "10b.4": [
        (lambda *args: deep_norm(*args, alpha_back=False), "missing in the backward pass"),
        (lambda z0, W, alpha, dz_out: deep_norm(z0, W, 1.0, dz_out), "altogether"),
        (lambda z0, W, alpha, dz_out: deep_norm(z0, W, (2 * len(W)) ** 0.25, dz_out), "an argument"),
        (lambda z0, W, alpha, dz_out: deep_norm(z0, W[::-1], alpha, dz_out), "differs"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "10b.2": {
        "dgamma = np.einsum('ij,ij->j', f.reshape(-1, D), dz_out.reshape(-1, D))": "the two stand on equal terms",
        "dgamma = …reshape(-2, D)…": "`reshape` takes any negative number for the length that is left",
    },
    "10b.3": {
        "_, vjp = ops.layer_norm(z @ W, np.ones(z.shape[1]), np.ones(z.shape[1]), 1e-06)": (
            "the gradient of what comes before LN does not depend on its bias"
        ),
        "jacobian = (np.eye(D) - 1 / D - np.outer(x, x) / D) / sigma": "the two stand on equal terms",
        "result[i] = g[i] @ jacobian.T": "the Jacobian is symmetric",
        "result[i] = jacobian @ g[i]": "the Jacobian is symmetric",
        "result = np.ones_like(g)": "every entry is overwritten",
    },
    "10b.4": {
        "jacobian = (np.eye(D) - 1 / D - np.outer(x, x) / D) / sigma": "the two stand on equal terms",
        "result[i] = g[i] @ jacobian.T": "the Jacobian is symmetric",
        "result[i] = jacobian @ g[i]": "the Jacobian is symmetric",
        "result = np.ones_like(g)": "every entry is overwritten",
    },
}
