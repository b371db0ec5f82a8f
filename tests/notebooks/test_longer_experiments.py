"""The experiments of notebooks 29 to 32 and of the page on video: their controls control what they say."""

import numpy as np
import pytest
from experiments import attention_as_convolution, attention_cheaper, locality, video, where_heads_look, widths

from minivit.data import Augment, load
from minivit.lineage.cordonnier import QuadraticAttention
from minivit.ops.attention import attention_weights


def test_weights_as_one_product_are_those_of_the_library():
    layer = attention_as_convolution.build("9 heads", np.random.default_rng(0))
    assert np.allclose(layer.weights(8, 8).data, QuadraticAttention.weights(layer, 8, 8).data, atol=1e-6)


def test_as_many_images_as_pixels_have_the_loss_of_all():
    x = np.random.default_rng(0).standard_normal((200, 64))
    few = attention_as_convolution.whole(x)
    assert few.shape == (64, 64)
    assert np.allclose(few.T @ few / 64, x.T @ x / 200)


def test_only_the_control_keeps_where_its_heads_look(monkeypatch):
    monkeypatch.setattr(where_heads_look, "STEPS", 10)
    monkeypatch.setattr(where_heads_look, "BATCH", 8)
    train, test = load("shapes").limit(80), load("shapes", split="test").limit(10)
    found = {kind: where_heads_look.measure(kind, 0, train, test) for kind in where_heads_look.KINDS}
    assert found["frozen"]["before"] == found["frozen"]["after"] == found["learned"]["before"]
    assert np.abs(np.subtract(found["learned"]["after"], found["learned"]["before"])).mean() > 0.02


def test_pixels_move_alike_in_all_images_of_a_run():
    images = load("shapes").limit(20)
    (old, labels), (new, same), (other, _) = (
        data.fetch(np.arange(20)) for data in (images, locality.permuted(images, 0), locality.permuted(images, 1))
    )
    columns = old.swapaxes(0, 2).reshape(-1, 20 * 3), new.swapaxes(0, 2).reshape(-1, 20 * 3)
    assert np.array_equal(labels, same)
    assert np.array_equal(*(np.unique(pixels, axis=0) for pixels in columns))
    assert not np.array_equal(old, new)
    assert not np.array_equal(new, other)


def test_models_compared_have_equally_many_parameters():
    sizes = [build(0).num_parameters() for build in locality.MODELS.values()]
    assert max(sizes) / min(sizes) < 1.04


def test_batch_norm_is_settled_on_training_images():
    train, model = load("shapes").limit(100), locality.MODELS["CoAtNet"](0)
    images = Augment((32, 32))(train.fetch(np.arange(100))[0])
    rng = np.random.default_rng(0)
    for parameter in model.parameters():  # the head is zero at the start
        parameter.data += 0.1 * rng.standard_normal(parameter.shape)
    before = model.eval()(images).data
    locality.settle_batch_norm(model, train)
    settled = model.eval()(images).data
    assert np.allclose(settled, model.train()(images).data, atol=1e-3)
    assert not np.allclose(settled, before, atol=1e-2)


def test_all_timed_exact_methods_agree():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 300, 64), dtype=np.float32)
    calls = attention_cheaper.methods(300, np.random.default_rng(0))
    exact = attention_weights(q, k) @ v
    assert np.allclose(attention_cheaper.whole(q, k, v), exact, atol=1e-5)
    assert np.allclose(calls["exact"](), exact, atol=1e-5)
    assert np.allclose(calls["tiles"]()[0], exact, atol=1e-5)


def test_errors_of_approximations_end_where_they_must():
    rng = np.random.default_rng(0)
    q, k, v = arrays = rng.standard_normal((3, 20, 2, 9, 4))
    exact = attention_weights(q, k) @ v
    assert attention_cheaper.error(exact, exact) == 0
    assert attention_cheaper.error(2 * exact, exact) == pytest.approx(1)
    assert attention_cheaper.floor(exact, 4) == pytest.approx(0, abs=1e-12)
    assert attention_cheaper.floor(exact, 1) > 0.1
    assert np.array_equal(attention_cheaper.means(9, 9), np.eye(9))
    assert np.allclose(attention_cheaper.means(4, 9).sum(axis=1), 1)
    losses = []
    for updates in (0, 60):
        mixes = attention_cheaper.learned(tuple(arrays), 3, np.random.default_rng(1), updates)
        near = attention_weights(q, mixes[0] @ k) @ (mixes[1] @ v)
        losses.append(np.square(near - exact).mean())
    assert losses[1] < 0.9 * losses[0]


def test_both_forms_are_one_model_at_the_base_width_and_begin_alike_at_others():
    images = np.random.default_rng(0).standard_normal((2, 8, 8, 1)).astype("float32")
    for width, equal in ((widths.BASE, True), (64, False)):
        usual, mup = (widths.build(form, width, 1, 0) for form in ("usual", "muP"))
        for model in (usual, mup):
            model.head.weight.data += np.linspace(-1, 1, 10 * width).reshape(width, 10)
        assert np.allclose(usual(images).data, mup(images).data, atol=1e-5) == equal
    assert ("muP", widths.BASE, 2) not in widths.settings()
    assert len(widths.settings()) == len(set(widths.settings())) == 8


def test_a_shuffled_clip_has_its_frames_and_its_label():
    ordered, shuffled = (video.clips(task, 12, 3, 4) for task in ("motion", "motion, shuffled"))
    frames = [
        data.images.reshape(12, 16, 16, 4, 3).transpose(0, 3, 1, 2, 4).reshape(12, 4, -1)
        for data in (ordered, shuffled)
    ]
    assert np.array_equal(ordered.labels, shuffled.labels)
    for one, other in zip(*frames, strict=True):
        assert sorted(map(bytes, one)) == sorted(map(bytes, other))
    assert not np.array_equal(*frames)
