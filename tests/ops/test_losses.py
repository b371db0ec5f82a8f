"""cross_entropy and sigmoid_cross_entropy."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, shapes

from minivit import functional as F

LOSSES = [ops.cross_entropy, ops.sigmoid_cross_entropy]


@st.composite
def logits_and_labels(draw, one_hot=False):
    """Logits (..., K), class numbers (...) and the same as one-hot rows, or any probabilities."""
    rows, classes = draw(shapes(max_dims=2, min_side=1)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    numbers = rng.integers(0, classes, rows).astype(draw(st.sampled_from(["int64", "uint8"])))
    dense = np.eye(classes)[numbers] if one_hot else rng.dirichlet(np.ones(classes), rows)
    return draw(arrays((*rows, classes))), numbers, dense


def softmax_loss_by_row(logits, targets):
    z = logits.reshape(-1, logits.shape[-1])
    t = targets.reshape(z.shape)
    return np.mean([-np.sum(t[i] * np.log(np.exp(z[i]) / np.exp(z[i]).sum())) for i in range(len(z))])


def sigmoid_loss_by_row(logits, targets):
    rows = logits.reshape(-1, logits.shape[-1])
    s = 1 / (1 + np.exp(-rows))
    t = targets.reshape(rows.shape)
    return np.mean((-t * np.log(s) - (1 - t) * np.log(1 - s)).sum(axis=1))


@pytest.mark.gradient_check("cross_entropy")
@given(drawn=logits_and_labels(), smoothing=st.sampled_from([0.0, 0.1]))
def test_cross_entropy(drawn, smoothing):
    logits, numbers, dense = drawn
    targets = (1 - smoothing) * dense + smoothing / logits.shape[-1]
    assert_close(ops.cross_entropy(logits, dense, smoothing)[0], softmax_loss_by_row(logits, targets))
    check(ops.cross_entropy, logits, dense, constant=[1], label_smoothing=smoothing)
    check(ops.cross_entropy, logits, numbers, label_smoothing=smoothing)


@pytest.mark.gradient_check("sigmoid_cross_entropy")
@given(drawn=logits_and_labels())
def test_sigmoid_cross_entropy(drawn):
    logits, numbers, dense = drawn
    assert_close(ops.sigmoid_cross_entropy(logits, dense)[0], sigmoid_loss_by_row(logits, dense))
    check(ops.sigmoid_cross_entropy, logits, dense, constant=[1])
    check(ops.sigmoid_cross_entropy, logits, numbers)


@pytest.mark.parametrize("loss", LOSSES)
@given(drawn=logits_and_labels(one_hot=True))
def test_class_numbers_and_one_hot_rows_agree(loss, drawn):
    logits, numbers, dense = drawn
    (y, vjp), (dense_y, dense_vjp) = loss(logits, numbers), loss(logits, dense)
    g = np.array(3.0)
    np.testing.assert_array_equal(y, dense_y)
    np.testing.assert_array_equal(vjp(g)[0], dense_vjp(g)[0])


@given(drawn=logits_and_labels(), smoothing=st.sampled_from([0.0, 0.3]))
def test_the_losses_equal_their_compositions(drawn, smoothing):
    logits, _, dense = drawn
    rows, classes = logits.size // logits.shape[-1], logits.shape[-1]

    def softmax_composition(z):
        targets = to_device((1 - smoothing) * dense + smoothing / classes)
        return -(F.sum(targets * F.log(F.softmax(z))) / rows)

    def sigmoid_composition(z):
        targets = to_device(dense)
        return -(F.sum(targets * F.log(F.sigmoid(z)) + (1 - targets) * F.log(F.sigmoid(-z))) / rows)

    assert_same(lambda z: F.cross_entropy(z, to_device(dense), smoothing), softmax_composition, logits)
    assert_same(lambda z: F.sigmoid_cross_entropy(z, to_device(dense)), sigmoid_composition, logits)


@given(drawn=logits_and_labels(one_hot=True))
def test_label_smoothing_mixes_in_the_uniform_distribution(drawn):
    logits, numbers, dense = drawn
    uniform = np.full_like(dense, 1 / logits.shape[-1])
    mixed = 0.8 * ops.cross_entropy(logits, dense)[0] + 0.2 * ops.cross_entropy(logits, uniform)[0]
    assert_close(ops.cross_entropy(logits, numbers, label_smoothing=0.2)[0], mixed)


def test_dense_labels_need_not_sum_to_one():
    logits = np.array([[0.5, -1.0, 2.0]])
    check(ops.cross_entropy, logits, np.array([[0.5, 0.25, 1.0]]), constant=[1])


def published(recorded):
    vectors = recorded("losses")
    logits, y, mixup = vectors["logits"], vectors["y"], vectors["mixup/bv_labels"]
    one_hot = np.eye(logits.shape[-1])[y]
    return vectors, {
        "softmax_onehot": lambda: ops.cross_entropy(logits, y),
        "softmax_ls0.1": lambda: ops.cross_entropy(logits, y, label_smoothing=0.1),
        "softmax_mixup": lambda: ops.cross_entropy(logits, mixup),
        "softmax_kl": lambda: ops.cross_entropy(logits, mixup),
        "sigmoid_multilabel": lambda: ops.sigmoid_cross_entropy(logits, vectors["multilabel"]),
        "sigmoid_onehot": lambda: ops.sigmoid_cross_entropy(logits, one_hot),
        "sigmoid_mixup": lambda: ops.sigmoid_cross_entropy(logits, mixup),
    }


@pytest.mark.parametrize(
    "name",
    [
        "softmax_onehot",
        "softmax_ls0.1",
        "softmax_mixup",
        "softmax_kl",
        "sigmoid_multilabel",
        "sigmoid_onehot",
        "sigmoid_mixup",
    ],
)
def test_a_loss_equals_the_published_code(name, recorded):
    vectors, losses = published(recorded)
    y, vjp = losses[name]()
    if name == "softmax_kl":  # the Kullback-Leibler divergence: less the entropy of the labels, which has no gradient
        labels = vectors["mixup/bv_labels"]
        y += (labels * np.log(np.where(labels > 0, labels, 1))).sum() / len(labels)
    np.testing.assert_allclose(y, vectors[f"{name}/loss"], rtol=1e-9)
    np.testing.assert_allclose(vjp(np.array(1.0))[0], vectors[f"{name}/grad"], rtol=1e-9, atol=1e-12)


def test_smoothed_mixup_labels_equal_timm(recorded):
    vectors = recorded("losses")
    y, _ = ops.cross_entropy(vectors["logits"], vectors["mixup/timm_target_ls0.1"])
    np.testing.assert_allclose(y, vectors["mixup/timm_softtarget_loss"], rtol=1e-9)


@pytest.mark.parametrize("name", ["softmax_onehot", "sigmoid_multilabel"])
def test_the_loss_of_one_row_equals_the_published_code(name, recorded):
    vectors = recorded("losses")
    op, labels = (ops.cross_entropy, vectors["y"]) if name == "softmax_onehot" else (LOSSES[1], vectors["multilabel"])
    rows = [op(vectors["logits"][i : i + 1], labels[i : i + 1])[0] for i in range(len(labels))]
    np.testing.assert_allclose(rows, vectors[f"{name}/per_example"], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_losses_of_logits_of_ten_thousand(dtype):
    logits = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e3, 1e3, 1e3]], dtype)
    labels = np.array([0, 1, 2])
    y, vjp = ops.cross_entropy(logits, labels)
    np.testing.assert_allclose(y, (0 + 2e4 + np.log(2)) / 3, rtol=4 * np.finfo(dtype).eps)
    expected = np.array([[0, 0, 0], [1, -1, 0], [0, 0.5, -0.5]]) / 3
    np.testing.assert_allclose(vjp(np.ones((), dtype))[0], expected, atol=np.finfo(dtype).eps)

    y, vjp = ops.sigmoid_cross_entropy(logits, labels)
    np.testing.assert_allclose(y, (np.log(2) + 2e4 + np.log(2) + 1e3) / 3, rtol=4 * np.finfo(dtype).eps)
    expected = np.array([[0, 0, 0.5], [1, -1, 0.5], [0, 1, 0]]) / 3
    np.testing.assert_allclose(vjp(np.ones((), dtype))[0], expected, atol=np.finfo(dtype).eps)


def test_small_losses_keep_their_digits():
    y, _ = ops.sigmoid_cross_entropy(np.array([[40.0]]), np.array([[1.0]]))
    np.testing.assert_allclose(y, np.exp(-40.0), rtol=1e-12, atol=0)
    y, _ = ops.sigmoid_cross_entropy(np.array([[40.0, 0.0]]), np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(y, np.log(2) + np.exp(-40.0))


@pytest.mark.parametrize("loss", LOSSES)
class TestRefusals:
    def test_labels_out_of_range(self, loss):
        for labels in ([0, 3], [-1, 2]):
            with pytest.raises(ValueError, match=rf"labels span {min(labels)}..{max(labels)}, .* classes 0..2"):
                loss(np.ones((2, 3)), np.array(labels))

    @pytest.mark.parametrize("shape", [(3,), (2, 1), (), (2, 4), (3, 2)])
    def test_labels_of_a_wrong_shape(self, loss, shape):
        with pytest.raises(
            ValueError, match=rf"{loss.__name__}: labels \(.*\) int64 fit neither .* \(2,\) .* \(2, 3\)"
        ):
            loss(np.ones((2, 3)), np.zeros(shape, int))

    @pytest.mark.parametrize("dtype", ["float64", "bool"])
    def test_class_numbers_that_are_not_integers(self, loss, dtype):
        with pytest.raises(ValueError, match=f"{dtype} fit neither"):
            loss(np.ones((2, 3)), np.zeros(2, dtype))

    @pytest.mark.parametrize("shape", [(), (2, 0)])
    def test_logits_without_classes(self, loss, shape):
        with pytest.raises(ValueError, match=rf"{loss.__name__}: logits \(.*\) have no classes in their last axis"):
            loss(np.ones(shape), np.zeros(shape[:1], int))

    def test_labels_may_be_a_list(self, loss):
        logits = np.array([[1.0, 2.0, 3.0], [0.0, 5.0, 1.0]])
        assert loss(logits, [0, 1])[0] == loss(logits, np.array([0, 1]))[0]
