"""A student that predicts its teacher, a teacher that follows its student, and what keeps both from saying nothing."""

import math

import numpy as np


def log_softmax(x):
    """Along the last axis, of numbers of any size."""
    # BEGIN SOLUTION q1
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    # END SOLUTION


def dino_loss(student, teacher, center, student_temp, teacher_temp):
    """(loss, gradients of the student's views), see adapters.py."""
    # BEGIN SOLUTION q1
    targets = [np.exp(log_softmax((view - center) / teacher_temp)) for view in teacher]
    logs = [log_softmax(view / student_temp) for view in student]
    pairs = len(teacher) * (len(student) - 1)
    share = 1 / (pairs * len(student[0]))
    loss, gradients = 0.0, []
    for s, log_p in enumerate(logs):
        gradient = np.zeros_like(log_p)
        for t, q in enumerate(targets):
            if s != t:
                loss -= share * (q * log_p).sum()
                gradient += share / student_temp * (np.exp(log_p) - q)
        gradients.append(gradient)
    return loss, gradients
    # END SOLUTION


def update_center(center, teacher, momentum):
    """The centre after one update, see adapters.py."""
    # BEGIN SOLUTION q2
    seen = np.concatenate(teacher).mean(axis=0, keepdims=True)
    return momentum * center + (1 - momentum) * seen
    # END SOLUTION


def update_teacher(teacher, student, momentum):
    """The teacher's parameters after one update, see adapters.py."""
    # BEGIN SOLUTION q3
    return {name: momentum * old + (1 - momentum) * student[name] for name, old in teacher.items()}
    # END SOLUTION


def teacher_momentum(step, total_steps, base):
    """The momentum at one step, see adapters.py."""
    # BEGIN SOLUTION q4
    return 1 - (1 - base) * (math.cos(math.pi * step / total_steps) + 1) / 2
    # END SOLUTION
