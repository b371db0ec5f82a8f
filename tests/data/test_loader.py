"""The loader: what each batch is, and that its threads behave."""

import contextlib
import itertools
import threading
import time

import numpy as np
import pytest
from PIL import Image

from minivit.data import ArrayDataset, Augment, Loader, eval_batches, load
from minivit.errors import ConfigError


def numbered(count=23, classes=5):
    """Image i is i everywhere, its class i mod `classes`."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 1), np.uint8)
    return ArrayDataset(images, np.arange(count) % classes, [str(k) for k in range(classes)], "numbered")


def raw(images, rng=None):
    return np.stack(list(images)).astype(np.float32)


def indices(batches):
    """The image numbers in each batch of a `numbered` data set through `raw`."""
    return [images[:, 0, 0, 0].astype(int).tolist() for images, _ in batches]


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x, y) and x.dtype == y.dtype
        for one, two in zip(a, b, strict=True)
        for x, y in zip(one, two, strict=True)
    )


RANDOM = Augment((4, 6), flip=True, crop_padding=2, erasing=0.5)


def test_an_epoch_is_a_new_permutation_without_its_rest():
    loader = Loader(numbered(), 5, raw, total_steps=12, seed=3)
    assert (loader.steps_per_epoch, len(loader)) == (4, 12)
    batches = indices(loader)
    for epoch in range(3):
        order = np.random.default_rng((3, epoch)).permutation(23)
        assert batches[4 * epoch : 4 * epoch + 4] == order[:20].reshape(4, 5).tolist()


def test_images_come_with_their_labels():
    for images, labels in Loader(numbered(), 5, raw, total_steps=8):
        assert (images.dtype, labels.dtype, labels.shape) == (np.float32, np.int64, (5,))
        assert np.array_equal(images[:, 0, 0, 0] % 5, labels)


def test_seeds_and_steps_differ():
    loader = Loader(numbered(), 23, RANDOM, total_steps=3)
    order = [np.argsort(indices([Loader(numbered(), 23, raw, total_steps=3).batch(step)])[0]) for step in range(3)]
    first, second = (loader.batch(step)[0][order[step]] for step in (0, 1))
    assert not np.array_equal(first, second)  # the same images, in order, changed otherwise
    assert indices(Loader(numbered(), 5, raw, total_steps=4, seed=1)) != indices(
        Loader(numbered(), 5, raw, total_steps=4)
    )


def test_iterating_again_gives_the_same_again():
    loader = Loader(numbered(), 5, RANDOM, total_steps=6, start_step=2)
    assert len(loader) == 4
    assert same(list(loader), list(loader))
    assert list(Loader(numbered(), 5, raw, total_steps=2, start_step=5)) == []
    assert len(Loader(numbered(), 5, raw, total_steps=2, start_step=5)) == 0


def test_a_batch_larger_than_the_data_set_is_refused(refused):
    with refused("numbered", "batch of 24", "at most 23"):
        Loader(numbered(), 24, raw, total_steps=1)
    assert indices(Loader(numbered(), 23, raw, total_steps=1))[0] != []


SENSELESS = {"batch_size": (0, 2.5), "threads": (0,)}
SENSELESS |= dict.fromkeys(("prefetch", "seed", "start_step", "total_steps"), (-1, 0.5))


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SENSELESS.items() for value in values])
def test_numbers_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}, expected"):
        Loader(**{"dataset": numbered(), "batch_size": 5, "transform": raw, "total_steps": 1, name: value})


class Counting:
    """A transform that counts its calls and can fail at one of them."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at, self.lock = 0, fail_at, threading.Lock()

    def __call__(self, images, rng=None):
        with self.lock:
            self.calls += 1
            if self.calls == self.fail_at:
                raise ArithmeticError("transform failed")
        return raw(images)


def test_batches_are_prepared_ahead_but_not_further_than_prefetch():
    transform = Counting()
    with Loader(numbered(), 5, transform, total_steps=100, prefetch=3) as loader:
        batches = iter(loader)
        for consumed in range(1, 6):
            next(batches)
            deadline = time.monotonic() + 10
            while transform.calls < consumed + 3 and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.02)
            assert transform.calls == consumed + 3


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_really_work_at_once(threads):
    together = threading.Barrier(threads, timeout=10)  # passes only when that many transforms run at the same time

    def transform(images, rng):
        together.wait()
        return raw(images)

    assert len(list(Loader(numbered(), 5, transform, total_steps=4, threads=threads))) == 4


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_in_a_thread_reaches_the_consumer_at_its_step(threads, data_threads):
    transform, received = Counting(fail_at=4), 0
    with Loader(numbered(), 5, transform, total_steps=9, threads=threads) as loader:
        try:
            for _ in loader:
                received += 1
            pytest.fail("no exception arrived")
        except ArithmeticError as error:
            message = str(error)
        assert data_threads() == []
    assert message == "transform failed"
    assert received == 3 if threads == 1 else received < 9


def test_leaving_the_loop_stops_the_threads(data_threads):
    loader = Loader(numbered(), 5, raw, total_steps=10**9, threads=2)
    for _ in loader:
        assert data_threads() != []
        break
    assert data_threads() == []
    list(eval_batches(numbered(), 5, raw))
    assert data_threads() == []
    for _ in eval_batches(numbered(), 5, raw):
        assert data_threads() != []
        break
    assert data_threads() == []


def test_close_and_with_stop_the_threads_of_iterators_still_held(data_threads):
    loader = Loader(numbered(), 5, raw, total_steps=10**9)
    one, two = iter(loader), iter(loader)
    next(one), next(two)
    assert len(data_threads()) == 2
    loader.close()
    loader.close()
    assert data_threads() == []
    assert list(one) == []
    with contextlib.suppress(KeyError), Loader(numbered(), 5, raw, total_steps=10**9) as loader:
        held = iter(loader)
        next(held)
        raise KeyError
    assert data_threads() == []


def test_close_does_not_wait_for_work_not_begun(data_threads):
    transform = Counting()
    loader = Loader(
        numbered(), 5, lambda images, rng: (time.sleep(0.05), transform(images))[1], total_steps=99, prefetch=50
    )
    batches = iter(loader)
    next(batches)
    loader.close()
    assert transform.calls < 5
    assert data_threads() == []


@pytest.fixture
def damaged(tmp_path):
    """A folder of 12 images, image i of value 20 i, of which 1, 4 and 9 are unreadable; and the other values."""
    for i in range(12):
        path = tmp_path / "train" / "ab"[i // 6] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (20 * i,) * 3).save(path)
        if i in (1, 4, 9):
            path.write_bytes(path.read_bytes()[:40])
    return f"folder:{tmp_path}", [20 * i for i in range(12) if i not in (1, 4, 9)]


def test_an_image_of_a_later_batch_takes_the_place_of_a_skipped_one(damaged):
    name, readable = damaged
    dataset = load(name, bad_images="skip")
    loader = Loader(dataset, 4, raw, total_steps=24)
    for step, batch in enumerate(indices(loader)):
        order = [20 * i for i in np.roll(np.random.default_rng((0, step // 3)).permutation(12), -4 * (step % 3))]
        following = [[*order[place::4], *order[4:]] for place in range(4)]  # then any other outside the batch
        assert batch == [next(i for i in row if i in readable) for row in following]
    assert len(dataset.skipped) == 3


def test_what_replaces_an_image_does_not_depend_on_the_rest_of_the_batch(damaged):
    name, _ = damaged
    whole = Loader(load(name, bad_images="skip"), 6, raw, total_steps=6)
    for step in range(6):
        alone = [
            Loader(load(name, bad_images="skip"), 6, raw, total_steps=6).fetch(step, np.array([i])) for i in range(6)
        ]
        assert [x["images"][0].max() for x in alone] == [x.max() for x in whole.fetch(step)["images"]]


def test_batches_with_skipped_images_depend_on_seed_and_step_alone(damaged):
    name, _ = damaged
    dataset = load(name, bad_images="skip")
    everything = list(Loader(dataset, 5, RANDOM, total_steps=8))
    assert all(len(images) == len(labels) == 5 for images, labels in everything)
    fresh = load(name, bad_images="skip")
    assert same(list(Loader(fresh, 5, RANDOM, total_steps=8, start_step=3, threads=3, prefetch=1)), everything[3:])


def test_a_refused_image_reaches_the_consumer(damaged, refused, data_threads):
    with refused(".png", "--bad-images skip"):
        list(Loader(load(damaged[0]), 4, raw, total_steps=3))
    with refused(".png", "--bad-images skip"):
        list(eval_batches(load(damaged[0]), 4, raw))
    assert data_threads() == []


def test_too_few_readable_images_are_an_error_not_an_endless_search(damaged, refused):
    dataset = load(damaged[0], bad_images="skip")
    assert len(Loader(dataset, 10, raw, total_steps=1).batch(0)[1]) == 10
    with refused("folder:", "too few readable images", "batch of 12"):
        Loader(dataset, 12, raw, total_steps=1).batch(0)


@pytest.mark.parametrize("threads", [1, 3])
def test_evaluation_covers_every_image_once_in_order(threads):
    batches = list(eval_batches(numbered(), 5, raw, threads=threads))
    assert list(itertools.chain(*indices(batches))) == list(range(23))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    assert np.concatenate([labels for _, labels in batches]).tolist() == [i % 5 for i in range(23)]
    images, labels = batches[-1]
    assert (images.dtype, images.shape, labels.dtype) == (np.float32, (3, 4, 6, 1), np.int64)


def test_evaluation_leaves_skipped_images_out(damaged):
    name, readable = damaged
    dataset = load(name, bad_images="skip")
    assert list(itertools.chain(*indices(eval_batches(dataset, 4, raw)))) == readable
    alone = list(eval_batches(dataset, 1, raw))  # some of these batches are empty
    assert [len(labels) for _, labels in alone] == [1] * 9


def test_evaluation_refuses_a_random_transform():
    with pytest.raises(ConfigError, match="generator"):
        list(eval_batches(numbered(), 5, RANDOM))
    with pytest.raises(ConfigError, match="batch_size"):
        eval_batches(numbered(), 0, raw)
    assert same(
        list(eval_batches(numbered(), 5, RANDOM.evaluation())), list(eval_batches(numbered(), 5, Augment((4, 6))))
    )


def test_the_transform_tells_how_small_images_may_be_decoded(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    Image.new("RGB", (800, 800)).save(tmp_path / "train" / "a" / "1.jpg")
    (tmp_path / "train" / "a" / "unreadable.jpg").write_bytes(b"")
    sizes = []

    class Recording(Augment):
        def __call__(self, images, rng=None):
            sizes.append(images[0].shape[:2])
            return super().__call__(images, rng)

    dataset = load(f"folder:{tmp_path}", bad_images="skip")
    list(Loader(dataset, 1, Recording((50, 50), flip=True), total_steps=2))  # once in the place of the unreadable one
    list(eval_batches(dataset, 1, Recording((50, 50))))
    list(Loader(dataset, 1, Recording((50, 50), resized_crop=(0.1, 1)), total_steps=1))
    assert sizes == [(100, 100), (100, 100), (100, 100), (800, 800)]
