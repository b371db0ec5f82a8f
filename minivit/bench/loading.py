"""Images per second of decoding and augmentation, and their cost to the training loop: does the data keep up?"""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minivit.backend.cores import available_cores
from minivit.backend.workers import keep_freed_memory
from minivit.data import ArrayDataset, Loader, load
from minivit.runs import presets, recipes
from minivit.runs.trainer import Trainer


def photographs(folder: Path, count: int = 256, size: tuple[int, int] = (500, 375)) -> None:
    """Write `count` JPEG files of smooth random colours with some noise, of the size of common photographs (about 60
    kB), in four classes under `folder`/train."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        image = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
        image += rng.integers(-12, 13, image.shape, dtype=np.int16)
        path = folder / "train" / f"class{i % 4}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=85)


def jpeg_rates(rounds: int = 3, batch: int = 32, steps: int = 8) -> dict[int, float]:
    """Images per second from a folder of JPEG files at 224 pixels, with random resized crops and flips, by the number
    of loader threads: 1, and one per core; medians of interleaved rounds."""
    augment = dataclasses.replace(_recipe("imagefolder", image_size=224), randaugment=None, mixup=0.0).augment
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder))
        data = load(f"folder:{folder}", split="train")
        rates: dict[int, list[float]] = {1: [], available_cores(): []}
        for _ in range(rounds):
            for threads, found in rates.items():
                begin = time.perf_counter()
                for _batch in Loader(data, batch, augment, total_steps=steps, threads=threads):
                    pass
                found.append(batch * steps / (time.perf_counter() - begin))
    return {threads: statistics.median(found) for threads, found in rates.items()}


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
    recipe = _recipe(preset, steps=rounds * (steps + 9), eval_every=10**6, **changes)
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


def _recipe(preset: str, image_size: int = 32, **changes: Any) -> recipes.Recipe:
    """The recipe of a preset for images of this size and ten classes."""
    values = {**presets.preset(preset), **changes}
    model = {"image_size": image_size, "num_classes": 10, **values.get("model", {})}
    return recipes.from_mapping({**values, "model": model}, preset)


def _images(count: int = 10000) -> ArrayDataset:
    """Random pixels in the shape of CIFAR-10."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ArrayDataset(images, rng.integers(0, 10, count), [str(i) for i in range(10)], "random")
