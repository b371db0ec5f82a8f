"""Files made to do harm: each ends in one line, costs no memory, and leaves nothing behind."""

import contextlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minivit.errors import CheckpointError
from minivit.models import ViT, export, load_pretrained
from minivit.models.archive import read_arrays, write_safetensors

resource = pytest.importorskip("resource", reason="limits of memory are those of Unix")
MODEL = Path("model")
STATM = Path("/proc/self/statm")
SMALL = 100 * 2**20  # bytes of address space that a reader may take on top of what it has


def npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_header(text, version=(1, 0)):
    """A .npy file of any header and 16 bytes of data."""
    body = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(body)) + body + bytes(16)


def shape(text, descr="'<f4'"):
    return npy_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {text}}}")


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


# .npz: {case: ({member: content}, what the line says)}
MEMBERS = {
    "a shape far larger than the data": ({"w.npy": shape("(1000000, 1000000)")}, "does not have the size"),
    "a shape that overflows": ({"w.npy": shape(f"({2**62}, {2**62})")}, "does not have the size"),
    "a product of zero": ({"w.npy": shape(f"(0, {2**62})")}, "does not have the size"),
    "negative sizes": ({"w.npy": shape("(-2, -2)")}, "does not have the size"),
    "a shape of words": ({"w.npy": shape("('a',)")}, "an invalid header"),
    "a huge element": ({"w.npy": shape("(1,)", "'<U100000000'")}, "does not have the size"),
    "code for a header": ({"w.npy": npy_header("__import__('os').mkdir('sprung')")}, "an invalid header"),
    "a nested header": ({"w.npy": npy_header("(" * 5000)}, "an invalid header"),
    "a later version": ({"w.npy": npy_header("{}", (3, 0))}, "version (3, 0)"),
    "no header": ({"w.npy": b"nonsense"}, "magic string"),
    "an empty member": ({"w.npy": b""}, ""),
    "a way out of the folder": ({"../../w.npy": npy(np.ones(3))}, "is not a valid array name"),
    "an absolute path": ({"/etc/w.npy": npy(np.ones(3))}, "is not a valid array name"),
    "a path of Windows": ({"a\\..\\w.npy": npy(np.ones(3))}, "is not a valid array name"),
    "colours for the terminal": ({"\x1b[31mw.npy": npy(np.ones(3))}, "\\x1b[31mw is not a valid array name"),
    "a name of two lines": ({"a\nb.npy": npy(np.ones(3))}, "is not a valid array name"),
    "another kind of member": ({"w.npy": npy(np.ones(3)), "run.sh": b"#!/bin/sh"}, "run.sh in it is not an array"),
    "objects": ({"w.npy": npy(np.array([{"a": 1}], dtype=object))}, "Python objects"),
    "objects in a field": ({"w.npy": npy(np.zeros(2, [("x", "O")]))}, "Python objects"),
    "no arrays": ({}, "is not a released ViT checkpoint"),
    "integers": ({"embedding/kernel.npy": npy(np.ones((1, 1, 1, 1), int))}, ""),
}


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test runs in a folder of its own, and leaves nothing in it but "model"."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert {path.name for path in tmp_path.iterdir()} <= {"model"}


@contextlib.contextmanager
def little_memory():
    """In this context a request for more than `SMALL` fails."""
    limit = resource.getrlimit(resource.RLIMIT_AS)
    if STATM.exists():
        taken = int(STATM.read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + SMALL, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def refused(expected="", load=load_pretrained):
    """The file "model" is refused with one line that says what is expected."""
    before = MODEL.read_bytes()
    with little_memory(), pytest.raises(CheckpointError) as caught:
        load(MODEL)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert message.startswith("model")
    assert len(message) < 400
    assert expected in message
    assert MODEL.read_bytes() == before


@pytest.mark.parametrize("case", MEMBERS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_npz(case, compression):
    members, expected = MEMBERS[case]
    write_zip("model", members, compression)
    refused(expected)


def test_a_zip_bomb():
    zeros = npy(np.zeros(2**25, "f4"))  # 128 MB in 130 kB
    write_zip("model", {"w.npy": zeros}, zipfile.ZIP_DEFLATED)
    assert os.path.getsize("model") < 200_000
    refused("more than 8 times as large as the file")


def test_many_small_bombs():
    zeros = npy(np.zeros(2**21, "f4"))
    write_zip("model", {f"{i}.npy": zeros for i in range(9)}, zipfile.ZIP_DEFLATED)
    refused("more than 8 times as large as the file")


def test_members_that_share_their_bytes():
    """One array of 1 MB under a hundred names: a central directory whose entries all point to it."""
    write_zip("model", {"w0.npy": npy(np.random.default_rng(0).standard_normal(2**17))})
    data = MODEL.read_bytes()
    start = data.index(b"PK\x01\x02")
    entry = data[start : data.index(b"PK\x05\x06")]
    entries = b"".join(entry.replace(b"w0.npy", b"w%1x.npy" % i) for i in range(16))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 16, 16, len(entries), start, 0)
    MODEL.write_bytes(data[:start] + entries + end)
    refused("its arrays overlap")


def test_two_members_of_one_name():
    write_zip("model", {"v.npy": npy(np.ones(3)), "w.npy": npy(np.zeros(3))})
    MODEL.write_bytes(MODEL.read_bytes().replace(b"v.npy", b"w.npy"))
    refused("two of its arrays have the same name")


def test_a_declared_size_that_lies():
    """The directory says 80 bytes, the compressed data are 8 MB."""
    write_zip("model", {"w.npy": npy(np.zeros(2**20))}, zipfile.ZIP_DEFLATED)
    data = bytearray(MODEL.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, 80)
    MODEL.write_bytes(data)
    refused()


def test_a_member_that_ends_before_its_array():
    """The directory and the header say 100 numbers, fifty are there; the rest would be whatever memory holds."""
    whole = npy(np.ones(100, "f4"))
    write_zip("model", {"w.npy": whole[:-200]})
    data = bytearray(MODEL.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, len(whole))
    MODEL.write_bytes(data)
    refused("w is shorter than its header says")


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compression_that_numpy_does_not_write(compression):
    write_zip("model", {"w.npy": npy(np.ones(100))}, compression)
    refused("its compression is not one that NumPy writes")


def test_more_arrays_than_any_model_has(monkeypatch):
    monkeypatch.setattr("minivit.models.archive.MAX_ARRAYS", 3)
    write_zip("model", {f"{i}.npy": npy(np.ones(1)) for i in range(4)})
    refused("it holds 4 arrays, expected at most 3")
    safetensors({f"w{i}": entry(shape=(1,), offsets=(4 * i, 4 * i + 4)) for i in range(4)})
    refused("it holds 4 arrays, expected at most 3")


def test_pickles(folder):
    trap = folder / "sprung"
    for content in (pickle.dumps(Trap(trap)), pickle.dumps({"w": Trap(trap)}, protocol=2), pickle.dumps(Trap(trap), 0)):
        MODEL.write_bytes(content)
        refused()
    MODEL.write_bytes(pickle.dumps(Trap(trap)))
    refused("is a pickle, which could run anything")
    write_zip("model", {"archive/data.pkl": pickle.dumps(Trap(trap)), "archive/data/0": bytes(8)})  # torch.save
    refused("is a file of PyTorch with a pickle in it, which could run anything; ask for a .safetensors")
    assert not trap.exists()


# .safetensors


def safetensors(header, data=bytes(16), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    MODEL.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def entry(dtype="F32", shape=(4,), offsets=(0, 16), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


HEADERS = {
    "a shape far larger than the data": {"w": entry(shape=(10**6, 10**6))},
    "a shape that overflows": {"w": entry(shape=(2**62, 2**62, 4))},
    "a shape beyond 64 bits": {"w": entry(shape=(2**70,))},
    "negative sizes": {"w": entry(shape=(-2, -2))},
    "fractions": {"w": entry(shape=(4.0,))},
    "offsets beyond the file": {"w": entry(shape=(400,), offsets=(0, 1600))},
    "offsets before the data": {"w": entry(offsets=(-16, 0))},
    "offsets that run backwards": {"w": entry(offsets=(16, 0))},
    "arrays that overlap": {"v": entry(), "w": entry()},
    "a hole": {"v": entry(shape=(1,), offsets=(0, 4)), "w": entry(shape=(2,), offsets=(8, 16))},
    "bytes that belong to nobody": {"w": entry(shape=(2,), offsets=(0, 8))},
    "an unknown type": {"w": entry(dtype="F128")},
    "a type of Python": {"w": entry(dtype="object")},
    "a type that NumPy lacks": {"w": entry(dtype="F8_E4M3", shape=(16,))},
    "no type": {"w": {"shape": [4], "data_offsets": [0, 16]}},
    "no shape": {"w": {"dtype": "F32", "data_offsets": [0, 16]}},
    "an entry that is none": {"w": 3},
    "a list": [1, 2],
    "metadata that are none": {"__metadata__": 3, "w": entry()},
    "a way out of the folder": {"../../w": entry()},
    "colours for the terminal": {"\x1b[31mw": entry()},
    "a name of two lines": {"a\nb": entry()},
    "no name": {"": entry()},
    "none": {},
    "a very long name": {"x" * 10**6: entry()},
}


def test_a_sound_file_is_read():
    safetensors({"__metadata__": {"a": "b"}, "w": entry()})
    arrays, metadata = read_arrays(MODEL)
    assert (arrays["w"].tolist(), metadata) == ([0, 0, 0, 0], {"a": "b"})


@pytest.mark.parametrize("case", HEADERS)
def test_safetensors(case):
    safetensors(HEADERS[case])
    refused(load=read_arrays)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("layer_scale", 10**400, "layer_scale is 1000000"),
        ("gelu", "\x1b[31m" * 10**4, r'gelu is "\x1b[31m'),
        ("classifier", "x" * 10**4, 'classifier is "xxx'),
        ("norm_eps", 10**400, "norm_eps is 1000000"),
        ("heads", 10**400, "heads is 1000000"),
        ("image_size", 10**400, "image_size is 1000000"),
    ],
    ids=["layer_scale", "gelu", "classifier", "norm_eps", "heads", "image_size"],
)
def test_metadata_out_of_range(tiny, field, value, expected):
    export(ViT(tiny(image_size=4, patch_size=2, position="none")), "model", "timm")
    arrays, metadata = read_arrays(MODEL)
    told = {**json.loads(metadata["minivit"]), field: value}
    write_safetensors(MODEL, arrays, {"minivit": json.dumps(told)})
    refused(expected)


@pytest.mark.parametrize("ours", ["{", "[]" * 3, '{"heads": "x"}', '{"norm_eps": NaN}', '{"image_size": [[]]}'])
def test_metadata_in_our_name(ours):
    safetensors({"__metadata__": {"minivit": ours}, "patch_embed.proj.weight": entry(shape=(1, 1, 2, 2))})
    refused()


RAW = {
    "not JSON": b"{nonsense",
    "nested lists": b'{"a":' + b"[" * 100_000,
    "a name twice": b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
    b'"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    "a shape twice": b'{"w":{"dtype":"F32","shape":[4],"shape":[4000000],"data_offsets":[0,16]}}',
    "no UTF-8": b'{"\xff\xfe":1}',
    "an endless number": b'{"w":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,16]}}',
}


@pytest.mark.parametrize("case", RAW)
def test_safetensors_headers_that_are_no_json(case):
    safetensors(RAW[case])
    refused(load=read_arrays)


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**24 + 1, 2**40, 2**63, 2**64 - 1])
def test_the_length_of_a_safetensors_header(length):
    safetensors({"w": entry()}, length=length)
    refused("its header claims" if length > 1000 else "", load=read_arrays)


@pytest.mark.parametrize("kept", [0, 4, 8, 9, 60, -1])
def test_a_truncated_safetensors_file(tiny, kept):
    export(ViT(tiny()), "model", "timm")
    MODEL.write_bytes(MODEL.read_bytes()[:kept])
    refused(load=read_arrays)


# Arrays that are sound, but no ViT


@pytest.mark.parametrize("width", [0, 3 * 2**20])
def test_a_width_that_nothing_else_has(width):
    """A patch projection of 3 million features: 12 MB in the file, terabytes as a model."""
    kernel = np.zeros((1, 1, 1, width), "f4")
    block = "Transformer/encoderblock_0/"
    query = np.zeros((1, 1, 1), "f4")
    members = {
        "embedding/kernel": kernel,
        "Transformer/posembed_input/pos_embedding": np.zeros((1, 1, 1), "f4"),
        f"{block}MultiHeadDotProductAttention_1/query/kernel": query,
        f"{block}MlpBlock_3/Dense_0/kernel": np.zeros((1, 1), "f4"),
    }
    write_zip("model", {f"{name}.npy": npy(array) for name, array in members.items()})
    refused()


def test_a_stack_of_very_many_blocks():
    kernels = {
        "embedding/kernel": np.zeros((1, 1, 1, 8), "f4"),
        "Transformer/encoderblock/LayerNorm_0/scale": np.zeros((10**6, 0), "f4"),
    }
    write_zip("model", {f"{name}.npy": npy(array) for name, array in kernels.items()})
    refused("it has a stack of blocks of shape (1000000, 0)")


def test_a_stack_that_no_block_has_is_not_taken_apart(tiny):
    """Thousands of these, of shape (1000, 0), would be millions of arrays."""
    export(ViT(tiny(image_size=8, patch_size=2)), "model")
    np.savez("model.npz", **read_arrays(MODEL)[0], **{"Transformer/encoderblock/x": np.zeros((1000, 0), "f4")})
    os.replace("model.npz", "model")
    refused("unexpected: Transformer/encoderblock/x")


@pytest.mark.parametrize(
    ("count", "expected"), [(1001, "it has 1001 blocks, expected at most 1000"), (1000, "missing")]
)
def test_very_many_blocks_without_weights(count, expected):
    """A model of a thousand blocks would take 16 GB, and only the names of its blocks are in the file."""
    arrays = {
        "patch_embed.proj.weight": np.zeros((1000, 1, 1, 1), "f2"),
        "pos_embed": np.zeros((1, 1, 1000), "f2"),
        "blocks.0.mlp.fc1.weight": np.zeros((1, 0), "f2"),
        **{f"blocks.{i}.x": np.zeros(0, "f2") for i in range(count)},
    }
    write_safetensors(MODEL, arrays, {})
    refused(expected, load=lambda path: load_pretrained(path, heads=1))


def test_very_many_units_of_a_stem(tiny):
    export(ViT(tiny(image_size=8, patch_size=2, stem=(), stem_width=32)), "model")
    names = {f"block1/unit{i}/x": np.zeros(0, "f4") for i in range(1001)}
    np.savez("model.npz", **read_arrays(MODEL)[0], **names)
    os.replace("model.npz", "model")
    refused("it has 1001 blocks, expected at most 1000")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers(tiny, value):
    export(ViT(tiny(image_size=8, patch_size=2), dtype="float64"), "model")
    arrays = read_arrays(MODEL)[0]
    arrays["cls"][0, 0, 3] = value
    np.savez("model.npz", **arrays)
    os.replace("model.npz", "model")
    refused("cls holds NaN or infinity", load=lambda path: load_pretrained(path, image_size=4))


@pytest.mark.parametrize("stages", [[10**12], [1, 10**12], [0], range(1, 40), range(1, 2000)], ids=str)
def test_stages_of_a_stem_that_nobody_would_build(tiny, stages):
    """A small file may name any stage; each doubles the channels."""
    config = tiny(image_size=8, patch_size=2, stem=(), stem_width=32)
    export(ViT(config), "model")
    names = {f"block{stage}/unit1/conv1/kernel": np.zeros((1, 1, 1, 1), "f4") for stage in stages}
    np.savez("model.npz", **read_arrays(MODEL)[0], **names)
    os.replace("model.npz", "model")
    refused()


def test_complex_numbers(tiny):
    export(ViT(tiny(image_size=8, patch_size=2)), "model")
    arrays = read_arrays(MODEL)[0]
    np.savez("model.npz", **{name: a.astype(complex) if name == "cls" else a for name, a in arrays.items()})
    os.replace("model.npz", "model")
    refused("cls is of type complex128, expected floats")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_waited_for():
    os.mkfifo("model")
    with pytest.raises(CheckpointError, match="model is not a file"):
        load_pretrained("model")


def test_the_command_says_it_in_one_line():
    safetensors({"w": entry(shape=(10**6, 10**6))})
    done = subprocess.run([sys.executable, "-m", "minivit.predict", "model", "x.png"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: model is truncated or not a checkpoint")
