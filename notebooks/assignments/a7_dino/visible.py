"""The visible checks: small cases. Some mistakes pass them; the hidden checks draw others."""

import numpy as np


def q1_v_undecided(t):
    """A student that finds all outputs equally likely has the loss log K, whatever the teacher says."""
    teacher = list(t.rng.normal(size=(2, 3, 4)))
    loss, gradients = t.call("dino_loss", [np.zeros((3, 4))] * 3, teacher, np.zeros((1, 4)), 0.1, 0.5)
    t.close(loss, np.log(4), what="the loss")
    t.require([np.shape(g) for g in gradients] == [(3, 4)] * 3, "there is one gradient (B, K) for every view")


def q1_v_two_views(t):
    """Two views, one image, no centre, both temperatures 1."""
    student, teacher = list(t.rng.normal(size=(2, 1, 3))), list(t.rng.normal(size=(2, 1, 3)))
    t.agree("dino_loss", student, teacher, np.zeros((1, 3)), 1.0, 1.0, what="(loss, gradients)")


def q2_v_new(t):
    """With momentum 0 the centre is the mean of what the teacher says."""
    teacher = list(t.rng.normal(size=(2, 3, 4)))
    want = (teacher[0].mean(axis=0) + teacher[1].mean(axis=0))[None] / 2
    t.close(t.call("update_center", t.rng.normal(size=(1, 4)), teacher, 0.0), want, what="the centre")


def q3_v_ends(t):
    """Momentum 1 keeps the teacher."""
    teacher, student = ({"weight": t.rng.normal(size=(2, 3)), "bias": t.rng.normal(size=3)} for _ in range(2))
    t.close(t.call("update_teacher", teacher, student, 1.0), teacher, what="the teacher")


def q4_v_ends(t):
    """It begins at the base and ends at 1."""
    t.close(t.call("teacher_momentum", 0, 100, 0.9), 0.9, what="the momentum of step 0")
    t.close(t.call("teacher_momentum", 100, 100, 0.9), 1.0, what="the momentum of the last step")
