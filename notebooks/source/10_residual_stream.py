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
# # 10 The residual stream
#
# Each layer of a ViT *adds* something to the tokens. This running sum is called the **residual stream**
# ([Elhage et al. 2021](https://transformer-circuits.pub/2021/framework/index.html)).
# This notebook takes **Eq. 2 and Eq. 3** of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1). At the end you will be able to
#
# - write a block and its backward pass,
# - write the stream as a sum over all branches, and its gradient too,
# - say how much each branch contributes to a logit.
#
# You need LayerNorm ([05](05_layer_norm.ipynb)), attention ([07](07_attention.ipynb), [08](08_multi_head.ipynb)) and the MLP
# ([09](09_mlp_and_gelu.ipynb)). They appear here as finished parts.
#
# **Budget:** 5 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, running_digit
from minivit.lessons.pictures import blocks as pictures
from minivit.nn import MLP, EncoderBlock, MultiHeadAttention
from minivit.stepper import BackwardStepper
from minivit.tensor import Tensor, grad, no_grad

rng = np.random.default_rng(10)

# %% [markdown]
# ## The idea in a picture
#
# The thick line is the stream. It carries all tokens of an image from left to right. A block has two **branches**:
# multi-head self-attention (MSA), where tokens exchange information, and an MLP, which works on each token alone. A branch
# reads the normalised stream (LN is LayerNorm), and its result is added to the stream.

# %%
_ = pictures.pre_ln()

# %% [markdown]
# ## The equations
#
# $$\mathbf{z}'_\ell = \mathrm{MSA}(\mathrm{LN}(\mathbf{z}_{\ell-1})) + \mathbf{z}_{\ell-1}, \qquad \ell = 1 \ldots L \tag{Eq. 2}$$
#
# $$\mathbf{z}_\ell = \mathrm{MLP}(\mathrm{LN}(\mathbf{z}'_\ell)) + \mathbf{z}'_\ell, \qquad \ell = 1 \ldots L \tag{Eq. 3}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $F$ | width of the MLP | number | 8 |
# | $L$ | blocks | number | `L` |
# | $K$ | classes | number | 10 |
# | $\mathbf{z}_\ell$ | tokens after block $\ell$; $\mathbf{z}_0$ comes from Eq. 1 | $(B, N, D)$ | `stream[2 * l]` |
# | $\mathbf{z}'_\ell$ | tokens in the middle of block $\ell$ | $(B, N, D)$ | `stream[2 * l - 1]` |
# | $\mathbf{z}_{(i)}$ | the stream after $i = 0 \ldots 2L$ branches | $(B, N, D)$ | `stream[i]` |
# | $\mathbf{z}_L^0$ | the [class] token, row 0 of $\mathbf{z}_L$ | $(B, D)$ | `[:, 0]` |
# | $f_i$ | branch $i = 1 \ldots 2L$ with its LayerNorm, a function | $(B, N, D) \to (B, N, D)$ | `branches[i - 1]` |
# | $\mathbf{a}$ | what a branch adds, $f_i(\mathbf{z}_{(i-1)})$ | $(B, N, D)$ | `added[i - 1]` |
# | $f^*$ | pullback of a branch: it turns the gradient of the result into the gradient of the input | as $f$ | `pull_back` |
# | $J_i$ | Jacobian of branch $i$ for one image | $(ND, ND)$ | |
# | $\mathbf{W}_\mathrm{head}$, $\mathbf{b}_\mathrm{head}$ | matrix and bias of the head | $(D, K)$, $(K)$ | `W`, `model.head` |
# | $\mathbf{u}$ | normalised tokens | $(B, N, D)$ | `u` |
# | $W_1$, $b_1$, $W_2$, $b_2$ | matrices and biases of the MLP | $(D, F)$, $(F)$, $(F, D)$, $(D)$ | `mlp.hidden`, `mlp.out` |
# | scale, bias | learned parameters of a LayerNorm | $(D)$ | `scale`, `bias` |
# | $\sigma$ | standard deviation of the features of a token, $\epsilon$ included | number | `sigma` |
# | $\epsilon$ | small constant against a division by zero | number | `norm.eps` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dz`, ... |
#
# This order is called **pre-LN**: the LayerNorm stands before the branch. The first Transformer
# ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)) was **post-LN**. [Notebook 10b](10b_depth_and_normalisation.ipynb)
# compares the two.
#
# We use the library's blocks. All their parameters get random values.

# %%
B, N, D, L = 2, 5, 6, 3
blocks = [  # 2 heads, 8 features inside the MLP
    EncoderBlock(MultiHeadAttention(D, 2, rng, "float64"), MLP(D, 8, rng, "float64"), D, "float64") for _ in range(L)
]
for block in blocks:
    for tensor in block.parameters():
        tensor.data += 0.3 * rng.standard_normal(tensor.shape)
z0 = rng.standard_normal((B, N, D))

# %% [markdown]
# ## Forward, as loops
#
# LayerNorm and MLP work on one token at a time. Attention needs all tokens of one image. For one token $\mathbf{x}$ and its normalised
# $\mathbf{u}$,
#
# $$\mathrm{LN}(\mathbf{x}) = \frac{\mathbf{x} - \mathrm{mean}(\mathbf{x})}{\sqrt{\mathrm{var}(\mathbf{x}) + \epsilon}} \circ \text{scale} + \text{bias}, \qquad
# \mathrm{MLP}(\mathbf{u}) = \mathrm{gelu}(\mathbf{u}W_1 + b_1)\,W_2 + b_2.$$
#
# The variance is the mean of the squared deviations, so it divides by $D$.


# %% tags=["yours"]
def norm_token(x, norm):
    """LayerNorm of one token (D,), with `norm.eps`, `norm.scale.data` and `norm.bias.data`."""
    return (x - x.mean()) / np.sqrt(x.var() + norm.eps) * norm.scale.data + norm.bias.data


def mlp_token(u, mlp):
    """The MLP of one token (D,): `mlp.hidden`, `ops.gelu` (which returns value and pullback), `mlp.out`."""
    hidden, _ = ops.gelu(u @ mlp.hidden.weight.data + mlp.hidden.bias.data)
    return hidden @ mlp.out.weight.data + mlp.out.bias.data


# %%
def block_loops(z, block):
    """Eq. 2 and 3.   z: (B, N, D) -> (B, N, D)."""
    z = z.copy()
    for b in range(len(z)):
        normed = np.array([norm_token(token, block.norm1) for token in z[b]])
        z[b] += block.attention(Tensor(normed[None])).data[0]  # Eq. 2
        for n in range(z.shape[1]):
            z[b, n] += mlp_token(norm_token(z[b, n], block.norm2), block.mlp)  # Eq. 3
    return z


z_loops = z0
for block in blocks:
    z_loops = block_loops(z_loops, block)

# %% [markdown]
# ## Forward, the whole stream
#
# We list the $2L$ branches in their order. Then each step of the stream is one line: add the result of the next branch.


# %%
def branches_of(blocks):
    """The 2L branches in order: functions of the stream, (B, N, D) -> (B, N, D)."""
    found = []
    for block in blocks:
        found.append(lambda z, block=block: block.attention(block.norm1(z)))
        found.append(lambda z, block=block: block.mlp(block.norm2(z)))
    return found


# %% tags=["yours"]
def run(branches, z0):
    """The stream at its 2L + 1 places, and what the 2L branches added: two lists of Tensors (B, N, D)."""
    stream, added = [z0], []
    for f in branches:
        added.append(f(stream[-1]))
        stream.append(stream[-1] + added[-1])
    return stream, added


# %%
branches = branches_of(blocks)
stream, added = run(branches, Tensor(z0, requires_grad=True))

agree("z_L", stream[-1], z_loops)

# %% [markdown]
# The stream changes only by additions. So its end is its beginning plus everything that was added:
#
# $$\mathbf{z}_L = \mathbf{z}_0 + \sum_{i=1}^{2L} f_i(\mathbf{z}_{(i-1)}).$$

# %% tags=["yours"]
z_sum = z0 + sum(a.data for a in added)

agree("the sum", z_sum, stream[-1])

# %% [markdown]
# ## A digit in the stream
#
# A small ViT was trained on handwritten digits. It has $L = 3$ blocks, so 6 branches, and width $D = 32$. We run it on one
# digit of the test set and keep the stream at all 7 places. Only the [class] token, row 0, is read at the end:
#
# $$\mathrm{logits} = \mathrm{LN}(\mathbf{z}_L^0)\,\mathbf{W}_\mathrm{head} + \mathbf{b}_\mathrm{head}.$$
#
# $\mathbf{z}_L^0$ is a sum. We hold the deviation $\sigma$ of its features fixed. Then everything after the sum is linear. So each
# logit is a sum too, with one term for $\mathbf{z}_0$, one for each branch and one for the biases. Let $\mathbf{a}$ be the [class] row of
# $\mathbf{z}_0$ or of what a branch adds. It contributes
#
# $$\Bigl(\frac{\mathbf{a} - \mathrm{mean}(\mathbf{a})}{\sigma} \circ \text{scale}\Bigr)\,\mathbf{W}_\mathrm{head}.$$


# %% tags=["yours"]
def contribution(a, sigma, scale, W):
    """What one term of the [class] token gives to the logits.   a, scale: (D,), W: (D, K) -> (K,)."""
    return (a - a.mean()) / sigma * scale @ W


# %%
model, image, label = running_digit()
with no_grad():
    digit_stream, digit_added = run(branches_of(model.blocks), model.embed(model.tensor(normalize(image[None]))))
    logits = model.head(model.norm(digit_stream[-1]))[:, 0].data[0]

terms = [part.data[0, 0] for part in (digit_stream[0], *digit_added)]  # the [class] rows
sigma = np.sqrt(digit_stream[-1].data[0, 0].var() + model.norm.eps)
head, scale = model.head.weight.data, model.norm.scale.data
given = np.array([contribution(a, sigma, scale, head) for a in terms])  # (2L + 1, K)
biases = model.norm.bias.data @ head + model.head.bias.data

agree("the logits", given.sum(axis=0) + biases, logits, rtol=1e-4)

# %% [markdown]
# **Predict first.** Which of the seven terms (the start and six branches) gives most to the logit of the digit's class: an
# early one or a late one, attention or MLP?

# %%
names = ["start", *(f"{kind} {i + 1}" for i in range(3) for kind in ("MSA", "MLP"))]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), width_ratios=(1, 2.1, 2.1), layout="constrained")
left.imshow(image[..., 0], cmap="gray_r")
left.set_title(f"the digit, a {label}")
left.axis("off")
rows = np.array([z.data[0, 0] for z in digit_stream])
largest = np.abs(rows).max()
colours = middle.imshow(rows, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
middle.set(title="[class] token in the stream", xlabel="feature", yticks=range(7), xticks=range(0, 32, 5))
middle.set_yticklabels(["start", *(f"after {name}" for name in names[1:])])
figure.colorbar(colours, ax=middle, label="value of the feature")
right.barh(names, given[:, label], color=["C7"] + ["C0", "C2"] * 3)
right.axvline(0, color="black", linewidth=1)
right.invert_yaxis()
right.set(title=f"what each term gives to the logit of {label}", xlabel="part of the logit")
plt.show()

print(
    "part of the logit: " + ", ".join(f"{name} {part:.2f}" for name, part in zip(names, given[:, label], strict=True))
)
print(f"deviation of the [class] token: {rows[0].std():.2f} at the start, {rows[-1].std():.2f} at the end")
print(f"biases {biases[label]:.2f}, sum {logits[label]:.2f}; predicted class {logits.argmax()}, label {label}")

# %% [markdown]
# **In the stored run** the last block gives most to the logit of 7: 2.99 by attention and 4.25 by the MLP. The logit is 9.39. The start
# gives 0.02, and MLP 1 gives -0.13. The row "start" looks blank because its deviation is only 0.09.
#
# One digit shows what such a sum looks like. It does not show what branches do in general. And softmax sees only differences between
# logits. A term that adds the same number to all logits changes no probability.
#
# ## Backward, step by step
#
# We draw $\mathrm{d}\mathbf{z}_L$ at random. For comparison, the engine gives the gradient at every place of the stream.

# %%
dz_L = rng.standard_normal((B, N, D))
engine = grad(stream[-1], stream, dz_L)

# %% [markdown]
# **Step 1: a sum.** Let $\mathbf{z}_\mathrm{out} = \mathbf{z} + \mathbf{a}$. A small change of either term changes
# $\mathbf{z}_\mathrm{out}$ by the same amount. So both terms get the gradient of the sum unchanged. The stream passes on
# $\mathrm{d}\mathbf{z}_\mathrm{out}$, and the branch receives $\mathrm{d}\mathbf{a} = \mathrm{d}\mathbf{z}_\mathrm{out}$.
#
# **Step 2: through the branch.** $\mathbf{a} = f(\mathbf{z})$ depends on $\mathbf{z}$ too. The two contributions add up:
#
# $$\mathrm{d}\mathbf{z} = \mathrm{d}\mathbf{z}_\mathrm{out} + f^*(\mathrm{d}\mathbf{z}_\mathrm{out}).$$
#
# Earlier notebooks derived the pullbacks of the branches. Here the engine computes them, one branch at a time.


# %%
def pull_back(f, z, da):
    """f*: the gradient of the input of f from that of its result.   f: a branch, z, da: (B, N, D) -> (B, N, D)."""
    z = Tensor(z, requires_grad=True)
    return grad(f(z), [z], da)[0]


last = len(branches) - 1

# %% tags=["yours"]
dz = dz_L + pull_back(branches[last], stream[last].data, dz_L)

agree("dz'_L", dz, engine[last])

# %% [markdown]
# **Step 3: all branches.** We go from the last to the first. We keep the gradient at every place and what each branch contributes.


# %% tags=["yours"]
def run_back(branches, stream, dz_L):
    """The gradient at the 2L + 1 places of the stream, and the 2L contributions of the branches, both first to last."""
    gradients, contributions = [dz_L], []
    for f, z in zip(reversed(branches), reversed(stream[:-1]), strict=True):
        contributions.insert(0, pull_back(f, z.data, gradients[0]))
        gradients.insert(0, gradients[0] + contributions[0])
    return gradients, contributions


# %%
gradients, contributions = run_back(branches, stream, dz_L)
agree("all places", np.array(gradients), np.array(engine))

# %% [markdown]
# **Step 4: unrolled.** The gradient is a sum too. Its first term is $\mathrm{d}\mathbf{z}_L$ itself:
#
# $$\mathrm{d}\mathbf{z}_0 = \mathrm{d}\mathbf{z}_L + \sum_{i=1}^{2L} f_i^*(\mathrm{d}\mathbf{z}_{(i)}).$$
#
# It can also be written as a product. Write the tokens of one image as one long column, and let $J_i$ be the Jacobian of branch $i$. Then
#
# $$\mathrm{d}\mathbf{z}_0 = (I + J_1^\top)(I + J_2^\top)\cdots(I + J_{2L}^\top)\,\mathrm{d}\mathbf{z}_L.$$
#
# A plain chain of layers has $J_1^\top J_2^\top \cdots J_{2L}^\top$ instead. There the gradient must pass through every layer. The
# identities open a path around all of them.

# %% tags=["yours"]
dz_0 = dz_L + sum(contributions)

agree("dz_0", dz_0, engine[0])

# %% [markdown]
# ## One block in the stepper
#
# The stepper runs one pullback at a time. Here is a small block with 2 tokens, width 3 and one head. The stepper prints the numbers of
# small arrays and the norm of larger ones. The cotangent at the output is random.
#
# **Predict first.** The backward pass takes 9 steps, and two of them are sums. Which values get two portions of gradient? Which
# portion arrives first, that of the stream or that of the branch?

# %%
small = EncoderBlock(MultiHeadAttention(3, 1, rng, "float64"), MLP(3, 4, rng, "float64"), 3, "float64")
z = Tensor(rng.standard_normal((1, 2, 3)).round(1), requires_grad=True)
msa = small.attention(small.norm1(z))
middle_z = msa + z
out = small.mlp(small.norm2(middle_z)) + middle_z
dz_out = rng.standard_normal(out.shape).round(1)

BackwardStepper(out, dz_out, {"z": z, "MSA": msa, "z'": middle_z, "z out": out})

# %% [markdown]
# Steps 1 and 5 are the sums of Eq. 3 and Eq. 2. A sum hands its gradient unchanged to the branch and to the stream. So `z'` and `z` get
# two portions each. The portion of the stream arrives first. Step 5 waits until the portion of the branch has arrived too.
#
# ## Check it numerically
#
# We write Eq. 3 as an op of our own, with its pullback, and check the gradients of the stream and of all parameters. The cotangent is
# random. Three ops are enough: `ops.layer_norm(z, scale, bias)`, `ops.linear_gelu(u, W1, b1)`, which is $\mathrm{gelu}(\mathbf{u}W_1 + b_1)$,
# and `ops.linear(x, W2, b2)`. Each returns a value and a pullback. The pullback returns the gradients of the three arguments in their order.


# %% tags=["yours"]
def pre_ln_mlp(z, scale, bias, W1, b1, W2, b2):
    """Eq. 3 and its pullback, to dz, dscale, dbias, dW1, db1, dW2, db2.   z (that is z'): (B, N, D), W1: (D, F), W2: (F, D)."""
    u, norm_vjp = ops.layer_norm(z, scale, bias)
    hidden, hidden_vjp = ops.linear_gelu(u, W1, b1)
    a, out_vjp = ops.linear(hidden, W2, b2)

    def vjp(dz_out):
        dhidden, dW2, db2 = out_vjp(dz_out)  # the sum hands dz_out to the branch ...
        du, dW1, db1 = hidden_vjp(dhidden)
        dz, dscale, dbias = norm_vjp(du)
        return dz_out + dz, dscale, dbias, dW1, db1, dW2, db2  # ... and to the stream

    return z + a, vjp


# %%
block = blocks[0]
norm, mlp = block.norm2, block.mlp
parameters = (norm.scale, norm.bias, mlp.hidden.weight, mlp.hidden.bias, mlp.out.weight, mlp.out.bias)
error = check_vjp(pre_ln_mlp, z0, *(tensor.data for tensor in parameters))
print(f"largest relative error of the gradients: {error:.1e}")

# %% [markdown]
# ## The library
#
# `EncoderBlock.forward` in [`minivit/nn/layers.py`](../minivit/nn/layers.py) computes Eq. 2 and 3. Its options are dropout, a factor on
# each branch, and leaving out tokens that are not needed. Without them two lines remain.


# %% tags=["yours"]
def block_forward(block, z):
    """Eq. 2 and 3, from `norm1`, `attention`, `norm2` and `mlp` of the block.   z: (B, N, D) -> (B, N, D)."""
    z = block.attention(block.norm1(z)) + z
    return block.mlp(block.norm2(z)) + z


# %%
z = Tensor(z0, requires_grad=True)
agree("one block", block_forward(blocks[0], z), blocks[0](z))
result = z
for block in blocks:
    result = block(result)

agree("all blocks", stream[-1], result)
agree("dz_0", dz_0, grad(result, [z], dz_L)[0])

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **The normalised tokens in the stream**: `x = norm(x); x = x + f(x)`. LayerNorm then lies on the stream, as in post-LN. The shapes are
#   right, so there is no error.
# - **No LayerNorm at the end** of the model (Eq. 4). The head then sees features whose size grows with the depth.
# - **`x += f(x)` in place**, on an array that a pullback has kept. The pullback then computes with the changed values. PyTorch raises an
#   error in such a case. Plain NumPy does not.
# - **In pre-LN, dropout or a factor on the stream** instead of on the branch. It multiplies the stream $2L$ times.
#
# ## Exercises
#
# `hint("10.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **10.1 (ten minutes).** Before training, set the second matrix of every MLP to zero, `mlp.out.weight = 0`. The head is not zero. Which
# matrices of the MLPs have a gradient of zero in the first update? Choose `"hidden"`, `"out"`, `"both"` or `"neither"`.

# %%
answer = None  # your answer here

check("10.1", answer)

# %% [markdown]
# **10.2 (ten minutes).** Multiply out the product of step 4. Each term is a path: at every branch the gradient either goes through
# the branch or along the stream. How many paths of a model with $L = 12$ blocks pass through exactly two branches?

# %%
answer = None  # your answer here: a number

check("10.2", answer)

# %% [markdown]
# **10.3 (twenty minutes).** In a *parallel* block, as in [ViT-22B](https://arxiv.org/abs/2302.05442), both branches read the same
# normalised tokens. Take $\mathbf{z}_\mathrm{out} = \mathbf{z} + \mathbf{u}V + \tanh(\mathbf{u}W)$ with $\mathbf{u} = \mathrm{LN}(\mathbf{z})$. LN has
# scale 1, bias 0 and $\epsilon = 10^{-6}$. Write the backward pass.


# %%
def parallel_backward(z, V, W, dz_out):
    """z, dz_out: (N, D), V, W: (D, D) -> dz (N, D), dV (D, D), dW (D, D)"""
    ...  # your answer here


check("10.3", parallel_backward)

# %% [markdown]
# **10.4 (an hour).** A stack of *reversible* blocks ([Gomez et al. 2017](https://arxiv.org/abs/1707.04585)) stores no activations inside
# the stack. A block has two streams. Each branch reads one and adds to the other:
#
# $$\mathbf{y}_1 = \mathbf{x}_1 + \tanh(\mathbf{x}_2 V), \qquad \mathbf{y}_2 = \mathbf{x}_2 + \tanh(\mathbf{y}_1 W).$$
#
# From the *outputs* alone, compute the inputs and the gradients.


# %%
def reversible_backward(y1, y2, V, W, dy1, dy2):
    """y1, y2, dy1, dy2: (N, D), V, W: (D, D) -> x1, x2, dx1, dx2 (N, D), dV, dW (D, D)"""
    ...  # your answer here


check("10.4", reversible_backward)

# %% [markdown]
# Next: [10b, depth and normalisation](10b_depth_and_normalisation.ipynb).
