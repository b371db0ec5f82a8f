# ---
# jupyter:
#   jupytext:
#     formats: ipynb,source//py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 Autodiff: from one number to a tensor
#
# To train a model we need the derivative of one number, the loss, with respect to every parameter. ViT-B has 86 million
# parameters (Table 1 of the paper, [Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)). Nobody writes their
# derivatives down one by one. A program records how the loss was computed, and then applies the chain rule to the
# record, backwards. At the end you will be able to
#
# - walk the chain rule backwards by hand, one operation at a time,
# - write an engine that does it, in about forty lines,
# - say in which order it must go, and what goes wrong in any other order.
#
# You need notebook [00](00_numbers.ipynb): an *op* returns its value and its pullback, and `check_vjp` tells whether
# the pullback is right.
#
# **Budget:** 3 s of CPU time (fast mode 3 s).

# %%
import itertools

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import tensor
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, show_source
from minivit.stepper import BackwardStepper
from minivit.tensor import Tensor, grad, unbroadcast

rng = np.random.default_rng(1)

# %% [markdown]
# ## One path: the chain rule
#
# We begin with the smallest model: one neuron with input $x$, weight $a$, bias $b$ and target $t$. We write its loss
# with one operation per line:
#
# $$u = a x, \qquad s = u + b, \qquad y = \tanh s, \qquad e = y - t, \qquad \mathcal{L} = e \cdot e.$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $x, a, b, t$ | input, weight, bias, target: the *leaves*, which are given and not computed | numbers | `x`, `a`, `b`, `t` |
# | $u, s, y, e$ | intermediate results | numbers | `u`, `s`, `y`, `e` |
# | $\mathcal{L}$ | the loss | number | `loss` |
# | $\mathrm{d}v$ | gradient of the loss with respect to $v$ | that of $v$ | `dv` |
# | $g$ | cotangent: the gradient with respect to the *result* of an operation | that of the result | `g` |

# %%
x, a, b, t = 0.5, 1.2, -0.3, 0.8

# %% tags=["yours"]
u = a * x
s = u + b
y = np.tanh(s)
e = y - t
loss = e * e
print(f"u = {u:.3f}   s = {s:.3f}   y = {y:.3f}   e = {e:.3f}   loss = {loss:.3f}")

# %% [markdown]
# Now backwards. We begin with $\mathrm{d}\mathcal{L} = 1$ and go from the last operation to the first. Each operation
# takes *the gradient of its result* and multiplies it by its own derivative. The derivative uses values of the forward
# pass.
#
# | operation | its derivative | so |
# |---|---|---|
# | $\mathcal{L} = e \cdot e$ | $2e$ | $\mathrm{d}e = \mathrm{d}\mathcal{L} \cdot 2e$ |
# | $e = y - t$ | $1$ | $\mathrm{d}y = \mathrm{d}e$ |
# | $y = \tanh s$ | $1 - y^2$ | $\mathrm{d}s = \mathrm{d}y \cdot (1 - y^2)$ |
# | $s = u + b$ | $1$ and $1$ | $\mathrm{d}u = \mathrm{d}s$, $\mathrm{d}b = \mathrm{d}s$ |
# | $u = a x$ | $x$ and $a$ | $\mathrm{d}a = \mathrm{d}u \cdot x$, $\mathrm{d}x = \mathrm{d}u \cdot a$ |

# %% tags=["yours"]
dloss = 1.0  # given
de = dloss * 2 * e
dy = de
ds = dy * (1 - y * y)
du, db = ds, ds
da, dx = du * x, du * a

# %% [markdown]
# The library's engine computes the same. Its Tensors remember how they were made, so we can ask for the gradient of
# every intermediate result.

# %%
tx, ta, tb = (Tensor(np.array(value), requires_grad=True, name=name) for value, name in ((x, "x"), (a, "a"), (b, "b")))
tu = ta * tx
ts = tu + tb
ty = F.tanh(ts)
te = ty - t
tloss = te * te

stepper = BackwardStepper(tloss, values={"u": tu, "s": ts, "y": ty, "e": te, "loss": tloss})  # for below
engine = grad(tloss, [te, ty, ts, tu, tb, ta, tx])
agree("de to dx", np.array([de, dy, ds, du, db, da, dx]), np.array(engine))

# %% [markdown]
# Here is the same pass as a drawing. Move the slider: each step runs one pullback. The number after `g` is the gradient
# that has arrived. `saves 16 B` counts the bytes of the forward pass that the pullback keeps. The text of a step shows
# the source of the pullback. There `x of mul` is the variable `x` of the op `mul`. (Without a running kernel there may
# be no slider. Then the steps stand one below the other.)

# %%
stepper

# %% [markdown]
# **Why backwards?** We could also go forwards: start with $\partial x / \partial x = 1$ and carry
# $\partial(\cdot) / \partial x$ along, through $u$, $s$, $y$ and $e$ to $\mathcal{L}$. That gives the derivative with
# respect to *one* input, so each parameter takes a pass of its own. Backwards, *one* pass serves all inputs, because
# the loss is a single number. It costs a small multiple of the forward pass, for any number of parameters. The price is
# memory: the values that a pullback needs are kept until it has run.
#
# ## Several paths: gradients add
#
# A value may be used more than once. Take the shortest example:
#
# $$b = a + a, \qquad c = b + b.$$
#
# So $c = 4a$ and $\partial c / \partial a = 4$. The chain rule for several variables says: *sum over all uses*. Let $v$
# be an input of several operations, with results $u_1, u_2, \dots$ Then
#
# $$\mathrm{d}v = \sum_j \mathrm{d}u_j \, \frac{\partial u_j}{\partial v}.$$
#
# ($a + a$ takes $a$ twice, but it is one operation and one term. Its derivative, 2, is the sum over both places.)
#
# Every use of $v$ sends a portion of its gradient, and **$\mathrm{d}v$ is finished only when the last portion has
# arrived.** The rest of the notebook follows from this sentence.
#
# ## An engine for numbers
#
# The engine records the forward pass. A `Value` keeps its number, the values it was made from, and the pullback of the
# operation that made it. The operations are ops as in notebook 00: each returns its value and its pullback, and the
# pullback takes $g$ and returns one gradient per argument.
#
# | op | gradients |
# |---|---|
# | $x + y$ | $g$ and $g$ |
# | $x - y$ | $g$ and $-g$ |
# | $x y$ | $g y$ and $g x$ |
# | $y = \tanh x$ | $g (1 - y^2)$ |


# %% tags=["yours"]
def add(x, y):
    """x + y, vjp; vjp(g) returns (dx, dy)."""
    return x + y, lambda g: (g, g)


def sub(x, y):
    """x - y, vjp; vjp(g) returns (dx, dy)."""
    return x - y, lambda g: (g, -g)


def mul(x, y):
    """x * y, vjp; vjp(g) returns (dx, dy)."""
    return x * y, lambda g: (g * y, g * x)


def tanh(x):
    """tanh x, vjp; vjp(g) returns (dx,)."""
    y = np.tanh(x)
    return y, lambda g: (g * (1 - y * y),)


# %%
clock = itertools.count()


class Value:
    """A number (later: an array) that remembers how it was made."""

    def __init__(self, data, inputs=(), vjp=None):
        self.data, self.inputs, self.vjp = data, inputs, vjp
        self.grad = 0.0
        self.order = next(clock)  # the first Value made has 0, the next 1, and so on

    def __add__(self, other):
        return apply(add, self, other)

    def __sub__(self, other):
        return apply(sub, self, other)

    def __mul__(self, other):
        return apply(mul, self, other)


def apply(op, *inputs):
    """Run an op on numbers, and wrap its result with the record of how it was made."""
    y, vjp = op(*(value.data for value in inputs))
    return Value(y, inputs, vjp)


# %% [markdown]
# That is the whole record. Now the backward pass. We try four ways on the example. One is too slow, two are wrong, and
# the last is right. `calls` counts how many pullbacks run.
#
# **First try: follow every path.** Whenever a portion of a gradient arrives at a value, send it on to the value's
# inputs at once.

# %%
calls = 0


def pull_back(value, g):
    """The portions for the inputs of `value`, given the portion g for itself; counted."""
    global calls
    calls += 1
    return zip(value.inputs, value.vjp(g), strict=True)


def follow_every_path(value, g=1.0):
    value.grad = value.grad + g
    if value.inputs:
        for source, portion in pull_back(value, g):
            follow_every_path(source, portion)


# %% [markdown]
# This is right: a pullback is linear in $g$, so portions may be sent on one by one. The program adds one term for each
# path. But $b$'s pullback runs once for each portion that arrives at $b$.
#
# **Second try: send on the sum.** Add the portion to `grad`, and send on `grad`. It looks like a small correction.


# %%
def send_on_the_sum(value, g=1.0):
    value.grad = value.grad + g
    if value.inputs:
        for source, portion in pull_back(value, value.grad):
            send_on_the_sum(source, portion)


# %% [markdown]
# When the second portion arrives at $b$, the sum of both is sent on. But the first has been sent on already, so it is
# counted twice.
#
# **Third try: visit every value once.** Remember which values have been visited, and do not go there again.


# %%
def visit_once(value, g=1.0, visited=None):
    visited = set() if visited is None else visited
    value.grad = value.grad + g
    if value.inputs and value not in visited:
        visited.add(value)
        for source, portion in pull_back(value, value.grad):
            visit_once(source, portion, visited)


# %% [markdown]
# Now $b$'s pullback runs when the first portion has arrived, and the second one is never sent on.
#
# **Fourth try: wait.** A pullback may run only when *all* portions have arrived, that is, after the pullbacks of all
# values that used this one. An order with this property is called a **topological order**. We need not search for one:
# a value is always made *after* its inputs, so we go from the newest value to the oldest. First `reachable` collects
# all values that the loss was made from. Then `newest_first` runs their pullbacks in this order and adds each portion
# to the `grad` of its source.


# %% tags=["yours"]
def reachable(loss):
    """The set of all values that the loss was made from, with itself. A list of what is still to do, no recursion."""
    found, to_do = {loss}, [loss]
    while to_do:
        for source in to_do.pop().inputs:
            if source not in found:
                found.add(source)
                to_do.append(source)
    return found


def newest_first(loss, g=1.0):
    """Fills the `grad` of all values that the loss was made from; each pullback runs once, by `pull_back`."""
    loss.grad = g
    for value in sorted(reachable(loss), key=lambda value: value.order, reverse=True):
        if value.inputs:
            for source, portion in pull_back(value, value.grad):
                source.grad = source.grad + portion


# %% [markdown]
# **Predict first.** The example is $b = a + a$, $c = b + b$, and the right answer is 4. Which gradient does each of the
# four tries find, and with how many pullbacks?

# %%
for backward in (follow_every_path, send_on_the_sum, visit_once, newest_first):
    calls = 0
    a = Value(3.0)
    b = a + a
    c = b + b
    backward(c)
    verdict = "right" if a.grad == 4 else "WRONG"
    print(f"{backward.__name__:<18} dc/da = {a.grad}   {verdict:<6} with {calls} pullbacks for 2 operations")

# %% [markdown]
# **In the stored run** the first and the fourth try find 4.0, the second 6.0 and the third 2.0. The fourth needs two
# pullbacks, the first three.
#
# The same in pictures, drawn by the library's stepper. Step 1 brings both portions to $b$. Step 2 runs the pullback of
# $b$.

# %%
a = Tensor(np.array(3.0), requires_grad=True, name="a")
b = a + a
c = b + b
BackwardStepper(c, values={"b": b, "c": c}).frames()

# %% [markdown]
# In that example both portions come from one operation. In a Vision Transformer they come from two: the result of each
# half of a block is *added* to its input (Eq. 2 and 3 of the paper, notebook [10](10_residual_stream.ipynb)). Here
# are two such steps, $u = x + \tanh x$ and $v = u + \tanh u$. Look for `1 of 2`: $u$ has received the portion of the
# addition and waits for that of the tanh.

# %%
x = Tensor(np.array(0.5), requires_grad=True, name="x")
tanh_x = F.tanh(x)
u = x + tanh_x
tanh_u = F.tanh(u)
v = u + tanh_u
BackwardStepper(v, values={"tanh x": tanh_x, "u": u, "tanh u": tanh_u, "v": v}).frames(range(4))

# %% [markdown]
# ## Experiment: the cost of the wrong order
#
# How much does it matter? We stack $n$ such steps and count. Each step has two paths, around the tanh and through it,
# so $2^n$ paths lead from the result to the input. ViT-B has 12 layers with two additions each: these alone give
# $2^{24}$ paths. We begin at $x = 0.5$. The third try also runs from $x = 0$, because its error depends on $x$.
#
# **Predict first.** How many pullbacks does each try run for 12 steps (24 operations)? Is the wrong gradient of the
# second and of the third try too large or too small, and does the error grow with the number of steps?


# %%
def gradient_through(backward, depth, start):
    """dv/dx for v = `depth` steps after x = start, by one of the tries."""
    x = top = Value(start)
    for _ in range(depth):
        top = top + apply(tanh, top)
    backward(top)
    return x.grad


depths = range(1, full_or_fast(13, 9))
tries = (follow_every_path, send_on_the_sum, visit_once, newest_first)
count, found = np.zeros((4, len(depths))), np.zeros((4, len(depths)))
for column, depth in enumerate(depths):
    for row, backward in enumerate(tries):
        calls = 0
        found[row, column] = gradient_through(backward, depth, 0.5)
        count[row, column] = calls
ratio = found / found[3]  # of the fourth; the next cell asks the library whether that one is right
from_zero = [gradient_through(visit_once, depth, 0.0) / gradient_through(newest_first, depth, 0.0) for depth in depths]

# %%
tx = top = Tensor(np.array(0.5), requires_grad=True)
for _ in depths:
    top = top + F.tanh(top)
agree("newest first", found[3, -1], grad(top, [tx])[0])

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for row, (backward, style) in enumerate(zip(tries, ("o-", "s--", "^-", "D--"), strict=True)):
    name = backward.__name__.replace("_", " ")
    size = 9 if style.endswith("--") else 5  # two pairs of curves coincide: one of each pair is drawn around the other
    axes[0].semilogy(depths, count[row], style, label=name, markersize=size, markerfacecolor="none")
    axes[1].semilogy(depths, ratio[row], style, label=name, markersize=size, markerfacecolor="none")
axes[1].semilogy(depths, from_zero, "^:", color="C2", label="visit once, from $x = 0$")
for row, text, offset in (
    (0, "follow every path,\nsend on the sum", (-45, 8)),
    (3, "visit once,\nnewest first", (0, -14)),
):
    end = depths[-1], count[row, -1]
    axes[0].annotate(f"{text}: {end[1]:.0f}", end, offset, textcoords="offset points", ha="right", va="top")
axes[0].set(xlabel="number of steps $x + \\tanh x$", ylabel="pullbacks that ran", title="cost")
axes[1].set(xlabel="number of steps $x + \\tanh x$", ylabel="gradient / the right gradient", title="result")
axes[1].set_ylim(1e-4, 100)  # the second try leaves the picture; its numbers are printed below
figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
plt.show()

# %%
print(f"{depths[-1]} steps, {2 * depths[-1]} operations:")
for row, backward in enumerate(tries):
    print(f"  {backward.__name__:<18} {count[row, -1]:6.0f} pullbacks   gradient / right one {ratio[row, -1]:8.2g}")
print(f"from x = 0: visit_once, gradient / right one {from_zero[-1]:.2g}")
print(f"paths through the 24 additions of ViT-B: 2^24 = {2**24:,}")

# %% [markdown]
# **In the stored run** the first two tries run 8190 pullbacks for 24 operations, the other two 24. The second finds
# 2.1e+18 times the right gradient. The third finds 0.6 of the right one, and from $x = 0$ only 0.00049 of it.
#
# The first try is right, but its cost doubles with every step, because it sends on every portion alone. The second is
# as slow, and wrong. The third is fast and wrong. Its gradient has the right sign here, so only a comparison shows the
# error. It returns $1 + \tanh'(x)$ for any number of steps. The right gradient is a product of such factors, one for
# each step. From $x = 0.5$ the values grow, tanh saturates, and the later factors are nearly 1. From $x = 0$ each
# factor is 2. The fourth try runs every pullback once.
#
# ## From numbers to arrays
#
# What has to change in the engine if `data` is an array? Little:
#
# - The **ops** see arrays. `add`, `sub`, `mul` and `tanh` work entry by entry as they are. The matrix product $Y = XW$
#   is new. Its pullback returns $g\,W^\top$ and $X^\top g$ (derived in notebook [02](02_shapes.ipynb)).
# - The pullback of an array-valued op takes a cotangent $g$ of the *result's* shape and returns gradients of the
#   *arguments'* shapes. This is the **vector-Jacobian product** (VJP):
#   $\mathrm{d}X_i = \sum_j g_j \, \partial Y_j / \partial X_i$, again the sum over all uses. The Jacobian is the matrix
#   of all $\partial Y_j / \partial X_i$. It is never stored.
# - NumPy stretches a bias over all rows, so the bias is used in every row: its portions are summed (`unbroadcast`,
#   notebook 02).
#
# The backward pass is as `newest_first`, with two changes: it first sets every `grad` to 0, so that it may be called
# again, and it passes each portion through `unbroadcast(portion, source.data.shape)`.


# %% tags=["yours"]
def matmul(X, W):
    """X @ W, vjp; vjp(g) returns (dX, dW)."""
    return X @ W, lambda g: (g @ W.T, X.T @ g)


def backward(result, g):
    """Fills the `grad` of all values that the result was made from.   g: the cotangent, of the result's shape."""
    values = sorted(reachable(result), key=lambda value: value.order, reverse=True)
    for value in values:
        value.grad = 0.0  # what an earlier call has left would be sent on once more
    result.grad = g
    for value in values:
        if value.inputs:
            for source, portion in zip(value.inputs, value.vjp(value.grad), strict=True):
                source.grad = source.grad + unbroadcast(portion, source.data.shape)


# %% [markdown]
# Note `source.grad + portion` instead of `source.grad += portion`. The pullback of `add` returns one array for both
# arguments. Writing into it for one argument would change the gradient of the other.
#
# Now a small network with a residual addition, for five inputs at once:
#
# $$Z = \tanh(X W_1 + b), \qquad Y = Z + \tanh(Z W_2).$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $X$ | five inputs of three numbers | $(5, 3)$ | `X` |
# | $W_1$ | matrix of the first layer | $(3, 4)$ | `W1` |
# | $b$ | its bias | $(4)$ | `b` |
# | $W_2$ | matrix of the second layer | $(4, 4)$ | `W2` |
# | $Z$ | result of the first layer | $(5, 4)$ | `Z` |
# | $Y$ | result of the network | $(5, 4)$ | `Y` |
# | $G$ | cotangent of $Y$ | $(5, 4)$ | `G` |
#
# Every gradient is compared with the library's.

# %%
X, W1, W2, b = (rng.standard_normal(shape) for shape in ((5, 3), (3, 4), (4, 4), (4,)))
G = rng.standard_normal((5, 4))

leaves = [Value(array) for array in (X, W1, b, W2)]
Z = apply(tanh, apply(matmul, leaves[0], leaves[1]) + leaves[2])
backward(Z + apply(tanh, apply(matmul, Z, leaves[3])), G)

tensors = [Tensor(array, requires_grad=True) for array in (X, W1, b, W2)]
tZ = F.tanh(tensors[0] @ tensors[1] + tensors[2])
engine = grad(tZ + F.tanh(tZ @ tensors[3]), tensors, G)
for name, leaf, reference in zip(["dX", "dW1", "db", "dW2"], leaves, engine, strict=True):
    agree(name, leaf.grad, reference)

# %% [markdown]
# Two engines may share an error. Central differences use no pullback, so they cannot share it. The whole network is an
# op, too: its value is the forward pass, its pullback is the backward pass. So `check_vjp` can check it, with a random
# cotangent. This pullback may be called twice. (The library's `grad` may not: it releases the arrays that the pullbacks
# have kept, and raises an error if the same record is used again.)


# %%
def network(X, W1, b, W2):
    leaves = [Value(array) for array in (X, W1, b, W2)]
    Z = apply(tanh, apply(matmul, leaves[0], leaves[1]) + leaves[2])
    Y = Z + apply(tanh, apply(matmul, Z, leaves[3]))

    def vjp(g):
        backward(Y, g)
        return tuple(leaf.grad for leaf in leaves)

    return Y.data, vjp


print(f"largest relative error of the gradients: {check_vjp(network, X, W1, b, W2):.1e}")
Y, vjp = network(X, W1, b, W2)
first, second = (np.concatenate([gradient.ravel() for gradient in vjp(G)]) for _ in range(2))
agree("called again", second, first)

# %% [markdown]
# ## The library
#
# The engine that trains the Vision Transformer in this repository, `minivit.tensor` and `minivit.backward`, is in
# essence the one you have just written. There the record is called the *tape*.
#
# | here | there | what it adds |
# |---|---|---|
# | `Value` | `Tensor` and `Node` | values that no pullback needs are freed early |
# | `apply(op, ...)` | `lift(op)` | it records nothing where no gradient is wanted; errors name the op and the shapes |
# | `reachable`, sorted | `reachable` | the same |
# | `backward` | `grad` | checks; the saved arrays are released as they are used |
# | `source.grad + portion` | `Cotangents` | adds in place if nothing else uses the array |

# %%
show_source(tensor.reachable)

# %%
show_source(tensor.grad)

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **Assigning instead of adding.** `source.grad = portion` is right as long as every value is used once. For
#   $x \cdot x$ it loses half of the gradient.
# - **Gradients of the last step.** The library's other entry, `loss.backward()`, *adds* to the `.grad` of every leaf,
#   as PyTorch's does. If you forget to clear it, the next step trains on the sum of both gradients.
# - **Changing an array that a pullback has kept.** `mul` needs the values of the forward pass. If `x *= 2` overwrites
#   them in between, the gradient is that of another function.
# - **Leaving the record.** `np.tanh(value.data)` computes the right number, but the engine does not see it. The
#   gradient is silently zero on this path.
# - **Recursion.** By default Python stops at a depth of about 1000 calls, and a record may be deeper. The library uses
#   no recursion here.
#
# ## Exercises
#
# `hint("1.1")` gives up to three hints, one per call.
#
# **1.1 (two lines).** Write division as an op: value and pullback.


# %%
def divide(x, y):
    """x, y: arrays of one shape -> z = x / y, vjp; vjp(g) returns dx, dy"""
    ...  # your answer here


check("1.1", divide)

# %% [markdown]
# **1.2 (ten minutes).** `b = tanh(a)`, `c = b * a`, `d = c + b`, `e = d * c`. The pullbacks of e, d, c and b run *once*
# each, beginning with e. A pullback sends on the sum of the portions that have arrived before it runs. What arrives
# later is lost. Find an order that gives a wrong gradient of `a`, although every pullback has received at least one
# portion before it runs. Write it as a list, like `["e", "d", "c", "b"]`.

# %%
order_that_breaks = None  # your answer here

check("1.2", order_that_breaks)

# %% [markdown]
# **1.3 (twenty minutes).** This time go forwards. The loss of the neuron is $\mathcal{L} = (\tanh(u + b) - t)^2$. Here
# $a$ and $x$ are vectors of one length, and $u = \langle a, x\rangle$ is their inner product. If $a$ moves in the
# direction $\dot a$ and $b$ in the direction $\dot b$, how fast does $\mathcal{L}$ change? Carry the derivative along
# with each intermediate result: $\dot u$, $\dot s$, $\dot y$, $\dot e$, $\dot{\mathcal{L}}$. You need no gradient.


# %%
def rate_of_change(a, b, x, t, a_dot, b_dot):
    """a, x, a_dot: vectors of one length; b, t, b_dot: numbers -> how fast the loss changes, a number"""
    ...  # your answer here


check("1.3", rate_of_change)

# %% [markdown]
# **1.4 (an hour).** Our engine knows the order because it numbers the values. Without `order`, a topological order must
# be found from `inputs` alone. Write a function that finds one. The checker's graphs are deep (more than Python's
# recursion allows) and have very many paths. Each object may be asked for its `inputs` at most a hundred times.


# %%
def topological_order(loss):
    """loss: an object whose `.inputs` are objects of the same kind -> a list of all that loss was made from

    The list begins with loss, and each object stands before its inputs.
    """
    ...  # your answer here


check("1.4", topological_order)

# %% [markdown]
# Next: [02, shapes](02_shapes.ipynb).
