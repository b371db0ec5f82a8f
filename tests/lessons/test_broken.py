"""The broken set-ups of notebook 13: each has its own fault, and the checks of the notebook tell which."""

import numpy as np
import pytest

from minivit import functional as F
from minivit.data import normalize
from minivit.lessons import accuracy, check, digits, fit
from minivit.lessons.broken import AGAINST, FAULTS, set_up
from minivit.models import ViTConfig
from minivit.tensor import grad

CONFIG = ViTConfig(image_size=8, patch_size=4, width=16, depth=1, heads=2, mlp_width=32, channels=1, num_classes=10)
NAMES = ("sound", "A", "B", "C")


@pytest.fixture(scope="module")
def train():
    return digits()[0].subset(np.arange(256))


@pytest.fixture(scope="module")
def trained(train):
    setups = {name: set_up(name, CONFIG, train, 0.01) for name in NAMES}
    for setup in setups.values():
        fit(setup.model, setup.train, 6, batch_size=32, lr=setup.lr)
    return setups


def silent(setup):
    """Names of the parameters whose gradient is zero everywhere."""
    images, labels = normalize(setup.train.images[:32]), setup.train.labels[:32]
    names, parameters = zip(*setup.model.named_parameters(), strict=True)
    gradients = grad(F.cross_entropy(setup.model(images), labels), parameters)
    return {name for name, gradient in zip(names, gradients, strict=True) if not gradient.any()}


@pytest.mark.parametrize("name", NAMES)
def test_all_begin_at_log_k(name, train):
    setup = set_up(name, CONFIG, train, 0.01)
    loss = F.cross_entropy(setup.model(normalize(train.images[:32])), train.labels[:32])
    assert loss.item() == pytest.approx(np.log(10), rel=1e-5)


def test_only_the_patch_embedding_of_a_has_no_gradient(trained):
    found = {name: silent(setup) for name, setup in trained.items()}
    assert found.pop("A") == {"patch_embed.projection.weight", "patch_embed.projection.bias"}
    assert not any(found.values())


def test_only_the_accuracy_of_b_differs_from_time_to_time(trained, train):
    def measured(setup):
        return {accuracy(setup.model, train) for _ in range(4)}

    counts = {name: len(measured(setup)) for name, setup in trained.items()}
    assert counts.pop("B") > 1
    assert set(counts.values()) == {1}


def test_only_the_labels_of_c_are_shuffled(trained, train):
    changed = {name for name, setup in trained.items() if not np.array_equal(setup.train.labels, train.labels)}
    assert changed == {"C"}
    assert np.array_equal(np.sort(trained["C"].train.labels), np.sort(train.labels))
    assert np.array_equal(trained["C"].train.images, train.images)


def test_there_are_no_others():
    with pytest.raises(ValueError, match="there is no set-up"):
        set_up("D", CONFIG, digits()[0], 0.01)


def test_nothing_is_told_before_the_first_diagnosis():
    assert check("13.5", dict.fromkeys(FAULTS)).right is None
    assert check("13.5", dict.fromkeys(FAULTS, ...)).right is None


def test_no_wrong_diagnosis_is_told_the_right_one():
    for name in FAULTS:
        for fault in AGAINST:
            if fault != FAULTS[name]:
                verdict = check("13.5", FAULTS | {name: fault})
                assert verdict.text == f"{name} has another fault. {AGAINST[fault]}"
