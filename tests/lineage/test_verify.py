"""The command of the family: recordings are found and compared; what differs or is not known ends with 1."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit.errors import DataError
from minivit.lineage import __main__ as command
from minivit.lineage.verify import Case, error_of, open_case, system_of

RECORDED = Path(__file__).parents[1] / "data" / "lineage"


@pytest.fixture
def copy(tmp_path):
    """A copy of a recording, whose arrays a test may change."""

    def make(name="mae", changes=(), folder="mae"):
        path = tmp_path / folder
        path.mkdir()
        for file in (RECORDED / "mae").iterdir():
            shutil.copy(file, path / file.name.replace("mae", name, 1))
        if changes:
            with np.load(path / f"{name}.io.npz") as file:
                arrays = {**file, **dict(changes)}
            np.savez(path / f"{name}.io.npz", **{key: x for key, x in arrays.items() if x is not None})
        return path

    return make


def test_a_recording_that_agrees_ends_with_0(copy, capsys):
    assert command.main(["verify", str(copy())]) == 0
    assert "24 arrays" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("loss", np.array(1.0), "TOO FAR"), ("loss", np.array(np.nan), "TOO FAR"), ("colour", np.ones(3), "not known")],
)
def test_an_array_that_differs_or_is_not_known_ends_with_1(copy, capsys, name, value, said):
    assert command.main(["verify", str(copy(changes={name: value}.items()))]) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if f" {name} " in line)
    assert said in line


def test_a_folder_of_recordings_is_all_of_them_and_one_of_no_system_stops_none(copy, tmp_path, capsys):
    copy()
    other = copy("other", folder="other")
    (other / "other.json").write_text(json.dumps({"system": "Another", "config": {}}), encoding="utf-8")
    assert command.main(["verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "mae: 24 arrays" in out
    assert "other: no such system is here; known: " in out


def test_a_recording_by_another_name_is_known_by_its_title(copy, capsys):
    assert command.main(["verify", str(copy("second"))]) == 0
    assert [system_of("mae_raw"), system_of("x", "DINO"), system_of("x", "DeiT: two heads")] == ["mae", "dino", "deit"]
    others = ["convnextv2", "mbconv_train", "botnet_attn_scaled", "efficientnet_b0"]
    assert [system_of(name) for name in others] == ["convnext", "efficientnet", "botnet", "efficientnet"]
    with pytest.raises(DataError, match="no such system"):
        system_of("unheard", "Unheard of: a backbone")


def test_what_is_missing_is_named(copy, capsys, tmp_path):
    assert command.main(["verify", str(copy(changes={"noise": None}.items()))]) == 1
    assert "mae: the recording has no array noise" in capsys.readouterr().out
    with pytest.raises(DataError, match="expected a folder with NAME"):
        command.main(["verify", str(tmp_path / "nowhere")])


def test_inputs_and_outputs_may_have_the_names_of_transformers():
    case = open_case(Path(__file__).resolve().parents[1] / "data" / "lineage" / "dinov2")
    theirs = {"image": "pixel_values", "output": "last_hidden_state", "pooled": "pooler_output"}
    groups = [name.removesuffix("image") for name in case.arrays if name.endswith("/image") and "grad" not in name]
    for group in groups:
        for ours, other in theirs.items():
            if f"{group}{ours}" in case.arrays:
                case.arrays[f"{group}{other}"] = case.arrays.pop(f"{group}{ours}")
    assert groups
    assert wrong_arrays(case) == []
    assert {f"{group}pixel_values" for group in groups} <= case.given
    case.arrays[f"{groups[0]}last_hidden_state"] += 1e-3
    assert wrong_arrays(case) == [f"{groups[0]}last_hidden_state"]


def test_errors_are_relative_to_the_largest_value_and_gradients_of_nothing_absolute():
    assert error_of(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert error_of(np.array([3e-17]), np.array([1e-17]), "grad/k.bias") == pytest.approx(2e-17)
    assert error_of(np.ones(2), np.ones(3)) == np.inf
    assert error_of(np.array([-np.inf, 1.0]), np.array([-np.inf, 2.0])) == 0.5
    assert error_of(np.array([-np.inf, 2.0]), np.array([0.0, 2.0])) == np.inf
    assert error_of(np.array([0.0, 2.0]), np.array([-np.inf, 2.0])) == np.inf
    assert not error_of(np.array([np.nan, 2.0]), np.array([np.nan, 2.0])) <= 1
    assert error_of(np.array([True, False]), np.array([True, True])) == 1.0


def test_the_list_names_every_system(capsys):
    assert command.main([]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("mae", "2021", "lines; parity:", "preset: cifar10-mae", "notebook:"))


@pytest.mark.parametrize("system", ["mae", "dino", "deit", "clip"])
def test_a_recording_may_have_channels_last(tmp_path, system):
    case = open_case(RECORDED / system)

    def is_of_images(name):
        return name == "image" or name.startswith("crop") or "grad_input/" in name

    last = {name: np.moveaxis(x, 1, -1) if is_of_images(name) else x for name, x in case.arrays.items()}
    assert sum(map(is_of_images, last)) >= 2
    again = write_case(tmp_path, system, case.config, case.weights, last, "NHWC")
    assert wrong_arrays(again) == []


@pytest.mark.parametrize(
    ("layout", "recorded"),
    [
        ("NCHW; labels (B, H, W), 255 = ignore", (2, 5, 3, 4)),
        ("NHWC (this one only)", (2, 3, 4, 5)),
        ("video (B, T, C, H, W)", (2, 6, 5, 3, 4)),
        ("video (B, C, T, H, W); loss mean cross entropy", (2, 5, 6, 3, 4)),
        ("video (B, T, H, W, C) (as scenic has it)", (2, 6, 3, 4, 5)),
        (None, (2, 6, 5, 3, 4)),
    ],
)
def test_images_and_clips_come_channels_last_and_go_back(layout, recorded):
    meta = {} if layout is None else {"image_layout": layout}
    case = Case("own", {}, meta, {}, {"x": np.random.default_rng(0).normal(size=recorded)})
    images = case.images("x")
    assert images.shape == ((2, 6, 3, 4, 5) if len(recorded) == 5 else (2, 3, 4, 5))
    assert np.array_equal(case.laid_out(images), case.arrays["x"])
