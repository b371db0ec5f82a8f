"""The hidden checks of the variant CLIP."""

import numpy as np


def _pairs(rng, count, width):
    """Features of very different lengths, (count, width) each."""
    return [np.exp(rng.uniform(-1, 1.5, (count, 1))) * rng.normal(size=(count, width)) for _ in range(2)]


def _cases(rng):
    """(B, D): one with B < D, one with B > D, one square, one with two pairs."""
    for count, width in ((3, 5), (6, 2), (4, 4), (2, int(rng.integers(3, 8)))):
        yield _pairs(rng, count, width), float(rng.uniform(-0.5, 2.5))


def _part(t, adapter, number, what, extra=()):
    for (image, text), log_scale in _cases(t.rng):
        more = [float(t.rng.uniform(-2, 1)) for _ in extra]
        got, want = t.call(adapter, image, text, log_scale, *more), t.ref(adapter, image, text, log_scale, *more)
        t.close(got[number], want[number], atol=1e-13, what=what)


def q1_h_loss(t):
    """The loss."""
    _part(t, "clip_loss", 0, "the loss")


def q1_h_dimage(t):
    """The gradient of the images."""
    _part(t, "clip_loss", 1, "dimage")


def q1_h_dtext(t):
    """The gradient of the texts."""
    _part(t, "clip_loss", 2, "dtext")


def q1_h_dlog_scale(t):
    """The gradient of the logarithm of the scale."""
    _part(t, "clip_loss", 3, "dlog_scale")


def q1_h_lengths(t):
    """The lengths of features do not matter: the loss stays, and a gradient has no part along its feature."""
    (image, text), log_scale = _pairs(t.rng, 4, 3), 1.0
    loss, dimage, dtext, _ = t.call("clip_loss", image, text, log_scale)
    factors = np.exp(t.rng.normal(size=(4, 1)))
    longer = t.call("clip_loss", image * factors, text / factors, log_scale)[0]
    t.close(longer, loss, what="the loss after features were made longer")
    along = [np.abs((g * x).sum(axis=1)).max() for g, x in ((np.asarray(dimage), image), (np.asarray(dtext), text))]
    t.require(max(along) < 1e-9, "making a feature longer changes the loss, says its gradient")


def q1_h_exchange(t):
    """Images and texts exchanged: the same loss, the gradients exchanged."""
    image, text = _pairs(t.rng, 5, 3)
    loss, dimage, dtext, dlog_scale = t.call("clip_loss", image, text, 0.8)
    other = t.call("clip_loss", text, image, 0.8)
    t.close(
        other,
        (loss, np.asarray(dtext), np.asarray(dimage), dlog_scale),
        atol=1e-13,
        what="the result after the exchange",
    )


def q1_h_large(t):
    """Logits of thousands."""
    image, text = _pairs(t.rng, 4, 3)
    t.agree("clip_loss", image, text, 8.0, rtol=1e-7, atol=1e-9, what="(loss, dimage, dtext, dlog_scale)")


def q2_h_loss(t):
    """The loss."""
    _part(t, "siglip_loss", 0, "the loss", ["bias"])


def q2_h_dimage(t):
    """The gradient of the images."""
    _part(t, "siglip_loss", 1, "dimage", ["bias"])


def q2_h_dtext(t):
    """The gradient of the texts."""
    _part(t, "siglip_loss", 2, "dtext", ["bias"])


def q2_h_numbers(t):
    """The gradients of log scale and bias."""
    _part(t, "siglip_loss", 3, "dlog_scale", ["bias"])
    _part(t, "siglip_loss", 4, "dbias", ["bias"])


def q2_h_large(t):
    """Logits of thousands, on both sides of 0."""
    image, text = _pairs(t.rng, 4, 3)
    for bias in (-10.0, 3000.0):
        got = t.call("siglip_loss", image, text, 8.0, bias)
        want = t.ref("siglip_loss", image, text, 8.0, bias)
        t.close(got, want, rtol=1e-7, atol=1e-9, what="(loss, dimage, dtext, dlog_scale, dbias)")


def q3_h_classes(t):
    """Many images; prompts of very different lengths, in some classes alike; one, two and five prompts."""
    for classes, prompts, width in ((3, 5, 4), (5, 2, 3), (4, 1, 6)):
        texts = t.rng.normal(size=(classes, prompts, width))
        texts[0] = texts[0, :1] + 0.05 * t.rng.normal(size=(prompts, width))  # prompts that agree: a long mean
        texts *= np.exp(t.rng.uniform(-2, 2, (classes, prompts, 1)))
        image = np.exp(t.rng.uniform(-1, 1, (120, 1))) * t.rng.normal(size=(120, width))
        t.agree("zero_shot", image, texts, rtol=0, what="the classes")


def q3_h_square(t):
    """As many images as classes as prompts as features: a wrong axis gives a wrong class, not an error."""
    for _ in range(6):
        t.agree("zero_shot", t.rng.normal(size=(4, 4)), t.rng.normal(size=(4, 4, 4)), rtol=0, what="the classes")
