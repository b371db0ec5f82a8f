"""Classification losses: means over the batch, as 0-d arrays."""

from minivit.backend import Array, xp_of
from minivit.ops.normalisation import log_softmax


def cross_entropy(logits: Array, labels: Array, label_smoothing: float = 0.0):
    """y = -mean over rows of sum_k t_k log softmax(logits)_k.

    logits: (..., K); labels: (...) class numbers, or (..., K) dense probabilities (one-hot, mixup), which take no
    gradient. Targets t = (1 - s) labels + s / K, with s the label smoothing over all K classes (Szegedy et al. 2016).

    dlogits = g (softmax(logits) sum_k t_k - t) / rows.   Raises ValueError for labels outside 0..K-1.
    """
    xp = xp_of(logits)
    targets = _dense(labels, logits, "cross_entropy")
    classes = logits.shape[-1]
    if label_smoothing:
        targets = (1 - label_smoothing) * targets + label_smoothing / classes
    log_p, _ = log_softmax(logits)
    rows = logits.size // classes
    y = (targets * xp.where(targets == 0, 0, -log_p)).sum() / rows  # -inf, a masked class, times 0 would be NaN

    def vjp(g):
        return (xp.exp(log_p) * targets.sum(axis=-1, keepdims=True) - targets) * (g / rows), None

    return y, vjp


def sigmoid_cross_entropy(logits: Array, labels: Array):
    """y = -mean over rows of sum_k [t_k log s(z_k) + (1 - t_k) log s(-z_k)]: K yes-or-no questions, summed.

    The multi-label loss of the published pre-training on ImageNet-21k and JFT. Summed over classes, so it is K times
    the mean that other libraries report.
    logits: (..., K); labels: (..., K) in [0, 1], or (...) class numbers; no gradient for labels.

    Computed as |z| w + log(1 + exp(-|z|)), w = 1 - t where z > 0, else t: how wrong the sign of z is; a term of w = 0
    is left out, also for an infinite z. This cannot overflow.   dlogits = g (s(z) - t) / rows.
    """
    xp = xp_of(logits)
    targets = _dense(labels, logits, "sigmoid_cross_entropy")
    rows = logits.size // logits.shape[-1]
    size, wrong = abs(logits), xp.where(logits > 0, 1 - targets, targets)
    y = (xp.where(wrong == 0, 0, size) * wrong + xp.log1p(xp.exp(-size))).sum() / rows

    def vjp(g):
        return (0.5 * (1 + xp.tanh(0.5 * logits)) - targets) * (g / rows), None

    return y, vjp


def _dense(labels: Array, logits: Array, op: str) -> Array:
    """Labels as probabilities in the dtype of the logits, shape (..., K)."""
    if not logits.shape or logits.shape[-1] == 0:
        raise ValueError(f"{op}: logits {logits.shape} have no classes in their last axis")
    classes = logits.shape[-1]
    labels = xp_of(logits).asarray(labels)
    if labels.shape == logits.shape:
        return labels.astype(logits.dtype)
    if labels.shape != logits.shape[:-1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{op}: labels {labels.shape} {labels.dtype} fit neither as class numbers {logits.shape[:-1]} "
            f"nor as probabilities {logits.shape}"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"{op}: labels span {labels.min()}..{labels.max()}, the logits have classes 0..{classes - 1}")
    return (labels[..., None] == xp_of(logits).arange(classes)).astype(logits.dtype)
