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
# To train a model we need the derivative of one number, the loss, with respect to every parameter. The paper ([Dosovitskiy et al.
# 2020](https://arxiv.org/abs/2010.11929v2)) takes these derivatives for granted; ViT-B has 86 million of them (Table 1). Nobody writes them down one
# by one: a program records how the loss was computed, and applies the chain rule to the record, backwards. At the end you will be able to
#
# - walk the chain rule backwards by hand, one operation at a time,
# - write an engine that does it, in about forty lines,
# - say in which order it must go, and what goes wrong in any other order.
#
# You need notebook [00](00_numbers.ipynb): an *op* returns its value and its pullback, and `check_vjp` tells whether the pullback is right.
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
# The smallest model: one neuron with one input $x$, weight $w$ and bias $b$, which should say $t$. Its loss, one operation per line:
#
# $$p = w x, \qquad s = p + b, \qquad y = \tanh s, \qquad e = y - t, \qquad L = e \cdot e.$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $x, w, b, t$ | input, weight, bias, target: the leaves, which nothing has computed | numbers | `x`, `w`, `b`, `t` |
# | $p, s, y, e$ | intermediate results | numbers | `p`, `s`, `y`, `e` |
# | $L$ | the loss | number | `L` |
# | $\mathrm{d}v$ | $\partial L / \partial v$, the gradient of the loss with respect to $v$ | that of $v$ | `dv` |
# | $g$ | cotangent: the gradient with respect to the *result* of an operation | that of the result | `g` |

# %%
x, w, b, t = 0.5, 1.2, -0.3, 0.8
p = w * x
s = p + b
y = np.tanh(s)
e = y - t
L = e * e
print(f"p = {p:.3f}   s = {s:.3f}   y = {y:.3f}   e = {e:.3f}   L = {L:.3f}")

# %% [markdown]
# Now backwards. We begin with $\mathrm{d}L = 1$ and go from the last line to the first. Each line needs one fact alone: *the gradient of what it made*.
# It multiplies that by its own derivative, which uses the values of the forward pass.
#
# | operation | its derivative | so |
# |---|---|---|
# | $L = e \cdot e$ | $2e$ | $\mathrm{d}e = \mathrm{d}L \cdot 2e$ |
# | $e = y - t$ | $1$ | $\mathrm{d}y = \mathrm{d}e$ |
# | $y = \tanh s$ | $1 - y^2$ | $\mathrm{d}s = \mathrm{d}y \cdot (1 - y^2)$ |
# | $s = p + b$ | $1$ and $1$ | $\mathrm{d}p = \mathrm{d}s$, $\mathrm{d}b = \mathrm{d}s$ |
# | $p = w x$ | $x$ and $w$ | $\mathrm{d}w = \mathrm{d}p \cdot x$, $\mathrm{d}x = \mathrm{d}p \cdot w$ |

# %%
dL = 1.0
de = dL * 2 * e
dy = de
ds = dy * (1 - y * y)
dp, db = ds, ds
dw, dx = dp * x, dp * w

# %% [markdown]
# The library's engine computes the same. Its Tensors remember how they were made, so it can be asked for the gradient of every intermediate result.

# %%
tx, tw, tb = (Tensor(np.array(value), requires_grad=True, name=name) for value, name in ((x, "x"), (w, "w"), (b, "b")))
tp = tw * tx
ts = tp + tb
ty = F.tanh(ts)
te = ty - t
tL = te * te

stepper = BackwardStepper(tL, values={"p": tp, "s": ts, "y": ty, "e": te, "L": tL})  # for below; changes nothing
engine = grad(tL, [te, ty, ts, tp, tb, tw, tx])
for name, mine, reference in zip(
    ["de", "dy", "ds", "dp", "db", "dw", "dx"], [de, dy, ds, dp, db, dw, dx], engine, strict=True
):
    agree(name, mine, reference)

# %% [markdown]
# Here is the same pass as a drawing. Move the slider: each step runs one pullback. The number after `g` is the gradient that has arrived; `saves 16 B`
# says how many bytes of the forward pass the pullback keeps. In the text of a step, `x of mul` is a name in the op's source, shown below it. (Where
# there is no slider, as in a notebook that has not been run here, you see the steps one below the other.)

# %%
stepper

# %% [markdown]
# **Why backwards?** One could also go forwards: start with $\partial x / \partial x = 1$ and carry $\partial(\cdot) / \partial x$ along, through $p$,
# $s$, $y$, $e$ to $L$. That gives the derivative with respect to *one* input; for $n$ parameters it takes $n$ passes. Backwards, every line asks only
# for the gradient of what it made, and all inputs are served by *one* pass. It pays because the loss is a single number.
# The backward pass costs a small multiple of the forward pass, whatever the number of parameters. The price is memory: what a pullback needs is
# kept until it has run.
#
# ## Several paths: gradients add
#
# A value may be used more than once. Take the shortest example:
#
# $$b = a + a, \qquad c = b + b.$$
#
# So $c = 4a$ and $\partial c / \partial a = 4$. The chain rule for several variables says: *sum over all uses*. If $v$ is an input of the operations that
# made $u_1, u_2, \dots$, then
#
# $$\mathrm{d}v = \sum_j \mathrm{d}u_j \, \frac{\partial u_j}{\partial v}.$$
#
# (An operation that takes $v$ twice, as $a + a$ does, is one term here: its $\partial u / \partial v$, in this case 2, is itself the sum over the two places.)
#
# Every use of $v$ sends a portion of its gradient, and **$\mathrm{d}v$ is finished only when the last portion has arrived.** Keep this sentence in
# mind; the rest of the notebook follows from it.
#
# ## An engine for numbers
#
# The forward pass must be recorded. A `Value` keeps its number, what it was made from, and the pullback of the operation that made it. The operations
# are ops as in notebook 00: value and pullback.


# %%
def add(x, y):
    return x + y, lambda g: (g, g)


def sub(x, y):
    return x - y, lambda g: (g, -g)


def mul(x, y):
    return x * y, lambda g: (g * y, g * x)


def tanh(x):
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
# That is the whole record. Now the backward pass. We try four ways on the example; three of them look reasonable and will not do. `calls` counts how
# many pullbacks run.
#
# **First try: follow every path.** Whenever a portion of a gradient arrives at a value, send it on to the value's inputs at once.

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
# This is right: a pullback is linear in $g$, so portions may be sent on one by one. It is the sum over all paths, written as a program. But $b$'s
# pullback runs once for each portion that arrives at $b$.
#
# **Second try: send on the sum.** Add the portion to `grad`, and send on `grad`. It looks like a small correction.


# %%
def send_on_the_sum(value, g=1.0):
    value.grad = value.grad + g
    if value.inputs:
        for source, portion in pull_back(value, value.grad):
            send_on_the_sum(source, portion)


# %% [markdown]
# The second portion that arrives at $b$ sends on the sum of both, although the first one has been sent on already. It is counted twice.
#
# **Third try: visit every value once.** So remember who has been visited, and do not go there again.


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
# **Fourth try: wait.** A pullback may run only when *all* portions have arrived, that is, after the pullbacks of all values that used this one. An
# order with this property is called a **topological order**. We need not search for one: a value is always made *after* its inputs, so going from the
# newest to the oldest will do.


# %%
def reachable(loss):
    """All values that the loss was made from, with itself. A list of what is still to do, so no recursion."""
    found, to_do = {loss}, [loss]
    while to_do:
        for source in to_do.pop().inputs:
            if source not in found:
                found.add(source)
                to_do.append(source)
    return found


def newest_first(loss, g=1.0):
    loss.grad = g
    for value in sorted(reachable(loss), key=lambda value: value.order, reverse=True):
        if value.inputs:
            for source, portion in pull_back(value, value.grad):
                source.grad = source.grad + portion


# %% [markdown]
# All four on $b = a + a$, $c = b + b$, where the answer is 4:

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
# The same in pictures, drawn by the library's stepper. In step 1 both portions arrive at $b$, and only then its pullback runs.

# %%
a = Tensor(np.array(3.0), requires_grad=True, name="a")
b = a + a
c = b + b
BackwardStepper(c, values={"b": b, "c": c}).frames()

# %% [markdown]
# In that example both portions come from one operation. In a Vision Transformer they come from far apart: each half of a block is *added* to what
# goes around it (Eq. 2 and 3 of the paper, notebook [10](10_residual_stream.ipynb)). Two such steps, $u = x + \tanh x$ and $v = u + \tanh u$. Look
# for `1 of 2`: $u$ has received the portion of the addition and waits for that of the tanh.

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
# How much does it matter? We stack $n$ such steps and count. From the result to the input there are $2^n$ paths: at each step, around the tanh or through
# it. ViT-B has 12 layers with two additions each, which alone give $2^{24}$ paths. The third try is also run from another $x$, 0 instead of 0.5.


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
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for row, (backward, style) in enumerate(zip(tries, ("o-", "s--", "^-", "D-"), strict=True)):
    name = backward.__name__.replace("_", " ")
    axes[0].semilogy(depths, count[row], style, label=name, markersize=5 + 2 * (row == 0))
    axes[1].semilogy(depths, ratio[row], style, label=name, markersize=5 + 2 * (row == 0))
axes[1].semilogy(depths, from_zero, "^:", color="C2", label="visit once, from $x = 0$")
axes[0].set(xlabel="number of steps $x + \\tanh x$", ylabel="pullbacks that ran", title="cost")
axes[1].set(xlabel="number of steps $x + \\tanh x$", ylabel="gradient / the right gradient", title="result")
axes[1].set_ylim(1e-4, 100)  # the second try leaves the picture; its numbers are printed below
axes[1].legend()
plt.show()

# %%
print(f"{depths[-1]} steps, {2 * depths[-1]} operations:")
for row, backward in enumerate(tries):
    print(f"  {backward.__name__:<18} {count[row, -1]:6.0f} pullbacks   gradient / right one {ratio[row, -1]:8.2g}")
print(f"from x = 0: visit_once, gradient / right one {from_zero[-1]:.2g}")
print(f"paths through the 24 additions of ViT-B: 2^24 = {2**24:,}")

# %% [markdown]
# On the left the first two curves coincide, and so do the last two. The first try is right, but its cost doubles with every step: it is the chain
# rule without the idea that makes it affordable. The second is as slow, and wrong. The third is fast and wrong, the most dangerous of all: its gradient
# has the right sign here, so a model may well train, only worse. How wrong it is depends on the example. It returns $1 + \tanh'(x)$ whatever the depth;
# the right gradient is the product of such factors, one per step. From $x = 0.5$ the values grow, tanh saturates, and the later factors are nearly 1.
# From $x = 0$ (dotted) each of them is 2. The fourth try runs every pullback once.
#
# ## From numbers to arrays
#
# What has to change in the engine if `data` is an array? Little:
#
# - The **ops** see arrays. `add`, `sub`, `mul` and `tanh` work entry by entry as they are. The matrix product is new; its pullback is derived in
#   notebook [02](02_shapes.ipynb).
# - The pullback of an array-valued op takes a cotangent $g$ of the *result's* shape and returns gradients of the *arguments'* shapes. This is the
#   **vector-Jacobian product** (VJP): $\mathrm{d}X_i = \sum_j g_j \, \partial Y_j / \partial X_i$, the sum over all uses once more. The Jacobian, the
#   table of all $\partial Y_j / \partial X_i$, is never stored.
# - A bias that NumPy has stretched over all rows was used in every row: its portions are summed (`unbroadcast`, notebook 02).


# %%
def matmul(x, y):
    return x @ y, lambda g: (g @ y.T, x.T @ g)


def backward(result, g):
    """As newest_first, for arrays: g is the cotangent, of the result's shape. May be called again."""
    values = sorted(reachable(result), key=lambda value: value.order, reverse=True)
    for value in values:
        value.grad = 0.0  # what an earlier call has left would be sent on once more
    result.grad = g
    for value in values:
        if value.inputs:
            for source, portion in zip(value.inputs, value.vjp(value.grad), strict=True):
                source.grad = source.grad + unbroadcast(portion, source.data.shape)


# %% [markdown]
# Note `source.grad + portion` and not `source.grad += portion`: the pullback of `add` returns one array for both arguments, and writing into it would
# change what the other one has received.
#
# Now a small network with a residual addition: $Z = \tanh(XW + b)$ and $Y = Z + \tanh(ZV)$, for a batch of inputs. Every gradient is compared with
# the library's.

# %%
X, W, V, b = (rng.standard_normal(shape) for shape in ((5, 3), (3, 4), (4, 4), (4,)))
G = rng.standard_normal((5, 4))

leaves = [Value(array) for array in (X, W, b, V)]
Z = apply(tanh, apply(matmul, leaves[0], leaves[1]) + leaves[2])
backward(Z + apply(tanh, apply(matmul, Z, leaves[3])), G)

tensors = [Tensor(array, requires_grad=True) for array in (X, W, b, V)]
tZ = F.tanh(tensors[0] @ tensors[1] + tensors[2])
engine = grad(tZ + F.tanh(tZ @ tensors[3]), tensors, G)
for name, leaf, reference in zip(["dX", "dW", "db", "dV"], leaves, engine, strict=True):
    agree(name, leaf.grad, reference)

# %% [markdown]
# Two engines could be wrong in the same way, differences cannot. The whole network is an op itself: its value is the forward pass, its pullback is
# the backward pass. So `check_vjp` can check it, with a random cotangent. And like every pullback it may be called twice.


# %%
def network(X, W, b, V):
    leaves = [Value(array) for array in (X, W, b, V)]
    Z = apply(tanh, apply(matmul, leaves[0], leaves[1]) + leaves[2])
    Y = Z + apply(tanh, apply(matmul, Z, leaves[3]))

    def vjp(g):
        backward(Y, g)
        return tuple(leaf.grad for leaf in leaves)

    return Y.data, vjp


print(f"largest relative error of the gradients: {check_vjp(network, X, W, b, V):.1e}")
Y, vjp = network(X, W, b, V)
for name, first, second in zip(["dX", "dW", "db", "dV"], vjp(G), vjp(G), strict=True):
    agree(f"{name} again", second, first)

# %% [markdown]
# ## The library
#
# The engine that trains the Vision Transformer in this repository, `minivit.tensor` and `minivit.backward`, is in essence the one you have just written. The record is called
# the *tape* there.
#
# | here | there | what it adds |
# |---|---|---|
# | `Value` | `Tensor` and `Node` | values that no pullback needs are freed early |
# | `apply(op, ...)` | `lift(op)` | nothing is recorded where no gradient is wanted; errors name the op and the shapes |
# | `reachable`, sorted | `reachable` | the same |
# | `backward` | `grad` | checks; the saved arrays are released as they are used |
# | `source.grad + portion` | `Cotangents` | writes into an array where it knows that nobody else holds it |

# %%
show_source(tensor.reachable)

# %%
show_source(tensor.grad)

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **Assigning instead of adding.** `source.grad = portion` is right as long as every value is used once. For $x \cdot x$ it loses half of the gradient.
# - **Gradients of the last step.** The library's other entry, `loss.backward()`, *adds* to the `.grad` of every leaf, as PyTorch's does. Who does not
#   clear it before the next step trains with the sum of both.
# - **Changing an array that a pullback has kept.** `mul` needs the values of the forward pass. If `x *= 2` overwrites them in between, the gradient
#   is that of another function.
# - **Leaving the record.** `np.tanh(value.data)` computes the right number, but the engine does not see it. The gradient is silently zero on this path.
# - **Recursion.** By default Python stops at a depth of about 1000 calls, and a record may be deeper. The library has no recursion.
#
# ## Exercises
#
# **1.1 (two lines).** Write division as an op: value and pullback.


# %%
def divide(x, y):
    """x, y: arrays of one shape -> z = x / y, vjp; vjp(g) returns dx, dy"""
    ...  # your answer here


check("1.1", divide)

# %% [markdown]
# **1.2 (ten minutes).** `b = tanh(a)`, `c = b * a`, `d = c + b`, `e = d * c`. The pullbacks of e, d, c and b run *once* each, beginning with e, and
# each one takes what has arrived until then. Find an order in which every pullback has received something before it runs, and the gradient of `a` is
# still wrong. Write it as a list, like `["e", "d", "c", "b"]`.

# %%
order_that_breaks = None  # your answer here

check("1.2", order_that_breaks)

# %% [markdown]
# **1.3 (twenty minutes).** Go forwards for once. The loss of the neuron is $L = (\tanh(\langle w, x\rangle + b) - t)^2$, where $w$ and $x$ are now
# vectors of $n$ numbers. If $w$ moves in the direction $\dot w$ and $b$ in the direction $\dot b$, how fast does $L$ change? Carry the derivative
# along with each intermediate result: $\dot p$, $\dot s$, $\dot y$, $\dot e$, $\dot L$. You need no gradient.


# %%
def rate_of_change(w, b, x, t, w_dot, b_dot):
    """w, x, w_dot: (n,); b, t, b_dot: numbers -> dL/d(step) along the direction, a number"""
    ...  # your answer here


check("1.3", rate_of_change)

# %% [markdown]
# **1.4 (an hour).** Our engine knows the order since it numbers the values. Without `order`, a topological order must be found from `inputs` alone.
# Write it. The checker's graphs are deep (more than Python's recursion allows) and have very many paths; each object can be asked for its
# `inputs` a hundred times.


# %%
def topological_order(loss):
    """loss: an object whose `.inputs` are objects of the same kind -> a list of all that loss was made from

    The list begins with loss, and each object stands before its inputs.
    """
    ...  # your answer here


check("1.4", topological_order)

# %% [markdown]
# Next: [02, shapes](02_shapes.ipynb).
