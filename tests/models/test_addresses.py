"""The table of published weights: names, addresses, sizes, and the page that shows it."""

import re
from pathlib import Path

import pytest

from minivit.errors import CheckpointError
from minivit.models import ViT, ViTConfig
from minivit.models.addresses import TABLE, find, listing, suggestion

TINY = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


def test_every_name_is_found_and_is_one():
    assert len({weights.name for weights in TABLE}) == len(TABLE)
    assert all(find(weights.name) is weights for weights in TABLE)
    assert all(find(url) is weights for weights in TABLE for url in list(weights.files.values())[:1])


@pytest.mark.parametrize("weights", TABLE, ids=lambda weights: weights.name)
def test_sizes_are_those_of_the_arrays(weights):
    fields = {"image_size": weights.pixels, "num_classes": weights.classes}
    if weights.name.startswith("imagenet21k/"):
        fields["representation_size"] = 768
    config = ViTConfig.variant(weights.model, **fields, distillation_token="distilled" in weights.name)
    mib = 4 * ViT(config, seed=None).num_parameters() / 2**20
    # the publishers count the file, and some of them round up
    assert float(weights.mib.removeprefix("~")) == pytest.approx(mib, abs=0.5 if "~" in weights.mib else 1.0)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Ti/16", TINY),
        ("ti\\16", TINY),  # as a path on Windows
        ("vit_tiny_patch16_224", TINY),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", TINY),
        (f"hf-hub:{TINY}", TINY),
        (f"hf_hub:{TINY}", TINY),
        (f"https://huggingface.co/{TINY}", TINY),
        (f"https:/huggingface.co/{TINY}/resolve/main/model.safetensors", TINY),  # as a path
        (f"https://huggingface.co/{TINY}/tree/main", TINY),
        ("vit_base_patch16_224", "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k"),  # timm's default
        ("vit_base_patch16_384", "timm/vit_base_patch16_384.augreg_in21k_ft_in1k"),
        ("B/16", "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k"),
        ("deit_small_patch16_224", "timm/deit_small_patch16_224.fb_in1k"),
        ("google/vit-base-patch16-224", "google/vit-base-patch16-224"),
        ("ViT-B_16-224.npz", "imagenet21k+imagenet2012/ViT-B_16-224"),
        ("gs://vit_models/imagenet21k/ViT-B_16.npz", "imagenet21k/ViT-B_16"),
        (
            "https://storage.googleapis.com/vit_models/imagenet21k%2Bimagenet2012/ViT-B_16.npz",
            "imagenet21k+imagenet2012/ViT-B_16",
        ),
        (
            "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0.npz",
            "augreg/Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0",
        ),
        (
            "R26+S/32",
            "augreg/R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.01-res_384",
        ),
    ],
)
def test_what_people_write(written, name):
    assert find(written).name == name


def test_addresses():
    assert find("imagenet21k+imagenet2012/ViT-B_16").files == {
        "imagenet21k+imagenet2012/ViT-B_16.npz": "https://storage.googleapis.com/vit_models/"
        "imagenet21k%2Bimagenet2012/ViT-B_16.npz"
    }
    hub = f"https://huggingface.co/{TINY}/resolve/main/"
    assert find("Ti/16").files == {f"{TINY}/{file}": hub + file for file in ("model.safetensors", "config.json")}
    assert list(find("google/vit-base-patch16-224").files)[-1].endswith("/preprocessor_config.json")


def test_a_name_of_two_files_is_refused():
    with pytest.raises(CheckpointError, match=r"names 2 published files: imagenet21k\+imagenet2012/ViT-B_16 or imag"):
        find("ViT-B_16.npz")


@pytest.mark.parametrize(
    "written", ["runs/digits", "model.npz", "checkpoint.npz", "vit.safetensors", "a/b", "digits", ""]
)
def test_other_names_are_not_known(written):
    assert find(written) is None


def test_the_name_that_was_meant():
    assert suggestion("vit_base_patch16_244") == "; did you mean timm/vit_base_patch16_224.augreg2_in21k_ft_in1k?"
    assert suggestion("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1") == f"; did you mean {TINY}?"
    assert suggestion("nowhere").startswith("; published weights: Ti/16, S/16")
    for path in ("runs/nowhere", "nowhere.npz", "./digits"):
        assert suggestion(path) == ""


def test_the_list_begins_with_what_fits_a_small_machine():
    assert listing()[0] == f"{TINY}: Ti/16, 224 px, 1,000 classes, about 22 MiB, top-1 75.452 (timm)"
    assert len(listing()) == len(TABLE)


def test_the_page_has_the_table():
    text = PAGE.read_text(encoding="utf-8")
    rows = [row_of(weights) for weights in TABLE]
    begin = text.index("| name | model |")
    shown = text[begin : text.index("\n\n", begin)].splitlines()[2:]
    assert shown == rows, "in docs/weights.md put:\n" + "\n".join(rows)


def row_of(weights):
    """A line of the page's table."""
    cells = (weights.name, weights.model, weights.pixels, f"{weights.classes:,}", weights.mib, weights.top1)
    name, *others = map(str, cells)
    return re.sub(" +", " ", f"| [`{name}`]({next(iter(weights.files.values()))}) | {' | '.join(others)} |")
