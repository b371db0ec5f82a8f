"""What the checks call, and nothing else: glue between their names and your own code.

Arrays are NumPy arrays, floats float64, images uint8 where said, channels last. Never change an argument: compute on
copies. A `seed` is a whole number >= 0; the same arguments give the same result, in any process, in any order of calls.
"""

import loop
import optimizing
import pipeline
import rates


def adamw(params, grads, lrs, hyper, decay, state=None):
    """AdamW, one update for each entry of `grads`: (params, state).

    params: name -> array.
    grads: a list, for each update a dict with the same names and shapes.   lrs: a list, the rate of each update.
    hyper: "betas" (b1, b2), "eps", "weight_decay".   decay: list of the names that decay; no others do.
    state: None to begin (moments 0, no update done), or what an earlier call returned: a dict of arrays, numbers, lists
    and dicts, with any names. You get a copy: arrays come back as arrays, NumPy scalars as Python numbers, tuples as
    lists. The given state must not change.
    """
    return optimizing.updates(params, grads, lrs, hyper, decay, state)


def decay_names(shapes):
    """The list of names whose last part (after the last dot) is "weight", in any order.

    shapes: name -> shape, a tuple.   The shapes decide nothing.
    """
    return optimizing.kernels(shapes)


def clip_by_global_norm(grads, max_norm):
    """(gradients, norm before): unchanged if the norm < max_norm or is 0, else times exactly max_norm / norm.

    The norm is that of all gradients as one vector, a number.   grads: name -> array of any shape, also 0-d.
    """
    return optimizing.clip(grads, max_norm)


def learning_rate(step, kind, base_lr, total_steps, warmup_steps, final_lr):
    """The rate of update `step` = 0, 1, ..., also of total_steps and beyond, as a float.

    kind: "cosine" or "linear", from base_lr at the end of the warm-up to final_lr at total_steps.
    0 <= warmup_steps <= total_steps. Step 0 of a warm-up has rate 0; with 0 steps of warm-up there is none. If
    warmup_steps == total_steps, that step has base_lr and all later ones final_lr.
    """
    return rates.rate(step, kind, base_lr, total_steps, warmup_steps, final_lr)


def batch_indices(n, batch_size, seed, step):
    """Which of n images update `step` = 0, 1, ... takes: (batch_size,) int64, all different, of 0..n-1.

    1 <= batch_size <= n. An epoch has n // batch_size steps. Each has a permutation of its own, made from the seed and
    the number of the epoch alone, and cut into batches. The n % batch_size images left over are not used in that epoch.
    """
    return pipeline.batch(n, batch_size, seed, step)


def channel_statistics(images):
    """(mean (C,), std (C,)) over all images and places, of pixels / 255.   images: (N, h, w, C) uint8.

    std: the root of the mean squared difference, divided by the count and not by count - 1.
    """
    return pipeline.statistics(images)


def normalize(images, mean, std):
    """Pixels / 255, less the mean, divided by std, with the statistics given: float64.

    images: (N, h, w, C) uint8.   mean, std: (C,).
    """
    return pipeline.normalized(images, mean, std)


def augment(images, padding, seed):
    """Each image for itself: mirrored left to right with probability 1/2, and shifted.

    images: (N, h, w, C) uint8; the result too, image i in place i.   padding >= 0: so many rows and columns of zeros
    on all four sides, then a window of the image's size at one of the (2 padding + 1)^2 places, all equally likely.
    """
    return pipeline.augmented(images, padding, seed)


def evaluate(params, config, images, labels, batch_size):
    """{"loss": ..., "accuracy": ...}: means over all images of cross-entropy and of argmax == label, two numbers.

    images: (N, h, w, C) float64, normalised.   labels: (N,) int64.
    The images go through the model in batches, of which the last, or the only one, may be short. The result does not
    depend on batch_size. Nothing is random. Logits may be in the thousands.
    """
    return loop.evaluated(params, config, images, labels, batch_size)


def train(params, config, recipe, images, labels, until, state=None):
    """The state of a run after `until` updates in all: a dict with at least "step", "params" and "losses".

    images: (N, h, w, C) float64.   labels: (N,) int64.
    recipe: betas, eps, weight_decay (of adamw), batch_size, seed (of batch_indices), kind, base_lr, total_steps,
    warmup_steps, final_lr (of learning_rate), clip_norm (None: no clipping).
    Update s = 0, 1, ... takes the batch of step s, the gradients of its mean cross-entropy, clips them, and applies
    AdamW with the rate of step s; the names of decay_names decay.
    state None: begin with a copy of params, at step 0. Else params is None, and the run goes on from the state, which
    must not change. until >= the step of the state; if they are equal, nothing happens.
    Returned: step, the number of updates done.   params: name -> array, after them.   losses: a list, the loss of every
    update from the first on, each before that update was applied.   Anything else that you need, as in adamw's state.
    """
    return loop.trained(params, config, recipe, images, labels, until, state)
