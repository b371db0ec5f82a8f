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
# need not raise an error. The model may still train, only worse. So before the first derivation we build the tool
# that checks them: the **numerical derivative**. The paper ([Dosovitskiy et al.
# 2020](https://arxiv.org/abs/2010.11929v2)) has no equation for it, but most later notebooks use it. At the end you will
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
# We can measure $\varepsilon_\mathrm{mach}$. Start with `eps = 1`. Halve it while $1 + \mathtt{eps}/2 > 1$. The loop
# ends at $\varepsilon_\mathrm{mach}$: $1 + \varepsilon_\mathrm{mach}/2$ lies half-way to the next number and is rounded
# to 1.
#
# The function `agree` compares two results. It prints their shape, `()` for a number, and their largest difference. It
# raises an error if the difference is larger than $10^{-14}$ plus a billionth (or `rtol`) of the largest entry. The
# $10^{-14}$ is for results that should be 0. Two results that are both far below it always pass, even if they differ. Scale such results up before you
# compare them.


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
# - A NumPy scalar has a type of its own: a float32 array times a float64 scalar is a float64 array (since NumPy 2).
#   Times a Python number, the array stays float32. So the library uses Python numbers.

# %%
big, x32 = np.float32(2**24), np.ones(3, dtype=np.float32)
print("0.1 + 0.2 - 0.3 in float64:", 0.1 + 0.2 - 0.3)
print("2^24 + 1 - 2^24 in float32:", big + np.float32(1) - big)
print("float32 array * np.sqrt(64):", (x32 * np.sqrt(64)).dtype, "  float32 array * 64**0.5:", (x32 * 64**0.5).dtype)

# %% [markdown]
# ## A derivative from differences
#
# The derivative is the limit of $(f(x+\delta) - f(x))/\delta$ for $\delta \to 0$. A program must choose one step
# $\delta > 0$. How small should it be? We expand $f$ around $x$ (Taylor):
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
for difference, power, factor in ((forward_difference, 1, d2 / 2), (central_difference, 2, d3 / 6)):
    print(f"{difference.__name__}: step, error, error of twice the step / this error, error / predicted error")
    before = np.nan
    for step in (0.04, 0.02, 0.01):
        error = difference(np.tanh, x, step) - d1
        print(
            f"{step:6.2f} {error:11.2e} {before / error:8.2f} {error / (factor * step**power):8.3f}".replace(
                "nan", "   "
            )
        )
        before = error

# %% [markdown]
# **In the stored run** halving $\delta$ divides the forward error by 1.98 and 1.99, and the central error by 4.00 both
# times. At the smallest step the errors are 0.995 and 1.000 of the predicted ones.
#
# ## Why not the smallest step there is?
#
# **Step 3: rounding.** The computer returns rounded values of $f(x \pm \delta)$. One operation has a relative error of
# at most $\varepsilon_\mathrm{mach}/2$. A function like tanh takes several, so we allow $\varepsilon_\mathrm{mach}$.
# Each value is then off by up to $\varepsilon_\mathrm{mach} |f(x)|$. The subtraction keeps these errors, and then we
# divide by the small number $2\delta$:
#
# $$\text{error by rounding} \;\lesssim\; \frac{2\,\varepsilon_\mathrm{mach} |f(x)|}{2\delta} = \frac{\varepsilon_\mathrm{mach} |f(x)|}{\delta}.$$
#
# **Step 4: the sum.** As $\delta$ shrinks, the first error falls and the second grows:
#
# $$\mathrm{err}(\delta) \approx \tfrac{\delta^2}{6} |f'''(x)| + \frac{\varepsilon_\mathrm{mach} |f(x)|}{\delta}.$$
#
# **Step 5: the best step.** Where $\mathrm{err}(\delta)$ is smallest, its derivative with respect to $\delta$ is zero:
#
# $$\tfrac{\delta}{3} |f'''| - \frac{\varepsilon_\mathrm{mach} |f|}{\delta^2} = 0 \quad\Longrightarrow\quad
# \delta_* = \left(\frac{3\,\varepsilon_\mathrm{mach} |f|}{|f'''|}\right)^{1/3}.$$
#
# At this step $\varepsilon_\mathrm{mach} |f| = \tfrac13 \delta_*^3 |f'''|$. Put into step 4, this gives
#
# $$\mathrm{err}(\delta_*) = \tfrac16 \delta_*^2 |f'''| + \tfrac13 \delta_*^2 |f'''| = \tfrac12 \delta_*^2 |f'''|.$$
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
# and compare it with the true derivative. The steps are powers of two. Then $x \pm \delta$ is exact for
# $\delta \ge \varepsilon_\mathrm{mach}$, and only $f$ is rounded. (Other steps round $x \pm \delta$ as well. This may
# add an error of $\varepsilon_\mathrm{mach} |x f'(x)| / (2\delta)$.)
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
# **Predict first.** At which step is the error of the central difference smallest, and how large is it there, in
# float64 and in float32? Use $\delta_*$ and $\mathrm{err}(\delta_*)$ at $x = 1.25$. What slopes do you expect on both
# sides of the bottom?

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout="constrained")
median = {}
for axis, dtype in zip(axes, (np.float64, np.float32), strict=True):
    eps = float(np.finfo(dtype).eps)
    predicted_forward = steps / 2 * abs(d2) + 2 * eps * abs(np.tanh(x)) / steps  # see exercise 0.2
    predicted = {forward_difference: predicted_forward, central_difference: predicted_error(x, steps, eps)}
    for difference, color, marker in ((forward_difference, "C0", "s"), (central_difference, "C1", "o")):
        errors = errors_of(difference, places.astype(dtype), steps.astype(dtype))
        median[dtype, difference] = error = np.median(errors, axis=1)
        name = difference.__name__.partition("_")[0]
        axis.loglog(steps, predicted[difference], color=color, linewidth=1, label=f"{name}, predicted at $x = 1.25$")
        axis.loglog(steps, error, marker, color=color, markersize=3.5, label=f"{name}, measured (median)")
    least = steps[error.argmin()], error.min()
    axis.annotate(f"$\\delta$ = {least[0]:.1e}", least, (-4, -14), textcoords="offset points", ha="right")
    axis.axvline(
        predicted_step(x, eps), color="grey", linestyle="--", label=r"best step for central, predicted: $\delta_*$"
    )
    axis.set(title=dtype.__name__, xlabel=r"step $\delta$", xlim=(1e-16, 1), ylim=(1e-13, 1e2))
    axis.grid(alpha=0.4)
axes[0].set_ylabel("error of the derivative")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %%
print("central difference   best step   delta_*   smallest error   err(delta_*)   measured / predicted for small steps")
for dtype in (np.float64, np.float32):
    eps, error = float(np.finfo(dtype).eps), median[dtype, central_difference]
    best = predicted_step(x, eps)
    small = (steps > 4 * eps) & (steps < best / 16)
    share = np.median(error[small] / predicted_error(x, steps[small], eps))
    print(
        f"in {dtype.__name__}           {steps[error.argmin()]:9.1e} {best:9.1e}   {error.min():14.1e}"
        f"   {predicted_error(x, best, eps):12.1e}   {share:10.2f}, its cube root {share ** (1 / 3):.2f}"
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
# float32 (predicted 7.8e-03). The error there is 4.4e-12 (predicted 3.0e-11) and 2.6e-06 (predicted 2.0e-05). The
# slopes are 0.99 and 2.00 for large steps and -1.00 for small ones.
#
# Why are step and error smaller than predicted? Step 3 assumes the largest possible rounding error. The median error shows a
# typical one: it is only 0.09 of the largest (last column, first number). Multiply $\varepsilon_\mathrm{mach}$ in step 5
# by this share. This multiplies $\delta_*$ by the cube root of the share before rounding, 0.44, and
# $\mathrm{err}(\delta_*)$ by the square of 0.44.
#
# In float32 the curve becomes flat once $\delta$ is below $\varepsilon_\mathrm{mach}/2$. Then $x \pm \delta$ is rounded
# to $x$, the difference is 0, and the error is the whole derivative.
#
# A wrong formula goes unseen if it changes the derivative by less than the bottom of the V. In float32 the bottom is
# high. So **gradients are checked in float64**, whatever the model trains in.
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
# If the result is an array $Y$, we turn it into a number with weights $G$ of $Y$'s shape:
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
# The left side is measured; the pullback predicts the right side. Let $\Delta$ be the array of the errors of
# $\mathrm{d}X$. Then the two sides differ by $\langle \Delta, V \rangle$. If $\Delta$ is not 0 and $V$ is normally
# distributed, the probability that this is exactly 0 is zero. But we compare with a tolerance, and an entry of $V$ near
# 0 hides an error in its entry of $\mathrm{d}X$. Our $V$ below may have such entries. The library's checker takes
# several directions without them: each entry gets a random sign and a size between $\tfrac14$ and 1, and then $V$ is
# scaled to length 1.
#
# The tolerance of a checker lies above the error of the measurement (step 4) and far below the effect of a wrong
# formula. `check_vjp` allows the two sides a relative difference of $10^{-6}$.

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
# $|f| = |f'''|$. A difference below `noise` always passes. `noise` is the sum of three terms, where
# $\mathcal{L}_\pm = \mathcal{L}(X \pm \delta V)$:
#
# - $10^{-15} (|\mathcal{L}_+| + |\mathcal{L}_-|) / \delta$ is nine times the rounding error of step 3.
# - $10^{-9} \sum_i |\mathrm{d}X_i V_i|$ is an allowance for predictions whose terms cancel.
# - $10^{-12}$ is a floor.

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
# - **Checking in float32.** The bottom of its V is much higher than in float64, and smaller errors go unseen.
# - **A generous tolerance.** With a tolerance of $10^{-2}$ one formula passes for another. Notebook
#   [09](09_mlp_and_gelu.ipynb) has two formulas of GELU whose derivatives differ by less than that everywhere.
# - **An absolute tolerance.** A tolerance of $10^{-6}$ accepts 0 for a gradient of $10^{-8}$. Measure errors relative
#   to the gradient. (`check_vjp` does, as long as $10^{-6}$ of the gradient is more than `noise`. Scale your example
#   if it is not.)
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
# (The table above is for tanh, which varies faster.) The checker takes three such functions. On each it tries 16 steps
# within 2 % of yours, to average out luck in the rounding. Your error may be up to three times the smallest error that any
# step reaches.

# %%
step_for_float32 = None  # your answer here

check("0.3", step_for_float32)

# %% [markdown]
# **0.4 (an hour).** Write your own `check_vjp` for ops of one argument: it returns True or False. It must judge all ops
# that it meets correctly. The entries of $X$ lie between -2 and 2. The derivatives of some ops are as small as
# $10^{-9}$, those of others as large as $10^9$. A wrong pullback forgets $G$, has a wrong sign, returns zeros, has a
# wrong factor (at least 0.1 % off), or makes one entry 1 % too large. Do not call the library's.


# %%
def is_right(op, X):
    """op: X -> (Y, vjp), where vjp(G) returns a tuple of one array; X: a float64 array -> True or False"""
    ...  # your answer here


check("0.4", is_right)

# %% [markdown]
# Next: [01, autodiff](01_autodiff.ipynb).
