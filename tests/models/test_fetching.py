"""Published weights by name, from a server that is here: what is downloaded, compared, kept and refused."""

import dataclasses
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minivit.errors import CheckpointError, DataError
from minivit.models import ViT, addresses, export, fetching, load_pretrained, open_pretrained
from minivit.models.addresses import find
from minivit.models.fetching import fetch

NAME = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
FOLDER = f"{NAME}/resolve/main"
CONFIG = {  # as timm writes it
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 3,
    "num_features": 8,
    "global_pool": "token",
    "model_args": {"img_size": 8, "patch_size": 2, "num_heads": 2, "in_chans": 2},
    "pretrained_cfg": {
        "tag": "augreg_in21k_ft_in1k",
        "custom_load": False,
        "input_size": [2, 8, 8],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.4, 0.5],
        "std": [0.25, 0.5],
        "num_classes": 3,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    },
}


@pytest.fixture
def model(tiny, perturbed):
    return perturbed(tiny(image_size=8, patch_size=2))


@pytest.fixture
def hub(server, model, tmp_path, monkeypatch):
    """The server in the place of Hugging Face and of Google, with one model in both layouts."""
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(addresses, "HUB", server.url)
    monkeypatch.setattr(addresses, "BUCKET", server.url)
    erf = ViT(dataclasses.replace(model.config, gelu="erf"), seed=None, dtype="float64")
    erf.load_state_dict(model.state_dict())
    export(erf, tmp_path / "model.safetensors", "timm")
    export(model, tmp_path / "model.npz", "official")
    weights, archive = ((tmp_path / f"model.{kind}").read_bytes() for kind in ("safetensors", "npz"))
    server.files |= {f"{FOLDER}/config.json": json.dumps(CONFIG).encode(), "cdn": weights}
    server.files["imagenet21k+imagenet2012/ViT-B_16.npz"] = archive
    server.moved[f"{FOLDER}/model.safetensors"] = "cdn"
    server.headers[f"{FOLDER}/model.safetensors"] = {"X-Linked-Etag": f'"{hashlib.sha256(weights).hexdigest()}"'}
    return server


@pytest.fixture
def folder(tmp_path):
    """Where the files of `NAME` belong."""
    return tmp_path / "data" / "weights" / NAME


def test_a_name_is_downloaded_once(hub, model, folder):
    lines, progress = [], []
    path = fetch(find("Ti/16"), lambda done, total: progress.append((done, total)), lines.append)
    assert path == folder / "model.safetensors"
    assert path.read_bytes() == hub.files["cdn"]
    assert progress[-1] == (len(hub.files["cdn"]),) * 2
    assert lines == [
        f"downloading {find('Ti/16')}; from {hub.url}{NAME} into {folder.parents[1]}",
        "model.safetensors has the SHA-256 that the server states; config.json: no checksum is stated",
    ]
    files = ["config.json", "config.json.sha256", "model.safetensors", "model.safetensors.sha256"]
    assert sorted(file.name for file in folder.iterdir()) == files
    asked = len(hub.ranges)
    for written in ("Ti/16", "vit_tiny_patch16_224", f"https://huggingface.co/{NAME}", NAME):
        found = open_pretrained(written, dtype="float64")
        np.testing.assert_array_equal(found.model.head.weight.data, model.head.weight.data)
        assert (found.mean, found.std) == ((0.4, 0.5), (0.25, 0.5))
    assert len(hub.ranges) == asked


def test_a_file_of_the_name_comes_first(hub, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Ti").mkdir()
    (tmp_path / "Ti" / "16").write_bytes((tmp_path / "model.npz").read_bytes())
    assert load_pretrained("Ti/16").config == model.config
    assert hub.ranges == []


def test_an_archive_of_googles(hub, model, tmp_path):
    name = "imagenet21k+imagenet2012/ViT-B_16"
    loaded = load_pretrained(f"{name}.npz", dtype="float64")
    np.testing.assert_array_equal(loaded.head.weight.data, model.head.weight.data)
    assert (tmp_path / "data" / "weights" / f"{name}.npz").is_file()


def test_a_wrong_checksum_deletes_the_file(hub, folder):
    hub.headers[f"{FOLDER}/model.safetensors"] = {"X-Linked-Etag": f'"{"0" * 64}"'}
    with pytest.raises(DataError, match="wrong checksum and was deleted"):
        fetch(find("Ti/16"))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (
            "cdn",
            b"<!DOCTYPE html><html><body>Sign in to this network</body></html>",
            "the server sent a different file",
        ),
        ("cdn", None, "the server sent a different file"),
        (f"{FOLDER}/config.json", b"<html>", "the server sent a different file"),
    ],
)
def test_what_is_no_file_of_weights_is_not_kept(hub, folder, file, content, reason):
    hub.headers.clear()
    hub.files[file] = content or hub.files[file][:-9]  # shorter than its own header promises
    with pytest.raises(DataError, match=reason) as caught:
        fetch(find("Ti/16"))
    assert "\n" not in str(caught.value)
    assert not (folder / ("model.safetensors" if file == "cdn" else "config.json")).exists()


def test_it_goes_on_where_it_stopped(hub, folder):
    hub.cut_after = 1000
    with pytest.raises(DataError, match=r"the connection closed after 1,000 of"):
        fetch(find("Ti/16"))
    hub.cut_after = None
    fetch(find("Ti/16"))
    assert hub.ranges[:2] == [None, "bytes=1000-"]
    assert (folder / "model.safetensors").read_bytes() == hub.files["cdn"]


def test_two_at_once(hub, folder):
    together = threading.Barrier(3, timeout=60)

    def one(_):
        together.wait()
        return fetch(find("Ti/16")).read_bytes() == hub.files["cdn"]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, range(3))) == [True] * 3
    assert not [file for file in folder.iterdir() if file.suffix == ".part"]


def test_without_a_network_one_line_says_what_to_put_where(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(addresses, "HUB", "http://127.0.0.1:9/")  # port 9, discard: nobody listens
    said = []
    with pytest.raises(DataError) as caught:
        fetch(find("Ti/16"), say=said.append)
    place = f"http://127.0.0.1:9/{FOLDER}"
    assert str(caught.value).startswith(f"cannot download {NAME} (")
    assert str(caught.value).endswith(
        f"): get {place}/model.safetensors and {place}/config.json on another machine, and put them as "
        f"model.safetensors and config.json into {folder}"
    )
    assert said == []


def test_a_page_that_is_gone_names_the_publisher(hub, folder):
    del hub.files[f"{FOLDER}/config.json"]
    with pytest.raises(DataError) as caught:
        fetch(find("Ti/16"))
    assert f"(Not Found; it may have moved, see {hub.url}{NAME}): get {hub.url}{FOLDER}/config.json on" in str(
        caught.value
    )
    assert str(caught.value).endswith(f"and put it as config.json into {folder}")


def test_files_put_there_by_hand_are_taken_and_remembered(hub, folder):
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(hub.files["cdn"])
    (folder / "config.json").write_bytes(hub.files[f"{FOLDER}/config.json"])
    fetch(find("Ti/16"))
    assert hub.ranges == []
    record = (folder / "model.safetensors.sha256").read_text(encoding="utf-8")
    assert record == f"{hashlib.sha256(hub.files['cdn']).hexdigest()}  model.safetensors\n"


def test_a_file_that_has_changed_since_is_refused(hub, folder):
    path = fetch(find("Ti/16"))
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(CheckpointError, match=r"has changed since its first use.*delete it to download it again"):
        fetch(find("Ti/16"))
    path.unlink()
    assert fetch(find("Ti/16")).read_bytes() == hub.files["cdn"]


def test_a_record_that_cannot_be_written_is_no_error(hub, monkeypatch):
    def read_only(path):
        raise PermissionError("read-only")

    monkeypatch.setattr(fetching.locks, "replacing", read_only)
    assert fetch(find("Ti/16")).is_file()
