"""The hidden checks of the variant DeiT."""

import numpy as np
from visible import model


def _logits(rng, batch, classes, spread=1.5):
    """class_logits, distil_logits, labels, teacher_logits; the teacher is wrong at least once, and labels repeat."""
    class_logits, distil_logits, teacher = spread * rng.normal(size=(3, batch, classes))
    labels = rng.integers(0, classes, batch)
    labels[0] = (teacher[0].argmax() + 1) % classes
    return class_logits, distil_logits, labels, teacher


def _cases(rng):
    """More images than classes and fewer, as many of both, two classes."""
    for batch, classes in ((5, 3), (2, 6), (4, 4), (3, 2)):
        yield _logits(rng, batch, classes)


def _hard(t, part, what):
    for case in _cases(t.rng):
        t.close(t.call("hard_loss", *case)[part], t.ref("hard_loss", *case)[part], what=what)


def q1_h_loss(t):
    """The loss."""
    _hard(t, 0, "the loss")


def q1_h_dclass(t):
    """The gradient of the class head."""
    _hard(t, 1, "dclass")


def q1_h_ddistil(t):
    """The gradient of the distillation head."""
    _hard(t, 2, "ddistil")


def q1_h_teacher(t):
    """Only the teacher's answer counts, not how sure it is."""
    class_logits, distil_logits, labels, teacher = _logits(t.rng, 4, 3)
    one = t.call("hard_loss", class_logits, distil_logits, labels, teacher)
    other = t.call("hard_loss", class_logits, distil_logits, labels, 0.1 * teacher + 5)
    t.close(other, one, what="the result for a teacher that is less sure")


def q1_h_large(t):
    """Logits of thousands."""
    case = _logits(t.rng, 3, 4, spread=2000.0)
    t.agree("hard_loss", *case, rtol=1e-8, atol=1e-12, what="(loss, dclass, ddistil)")


def _soft(t, part, what):
    for case in _cases(t.rng):
        alpha, tau = float(t.rng.uniform(0.1, 0.9)), float(t.rng.choice([0.6, 2.0, 3.5]))
        got, want = t.call("soft_loss", *case, alpha, tau), t.ref("soft_loss", *case, alpha, tau)
        t.close(got[part], want[part], what=what)


def q2_h_loss(t):
    """The loss."""
    _soft(t, 0, "the loss")


def q2_h_dclass(t):
    """The gradient of the class head."""
    _soft(t, 1, "dclass")


def q2_h_ddistil(t):
    """The gradient of the distillation head."""
    _soft(t, 2, "ddistil")


def q2_h_shift(t):
    """A constant added to all logits of the teacher changes nothing."""
    class_logits, distil_logits, labels, teacher = _logits(t.rng, 3, 4)
    one = t.call("soft_loss", class_logits, distil_logits, labels, teacher, 0.4, 2.0)
    other = t.call("soft_loss", class_logits, distil_logits, labels, teacher + 3, 0.4, 2.0)
    t.close(other, one, rtol=1e-8, what="the result for a shifted teacher")


def q2_h_large(t):
    """Rows of logits far from 0."""
    class_logits, distil_logits, labels, teacher = _logits(t.rng, 4, 3, spread=5.0)
    far = np.array([[2000.0], [-2000.0], [4000.0], [0.0]])
    case = class_logits + far, distil_logits - far, labels, teacher + far
    t.agree("soft_loss", *case, 0.5, 1.5, rtol=1e-8, atol=1e-12, what="(loss, dclass, ddistil)")


def _networks(rng):
    """params, config, images: an oblong picture, a large epsilon, all lengths alike, eleven blocks."""
    for *shape, batch in (
        ((4, 9), (2, 3), 3, 6, 2, 3, 5, 4, "tanh", 1e-6, 3),
        ((6, 4), (2, 1), 2, 4, 1, 2, 7, 3, "erf", 1e-2, 2),
        ((4, 4), (2, 2), 1, 4, 1, 1, 4, 4, "tanh", 1e-6, 4),
        ((2, 4), (1, 2), 1, 4, 11, 2, 3, 2, "tanh", 1e-6, 1),
    ):
        params, config = model(rng, *shape)
        yield params, config, rng.normal(size=(batch, *shape[0], shape[2]))


def q3_h_training(t):
    """The logits of both heads."""
    for case in _networks(t.rng):
        t.agree("vit_distilled", *case, True, rtol=1e-8, what="(class_logits, distil_logits)")


def q3_h_mean(t):
    """Their mean."""
    for case in _networks(t.rng):
        t.agree("vit_distilled", *case, False, rtol=1e-8, what="the logits")
