"""Image by image, pair by pair, output by output."""

import math


def _probabilities(row, temperature):
    row = [float(x) / temperature for x in row]
    top = max(row)
    total = math.fsum(math.exp(x - top) for x in row)
    return [math.exp(x - top) / total for x in row], [x - top - math.log(total) for x in row]


def dino_loss(student, teacher, center, student_temp, teacher_temp):
    batch, outputs = student[0].shape
    gradients = [[[0.0] * outputs for _ in range(batch)] for _ in student]
    total, count = 0.0, 2 * (len(student) - 1) * batch
    for b in range(batch):
        for i in range(2):
            q, _ = _probabilities(teacher[i][b] - center[0], teacher_temp)
            for j in range(len(student)):
                if j == i:
                    continue
                p, log_p = _probabilities(student[j][b], student_temp)
                total -= sum(a * c for a, c in zip(q, log_p))
                for k in range(outputs):
                    gradients[j][b][k] += (p[k] - q[k]) / student_temp / count
    return total / count, gradients


def update_center(center, teacher, momentum):
    rows = [row for view in teacher for row in view]
    new = []
    for k in range(center.shape[1]):
        new.append(momentum * center[0, k] + (1 - momentum) * math.fsum(row[k] for row in rows) / len(rows))
    return [new]


def update_teacher(teacher, student, momentum):
    return {name: student[name] + momentum * (teacher[name] - student[name]) for name in student}


def teacher_momentum(step, total_steps, base):
    angle = math.pi * step / total_steps
    return (1 + base) / 2 - (1 - base) / 2 * math.cos(angle)
