"""The visible checks: small cases. Some mistakes pass them; the hidden checks draw others."""

import numpy as np


def q1_v_one_pair(t):
    """One image and its text: nothing to confuse, so the loss and all gradients are 0."""
    result = t.call("clip_loss", t.rng.normal(size=(1, 3)), t.rng.normal(size=(1, 3)), 0.5)
    t.close(
        result, (0.0, np.zeros((1, 3)), np.zeros((1, 3)), 0.0), atol=1e-12, what="(loss, dimage, dtext, dlog_scale)"
    )


def q1_v_equal(t):
    """All images alike and all texts alike: every guess is as good, and the loss is log B."""
    image, text = np.tile(t.rng.normal(size=3), (4, 1)), np.tile(t.rng.normal(size=3), (4, 1))
    t.close(t.call("clip_loss", image, text, 1.0)[0], np.log(4), what="the loss of four equal pairs")


def q1_v_shapes(t):
    """Gradients have the shapes of what they belong to."""
    result = t.call("clip_loss", t.rng.normal(size=(3, 5)), t.rng.normal(size=(3, 5)), 0.0)
    shapes = [np.shape(part) for part in result]
    t.require(shapes == [(), (3, 5), (3, 5), ()], f"the shapes of the four results are {shapes}")


def q2_v_one_pair(t):
    """One image and its text: a single yes-no question."""
    image, text = t.rng.normal(size=(1, 4)), t.rng.normal(size=(1, 4))
    t.agree("siglip_loss", image, text, 0.3, -0.7, what="(loss, dimage, dtext, dlog_scale, dbias)")


def q2_v_shapes(t):
    """Gradients have the shapes of what they belong to."""
    result = t.call("siglip_loss", t.rng.normal(size=(3, 5)), t.rng.normal(size=(3, 5)), 0.0, -1.0)
    shapes = [np.shape(part) for part in result]
    t.require(shapes == [(), (3, 5), (3, 5), (), ()], f"the shapes of the five results are {shapes}")


def q3_v_one_prompt(t):
    """One prompt of unit length for each class; every image lies close to one of them."""
    texts = np.eye(4)[:, None]
    order = t.rng.permutation(4)
    image = 3 * np.eye(4)[order] + 0.1 * t.rng.normal(size=(4, 4))
    t.close(t.call("zero_shot", image, texts), order, rtol=0, what="the classes")
