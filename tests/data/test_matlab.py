"""MATLAB files: as SciPy writes them, as MATLAB does, and damaged ones, which are refused in one way."""

import base64
import struct
import zlib

import numpy as np
import pytest
from matlab_files import matlab_file, synsets

from minivit.data import matlab
from minivit.data.matlab import read_matlab

# Written by scipy.io.savemat (1.17, compressed): four synsets with the fields of ImageNet's meta.mat.
OF_SCIPY = base64.b64decode(
    "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFN1biBOb3YgMjkgMTg6Mzc6MjEgMjAyNgAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABSU0PAAAAswEAAHic7VVNT8IwGC4yEBKC"
    "aDyYeOnRA4eND4HbEjxIYoxRg0fSjLI1js60ncg/8K/6L2xlg9KYAIMjb/Kued71edquz9oqAOCmDEBRtiWZJ2ARhQRbMnNJnsrk"
    "c8qx4PK9Bc6T+rfMwcPL8LnfsJ3GaHCnBN4eF+0yZhEbc73ghxFfK9B4OvICEo4Zpn+FNZBqUCxGASZ+IBKKYIjQEZkiH3NQlcUu"
    "WK2naqwnp6WKilYHSX9X41v/8Mta/1qCqd1wnF6n29N07jfoXBk6Cr8TASfRVx0O4/ADczhFHosE4dvMq2roKcynKAyhz/BcyYLM"
    "3ycN1d/W+EWDn0bKL2u8fcfNwr8s7MdP/4fsvnBaLbtz29J0NvniwtBRWGDqBXX4SqiHoFDP7ed1ZugpPGGYBzMkMINj5OGjL3bk"
    "57XxXZDRF812s6PpPG3QuTZ0FPajcDwhXFqjjxjinMQcopghEfOt51cxdBVOzg2pvjh+j/7Yjf+TX/FdkOk+aTsNu93U1mFv0LHW"
    "dCygfJH13kB0DqMJ/ESMRMpKhz4/zf3PJX31/a+BZbiLpuQe4n7fx0+/nZduRA=="
)


def test_a_file_of_scipy():
    found = read_matlab(OF_SCIPY)["synsets"]
    assert [(int(each["ILSVRC2012_ID"].item()), each["WNID"]) for each in found] == [
        (1, "n02119789"),
        (2, "n01440764"),
        (3, "n01443537"),
        (1001, "n02512053"),
    ]
    assert found[0]["words"] == "kit fox, Vulpes macrotis"
    assert found[0]["children"].size == 0
    np.testing.assert_array_equal(found[3]["children"], [[2, 3]])


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_values_of_every_kind(compressed, order):
    values = {
        "numbers": np.array([[1.5, 2, 3], [4, 5, 6]]),
        "few": np.array([[1, 2], [3, 200]]),
        "text": "hällo",
        "empty": "",
        "cells": ["a", np.array([[7]]), ["b"]],
        "records": ({"key": "x", "other": 1}, {"key": "y", "other": 2}),
    }
    found = read_matlab(matlab_file(values, compressed, order))
    assert found.keys() == values.keys()
    np.testing.assert_array_equal(found["numbers"], values["numbers"])
    np.testing.assert_array_equal(found["few"], values["few"])
    assert (found["text"], found["empty"]) == ("hällo", "")
    assert (found["cells"][0], found["cells"][1].item(), found["cells"][2]) == ("a", 7, ["b"])
    assert [(each["key"], each["other"].item()) for each in found["records"]] == [("x", 1), ("y", 2)]


NEWER = b"MATLAB 7.3".ljust(124) + b"\x00\x02IM"  # HDF5


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"MATLAB 5.0".ljust(128), NEWER])
def test_other_files(content):
    with pytest.raises(ValueError, match="not a MATLAB file of version 5"):
        read_matlab(content)


def test_every_cut_and_many_changes_are_refused_or_read():
    """Nothing but a ValueError comes out of a damaged file."""
    whole = synsets([(1, "n02119789"), (2, "n01440764")], compressed=False)
    for end in range(128, len(whole), 7):
        if whole[:end] != whole[:128]:
            with pytest.raises(ValueError, match="damaged"):
                read_matlab(whole[:end])
    rng, messages = np.random.default_rng(0), set()
    for _ in range(300):
        spoilt = bytearray(whole)
        spoilt[rng.integers(128, len(whole))] ^= 1 << int(rng.integers(8))
        try:
            read_matlab(bytes(spoilt))
        except ValueError as error:
            messages.add(str(error))
    assert {message for message in messages if "not read here" not in message} == {"it is damaged"}


def test_what_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(matlab, "LARGEST", 1000)
    packed = zlib.compress(bytes(10_000))
    content = matlab_file({}) + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(ValueError, match="damaged"):
        read_matlab(content)
