"""`imagenet:PATH`: every layout in which ImageNet and its parts are found, as tiny trees of the true form."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit import data
from minivit.data.imagenet_files import is_divided

TENCH, GOLDFISH, SHARK = "n01440764", "n01443537", "n01484850"


def paint(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value,) * 3).save(path, "PNG")


def train_folders(folder, ids=(TENCH, GOLDFISH, SHARK), count=2):
    for number, wnid in enumerate(ids):
        for i in range(count):
            paint(folder / wnid / f"{wnid}_{i}.JPEG", 10 * number + i)


def flat(folder, count=3):
    """ILSVRC2012_val_00000001.JPEG, ..., with the values 101, ..."""
    for number in range(1, count + 1):
        paint(folder / f"ILSVRC2012_val_{number:08}.JPEG", 100 + number)


def solution(path, ids=(SHARK, TENCH, SHARK), end="\n", first="ImageId,PredictionString"):
    lines = [first, *(f"ILSVRC2012_val_{n:08},{wnid} 85 1 499 272 {wnid} 1 2 3 4 " for n, wnid in enumerate(ids, 1))]
    path.write_bytes((end.join(lines) + end).encode())


@pytest.fixture
def root(tmp_path):
    """train/ and val/ with class folders; val/ has one image of the first and of the last class."""
    train_folders(tmp_path / "in" / "train")
    paint(tmp_path / "in" / "val" / TENCH / "ILSVRC2012_val_00000293.JPEG", 101)
    paint(tmp_path / "in" / "val" / SHARK / "ILSVRC2012_val_00000002.JPEG", 102)
    return tmp_path / "in"


@pytest.fixture
def kaggle(tmp_path):
    """The unpacked Kaggle download."""
    folder = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC"
    train_folders(folder / "train")
    flat(folder / "val")
    paint(folder / "test" / "ILSVRC2012_test_00000001.JPEG")
    solution(tmp_path / "kaggle" / "LOC_val_solution.csv")
    (tmp_path / "kaggle" / "LOC_synset_mapping.txt").write_text(f"{TENCH} tench, Tinca tinca\n", encoding="utf-8")
    return tmp_path / "kaggle"


def load(path, split="train", **options):
    return data.load(f"imagenet:{path}", path.parent / "data", split, **options)


def seen(dataset):
    """(class, value) of all images, in order."""
    images, labels = dataset.fetch(range(len(dataset)))
    return [(dataset.classes[k], int(image.max())) for image, k in zip(images, labels, strict=True)]


TRAINED = [(TENCH, 0), (TENCH, 1), (GOLDFISH, 10), (GOLDFISH, 11), (SHARK, 20), (SHARK, 21)]


@pytest.mark.parametrize("name", ["val", "validation", "valid", "test", "Val"])
def test_folders_of_ids(root, name):
    (root / "val").rename(root / name)
    train, test = load(root), load(root, "test")
    assert (train.classes, train.name, train.split) == ([TENCH, GOLDFISH, SHARK], f"imagenet:{root}", "train")
    assert seen(train) == TRAINED
    assert seen(test) == [(TENCH, 101), (SHARK, 102)]
    assert test.classes == train.classes
    assert is_divided(root)


def test_the_folder_around_will_do(root, tmp_path):
    """As after unpacking imagenette2-320.tgz: PATH/imagenette2-320/train."""
    (tmp_path / "around" / "__MACOSX" / "in").mkdir(parents=True)
    (tmp_path / "around" / "noisy_imagenette.csv").touch()
    root.rename(tmp_path / "around" / "in")
    assert seen(load(tmp_path / "around")) == TRAINED
    assert len(load(tmp_path / "around", "test")) == 2


def test_unpacking_into_a_folder_of_the_same_name(root):
    for split in "train", "val":
        (root / split).rename(root.parent / "moved")
        (root / split).mkdir()
        (root.parent / "moved").rename(root / split / split)
        (root / split / "__MACOSX").mkdir()
        (root / split / split / "__MACOSX").mkdir()
    assert seen(load(root)) == TRAINED
    assert len(load(root, "test")) == 2


def test_folders_named_like_the_archives(root):
    (root / "train").rename(root / "ILSVRC2012_img_train")
    shutil.rmtree(root / "val")
    flat(root / "ILSVRC2012_img_val")
    solution(root / "LOC_val_solution.csv")
    assert seen(load(root)) == TRAINED
    assert len(load(root, "test")) == 3


@pytest.mark.parametrize("inner", ["", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC", ".."])
def test_the_kaggle_download(kaggle, inner, refused):
    path = Path(str(kaggle / inner)).resolve()
    train, test = load(path), load(path, "test")
    assert seen(train) == TRAINED
    assert seen(test) == [(SHARK, 101), (TENCH, 102), (SHARK, 103)]
    assert test.classes == train.classes == [TENCH, GOLDFISH, SHARK]
    with refused("has its own validation images"):
        load(path, "test", val_share=0.1)


def test_the_csv_of_windows_and_of_those_who_add_suffixes(kaggle):
    solution(kaggle / "LOC_val_solution.csv", end="\r\n")
    text = (kaggle / "LOC_val_solution.csv").read_bytes().replace(b"00000002,", b"00000002.JPEG,")
    (kaggle / "LOC_val_solution.csv").write_bytes(b"\xef\xbb\xbf" + text + b"\r\n")
    (kaggle / "ILSVRC/Data/CLS-LOC/val/._ILSVRC2012_val_00000001.JPEG").touch()
    assert seen(load(kaggle, "test")) == [(SHARK, 101), (TENCH, 102), (SHARK, 103)]


def test_a_broken_csv_is_one_line(kaggle, refused):
    table = kaggle / "LOC_val_solution.csv"
    table.write_text("ImageId,PredictionString\nILSVRC2012_val_00000001\n", encoding="utf-8")
    with refused(str(table), "not an image with its WordNet id"):
        load(kaggle, "test")
    table.write_text("<html>\n", encoding="utf-8")
    with refused(str(table), "its first line is <html>, expected ImageId,PredictionString"):
        load(kaggle, "test")
    table.unlink()
    with refused("their labels are missing", "LOC_val_solution.csv", "ILSVRC2012_devkit_t12.tar.gz"):
        load(kaggle, "test")


def test_the_official_tree_has_labels_in_xml(kaggle, refused, monkeypatch):
    """As ILSVRC2017_CLS-LOC.tar.gz, which has no CSV."""
    (kaggle / "LOC_val_solution.csv").unlink()
    boxes = kaggle / "ILSVRC/Annotations/CLS-LOC/val"
    boxes.mkdir(parents=True)
    for number, wnid in enumerate((SHARK, TENCH, SHARK), 1):
        text = "<annotation>\n<object>\n\t<name>{0}</name>\n</object>\n<object><name>{0}</name></object>\n</annotation>"
        (boxes / f"ILSVRC2012_val_{number:08}.xml").write_text(text.format(wnid), encoding="utf-8")
    (boxes / "._ILSVRC2012_val_00000001.xml").touch()
    expected = [(SHARK, 101), (TENCH, 102), (SHARK, 103)]
    assert seen(load(kaggle, "test")) == expected
    with monkeypatch.context() as reading:  # at the next start the files are not read again
        reading.setattr(Path, "read_text", None)
        assert seen(load(kaggle, "test")) == expected
    (boxes / "ILSVRC2012_val_00000004.xml").touch()
    with refused(str(boxes), '"ILSVRC2012_val_00000004," is not an image with its WordNet id'):
        load(kaggle, "test")
    shutil.rmtree(boxes)
    boxes.mkdir()
    with refused(str(boxes), "there are no .xml files in it"):
        load(kaggle, "test")


def test_missing_validation_images(kaggle, refused):
    val = kaggle / "ILSVRC/Data/CLS-LOC/val"
    (val / "ILSVRC2012_val_00000002.JPEG").unlink()
    with refused(str(val), "1 of the 3 images", "such as ILSVRC2012_val_00000002", "--bad-images skip"):
        load(kaggle, "test")
    dataset = load(kaggle, "test", bad_images="skip")
    assert (len(dataset), dataset.left_out) == (2, {"missing": 1})
    assert len(load(kaggle, "test", classes=[SHARK])) == 2
    flat(val, 4)
    assert load(kaggle, "test").left_out == {"without a label": 1}
    shutil.rmtree(val)
    paint(val / "other.JPEG")
    with refused("has no label of tench", "for any of the 1 images"):
        load(kaggle, "test")


def test_validation_classes_that_training_lacks(kaggle, root, refused):
    shutil.rmtree(kaggle / "ILSVRC/Data/CLS-LOC/train" / SHARK)
    with refused("LOC_val_solution.csv", f"great white shark ({SHARK}) is not in train/", "--classes"):
        load(kaggle, "test")
    assert len(load(kaggle, "test", classes=[TENCH])) == 1
    shutil.rmtree(root / "train" / TENCH)
    with refused(str(root / "val" / TENCH), f"tench ({TENCH}) is not in train/"):
        load(root, "test")


def test_imagenet_100_in_parts(tmp_path):
    """As the Kaggle download of ImageNet-100."""
    train_folders(tmp_path / "h" / "train.X1", [SHARK])
    train_folders(tmp_path / "h" / "train.X2", [TENCH])
    paint(tmp_path / "h" / "train.X2" / SHARK / "more.JPEG", 50)
    paint(tmp_path / "h" / "val.X" / TENCH / "ILSVRC2012_val_00000001.JPEG", 101)
    (tmp_path / "h" / "Labels.json").write_text(f'{{"{TENCH}": "tench"}}', encoding="utf-8")
    train = load(tmp_path / "h")
    assert seen(train) == [(TENCH, 0), (TENCH, 1), (SHARK, 0), (SHARK, 1), (SHARK, 50)]
    assert train.paths[4].endswith("more.JPEG")
    assert seen(load(tmp_path / "h", "test")) == [(TENCH, 101)]


def test_tiny_imagenet(tmp_path):
    for wnid in TENCH, SHARK:
        paint(tmp_path / "tiny" / "train" / wnid / "images" / f"{wnid}_0.JPEG", 7)
        (tmp_path / "tiny" / "train" / wnid / f"{wnid}_boxes.txt").touch()
    paint(tmp_path / "tiny" / "val" / "images" / "val_0.JPEG", 101)
    paint(tmp_path / "tiny" / "test" / "images" / "test_0.JPEG", 9)
    (tmp_path / "tiny" / "val" / "val_annotations.txt").write_text(f"val_0.JPEG\t{SHARK}\t0\t32\t44\t62\n", "utf-8")
    assert seen(load(tmp_path / "tiny")) == [(TENCH, 7), (SHARK, 7)]
    assert seen(load(tmp_path / "tiny", "test")) == [(SHARK, 101)]


def test_class_folders_alone_need_a_share(tmp_path, refused):
    train_folders(tmp_path / "bare", count=10)
    with refused("there is no val/ in it", "--val-share 0.05"):
        load(tmp_path / "bare")
    sides = [load(tmp_path / "bare", split, val_share=0.2) for split in ("train", "test")]
    assert [(len(side), side.split) for side in sides] == [(24, "train"), (6, "val")]
    assert not {*sides[0].paths} & {*sides[1].paths}
    assert not is_divided(tmp_path / "bare")


def test_training_images_alone_need_a_share(root, refused):
    shutil.rmtree(root / "val")
    assert len(load(root)) == 6
    with refused(str(root), "there is no val/ in it", "--val-share 0.05"):
        load(root, "test")
    paint(root / "test" / "ILSVRC2012_test_00000001.JPEG")
    with refused("there is no val/ with labels, and the images in test/ have none", "--val-share"):
        load(root, "test")
    assert len(load(root, "test", val_share=0.5)) == 3


def test_validation_images_alone(root, kaggle, refused):
    shutil.rmtree(root / "train")
    assert seen(load(root, "test")) == [(TENCH, 101), (SHARK, 102)]
    with refused(str(root), "there is no train/ in it"):
        load(root)
    shutil.rmtree(kaggle / "ILSVRC/Data/CLS-LOC/train")
    assert load(kaggle, "test").classes == [TENCH, SHARK]


def test_a_path_too_deep_or_too_high_is_told(root, kaggle, refused):
    with refused("this is a part of a data set", f"imagenet:{root}"):
        load(root / "train")
    with refused("this is a part of a data set", f"imagenet:{root}"):
        load(root / "val", "test")
    with refused("this is the folder of one class", f"imagenet:{root}"):
        load(root / "train" / TENCH)
    with refused("this is a part of a data set", f"imagenet:{kaggle / 'ILSVRC/Data/CLS-LOC'}"):
        load(kaggle / "ILSVRC/Data/CLS-LOC/val", "test")
    with refused("holds several data sets: in, kaggle", f"imagenet:{root}"):
        load(root.parent)


def test_what_is_packed_is_to_be_unpacked(tmp_path, refused):
    (tmp_path / "here").mkdir()
    with refused("neither train/ and val/", "folder:PATH"):
        load(tmp_path / "here")
    with refused("there is no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "here" / "imagenette2.tgz").touch()
    with refused("unpack imagenette2.tgz"):
        load(tmp_path / "here")
    with refused("imagenette2: there is no such folder; unpack imagenette2.tgz"):
        load(tmp_path / "here" / "imagenette2")
    with refused("is a file: unpack it"):
        load(tmp_path / "here" / "imagenette2.tgz")
    (tmp_path / "notes.txt").touch()
    with refused("notes.txt is a file: give a folder"):
        load(tmp_path / "notes.txt")
    (tmp_path / "ILSVRC2012_img_val.tar").touch()
    with refused(f"give the folder that holds the archives, imagenet:{tmp_path}"):
        load(tmp_path / "ILSVRC2012_img_val.tar")
    with refused('get it from https://github.com/fastai/imagenette, unpack it, and use "imagenet:PATH"'):
        data.load("imagenette2-160")


def test_a_single_class_with_another_name(tmp_path, refused):
    paint(tmp_path / "in" / "train" / "cat" / "1.jpg")
    paint(tmp_path / "in" / "val" / "cat" / "1.jpg")
    with refused(str(tmp_path / "in" / "train" / "cat"), "the name is not a WordNet id", "folder:PATH"):
        load(tmp_path / "in")


def test_an_empty_folder_of_validation_images(root, refused):
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    with refused(str(root / "val"), "there are no images in it"):
        load(root, "test")


def test_half_prepared_folders(root, refused):
    paint(root / "train" / "cats" / "1.JPEG")
    with refused(str(root / "train" / "cats"), "not a WordNet id"):
        load(root)
    shutil.rmtree(root / "train" / "cats")
    flat(root / "val", 2)
    with refused(str(root / "val"), "2 images stand beside the class folders"):
        load(root, "test")
    (root / "train" / TENCH / "sub").mkdir()
    shutil.rmtree(root / "train" / SHARK)
    (root / "train" / SHARK).mkdir()
    with refused(str(root / "train" / SHARK), "there are no images in it"):
        load(root)
    assert len(load(root, classes=[TENCH])) == 2  # the others do not matter


def test_some_classes_of_many(root, refused):
    train, test = (load(root, split, classes=["great white shark", "0"]) for split in ("train", "test"))
    assert train.classes == test.classes == [TENCH, SHARK]
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 1, 1], [0, 1])
    with refused(f'there is no class "n01440765"; did you mean "{TENCH}"'):
        load(root, classes=["n01440765"])
    with refused("val has no images of goldfish"):
        load(root, "test", classes=[GOLDFISH])


def test_images_stay_where_they_are(root, monkeypatch, tmp_path):
    monkeypatch.chdir(root.parent)
    dataset = data.load("imagenet:in", split="test")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert dataset.name == "imagenet:in"
    assert np.max(dataset.fetch([0])[0]) == 101
