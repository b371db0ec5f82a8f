"""What a person may name in the place of a file of weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from minivit.errors import CheckpointError
from minivit.models import export, load_pretrained
from minivit.models.whereabouts import weights_file


@pytest.fixture
def folder(tmp_path, tiny, perturbed):
    """A folder as transformers writes it."""
    model = perturbed(tiny(image_size=8, patch_size=2, gelu="erf"))
    (tmp_path / "vit").mkdir()
    export(model, tmp_path / "vit" / "model.safetensors", "hf")
    return tmp_path / "vit"


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_with_one_file_of_weights_stands_for_it(folder):
    (folder / "optimizer.bin").write_bytes(b"\x80\x02.")
    one, other = load_pretrained(folder), load_pretrained(str(folder / "model.safetensors"))
    assert one.config == other.config
    np.testing.assert_array_equal(one.head.weight.data, other.head.weight.data)


def test_of_several_files_none_is_guessed(folder):
    (folder / "model.fp16.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    message = f"{folder} holds 2 files of weights: name one of them (model.fp16.safetensors, model.safetensors)"
    assert refused(folder) == message


def test_a_folder_without_weights_that_can_be_read_says_what_it_has(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    assert refused(folder).startswith(f"{folder / 'pytorch_model.bin'} is a pickle")
    (folder / "pytorch_model.bin").unlink()
    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(b"")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {}}), encoding="utf-8")
    assert "is the index of weights in several files, which are not read" in refused(folder)
    assert refused(folder.parent) == f"{folder.parent} is not a file"


def test_a_run_stays_a_run(folder):
    (folder / "checkpoint.npz").write_bytes(b"")
    assert weights_file(folder) == folder


@pytest.mark.parametrize("address", ["https://example.org/a//b.npz", "gs://vit_models/a.npz", "hf-hub:timm/vit"])
def test_an_address_is_echoed_as_it_was_written(address):
    assert refused(address) == f"{address} is an internet address: download the file first and give its path"
    assert refused(Path(address)).endswith("is an internet address: download the file first and give its path")
    assert refused(Path(address)).startswith(address[:9])


def test_a_file_whose_name_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("http:").mkdir()
    Path("http:/model.npz").write_bytes(b"words")
    assert refused("http:/model.npz").startswith("http:/model.npz is a text")


def test_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert load_pretrained("~/model.safetensors").config == load_pretrained(folder).config
    export(load_pretrained(folder), "~/copy.npz", "timm")
    assert (folder / "copy.npz").exists()
    assert "the home folder ~nobody-of-this-name is not known" in refused("~nobody-of-this-name/model.npz")
