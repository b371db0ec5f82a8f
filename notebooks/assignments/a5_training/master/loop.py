"""Evaluation (q8) and the training loop (q9)."""

import numpy as np
import optimizing
import pipeline
import rates
from given import vit, vit_loss_and_gradients


def losses_and_hits(logits, labels):
    """For each image its cross-entropy, and whether the largest logit is at its label: two arrays (B,)."""
    # BEGIN SOLUTION q8
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    chosen = shifted[np.arange(len(labels)), labels]
    return log_sum - chosen, logits.argmax(axis=1) == labels
    # END SOLUTION


def evaluated(params, config, images, labels, batch_size):
    """{"loss", "accuracy"}: means over all images, which go through the model in batches."""
    # BEGIN SOLUTION q8
    loss, hits = 0.0, 0
    for start in range(0, len(images), batch_size):
        logits = vit(params, config, images[start : start + batch_size])
        each, right = losses_and_hits(logits, labels[start : start + batch_size])
        loss += float(each.sum())
        hits += int(right.sum())
    return {"loss": loss / len(images), "accuracy": hits / len(images)}
    # END SOLUTION


def first_state(params):
    """The state of a run before its first update."""
    # BEGIN SOLUTION q9
    copies = {name: p.copy() for name, p in params.items()}
    return {"step": 0, "params": copies, "optimizer": optimizing.begin(params), "losses": []}
    # END SOLUTION


def one_step(state, config, recipe, images, labels):
    """The state after one more update."""
    # BEGIN SOLUTION q9
    step, params = state["step"], state["params"]
    pick = pipeline.batch(len(images), recipe["batch_size"], recipe["seed"], step)
    loss, grads = vit_loss_and_gradients(params, config, images[pick], labels[pick])
    if recipe["clip_norm"] is not None:
        grads, _ = optimizing.clip(grads, recipe["clip_norm"])
    plan = [recipe[key] for key in ("kind", "base_lr", "total_steps", "warmup_steps", "final_lr")]
    lr = rates.rate(step, *plan)
    decay = optimizing.kernels({name: p.shape for name, p in params.items()})
    params, optimizer = optimizing.update(params, grads, lr, recipe, decay, state["optimizer"])
    return {"step": step + 1, "params": params, "optimizer": optimizer, "losses": [*state["losses"], float(loss)]}
    # END SOLUTION


def trained(params, config, recipe, images, labels, until, state=None):
    """The state after `until` updates in all."""
    # BEGIN SOLUTION q9
    state = first_state(params) if state is None else state
    while state["step"] < until:
        state = one_step(state, config, recipe, images, labels)
    return state
    # END SOLUTION
