"""Files that choose classes, and the classes that they choose."""

import numpy as np
import pytest

from minivit import data
from minivit.data.choice import chosen, kept, only, read_choice, relabelled
from minivit.data.imagenet import imagenet_classes, imagenet_ids

TENCH, GOLDFISH, SHARK = "n01440764", "n01443537", "n01484850"


def test_lists_of_every_form(tmp_path):
    path = tmp_path / "list.txt"
    for text in (
        f"{TENCH}\n{SHARK}\n",
        f"\ufeff# fish\r\n\r\n{TENCH} tench, Tinca tinca\r\n  {SHARK},great white shark  # large\r\n{TENCH}\r\n",
        f'"{TENCH}"\t1\n{SHARK}:x',
        f'{{"{TENCH}": "tench, Tinca tinca", "{SHARK}": "great white shark"}}',
        f'{{"0": ["{TENCH}", "tench"], "2": ["{SHARK}", "great_white_shark"]}}',
        f' ["{TENCH}", "{SHARK}"]',
    ):
        path.write_bytes(text.encode())
        assert read_choice(path) == [TENCH, SHARK]
    path.write_text("0\ngreat white shark\nn0144076\n", encoding="utf-8")
    assert read_choice(path) == ["0", "great white shark", "n0144076"]
    path.write_text("[0, 2]", encoding="utf-8")
    assert read_choice(path) == ["0", "2"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "names none"),
        (b"# nothing\n", "names none"),
        (b"\xff\xfe\0", "utf-8"),
        (b"[[1.5]]", "expected JSON of the form"),
        (b'{"a": ', "Expecting value"),
        (None, "No such file"),
    ],
)
def test_no_list_is_one_line(tmp_path, refused, content, reason):
    if content is not None:
        (tmp_path / "list").write_bytes(content)
    with refused(f"{tmp_path / 'list'} is not a list of classes", reason):
        read_choice(tmp_path / "list")


def test_classes_are_named_by_id_word_or_number():
    ids, words = imagenet_ids(), imagenet_classes()
    for wanted in ([SHARK, TENCH], ["great white shark", "Tench"], ["2", "0"], ["2", TENCH, "tench"]):
        assert chosen(wanted, ids, "here") == [0, 2]
        assert chosen(wanted, words, "here") == [0, 2]
    assert chosen(["tench", GOLDFISH], ["goldfish, Carassius auratus", "tench, Tinca tinca"], "here") == [0, 1]
    some = [TENCH, SHARK]  # numbers count in the whole of ImageNet
    assert chosen(["2"], some, "here") == [1]
    assert chosen(["1", "5"], ["1", "7", "5"], "here") == [0, 2]  # names come before numbers


def test_a_class_that_is_not_there_or_not_clear(refused):
    ids = imagenet_ids()
    with refused('here: there is no class "n01440765"; did you mean "n01440764"?'):
        chosen(["n01440765"], ids, "here")
    with refused('there is no class "tencch"; did you mean "tench"?'):
        chosen(["tencch"], ids, "here")
    with refused('here: there is no class "goldfish (n01443537)"', "it has 2: tench (n01440764), "):
        chosen([GOLDFISH], [TENCH, "n15075141"], "here")
    with refused('"1000"'):
        chosen(["1000"], ids, "here")
    with refused('"crane" fits two classes, crane bird (n02012849) and crane (n03126707): write which'):
        chosen(["crane"], ids, "here")
    with refused('"Cardigan" fits two classes'):
        chosen(["Cardigan"], ids, "here")
    assert chosen(["crane bird"], ids, "here") == [134]


def test_the_images_of_some_classes():
    digits = data.load("digits")
    part = kept(digits, ["7", "1"])
    assert part.classes == ["1", "7"]
    assert len(part) == np.isin(digits.labels, [1, 7]).sum()
    images, labels = digits.fetch(np.flatnonzero(np.isin(digits.labels, [1, 7]))[:20])
    assert np.array_equal(part.fetch(range(20))[0], images)
    assert np.array_equal(part.labels[:20], labels // 7)
    assert kept(digits, digits.classes) is digits


def test_only_some_images_with_their_labels(refused):
    digits = data.load("digits")
    part = only(digits, ["7", "1"])
    assert part.classes == digits.classes
    assert np.array_equal(part.labels, digits.labels[np.isin(digits.labels, [1, 7])])
    with refused("digits has no images of the wanted classes"):
        only(part, ["3"])


def test_other_labels(refused):
    digits = data.load("digits")
    part = relabelled(digits, {"3": 1, "8": 5}, list("abcdef"))
    assert part.classes == list("abcdef")
    assert np.bincount(part.labels)[[1, 5]].tolist() == [(digits.labels == k).sum() for k in (3, 8)]
    assert len(part) == np.isin(digits.labels, [3, 8]).sum()
    with refused("digits has no images of eleven"):
        relabelled(digits, {"11": 0}, ["eleven"])


def test_load_keeps_the_classes_of_any_folder(tmp_path, refused):
    for split in "train", "val":
        for name in "cat", "dog", "ox":
            path = tmp_path / split / name / "1.png"
            path.parent.mkdir(parents=True)
            path.touch()
    dataset = data.load(f"folder:{tmp_path}", classes=["ox", "Cat"])
    assert (dataset.classes, dataset.labels.tolist()) == (["cat", "ox"], [0, 1])
    assert [path.rsplit("1.png")[0][-4:-1] for path in dataset.paths] == ["cat", "/ox"]
    with refused('there is no class "doc"; did you mean "dog"?'):
        data.load(f"folder:{tmp_path}", classes=["doc"])
    with refused("classes can be chosen for", "digits always has all"):
        data.load("digits", classes=["1"])
