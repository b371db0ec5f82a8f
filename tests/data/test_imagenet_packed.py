"""`imagenet:PATH` where archives and the development kit lie, alone or beside folders."""

import pytest
from archives import jpeg, tar_of, write_tar
from matlab_files import synsets

from minivit import data
from minivit.data.imagenet_files import is_divided

TENCH, GOLDFISH, SHARK = "n01440764", "n01443537", "n01484850"


def pack_train(root, ids=(TENCH, SHARK)):
    """The archive of the training images: two of each class, of the greys 10, 11, 20, 21."""
    classes = [
        (f"{wnid}.tar", tar_of((f"{wnid}_{i}.JPEG", jpeg(10 * number + i)) for i in range(2)))
        for number, wnid in enumerate(ids, 1)
    ]
    write_tar(root / "ILSVRC2012_img_train.tar", classes)


def val_images():
    return [(f"ILSVRC2012_val_{number:08}.JPEG", jpeg(100 + number)) for number in (1, 2)]


def kit(root):
    """Image 1 is a shark, image 2 a tench; the numbers of the classes are not in the order of their ids."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "meta.mat").write_bytes(synsets([(1, SHARK), (2, TENCH)]))
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n", encoding="ascii")


def unpacked(folder, files):
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def train_folders(root, ids=(TENCH, SHARK)):
    unpacked(root / "train", [(f"{wnid}/{wnid}_0.JPEG", jpeg(10 * n)) for n, wnid in enumerate(ids, 1)])


def seen(root, split, **options):
    """(class, grey) of all images, in order."""
    dataset = data.load(f"imagenet:{root}", root.parent / "data", split, **options)
    images, labels = dataset.fetch(range(len(dataset)))
    return [(dataset.classes[k], int(image.max())) for image, k in zip(images, labels, strict=True)]


TRAINED, TESTED = [(TENCH, 10), (TENCH, 11), (SHARK, 20), (SHARK, 21)], [(SHARK, 101), (TENCH, 102)]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "in"


def test_the_archives(root):
    pack_train(root)
    write_tar(root / "ILSVRC2012_img_val.tar", val_images())
    kit(root)
    assert seen(root, "train") == TRAINED
    assert seen(root, "test") == TESTED
    assert seen(root, "train", classes=["2"]) == TRAINED[2:]
    assert seen(root, "test", classes=["tench"]) == TESTED[1:]
    assert seen(root.parent, "test") == TESTED
    assert is_divided(root)


def test_a_flat_val_is_labelled_by_the_kit(root):
    train_folders(root)
    unpacked(root / "val", val_images())
    kit(root / "ILSVRC2012_devkit_t12" / "data")
    assert seen(root, "test") == TESTED


def test_folders_for_training_and_an_archive_for_validation(root, refused):
    train_folders(root)
    write_tar(root / "ILSVRC2012_img_val.tar", val_images())
    kit(root)
    assert seen(root, "train") == [(TENCH, 10), (SHARK, 20)]
    assert seen(root, "test", classes=[SHARK, TENCH]) == TESTED
    with refused("ILSVRC2012_img_val.tar: goldfish (n01443537) is not in train/"):
        seen(root, "test")  # of its 1,000 classes train/ has two


def test_an_archive_for_training_and_folders_for_validation(root, refused):
    pack_train(root)
    unpacked(root / "val", [(f"{SHARK}/ILSVRC2012_val_00000001.JPEG", jpeg(101))])
    assert seen(root, "train") == TRAINED
    assert seen(root, "test") == TESTED[:1]
    unpacked(root / "val", [(f"{GOLDFISH}/ILSVRC2012_val_00000009.JPEG", jpeg(109))])
    with refused("goldfish (n01443537) is not in the training archive"):
        seen(root, "test")


def test_what_archives_lack_is_said(root, refused):
    pack_train(root)
    with refused("there is no val/ in it"):
        seen(root, "test")
    (root / "ILSVRC2012_img_train.tar").unlink()
    write_tar(root / "ILSVRC2012_img_val.tar", val_images())
    with refused("there is no train/ in it"):
        seen(root, "train")
    with refused("put ILSVRC2012_devkit_t12.tar.gz there"):
        seen(root, "test")
