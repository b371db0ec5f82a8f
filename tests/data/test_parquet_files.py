"""Which Parquet files are for training and which for testing: names decide, as on Hugging Face."""

import pytest

from minivit.data.parquet_files import files_of, is_divided


@pytest.fixture
def lay(tmp_path):
    """lay("a.parquet", ...): empty files; only names are read."""

    def touch(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return touch


def names(path, split, held_out=False):
    return [file.name for file in files_of(path, split, held_out).paths]


def test_validation_images_go_before_test_images(lay):
    data = lay(
        *(f"data/train-0000{k}-of-00002-a09b.parquet" for k in range(2)),
        "data/validation-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
        "data/._train-00000-of-00002-a09b.parquet",
        ".cache/huggingface/download/data/train-00000-of-00002.parquet",
        "README.md",
    )
    assert names(data, "train") == ["train-00000-of-00002-a09b.parquet", "train-00001-of-00002-a09b.parquet"]
    assert names(data, "test") == ["validation-00000-of-00001.parquet"]
    assert files_of(data, "test").split == "validation"
    (data / "data/validation-00000-of-00001.parquet").unlink()
    assert names(data, "test") == ["test-00000-of-00001.parquet"]


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [
        ("default/train/0000.parquet", "default/validation/0000.parquet", "validation"),
        ("train.PARQUET", "Test.parquet", "test"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet", "test"),
        ("data/flowers_training_1.pq", "data/flowers_dev_1.pq", "validation"),
        ("train/a/0.parquet", "valid/a/0.parquet", "validation"),
        ("contest/train-0.parquet", "contest/val-0.parquet", "validation"),
    ],
)
def test_words_in_files_and_folders(train, test, split, lay):
    data = lay(train, test)
    assert files_of(data, "train").paths == [data / train]
    assert files_of(data, "test").paths == [data / test]
    assert files_of(data, "test").split == split
    assert is_divided(data)


def test_one_split_given_by_file_folder_or_pattern_finds_the_other(lay):
    data = lay("x/train/0.parquet", "x/train/1.parquet", "x/validation/0.parquet")
    for given in ("x/train", "x/train/*.parquet", "x/train/{0..1}.parquet"):
        assert names(data / given, "train") == ["0.parquet", "1.parquet"]
        assert files_of(data / given, "test").paths == [data / "x/validation/0.parquet"]
    assert files_of(data / "x/validation/0.parquet", "test").paths == [data / "x/validation/0.parquet"]
    lay("y/train-0.parquet", "y/train-1.parquet", "y/test-0.parquet")
    assert names(data / "y/train-0.parquet", "train") == ["train-0.parquet"]
    assert names(data / "y/train-0.parquet", "test") == ["test-0.parquet"]


def test_files_without_a_word_are_all_for_training(lay, refused):
    data = lay("my-train-ride/part-0.parquet", "my-train-ride/part-1.parquet", "my-train-ride/trained.parquet")
    lay("other/test-0.parquet")
    data = data / "my-train-ride"
    assert len(names(data, "train")) == 3
    assert names(data / "part-*", "train") == ["part-0.parquet", "part-1.parquet"]
    assert names(data, "test", held_out=True) == names(data, "train")
    assert not is_divided(data)
    with refused("no names that tell training files from others", "--val-share 0.2"):
        files_of(data, "test")
    lay("my-train-ride/train-0.parquet")
    assert names(data, "train") == ["train-0.parquet"]
    assert files_of(data, "train").others == 3


def test_what_is_missing_is_said(lay, refused, tmp_path):
    with refused("there are no Parquet files in it"):
        files_of(tmp_path, "train")
    lay("train/data-00000-of-00001.arrow")
    with refused("there are no Parquet files in it", "use to_parquet"):
        files_of(tmp_path, "train")
    with refused("gone: there is no such file"):
        files_of(tmp_path / "gone", "train")
    data = lay("test-0.parquet")
    with refused("there are no training files, only test"):
        files_of(data, "train")
    data = lay("more/train-0.parquet")
    with refused("there are only training files", "--val-share 0.2"):
        files_of(data / "more", "test")
    with refused("train-1.parquet: there is no such file"):
        files_of(data / "more" / "train-{0..1}.parquet", "train")


def test_two_data_sets_in_one_folder_are_refused(lay, refused):
    data = lay(*(f"{size}/{split}-0.parquet" for size in ("cropped", "full") for split in ("train", "test", "extra")))
    with refused("there are 2 data sets in it (cropped, full)", f"parquet:{data / 'cropped'}"):
        files_of(data, "train")
    assert files_of(data / "full", "test").paths == [data / "full" / "test-0.parquet"]


def test_half_a_download_and_two_versions_are_seen(lay, refused):
    data = lay("train-00000-of-00004.parquet", "train-00003-of-00004.parquet", "val-00000-of-00001.parquet")
    assert files_of(data, "train").missing == ["train-00001-of-00004", "train-00002-of-00004"]
    assert not files_of(data, "test").missing
    assert not files_of(data / "train-*.parquet", "train").missing  # these very files were asked for
    lay("train-00000-of-00002-b7.parquet")
    with refused("several versions of one data set, train-... of 2 and of 4"):
        files_of(data, "train")
    (data / "train-00000-of-00002-b7.parquet").rename(data / "train-00000-of-00004-b7.parquet")
    with refused("several versions"):
        files_of(data, "train")


def test_links_in_a_circle_end(lay):
    data = lay("train-0.parquet", "deeper/more.txt")
    try:
        (data / "deeper" / "back").symlink_to(data, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    assert files_of(data, "train").paths == [data / "train-0.parquet"]
