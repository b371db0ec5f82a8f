"""WebDataset shards: examples by their names, labels and classes in every form that people have."""

import json

import numpy as np
import pytest
from archives import examples, jpeg, write_tar

from minivit import data
from minivit.data.imagenet import imagenet_ids


@pytest.fixture
def root(tmp_path):
    """Three training shards of four images and a test shard of three, labels 0 to 2."""
    for number in range(3):
        write_tar(tmp_path / f"train-{number:03}.tar", examples([number, 0, 1, 2], 4 * number))
    write_tar(tmp_path / "val-000.tar", examples([2, 1, 0], 100))
    return tmp_path


def load(path, split="train", **options):
    return data.load(f"shards:{path}", path.parent / "cache", split, **options)


def greys(dataset):
    images, _ = dataset.fetch(range(len(dataset)))
    return [int(image[0, 0, 0]) for image in images]


def one(tmp_path, members, **options):
    """The data set of a single shard."""
    return load(write_tar(tmp_path / "00000.tar", members), **options)


@pytest.mark.parametrize("pattern", ["", "train-{000..002}.tar", "train-*.tar"])
def test_images_and_labels_of_both_splits(root, pattern):
    train, test = (load(root / pattern, split) for split in ("train", "test"))
    assert greys(train) == list(range(12))
    assert train.labels.tolist() == [0, 0, 1, 2, 1, 0, 1, 2, 2, 0, 1, 2]
    assert (greys(test), test.labels.tolist()) == ([100, 101, 102], [2, 1, 0])
    assert (train.classes, test.classes, train.split, test.split) == (["0", "1", "2"], ["0", "1", "2"], "train", "val")
    assert train.place(5) == f"{root / 'train-001.tar'}/000005.jpg"
    assert not train.left_out


def test_some_shards_of_a_range(root):
    assert greys(load(root / "train-{001..002}.tar")) == list(range(4, 12))


def test_the_second_time_only_index_files_are_read(root, monkeypatch):
    first = load(root)
    monkeypatch.setattr("minivit.data.shards.members", None)
    again = load(root)
    assert (again.labels.tolist(), [again.place(i) for i in range(12)]) == (
        first.labels.tolist(),
        [first.place(i) for i in range(12)],
    )


def test_progress_is_told_while_archives_are_read(root, monkeypatch):
    monkeypatch.setattr("minivit.data.listing.OFTEN", 0)
    seen = []
    for _ in range(2):
        load(root, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) == 24  # members of the three archives, once
    assert {total for _, total in seen} == {sum(path.stat().st_size for path in root.glob("train-*"))}


def test_members_of_an_example_share_the_name_up_to_the_first_dot(tmp_path):
    members = [
        ("./a.b/1.JPG", jpeg(1)),
        ("./a.b/1.cls", b" 2\r\n"),
        ("a.b/2.seg.png", b"not the image"),
        ("a.b/2.cls", b"1"),
        ("a.b/2.jpeg", jpeg(2)),
        ("c/1.Jpeg", jpeg(3)),
        ("._c/1.jpg", b"x"),
        ("c/._1.jpg", b"x"),
        ("d/3.cls", b"0"),
        ("c/1.CLS", b"0"),
    ]
    found = one(tmp_path, members)
    assert (greys(found), found.labels.tolist()) == ([1, 2, 3], [2, 1, 0])
    assert found.left_out == {"hidden": 2, "examples without an image": 1}


def test_labels_may_follow_after_all_images(tmp_path):
    members = examples([3, 1, 2])
    assert one(tmp_path, members[::2] + members[1::2]).labels.tolist() == [3, 1, 2]


def of_json(*records):
    return [m for k, r in enumerate(records) for m in ((f"{k}.jpg", jpeg(k)), (f"{k}.json", json.dumps(r).encode()))]


@pytest.mark.parametrize(
    "record",
    [
        {"label": 1},
        {"cls": 1},
        {"class": 1},
        {"class_id": "1"},
        {"class_index": 1.0, "width": 500, "filename": "x.jpg"},
        {"label": None, "class_idx": 1},
        {"label": False, "target": 1},
    ],
)
def test_labels_in_json(tmp_path, record):
    found = one(tmp_path, of_json(record, {"label": 0}))
    assert (found.labels.tolist(), found.classes) == ([1, 0], ["0", "1"])


def test_a_label_in_cls_goes_before_one_in_json(tmp_path):
    for order in (1, -1):
        members = [("0.cls", b"0"), ("0.json", b'{"label": 1, "class_name": "dog"}'), ("0.jpg", jpeg())]
        assert one(tmp_path, members[::order]).labels.tolist() == [0]


def test_names_of_classes_in_json(tmp_path):
    records = [{"label": 1, "class_name": "dog"}, {"label": 0, "class_name": "cat"}, {"label": 1, "class_name": "dog"}]
    assert one(tmp_path, of_json(*records)).classes == ["cat", "dog"]
    records[2]["class_name"] = "hound"  # then the names are not those of the classes
    assert one(tmp_path, of_json(*records)).classes == ["0", "1"]
    records[2]["class_name"], records[1]["class_name"] = "dog", "dog"
    assert one(tmp_path, of_json(*records)).classes == ["0", "1"]


def test_labels_that_are_names(tmp_path):
    found = one(tmp_path, of_json({"label": "dog"}, {"class": "cat"}, {"label": "dog"}))
    assert (found.classes, found.labels.tolist()) == (["cat", "dog"], [1, 0, 1])
    members = [("a.jpg", jpeg()), ("a.cls", b"n01443537\n"), ("b.jpg", jpeg()), ("b.cls", b"n01440764")]
    found = one(tmp_path, members)
    assert (found.classes, found.labels.tolist()) == (["n01440764", "n01443537"], [1, 0])


def test_names_of_test_shards_are_those_of_the_training_shards(tmp_path):
    write_tar(tmp_path / "train-0.tar", of_json({"label": "dog"}, {"label": "cat"}, {"label": "eel"}))
    write_tar(tmp_path / "val-0.tar", of_json({"label": "eel"}, {"label": "yak"}))
    found = load(tmp_path, "test")
    assert (found.classes, found.labels.tolist()) == (["cat", "dog", "eel"], [2])
    assert found.left_out == {"examples without a label": 1}


@pytest.mark.parametrize("place", ["set/classnames.txt", "classnames.txt"])
def test_names_of_classes_beside_the_shards(tmp_path, place, refused):
    write_tar(tmp_path / "set" / "train-0.tar", examples([1, 0]))
    (tmp_path / place).write_bytes("\ufeffcat\r\ndög\r\neel\r\n\r\n".encode())
    for path in (tmp_path / "set", tmp_path / "set" / "train-{0..0}.tar"):
        assert load(path).classes == ["cat", "dög", "eel"]
    (tmp_path / place).write_text("cat\n", encoding="utf-8")
    with refused("there are 1 class names, but labels up to 1"):
        load(tmp_path / "set")
    (tmp_path / place).write_bytes("dög\n".encode("latin-1"))
    with refused(f"{tmp_path / place}: the names of the classes must be text in UTF-8"):
        load(tmp_path / "set")


def test_a_gap_in_a_folder_is_said(root):
    (root / "train-001.tar").unlink()
    assert load(root).left_out == {"missing shards": 1}
    assert not load(root / "train-{000,002}.tar").left_out  # these very shards were asked for


def test_a_thousand_labels_are_those_of_imagenet(tmp_path):
    assert one(tmp_path, examples([999, 7])).classes == imagenet_ids()


def test_test_shards_alone(root, refused):
    assert load(root / "val-000.tar", "test").labels.tolist() == [2, 1, 0]
    with refused("there are only val shards, none to train on"):
        load(root / "val-000.tar")


def test_a_share_is_held_out_by_names_alone(tmp_path, refused):
    labels = np.arange(60) % 3
    for number in range(3):
        write_tar(tmp_path / "set" / f"train-{number}.tar", examples(labels[20 * number :][:20], 20 * number))
    train, test = (load(tmp_path / "set", split, val_share=0.2, seed=1) for split in ("train", "test"))
    assert np.bincount(test.labels).tolist() == [4, 4, 4]
    found = greys(test)
    assert sorted(greys(train) + found) == list(range(60))
    del train, test  # Windows renames nothing that is open
    (tmp_path / "set").rename(tmp_path / "moved")
    assert greys(load(tmp_path / "moved", "test", val_share=0.2, seed=1)) == found
    assert greys(load(tmp_path / "moved", "test", val_share=0.2, seed=2)) != found
    with refused("there are no val, validation or test shards", "--val-share 0.1"):
        load(tmp_path / "moved", "test")
    write_tar(tmp_path / "moved" / "train-3.tar", examples([7], 99))
    with refused("train-3.tar/000099.jpg is the only image of its class"):
        load(tmp_path / "moved", val_share=0.2)


def test_a_share_of_shards_that_are_divided_is_refused(root, refused):
    with refused("has val shards already"):
        load(root, val_share=0.2)
    with refused("val_share is 2"):
        load(root, val_share=2)


def test_shards_without_labels_say_what_they_have(tmp_path, refused):
    members = [m for name, content in of_json({"url": "x", "caption": "y"}) for m in ((name, content),)]
    with refused("no example has both an image and a label", "1 .jpg", "1 .json", "1 .txt", "have url, caption"):
        one(tmp_path, [*members, ("0.txt", b"a dog")])
    with refused("no example has both", "it has nothing"):
        one(tmp_path, [])
    with refused("no example has both"):
        one(tmp_path, [("0.jpg", jpeg()), ("0.json", b'{"label": NaN}')])


def test_examples_without_a_label_are_counted(tmp_path):
    found = one(tmp_path, [*examples([1, 0]), ("x.jpg", jpeg()), ("y.jpg", jpeg()), ("y.json", b"[]"), ("z.cls", b"1")])
    assert len(found) == 2
    assert found.left_out == {"examples without a label": 2, "examples without an image": 1}


def test_labels_beyond_the_classes_are_refused(root, tmp_path, refused):
    write_tar(root / "val-000.tar", examples([2, 3]))
    with refused("has label 3, expected 0 to 2"):
        load(root, "test")
    with refused("too large for the number of a class"):
        one(tmp_path / "other", examples([10**30]))


def test_a_half_shard(root, refused):
    shard = root / "train-001.tar"
    shard.write_bytes(shard.read_bytes()[:-12_000])
    with refused(f"{shard}: the archive ends within", "images before that", "--bad-images skip"):
        load(root)
    found = load(root, bad_images="skip")
    assert (found.left_out["damaged train-001.tar"], len(found) < 12) == (1, True)
    assert greys(found)[-4:] == [8, 9, 10, 11]
    with refused(f"{root / 'train-003.tar'}: there is no such file, nor 1 others of the 5"):
        load(root / "train-{000..004}.tar")


def test_shards_that_are_nothing_at_all(root, refused):
    (root / "train-000.tar").write_bytes(b"")
    (root / "train-001.tar").write_bytes(b"<html>" + b" " * 2000)
    with refused(
        f"{root / 'train-000.tar'}: the archive is empty; get it again, or go on without it: --bad-images skip"
    ):
        load(root)
    found = load(root, bad_images="skip")
    assert greys(found) == [8, 9, 10, 11]
    assert found.left_out == {"damaged train-000.tar": 1, "damaged train-001.tar": 1}
    (root / "train-002.tar").write_bytes(b"")
    with refused("train-000.tar: no example has both"):
        load(root, bad_images="skip")
    (root / "train-002.tar").write_bytes(b"\x1f\x8b\x08" + bytes(600))
    with refused("train-002.tar: this is compressed", "gunzip"):
        load(root, bad_images="skip")


def test_a_damaged_image_is_named_or_skipped(tmp_path, refused):
    members = examples([0, 1, 0])
    members[2] = ("000001.jpg", jpeg()[:100])
    with refused(f"{tmp_path / '00000.tar'}/000001.jpg: "):
        one(tmp_path, members).fetch(range(3))
    found = one(tmp_path, members, bad_images="skip")
    assert len(found.fetch(range(3))[1]) == 2
    assert list(found.skipped) == [f"{tmp_path / '00000.tar'}/000001.jpg"]


def test_the_folder_of_training_shards_is_a_part(tmp_path, refused):
    for split in ("train", "validation"):
        write_tar(tmp_path / "set" / split / "0.tar", examples([0, 1]))
    with refused(f"give the whole: shards:{tmp_path / 'set'}"):
        load(tmp_path / "set" / "train", "test")
    assert load(tmp_path / "set", "test").split == "validation"
