"""`load`: names, splits, and where data are looked for."""

from pathlib import Path

import pytest

from minivit import data


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cifar-10", 'did you mean "cifar10"?'),
        ("CIFAR100", 'did you mean "cifar100"?'),
        ("digit", 'did you mean "digits"?'),
        ("folder:", "lacks a path: write folder:PATH"),
        ("imagenet:", "lacks a path: write imagenet:PATH"),
        ("imagenette", 'get it from https://github.com/fastai/imagenette, unpack it, and use "imagenet:PATH"'),
        ("ImageNette2-320", 'use "imagenet:PATH"'),
        ("imagewoof", 'use "imagenet:PATH"'),
        ("imagenet1k", "get it from https://image-net.org, unpack it"),
        ("xyzzy", "choose digits, shapes, scenes, nested, captions, clips, cifar10, cifar100, folder:PATH"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(refused, name, hint):
    with refused(f'"{name}"', hint):
        data.load(name)


def test_a_bare_folder_gets_its_name(refused, tmp_path):
    with refused(f'"folder:{tmp_path}"'):
        data.load(str(tmp_path))


def test_unknown_options_are_refused(refused):
    with refused('split is "val"', "train", "test"):
        data.load("digits", split="val")
    with refused('bad_images is "ignore"', "refuse", "skip"):
        data.load("digits", bad_images="ignore")


def test_the_data_folder(monkeypatch, tmp_path, refused):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data.data_root() == tmp_path / "home" / ".cache" / "minivit"
    assert data.data_root("~/here") == tmp_path / "home" / "here"
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "there"))
    assert data.data_root() == tmp_path / "there"
    assert data.data_root(Path("given")) == Path("given")
    with refused(str(tmp_path / "there")):
        data.load("cifar10")
    with refused(str(tmp_path / "given")):
        data.load("cifar10", tmp_path / "given")


def test_the_folder_for_caches_of_the_desktop_standard(monkeypatch, tmp_path):
    usual, named = tmp_path / "home" / ".cache" / "minivit", tmp_path / "caches" / "minivit"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    assert data.data_root() == named
    usual.mkdir(parents=True)
    assert data.data_root() == usual  # what has been downloaded is found again
    named.mkdir(parents=True)
    assert data.data_root() == named
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data.data_root() == usual


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home folder."""
    for name in ("MINIVIT_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does then


def test_without_a_home_folder(homeless, monkeypatch, tmp_path, refused):
    for load in (data.data_root, lambda: data.load("cifar10")):
        with refused("no home folder", "set MINIVIT_DATA"):
            load()
    assert len(data.load("digits")) == 1438
    with refused("~/pets", "the home folder ~ is not known"):
        data.load("folder:~/pets")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.data_root() == tmp_path / "minivit"
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "there"))
    assert data.data_root() == tmp_path / "there"


def test_the_home_folder_of_nobody(monkeypatch, refused):
    with refused("~nosuch-user/x", "the home folder ~nosuch-user is not known", "in full"):
        data.load("folder:~nosuch-user/x")
    monkeypatch.setenv("MINIVIT_DATA", "~nosuch-user")
    with refused("~nosuch-user"):
        data.load("cifar10")


def test_a_file_that_the_disk_refuses_is_one_line(monkeypatch, tmp_path, refused):
    def fail(*args):
        raise PermissionError(13, "Permission denied", str(tmp_path / "train"))

    monkeypatch.setattr("minivit.data.kinds.load_folder", fail)
    with refused(str(tmp_path / "train"), "Permission denied"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("shard:x/train.tar", "shards:x/train.tar"),
        ("parquets:here", "parquet:here"),
        ("IMAGENET:here", "imagenet:here"),
        ("imagenette:here", "imagenet:here"),
        ("wds:here", "shards:here"),
    ],
)
def test_a_misspelt_kind_keeps_its_path(refused, name, meant):
    with refused(f'did you mean "{meant}"?'):
        data.load(name)


def test_a_path_alone_gets_the_kind_that_is_there(refused, tmp_path):
    for folder, file, kind in (
        ("a", "imagenette2/train/n01440764/1.JPEG", "imagenet"),
        ("b", "train-0.tar", "shards"),
        ("c", "data/train-0.parquet", "parquet"),
    ):
        (tmp_path / folder / file).parent.mkdir(parents=True)
        (tmp_path / folder / file).touch()
        with refused(f'write "{kind}:{tmp_path / folder}"'):
            data.load(str(tmp_path / folder))
    with refused('write "shards:x/train-{0..7}.tar"'):
        data.load("x/train-{0..7}.tar")
