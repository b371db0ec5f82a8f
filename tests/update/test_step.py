"""One update: pieces add up, masks belong to images, AdamW by hand, what is not finite is named."""

import math

import numpy as np
import pytest
from small_vit import CONFIG, RANDOM, perturbed

from minivit import functional as F
from minivit.backend.workers import Workers
from minivit.errors import NonFiniteError
from minivit.models import ViT
from minivit.nn import Linear, Module
from minivit.optim import SGD, AdamW
from minivit.ranks import Ranks
from minivit.tensor import Tensor, grad
from minivit.update.draws import ImageDraws
from minivit.update.objective import Classification
from minivit.update.step import step as update
from minivit.update.supervised import step


def batch(size=13, seed=2, dense=False):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((size, 8, 8, 1))
    labels = rng.dirichlet(np.ones(10), size) if dense else rng.integers(0, 10, size)
    return images, labels


class Recorder(SGD):
    """An optimiser that keeps the gradients it is given and changes nothing."""

    def step(self, grads=None, scale=1.0, workers=None):
        self.seen = [g * scale for g in grads]


def gradients(model, images, labels, workers=1, accumulate=1, **options):
    recorder = Recorder(model.named_parameters())
    with Workers(workers) as pool:
        result = step(model, recorder, images, labels, workers=pool, accumulate=accumulate, **options)
    return recorder.seen, result


# step


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("workers", "accumulate"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 4), (5, 7)])
def test_gradients_of_pieces_add_up_to_the_gradient_of_the_batch(workers, accumulate, dense):
    """Pieces of equal and of unequal size, and more pieces than images."""
    model, (images, labels) = perturbed(), batch(dense=dense)
    loss = F.cross_entropy(model(images), labels)
    expected = grad(loss, model.parameters())
    found, result = gradients(model, images, labels, workers, accumulate)
    for name, g, e in zip(dict(model.named_parameters()), found, expected, strict=True):
        assert abs(g - e).max() <= 1e-12 * max(1, abs(e).max()), name
        assert abs(e).max() > 1e-6, name
    assert result.loss == pytest.approx(loss.item(), rel=1e-13)
    assert result.grad_norm == pytest.approx(math.sqrt(sum((e**2).sum() for e in expected)), rel=1e-12)


@pytest.mark.parametrize(("workers", "accumulate"), [(1, 1), (2, 3)])
def test_the_same_step_twice_gives_the_same_bits(workers, accumulate):
    images, labels = batch()
    model = perturbed(RANDOM, "float32")
    runs = [gradients(model, images, labels, workers, accumulate, seed=(5, 6)) for _ in range(4)]
    for found, result in runs[1:]:
        assert result == runs[0][1]
        assert all(a.tobytes() == b.tobytes() for a, b in zip(runs[0][0], found, strict=True))
    other, _ = gradients(model, images, labels, workers, accumulate, seed=(5, 7))
    assert any(not np.array_equal(a, b) for a, b in zip(runs[0][0], other, strict=True))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("workers", "accumulate"), [(1, 2), (1, 4), (2, 1), (2, 2), (3, 1), (5, 7)])
def test_masks_belong_to_images_so_the_cut_of_the_batch_changes_nothing(workers, accumulate, recompute):
    """Dropout, attention dropout and drop path: one seed gives one result, whatever the machine's cores."""
    model, (images, labels) = perturbed(RANDOM), batch()
    whole, expected = gradients(model, images, labels, seed=(5, 6))
    model.recompute_blocks = recompute
    found, result = gradients(model, images, labels, workers, accumulate, seed=(5, 6))
    assert result.loss == pytest.approx(expected.loss, rel=1e-12)
    for g, e in zip(found, whole, strict=True):
        assert abs(g - e).max() <= 1e-12 * max(1, abs(e).max())


def test_every_image_draws_masks_of_its_own():
    """The same image twice: with the same masks the mean of both would have the gradient of one."""
    model, (images, labels) = perturbed(RANDOM), batch(1)
    twice, _ = gradients(model, np.repeat(images, 2, axis=0), np.repeat(labels, 2))
    once, _ = gradients(model, images, labels)
    assert not np.allclose(twice[0], once[0])


def test_one_step_is_adamw_written_by_hand():
    """Softmax regression, its gradient and three AdamW updates with a clipped norm, without any of minivit's code."""

    class Regression(Module):
        def __init__(self):
            self.linear = Linear(6, 3, np.random.default_rng(0), "float64")

        def forward(self, x, rng=None):
            return self.linear(Tensor(x))

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((7, 6)), rng.integers(0, 3, 7)
    model = Regression()
    w, b = (p.data.copy() for p in model.parameters())
    optimizer = AdamW(model.named_parameters(), lambda t: 0.1 / (t + 1), betas=(0.8, 0.9), weight_decay=0.2)
    m, v = [0 * w, 0 * b], [0 * w, 0 * b]
    for t in range(1, 4):
        z = x @ w + b
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        d = (p - np.eye(3)[y]) / 7
        g = [x.T @ d, d.sum(axis=0)]
        norm = math.sqrt((g[0] ** 2).sum() + (g[1] ** 2).sum())
        result = step(model, optimizer, x, y, clip_norm=0.3)
        assert result.loss == pytest.approx(-np.log(p[range(7), y]).mean(), rel=1e-12)
        assert result.accuracy == (p.argmax(axis=1) == y).mean()
        assert result.grad_norm == pytest.approx(norm, rel=1e-12)
        assert norm > 0.3
        for i, (array, decay) in enumerate(((w, 0.2), (b, 0))):
            clipped = g[i] * 0.3 / norm
            m[i] = 0.8 * m[i] + 0.2 * clipped
            v[i] = 0.9 * v[i] + 0.1 * clipped**2
            ratio = m[i] / (1 - 0.8**t) / (np.sqrt(v[i] / (1 - 0.9**t)) + 1e-8)
            array -= 0.1 / t * (ratio + decay * array)
        for parameter, array in zip(model.parameters(), (w, b), strict=True):
            np.testing.assert_allclose(parameter.data, array, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("clip_norm", [None, 0])
def test_without_clip_norm_nothing_is_clipped(clip_norm):
    model, (images, labels) = perturbed(), batch()
    assert gradients(model, images, labels, clip_norm=clip_norm)[1].grad_norm > 0.5
    for a, b in zip(
        gradients(model, images, labels, clip_norm=clip_norm)[0], gradients(model, images, labels)[0], strict=True
    ):
        assert np.array_equal(a, b)
    clipped, result = gradients(model, images, labels, clip_norm=0.5)
    assert math.sqrt(sum((g**2).sum() for g in clipped)) == pytest.approx(0.5)
    assert result.grad_norm > 0.5


def test_one_batch_can_be_learned_by_heart():
    model = ViT(CONFIG, dtype="float32")
    images, labels = batch(16)
    optimizer = AdamW(model.named_parameters(), lr=0.01)
    with Workers(2) as workers:
        results = [step(model, optimizer, images, labels, clip_norm=1.0, workers=workers) for _ in range(180)]
    assert results[0].loss == pytest.approx(math.log(10), rel=1e-6)  # the head is zero
    assert results[-1].loss < 0.01
    assert results[-1].accuracy == 1


def test_accuracy_counts_the_most_probable_label():
    class Fixed(Module):
        def __init__(self):
            self.logits = Tensor(np.array([[3.0, 1, 2], [0, 5, 1], [1, 2, 3], [9, 8, 7]]), requires_grad=True)

        def forward(self, x, rng=None):
            return self.logits[x.astype(int)]

    model = Fixed()
    optimizer = Recorder(model.named_parameters())
    assert step(model, optimizer, np.arange(4), np.array([0, 1, 2, 1])).accuracy == 3 / 4
    dense = np.array([[0.6, 0.4, 0], [0.6, 0.4, 0], [0, 0.3, 0.7], [0.2, 0.3, 0.5]])
    assert step(model, optimizer, np.arange(4), dense).accuracy == 2 / 4
    with Workers(2) as workers:
        assert step(model, optimizer, np.arange(4), dense, workers=workers, accumulate=2).accuracy == 2 / 4


# What is not finite


def snapshot(model, optimizer):
    arrays = [p.data for p in model.parameters()] + [a for slot in optimizer.state.values() for a in slot]
    return optimizer.steps, [a.tobytes() for a in arrays]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("workers", "accumulate"), [(1, 1), (2, 2)])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("images", r"^the input images \(13, 8, 8, 1\)$"),
        ("blocks.1.mlp.", r"^parameter blocks\.1\.mlp\.\S+ \(\d+,?( \d+)?\)$"),
        ("labels", r"^the input labels \(13, 10\)$"),
    ],
)
def test_the_first_tensor_that_is_not_finite_is_named(where, expected, value, workers, accumulate):
    model, (images, labels) = perturbed(), batch(dense=True)
    optimizer = AdamW(model.named_parameters())
    if where == "images":
        images[7, 3, 3, 0] = value
    elif where == "labels":
        labels[7, 3] = value
    else:
        next(p for name, p in model.named_parameters() if name.startswith(where)).data.flat[0] = value
    before = snapshot(model, optimizer)
    with Workers(workers) as pool, pytest.raises(NonFiniteError, match=expected):
        step(model, optimizer, images, labels, workers=pool, accumulate=accumulate)
    assert snapshot(model, optimizer) == before


def test_an_overflow_in_the_forward_pass_is_found_at_its_op():
    model, (images, labels) = perturbed(dtype="float32"), batch()
    dict(model.named_parameters())["blocks.1.attention.qkv.weight"].data[...] = 1e30
    with pytest.raises(
        NonFiniteError,
        match=r"^the output of attention\(\(13, 5, 24\)\), at or after blocks\.1\.attention\.qkv\.weight",
    ):
        step(model, AdamW(model.named_parameters()), images, labels)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_overflow_that_comes_of_the_masks_is_found(workers):
    class Rare(Module):
        """Infinite where one certain number is drawn."""

        def __init__(self):
            self.a = Tensor(np.ones(2), requires_grad=True, name="a")

        def forward(self, x, rng):
            drawn = rng.random((len(x), 2))
            return self.a * Tensor(np.where(drawn == first, 0.0, 1.0)) ** -1.0 * Tensor(x)

    first = ImageDraws((5,), 0, 1, 4).random((1, 2))[0, 0]
    model = Rare()
    with Workers(workers) as pool, pytest.raises(NonFiniteError, match=r"^the output of pow\(\(\d, 2\)"):
        step(model, SGD(model.named_parameters()), np.ones((4, 2)), np.zeros(4, int), workers=pool, seed=(5,))


def test_a_gradient_that_is_not_finite_is_named():
    class Root(Module):
        """The square root of zero: finite, and infinitely steep."""

        def __init__(self):
            self.a = Tensor(np.ones(2), requires_grad=True)
            self.b = Tensor(np.zeros(2), requires_grad=True)

        def forward(self, x, rng=None):
            return F.sqrt(self.b) + self.a * Tensor(x)

    model = Root()
    with pytest.raises(NonFiniteError, match=r"^the gradient of b \(2,\)$"):
        step(model, SGD(model.named_parameters()), np.ones((1, 2)), np.array([0]))


def test_a_norm_that_overflows_is_noticed():
    model, (images, labels) = perturbed(dtype="float32"), batch()

    def steep(logits, targets):
        return F.cross_entropy(logits, targets) * 1e25

    with pytest.raises(NonFiniteError, match="the sum of loss and gradient norm over the batch"):
        step(model, AdamW(model.named_parameters()), images, labels, steep)


@pytest.mark.parametrize("most", [0.1, None])
def test_each_gradient_can_be_clipped_by_its_own_norm(most):
    class Apart(Classification):
        clips_each = True

    class Still(SGD):
        def step(self, grads=None, scale=1.0, workers=None):
            self.seen, self.scale = grads, scale

    model, (images, labels) = perturbed(), batch()
    optimizer = Still(model.named_parameters())
    result = update(Apart(model), optimizer, {"images": images, "labels": labels}, most)
    norms = [math.sqrt((g * g).sum()) for g in optimizer.seen]
    expected = [min(1, (most or math.inf) / (norm + 1e-6)) for norm in norms]
    assert optimizer.scale == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) == 1 if most is None else len(set(expected)) > 3
    assert result.grad_norm == pytest.approx(math.hypot(*norms))


def test_all_ranks_clip_by_the_norm_of_the_first():
    class Second(Ranks):
        def first(self, action):
            norm, scale = action()
            return 2 * norm, scale / 2

    model, (images, labels) = perturbed(), batch()
    given = {"images": images, "labels": labels}
    found = []
    for ranks in (None, Second()):
        recorder = Recorder(model.named_parameters())
        found.append((update(Classification(model), recorder, given, 0.1, ranks=ranks).grad_norm, recorder.seen))
    (norm, one), (double, half) = found
    assert double == 2 * norm
    assert all(np.array_equal(x / 2, y) for x, y in zip(one, half, strict=True))


# loss and gradient norm of five updates, before there were objectives
RECORDED = [
    (2.347937964082029, 3.3964431481543484),
    (2.3633351132307983, 2.8284008141381554),
    (2.7935111913657065, 2.7163073029367575),
    (2.792989174992016, 2.567332038932164),
    (2.8450886494391527, 3.5960257690272956),
]


@pytest.mark.parametrize(("workers", "accumulate"), [(1, 1), (1, 3), (2, 2), (3, 4)])
def test_updates_are_those_that_were_recorded(workers, accumulate):
    """With dropout, attention dropout, drop path and clipping: the same to rounding on any machine."""
    model = perturbed(RANDOM)
    optimizer = AdamW(model.named_parameters(), 3e-3, weight_decay=0.1)
    options = {"clip_norm": 1.0, "accumulate": accumulate}
    with Workers(workers) as pool:
        for i, expected in enumerate(RECORDED):
            rng = np.random.default_rng((2, i))
            x, y = rng.standard_normal((13, 8, 8, 1)).astype("float32"), rng.integers(0, 10, 13)
            found = step(model, optimizer, x, y, workers=pool, seed=(5, i), **options)
            assert (found.loss, found.grad_norm) == pytest.approx(expected, rel=1e-10)
