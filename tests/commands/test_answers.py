"""evaluate, predict and doctor: their numbers against direct computations."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import standin_cupy
from PIL import Image

from minivit import data, doctor
from minivit.data.images import to_channels
from minivit.functional import cross_entropy
from minivit.models import ViT
from minivit.models.archive import read_npz, write_npz
from minivit.runs import folder as run_folder
from minivit.tensor import no_grad


def images_and_labels(split="test"):
    images, labels = data.load("digits", split=split).fetch(np.arange(359))
    return (images.astype(np.float64) / 255 - 0.5) / 0.5, labels


def model_of(folder, part):
    """The model of a run with the weights "objective/..." or "ema/average/..." of its checkpoint."""
    recipe, arrays = run_folder.read_recipe(folder), read_npz(folder / "checkpoint.npz")
    model = ViT(recipe.model, dtype="float64").eval()
    for name, tensor in model.named_parameters():
        tensor.data[...] = arrays[f"{part}/model.{name}"]
    return model


@pytest.fixture
def trained(tiny_run):
    """A run with weights that matter: both the last ones and the averages are random, and differ."""
    arrays = read_npz(tiny_run / "checkpoint.npz")
    rng = np.random.default_rng(0)
    for name, array in arrays.items():
        if name.startswith(("objective/", "ema/average/")):
            array += 0.3 * rng.standard_normal(array.shape).astype(np.float32)
    write_npz(tiny_run / "checkpoint.npz", arrays)
    return tiny_run


@pytest.mark.parametrize("ema", [True, False])
def test_evaluate_is_the_mean_over_the_test_images(ema, trained, command):
    if not ema:
        config = trained / "config.json"
        config.write_text(config.read_text(encoding="utf-8").replace('"ema": 0.9', '"ema": null'), encoding="utf-8")
    images, labels = images_and_labels()
    with no_grad():
        logits = model_of(trained, "ema/average" if ema else "objective")(images)
        loss = cross_entropy(logits, labels).item()
    accuracy = (logits.data.argmax(-1) == labels).mean()
    for options in ((), ("--batch-size", 100), ("--workers", 1, "--batch-size", 7)):
        out = command("evaluate", trained, *options).out
        assert f"digits test: 359 images, accuracy {accuracy:.2%}, loss {loss:.4f}, " in out
        assert re.search(r", \d+ images/s\n$", out)


def test_evaluate_repeats_what_training_measured(tiny_run, command):
    final = run_folder.read_checkpoint(tiny_run / "checkpoint.npz")[1]["metrics"][-1]
    out = command("evaluate", tiny_run).out
    assert f"accuracy {final['test_accuracy']:.2%}, loss {final['test_loss']:.4f}" in out
    assert "digits train: 1438 images" in command("evaluate", tiny_run, "--split", "train").out


def test_predict_prints_the_five_most_probable_classes(trained, command, tmp_path):
    images, _ = data.load("digits", split="test").fetch(np.arange(2))
    paths = [tmp_path / "7.png", tmp_path / "x.bmp"]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[..., 0]).save(path)
    with no_grad():
        logits = model_of(trained, "ema/average")(images.astype(np.float64) / 127.5 - 1).data
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = []
    for path, row in zip(paths, p, strict=True):
        expected += [str(path), *(f"  {row[k]:7.2%}  {k}" for k in np.argsort(-row)[:5])]
    result = command("predict", trained, *paths)
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == expected
    assert command("predict", trained, paths[0], "--top", "1").out.splitlines() == expected[:2]
    assert len(command("predict", trained, paths[0], "--top", "99").out.splitlines()) == 11


def test_predict_resizes_and_turns_colours_into_grey(trained, command, tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (37, 21, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(to_channels(pixels, 1)[..., 0]).save(tmp_path / "grey.png")
    first, second = (command("predict", trained, tmp_path / f"{name}.png").out for name in ("colour", "grey"))
    assert first.splitlines()[1:] == second.splitlines()[1:]


def test_to_channels():
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert to_channels(pixels, 1)[..., 0].tolist() == [[76, 150, 29, 255]]  # ITU-R 601
    assert to_channels(pixels, 3) is pixels


def test_predictions_of_a_sigmoid_model_are_each_class_for_itself(trained, command, tmp_path):
    config = trained / "config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace('"loss": "softmax"', '"loss": "sigmoid"'), encoding="utf-8"
    )
    images, labels = images_and_labels()
    Image.fromarray(data.load("digits", split="test")[0][0][..., 0]).save(tmp_path / "a.png")
    with no_grad():
        z = model_of(trained, "ema/average")(images).data
    shown = command("predict", trained, tmp_path / "a.png").out.splitlines()[1]
    assert shown == f"  {1 / (1 + np.exp(-z[0].max())):7.2%}  {z[0].argmax()}"
    t = np.eye(10)[labels]
    loss = (np.logaddexp(0, -z) * t + np.logaddexp(0, z) * (1 - t)).sum(axis=-1).mean()
    assert f"loss {loss:.4f}" in command("evaluate", trained).out


def test_a_moved_run_folder_still_works(trained, command, tmp_path):
    shutil.move(trained, tmp_path / "elsewhere")
    assert command("evaluate", tmp_path / "elsewhere").status == 0


def test_doctor_names_what_is_here_and_what_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(doctor, "matmul_rate", lambda: 12.3)
    assert doctor.main([]) == 0
    found = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert found["numpy"] == np.__version__
    assert found["digits"] == "1438 training images"
    assert found["tqdm"].startswith("MISSING")
    assert found["matmul"] == "12 GFLOP/s in float32 (1024 x 1024)"
    assert found["cupy"].startswith("not installed (needed for a GPU only): pip install ")
    assert "cifar-10-binary.tar.gz" in found["cifar10"]
    assert "(does not exist yet)" in found["data"]
    assert {"minivit", "python", "cores", "blas"} <= found.keys()
    assert not Path("runs").exists()


def test_doctor_says_who_limits_the_cores_and_whether_blas_is_seen(monkeypatch):
    monkeypatch.setattr(doctor, "matmul_rate", lambda: 12.3)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(doctor, "usable_cores", lambda: (2, "container quota 1.5"))
    found = dict(doctor.processor())
    assert found["cores"] == "2 of 64: container quota 1.5"
    assert "unknown to" not in found["blas"]
    monkeypatch.setattr(doctor, "usable_cores", lambda: (64, ""))
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [])
    found = dict(doctor.processor())
    assert found["cores"] == "64 of 64"
    assert "unknown to threadpoolctl" in found["blas"]
    monkeypatch.setattr("minivit.backend.blas.trouble", lambda: "")
    assert "one thread in each worker" in dict(doctor.processor())["blas"]


def test_the_matmul_rate_is_flops_over_seconds(monkeypatch):
    ticks = iter([0.0, 3.0, 10.0, 12.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert doctor.matmul_rate(n=100, repeats=2) == 2 * 100**3 / 2.0 / 1e9


def test_doctor_says_what_a_gpu_has(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "matmul_rate", lambda: 12.3)
    monkeypatch.setattr(doctor, "driver_cuda_version", lambda: (13, 0))
    with standin_cupy.installed():
        assert doctor.main([]) == 0
    found = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert "CUDA runtime 13.0" in found["cupy"]
    assert found["kernel"] == "softmax, compiled here, is right"
    assert found["float32"] == found["tf32"] == "a product is right"
    old = tuple(map(int, np.__version__.split(".")[:3])) < (2, 1, 2)
    assert ("needs NumPy 2.1.2" in found["bf16"]) if old else (found["bf16"] == "a product is right")
    monkeypatch.setattr(doctor, "driver_cuda_version", lambda: (12, 9))
    with standin_cupy.installed():
        assert doctor.main([]) == 0
    assert "TOO NEW for the driver: pip uninstall cupy-cuda13x, then pip install " in capsys.readouterr().out


def test_a_run_may_be_named_by_its_checkpoint(trained, command):
    figures = [command("evaluate", run).out.rpartition(",")[0] for run in (trained, trained / "checkpoint.npz")]
    assert figures[0] == figures[1] != ""
