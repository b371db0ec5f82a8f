"""The archives of ILSVRC2012 as they are downloaded: tars within a tar, labels from the development kit."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from archives import jpeg, tar_of, write_tar
from matlab_files import matlab_file, synsets

from minivit import data
from minivit.data.devkit import GROUND_TRUTH, KIT, META, has_kit, validation_ids
from minivit.data.imagenet import imagenet_ids
from minivit.data.imagenet_archives import TRAIN, VAL, load_archives
from minivit.data.window import WINDOW

TENCH, GOLDFISH, FOX = "n01440764", "n01443537", "n02119789"
IDS = [(1, FOX), (2, TENCH), (3, GOLDFISH)]  # not the order of the WordNet ids, as in the real meta.mat
TRUTH = [3, 1, 2, 3]


def training() -> list[tuple[str, bytes]]:
    """The tars of three classes, not sorted, with images of the greys 10, 11, ..., 20, ..., 30, ..."""
    greys = {GOLDFISH: 10, TENCH: 20, FOX: 30}
    return [
        (f"{name}.tar", tar_of([(f"{name}_{i}.JPEG", jpeg(grey + i)) for i in range(3)], tarfile.GNU_FORMAT))
        for name, grey in greys.items()
    ]


def kit(truth=TRUTH, ids=IDS) -> dict[str, bytes]:
    return {GROUND_TRUTH: "".join(f"{number}\n" for number in truth).encode(), META: synsets(ids)}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "imagenet"
    write_tar(folder / TRAIN, training())
    images = [(f"ILSVRC2012_val_{k:08}.JPEG", jpeg(100 + k)) for k in (2, 1, 4, 3)]
    write_tar(folder / VAL, images)
    archive = [(f"{KIT}/data/{name}", content) for name, content in kit().items()]
    with tarfile.open(folder / f"{KIT}.tar.gz", "w:gz") as file:
        for name, content in [(f"{KIT}/readme.txt", b"..."), *archive]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return folder


def load(root, split="train", bad_images="refuse"):
    return load_archives(root, split, bad_images, None, root.parent / "index")


def seen(dataset) -> list[tuple[int, str]]:
    """Grey and class of every image."""
    images, labels = dataset.fetch(range(len(dataset)))
    greys = [int(image[0, 0, 0]) for image in images]
    return [(grey, dataset.classes[label]) for grey, label in zip(greys, labels, strict=True)]


IN_TRAINING = [(10 * k + 10 + i, name) for k, name in enumerate((GOLDFISH, TENCH, FOX)) for i in range(3)]
IN_VALIDATION = [(102, FOX), (101, GOLDFISH), (104, GOLDFISH), (103, TENCH)]


def test_training_images_within_tars_within_a_tar(root):
    for _ in range(2):  # from nothing, and from the index
        found = load(root)
        assert seen(found) == IN_TRAINING
    assert (found.classes, found.split) == ([TENCH, GOLDFISH, FOX], "train")
    assert found.place(4) == f"{root / TRAIN}/{TENCH}.tar/{TENCH}_1.JPEG"


def test_validation_images_get_the_labels_of_their_own_numbers(root):
    found = load(root, "test")
    assert seen(found) == IN_VALIDATION
    assert (found.classes, found.split) == ([TENCH, GOLDFISH, FOX], "val")
    assert found.place(0) == f"{root / VAL}/ILSVRC2012_val_00000002.JPEG"


def test_by_its_name_with_a_choice_of_classes(root):
    found = data.load(f"imagenet:{root}", root.parent, "test", classes=[GOLDFISH, "tench"])
    assert found.classes == [TENCH, GOLDFISH]
    assert seen(found) == [each for each in IN_VALIDATION if each[1] != FOX]
    assert seen(data.load(f"imagenet:{root}", root.parent, classes=[FOX])) == IN_TRAINING[-3:]


def test_a_share_is_held_out_as_of_unpacked_folders(root, tmp_path):
    (root / VAL).unlink()
    train, test = (data.load(f"imagenet:{root}", tmp_path, split, val_share=0.3, seed=5) for split in ("train", "test"))
    assert sorted(seen(train) + seen(test)) == IN_TRAINING
    assert np.bincount(test.labels).tolist() == [1, 1, 1]
    for name, content in training():
        folder = tmp_path / "folders" / name.removesuffix(".tar")
        folder.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                (folder / member.name).write_bytes(archive.extractfile(member).read())
    folders = data.load(f"folder:{tmp_path / 'folders'}", tmp_path, "test", val_share=0.3, seed=5)
    assert sorted(Path(path).name for path in folders.paths) == sorted(test.file_name(i) for i in range(3))
    chosen = data.load(f"imagenet:{root}", tmp_path, "test", val_share=0.3, seed=5, classes=[FOX])
    assert seen(chosen) == [each for each in seen(test) if each[1] == FOX]


def test_validation_alone_has_all_classes(root):
    (root / TRAIN).unlink()
    found = load(root, "test")
    assert found.classes == imagenet_ids()
    assert seen(found) == IN_VALIDATION


def test_the_tars_of_the_classes_unpacked_once(root):
    (root / TRAIN).unlink()
    for folder in (root / "ILSVRC2012_img_train", root / "train", root):
        for name, content in training():
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        found = load(root)
        assert sorted(seen(found)) == IN_TRAINING
        assert found.place(4) == f"{folder / GOLDFISH}.tar/{GOLDFISH}_1.JPEG"
        del found  # Windows removes nothing that is open
        for name, _ in training():
            (folder / name).unlink()


@pytest.mark.parametrize("place", ["", "data", KIT, f"{KIT}/data", f"{KIT}/{KIT}/data", "devkit/data"])
def test_the_kit_unpacked(root, place):
    (root / f"{KIT}.tar.gz").unlink()
    assert not has_kit(root)
    (root / place).mkdir(parents=True, exist_ok=True)
    for name, content in kit().items():
        (root / place / name).write_bytes(content.replace(b"\n", b"\r\n") if name == GROUND_TRUTH else content)
    assert has_kit(root)
    assert validation_ids(root) == [GOLDFISH, FOX, TENCH, GOLDFISH]


def test_the_kit_as_a_plain_tar(root):
    (root / f"{KIT}.tar.gz").unlink()  # some browsers unpack the .gz
    write_tar(root / f"{KIT}.tar", [(f"{KIT}/data/{name}", content) for name, content in kit().items()])
    assert validation_ids(root) == [GOLDFISH, FOX, TENCH, GOLDFISH]


def test_what_is_missing_is_said(root, refused):
    shutil.copytree(root, root.parent / "copy")
    (root / f"{KIT}.tar.gz").unlink()
    with refused(f"{root}: there is no {GROUND_TRUTH} in it", f"put {KIT}.tar.gz there"):
        load(root, "test")
    (root / GROUND_TRUTH).write_bytes(kit()[GROUND_TRUTH])
    with refused(f"{root}: there is no {META} in it"):
        load(root, "test")
    (root / VAL).unlink()
    with refused(f"{root}: there is no {VAL} in it"):
        load(root, "test")
    root = root.parent / "copy"
    (root / TRAIN).unlink()
    with refused(f"{root}: there is no {TRAIN} in it, only {VAL}"):
        load(root)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({GROUND_TRUTH: b"3\n1\n1002\n"}, 'line 3 is "1002", no class of meta.mat'),
        ({GROUND_TRUTH: b"3\nx\n"}, 'line 2 is "x"'),
        ({GROUND_TRUTH: b"3\n"}, "it has an image 4, but the ground truth has only 1 labels"),
        ({META: b"PK\x03\x04"}, "it is not a MATLAB file"),
        ({META: synsets(IDS)[:300]}, "it is damaged"),
        ({META: matlab_file({"synsets": ({"x": 1},)})}, "it has no synsets with ILSVRC2012_ID and WNID"),
        ({META: matlab_file({"x": np.ones(2)})}, "it has no synsets"),
    ],
)
def test_a_wrong_kit_is_named(root, files, reason, refused):
    for name, content in {**kit(), **files}.items():
        (root / name).write_bytes(content)
    with refused(reason):
        load(root, "test")


def test_a_damaged_kit_is_named(root, refused):
    archive = root / f"{KIT}.tar.gz"
    archive.write_bytes(archive.read_bytes()[:150])
    with refused(f"{archive}: it is damaged"):
        load(root, "test")
    write_tar(root / "x.tar", [("readme.txt", b"")]).rename(archive)
    with refused(f"{archive}: there is no {GROUND_TRUTH} in it"):
        load(root, "test")


def test_half_a_download(root, refused):
    whole = (root / TRAIN).read_bytes()
    (root / TRAIN).write_bytes(whole[: len(whole) // 2])
    with refused(f"{root / TRAIN}: the archive ends within {TENCH}.tar; get it again, or use the 3 images before that"):
        load(root)
    found = load(root, bad_images="skip")
    assert seen(found) == IN_TRAINING[:3]
    assert found.left_out == {f"damaged {TRAIN}": 1}


def test_a_damaged_class_within_the_archive(root, refused):
    members = training()
    members[0] = (members[0][0], members[0][1][:2000] + b"?" * 9000)
    write_tar(root / TRAIN, members)
    with refused(f"{root / TRAIN}: the archive has a part {GOLDFISH}.tar that is damaged at byte"):
        load(root)
    assert seen(load(root, bad_images="skip"))[-6:] == IN_TRAINING[3:]


def test_other_files_are_counted(root):
    extra = [("readme.txt", b""), ("._x.tar", b"x"), ("ILSVRC2012_val_x.JPEG", jpeg())]
    write_tar(root / TRAIN, [*training(), *extra[:2]])
    assert load(root).left_out == {".txt": 1, "hidden": 1}
    images = [(f"val/ILSVRC2012_val_{k:08}.JPEG", jpeg(100 + k)) for k in (0, 1)]
    write_tar(root / VAL, [*images, *extra])
    found = load(root, "test")
    assert (seen(found), found.left_out) == ([(101, GOLDFISH)], {".jpeg": 2, ".txt": 1, "hidden": 1})
    write_tar(root / VAL, [("readme.txt", b"")])
    with pytest.raises(Exception, match=r"img_val\.tar: there are no images"):
        load(root, "test")


def test_images_of_classes_without_training_images(root):
    write_tar(root / TRAIN, training()[:2])
    found = load(root, "test")
    assert seen(found) == [each for each in IN_VALIDATION if each[1] != FOX]
    assert found.left_out == {"of classes without training images": 1}


def test_an_epoch_mixes_the_classes_of_the_sorted_archive(root):
    """An archive of 40 classes of 1,000 images, one after the other: a batch has nearly all of them."""
    found = load(root)
    count, rows = 40_000, np.zeros(40_000, np.int64)
    assert count > WINDOW
    large = found.subset(rows)
    large.labels = np.repeat(np.arange(40), 1000)
    order = large.order(np.random.default_rng(0))
    assert sorted(order) == list(range(count))
    batches = large.labels[order][: count // 200 * 200].reshape(-1, 200)
    assert min(len(np.unique(batch)) for batch in batches) > 25
    assert np.mean([len(np.unique(batch)) for batch in batches]) > 37


def test_paths_are_checked_as_they_are_given(root):
    assert Path(load(root).places.archives[0]) == root / TRAIN
