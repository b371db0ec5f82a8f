"""Noisy Student: held to a recording of a second implementation; the data set of labels by a teacher, and the loop."""

from pathlib import Path

import numpy as np
import pytest
from recordings import wrong_arrays

from minivit import functional as F
from minivit.data import ArrayDataset, Augment, Loader
from minivit.data.images import Cut
from minivit.errors import ConfigError, DataError
from minivit.lineage import noisystudent, verify
from minivit.lineage.noisystudent import NoisyStudentConfig, PseudoLabelled, choose, hardened, says, students
from minivit.lineage.recorded import noisystudent as recorded
from minivit.nn import Dropout, Linear, Module
from minivit.optim import SGD
from minivit.tensor import Tensor, grad
from minivit.update.objective import Classification

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "noisystudent"
plainly = Augment((4, 4)).evaluation()


def test_the_recording_of_a_second_implementation():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 16


def without_repetition(p, threshold, per_class):
    chosen = real_choose(p, threshold, per_class)
    return np.array(list(dict.fromkeys(chosen.tolist())))


def without_threshold(p, threshold, per_class):
    return real_choose(p, 0.0, per_class)


def least_sure_first(p, threshold, per_class):
    return real_choose(p, threshold, per_class)[::-1]


def unsmoothed(labels, classes, smoothing):
    return np.eye(classes)[labels]


def without_the_share_of_the_truth(labels, classes, smoothing):
    return np.eye(classes)[labels] * (1 - smoothing) + (1 - np.eye(classes)[labels]) * smoothing / (classes - 1)


def still_soft(p):
    return p


def summed(logits, targets):
    return -(targets * F.log_softmax(logits)).sum()


real_choose = noisystudent.choose
WRONG = [
    ("choose", least_sure_first, "chosen"),
    ("smoothed", unsmoothed, "smoothed"),
    ("smoothed", without_the_share_of_the_truth, "soft/loss_labelled"),
    ("hardened", still_soft, "hard/loss"),
    ("loss", summed, "soft/loss"),
]


@pytest.mark.parametrize(("name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, name, mistake, seen):
    monkeypatch.setattr(recorded, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("mistake", [without_repetition, without_threshold])
def test_another_selection_does_not_fit(monkeypatch, mistake):
    case = verify.open_case(CASE)
    p = case.arrays["probabilities"]
    assert not np.array_equal(mistake(p, 0.8, 5), case.arrays["chosen"])


def test_images_are_chosen_by_hand():
    p = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.7, 0.3, 0], [0.5, 0.5, 0], [0.1, 0.9, 0]])
    assert choose(p, 0.6, 2).tolist() == [0, 3, 5, 2]
    assert choose(p, 0.75, 3).tolist() == [0, 0, 0, 5, 2, 5]
    assert choose(p, 0.5, 9).tolist() == [0, 3, 1, 4, 0, 3, 1, 4, 0, 5, 2, 5, 2, 5, 2, 5, 2, 5]
    assert choose(p, 0.95, 3).tolist() == []
    assert hardened(p)[4].tolist() == [1, 0, 0]
    alike = np.where(np.arange(100) % 3, 0.9, 0.8)[:, None]  # equally sure: in their order
    assert choose(alike, 0.5, 100).tolist() == [*(i for i in range(100) if i % 3), *range(0, 100, 3)]


class Net(Module):
    """One matrix, with dropout before it."""

    def __init__(self, seed=0, rate=0.0):
        self.dropout = Dropout(rate)
        self.head = Linear(16, 2, np.random.default_rng(seed))

    def forward(self, images, tap=None, rng=None):
        images = self.tensor(images)
        return self.head(self.dropout(images.reshape(len(images.data), 16), rng))


def pictures(count, seed, name="some"):
    """Of two classes: dark and light on the left."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.integers(0, 186, (count, 4, 4, 1))
    images[:, :, :2] += 70 * labels[:, None, None, None]
    return ArrayDataset(images.astype(np.uint8), labels, ["dark", "light"], name)


def test_the_teacher_is_not_noised_and_stays_in_its_mode():
    data, teacher = pictures(5, 0), Net(rate=0.5)
    images = (data.images / 255 - 0.5) / 0.5
    logits = images.reshape(5, 16) @ teacher.head.weight.data + teacher.head.bias.data
    for temperature in (1.0, 2.0):
        e = np.exp(logits / temperature)
        found = says(teacher, data, plainly, temperature, batch_size=2)
        assert np.allclose(found, e / e.sum(axis=1, keepdims=True), atol=1e-5)
    assert teacher.training


def test_labels_of_both_kinds_stand_in_one_data_set():
    labelled, others = pictures(4, 0), pictures(6, 1)
    p = np.random.default_rng(2).dirichlet((1, 1), 6)
    data = PseudoLabelled(labelled, others, np.array([5, 5, 2]), p, 0.2)
    assert (len(data), data.image_size, data.channels) == (7, (4, 4), 1)
    images, targets = data.fetch([6, 0, 4, 3])
    assert np.array_equal(
        images, np.stack([others.images[2], labelled.images[0], others.images[5], labelled.images[3]])
    )
    assert np.allclose(targets, [p[2], [0.9, 0.1], p[5], [0.1, 0.9]])
    assert data.labels.tolist() == [0, 1, 0, 1, p[5].argmax(), p[5].argmax(), p[2].argmax()]
    lower = Cut(lambda height, width: (0, height // 2, width, height), (2, 4))
    parts, targets = data.cut([4], [lower])
    assert np.array_equal(parts[0], others.images[5, 2:])
    assert np.allclose(targets, [p[5]])
    again, targets = data.subset([6, 1]).fetch([0])
    assert np.array_equal(again[0], others.images[2])
    assert np.allclose(targets, [p[2]])


def test_what_does_not_fit_is_refused():
    labelled, others = pictures(4, 0), pictures(6, 1)
    for p in (np.ones((5, 2)), np.ones((6, 3))):
        with pytest.raises(DataError, match="do not fit"):
            PseudoLabelled(labelled, others, np.array([0]), p)


class Reluctant(ArrayDataset):
    """A data set of which one image cannot be read."""

    def fetch(self, indices, min_size=None):
        return super().fetch([i for i in np.asarray(indices) if i != 1], min_size)


def test_an_image_that_cannot_be_read_is_left_out_or_counted():
    some, p = pictures(3, 1), np.full((3, 2), 0.5)
    others = Reluctant(some.images, some.labels, some.classes, "broken")
    images, targets = PseudoLabelled(pictures(2, 0), others, np.array([0, 1]), p).fetch([0, 3, 2])
    assert (len(images), len(targets)) == (2, 2)
    with pytest.raises(DataError, match="1 images cannot be read"):
        says(Net(), others, plainly)


def trained(data, seed, rate=0.0, steps=60):
    """A network after some steps of classification on a data set."""
    objective = Classification(Net(seed, rate)).train()
    optimizer = SGD(objective.named_parameters(), lr=0.2)
    loader = Loader(data, 8, Augment((4, 4)), objective, total_steps=steps, seed=seed)
    for step in range(1, steps + 1):
        batch = loader.batch(step)
        loss = objective.loss(objective(batch, np.random.default_rng(step)), batch)
        optimizer.step(grad(loss, optimizer.parameters))
    return objective.encoder


@pytest.mark.parametrize("soft", [True, False])
def test_the_student_becomes_the_teacher(soft):
    labelled, others, test = pictures(8, 7, "labelled"), pictures(200, 1, "others"), pictures(400, 2)
    config = NoisyStudentConfig(threshold=0.6, per_class=60, rounds=2, soft=soft)
    seen = []

    def train(data, number):
        seen.append(data)
        return trained(data, number, rate=0.2)

    teacher = trained(labelled, 9)
    found = list(students(config, teacher, labelled, others, plainly, train))
    assert [len(data) for data in seen] == [8 + 120] * 2
    assert all(np.isin(data.targets[8:], [0, 1]).all() == (not soft) for data in seen)
    assert np.allclose(seen[0].targets[:8].max(axis=1), 0.95)
    of_round = [says(x, others, plainly) for x in (teacher, found[0])]
    chosen = [choose(p, 0.6, 60) for p in of_round]
    assert all(
        np.allclose(data.targets[8:], (p if soft else hardened(p))[rows])
        for data, p, rows in zip(seen, of_round, chosen, strict=True)
    )
    right = [(says(x, test, plainly).argmax(axis=1) == test.labels).mean() for x in (teacher, *found)]
    assert right[-1] > right[0] + 0.03


def test_a_teacher_that_is_sure_of_nothing_is_named():
    config = NoisyStudentConfig(threshold=1.0)
    with pytest.raises(DataError, match="others: the teacher is sure of no image; lower the threshold"):
        next(students(config, Net(), pictures(4, 0), pictures(4, 1, "others"), plainly, trained))


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.5}, {"label_smoothing": -1}, {"per_class": 0}, {"rounds": 0}, {"temperature": 0.0}]
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NoisyStudentConfig(**wrong)


def test_the_loss_is_cross_entropy_with_dense_labels():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(5, 3)), rng.dirichlet((1, 1, 1), 5)
    of_ours = noisystudent.loss(Tensor(logits), Tensor(targets)).item()
    assert of_ours == pytest.approx(F.cross_entropy(Tensor(logits), targets).item(), rel=1e-12)
