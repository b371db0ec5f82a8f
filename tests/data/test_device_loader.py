"""Batches in a GPU's memory: which way they get there, and that they are those of the Loader."""

import numpy as np
import pytest
import standin_cupy
from PIL import Image

from minivit.backend import get_namespace, to_numpy
from minivit.backend.cupy_kernels import augment as kernels
from minivit.data import ArrayDataset, Augment, Loader, load
from minivit.data.device_loader import DeviceLoader, can_stay, on_device, supports
from minivit.data.prefetcher import Prefetcher
from minivit.errors import BackendError, ConfigError
from minivit.nn import Module
from minivit.update.objective import Classification


@pytest.fixture(params=["standin", "cupy"])
def cupy(request):
    """The stand-in for CuPy, and CuPy itself where there is a GPU."""
    if request.param == "cupy":
        try:
            yield get_namespace("cupy")
        except BackendError:
            pytest.skip("no GPU that CuPy can use: the CuPy tests did not run")
    else:
        with standin_cupy.installed() as module:
            yield module


def dataset(height=12, width=16, channels=3):
    images = np.random.default_rng(0).integers(0, 256, (23, height, width, channels), dtype=np.uint8)
    return ArrayDataset(images, np.arange(23) % 5, list("abcde"), "noise")


def loader(data=None, batch_size=5, size=(12, 16), total_steps=9, mixing=None, **options):
    augment = Augment(size, **{"flip": True, "crop_padding": 2, "randaugment": (2, 9), **options})
    data = data or dataset()
    objective = Drawing(Module(), classes=len(data.classes), **(mixing or {}))
    return Loader(data, batch_size, augment, objective, total_steps=total_steps, seed=3)


class Drawing(Classification):
    """Classification that draws a number for each example, and knows the step."""

    def draw(self, batch, step, rng):
        return {"order": rng.permutation(len(batch["labels"])), "momentum": np.asarray(step / 9, np.float32)}


@pytest.fixture
def folder(tmp_path):
    """A data set of image files of several sizes, two of them unreadable."""
    for i in range(10):
        path = tmp_path / "train" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)).save(path)
        if i > 7:
            path.write_bytes(path.read_bytes()[:99])
    return load(f"folder:{tmp_path}", bad_images="skip")


def same(device_batches, batches):
    """Whether they are equal, bit for bit."""
    pairs = list(zip(device_batches, batches, strict=True))
    return all(
        one.keys() == two.keys()
        and to_numpy(one[name]).dtype == two[name].dtype
        and np.array_equal(to_numpy(one[name]), two[name])
        for one, two in pairs
        for name in one
    )


MIXINGS = [{}, {"mixup": 0.4, "cutmix": 0.6}]


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
def test_batches_made_on_the_gpu_are_those_of_the_loader(cupy, mixing):
    batches = loader(mixing=mixing)
    device = on_device(batches, cupy)
    assert isinstance(device, DeviceLoader)
    assert len(device) == 9
    everything = list(device)
    assert all(type(array) is cupy.ndarray for batch in everything for array in batch.values())
    assert same(everything, list(batches))
    assert same([device.batch(4)], [batches.batch(4)])
    batches.start_step = 7
    assert same(list(device), [batches.batch(7), batches.batch(8)])


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
@pytest.mark.parametrize("crop", [None, (0.3, 1)])
@pytest.mark.parametrize("room", [kernels.MAX_SHARED_MEMORY, 8 * 8 * 3])  # for RandAugment: enough, or not
def test_batches_of_files_are_finished_on_the_gpu(cupy, folder, mixing, crop, room, monkeypatch):
    monkeypatch.setattr(kernels, "MAX_SHARED_MEMORY", room)
    batches = loader(folder, 3, (8, 8), resized_crop=crop, erasing=0.5, mixing=mixing)
    device = on_device(batches, cupy)
    assert isinstance(device, DeviceLoader)
    assert same(list(device), list(batches))
    assert same([device.batch(4)], [batches.batch(4)])
    assert len(folder.skipped) == 2


def test_images_of_files_travel_as_bytes(folder, monkeypatch):
    with standin_cupy.installed() as module:
        batches = loader(folder, 3, (8, 8), randaugment=None)
        batches.objective.columns = ("images",)  # as of an objective without labels
        device, copies, copy = on_device(batches, module), [], module.ndarray.set
        monkeypatch.setattr(
            module.ndarray, "set", lambda self, host, stream: (copies.append(host), copy(self, host, stream))[1]
        )
        batch = device.batch(0)
        assert batch.keys() == {"images", "order", "momentum"}
        assert [(host.dtype, host.shape) for host in copies if host.ndim > 1] == [(np.uint8, (3, 8, 8, 3))]
        assert sum(host.nbytes for host in copies) < 2 * 3 * 8 * 8 * 3


def test_batches_copied_to_the_gpu_are_those_of_the_loader(cupy, folder):
    batches = loader(folder, 3, (8, 8), resized_crop=(0.3, 1))
    batches.objective = Cutting(Module())
    device = on_device(batches, cupy)
    assert isinstance(device, Prefetcher)
    assert len(device) == 9
    copies = [{name: to_numpy(x).copy() for name, x in batch.items()} for batch in device]
    assert same(copies, list(batches))


def test_new_batches_do_not_share_memory(cupy):
    device = DeviceLoader(loader(), cupy)
    first = device.batch(0)
    before = to_numpy(first["images"]).copy()
    device.batch(1)
    assert np.array_equal(to_numpy(first["images"]), before)


def test_leaving_the_loop_stops_the_threads(cupy, data_threads):
    for kind in (DeviceLoader, Prefetcher):
        with kind(loader(total_steps=10**6), cupy) as device:
            for _ in device:
                assert data_threads() != []
                break
            assert data_threads() == []
            held = iter(device)
            next(held)
        assert data_threads() == []


def test_what_was_drawn_travels_in_one_copy(monkeypatch):
    with standin_cupy.installed() as module:
        device = DeviceLoader(loader(erasing=0.5), module)
        copies, copy = [], module.ndarray.set
        monkeypatch.setattr(
            module.ndarray, "set", lambda self, host, stream: (copies.append(host.nbytes), copy(self, host, stream))[1]
        )
        device.batch(0)
        assert len(copies) == 3  # with the two arrays that the objective draws
        # 9 numbers an image and 3 an operation; the rest is noise, of which only as much as there is
        assert 4 * 5 * (9 + 3 * 2) < copies[0] < 4 * 5 * (9 + 3 * 2) + 4 * 5 * 12 * 16 * 3 // 2


class Cutting(Classification):
    """Which prepares images in a way of its own."""

    def prepare(self, columns, augment, rng):
        return {"images": augment(columns["images"], rng)[:, ::2], "labels": np.asarray(columns["labels"])}


def test_which_images_stay_on_the_gpu(folder):
    assert can_stay(loader())
    assert can_stay(loader(dataset(28, 28, 1), size=(28, 28)))
    assert can_stay(loader(dataset(300, 300), size=(300, 300), randaugment=None))
    assert can_stay(loader(dataset(82, 82), size=(82, 82)))
    assert not can_stay(loader(dataset(83, 83), size=(83, 83)))
    assert not can_stay(loader(resized_crop=(0.5, 1)))
    assert not can_stay(loader(size=(8, 16)))
    assert not can_stay(loader(folder))


def test_what_the_gpu_can_make(folder):
    for batches in (loader(), loader(resized_crop=(0.5, 1)), loader(size=(8, 16)), loader(folder)):
        assert supports(batches)
    assert not supports(loader(dataset(channels=4), randaugment=None))
    for name in ("columns", "objective"):  # of images and labels alone, and prepared as they are
        other = loader()
        other.objective = Cutting(Module()) if name == "objective" else other.objective
        other.objective.columns = ("images", "labels", "name") if name == "columns" else ("images", "labels")
        assert not supports(other)
    assert not supports(Loader(dataset(), 5, Augment((12, 16)), total_steps=1))
    plain = loader()
    plain.transform = lambda images, rng: images.astype(np.float32)
    assert not supports(plain)


def test_batches_that_the_gpu_cannot_make_are_refused(cupy):
    with pytest.raises(ConfigError, match="noise: the GPU cannot make these batches"):
        DeviceLoader(loader(dataset(channels=4), randaugment=None), cupy)


def test_images_that_do_not_fit_into_memory_are_copied_batch_by_batch(monkeypatch):
    with standin_cupy.installed() as module:
        needed, shapes = dataset().images.nbytes, []
        asarray = module.asarray
        monkeypatch.setattr(module, "asarray", lambda x: shapes.append(x.shape) or asarray(x))
        for free in (2 * needed, 2 * needed + 2):
            monkeypatch.setattr(module.cuda.runtime, "memGetInfo", lambda free=free: (free, 10 * needed))
            batches = loader()
            assert same(list(on_device(batches, module)), list(batches))
            assert ((23, 12, 16, 3) in shapes) == (free > 2 * needed)
