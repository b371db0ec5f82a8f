"""What the grader calls. Arguments and results are float64 arrays, numbers, lists and dicts.

dino_loss(student [V arrays (B, K)], teacher [2 arrays (B, K)], center (1, K), student_temp, teacher_temp)
    -> (loss, [V arrays (B, K)])
    Entry v of student says what the student made of view v; the teacher saw views 0 and 1 only. The loss is the mean
    cross-entropy over the batch and over the 2 (V - 1) pairs of a teacher's view and a student's view that differ.
    Targets are softmax((teacher - center) / teacher_temp), predictions log softmax(student / student_temp). The
    gradients are those of the student's arrays; nothing flows to the teacher.

update_center(center (1, K), teacher [2 arrays (B, K)], momentum) -> (1, K)
    momentum of the old centre, the rest of the mean over both views and the batch.

update_teacher(teacher {name: array}, student {name: array}, momentum) -> {name: array}
    momentum of the teacher, the rest of the student.

teacher_momentum(step, total_steps, base) -> float
    1 - (1 - base) (cos(pi step / total_steps) + 1) / 2.
"""

from distillation import dino_loss, teacher_momentum, update_center, update_teacher

__all__ = ["dino_loss", "teacher_momentum", "update_center", "update_teacher"]
