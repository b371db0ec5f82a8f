"""Batches as an objective makes them: mixed, with what it draws, of the columns that it names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivit.data import ArrayDataset, Augment, Loader, eval_batches
from minivit.errors import DataError
from minivit.nn import Module
from minivit.update.objective import Classification, Objective


def numbered(count=23, classes=5):
    """Image i is i everywhere, its class i mod `classes`."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 1), np.uint8)
    return ArrayDataset(images, np.arange(count) % classes, [str(k) for k in range(classes)], "numbered")


def raw(images, rng=None):
    return np.stack(list(images)).astype(np.float32)


RANDOM = Augment((4, 6), flip=True, crop_padding=2, erasing=0.5)


class Drawing(Classification):
    """Classification that draws a number for each example, and knows the step."""

    def __init__(self, mixup=0.0, cutmix=0.0, classes=5):
        super().__init__(Module(), mixup=mixup, cutmix=cutmix, classes=classes)

    def draw(self, batch, step, rng):
        return {"drawn": rng.random(len(batch["labels"])), "step": np.asarray(step)}


def same(batches, others):
    return len(batches) == len(others) and all(
        one.keys() == two.keys()
        and all(one[name].dtype == two[name].dtype and np.array_equal(one[name], two[name]) for name in one)
        for one, two in zip(batches, others, strict=True)
    )


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**40),
    st.integers(0, 15),
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.4]),
    st.sampled_from([0.0, 1.0]),
)
def test_a_batch_depends_on_seed_and_step_alone(seed, start, threads, prefetch, mixup, cutmix):
    given = numbered(), 5, RANDOM, Drawing(mixup, cutmix)
    everything = list(Loader(*given, total_steps=16, seed=seed))
    resumed = Loader(*given, total_steps=16, seed=seed, start_step=start, threads=threads, prefetch=prefetch)
    assert same(list(resumed), everything[start:])
    assert same([Loader(*given, total_steps=16, seed=seed).batch(start)], everything[start : start + 1])
    assert [int(batch["step"]) for batch in everything] == list(range(16))
    assert len({number for batch in everything for number in batch["drawn"]}) == 16 * 5


@pytest.mark.parametrize(
    ("mixup", "cutmix", "expected"), [(0.8, 0, {"mixup"}), (0, 1.0, {"cutmix"}), (0.8, 1, {"mixup", "cutmix"})]
)
def test_mixing_gives_dense_labels_that_fit_the_images(mixup, cutmix, expected):
    seen = set()
    for batch in Loader(numbered(20, 20), 5, raw, Drawing(mixup, cutmix, 20), total_steps=24):
        images, labels = batch["images"], batch["labels"]
        assert (labels.shape, labels.dtype) == ((5, 20), np.float32)
        assert np.allclose(labels.sum(1), 1)
        assert np.allclose(images.mean((1, 2, 3)), labels @ np.arange(20), atol=1e-4)
        if 0 < labels.max() < 1:
            seen.add("mixup" if all(len(np.unique(image)) == 1 for image in images) else "cutmix")
    assert seen == expected


def test_without_an_objective_batches_are_pairs_of_the_same_arrays():
    pairs = list(Loader(numbered(), 5, RANDOM, total_steps=6))
    batches = list(Loader(numbered(), 5, RANDOM, Drawing(), total_steps=6))
    for (images, labels), batch in zip(pairs, batches, strict=True):
        assert np.array_equal(images, batch["images"])
        assert np.array_equal(labels, batch["labels"])


def test_an_objective_makes_the_batches_of_an_evaluation():
    """Nothing is random but what it draws, which depends on seed and batch alone."""
    first, again, other = (
        list(eval_batches(numbered(), 5, RANDOM.evaluation(), Drawing(0.5), seed=seed, threads=threads))
        for seed, threads in ((0, 1), (0, 3), (1, 1))
    )
    assert same(first, again)
    for (images, labels), batch in zip(eval_batches(numbered(), 5, Augment((4, 6))), first, strict=True):
        assert np.array_equal(images, batch["images"])
        assert np.array_equal(labels, batch["labels"])
    drawn = [np.concatenate([batch["drawn"] for batch in batches]) for batches in (first, other)]
    assert len(set(drawn[0])) == 23
    assert not np.isin(drawn[0], drawn[1]).any()


class Named(ArrayDataset):
    """With a name for each image, a number, and no image 4."""

    COLUMNS = ("images", "labels", "name")

    def columns(self, indices, names, min_size=None):
        indices = np.asarray(indices)
        indices = indices[indices != 4]
        found = {**super().columns(indices, ("images", "labels")), "name": [10 * i for i in indices]}
        return {name: found[name] for name in names}


class Naming(Objective):
    columns = ("name",)

    def prepare(self, columns, augment, rng):
        return {"number": np.asarray(columns["name"])}


def test_an_objective_gets_the_columns_that_it_names_and_full_batches():
    plain = numbered()
    data = Named(plain.images, plain.labels, plain.classes, "named")
    for step, batch in enumerate(Loader(data, 5, raw, Naming(), total_steps=4)):
        order = 10 * np.random.default_rng((0, 0)).permutation(23)
        following = [np.roll(order, -5 * step)[place::5].tolist() for place in range(5)]  # at the same place
        assert batch["number"].tolist() == [next(i for i in row if i != 40) for row in following]
    found = [batch["number"].tolist() for batch in eval_batches(data, 5, raw, Naming())]
    assert [i for batch in found for i in batch] == [10 * i for i in range(23) if i != 4]
    with pytest.raises(DataError, match='numbered: there is no column "name"; choose from images, labels'):
        Loader(plain, 5, raw, Naming(), total_steps=4)
