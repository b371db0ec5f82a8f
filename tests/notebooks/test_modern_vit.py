"""The experiments of notebook 25: models of equal work, and scores that are measured as attention makes them."""

import numpy as np
import pytest
from experiments import modern_vit, qk_norm

from minivit.data import normalize
from minivit.lessons import digits
from minivit.lineage.modern import Modern
from minivit.lineage.modern_config import ModernConfig
from minivit.models import ViTConfig
from minivit.models.cost import multiply_adds


def test_the_work_of_the_vit_of_2020_is_counted_as_that_of_a_vit():
    vit = ViTConfig(**modern_vit.SHAPE, mlp_width=modern_vit.OF_2020["mlp_width"])
    assert modern_vit.multiply_adds(modern_vit.config("ViT of 2020")) == multiply_adds(vit)


def test_all_models_need_the_same_work_within_two_percent():
    work = [modern_vit.multiply_adds(modern_vit.config(swap)) for swap in modern_vit.SWAPS]
    assert max(work) / min(work) < 1.02


def test_all_swaps_together_have_each_of_them():
    every, parts = modern_vit.config("all"), [swap for swap in modern_vit.SWAPS.values() if swap]
    for name, value in ((name, value) for part in parts for name, value in part.items() if name != "mlp_width"):
        assert getattr(every, name) == value


def test_the_model_drawn_anew_differs_in_its_draws_alone(monkeypatch):
    seen = {}

    def fit(model, train, steps, **options):
        seen[len(seen)] = [p.data.copy() for p in model.parameters()], train.fetch(range(5))[1], options

    monkeypatch.setattr(modern_vit, "fit", fit)
    monkeypatch.setattr(modern_vit, "evaluate", lambda model, data: (0.0, 0.0))
    train, _ = digits()
    for swap in ("ViT of 2020", "drawn anew"):
        modern_vit.measure(swap, 1e-3, 0, train, train.subset(np.arange(len(train)).repeat(3)))
    (first, images, options), (anew, same_images, same_options) = seen.values()
    assert (images == same_images).all()
    assert options == same_options
    assert not all(np.array_equal(a, b) for a, b in zip(first, anew, strict=True))


@pytest.mark.parametrize("normed", [False, True])
def test_the_largest_score_is_that_of_the_weights_of_attention(normed):
    model = Modern(ModernConfig(**{**qk_norm.SHAPE, "depth": 1}, qk_norm=normed), 0, "float64")
    width, images = qk_norm.SHAPE["width"], normalize(digits()[0].images[:2])
    largest, tap = qk_norm.largest_score(model, images), {}
    model(images, tap=tap)
    logs = np.log(tap["block0/attention_weights"])  # scores, less a number of their row
    spread = (logs.max(axis=-1) - logs.min(axis=-1)).max()
    assert spread / 2 <= largest
    model.blocks[0].attention.qkv.weight.data[:, :width] *= -3  # the largest one may be negative
    if normed:
        assert qk_norm.largest_score(model, images) == pytest.approx(largest, rel=1e-3)  # but for epsilon
        assert largest <= qk_norm.score_bound(model) == pytest.approx(4)
    else:
        assert qk_norm.largest_score(model, images) == pytest.approx(3 * largest)
