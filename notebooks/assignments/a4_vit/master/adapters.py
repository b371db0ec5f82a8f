"""What is asked of you in assignment A4: these functions, and nothing else, are called by the checks.

They are glue. Write your own code behind them, in this file or in others, as you like. All floats are float64.
Arguments must be as they were when a function returns. Results may be views, read-only or not contiguous.

B batch, N or T tokens, D width, H heads, F width of the MLP, K classes, L depth; images are (B, h, w, C), channels
last. y = x W + b.

config is a dict: image_size (h, w), patch_size (ph, pw), channels C, width D, depth L, heads H, mlp_width F,
num_classes K, classifier "token" or "gap", gelu "tanh" or "erf", norm_eps.
N = (h / ph)(w / pw) patches. "token": T = N + 1, the class token comes first. "gap": T = N, there is no class token.

The parameters of a whole model are a dict, in any order, of

    class_token                     (1, 1, D)            only with "token"
    position_embedding              (1, T, D)
    patch_embed.projection.weight   (ph pw C, D)         and .bias (D,)
    blocks.i.norm1.scale            (D,)                 and .bias (D,); norm2 alike; i = 0 ... L - 1
    blocks.i.attention.qkv.weight   (D, 3 D)             and .bias (3 D,): [q of all heads | k | v]
    blocks.i.attention.out.weight   (D, D)               and .bias (D,)
    blocks.i.mlp.hidden.weight      (D, F)               and .bias (F,)
    blocks.i.mlp.out.weight         (F, D)               and .bias (D,)
    norm.scale                      (D,)                 and .bias (D,)
    head.weight                     (D, K)               and .bias (K,)

In qkv, the features of a head lie side by side: feature k of head h is column h D / H + k of its D columns.
"""

import counting
import dropping
import encoder_block
import gelu_forms
import initial_values
import mlp_branch
import transformer


def gelu(x, form):
    """q1. x Phi(x) for each element, Phi the normal distribution function.   x: any shape -> the same shape.

    form "tanh": Phi(x) = (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2; "erf": Phi(x) = (1 + erf(x / sqrt 2)) / 2,
    exact to rounding. |x| may be 40.
    """
    return gelu_forms.forward(x, form)


def gelu_backward(x, form, g):
    """q1. The gradient of x, for the form that is named.   g: the gradient of gelu's result, in the shape of x."""
    return gelu_forms.backward(x, form, g)


def mlp(x, params, form):
    """q2. Two linear layers with a GELU of that form between them.   x: (B, N, D) -> (B, N, D).

    params: hidden.weight (D, F), hidden.bias (F,), out.weight (F, D), out.bias (D,).
    """
    return mlp_branch.forward(x, params, form)


def mlp_backward(x, params, form, g):
    """q2. -> (dx, grads): the gradient of x, and a dict of those of the four parameters, as in params.

    grads has the names and shapes of params. g: the gradient of mlp's result, (B, N, D).
    """
    return mlp_branch.backward(x, params, form, g)


def block(x, params, config):
    """q3. z' = x + MSA(LN1(x)), z'' = z' + MLP(LN2(z')), Eq. 2 and 3 of the paper.   x: (B, N, D) -> z'': (B, N, D).

    params: 12 arrays, the names above without "blocks.i.". Of config only heads, gelu and norm_eps count; norm_eps is
    the eps of both LayerNorms. No dropout.
    """
    return encoder_block.forward(x, params, config)


def block_backward(x, params, config, g):
    """q3. -> (dx, grads): the gradient of x, and a dict of those of the 12 parameters, as in params.

    grads has the names and shapes of params. g: the gradient of block's result, (B, N, D).
    """
    return encoder_block.backward(x, params, config, g)


def vit(params, config, images):
    """q4. Images (B, h, w, C) -> logits (B, K).

    Patches row by row, the pixels of a patch in the order (row, column, channel); a linear projection; the class
    token in front, with "token"; positions added to all tokens; blocks 0 ... L - 1 in the order of their numbers; a
    LayerNorm with norm_eps; then row 0 with "token", or the mean over all tokens with "gap"; then the head. Pixels
    are taken as they are. No dropout.
    """
    return transformer.logits(params, config, images)


def vit_loss_and_gradients(params, config, images, labels):
    """q5. -> (loss, grads): the mean cross-entropy over the images, and the gradient of every parameter.

    No smoothing, no dropout. labels: (B,) int64. grads: a dict with the names and shapes of params; a gradient that
    is zero is an array of zeros.
    """
    return transformer.loss_and_gradients(params, config, images, labels)


def init_params(config, seed):
    """q6. -> the initial parameters: all the names above, and no other.

    class token, head and all biases but the MLP's: 0. Scales: 1. position_embedding: normal, std 0.02. Patch
    projection: normal, cut at two sigma, so that its std is sqrt(1 / (ph pw C)) after the cut (the std of a standard
    normal cut at two sigma is 0.87962566103423978). Kernels in the blocks: uniform on +-sqrt(6 / (fan_in + fan_out));
    queries, keys and values count as three kernels (D, D). Biases of the MLP's two layers: normal, std 1e-6. Every
    draw is independent of the others.

    seed: a whole number >= 0. The same seed gives the same parameters, always; another seed gives others.
    """
    return initial_values.draw(config, seed)


def count_parameters(config):
    """q7. How many numbers the model of config learns, an int. From the formula: make no arrays."""
    return counting.parameters(config)


def count_multiply_adds(config):
    """q7. Multiply-adds of all matrix products in a forward pass of one image, an int.

    One multiply-add is two FLOPs; here it counts once. Patch projection, the four projections of attention, its two
    products of tokens with tokens, the MLP, the head; all T rows in each block. LayerNorm, softmax, GELU, biases and
    sums are not counted.
    """
    return counting.multiply_adds(config)


def dropout(x, rate, seed, training):
    """q8. Each element is 0 with probability rate and x / (1 - rate) otherwise.   x: any shape.

    Each is drawn for itself. 0 <= rate < 1; seed: a whole number >= 0. The result is x if not training or if rate is 0.
    The same seed drops the same elements, always; another seed others.
    """
    return dropping.elements(x, rate, seed, training)


def drop_path(x, rate, seed, training):
    """q8. The same for whole samples: x[b] is 0 or x[b] / (1 - rate).   x: (B, ...), one axis or more."""
    return dropping.samples(x, rate, seed, training)
