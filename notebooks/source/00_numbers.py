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
# This course derives every gradient of a Vision Transformer by hand. A derivation can be wrong, and a wrong gradient
# need not raise an error. Often the model still trains, only worse. So before the first derivation we build the tool
# that checks them: the **numerical derivative**. The paper ([Dosovitskiy et al.
# 2020](https://arxiv.org/abs/2010.11929v2)) has no equation for it, but all later notebooks use it. At the end you will
# be able to
#
# - bound the rounding error of a float64 and a float32 number,
# - derive the error of a numerical derivative, and choose the best step,
# - check the gradient of a whole array with two evaluations, as the library does.
#
# You need Python, NumPy and partial derivatives.
#
# **Budget:** 3 s of CPU time (fast mode 3 s).
#
# Fast mode is for automatic tests: `full_or_fast(a, b)` is `b` if the environment variable `MINIVIT_FAST` is set,
# otherwise `a`.

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
# In a terminal, `python -m minivit.doctor` lists what this machine has and what is missing, with the command that
# installs it. Here is its first part. Nothing in the course needs a GPU or a network.

# %%
for topic, finding in doctor.versions():
    print(f"{topic:<14} {finding.partition(',')[0]}")

# %% [markdown]
# ## Numbers with a fixed count of digits
#
# A floating-point number is $\pm m \cdot 2^e$ with $1 \le m < 2$. The binary number $m$ has 53 digits in float64 and 24
# in float32 (very small numbers have fewer). So the numbers between 1 and 2 are evenly spaced. Their distance is called
# **machine epsilon**:
#
# $$\varepsilon_\mathrm{mach} = 2^{-52} \text{ in float64}, \qquad \varepsilon_\mathrm{mach} = 2^{-23} \text{ in float32}.$$
#
# Between 2 and 4 the distance is $2\varepsilon_\mathrm{mach}$, between 4 and 8 it is $4\varepsilon_\mathrm{mach}$, and
# so on. The result of an addition or a product is rounded to the nearest of these numbers. A result half-way between
# two of them goes to the one whose last digit is 0. So the relative error of one operation is at most
# $\varepsilon_\mathrm{mach}/2$.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $\varepsilon_\mathrm{mach}$ | machine epsilon: the distance from 1 to the next larger number | number | `eps` |
# | $f, f', f'', f'''$ | a function of one number and its derivatives | numbers | `f`, `d1`, `d2`, `d3` |
# | $x$ | the place where we differentiate | number | `x` |
# | $\delta$ | the step of a difference | number | `step` |
# | $\mathrm{err}(\delta)$ | error of the numerical derivative | number | `error` |
# | $X, Y$ | argument and result of an op | any two shapes | `X`, `Y` |
# | $G$ | cotangent: a weight for every entry of $Y$ | that of $Y$ | `G` |
# | $\mathcal{L}$ | the loss: any one number computed from $X$, such as $\langle G, Y(X) \rangle$ | number | `loss` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
# | $V$ | a direction in which $X$ is moved | that of $X$ | `V` |
# | $\langle A, B \rangle$ | inner product, the sum of the products of entries | number | `(A * B).sum()` |
#
# We can measure $\varepsilon_\mathrm{mach}$: start from 1 and halve it as long as half of it, added to 1, still makes a
# difference. (Half of $\varepsilon_\mathrm{mach}$ itself makes none: $1 + \varepsilon_\mathrm{mach}/2$ lies half-way to
# the next number and is rounded to 1.)
#
# The function `agree` compares two results. It prints their shape, `()` for a number, and their largest difference. It
# raises an error if the difference is more than a billionth (or `rtol`) of the largest entry, plus $10^{-14}$. This
# small absolute part is for results that should be 0. It also means that very small numbers must be scaled up before
# they are compared.


# %% tags=["yours"]
def epsilon(dtype):
    """The distance from 1 to the next larger number of this type."""
    one, eps = dtype(1), dtype(1)
    while one + eps / dtype(2) > one:
        eps = eps / dtype(2)
    return eps


agree("float64", epsilon(np.float64) * 2.0**52, 1)
agree("float32", epsilon(np.float32) * 2.0**23, 1)

# %% [markdown]
# Three consequences surprise everybody once:
#
# - 0.1 has no finite binary expansion, so it is rounded when it is stored.
# - From $2^{24}$ on, float32 cannot hold every whole number.
# - A NumPy scalar has a type of its own: a float32 array times a float64 scalar is a float64 array (since NumPy 2). A
#   Python number does not do this, so the library uses Python numbers.

# %%
big, x32 = np.float32(2**24), np.ones(3, dtype=np.float32)
print("0.1 + 0.2 - 0.3 in float64:", 0.1 + 0.2 - 0.3)
print("2^24 + 1 - 2^24 in float32:", big + np.float32(1) - big)
print("float32 array * np.sqrt(64):", (x32 * np.sqrt(64)).dtype, "  float32 array * 64**0.5:", (x32 * 64**0.5).dtype)

# %% [markdown]
# ## A derivative from differences
#
# The derivative is the limit of $(f(x+\delta) - f(x))/\delta$ for small $\delta$. How small should the step $\delta$
# be? We expand $f$ around $x$ (Taylor):
#
# $$f(x \pm \delta) = f(x) \pm \delta f'(x) + \tfrac{\delta^2}{2} f''(x) \pm \tfrac{\delta^3}{6} f'''(x) + \dots$$
#
# **Step 1: the forward difference.** Subtract $f(x)$ and divide by $\delta$:
#
# $$\frac{f(x+\delta) - f(x)}{\delta} = f'(x) + \tfrac{\delta}{2} f''(x) + \dots$$
#
# **Step 2: the central difference.** Subtract the two expansions and divide by $2\delta$. The terms with even powers
# cancel, so $f''$ is gone:
#
# $$\frac{f(x+\delta) - f(x-\delta)}{2\delta} = f'(x) + \tfrac{\delta^2}{6} f'''(x) + \dots$$
#
# The error now shrinks with $\delta^2$ instead of $\delta$. Our example is $\tanh$. With $t = \tanh x$ its derivatives
# are
#
# $$f' = 1 - t^2, \qquad f'' = -2 t f', \qquad f''' = (6 t^2 - 2) f'.$$


# %% tags=["yours"]
def forward_difference(f, x, step):
    """Step 1.   f: a function of one number; x, step: numbers -> a number."""
    return (f(x + step) - f(x)) / step


def central_difference(f, x, step):
    """Step 2, with the same arguments."""
    return (f(x + step) - f(x - step)) / (2 * step)


def derivatives_of_tanh(x):
    """The first three derivatives of tanh at x, each from the one before by the chain rule."""
    t = np.tanh(x)
    d1 = 1 - t * t
    return d1, -2 * t * d1, (6 * t * t - 2) * d1


# %% [markdown]
# Each derivative should agree with the central difference of the one before:

# %%
x = 1.25
d1, d2, d3 = derivatives_of_tanh(x)
agree("f''", central_difference(lambda x: derivatives_of_tanh(x)[0], x, 1e-5), d2, rtol=1e-7)
agree("f'''", central_difference(lambda x: derivatives_of_tanh(x)[1], x, 1e-5), d3, rtol=1e-7)

# %% [markdown]
# **Predict first.** We halve $\delta$ twice. By which factor does the error of the forward difference shrink each time,
# and by which factor that of the central difference?

# %%
print("  step   error of forward, over the predicted one   of central, over the predicted one")
for step in (0.04, 0.02, 0.01):
    forward, central = forward_difference(np.tanh, x, step) - d1, central_difference(np.tanh, x, step) - d1
    ratios = forward / (step / 2 * d2), central / (step * step / 6 * d3)
    print(f"{step:6.2f}   {forward:16.2e} {ratios[0]:24.3f}   {central:11.2e} {ratios[1]:22.3f}")

# %% [markdown]
# **In the stored run** the forward error falls from -9.34e-03 to -2.37e-03 and the central one from 1.73e-04 to
# 1.08e-05. Both are close to the predicted size: the ratio at the smallest step is 0.995 and 1.000.
#
# ## Why not the smallest step there is?
#
# **Step 3: rounding.** The computer does not return $f(x \pm \delta)$ but a rounded value. It is off by up to about
# $\varepsilon_\mathrm{mach} |f(x)|$: more than $\varepsilon_\mathrm{mach}/2$, because a function like tanh takes
# several operations. The subtraction removes what the two values have in common, but not their errors. Then we divide
# by the small number $2\delta$:
#
# $$\text{error by rounding} \;\lesssim\; \frac{2\,\varepsilon_\mathrm{mach} |f(x)|}{2\delta} = \frac{\varepsilon_\mathrm{mach} |f(x)|}{\delta}.$$
#
# **Step 4: the sum.** As $\delta$ shrinks, the first error falls and the second grows:
#
# $$\mathrm{err}(\delta) \approx \tfrac{\delta^2}{6} |f'''(x)| + \frac{\varepsilon_\mathrm{mach} |f(x)|}{\delta}.$$
#
# **Step 5: the best step.** At the smallest error the derivative with respect to $\delta$ is zero:
#
# $$\tfrac{\delta}{3} |f'''| - \frac{\varepsilon_\mathrm{mach} |f|}{\delta^2} = 0 \quad\Longrightarrow\quad
# \delta_* = \left(\frac{3\,\varepsilon_\mathrm{mach} |f|}{|f'''|}\right)^{1/3}, \qquad \mathrm{err}(\delta_*) =
# \tfrac12 \delta_*^2 |f'''|.$$
#
# If $f$ and its derivatives are about 1, the best step is about $\varepsilon_\mathrm{mach}^{1/3}$ and the error about
# $\varepsilon_\mathrm{mach}^{2/3}$: **a central difference keeps two thirds of the digits.** A forward difference keeps
# half of them (exercise 0.2).


# %% tags=["yours"]
def predicted_error(x, step, eps):
    """err(step) of a central difference of tanh, step 4."""
    return step * step / 6 * abs(derivatives_of_tanh(x)[2]) + eps * abs(np.tanh(x)) / step


def predicted_step(x, eps):
    """The step at which err(step) is smallest, step 5."""
    return (3 * eps * abs(np.tanh(x)) / abs(derivatives_of_tanh(x)[2])) ** (1 / 3)


# %%
best = predicted_step(x, 2.0**-52)
agree("err, scaled", predicted_error(x, best, 2.0**-52) / (best * best * abs(d3) / 2), 1)
nearby = [predicted_error(x, best * factor, 2.0**-52) for factor in (0.9, 1.1)]
print(f"best step in float64: {best:.1e}")
print("err is smaller there than 10 % to the left and right:", predicted_error(x, best, 2.0**-52) < min(nearby))

# %% [markdown]
# ## Experiment: the V
#
# Now we measure. For many steps and many places $x$ in $[1, 1.5]$ we compute the difference in float64 and in float32,
# and compare it with the true derivative. The steps are powers of two, so that $x \pm \delta$ is exact down to
# $\delta = \varepsilon_\mathrm{mach}$ and only $f$ is rounded. (With other steps $x \pm \delta$ is rounded as well,
# which may add an error of $\varepsilon_\mathrm{mach} |x f'(x)| / (2\delta)$.)
#
# First one step and one place at a time, then all at once:


# %%
def errors_loops(difference, places, steps):
    """|numerical - true derivative| of tanh.   places: (places), steps: (steps) -> (steps, places)."""
    errors = np.zeros((len(steps), len(places)))
    for i, step in enumerate(steps):
        for j, x in enumerate(places):
            errors[i, j] = abs(difference(np.tanh, x, step) - derivatives_of_tanh(float(x))[0])
    return errors


def errors_of(difference, places, steps):
    """The same at once: steps go down a column, places along a row, and NumPy combines each with each."""
    truth = derivatives_of_tanh(places.astype(np.float64))[0]
    return np.abs(difference(np.tanh, places, steps[:, None]) - truth)


steps = 2.0 ** -np.arange(1, 53)
places = rng.uniform(1, 1.5, full_or_fast(1000, 100)).astype(np.float32)  # float32 numbers are float64 numbers as well
few = places[:5].astype(np.float64)
agree("errors", errors_of(central_difference, few, steps), errors_loops(central_difference, few, steps))

# %% [markdown]
# **Predict first.** Where is the bottom of the curve of the central difference: at which step, and at which error, in
# float64 and in float32? Use $\varepsilon_\mathrm{mach}^{1/3}$ and $\varepsilon_\mathrm{mach}^{2/3}$. What slopes do
# you expect on both sides of the bottom?

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
median = {}
for axis, dtype in zip(axes, (np.float64, np.float32), strict=True):
    for difference, style in ((forward_difference, "s-"), (central_difference, "o-")):
        errors = errors_of(difference, places.astype(dtype), steps.astype(dtype))
        median[dtype, difference] = np.median(errors, axis=1)
        name = difference.__name__.replace("_", " ")
        axis.loglog(steps, median[dtype, difference], style, markersize=3.5, label=name)
    eps = float(np.finfo(dtype).eps)
    axis.loglog(steps, predicted_error(1.25, steps, eps), "k:", label=r"predicted for central, $\mathrm{err}(\delta)$")
    axis.axvline(predicted_step(1.25, eps), color="grey", linestyle="--", label=r"predicted best step, $\delta_*$")
    axis.set(title=dtype.__name__, xlabel=r"step $\delta$", ylim=(1e-13, 1e2))
axes[0].set_ylabel("error of the derivative (median)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %%
print("central difference   best step   predicted   smallest error   eps^(2/3)")
for dtype in (np.float64, np.float32):
    eps, error = float(np.finfo(dtype).eps), median[dtype, central_difference]
    print(
        f"in {dtype.__name__}          {steps[error.argmin()]:9.1e}   {predicted_step(1.25, eps):9.1e}"
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
# **In the stored run** the best step of the central difference is 3.8e-06 in float64 (predicted 9.5e-06) and 3.9e-03 in
# float32 (predicted 7.8e-03). The smallest error is 4.4e-12 in float64 and 2.6e-06 in float32. The slopes are 0.99 and
# 2.00 for large steps and -1.00 for small ones.
#
# On the left the measured errors lie below the dotted line: the prediction assumes the largest rounding error, and the
# median is a typical one. The dotted line and $\delta_*$ are computed at $x = 1.25$, the middle of the places. In
# float32 the curve becomes flat once $\delta$ is below $\varepsilon_\mathrm{mach}/2$: then $x \pm \delta$ is rounded to
# $x$, the difference is 0, and the error is the whole derivative.
#
# An error in a derivation that is smaller than the bottom of the V cannot be told from rounding. In float32 the bottom
# is high. So **gradients are checked in float64**, whatever the model trains in.
#
# ## From a number to an array
#
# Let $X$ be an array and $\mathcal{L}(X)$ one number. The gradient has one entry for every entry of $X$. To measure an
# entry, move that entry of $X$ alone. This takes two evaluations per entry. ViT-B has 86 million parameters (Table 1 of
# the paper), so one gradient would take 172 million forward passes. Numerical derivatives are for checking, not for
# training.


# %% tags=["yours"]
def numerical_gradient(loss, X, step=1e-5):
    """Central differences, one entry at a time.   loss: a function of an array that returns a number -> (shape of X)."""
    gradient = np.zeros_like(X)
    for index in np.ndindex(X.shape):
        moved = X.copy()
        moved[index] = X[index] + step
        up = loss(moved)
        moved[index] = X[index] - step
        gradient[index] = (up - loss(moved)) / (2 * step)
    return gradient


# %% [markdown]
# What if the result is an array $Y$, too? Then we make a number of it with weights $G$ of $Y$'s shape:
# $\mathcal{L}(X) = \langle G, Y(X) \rangle$. The weights are called the **cotangent**. In a network the cotangent is
# the gradient of the loss with respect to $Y$, and the layers after $Y$ hand it down.
#
# This course writes a function and its derivative in one form, the **op**. An op returns its value and its *pullback*,
# called `vjp` (vector-Jacobian product, notebook [01](01_autodiff.ipynb)). The pullback takes $G$ and returns
# $\partial \langle G, Y \rangle / \partial X$. For $Y = \tanh X$, entry by entry, it returns
#
# $$\mathrm{d}X = G \circ (1 - Y \circ Y),$$
#
# where $\circ$ is the product of entries. It returns a tuple, with one gradient for each argument.


# %% tags=["yours"]
def my_tanh(X):
    """Y = tanh X, any shape -> Y, vjp; vjp(G) returns (dX,)."""
    Y = np.tanh(X)

    def vjp(G):
        return (G * (1 - Y * Y),)

    return Y, vjp


# %%
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
# $$\frac{\mathcal{L}(X + \delta V) - \mathcal{L}(X - \delta V)}{2\delta} \approx \sum_i \frac{\partial \mathcal{L}}{\partial X_i} V_i
# = \langle \mathrm{d}X, V \rangle.$$
#
# The left side is measured; the pullback predicts the right side. If one entry of $\mathrm{d}X$ is wrong, the two sides
# differ, unless $V$ is orthogonal to the error. For a random $V$ this has probability zero. But we compare with a
# tolerance, and an entry of $V$ near 0 hides an error in its entry of $\mathrm{d}X$. So a checker takes several
# directions and keeps the entries of $V$ away from 0. Its tolerance lies above the error of the measurement (step 4)
# and far below the effect of a wrong formula. `check_vjp` allows the two sides a relative difference of $10^{-6}$.

# %%
V = rng.standard_normal(X.shape)
step = 1e-5

# %% tags=["yours"]
measured = ((G * my_tanh(X + step * V)[0]).sum() - (G * my_tanh(X - step * V)[0]).sum()) / (2 * step)
predicted = (dX * V).sum()
agree("<dX, V>", predicted, measured, rtol=1e-8)

# %% [markdown]
# ## The library
#
# `check_vjp` does this with a random cotangent and several random directions, for every argument of an op. It also
# checks that shapes and types fit and that nothing is overwritten. Here is its core: look for `measured` and
# `predicted`. Its default `step`, $10^{-5}$, is close to $(3\varepsilon_\mathrm{mach})^{1/3}$, the best step if
# $|f| = |f'''|$. A difference below `noise` is no evidence. `noise` has three terms: the rounding error of step 3 with
# a margin, the rounding error of the prediction (its terms may cancel), and $10^{-12}$, so that smaller differences
# always pass.

# %%
show_source(gradcheck._compare)

# %% [markdown]
# It accepts our `my_tanh`. It must also reject a wrong one: **a check that you have never seen fail has not checked
# anything yet.**

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
# - **"The smaller the step, the better."** In float64 a step of $10^{-12}$ leaves only a few digits. The V shows how
#   many.
# - **Checking in float32.** The bottom of its V is so high that real errors hide in it.
# - **A generous tolerance.** With a tolerance of $10^{-2}$ one formula passes for another. Notebook
#   [09](09_mlp_and_gelu.ipynb) has two formulas of GELU whose derivatives differ by less than that everywhere.
# - **An absolute tolerance.** If the gradient itself is of size $10^{-8}$, then 0 is close to it. Measure errors
#   relative to the gradient. (`check_vjp` does, down to its floor of $10^{-12}$. Scale your example if its gradient is
#   smaller.)
# - **A kink.** At $x = 0$, $\max(x, 0)$ has slope 0 on the left and 1 on the right; the central difference says
#   $\tfrac12$. Stay away from kinks by more than $\delta$.
# - **A cotangent of ones.** `check_vjp` draws $G$ at random. Notebook [02](02_shapes.ipynb) shows which errors ones
#   would hide.
#
# ## Exercises
#
# Write your answer in place of the dots and run the cell: its last line tells you whether the answer is right.
# `hint("0.1")` (from `minivit.lessons`) gives up to three hints, one per call.
#
# **0.1 (two lines).** Write the distance from a float64 number $x > 0$ to the next larger one. It depends on $x$: see
# the second section.


# %%
def distance_to_next(x):
    """x: a float64 number in the ordinary range, 1e-300 < x < 1e300 -> a number"""
    ...  # your answer here


check("0.1", distance_to_next)

# %% [markdown]
# **0.2 (ten minutes).** The forward difference has the error
# $\mathrm{err}(\delta) \approx \tfrac{\delta}{2}|f''| + 2\varepsilon_\mathrm{mach}|f|/\delta$. Which $\delta$ makes it
# smallest?


# %%
def best_forward_step(f, f2, eps):
    """f, f2: the positive numbers |f(x)| and |f''(x)|; eps: machine epsilon -> a number"""
    ...  # your answer here


check("0.2", best_forward_step)

# %% [markdown]
# **0.3 (ten minutes).** A device computes in float32 only, and you must check a gradient on it. The function varies
# slowly: $|f|$ is about 1 and $|f'''|$ about $10^{-3}$, as for $\sin(1 + x/10)$. Choose a step for central differences.
# (The table above is for tanh, which varies faster.) The checker tries steps near yours on three such functions. Your
# error may be up to three times the smallest one.

# %%
step_for_float32 = None  # your answer here

check("0.3", step_for_float32)

# %% [markdown]
# **0.4 (an hour).** Write your own `check_vjp` for ops of one argument: it returns True or False. It will meet right
# ops, whose values and gradients may be small or large. It will meet wrong ones: a forgotten factor, a sign, one wrong
# entry among many, zeros. It must judge all of them correctly. Do not call the library's.


# %%
def is_right(op, X):
    """op: X -> (Y, vjp), where vjp(G) returns a tuple of one array; X: a float64 array -> True or False"""
    ...  # your answer here


check("0.4", is_right)

# %% [markdown]
# Next: [01, autodiff](01_autodiff.ipynb).
