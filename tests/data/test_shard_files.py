"""Which archives of a folder or a pattern are for training and which for testing."""

import pytest

from minivit.data.shard_files import find_shards, is_divided, missing, role


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(path):
    shards = find_shards(path)
    folder = path if path.is_dir() else path.parent
    return ([file.name for file in shards.train], [file.name for file in shards.test], shards.test_name, folder)[:3]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train-000.tar", "train"),
        ("imagenet1k-train-0000.tar", "train"),
        ("imagenet_training_01.TAR", "train"),
        ("Train0001.tar", "train"),
        ("imagenet1k-validation-00.tar", "validation"),
        ("val000.tar", "val"),
        ("strain-000.tar", ""),
        ("trainval-000.tar", ""),
        ("00000.tar", ""),
    ],
)
def test_the_role_of_a_name(name, expected, tmp_path):
    assert role(tmp_path / "set" / name) == expected


def test_a_folder_with_both_kinds(tmp_path):
    put(tmp_path, "train-1.tar", "train-0.tar", "val-0.tar", "test-0.tar", "._train-0.tar", "README.md", "other.tar")
    assert found(tmp_path) == (["train-0.tar", "train-1.tar"], ["val-0.tar"], "val")
    assert is_divided(tmp_path)


def test_published_names(tmp_path):
    put(tmp_path, "imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar", "_info.json", ".cache/x")
    assert found(tmp_path) == (["imagenet1k-train-0000.tar"], ["imagenet1k-validation-00.tar"], "validation")


def test_sub_folders_by_split(tmp_path):
    put(tmp_path, "train/0.tar", "train/1.tar", "test/0.tar", "test/nshards.txt", "classnames.txt", "other/7.tar")
    assert found(tmp_path) == (["0.tar", "1.tar"], ["0.tar"], "test")
    put(tmp_path / "around", "set/a.tar", "set/b.tar")
    assert found(tmp_path / "around") == (["a.tar", "b.tar"], [], "")


def test_the_name_of_a_folder_says_little(tmp_path):
    put(tmp_path, "test/a.tar", "test-shards/a.tar")
    assert found(tmp_path / "test") == (["a.tar"], [], "")
    assert not is_divided(tmp_path / "test")
    assert found(tmp_path / "test-shards" / "a.tar") == (["a.tar"], [], "")
    assert found(tmp_path / "test" / "*.tar") == ([], ["a.tar"], "test")


def test_a_pattern_and_its_counterpart(tmp_path):
    put(tmp_path, "train-000.tar", "train-001.tar", "train-002.tar", "val-00.tar", "val-01.tar", "b-val-00.tar")
    assert found(tmp_path / "train-{000..001}.tar") == (
        ["train-000.tar", "train-001.tar"],
        ["val-00.tar", "val-01.tar"],
        "val",
    )
    assert found(tmp_path / "train-*.tar")[1] == ["val-00.tar", "val-01.tar"]
    assert found(tmp_path / "val-{00..01}.tar") == ([], ["val-00.tar", "val-01.tar"], "val")
    assert found(tmp_path / "train-000.tar")[1] == []  # it names one archive, and there is no val-000.tar
    assert found(tmp_path / "b-val-00.tar") == ([], ["b-val-00.tar"], "val")


def test_a_pattern_of_both_kinds(tmp_path):
    put(tmp_path, "train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar", "x.tar")
    both = (["train-0.tar", "train-1.tar"], ["val-0.tar", "val-1.tar"], "val")
    assert found(tmp_path / "{train,val}-{0..1}.tar") == found(tmp_path / "*-*.tar") == both


def test_a_pattern_in_a_folder_by_split_or_with_odd_signs(tmp_path):
    put(tmp_path / "odd[1]", "train/0.tar", "train/1.tar", "validation/0.tar")
    shards = find_shards(tmp_path / "odd[1]" / "train" / "{0..1}.tar")
    assert shards.test == [tmp_path / "odd[1]" / "validation" / "0.tar"]
    put(tmp_path / "odd[1]", "train-0.tar", "dev-0.tar")
    assert found(tmp_path / "odd[1]" / "train-{0..0}.tar") == (["train-0.tar"], ["dev-0.tar"], "dev")


def test_archives_without_a_word_are_for_training(tmp_path):
    put(tmp_path, "00000.tar", "00001.tar")
    assert found(tmp_path) == found(tmp_path / "{00000..00001}.tar") == (["00000.tar", "00001.tar"], [], "")


def test_no_shards(tmp_path, refused):
    with refused(f"{tmp_path}: there are no shards in it"):
        find_shards(tmp_path)
    put(tmp_path, "train-0.tar.gz", "a/x", "b/x")
    with refused(f"{tmp_path / 'train-0.tar.gz'}: this is compressed", "gunzip"):
        find_shards(tmp_path)


def test_shards_in_several_sub_folders(tmp_path, refused):
    put(tmp_path, "a/train-0.tar", "a/._train-0.tar", "b/train-1.tar", "b/notes.txt", "val-0.tar")
    assert found(tmp_path) == (["train-0.tar", "train-1.tar"], ["val-0.tar"], "val")
    put(tmp_path, "b/train-0.tar")
    with refused("holds several data sets: a, b", f"shards:{tmp_path / 'a'}"):
        find_shards(tmp_path)


def test_missing_numbers_are_counted(tmp_path):
    def count(*names):
        return missing([tmp_path / name for name in names])

    assert count("train-000.tar", "train-001.tar", "train-004.tar", "more/train-009.tar") == 2
    assert count("00008.tar", "00010.tar") == 1
    assert count("a-0.tar", "b-7.tar", "notes.tar") == 0
    assert count("20230101.tar", "20240101.tar") == 0


def test_a_compressed_shard_of_a_range(tmp_path, refused):
    put(tmp_path, "train-0.tar", "train-1.tar.gz")
    with refused(f"{tmp_path / 'train-1.tar.gz'}: this is compressed", "gunzip"):
        find_shards(tmp_path / "train-{0..1}.tar")
