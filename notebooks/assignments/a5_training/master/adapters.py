"""What the checks call, and nothing else: glue between their names and your own code.

Arrays are NumPy arrays, floats float64 and images uint8 where said, channels last. Never change an argument: compute on copies. A `seed` is
a whole number >= 0; the same arguments give the same result, in any process and in any order of calls.
"""

import loop
import optimizing
import pipeline
import rates


def adamw(params, grads, lrs, hyper, decay, state=None):
    """AdamW, one update for each entry of `grads`: (params, state).

    params: name -> array.   grads: a list, for each update a dict with the same names and shapes.   lrs: a list, the rate of each update.
    hyper: "betas" (b1, b2), "eps", "weight_decay".   decay: list of the names that decay, and no others do.
    state: None to begin (moments 0, no update done), or what an earlier call returned: a dict of arrays, numbers, lists and dicts, any names.
    What you get back are copies of it: arrays as arrays, NumPy scalars as Python numbers, tuples as lists. The given state must not change.
    """
    return optimizing.updates(params, grads, lrs, hyper, decay, state)


def decay_names(shapes):
    """The list of names whose last part (after the last dot) is "weight", in any order.   shapes: name -> shape, a tuple."""
    return optimizing.kernels(shapes)


def clip_by_global_norm(grads, max_norm):
    """(gradients, norm before): all gradients as one vector, unchanged if its norm < max_norm or is 0, else times exactly max_norm / norm.

    grads: name -> array of any shape, also of none (0-d).   The norm is a number.
    """
    return optimizing.clip(grads, max_norm)


def learning_rate(step, kind, base_lr, total_steps, warmup_steps, final_lr):
    """The rate of update `step` = 0, 1, ..., also beyond total_steps, as a float.

    kind "cosine" or "linear", from base_lr after the warm-up to final_lr at total_steps; 0 <= warmup_steps <= total_steps.
    The warm-up multiplies by min(1, step / warmup_steps): step 0 has rate 0. Without warm-up (0 steps) it multiplies by 1.
    """
    return rates.rate(step, kind, base_lr, total_steps, warmup_steps, final_lr)


def batch_indices(n, batch_size, seed, step):
    """Which of n images update `step` = 0, 1, ... takes: (batch_size,) int64, different ones of 0..n-1.   batch_size <= n.

    Epoch e = step // (n // batch_size) has a permutation of its own, made from (seed, e) alone, cut into batches; the n % batch_size images
    left over at its end are not used in that epoch.
    """
    return pipeline.batch(n, batch_size, seed, step)


def channel_statistics(images):
    """(mean (C,), std (C,)) over all images and places, of pixels / 255.   images: (N, h, w, C) uint8.   std: divided by the count, not by count - 1."""
    return pipeline.statistics(images)


def normalize(images, mean, std):
    """(pixels / 255 - mean) / std with the statistics given, float64.   images: (N, h, w, C) uint8.   mean, std: (C,)."""
    return pipeline.normalized(images, mean, std)


def augment(images, padding, seed):
    """Each image for itself: mirrored left to right with probability 1/2, and shifted.   images: (N, h, w, C) uint8; the result too.

    Shifted: `padding` rows and columns of zeros on all four sides, then a window of the image's size at one of the (2 padding + 1)^2 places,
    all equally likely.   padding >= 0.
    """
    return pipeline.augmented(images, padding, seed)


def evaluate(params, config, images, labels, batch_size):
    """{"loss": ..., "accuracy": ...}: means over all images of cross-entropy and of argmax == label, two numbers.

    images: (N, h, w, C) float64, normalised.   labels: (N,) int64.   The images go through the model in batches, of which the last may be
    short, also the only one; the result does not depend on batch_size. Nothing is random. Logits may be in the thousands.
    """
    return loop.evaluated(params, config, images, labels, batch_size)


def train(params, config, recipe, images, labels, until, state=None):
    """The state of a run after `until` updates in all: a dict with at least "step", "params" and "losses".

    recipe: betas, eps, weight_decay (of adamw), batch_size, kind, base_lr, total_steps, warmup_steps, final_lr, clip_norm (None: no
    clipping), seed.   images: (N, h, w, C) float64.   labels: (N,) int64.
    Update s = 0, 1, ... takes batch_indices(N, batch_size, seed, s), the gradients of the mean cross-entropy of that batch, clips them, and
    applies AdamW with learning_rate(s, ...); the names of decay_names decay.
    state None: begin with a copy of params, at step 0. Else params is None, and the run goes on from the state, which must not change.
    step: the number of updates done.   params: name -> array, after them.   losses: the loss of every update so far, from the first, each
    before that update was applied.   until >= step; if they are equal, nothing happens.   Anything else may be in the state, as in adamw's.
    """
    return loop.trained(params, config, recipe, images, labels, until, state)
