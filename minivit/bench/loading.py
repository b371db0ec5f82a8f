"""Images per second of decoding and augmentation, and their cost to the training loop: does the data keep up?"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from minivit.backend.cores import available_cores
from minivit.backend.workers import keep_freed_memory
from minivit.data import ArrayDataset, Augment, Loader, load
from minivit.runs import presets, recipes
from minivit.runs.trainer import Trainer

PHOTO = 500, 375  # width and height, common in ImageNet
CROP = 0.05, 1.0  # shares of the area, as published for ViT


def photographs(folder: Path, count: int = 256, size: tuple[int, int] = PHOTO) -> None:
    """Write `count` JPEG files of smooth random colours with some noise, by default of the size of common photographs
    (about 50 kB), in four classes under `folder`/train."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        image = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
        image += rng.integers(-12, 13, image.shape, dtype=np.int16)
        path = folder / "train" / f"class{i % 4}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=85)


class Rate(NamedTuple):
    """Images per second, and per second of processor time: what one core does, whoever else uses the machine."""

    images: float
    per_core: float


def file_rates(
    size: tuple[int, int] = (224, 224), rounds: int = 5, batch: int = 32, steps: int = 8, photo: tuple[int, int] = PHOTO
) -> dict[tuple[str, int], Rate]:
    """The rates of reading JPEG files from a folder, from decoding to whole pipelines with crops of (height, width)
    `size`, by (what is done, number of threads): medians of interleaved rounds. photo: (width, height)."""
    keep_freed_memory()
    threads = sorted({1, available_cores()})
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), batch * steps, photo)
        data = load(f"folder:{folder}", split="train")
        part = f"crop {CROP[0]:g} to {CROP[1]:g} of the area, resize"
        # The network is never run.
        model = {"patch_size": size, "width": 8, "depth": 1, "heads": 1, "mlp_width": 8, "num_classes": 4}
        plain = {"randaugment": None, "mixup": 0.0, "resized_crop": CROP}
        pipelines = {
            f"{part}, flip, normalise": _recipe("imagefolder", size, model=model, **plain),
            "preset imagefolder": _recipe("imagefolder", size, model=model),
        }
        augment = Augment(size, resized_crop=CROP)
        cuts = augment.cuts(augment.draw((batch, *size, 3), np.random.default_rng(0)))
        reads: dict[str, Callable[[range], object]] = {
            "decode in full": data.fetch,
            "decode at half the size": lambda rows: data.fetch(rows, (min(photo) // 2, min(photo) // 2)),
            part: lambda rows: data.cut(rows, cuts or []),
        }
        works = {(name, 1): partial(_read, read, batch, steps) for name, read in reads.items()}
        for name, recipe in pipelines.items():
            loader = Trainer(dataclasses.replace(recipe, batch_size=batch, steps=steps), data, None, None).loader
            works |= {(name, n): partial(_exhaust, loader, n) for n in threads}
        found: dict[tuple[str, int], list[Rate]] = {key: [] for key in works}
        for _ in range(rounds):
            for key, work in works.items():
                found[key].append(_rate(work, batch * steps))
    return {key: Rate(*(statistics.median(x) for x in zip(*rates, strict=True))) for key, rates in found.items()}


def _read(read: Callable[[range], object], batch: int, steps: int) -> None:
    for step in range(steps):
        read(range(step * batch, (step + 1) * batch))


def _exhaust(loader: Loader, threads: int) -> None:
    loader.threads = threads
    for _ in loader:
        pass


def _rate(work: Callable[[], None], images: int) -> Rate:
    begin, used = time.perf_counter(), time.process_time()
    work()
    return Rate(images / (time.perf_counter() - begin), images / (time.process_time() - used))


def array_rate(preset: str, batches: int = 50) -> float:
    """Images per second of one thread that augments images in memory with a preset."""
    recipe = _recipe(preset)
    loader = Trainer(dataclasses.replace(recipe, steps=batches), _images(), None, None).loader
    begin = time.perf_counter()
    for i in range(batches):
        loader.batch(i)
    return recipe.batch_size * batches / (time.perf_counter() - begin)


def loop_cost(preset: str, rounds: int = 7, steps: int = 15, **changes: Any) -> tuple[float, float, float]:
    """The time of the training loop with its loader relative to bare steps on ready batches: median and quartiles of
    interleaved rounds."""
    keep_freed_memory()
    recipe = _recipe(preset, steps=rounds * (2 * steps + 9), eval_every=10**6, **changes)
    trainer = Trainer(recipe, _images(), None, None)
    loop = trainer.run()
    batches = [trainer.loader.batch(i) for i in range(steps)]
    ratios = []
    next(loop)
    for _ in range(rounds):
        for _ in range(trainer.loader.prefetch + 1):  # use up what was prepared in the pause
            next(loop)
        begin = time.perf_counter()
        for _ in range(steps):
            next(loop)
        with_loader = time.perf_counter() - begin
        time.sleep(0.2)  # until the loader, which works ahead, has nothing more to do
        begin = time.perf_counter()
        for batch in batches:
            trainer.update(batch)
        ratios.append(with_loader / (time.perf_counter() - begin))
    loop.close()
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return median, low, high


def _recipe(preset: str, image_size: int | tuple[int, int] = 32, **changes: Any) -> recipes.Recipe:
    """The recipe of a preset for images of this size and ten classes."""
    values = {**presets.preset(preset), **changes}
    model = {"image_size": image_size, "num_classes": 10, **values.get("model", {})}
    return recipes.from_mapping({**values, "model": model}, preset)


def _images(count: int = 10000) -> ArrayDataset:
    """Random pixels in the shape of CIFAR-10."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ArrayDataset(images, rng.integers(0, 10, count), [str(i) for i in range(10)], "random")
