"""Images in Parquet files, as Hugging Face stores them."""

import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from parquet_sets import IMAGE, png, write  # noqa: E402

from minivit import data  # noqa: E402
from minivit.data import Augment, Loader, parquet, parquet_groups, parquet_parts  # noqa: E402
from minivit.data.asked import Asked  # noqa: E402
from minivit.data.imagenet import imagenet_ids  # noqa: E402
from minivit.data.images import Cut  # noqa: E402

LABELS = [0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 1, 2]


def load_parquet(path, split, *rest, **named):
    return parquet.load_parquet(path, Asked(split, *rest, **named))


@pytest.fixture
def folder(tmp_path):
    """Two training files with 12 images each in row groups of 5, and a validation file."""
    for k in range(2):
        write(tmp_path / "data" / f"train-{k:05}-of-00002-a09b.parquet", LABELS)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", LABELS[:4])
    return tmp_path


def test_labels_classes_and_images_are_those_of_the_files(folder):
    train, test = (data.load(f"parquet:{folder}", split=split) for split in ("train", "test"))
    assert (train.labels.tolist(), test.labels.tolist()) == (LABELS * 2, LABELS[:4])
    assert train.classes == test.classes == ["cat", "dog", "eel"]
    assert (train.split, test.split, train.left_out) == ("train", "validation", {})
    images, labels = train.fetch([17, 3, 23, 3])
    assert [image[0, 0, 0] for image in images] == [5, 3, 11, 3]  # shades, counted from each file's beginning
    assert images[0].shape == (4, 6, 3)
    assert labels.tolist() == [LABELS[k % 12] for k in (17, 3, 23, 3)]
    assert train.place(17) == f"{folder / 'data' / 'train-00001-of-00002-a09b.parquet'} row 5"
    assert (train.file_name(17), test.file_name(1)) == ("5.png", "1.png")
    assert train[6][0][0, 0, 0] == 6


def test_a_part_is_a_part(folder):
    train = data.load(f"parquet:{folder}").subset([20, 4, 13])
    assert [image[0, 0, 0] for image in train.fetch([0, 1, 2])[0]] == [8, 4, 1]
    assert train.place(0).endswith("train-00001-of-00002-a09b.parquet row 8")
    assert train.file_name(2) == "1.png"
    assert (train.split, train.classes) == ("train", ["cat", "dog", "eel"])
    limited = data.load(f"parquet:{folder}").limit(6)
    assert Counter(limited.labels.tolist()) == {0: 2, 1: 2, 2: 2}


def encoded(kind):
    return pa.array([png(k) for k in range(12)], kind)


@pytest.mark.parametrize(
    "columns",
    [
        {"image": "img"},
        {"image": "jpg", "label": "cls", "others": {"__key__": ["k"] * 12}},
        {"label": "fine_label", "others": {"coarse_label": [0] * 12}},
        {"label": "breed"},  # no usual name, but said to be a ClassLabel
        {"image": "photo", "images": encoded(pa.binary()), "stated": False, "others": {"id": list(range(12))}},
        {"images": encoded(pa.large_binary())},
        {"labels": pa.array(LABELS, pa.uint8())},
        {"labels": pa.array([float(k) for k in LABELS])},
        {"labels": pa.array(LABELS, pa.int32()), "group": 100},
        {"image": "slide", "others": {"boxes": [[1, 2]] * 12, "mask": encoded(pa.binary())}},
    ],
)
def test_columns_have_other_names_and_types(columns, tmp_path):
    options = {"labels": LABELS, **columns}
    write(tmp_path / "train.parquet", **options)
    dataset = load_parquet(tmp_path, "train")
    assert dataset.labels.tolist() == LABELS
    images, _ = dataset.fetch(range(12))
    assert [image[0, 0, 0] for image in images] == list(range(12))
    assert dataset.classes == (["0", "1", "2"] if columns.get("stated") is False else ["cat", "dog", "eel"])


def test_labels_that_are_texts_are_classes_of_the_training_images(tmp_path, refused):
    for texts in (["eel", "cat", "eel", "dog"], pa.array(["eel", "cat", "eel", "dog"]).dictionary_encode()):
        write(tmp_path / "train.parquet", texts, names=None)
        write(tmp_path / "test.parquet", ["eel", "dog"], names=None)
        train, test = (load_parquet(tmp_path, split) for split in ("train", "test"))
        assert train.classes == test.classes == ["cat", "dog", "eel"]
        assert (train.labels.tolist(), test.labels.tolist()) == ([2, 0, 2, 1], [2, 1])
    write(tmp_path / "test.parquet", ["eel", "ox"], names=None)
    with refused('test.parquet: it has the class "ox", which is not among the training images'):
        load_parquet(tmp_path, "test")


def test_without_names_a_thousand_classes_have_the_ids_of_imagenet(tmp_path, refused):
    write(tmp_path / "train.parquet", [999, 0], names=None)
    write(tmp_path / "test.parquet", [3, 2], names=None)
    assert load_parquet(tmp_path, "test").classes == imagenet_ids()
    write(tmp_path / "train.parquet", [6, 0], names=None)
    assert load_parquet(tmp_path, "test").classes == list("0123456")
    write(tmp_path / "test.parquet", [3, 7], names=None)
    with refused("test.parquet: record 1", "has label 7, expected 0 to 6"):
        load_parquet(tmp_path, "test")
    write(tmp_path / "train.parquet", [2**40, 0], names=None)
    with refused("its labels are as large as 1099511627776"):
        load_parquet(tmp_path, "train")


def test_the_classes_of_both_splits_are_the_same(tmp_path, refused):
    write(tmp_path / "train.parquet", [0, 1, 2])
    write(tmp_path / "test.parquet", [0, 1], names=None)
    assert load_parquet(tmp_path, "test").classes == ["cat", "dog", "eel"]
    for labels, names in (([0, 1], ["dog", "cat", "eel"]), (["cat", "dog"], None)):
        write(tmp_path / "test.parquet", labels, names=names)
        with refused(f"{tmp_path / 'test.parquet'}: its classes differ from those of {tmp_path / 'train.parquet'}"):
            load_parquet(tmp_path, "test")


def test_rows_without_a_label_are_left_out(tmp_path, refused):
    write(tmp_path / "train.parquet", pa.array([0, None, 2, -1, 1]))
    dataset = load_parquet(tmp_path, "train")
    assert dataset.labels.tolist() == [0, 2, 1]
    assert dataset.left_out == {"rows without a label": 2}
    assert [image[0, 0, 0] for image in dataset.fetch([0, 1, 2])[0]] == [0, 2, 4]
    write(tmp_path / "test.parquet", [-1, -1])
    with refused("test.parquet: no row has a label", "may be secret"):
        load_parquet(tmp_path, "test")
    write(tmp_path / "test.parquet", [-2, 0])
    with refused("has label -2, expected 0 to 2"):
        load_parquet(tmp_path, "test")


def test_an_epoch_reads_each_row_group_about_once(tmp_path):
    for k in range(4):
        write(tmp_path / f"train-{k}.parquet", LABELS * 20, images=pa.array([png(9)] * 240), stated=False, group=20)
    dataset = load_parquet(tmp_path, "train")
    groups = dataset.groups
    whole = np.random.default_rng(1).permutation(len(dataset))
    assert np.array_equal(dataset.order(np.random.default_rng(1)), whole)  # all of it fits into memory
    groups.memory = int(groups.size.sum() // 6)  # of 8 row groups of 48
    order = dataset.order(np.random.default_rng(1))
    assert sorted(order) == list(range(960))
    assert np.array_equal(order, dataset.order(np.random.default_rng(1)))
    assert not np.array_equal(order, dataset.order(np.random.default_rng(2)))
    batches = groups.of(dataset.rows)[order].reshape(30, 32)
    assert min(len(set(batch)) for batch in batches) >= 4  # a batch has images of several row groups
    loader = Loader(dataset, 32, Augment((4, 6)), total_steps=30, seed=5)
    assert sum(1 for _ in loader) == 30
    assert 48 <= groups.reads <= 50
    assert sum(int(groups.size[group]) for group in groups._kept) <= groups.memory
    groups.reads = 0
    for start in range(0, 960, 32):
        dataset.fetch(np.arange(start, start + 32))
    assert groups.reads <= 49


def test_row_groups_larger_than_memory_are_read_about_once_too(tmp_path):
    for k in range(6):
        write(tmp_path / f"train-{k}.parquet", LABELS * 10, images=pa.array([png(9)] * 120), stated=False, group=120)
    dataset = load_parquet(tmp_path, "train")
    dataset.groups.memory = 1
    order = dataset.order(np.random.default_rng(0))
    of_batches = dataset.groups.of(dataset.rows)[order].reshape(45, 16)
    assert np.mean([len(set(batch)) for batch in of_batches]) > 1.5  # they are mixed all the same
    for batch in order.reshape(45, 16):
        dataset.fetch(batch)
    assert dataset.groups.reads == 6


def test_a_batch_reads_each_row_group_once_and_the_last_ones_used_are_kept(folder):
    dataset = data.load(f"parquet:{folder}")
    dataset.groups.memory = 1  # three row groups
    dataset.fetch([0, 5, 10, 12, 1, 6, 11, 13])
    assert dataset.groups.reads == 4
    for index in (5, 10, 12, 5, 17, 5):
        dataset.fetch([index])
    assert dataset.groups.reads == 5


def test_parts_of_a_batch_are_cut_and_read_each_row_group_once(folder):
    dataset, indices = data.load(f"parquet:{folder}"), [0, 5, 10, 12, 1, 6, 11, 13]
    dataset.groups.memory = 1
    whole = Cut(lambda height, width: (0, 0, width, height), (4, 6))
    parts, labels = dataset.cut(indices, [whole] * 8)
    assert dataset.groups.reads == 4
    images, same = dataset.fetch(indices)
    assert np.array_equal(parts, [whole.of(image) for image in images])
    assert np.array_equal(labels, same)


def test_images_sorted_by_class_are_mixed_from_parts_of_large_row_groups(tmp_path, monkeypatch):
    labels = np.arange(960) // 48
    for k in range(8):
        some = labels[120 * k : 120 * (k + 1)]
        rows = pa.array([png(int(label)) for label in some])
        write(tmp_path / f"train-{k}.parquet", some, rows, names=list("abcdefghijklmnopqrst"), stated=False, group=120)
        write(tmp_path / f"test-{k}.parquet", some, rows, stated=False, group=120)
    whole = load_parquet(tmp_path, "train").groups.size.sum()
    monkeypatch.setattr(parquet_groups, "MEMORY", int(whole // 2))
    mixed, reads = {}, {}
    for sorted_by_class in (False, True):
        monkeypatch.setattr(parquet, "_sorted_by_class", lambda _, answer=sorted_by_class: answer)
        dataset = load_parquet(tmp_path, "train")
        batches = dataset.order(np.random.default_rng(0)).reshape(30, 32)
        mixed[sorted_by_class] = np.mean([len(set(dataset.labels[batch])) for batch in batches])
        for batch in batches:
            images, right = dataset.fetch(batch)
            assert [image[0, 0, 0] for image in images] == right.tolist()
        reads[sorted_by_class] = dataset.groups.reads
    assert mixed[True] > 1.5 * mixed[False]
    assert (reads[False], dataset.groups.pieces.tolist()) == (8, [8] * 8)
    assert 64 <= reads[True] <= 70
    monkeypatch.undo()
    monkeypatch.setattr(parquet_groups, "MEMORY", int(whole // 2))
    assert load_parquet(tmp_path, "train").groups.pieces.max() == 8  # it is seen that they are sorted
    assert load_parquet(tmp_path, "test").groups.pieces.max() == 1  # these are read from front to back
    shuffled = parquet._sorted_by_class(np.random.default_rng(0).permutation(labels))
    assert not shuffled
    assert not parquet._sorted_by_class(np.array([0]))


def test_another_process_gets_the_data_set_without_what_was_read(folder):
    dataset = data.load(f"parquet:{folder}")
    dataset.groups.memory = 12345
    dataset.groups.sorted_by_class = True
    dataset.fetch([0, 23])
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.groups.reads, copy.groups.memory, copy.groups.sorted_by_class) == (0, 12345, True)
    assert np.array_equal(copy.fetch([17])[0][0], dataset.fetch([17])[0][0])


def test_damaged_files_are_named_or_left_out(folder, refused):
    path = folder / "data" / "train-00000-of-00002-a09b.parquet"
    whole = path.read_bytes()
    for content, reason in {
        whole[:-100]: "the file is damaged or cut off; download it again",
        b"PAR1": "damaged or cut off",
        b"": "the file is empty",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:3f\n": "a pointer of Git LFS; fetch the file itself",
        b"<html>not found</html>" * 9: "this is not a Parquet file",
    }.items():
        path.write_bytes(content)
        with refused(f"{path}: ", reason, "--bad-images skip"):
            load_parquet(folder, "train")
        dataset = load_parquet(folder, "train", "skip")
        assert len(dataset) == 12
        assert dataset.limit(20).left_out == {f"damaged {path.name}": 1}
    path.unlink()
    with refused("1 of 2 files are missing, such as train-00000-of-00002;", "--bad-images skip"):
        load_parquet(folder, "train")
    assert load_parquet(folder, "train", "skip").left_out == {"missing files": 1}
    (folder / "data" / "train-00001-of-00002-a09b.parquet").write_bytes(b"PAR1")
    with refused("train-00001-of-00002-a09b.parquet: ", "no file can be read"):
        load_parquet(folder, "train", "skip")


def test_damage_within_a_file_is_named_or_skipped(folder, refused):
    path = folder / "data" / "train-00000-of-00002-a09b.parquet"
    group = pa.parquet.read_metadata(path).row_group(1)
    start = next(c.data_page_offset for c in map(group.column, range(3)) if c.path_in_schema == "image.bytes")
    content = bytearray(path.read_bytes())
    content[start : start + 60] = b"\xff" * 60
    path.write_bytes(content)
    dataset = load_parquet(folder, "train")
    with refused(f"{path} row 5: the file is damaged or cut off", "--bad-images skip"):
        dataset.fetch([0, 5])
    dataset = load_parquet(folder, "train", "skip")
    images, labels = dataset.fetch([4, 5, 6, 10])
    assert [image[0, 0, 0] for image in images] == [4, 10]
    assert labels.tolist() == [LABELS[4], LABELS[10]]
    assert list(dataset.skipped) == [f"{path} row 5", f"{path} row 6"]


def test_rows_without_a_readable_image_are_named_or_skipped(tmp_path, refused):
    rows = [{"bytes": png(7)}, None, {"path": "lost.png"}, {"bytes": b"nonsense"}, {"bytes": b""}, {"bytes": png(8)}]
    path = write(tmp_path / "train-00003.parquet", [0] * 6, pa.array(rows, IMAGE), group=2)
    dataset = load_parquet(tmp_path, "train")
    with refused(f"{path} row 1: there is no image in this row", "--bad-images skip"):
        dataset.fetch([0, 1])
    with refused(f"{path} row 3: not an image"):
        dataset.fetch([3])
    assert dataset.fault(0, (4, 6)) == dataset.fault(5, None) == ""
    assert dataset.fault(2, (4, 6)) == "there is no image in this row"
    dataset = load_parquet(tmp_path, "train", "skip")
    assert len(dataset.fetch(range(6))[0]) == 2
    assert list(dataset.skipped) == [f"{path} row {k}" for k in (1, 2, 3, 4)]


def test_other_columns_are_refused_with_what_there_is(tmp_path, refused):
    path = tmp_path / "train.parquet"
    paths = pa.array([{"path": f"{k}.png"} for k in range(3)], IMAGE)
    for options, texts in [
        (
            {"labels": [0, 1], "image": "scan_of", "images": pa.array([1, 2])},
            ["no column holds images", "scan_of (int64)"],
        ),
        ({"labels": [0, 1], "images": pa.array(["a.png", "b.png"])}, ['column "image" holds only the paths of images']),
        ({"labels": [0, 1, 2], "images": paths}, ["it holds only the paths of images"]),
        ({"labels": [0, 1], "images": pa.array([[png(1)], [png(2)]])}, ['"image" holds lists; one image in each row']),
        ({"labels": [0.5, 1.0], "names": None}, ["labels must be whole numbers"]),
        ({"labels": [[0], [1]]}, ['"label" holds lists; one label in each row']),
        (
            {"labels": [0, 1], "label": "age", "names": None},
            ["no column is known to hold labels", "age (int64)", "label"],
        ),
        (
            {"labels": [0, 1], "image": "a", "images": pa.array([png(1)] * 2), "others": {"b": pa.array([png(1)] * 2)}},
            ["several columns could hold the images", "a (binary)", "b (binary)"],
        ),
    ]:
        write(path, **{"stated": options.get("image") is None, **options})
        with refused(f"{path}: ", *texts):
            load_parquet(tmp_path, "train", "skip")
    write(path, [0, 1])
    write(tmp_path / "train_2.parquet", [0, 1], names=["dog", "cat", "eel"])
    with refused("train_2.parquet: its columns or the names of its classes differ from those of"):
        load_parquet(tmp_path, "train", "skip")


def test_a_share_is_held_out_of_data_without_test_images(folder, refused):
    with refused("has test files already"):
        load_parquet(folder, "train", val_share=0.25)
    (folder / "data" / "validation-00000-of-00001.parquet").unlink()
    with refused("--val-share 0.2"):
        load_parquet(folder, "test")
    train, test = (load_parquet(folder, split, val_share=0.25, seed=3) for split in ("train", "test"))
    assert Counter(test.labels.tolist()) == {0: 2, 1: 2, 2: 2}
    assert sorted([*train.rows, *test.rows]) == list(range(24))
    assert (train.split, test.split) == ("train", "val")
    assert not np.array_equal(load_parquet(folder, "test", val_share=0.25, seed=4).rows, test.rows)
    moved = folder.rename(folder.with_name("moved"))
    assert np.array_equal(load_parquet(moved, "test", val_share=0.25, seed=3).rows, test.rows)


def test_chosen_classes_are_kept(folder, tmp_path):
    dataset = data.load(f"parquet:{folder}", classes=["eel", "cat"])
    assert dataset.classes == ["cat", "eel"]
    assert dataset.labels.tolist() == [label // 2 for label in LABELS * 2 if label != 1]
    assert dataset.fetch([1])[0][0][0, 0, 0] == 2
    write(tmp_path / "n" / "train.parquet", [999, 0, 5], names=None)
    dataset = data.load(f"parquet:{tmp_path / 'n'}", classes=[imagenet_ids()[999], "tench"])
    assert (dataset.classes, dataset.labels.tolist()) == ([imagenet_ids()[0], imagenet_ids()[999]], [1, 0])


def test_without_pyarrow_one_line_says_what_to_install(folder, monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with refused("parquet:PATH needs pyarrow", 'pip install "minivit[parquet]"'):
        data.load(f"parquet:{folder}")


def test_pyarrow_is_imported_on_use_only():
    program = "import sys, minivit.data, minivit.train; print('pyarrow' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_many_files_show_progress_and_have_an_index(tmp_path, monkeypatch):
    for k in range(18):
        write(tmp_path / f"train-{k:02}.parquet", ["eel", None, "cat"], names=None)
    seen, opened, read = [], [], parquet_parts.read_part
    monkeypatch.setattr(parquet_parts, "read_part", lambda path: opened.append(path.name) or read(path))

    def load():
        opened.clear()
        counting = {"progress": lambda done, total: seen.append((done, total)), "cache": tmp_path / "cache"}
        dataset = load_parquet(tmp_path, "train", **counting)
        assert (dataset.classes, dataset.left_out) == (["cat", "eel"], {"rows without a label": 18})
        assert dataset.fetch([35])[0][0][0, 0, 0] == 2
        return dataset.labels.tolist()

    assert load() == [1, 0] * 18
    assert seen == [(k + 1, 18) for k in range(18)]
    assert len(opened) == 18
    assert load() == [1, 0] * 18
    assert opened == []
    write(tmp_path / "train-07.parquet", ["cat", None, "cat"], names=None)
    assert load() == [1, 0] * 7 + [0, 0] + [1, 0] * 10
    assert opened == ["train-07.parquet"]
    few = load_parquet(tmp_path / "train-0*.parquet", "train", cache=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert len(few) == 20
