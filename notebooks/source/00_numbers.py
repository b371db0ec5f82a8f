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
# # 00 Numbers: is a derivative right?
#
# This course derives every gradient of a Vision Transformer by hand. A derivation can be wrong, and a wrong gradient need not raise an error: often
# the model still trains, only worse. So before the first derivation we build the instrument that decides: the **numerical derivative**. The paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) has no equation for it, but the later notebooks rest on it. At the end you will be able to
#
# - say how far a float64 and a float32 number may be from the number that you mean,
# - derive the error of a numerical derivative, and choose the best step,
# - check the gradient of a whole array with two evaluations, as the library does.
#
# You need Python, NumPy and partial derivatives.
#
# **Budget:** 3 s of CPU time (fast mode 3 s).
#
# (Fast mode is for automatic tests: if the environment variable `MINIVIT_FAST` is set, `full_or_fast(a, b)` is `b`, otherwise `a`.)

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import doctor, gradcheck
from minivit.gradcheck import GradientError, check_vjp
from minivit.lessons import agree, check, full_or_fast, show_source

rng = np.random.default_rng(0)

# %% [markdown]
# ## Is everything installed?
#
# In a terminal, `python -m minivit.doctor` tells what this machine has and what is missing, with the command that installs it. Here is its first
# part, without the folders. Nothing in the course needs a GPU or a network.

# %%
for topic, finding in doctor.versions():
    print(f"{topic:<14} {finding.partition(',')[0]}")

# %% [markdown]
# ## Numbers with a fixed count of digits
#
# A floating-point number is $\pm m \cdot 2^e$, where $m$ has a fixed count of binary digits and $1 \le m < 2$: 53 digits in float64, 24 in
# float32 (very small numbers have fewer). So the numbers between 1 and 2 lie evenly (52 or 23 digits stand behind the point), at a distance called **machine epsilon**:
#
# $$\varepsilon = 2^{-52} \text{ in float64}, \qquad \varepsilon = 2^{-23} \text{ in float32}.$$
#
# Between 2 and 4 the distance is $2\varepsilon$, between 4 and 8 it is $4\varepsilon$, and so on. The result of an addition or a product is
# rounded to the nearest of these numbers (half-way, to the one whose last digit is 0): its relative error is at most $\varepsilon/2$.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $\varepsilon$ | machine epsilon: the distance from 1 to the next larger number | number | `eps` |
# | $f, f', f'', f'''$ | a function of one number and its derivatives | numbers | `f`, `d1`, `d2`, `d3` |
# | $x, h$ | where we differentiate, and the step | numbers | `x`, `h` |
# | $E(h)$ | error of the numerical derivative | number | `error` |
# | $X, Y$ | argument and result of an op | any two shapes | `X`, `Y` |
# | $G$ | cotangent: the weights that make one number of $Y$ | that of $Y$ | `G` |
# | $L$ | one number computed from $X$, such as $\langle G, Y(X) \rangle$ | number | `L` |
# | $\mathrm{d}X$ | the gradient $\partial L / \partial X$ | that of $X$ | `dX` |
# | $V$ | a direction in which $X$ is moved | that of $X$ | `V` |
# | $\langle A, B \rangle$ | inner product, the sum of the products of entries | number | `(A * B).sum()` |
#
# We do not have to believe the two values of $\varepsilon$: halve a number as long as half of it, added to 1, still makes a difference. (Half of $\varepsilon$ is half-way between 1 and the next number, and is rounded back to 1.) The function `agree` compares two
# results. It prints their shape, `()` for a number, and their largest difference; if this is more than a billionth (or `rtol`) of the largest entry, it
# raises an error.


# %%
def epsilon(dtype):
    """The distance from 1 to the next larger number of this type."""
    one, eps = dtype(1), dtype(1)
    while one + eps / dtype(2) > one:
        eps = eps / dtype(2)
    return eps


agree("float64", epsilon(np.float64), 2.0**-52)
agree("float32", epsilon(np.float32), 2.0**-23)

# %% [markdown]
# Three consequences that surprise everybody once. The first: 0.1 is rounded when it is stored. The second: from $2^{24}$ on, float32 has no room for every
# whole number. The third: a NumPy scalar has a type of its own, and its float64 wins over a float32 array (since NumPy 2; before, the array won). A Python
# number does not, which is why the library keeps to Python numbers.

# %%
big, x32 = np.float32(2**24), np.ones(3, dtype=np.float32)
print("0.1 + 0.2 - 0.3 in float64:", 0.1 + 0.2 - 0.3)
print("2^24 + 1 - 2^24 in float32:", big + np.float32(1) - big)
print("float32 array * np.sqrt(64):", (x32 * np.sqrt(64)).dtype, "  float32 array * 64**0.5:", (x32 * 64**0.5).dtype)

# %% [markdown]
# ## A derivative from differences
#
# The derivative is the limit of $(f(x+h) - f(x))/h$ for small $h$. How small should $h$ be? We expand $f$ around $x$ (Taylor):
#
# $$f(x \pm h) = f(x) \pm h f'(x) + \tfrac{h^2}{2} f''(x) \pm \tfrac{h^3}{6} f'''(x) + \dots$$
#
# **Step 1: the forward difference.** Subtract $f(x)$ and divide by $h$:
#
# $$\frac{f(x+h) - f(x)}{h} = f'(x) + \tfrac{h}{2} f''(x) + \dots$$
#
# **Step 2: the central difference.** Subtract the two expansions. The terms with even powers cancel, and $f''$ is gone:
#
# $$\frac{f(x+h) - f(x-h)}{2h} = f'(x) + \tfrac{h^2}{6} f'''(x) + \dots$$
#
# The error now shrinks with $h^2$ instead of $h$. Our example is $\tanh$, whose derivatives we know. Each is checked by the central difference of
# the one before:


# %%
def forward_difference(f, x, h):
    return (f(x + h) - f(x)) / h


def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def derivatives_of_tanh(x):
    """The first three derivatives, each from the one before by the chain rule."""
    t = np.tanh(x)
    d1 = 1 - t * t
    return d1, -2 * t * d1, (6 * t * t - 2) * d1


x = 1.25
d1, d2, d3 = derivatives_of_tanh(x)
agree("f''", central_difference(lambda x: derivatives_of_tanh(x)[0], x, 1e-5), d2, rtol=1e-7)
agree("f'''", central_difference(lambda x: derivatives_of_tanh(x)[1], x, 1e-5), d3, rtol=1e-7)

# %% [markdown]
# Halve $h$: the error of the forward difference should halve, that of the central difference should fall to a quarter. And what is left over,
# divided by its predicted size, should be close to 1.

# %%
print("     h   error of forward, as predicted?    of central, as predicted?")
for h in (0.04, 0.02, 0.01):
    forward, central = forward_difference(np.tanh, x, h) - d1, central_difference(np.tanh, x, h) - d1
    ratios = forward / (h / 2 * d2), central / (h * h / 6 * d3)
    print(f"{h:6.2f}   {forward:12.2e} {ratios[0]:12.3f}   {central:16.2e} {ratios[1]:12.3f}")

# %% [markdown]
# ## Why not the smallest step there is?
#
# **Step 3: rounding.** The computer does not return $f(x \pm h)$ but a rounded value, off by up to about $\varepsilon |f(x)|$ (not $\varepsilon/2$: a
# function like tanh takes several operations). The subtraction removes what the two values have in common, but not their errors. Then we divide by
# the small number $2h$:
#
# $$\text{error by rounding} \;\lesssim\; \frac{2\,\varepsilon |f(x)|}{2h} = \frac{\varepsilon |f(x)|}{h}.$$
#
# **Step 4: the sum.** One error shrinks with $h$, the other one grows:
#
# $$E(h) \approx \tfrac{h^2}{6} |f'''(x)| + \frac{\varepsilon |f(x)|}{h}.$$
#
# **Step 5: the best step.** At the smallest error the derivative of $E$ is zero:
#
# $$\tfrac{h}{3} |f'''| - \frac{\varepsilon |f|}{h^2} = 0 \quad\Longrightarrow\quad h_* = \left(\frac{3\,\varepsilon |f|}{|f'''|}\right)^{1/3},
# \qquad E(h_*) = \tfrac12 h_*^2 |f'''|.$$
#
# If $f$ and its derivatives are about 1, the best step is about $\varepsilon^{1/3}$ and the error about $\varepsilon^{2/3}$: **a central difference
# keeps two thirds of the digits.** For the forward difference the same steps lead to a square root (exercise 0.2): it keeps half of them.


# %%
def predicted_error(x, h, eps):
    """E(h) of a central difference of tanh."""
    return h * h / 6 * abs(derivatives_of_tanh(x)[2]) + eps * abs(np.tanh(x)) / h


def predicted_step(x, eps):
    """h_*, where E(h) is smallest."""
    return (3 * eps * abs(np.tanh(x)) / abs(derivatives_of_tanh(x)[2])) ** (1 / 3)


best = predicted_step(x, 2.0**-52)
agree("E(h_*)", predicted_error(x, best, 2.0**-52), best * best * abs(d3) / 2)
nearby = [predicted_error(x, best * factor, 2.0**-52) for factor in (0.9, 1.1)]
print(
    f"best step in float64 {best:.1e}; there E is smaller than 10 % to the left and right:",
    predicted_error(x, best, 2.0**-52) < min(nearby),
)

# %% [markdown]
# ## Experiment: the V
#
# Now we measure. For many steps and many places $x$ in $[1, 1.5]$ we compute the difference in float64 and in float32, and compare with the true
# derivative. The steps are powers of two, so that $x \pm h$ is exact down to $h = \varepsilon$ and rounding enters by $f$ alone. (With other steps
# $x \pm h$ is rounded as well, each by up to $\varepsilon |x| / 2$, which may add another $\varepsilon |x f'(x)| / (2h)$.) First one step and one place at a time:


# %%
def errors_loops(difference, places, steps):
    """|numerical - true derivative| of tanh for every step and place.   places (P,), steps (S,) -> (S, P)."""
    errors = np.zeros((len(steps), len(places)))
    for i, h in enumerate(steps):
        for j, x in enumerate(places):
            errors[i, j] = abs(difference(np.tanh, x, h) - derivatives_of_tanh(float(x))[0])
    return errors


def errors_of(difference, places, steps):
    """The same at once: steps go down a column, places along a row, and NumPy combines each with each."""
    truth = derivatives_of_tanh(places.astype(np.float64))[0]
    return np.abs(difference(np.tanh, places, steps[:, None]) - truth)


steps = 2.0 ** -np.arange(1, 53)
places = rng.uniform(1, 1.5, full_or_fast(1000, 100)).astype(np.float32)  # float32 numbers are float64 numbers as well
few = places[:5].astype(np.float64)
agree("errors", errors_of(central_difference, few, steps), errors_loops(central_difference, few, steps))

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True, layout="constrained")
median = {}
for axis, dtype in zip(axes, (np.float64, np.float32), strict=True):
    for difference, style in ((forward_difference, "s-"), (central_difference, "o-")):
        errors = errors_of(difference, places.astype(dtype), steps.astype(dtype))
        median[dtype, difference] = np.median(errors, axis=1)
        axis.loglog(
            steps, median[dtype, difference], style, markersize=3.5, label=difference.__name__.replace("_", " ")
        )
    eps = float(np.finfo(dtype).eps)
    axis.loglog(steps, predicted_error(1.25, steps, eps), "k:", label="predicted for central, $E(h)$")
    axis.axvline(predicted_step(1.25, eps), color="grey", linestyle="--", label="$h_*$")
    axis.set(title=dtype.__name__, xlabel="step $h$", ylim=(1e-13, 1e2))
axes[0].set_ylabel("error of the derivative (median)")
axes[0].legend(frameon=True, edgecolor="none", framealpha=1)  # hides the line of $h_*$ behind it
plt.show()

# %%
print("                                 best step   predicted   smallest error   eps^(2/3)")
for dtype in (np.float64, np.float32):
    eps, error = float(np.finfo(dtype).eps), median[dtype, central_difference]
    print(
        f"central difference in {dtype.__name__}  {steps[error.argmin()]:9.1e}   {predicted_step(1.25, eps):9.1e}"
        f"   {error.min():14.1e}   {eps ** (2 / 3):9.1e}"
    )
for name, error, sizes in (
    ("forward, large steps", median[np.float64, forward_difference], slice(2, 12)),
    ("central, large steps", median[np.float64, central_difference], slice(2, 12)),
    ("central, small steps", median[np.float64, central_difference], slice(24, 44)),
):
    slope = np.polyfit(np.log(steps[sizes]), np.log(error[sizes]), 1)[0]
    print(f"slope in float64, {name}: {slope:5.2f}")

# %% [markdown]
# How to read the V, from right to left. On the right the error of the formula falls with slope 1 (forward) or 2 (central). On the left rounding grows
# with slope $-1$. There the measured errors lie below the dotted line, because the prediction assumes a large rounding error and the median is an
# ordinary one; their best step should still be within a factor of a few of $h_*$. (The dotted line and $h_*$ are computed at $x = 1.25$, the middle of
# the places.) In float32, once $h$ is below $\varepsilon/2$, $x \pm h$ is rounded back to $x$: the difference is 0, and the error is the whole derivative.
#
# Compare the two bottoms. An error in a derivation that is smaller than the bottom cannot be told from rounding, and in float32 the bottom is high. So
# **gradients are checked in float64**, whatever the model trains in.
#
# ## From a number to an array
#
# Let $X$ be an array and $L(X)$ one number. The gradient has one entry for every entry of $X$: move that entry alone. This takes two evaluations per
# entry. ViT-B has 86 million parameters (Table 1 of the paper): 172 million forward passes for one gradient. Numerical derivatives are for checking,
# not for training.


# %%
def numerical_gradient(L, X, h=1e-5):
    """dL/dX, one entry at a time.   L: a function of an array that returns a number -> an array of X's shape."""
    gradient = np.zeros_like(X)
    for index in np.ndindex(X.shape):
        moved = X.copy()
        moved[index] = X[index] + h
        up = L(moved)
        moved[index] = X[index] - h
        gradient[index] = (up - L(moved)) / (2 * h)
    return gradient


# %% [markdown]
# What if the result is an array $Y$, too? Then we make it a number with weights $G$ of $Y$'s shape: $L(X) = \langle G, Y(X) \rangle$. The weights are
# called the **cotangent**. In a network they are the gradient of the loss with respect to $Y$, handed down by everything that comes after.
#
# In this course a function and its derivative are written in one form, the **op**: a function that returns its value and its *pullback*, called `vjp`
# (vector-Jacobian product, notebook 01). The pullback takes $G$ and returns $\partial \langle G, Y \rangle / \partial X$. For $Y = \tanh X$, entry by
# entry, this is $G \circ (1 - Y^2)$, where $\circ$ is the product of entries.


# %%
def my_tanh(X):
    """Y = tanh X, any shape.   dX = G (1 - Y^2)."""
    Y = np.tanh(X)

    def vjp(G):
        return (G * (1 - Y * Y),)  # a tuple: one gradient per argument

    return Y, vjp


X = rng.standard_normal((3, 4))
Y, vjp = my_tanh(X)
G = rng.standard_normal(Y.shape)
(dX,) = vjp(G)
agree("dX", dX, numerical_gradient(lambda X: (G * my_tanh(X)[0]).sum(), X), rtol=1e-8)

# %% [markdown]
# ## Two evaluations are enough
#
# The loop over entries is slow. Instead move *all* entries at once, along a random direction $V$. By the chain rule
#
# $$\frac{L(X + hV) - L(X - hV)}{2h} \approx \sum_i \frac{\partial L}{\partial X_i} V_i = \langle \mathrm{d}X, V \rangle.$$
#
# The left side is measured, the right side is predicted by the pullback. If even one entry of $\mathrm{d}X$ is wrong, the two sides differ, unless $V$
# happens to be orthogonal to the error: for a random $V$ this has probability zero. But we compare with a tolerance, and an entry of $V$ near 0
# hides the error of its entry. So a checker takes several directions, keeps the entries of $V$ away from 0, and has a tolerance above the error of the
# measurement (step 4) and far below what a mistake in a formula would make: `check_vjp` allows $10^{-6}$ of the gradient.

# %%
V = rng.standard_normal(X.shape)
h = 1e-5
measured = ((G * my_tanh(X + h * V)[0]).sum() - (G * my_tanh(X - h * V)[0]).sum()) / (2 * h)
predicted = (dX * V).sum()
agree("<dX, V>", predicted, measured, rtol=1e-8)

# %% [markdown]
# ## The library
#
# `check_vjp` does this with a random cotangent and several random directions, for every argument of an op. It also checks that shapes and types
# fit and that nothing is overwritten. Here is its core: look for `measured` and `predicted`. Its default `step`, $10^{-5}$, is close to
# $(3\varepsilon)^{1/3}$, the best step if $|f| = |f'''|$. A difference below `noise` is no evidence. The first term of `noise` is step 3 above, with a
# margin; the second is the rounding of the prediction, a sum whose terms may cancel; the third says that a difference below $10^{-12}$ always passes.

# %%
show_source(gradcheck._compare)

# %% [markdown]
# It accepts our `my_tanh`, and it must reject a wrong one: **a check that you have never seen fail has not checked anything yet.**

# %%
print(f"my_tanh is right; largest relative error {check_vjp(my_tanh, X):.1e}")


def wrong_tanh(X):
    """The square is missing in the pullback."""
    Y = np.tanh(X)
    return Y, lambda G: (G * (1 - Y),)


try:
    check_vjp(wrong_tanh, X)
except GradientError as error:
    print(error)

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **"The smaller the step, the better."** With $h = 10^{-12}$ in float64 rounding leaves only a few digits. The V says how many.
# - **Checking in float32.** The bottom of its V is so high that real errors hide in it.
# - **A generous tolerance.** With a tolerance of $10^{-2}$ one formula passes for another; notebook [09](09_mlp_and_gelu.ipynb) has two formulas of GELU
#   whose derivatives differ by less than that everywhere.
# - **An absolute tolerance.** If the gradient itself is of size $10^{-8}$, then 0 is close to it. Errors are measured relative to the gradient
#   (in `check_vjp` with a floor of $10^{-12}$; scale your example if its gradient is smaller).
# - **A kink.** At $x = 0$, $\max(x, 0)$ has slope 0 on the left and 1 on the right; the central difference says $\tfrac12$. Stay away from kinks by more
#   than $h$.
# - **A cotangent of ones.** `check_vjp` draws $G$ at random. Notebook [02](02_shapes.ipynb) shows which errors ones would hide.
#
# ## Exercises
#
# Each cell has a place for your answer; its last line tells you at once whether it is right.
#
# **0.1 (two lines).** Write the distance from a float64 number $x > 0$ to the next larger one. It depends on $x$: see the second section.


# %%
def distance_to_next(x):
    """x: a float64 number in the ordinary range, 1e-300 < x < 1e300 -> a number"""
    ...  # your answer here


check("0.1", distance_to_next)

# %% [markdown]
# **0.2 (ten minutes).** The forward difference has the error $E(h) \approx \tfrac{h}{2}|f''| + 2\varepsilon|f|/h$. Which $h$ makes it smallest?


# %%
def best_forward_step(f, f2, eps):
    """f, f2: the positive numbers |f(x)| and |f''(x)|; eps: machine epsilon -> a number"""
    ...  # your answer here


check("0.2", best_forward_step)

# %% [markdown]
# **0.3 (ten minutes).** Somebody must check a gradient on a device that computes in float32 only. The function varies slowly: $|f|$ is about 1 and
# $|f'''|$ about $10^{-3}$, as for $\sin(1 + x/10)$. Choose a step for central differences. (The table above is for tanh, which varies faster.) The checker
# tries steps near yours on three such functions; the error may be up to three times the smallest one.

# %%
step_for_float32 = None  # your answer here

check("0.3", step_for_float32)

# %% [markdown]
# **0.4 (an hour).** Write your own `check_vjp` for ops of one argument, which says True or False. It will meet right ops, whose values and gradients may be
# small or large, and wrong ones: a forgotten factor, a sign, one wrong entry among many, zeros. It must not be mistaken about any of them. Do
# not call the library's.


# %%
def is_right(op, X):
    """op: X -> (Y, vjp), where vjp(G) returns a tuple of one array; X: a float64 array -> True or False"""
    ...  # your answer here


check("0.4", is_right)

# %% [markdown]
# Next: [01, autodiff](01_autodiff.ipynb).
