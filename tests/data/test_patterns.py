"""Names of many files: ranges with their zeros, alternatives, missing files by name."""

import pytest

from minivit.data.patterns import expand, loosened, matching


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("train-{000..003}.tar", ["train-000.tar", "train-001.tar", "train-002.tar", "train-003.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{5..5}", ["5"]),
        ("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("x{,-y}.tar", ["x.tar", "x-y.tar"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_braces(pattern, names):
    assert expand(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a-{00..", "braces do not match"),
        ("a-00}", "braces do not match"),
        ("a-{1-3}", "is no range such as {000..127}"),
        ("a-{}", "is no range"),
        ("a-{a..c}", "is no range"),
        ("{0..9999999}", "more than 100,000 files"),
        ("{0..999}{0..999}", "more than 100,000 files"),
    ],
)
def test_wrong_braces_are_explained(pattern, reason, refused):
    with refused(f"{pattern}: ", reason):
        expand(pattern)


def test_files_in_the_order_of_the_pattern(tmp_path):
    for name in ("a-1.tar", "a-0.tar", "b-0.tar", "odd[1].tar", "curly{x}.tar"):
        (tmp_path / name).touch()

    def found(pattern):
        return [path.name for path in matching(tmp_path / pattern)]

    assert found("a-{1..0}.tar") == ["a-1.tar", "a-0.tar"]
    assert found("*-0.tar") == ["a-0.tar", "b-0.tar"]
    assert found("{b,a}-*.tar") == ["b-0.tar", "a-0.tar", "a-1.tar"]
    assert found("odd[1].tar") == ["odd[1].tar"]
    assert found("curly{x}.tar") == ["curly{x}.tar"]


def test_missing_files_are_named(tmp_path, refused):
    (tmp_path / "a-0.tar").touch()
    with refused(f"{tmp_path / 'a-1.tar'}: there is no such file of the 2 that a-{{0..1}}.tar names"):
        matching(tmp_path / "a-{0..1}.tar")
    with refused(f"{tmp_path / 'a-1.tar'}: there is no such file, nor 2 others of the 4"):
        matching(tmp_path / "a-{0..3}.tar")
    with refused("b.tar: there is no such file"):
        matching(tmp_path / "b.tar")
    with refused("b-*.tar: there is no such file that fits"):
        matching(tmp_path / "b-*.tar")


def test_loosened():
    assert loosened("train-{00..12}-{a,b}.tar") == "train-*-*.tar"
