"""Commands that are given a name: of published weights, of ImageNet's classes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from archives import examples, write_tar
from PIL import Image

from minivit.data import data_root
from minivit.models import ViT, ViTConfig, addresses, export

CONFIG = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=1000, gelu="erf")
SMALL = ("--image-size", 16, "--patch-size", 8, "--width", 8, "--depth", 1, "--heads", 2, "--batch-size", 4)
TINY = addresses.find("Ti/16").name


@pytest.fixture
def wnids(tmp_path):
    """Images in folders that are called by WordNet's numbers: train/ and val/."""
    for split in ("train", "val"):
        for name, shade in (("n01440764", 60), ("n03417042", 200)):
            for i in range(4):
                path = tmp_path / "photos" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (shade + i, shade, shade)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def known():
    """The weights called Ti/16, put where they belong by hand: a model that takes everything for a garbage truck."""
    place = data_root() / "weights" / TINY
    place.mkdir(parents=True)
    model = ViT(CONFIG)
    model.head.weight.data[...] = np.random.default_rng(0).standard_normal((8, 1000)) / 100
    model.head.bias.data[569] = 5
    export(model, place / "model.safetensors", "timm")
    config = {"pretrained_cfg": {"mean": [0.4] * 3, "std": [0.3] * 3}}
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return place / "model.safetensors"


def test_every_command_takes_a_name(known, wnids, command):
    image = wnids / "val" / "n01440764" / "0.png"
    out = command("predict", "Ti/16", image).out
    assert "1000 classes; images: crop to 8x8, mean 0.4,0.4,0.4, std 0.3,0.3,0.3" in out
    assert out.splitlines()[2].endswith("%  garbage truck")
    assert "8 images, accuracy 50.00%" in command("evaluate", "vit_tiny_patch16_224", "--data", f"folder:{wnids}").out
    assert command("visualize", f"timm/{TINY[5:]}", image, "--figures", "filters").status == 0
    options = ("--data", f"folder:{wnids}", "--steps", 2, "--batch-size", 4, "--workers", 1)
    result = command("train", "--init-from", "Ti/16", "--keep-head", *options, "--out", "run")
    assert (result.status, result.err) == (0, "")
    assert "resized: head from 1000 classes to 2 of them" in result.out
    assert json.loads(Path("run/config.json").read_text(encoding="utf-8"))["init_from"] == str(known)
    assert "50.00%, at the start" in result.out


def test_classes_called_by_wordnet_numbers_are_shown_in_words(wnids, pets, command):
    assert command("train", "--data", f"folder:{wnids}", *SMALL, "--steps", 2, "--out", "run").status == 0
    out = command("predict", "run", wnids / "val" / "n01440764" / "0.png").out
    assert sorted(line.split("%  ")[1] for line in out.splitlines()[1:]) == [
        "garbage truck (n03417042)",
        "tench (n01440764)",
    ]
    told = command("evaluate", "run", "--data", f"folder:{pets}").complaint
    assert "2 classes (cat, dog), the model was trained on 2 (tench (n01440764), garbage truck (n03417042))" in told
    write_tar(pets / "val-0.tar", examples([0, 1]))
    told = command("evaluate", "run", "--data", f"shards:{pets}/val-0.tar").complaint
    assert "write the names of its classes, one a line, into classnames.txt" in told
    told = command("train", "--init-from", "run", "--keep-head", "--data", f"folder:{pets}").complaint
    assert "is for 2 classes (tench (n01440764), garbage truck (n03417042)), and none of them is cat, dog" in told


@pytest.mark.parametrize(
    "line",
    ["predict NAME x.png", "evaluate NAME --data digits", "visualize NAME", "train --init-from NAME --data digits"],
)
def test_without_a_network(line, command):
    told = command(*line.replace("NAME", "S/16").split()).complaint
    name = addresses.find("S/16").name
    place = f"https://huggingface.co/{name}/resolve/main"
    assert told.startswith(
        f"error: cannot download {name} (this test has no network): get {place}/model.safetensors and "
    )
    assert told.endswith(f"into {data_root() / 'weights' / name}\n".replace("\\", "/"))
    told = command(*line.replace("NAME", "vit_smal_patch16_224").split()).complaint
    assert told == f"error: vit_smal_patch16_224: there is no such run folder or file; did you mean {name}?\n"
    assert not Path("runs").exists()


def test_what_arrives_is_told_and_a_changed_file_refused(known, wnids, command, server, monkeypatch):
    monkeypatch.undo()  # with a network, and that is `server`
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MINIVIT_DATA", str(known.parents[3]))
    monkeypatch.setattr(addresses, "HUB", server.url)
    for file in (known, known.with_name("config.json")):
        server.files[f"{TINY}/resolve/main/{file.name}"] = file.read_bytes()
        file.unlink()
    image = wnids / "val" / "n01440764" / "0.png"
    result = command("predict", "Ti/16", image)
    begun, checked = result.err.splitlines()
    assert begun.startswith(
        f"downloading {TINY}: Ti/16, 224 px, 1,000 classes, about 22 MiB, top-1 75.452 (timm); from "
    )
    assert checked == "model.safetensors: no checksum is stated; config.json: no checksum is stated"
    assert "garbage truck" in result.out
    export(ViT(dataclasses.replace(CONFIG, depth=2)), known, "timm")
    assert "model.safetensors has changed since its first use" in command("predict", "Ti/16", image).complaint
