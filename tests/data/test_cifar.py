"""CIFAR-10 and CIFAR-100 in small files of the true format, whole, damaged and hostile."""

import dataclasses
import hashlib
import io
import tarfile

import numpy as np
import pytest

from minivit import data
from minivit.data import cifar

CIFAR10_FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
FINE_NAMES = [f"fine_{i:02}" for i in range(100)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cifar10_members(rng, records=3):
    """{file name: content} of a small CIFAR-10, and the images and labels in it."""
    names = "\n".join(cifar.FORMATS["cifar10"].names) + "\n\n"
    members, images, labels = {"batches.meta.txt": names.encode()}, {}, {}
    for name in CIFAR10_FILES:
        images[name] = rng.integers(0, 256, (records, 32, 32, 3), dtype=np.uint8)
        labels[name] = rng.integers(0, 10, records, dtype=np.uint8)
        members[name] = pack(labels[name][:, None], images[name])
    return members, images, labels


def cifar100_members(rng, records=4):
    images = rng.integers(0, 256, (records, 32, 32, 3), dtype=np.uint8)
    coarse = rng.integers(0, 20, records, dtype=np.uint8)
    fine = rng.integers(50, 100, records, dtype=np.uint8)
    content = pack(np.stack([coarse, fine], 1), images)
    names = "\n".join(FINE_NAMES).encode()
    members = {"train.bin": content, "test.bin": content, "fine_label_names.txt": names, "coarse_label_names.txt": b""}
    return members, images, fine


def pack(label_bytes, images):
    return np.concatenate([label_bytes, images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1).tobytes()


def write_folder(root, folder, members):
    (root / folder).mkdir(parents=True)
    for name, content in members.items():
        (root / folder / name).write_bytes(content)


def write_archive(path, members, extra=()):
    with tarfile.open(path, "w:gz") as tar:
        for info in extra:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def prefixed(folder, members):
    return {f"{folder}/{name}": content for name, content in members.items()}


def trust(monkeypatch, name, path):
    """Make the checksum of this file the expected one."""
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.FORMATS, name, dataclasses.replace(cifar.FORMATS[name], md5=md5))


@pytest.fixture
def archive10(tmp_path, rng, monkeypatch):
    """A root with a small, trusted CIFAR-10 archive: (root, archive, images, labels)."""
    members, images, labels = cifar10_members(rng)
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, prefixed("cifar-10-batches-bin", members))
    trust(monkeypatch, "cifar10", path)
    return tmp_path, path, images, labels


def test_the_expected_checksums_are_the_published_ones():
    assert cifar.FORMATS["cifar10"].md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert cifar.FORMATS["cifar100"].md5 == "03b5dce01913d631647c71ecec9e9cb8"


def test_cifar10_from_a_folder(tmp_path, rng):
    members, images, labels = cifar10_members(rng)
    write_folder(tmp_path, "cifar-10-batches-bin", members)
    train, test = data.load("cifar10", tmp_path), data.load("cifar10", tmp_path, "test")
    assert np.array_equal(train.images, np.concatenate([images[name] for name in CIFAR10_FILES[:5]]))
    assert np.array_equal(train.labels, np.concatenate([labels[name] for name in CIFAR10_FILES[:5]]))
    assert np.array_equal(test.images, images["test_batch.bin"])
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int64)
    assert train.images.flags.c_contiguous
    assert (train.image_size, train.channels, train.name) == ((32, 32), 3, "cifar10")
    assert train.classes == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_cifar10_from_an_archive_equals_the_folder(archive10):
    root, _, images, labels = archive10
    train, test = data.load("cifar10", root), data.load("cifar10", root, "test")
    assert np.array_equal(train.images, np.concatenate([images[name] for name in CIFAR10_FILES[:5]]))
    assert np.array_equal(test.images, images["test_batch.bin"])
    assert np.array_equal(test.labels, labels["test_batch.bin"])
    assert [path.name for path in root.iterdir()] == ["cifar-10-binary.tar.gz"]  # nothing was unpacked


@pytest.mark.parametrize("packed", [False, True])
def test_cifar100_uses_the_fine_labels(tmp_path, rng, monkeypatch, packed):
    members, images, fine = cifar100_members(rng)
    if packed:
        write_archive(tmp_path / "cifar-100-binary.tar.gz", prefixed("cifar-100-binary", members))
        trust(monkeypatch, "cifar100", tmp_path / "cifar-100-binary.tar.gz")
    else:
        write_folder(tmp_path, "cifar-100-binary", members)
    for split in ("train", "test"):
        dataset = data.load("cifar100", tmp_path, split)
        assert np.array_equal(dataset.images, images)
        assert np.array_equal(dataset.labels, fine)
        assert dataset.classes == FINE_NAMES


def test_class_names_are_built_in(tmp_path, rng):
    members, _, _ = cifar10_members(rng)
    del members["batches.meta.txt"]
    write_folder(tmp_path, "cifar-10-batches-bin", members)
    members, _, _ = cifar100_members(rng)
    del members["fine_label_names.txt"]
    write_folder(tmp_path, "cifar-100-binary", members)
    assert data.load("cifar10", tmp_path).classes[-1] == "truck"
    classes = data.load("cifar100", tmp_path).classes
    assert len(set(classes)) == 100
    assert classes == sorted(classes)
    assert [classes[i] for i in (0, 1, 50, 99)] == ["apple", "aquarium_fish", "mouse", "worm"]


def test_a_names_file_of_the_wrong_length_is_refused(tmp_path, rng, refused):
    members, _, _ = cifar10_members(rng)
    members["batches.meta.txt"] = b"cat\ndog\n"
    write_folder(tmp_path, "cifar-10-batches-bin", members)
    with refused("batches.meta.txt", "2 class names, expected 10"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_nothing_there_says_what_to_put_where(tmp_path, refused, name):
    archive = cifar.FORMATS[name].archive
    with refused(str(tmp_path), f"https://www.cs.toronto.edu/~kriz/{archive}", "download=True"):
        data.load(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_is_refused(tmp_path, rng, refused):
    members, _, _ = cifar10_members(rng)
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, prefixed("cifar-10-batches-bin", members))
    with refused(str(path), "MD5", "delete it"):
        data.load("cifar10", tmp_path)


def test_a_truncated_archive_is_refused_whatever_its_checksum(archive10, monkeypatch, refused):
    root, path, _, _ = archive10
    path.write_bytes(path.read_bytes()[:-5000])
    with refused(str(path), "incomplete or damaged"):
        data.load("cifar10", root)
    trust(monkeypatch, "cifar10", path)
    with refused(str(path), "not a readable .tar.gz"):
        data.load("cifar10", root)
    path.write_bytes(b"<html>404</html>")
    trust(monkeypatch, "cifar10", path)
    with refused(str(path), "not a readable .tar.gz"):
        data.load("cifar10", root)


@pytest.mark.parametrize("length", [0, 3072, 3 * 3073 - 1])
def test_a_truncated_file_is_refused(tmp_path, rng, refused, length):
    members, _, _ = cifar10_members(rng)
    members["data_batch_4.bin"] = members["data_batch_4.bin"][:length]
    write_folder(tmp_path, "cifar-10-batches-bin", members)
    with refused("data_batch_4.bin", f"{length:,} bytes", "truncated"):
        data.load("cifar10", tmp_path)
    data.load("cifar10", tmp_path, "test")  # which does not need that file


def test_a_missing_file_is_refused(tmp_path, rng, refused):
    members, _, _ = cifar10_members(rng)
    del members["data_batch_3.bin"]
    write_folder(tmp_path, "cifar-10-batches-bin", members)
    with refused("cifar-10-batches-bin", "data_batch_3.bin is missing"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_label_out_of_range_names_file_record_and_value(tmp_path, rng, refused, name):
    members, _, _ = cifar10_members(rng) if name == "cifar10" else cifar100_members(rng)
    layout = cifar.FORMATS[name]
    file = layout.train_files[-1]
    content = bytearray(members[file])
    content[2 * (layout.label_bytes + 3072) + layout.label_bytes - 1] = 100
    members[file] = bytes(content)
    write_folder(tmp_path, layout.folder, members)
    with refused(file, "record 2", "label 100", f"0 to {len(layout.names) - 1}"):
        data.load(name, tmp_path)


def test_a_file_too_long_is_refused_unread(tmp_path, rng, refused, monkeypatch, archive10):
    root, path, _, _ = archive10
    monkeypatch.setattr(cifar, "_MAX_BYTES", 3 * 3073 - 1)
    with refused(str(path), "data_batch_1.bin", "too long"):
        data.load("cifar10", root)
    members, _, _ = cifar10_members(rng)
    write_folder(tmp_path, "cifar-10-batches-bin", members)
    with refused("data_batch_1.bin", "too long"):
        data.load("cifar10", tmp_path)


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def evil(name):
    info = tarfile.TarInfo(name)
    info.size = 9
    return info


def test_members_with_other_names_are_ignored_and_never_written(tmp_path, rng, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    members, images, _ = cifar10_members(rng)
    names = ["../evil.bin", "cifar-10-batches-bin/../../evil.bin", str(tmp_path / "evil.bin"), "other/data_batch_1.bin"]
    extra = [*map(evil, names), link("cifar-10-batches-bin/link", "/etc/passwd", tarfile.SYMTYPE)]
    write_archive(root / "cifar-10-binary.tar.gz", prefixed("cifar-10-batches-bin", members), extra)
    trust(monkeypatch, "cifar10", root / "cifar-10-binary.tar.gz")
    assert np.array_equal(data.load("cifar10", root, "test").images, images["test_batch.bin"])
    assert len(data.load("cifar10", root)) == 15
    assert [path.name for path in tmp_path.rglob("*")] == ["root", "cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path, rng, monkeypatch, refused, kind):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(3073))  # one valid record
    members, _, _ = cifar10_members(rng)
    del members["test_batch.bin"]
    hostile = link("cifar-10-batches-bin/test_batch.bin", str(secret), kind)
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, prefixed("cifar-10-batches-bin", members), [hostile])
    trust(monkeypatch, "cifar10", path)
    with refused(str(path), "test_batch.bin is missing"):
        data.load("cifar10", tmp_path, "test")


def test_download_then_load(tmp_path, server, archive10, monkeypatch):
    _, path, images, _ = archive10
    server.files["cifar-10-binary.tar.gz"] = path.read_bytes()
    monkeypatch.setattr(cifar, "URL", server.url)
    root, calls = tmp_path / "fresh", []
    dataset = data.load("cifar10", root, "test", download=True, progress=lambda *call: calls.append(call))
    assert np.array_equal(dataset.images, images["test_batch.bin"])
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)
    data.load("cifar10", root, "test", download=True)
    assert len(server.ranges) == 1  # the second time it was there


def test_a_failed_download_is_not_taken_for_the_archive(tmp_path, server, monkeypatch, refused):
    server.files["cifar-10-binary.tar.gz"] = b"not the archive"
    monkeypatch.setattr(cifar, "URL", server.url)
    with refused("wrong checksum", server.url):
        data.load("cifar10", tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []
