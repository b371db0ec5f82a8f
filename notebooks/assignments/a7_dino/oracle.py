"""The reference: the loss pair by pair in minivit's Tensors, the averages as sums."""

import math

import numpy as np

from minivit import Tensor, grad
from minivit import functional as F


def dino_loss(student, teacher, center, student_temp, teacher_temp):
    leaves = [Tensor(view.copy(), requires_grad=True) for view in student]
    terms = []
    for i, taught in enumerate(teacher):
        target = F.softmax(Tensor((taught - center) / teacher_temp))
        for j, view in enumerate(leaves):
            if i != j:
                terms.append(-(target * F.log_softmax(view * (1 / student_temp))).sum(axis=-1).mean())
    loss = sum(terms[1:], terms[0]) * (1 / len(terms))
    return float(loss.data), [np.array(g) for g in grad(loss, leaves)]


def update_center(center, teacher, momentum):
    rows = [row for view in teacher for row in view]
    return center * momentum + sum(rows) / len(rows) * (1 - momentum)


def update_teacher(teacher, student, momentum):
    return {name: value + (1 - momentum) * (student[name] - value) for name, value in teacher.items()}


def teacher_momentum(step, total_steps, base):
    return base + (1 - base) * math.sin(math.pi * step / total_steps / 2) ** 2
