"""A message about files that are not there names the kind of those that are."""

import pytest

from minivit import data

FILES = {"imagenet": "train/n01440764/1.JPEG", "shards": "train-0.tar", "parquet": "data/train-0.parquet"}


@pytest.mark.parametrize("there", FILES)
@pytest.mark.parametrize("kind", ["folder", "imagenet", "shards", "parquet"])
def test_another_kind_is_there(refused, tmp_path, there, kind):
    if kind == there:
        return
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / FILES[there]).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / FILES[there]).touch()
    with refused(f"for what is there write {there}:{tmp_path}"):
        data.load(f"{kind}:{tmp_path}", split="test")


def test_a_folder_of_class_folders_without_them(refused, tmp_path):
    (tmp_path / "train-0.tar").touch()
    with refused("no class folders", f"shards:{tmp_path}"):
        data.load(f"folder:{tmp_path}", val_share=0.2)


def test_the_official_archives_are_no_shards(refused, tmp_path):
    (tmp_path / "ILSVRC2012_img_val.tar").touch()
    with refused(f"imagenet:{tmp_path}"):
        data.load(f"folder:{tmp_path}")
