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
# # 09 The MLP and GELU
#
# Attention moves information between tokens. After it, a small network works on each token alone: two dense layers with
# a GELU between them (section 3.1 of the paper, [Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2); it is
# the $\mathrm{MLP}$ in Eq. 3). With the usual width it has twice as many weights as the attention of the same block.
# GELU has two common forms, which are nearly equal but not quite. At the end you will be able to
#
# - compute GELU by erf and by tanh, derive both slopes, and say how much they differ,
# - derive the backward pass of the MLP,
# - choose a tolerance that can tell the two forms apart.
#
# You need the gradients of a dense layer (notebook [02](02_shapes.ipynb)).
#
# **Budget:** 5 s of CPU time (fast mode 5 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, running_digit, show_source
from minivit.lessons.pictures import mlp as pictures
from minivit.models import ViT, ViTConfig
from minivit.nn import MLP
from minivit.tape import closure_values, saved_bytes, tape
from minivit.tensor import Tensor, grad, no_grad

rng = np.random.default_rng(9)

# %% [markdown]
# ## The idea in a picture
#
# The digit of the last notebooks again, in block 1 of its trained model. All 17 tokens go through the same two layers,
# each by itself. We follow three of them: the [class] token in row 0, and two patches. Red is positive, blue is
# negative.

# %%
model, image, label = running_digit()
_ = pictures.token_by_token(model, image)

# %% [markdown]
# ## The equations
#
# $$\mathrm{MLP}(\mathbf{z}) = \mathrm{GELU}(\mathbf{z}W_1 + b_1)\,W_2 + b_2$$
#
# The inner width is $F = 4D$ in all models of Table 1. Without the nonlinearity the two dense layers would equal a
# single one, with the matrix $W_1W_2$ and the bias $b_1W_2 + b_2$.
#
# $$\mathrm{GELU}(x) = x\,\Phi(x), \qquad \Phi(x) = \tfrac12\bigl(1 + \mathrm{erf}(x/\sqrt2)\bigr), \qquad
# \mathrm{erf}(u) = \frac{2}{\sqrt\pi}\int_0^u e^{-\xi^2}\,\mathrm{d}\xi \tag{GELU}$$
#
# $\Phi(x)$ is the probability that a standard normal number is below $x$
# ([Hendrycks & Gimpel 2016](https://arxiv.org/abs/1606.08415)). It rises from 0 to 1, so it acts as a gate. Large $x$
# pass unchanged. Very negative $x$ become nearly 0. In between, the gate opens smoothly. (The older
# $\mathrm{ReLU}(x) = \max(x, 0)$ is a gate that is either shut or open.) The same paper gives an approximation without
# erf, and the published ViT code uses it:
#
# $$\mathrm{GELU}_{\tanh}(x) = \tfrac12 x\,\bigl(1 + \tanh q\bigr), \qquad q = \sqrt{2/\pi}\,\bigl(x + 0.044715\,x^3\bigr) \tag{GELU, tanh form}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $F$ | width of the MLP | number | `M`, since `F` is `minivit.functional` |
# | $\mathbf{z}$ | tokens | $(N, D)$ | `z` |
# | $W_1$, $b_1$ | weights and biases of the first layer | $(D, F)$, $(F,)$ | `W1`, `b1` |
# | $W_2$, $b_2$ | weights and biases of the second layer | $(F, D)$, $(D,)$ | `W2`, `b2` |
# | $X_1$ | $\mathbf{z}W_1 + b_1$, before the GELU | $(N, F)$ | `X1` |
# | $G$ | $\mathrm{GELU}(X_1)$ | $(N, F)$ | `G` |
# | $R$ | the result, $GW_2 + b_2$ | $(N, D)$ | `R` |
# | $x$, $y$ | input and output of GELU, element by element | any | `x`, `y` |
# | $g$ | the cotangent $\mathrm{d}y$, drawn at random | as $x$ | `g` |
# | $\Phi$, $\varphi$ | distribution and density of a standard normal number, at $x$ or at $X_1$ | as $x$ | `cdf`, `density` |
# | $u$ | $x/\sqrt2$, the argument of erf | as $x$ | `u` |
# | $\xi$ | variable of integration | number | |
# | $q$, $t$ | argument of tanh in the tanh form; $t = \tanh q$ | as $x$ | `q`, `t` |
# | $c$, $a$ | constants of the tanh form, $\sqrt{2/\pi}$ and 0.044715 | numbers | `c`, `a` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# A batch of images only adds rows: $B$ images of $N$ tokens are $BN$ rows, all treated alike.

# %%
N, D, M = 4, 3, 7
z = rng.standard_normal((N, D))
W1, b1 = rng.standard_normal((D, M)), rng.standard_normal(M)
W2, b2 = rng.standard_normal((M, D)), rng.standard_normal(D)

# %% [markdown]
# ## Forward, as loops
#
# Python's `math` has erf for single numbers.


# %% tags=["yours"]
def gelu_of_number(x):
    """The exact GELU of one number."""
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


# %%
def mlp_loops(z, W1, b1, W2, b2):
    """z: (N, D), W1: (D, F), b1: (F,), W2: (F, D), b2: (D,) -> R (N, D), one number at a time."""
    R = np.zeros((len(z), len(b2)))
    for i in range(len(z)):
        G = [gelu_of_number(sum(z[i, d] * W1[d, f] for d in range(len(W1))) + b1[f]) for f in range(len(b1))]
        for d in range(len(b2)):
            R[i, d] = sum(G[f] * W2[f, d] for f in range(len(G))) + b2[d]
    return R


R_loops = mlp_loops(z, W1, b1, W2, b2)

# %% [markdown]
# The loops treat one token at a time. So row $i$ of $R$ depends on row $i$ of $\mathbf{z}$ only.
#
# ## Forward, vectorised
#
# NumPy has no erf, so the library computes one from series: `ops.erf` returns a value and a pullback. We take the
# value.

# %% tags=["yours"]
X1 = z @ W1 + b1
cdf = 0.5 * (1 + ops.erf(X1 / math.sqrt(2))[0])
G = X1 * cdf
R = G @ W2 + b2

agree("G", G, np.vectorize(gelu_of_number)(X1))
agree("R", R, R_loops)

# %% [markdown]
# ## The slope of GELU, by erf
#
# We differentiate $y = x\,\Phi(x)$ in three steps, for a random cotangent $g = \mathrm{d}y$, and compare each step with
# the engine. The points $x$ cover the range in which GELU bends. From here `cdf` is $\Phi(x)$; above it was
# $\Phi(X_1)$.

# %%
x = np.linspace(-4, 4, 17)
g = rng.standard_normal(x.shape)

tx = Tensor(x, requires_grad=True)
tu = tx * (1 / math.sqrt(2))
tcdf = 0.5 * (1 + F.erf(tu))
engine = dict(zip(["cdf", "u", "x"], grad(tx * tcdf, [tcdf, tu, tx], g), strict=True))

# %% [markdown]
# **Step 1: $y = x \cdot \Phi$.** A product: $\mathrm{d}\Phi = g\,x$, and a first contribution $g\,\Phi$ to
# $\mathrm{d}x$.
#
# **Step 2: $\Phi = \frac12(1 + \mathrm{erf}\,u)$.** The derivative of an integral with respect to its upper end is the
# integrand there: $\mathrm{erf}'(u) = \frac{2}{\sqrt\pi}e^{-u^2}$. So
# $\mathrm{d}u = \frac12 \cdot \frac{2}{\sqrt\pi}e^{-u^2}\,\mathrm{d}\Phi$.
#
# **Step 3: $u = x/\sqrt2$.** This gives a second contribution to $\mathrm{d}x$, $\mathrm{d}u/\sqrt2$. The two
# contributions are added, because $x$ is used twice.

# %% tags=["yours"]
cdf = 0.5 * (1 + ops.erf(x / math.sqrt(2))[0])
dcdf = g * x
du = dcdf * 0.5 * 2 / math.sqrt(math.pi) * np.exp(-((x / math.sqrt(2)) ** 2))
dx = g * cdf + du / math.sqrt(2)

# %%
for name, mine in {"cdf": dcdf, "u": du, "x": dx}.items():
    agree(f"d{name}", mine, engine[name])

# %% [markdown]
# The constants of steps 2 and 3 together are $\frac{1}{\sqrt\pi}\cdot\frac{1}{\sqrt2} = \frac{1}{\sqrt{2\pi}}$, and
# $u^2 = x^2/2$. So the factor of $\mathrm{d}\Phi$ is the normal density $\varphi(x)$, as it must be: the density is the
# derivative of the distribution. In closed form:
#
# $$\mathrm{GELU}'(x) = \Phi(x) + x\,\varphi(x), \qquad \varphi(x) = \frac{1}{\sqrt{2\pi}}\,e^{-x^2/2}.$$


# %% tags=["yours"]
def slope_erf(x):
    """The derivative of the exact GELU.   x: any shape -> the same shape"""
    cdf = 0.5 * (1 + ops.erf(x / math.sqrt(2))[0])
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return cdf + x * density


# %%
agree("dx", g * slope_erf(x), engine["x"])

# %% [markdown]
# ## The slope of GELU, by tanh
#
# The tanh form has the same structure: $y = \frac12 x(1 + t)$ with $t = \tanh q$ and $q = c\,(x + a x^3)$, where
# $c = \sqrt{2/\pi}$ and $a = 0.044715$. Backwards:
#
# - From $y = \frac12 x (1 + t)$: $\mathrm{d}t = \frac12 g x$, and a first contribution $\frac12 g (1 + t)$ to
#   $\mathrm{d}x$.
# - From $t = \tanh q$: $\mathrm{d}q = (1 - t^2)\,\mathrm{d}t$, because $\tanh' = 1 - \tanh^2$.
# - From $q = c\,(x + a x^3)$: a second contribution $c\,(1 + 3 a x^2)\,\mathrm{d}q$ to $\mathrm{d}x$.

# %%
c, a = math.sqrt(2 / math.pi), 0.044715

tx = Tensor(x, requires_grad=True)
tq = c * (tx + a * (tx * tx * tx))
tt = F.tanh(tq)
engine = dict(zip(["t", "q", "x"], grad(0.5 * tx * (1 + tt), [tt, tq, tx], g), strict=True))

# %% tags=["yours"]
t = np.tanh(c * (x + a * x * x * x))
dt = 0.5 * g * x
dq = (1 - t * t) * dt
dx = 0.5 * g * (1 + t) + c * (1 + 3 * a * x * x) * dq

# %%
for name, mine in {"t": dt, "q": dq, "x": dx}.items():
    agree(f"d{name}", mine, engine[name])

# %% [markdown]
# Divide $\mathrm{d}x$ by $g$. The result is the slope:
#
# $$\mathrm{GELU}_{\tanh}'(x) = \tfrac12(1 + t) + \tfrac12 x\,(1 - t^2)\,c\,(1 + 3ax^2).$$


# %% tags=["yours"]
def slope_tanh(x):
    """The derivative of the tanh form.   x: any shape -> the same shape"""
    t = np.tanh(c * (x + a * x * x * x))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * a * x * x)


# %%
agree("dx", g * slope_tanh(x), engine["x"])

# %% [markdown]
# ## Backward through the MLP, step by step
#
# Now the whole MLP, in the tanh form. $\mathrm{d}R$ is given, drawn at random.

# %%
dR = rng.standard_normal((N, D))

tz, tW1, tb1, tW2, tb2 = (Tensor(x, requires_grad=True) for x in (z, W1, b1, W2, b2))
tX1 = tz @ tW1 + tb1
tG = F.gelu(tX1)
tR = tG @ tW2 + tb2
names = ["G", "W2", "b2", "X1", "z", "W1", "b1"]
engine = dict(zip(names, grad(tR, [tG, tW2, tb2, tX1, tz, tW1, tb1], dR), strict=True))
G = ops.gelu(X1)[0]  # the tanh form is the default

# %% [markdown]
# **Step 1: $R = G W_2 + b_2$.** A dense layer. The bias is added to every row, so its gradient is the sum over the
# rows:
#
# $$\mathrm{d}G = \mathrm{d}R\,W_2^\top, \qquad \mathrm{d}W_2 = G^\top\,\mathrm{d}R, \qquad \mathrm{d}b_2 = \sum_i \mathrm{d}R_i.$$

# %% tags=["yours"]
dG = dR @ W2.T
dW2 = G.T @ dR
db2 = dR.sum(axis=0)

# %%
for name, mine in {"G": dG, "W2": dW2, "b2": db2}.items():
    agree(f"d{name}", mine, engine[name])

# %% [markdown]
# **Step 2: $G = \mathrm{GELU}(X_1)$.** GELU works element by element: each entry of $G$ depends only on the same entry
# of $X_1$. So each entry of the gradient is multiplied by its own slope:
#
# $$\mathrm{d}X_1 = \mathrm{d}G \circ \mathrm{GELU}'(X_1).$$

# %% tags=["yours"]
dX1 = dG * slope_tanh(X1)

agree("dX1", dX1, engine["X1"])

# %% [markdown]
# **Step 3: $X_1 = \mathbf{z}W_1 + b_1$.** A dense layer, as in step 1.

# %% tags=["yours"]
dz = dX1 @ W1.T
dW1 = z.T @ dX1
db1 = dX1.sum(axis=0)

# %%
for name, mine in {"z": dz, "W1": dW1, "b1": db1}.items():
    agree(f"d{name}", mine, engine[name])

# %% [markdown]
# ## Check it numerically
#
# We write the three steps as an op and check it with central differences. All five arguments get a gradient.


# %%
def my_mlp(z, W1, b1, W2, b2):
    """R = gelu(z W1 + b1) W2 + b2, tanh form, and its pullback."""
    X1 = z @ W1 + b1
    t = np.tanh(c * (X1 + a * X1 * X1 * X1))
    G = 0.5 * X1 * (1 + t)

    def vjp(dR):
        slope = 0.5 * (1 + t) + 0.5 * X1 * (1 - t * t) * c * (1 + 3 * a * X1 * X1)
        dX1 = (dR @ W2.T) * slope
        return dX1 @ W1.T, z.T @ dX1, dX1.sum(axis=0), G.T @ dR, dR.sum(axis=0)

    return G @ W2 + b2, vjp


print(f"largest relative error of the gradients: {check_vjp(my_mlp, z, W1, b1, W2, b2):.1e}")

# %% [markdown]
# ## The library
#
# `minivit.ops.gelu` has both forms, and a third, coarser one of another model. Find the two slopes. `linear_gelu` is
# the first dense layer and the GELU as one op, and `MLP` is the layer that owns the weights. (`bias_std`: as in the
# published code, its biases start as random numbers of size $10^{-6}$, nearly zero. Notebook
# [09b](09b_initialisation.ipynb) explains how the weights start.)

# %%
show_source(ops.gelu)

# %%
show_source(ops.linear_gelu)

# %%
show_source(MLP)

# %%
for form, slope in (("erf", slope_erf), ("tanh", slope_tanh)):
    y, pullback = ops.gelu(x, form)
    agree(f"dx, {form}", g * slope(x), pullback(g)[0])

layer = MLP(D, M, np.random.default_rng(0), dtype="float64", gelu="erf")
weights = (layer.hidden.weight.data, layer.hidden.bias.data, layer.out.weight.data, layer.out.bias.data)
agree("layer", layer(Tensor(z)), mlp_loops(z, *weights))

# %% [markdown]
# **Why one op for two steps?** The pullback of `linear_gelu` only calls two pullbacks, one after the other. But some
# ops have a second, faster implementation in the library, called a *kernel*. (The kernel of a convolution is something
# else.) This kernel adds the bias first. Then it takes a small piece of the array at a time, and computes GELU and
# its slope while the piece is in the processor's cache. It also chooses what is kept for the backward pass. `gelu` above keeps three
# arrays of the size of $X_1$: `x`, `t` and `cdf`. The backward pass needs only the slope. We count the arrays that each
# implementation keeps. `closure_values` lists the arrays that a pullback has captured. `tape` lists the ops that made a
# Tensor, and `saved_bytes` counts the bytes that one of them keeps.

# %%
tokens, width = 197, 768  # ViT-B/16 at 224 x 224 pixels: 14 x 14 patches and [class]
big = rng.standard_normal((tokens, 4 * width)).astype(np.float32)
_, definition = ops.gelu(big)
kept_by_definition = [value for value in closure_values(definition).values() if isinstance(value, np.ndarray)]
(node,) = tape(F.gelu(Tensor(big, requires_grad=True)))  # Tensors use the kernel
print(f"one array of the size of X1: {big.nbytes / 2**20:.2f} MiB per image and layer")
print(f"kept by the definition:      {sum(array.nbytes for array in kept_by_definition) / big.nbytes:.0f} of them")
print(f"kept by the kernel:          {saved_bytes(node) / big.nbytes:.0f}")

# %% [markdown]
# ## Experiment: how far apart are the two forms?
#
# We compute both forms on a fine grid in float64.
#
# **Predict first.** Will you see the difference of the two forms in a plot? Is it larger in the values or in the
# slopes? Which of the tolerances $10^{-2}$, $10^{-3}$, $10^{-4}$ and $10^{-6}$ would notice that one form was replaced
# by the other?

# %%
grid = np.linspace(-6, 6, full_or_fast(1_200_001, 12_001))
value_erf, value_tanh = ops.gelu(grid, "erf")[0], ops.gelu(grid, "tanh")[0]
value_gap, slope_gap = value_tanh - value_erf, slope_tanh(grid) - slope_erf(grid)
for name, gap in (("values", value_gap), ("slopes", slope_gap)):
    worst = np.abs(gap).argmax()
    print(f"{name}: largest difference {abs(gap[worst]):.5f}, at |x| = {abs(grid[worst]):.3f}")
print(f"for comparison, float32 rounds numbers near 1 by up to {np.finfo(np.float32).eps / 2:.0e}")
lowest = value_erf.argmin()
print(f"GELU is lowest at x = {grid[lowest]:.2f}, where it is {value_erf[lowest]:.3f}")
print(f"its largest slope is {slope_erf(grid).max():.3f}")

# %%
coarse = slice(None, None, max(1, len(grid) // 600))
points = grid[coarse]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
axes[0].plot(points, value_erf[coarse], "-", label="GELU, erf")
axes[0].plot(points, value_tanh[coarse], ":", linewidth=3, label="GELU, tanh")
axes[0].plot(points, np.maximum(points, 0), "--", label="ReLU")
axes[1].plot(points, slope_erf(points), "-", label="GELU, erf")
axes[1].plot(points, slope_tanh(points), ":", linewidth=3, label="GELU, tanh")
axes[1].plot(points, points > 0, "--", label="ReLU")
axes[2].plot(points, 1e4 * value_gap[coarse], "-", label="of the values")
axes[2].plot(points, 1e4 * slope_gap[coarse], "--", label="of the slopes")
axes[0].set(title="value", xlabel="$x$", xlim=(-4, 4), ylim=(-0.5, 4))
axes[1].set(title="slope", xlabel="$x$", xlim=(-4, 4))
axes[2].set(title="tanh form minus erf form", xlabel="$x$", ylabel="difference / $10^{-4}$")
for axis in axes:
    axis.legend(fontsize=9)
plt.show()

# %% [markdown]
# **In the stored run** the values differ by at most 0.00047 and the slopes by at most 0.00087, at |x| = 2.699 and
# 2.019. In the first two panels the dots lie on the solid curve. The third panel shows the difference, magnified ten
# thousand times.
#
# Now the tolerances, on random numbers:

# %%
sample = rng.standard_normal(10_000)
forms = [ops.gelu(sample, form)[0] for form in ("erf", "tanh")]
for atol in (1e-2, 1e-3, 1e-4, 1e-6):
    noticed = not np.allclose(*forms, rtol=0, atol=atol)
    print(f"atol = {atol:.0e}: the other form is {'noticed' if noticed else 'NOT noticed'}")

# %% [markdown]
# **In the stored run** the tolerances 1e-02 and 1e-03 do not notice that the form was replaced. 1e-04 and 1e-06 do.
#
# Does the form matter in a model? We compute the features of a shallow and of a deep model, with both forms and the
# same weights. For comparison we also compute them in float32 instead of float64. That difference is rounding alone.
#
# **Predict first.** Does the difference of the forms grow with the depth? Is it larger or smaller than rounding?


# %%
def features(depth, gelu, dtype):
    """Features of 4 random images from one model with random weights: (4, D)."""
    config = ViTConfig(image_size=32, patch_size=8, width=64, depth=depth, heads=4, num_classes=0, gelu=gelu)
    images = np.random.default_rng(1).uniform(-1, 1, (4, 32, 32, 3))
    with no_grad():
        return ViT(config, seed=0, dtype=dtype).eval()(images.astype(dtype)).data


for depth in (1, full_or_fast(12, 4)):
    tanh_64 = features(depth, "tanh", "float64")
    form = np.abs(features(depth, "erf", "float64") - tanh_64).max()
    rounding = np.abs(features(depth, "tanh", "float32") - tanh_64).max()
    print(f"{depth:2d} blocks: the other form moves the features by up to {form:.1e}, float32 by up to {rounding:.1e}")
print(f"standard deviation of the features: {tanh_64.std():.2f}")

# %% [markdown]
# **In the stored run** the other form changes the features by up to 4.6e-04 with 1 block and 7.8e-04 with 12 blocks.
# That is more than a hundred times the rounding of float32, but small compared with the features, whose standard
# deviation is 1.00.
#
# So a file of weights should say with which form of GELU they were trained. The published JAX code uses tanh. Two
# widely used PyTorch libraries, timm and Hugging Face, run the same checkpoints with erf. In float32, two programs can
# agree to $10^{-5}$ only if they use the same form.
#
# ## Where this goes wrong in practice
#
# - **The wrong form.** Nothing fails, and the loss curve looks normal. Compare outputs, with a tolerance between
#   rounding and the difference of the forms.
# - **`x ** 3`.** NumPy's general power is many times slower than two multiplications. Write `x * x * x`.
# - **A NumPy scalar as a constant.** In NumPy 2, `np.sqrt(2 / np.pi) * x` turns a float32 array into float64, which
#   needs twice the memory. `math.sqrt` gives a Python number, which leaves the array in float32.
# - **The second term of the slope forgotten.** $\mathrm{d}x = g\,\Phi(x)$ is right at $x = 0$, nearly right for large
#   $|x|$, and wrong in between.
# - **The gradient of the bias averaged, or summed over one axis too few.** With a batch it is the sum over images *and*
#   tokens.
#
# ## Exercises
#
# Each cell has a place for your answer; the cell tells you at once whether it is right. `hint("9.3")` gives up to three
# hints, one per call.
#
# **9.1 (two lines).** You have $y = \mathrm{GELU}(x)$. Find $\mathrm{GELU}(-x)$ from $x$ and $y$ without another erf.
# Use $\Phi(-x) = 1 - \Phi(x)$.


# %%
def gelu_of_minus_x(x, y):
    """x, y = GELU(x): arrays of one shape -> GELU(-x)"""
    ...  # your answer here


check("9.1", gelu_of_minus_x)

# %% [markdown]
# **9.2 (ten minutes).** The paper on GELU has a second, coarser approximation, $y = x\,\mathrm{sigmoid}(a x)$ with $a =
# 1.702$ and $\mathrm{sigmoid}(u) = 1/(1 + e^{-u})$. Let $a$ be learned: one number for all entries of $x$. Write the
# gradients of $x$ and of $a$.


# %%
def sigmoid_form_backward(x, a, dy):
    """x, dy: arrays of one shape, a: a number -> dx, of the shape of x, and da, a number"""
    ...  # your answer here


check("9.2", sigmoid_form_backward)

# %% [markdown]
# **9.3 (fifteen minutes).** GELU first falls and then rises. At which $x$ is the exact (erf) form lowest? Give five
# decimals. (The experiment above gives two.) The slope is zero there: halve an interval, or use Newton's method.

# %%
lowest_point = None  # your answer here

check("9.3", lowest_point)

# %% [markdown]
# **9.4 (half an hour).** Write all five gradients of the MLP in the *erf* form. You may use `ops.erf` and nothing else
# of the library.


# %%
def mlp_backward(z, W1, b1, W2, b2, dR):
    """z, dR: (N, D), W1: (D, F), b1: (F,), W2: (F, D), b2: (D,) -> dz, dW1, db1, dW2, db2"""
    ...  # your answer here


check("9.4", mlp_backward)

# %% [markdown]
# **9.5 (an hour).** Many newer language models replace the MLP by a **gated** one, SwiGLU ([Shazeer
# 2020](https://arxiv.org/abs/2002.05202)): $R = \bigl(\mathrm{silu}(\mathbf{z}W) \circ \mathbf{z}V\bigr)W_2$ with
# $\mathrm{silu}(x) = x\,\mathrm{sigmoid}(x)$ and no biases. $W$ and $V$ have the shape $(D, F)$, $W_2$ has $(F, D)$.
# The result of $W$ decides how much of the result of $V$ passes. Write the forward pass and all gradients.


# %%
def swiglu(z, W, V, W2, dR):
    """z, dR: (N, D), W, V: (D, F), W2: (F, D) -> R (N, D), dz, dW, dV, dW2"""
    ...  # your answer here


check("9.5", swiglu)

# %% [markdown]
# Next: [09b, initialisation](09b_initialisation.ipynb).
