"""Measures how soon a large data set is ready and how much memory that takes: `python docs/measure_data.py`.

It makes a tree of tiny JPEGs in class folders, as hard links to a few files, in a temporary folder, and opens it in
fresh processes: without an index, which builds it, and then with it. `--kind shards` makes 20 WebDataset shards
instead, `--kind archive` a tar of tars like that of ILSVRC2012. `--images 1300000 --classes 1000` is the size of
ImageNet. The time includes the start of Python and of minivit; memory is the largest of the process.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

LINKS = 10_000  # to one file; some file systems allow no more than 65,000

OPEN = """
import resource, sys
from minivit.data import load
name, root, split, again = sys.argv[1:]
data = load(name, root, split)
for _ in range(int(again)):
    data.order(__import__("numpy").random.default_rng(0))
    data.limit(len(data) // 2), repr(data), data.fetch(range(0, len(data), len(data) // 10 + 1))
try:  # ru_maxrss also counts the process from which this one was forked
    peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 2**10
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(len(data), peak)
"""


def make_tree(folder: Path, images: int, classes: int) -> None:
    """Write folder/train/n00000001/n00000001_0.JPEG, ... and one image of each class in folder/val."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("val", classes)):
        source = folder / "originals"
        source.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            wnid = f"n{number % classes + 1:08}"
            place = folder / split / wnid / f"{wnid}_{number}.JPEG"
            if number < classes:
                place.parent.mkdir(parents=True)
            if number % LINKS == 0:
                original = source / f"{split}{number}.jpg"
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(original)
            place.hardlink_to(original)


def write_shards(folder: Path, images: int, classes: int, shards: int = 20) -> None:
    """Write folder/train-000000.tar, ..., together with `images` examples of a tiny JPEG, .cls and .json."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file, "jpeg")
    for shard in range(shards):
        with tarfile.open(folder / f"train-{shard:06}.tar", "w") as archive:
            for number in range(shard * images // shards, (shard + 1) * images // shards):
                label = int(rng.integers(classes))
                record = json.dumps({"label": label, "filename": f"{number}.JPEG", "height": 8, "width": 8})
                contents = {"jpg": file.getvalue(), "cls": str(label).encode(), "json": record.encode()}
                for suffix, content in contents.items():
                    info = tarfile.TarInfo(f"{number:08}.{suffix}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


def write_nested(path: Path, images: int, classes: int) -> None:
    """Write an archive as ILSVRC2012_img_train.tar: a tar of a tar for each class."""
    path.parent.mkdir(parents=True)
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "jpeg")
    with tarfile.open(path, "w") as outer:
        for label in range(classes):
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode="w") as inner:
                for number in range(label * images // classes, (label + 1) * images // classes):
                    info = tarfile.TarInfo(f"n{label + 1:08}_{number}.JPEG")
                    info.size = len(file.getvalue())
                    inner.addfile(info, io.BytesIO(file.getvalue()))
            info = tarfile.TarInfo(f"n{label + 1:08}.tar")
            info.size = content.tell()
            content.seek(0)
            outer.addfile(info, content)


def opened(name: str, cache: Path, split: str = "train", again: int = 0) -> tuple[float, int, float]:
    """Seconds until a fresh process has opened a data set, the number of images, and its largest memory in MB."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", OPEN, name, str(cache), split, str(again)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    count, peak = done.stdout.split()
    return time.perf_counter() - begin, int(count), float(peak)


def report(what: str, name: str, cache: Path) -> None:
    """Print a line for the first start, a second one, and one that also shuffles, limits and reads some images."""
    for how, again in (("from nothing", 0), ("from the index", 0), ("and used", 1)):
        seconds, count, peak = opened(name, cache, again=again)
        print(f"{what}, {count:,} images, {how}: {seconds:.1f} s, {peak:.0f} MB", flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=100_000, metavar="N", help="of the tree (default: 100,000)")
    p.add_argument("--classes", type=int, default=100, metavar="N", help="of the tree (default: 100)")
    p.add_argument("--kind", default="folder", help="folder, imagenet, shards or archive (default: folder)")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if args.kind == "shards":
            write_shards(folder / "shards", args.images, args.classes)
            return report("shards", f"shards:{folder / 'shards'}", folder / "cache")
        if args.kind == "archive":
            write_nested(folder / "tars" / "ILSVRC2012_img_train.tar", args.images, args.classes)
            return report("archive", f"imagenet:{folder / 'tars'}", folder / "cache")
        make_tree(folder / "tree", args.images, args.classes)
        time.sleep(4)  # a folder that has just changed is not taken from the index
        report("tree", f"{args.kind}:{folder / 'tree'}", folder / "cache")


if __name__ == "__main__":
    main()
