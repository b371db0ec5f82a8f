""".npz files: written whole or not at all, and read without ever running what is in them."""

import errno
import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from minivit.errors import CheckpointError
from minivit.models.archive import read_arrays, read_npz, write_npz, write_safetensors

ARRAYS = {
    "a/b.c": np.arange(6, dtype="float32").reshape(2, 3),
    "scalar": np.array(7),
    "empty": np.zeros((0, 3)),
    "word": np.array("ViT"),
}


class Bomb:
    """Unpickling one calls os.mkdir: a directory appears."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        read_npz(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_round_trip_is_exact_and_holds_nothing_else(tmp_path):
    path = tmp_path / "model.npz"
    write_npz(path, ARRAYS)
    found = read_npz(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_the_name_is_taken_as_it_is(tmp_path):
    write_npz(tmp_path / "checkpoint", ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
    assert set(read_npz(tmp_path / "checkpoint")) == set(ARRAYS)


# Writing


def disk_full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_written(file, array, **options):
    file.write(b"PK\x03\x04 the beginning of a zip")
    disk_full()


FAILURES = {
    "in the middle": (np.lib.format, "write_array", half_written),
    "at the end": (os, "fsync", disk_full),
    "in the move": (os, "replace", disk_full),
}


@pytest.mark.parametrize("when", FAILURES)
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch, when, existing):
    path = tmp_path / "model.npz"
    if existing:
        write_npz(path, {"old": np.ones(3)})
    monkeypatch.setattr(*FAILURES[when])
    with pytest.raises(CheckpointError) as caught:
        write_npz(path, ARRAYS)
    monkeypatch.undo()
    message = str(caught.value)
    assert message.startswith(f"cannot write {path}: No space left on device")
    assert "\n" not in message
    assert message.endswith("the file that was there before is unharmed") == existing
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"] * existing
    if existing:
        assert read_npz(path)["old"].tolist() == [1, 1, 1]


def test_the_new_file_is_on_disk_before_it_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append("fsync") or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda *paths: steps.append("replace") or replace(*paths))
    write_npz(tmp_path / "model.npz", ARRAYS)
    assert steps == ["fsync", "replace"]


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_and_safetensors(tmp_path, monkeypatch, existing):
    path = tmp_path / "model.safetensors"
    if existing:
        write_safetensors(path, {"old": np.ones(3)}, {})
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_safetensors(path, {"new": np.ones(3)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"] * existing
    if existing:
        assert list(read_arrays(path)[0]) == ["old"]


def test_safetensors_keep_order_of_elements_dtype_and_metadata(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = {
        "t": np.arange(6.0).reshape(2, 3).T,
        "half": np.ones(3, "f2"),
        "empty": np.zeros((0, 3)),
        "n": np.arange(3),
        "without axes": np.array(2.5),
    }
    write_safetensors(path, arrays, {"format": "pt"})
    found, metadata = read_arrays(path)
    assert metadata == {"format": "pt"}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    (tmp_path / "plain").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # readable by whoever reads other files


def test_only_files_of_that_format_need_the_package_safetensors(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"x": np.ones(3)}, {})
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for use in (lambda: read_arrays(path), lambda: write_safetensors(path, {"x": np.ones(3)}, {})):
        with pytest.raises(CheckpointError) as caught:
            use()
        assert str(caught.value).startswith(f"{path} needs the package safetensors: python -m pip install safetensors")
    write_npz(tmp_path / "model.npz", ARRAYS)
    assert set(read_arrays(tmp_path / "model.npz")[0]) == set(ARRAYS)


def test_the_commands_start_without_safetensors():
    program = "import sys; sys.modules['safetensors'] = None; import minivit.train, minivit.evaluate, minivit.predict"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    write_npz(path, {"old": np.ones(3)})

    def interrupted(file, array, **options):
        file.write(b"PK")
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_npz(path, ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]
    assert read_npz(path)["old"].tolist() == [1, 1, 1]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"^cannot write .*model.npz: \w") as caught:
        write_npz(tmp_path / "missing" / "model.npz", ARRAYS)
    assert "\n" not in str(caught.value)


def test_objects_are_not_written(tmp_path):
    with pytest.raises(TypeError, match="config is an array of Python objects"):
        write_npz(tmp_path / "model.npz", {"config": np.array({"width": 3})})
    assert list(tmp_path.iterdir()) == []


# Reading


def test_a_missing_file(tmp_path):
    assert refused(tmp_path / "model.npz").endswith("model.npz does not exist")


@pytest.mark.parametrize("kept", [0, 1, 3, 100, -1, -30])
def test_a_truncated_file(tmp_path, kept):
    path = tmp_path / "model.npz"
    write_npz(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_bits(tmp_path, save):
    path = tmp_path / "model.npz"
    save(path, a=np.random.default_rng(0).integers(0, 9, 1000))
    data = bytearray(path.read_bytes())
    for i in range(200, 300):
        data[i] ^= 0xFF
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x00" * 1000])
def test_a_file_of_another_kind(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    assert "not a checkpoint" in refused(path)


def test_a_single_array(tmp_path):
    np.save(tmp_path / "one.npy", np.ones(3))
    assert refused(tmp_path / "one.npy").endswith(
        "holds one array, not named arrays: name a file of weights, .npz or .safetensors"
    )


def test_a_folder(tmp_path):
    refused(tmp_path)


def test_a_zip_of_other_things(tmp_path):
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"as torch.save writes them")
    assert "is a file of PyTorch with a pickle in it" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", b"words")
    assert "is not a checkpoint: notes.txt in it is not an array" in refused(path)


def test_pickles_are_never_opened(tmp_path):
    """As an array of objects in an .npz, as an .npy, and as a bare pickle under the name of a checkpoint."""
    trap = tmp_path / "sprung"
    objects = np.array([Bomb(trap)], dtype=object)
    np.savez(tmp_path / "objects.npz", weights=np.ones(3), config=objects)
    np.save(tmp_path / "objects.npy", objects)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Bomb(trap)))
    for name in ("objects.npz", "objects.npy", "pickle.npz"):
        refused(tmp_path / name)
    assert not trap.exists()
    pickle.load(io.BytesIO((tmp_path / "pickle.npz").read_bytes()))  # the trap works
    assert trap.is_dir()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("read", [read_arrays, read_npz])
def test_a_pipe_is_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "checkpoint.npz")
    with pytest.raises(CheckpointError, match="is not a file"):
        read(tmp_path / "checkpoint.npz")
