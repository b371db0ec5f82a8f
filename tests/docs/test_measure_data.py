"""The script that measures the start-up of large data sets runs, on a small one."""

import measure_data
import pytest

from minivit.data import load


def test_a_tree_is_made_and_opened_in_another_process(tmp_path, monkeypatch):
    pytest.importorskip("resource", reason="Windows does not say how much memory a process had")
    monkeypatch.setattr(measure_data, "LINKS", 3)
    measure_data.make_tree(tmp_path / "tree", images=8, classes=2)
    seconds, count, megabytes = measure_data.opened(f"imagenet:{tmp_path / 'tree'}", tmp_path, again=1)
    assert seconds > 0
    assert count == 8
    assert 10 < megabytes < 1000


def test_shards_and_a_tar_of_tars_are_made(tmp_path):
    measure_data.write_shards(tmp_path / "shards", images=7, classes=3, shards=2)
    data = load(f"shards:{tmp_path / 'shards'}", tmp_path)
    assert (len(data), len(data.fetch(range(7))[0])) == (7, 7)
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["train-000000.tar", "train-000001.tar"]
    measure_data.write_nested(tmp_path / "tars" / "ILSVRC2012_img_train.tar", images=7, classes=3)
    data = load(f"imagenet:{tmp_path / 'tars'}", tmp_path)
    assert (len(data), len(data.classes), len(data.fetch(range(7))[0])) == (7, 3, 7)
