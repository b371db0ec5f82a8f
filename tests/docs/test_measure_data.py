"""The script that measures the start-up of large data sets runs, on a small one."""

import measure_data
import pytest


def test_a_tree_is_made_and_opened_in_another_process(tmp_path, monkeypatch):
    pytest.importorskip("resource", reason="Windows does not say how much memory a process had")
    monkeypatch.setattr(measure_data, "LINKS", 3)
    measure_data.make_tree(tmp_path / "tree", images=8, classes=2)
    seconds, count, megabytes = measure_data.opened(f"imagenet:{tmp_path / 'tree'}", tmp_path, again=1)
    assert seconds > 0
    assert count == 8
    assert 10 < megabytes < 1000
