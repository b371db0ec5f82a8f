"""The hidden checks of the variant DINO."""

import numpy as np


def _case(rng, views, batch, outputs, spread=1.0):
    """Arguments of dino_loss: a centre that is not 0, two different temperatures."""
    student = [spread * rng.normal(size=(batch, outputs)) for _ in range(views)]
    teacher = [spread * rng.normal(size=(batch, outputs)) for _ in range(2)]
    center = spread * rng.normal(size=(1, outputs))
    return student, teacher, center, float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.1, 0.3))


def _cases(rng):
    """Two, three and six views; more images than outputs and fewer; all lengths alike."""
    for views, batch, outputs in ((2, 3, 5), (3, 6, 2), (6, 2, 4), (4, 4, 4), (5, 1, 3)):
        yield _case(rng, views, batch, outputs)


def q1_h_loss(t):
    """The loss."""
    for case in _cases(t.rng):
        t.close(t.call("dino_loss", *case)[0], t.ref("dino_loss", *case)[0], what="the loss")


def q1_h_gradients(t):
    """The gradients of all views."""
    for case in _cases(t.rng):
        t.close(t.call("dino_loss", *case)[1], t.ref("dino_loss", *case)[1], what="the gradients")


def q1_h_large(t):
    """Outputs of hundreds with temperatures of a few hundredths: scores of thousands."""
    student, teacher, center, _, _ = _case(t.rng, 4, 3, 5, spread=60.0)
    t.agree("dino_loss", student, teacher, center, 0.1, 0.04, rtol=1e-7, atol=1e-12, what="(loss, gradients)")


def q1_h_shift(t):
    """A shift of the teacher and the centre alike changes nothing."""
    student, teacher, center, cool, cold = _case(t.rng, 3, 2, 4)
    shift = t.rng.normal(size=(1, 4))
    one = t.call("dino_loss", student, teacher, center, cool, cold)
    other = t.call("dino_loss", student, [view + shift for view in teacher], center + shift, cool, cold)
    t.close(other, one, what="(loss, gradients) after the shift")


def q1_h_same_arrays(t):
    """Student and teacher say the same, as at the first step: views differ by number, not by value."""
    views = [t.rng.normal(size=(2, 3)) for _ in range(2)]
    t.agree("dino_loss", views, views, np.zeros((1, 3)), 0.5, 0.2, what="(loss, gradients)")


def q2_h_values(t):
    """Several batches and momenta; views that differ much; all lengths alike."""
    for batch, outputs in ((3, 5), (5, 2), (1, 4), (2, 2)):
        teacher = [t.rng.normal(size=(batch, outputs)), 3 + t.rng.normal(size=(batch, outputs))]
        t.agree("update_center", t.rng.normal(size=(1, outputs)), teacher, float(t.rng.uniform(0.2, 0.95)))


def q2_h_shape(t):
    """The centre keeps its shape."""
    result = t.call("update_center", np.zeros((1, 3)), list(t.rng.normal(size=(2, 4, 3))), 0.9)
    t.require(np.shape(result) == (1, 3), f"the centre has shape {np.shape(result)}, it should be (1, 3)")


def _networks(rng):
    shapes = {"blocks.0.weight": (3, 4), "bias": (4,), "token": (1, 1, 2), "scale": ()}
    return [{name: np.array(rng.normal(size=shape)) for name, shape in shapes.items()} for _ in range(2)]


def q3_h_values(t):
    """Arrays of no to three axes."""
    for momentum in (0.996, float(t.rng.uniform(0.1, 0.4)), 0.0):
        t.agree("update_teacher", *_networks(t.rng), momentum, what="the teacher")


def q3_h_order(t):
    """The student's parameters come in another order, and arguments stay as they are."""
    teacher, student = _networks(t.rng)
    t.agree("update_teacher", teacher, dict(reversed(student.items())), 0.7, what="the teacher")


def q4_h_values(t):
    """A whole schedule, and others in between."""
    for step, total, base in ((0, 7, 0.996), (3, 7, 0.5), (5, 7, 0.996), (7, 7, 0.2), (1, 1000, 0.9), (999, 1000, 0.0)):
        t.agree("teacher_momentum", step, total, base)
    total = int(t.rng.integers(20, 200))
    for step in t.rng.integers(1, total, 5):
        t.agree("teacher_momentum", int(step), total, float(t.rng.uniform(0.3, 0.99)))
