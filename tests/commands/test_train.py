"""`python -m minivit.train`: what it writes, that a run can be repeated and continued bit for bit."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import standin_cupy
from PIL import Image
from standin_cupy.machine import DynamicLibNotFoundError
from standin_cupy.raw import CompileException

from minivit import cli, train
from minivit.models.archive import read_npz
from minivit.runs import folder as run_folder
from minivit.runs import presets
from minivit.runs.plan import merged
from minivit.runs.trainer import Trainer, worker_count

FILES = {"config.json", "metrics.jsonl", "checkpoint.npz", "best.npz", "curves.png"}


def test_a_run_folder_holds_exactly_five_files(tiny_run):
    assert {path.name for path in tiny_run.iterdir()} == FILES
    records = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    keys = ["step", "epoch", "train_loss", "test_loss", "test_accuracy", "train_accuracy", "lr", "images_per_second"]
    assert [list(record) for record in records] == [keys] * 3
    assert [record["step"] for record in records] == [5, 10, 12]
    assert [record["epoch"] for record in records] == [5 / 8, 10 / 8, 12 / 8]
    assert all(0 <= record["test_accuracy"] <= 1 and record["images_per_second"] > 0 for record in records)
    assert records[0]["lr"] > records[1]["lr"] > records[2]["lr"] > 0
    with Image.open(tiny_run / "curves.png") as image:
        assert image.format == "PNG"


def test_what_is_printed(train_tiny):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    result = train_tiny("--out", "a")
    assert (result.status, result.err) == (0, "")
    for text in ("40 training and 359 test images", "10 classes", "8x8x1", "width 8, depth 2, 2 heads, 5 tokens"):
        assert text in result.out
    for text in ("numpy, float32, 2 workers", "run folder: a\n", "test accuracy", "trained in"):
        assert text in result.out
    assert result.out.count("training loss") == 3
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


SMALL_IMAGES = ("--patch-size", 8, "--width", 16, "--depth", 1, "--heads", 2, "--mlp-width", 16, "--batch-size", 4)


def test_it_learns(command):
    model = ("--width", 32, "--depth", 2, "--mlp-width", 32, "--workers", 2, "--lr", 0.004)
    assert command("train", "--epochs", 6, "--mixup", 0, "--eval-every", 66, *model).status == 0
    first, last = [
        json.loads(line) for line in Path("runs/digits/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert last["train_loss"] < first["train_loss"] < 2.3
    assert last["test_accuracy"] > 0.6


def test_the_default_folder_is_numbered_and_never_reused(command):
    for expected in ("runs/digits", "runs/digits-2", "runs/digits-3"):
        result = command("train", "--steps", 1, "--limit", 64, "--depth", 1, "--width", 8)
        assert f"run folder: {expected}\n" in result.out


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tiny_run, train_tiny, command, same_bits):
    assert train_tiny("--out", "again").status == 0
    same_bits(tiny_run, "again")
    assert command("train", "--config", tiny_run / "config.json", "--out", "repeated").status == 0
    same_bits(tiny_run, "repeated")
    assert (tiny_run / "config.json").read_text(encoding="utf-8") == Path("repeated/config.json").read_text(
        encoding="utf-8"
    )
    assert command("train", "--config", tiny_run / "config.json", "--out", "other", "--seed", 1).status == 0
    a, b = (read_npz(Path(run) / "checkpoint.npz") for run in (tiny_run, "other"))
    assert not np.array_equal(a["objective/model.head.weight"], b["objective/model.head.weight"])


def test_a_config_can_be_changed_by_options(tiny_run, command):
    options = (
        "--steps",
        2,
        "--lr",
        0.5,
        "--width",
        12,
        "--clip-norm",
        0,
        "--precision",
        "float64",
        "--loss",
        "sigmoid",
    )
    assert command("train", "--config", tiny_run / "config.json", "--out", "b", *options).status == 0
    old, new = run_folder.read_recipe(tiny_run), run_folder.read_recipe(Path("b"))
    assert (new.steps, new.lr, new.model.width, new.clip_norm, new.loss) == (2, 0.5, 12, 0, "sigmoid")
    assert (new.model.depth, new.mixup, new.limit) == (old.model.depth, old.mixup, old.limit)
    assert read_npz(Path("b/checkpoint.npz"))["objective/model.head.weight"].dtype == np.float64


def test_epochs_replace_the_steps_of_a_config(tiny_run, command):
    assert command("train", "--config", tiny_run / "config.json", "--out", "b", "--epochs", 0.5).status == 0
    assert run_folder.read_checkpoint(Path("b/checkpoint.npz"))[1]["step"] == 4


def test_every_option_arrives_in_the_recipe(command):
    """Every option, with a value that is no preset's, is found again in config.json under its own name."""
    options = {
        "seed": 3,
        "precision": "float64",
        "workers": 1,
        "limit": 30,
        "bad_images": "skip",
        "epochs": 0.2,
        "batch_size": 6,
        "accumulate": 2,
        "kernels": "reference",
        "optimizer": "sgd",
        "lr": 0.0125,
        "schedule": "linear",
        "warmup": 0.25,
        "weight_decay": 0.03,
        "layer_decay": 0.7,
        "final_weight_decay": 0.01,
        "momentum": 0.8,
        "beta2": 0.95,
        "clip_norm": 0.7,
        "ema": 0.6,
        "loss": "softmax",
        "label_smoothing": 0.1,
        "crop_padding": 1,
        "erasing": 0.3,
        "resize": "crop",
        "mixup": 0.15,
        "cutmix": 0.35,
        "mean": 0.4,
        "std": 0.3,
        "eval_every": 2,
        "checkpoint_every": 3,
        "patience": 2,
        "backend": "numpy",
        "freeze": 1,
    }
    model = {
        "width": 12,
        "depth": 1,
        "heads": 3,
        "mlp_width": 20,
        "representation_size": 9,
        "classifier": "gap",
        "position": "sincos2d",
        "gelu": "erf",
        "dropout": 0.15,
        "attention_dropout": 0.25,
        "drop_path": 0.05,
    }
    argv = [part for name, value in {**options, **model}.items() for part in (f"--{name.replace('_', '-')}", value)]
    argv += ["--image-size", "12x8", "--patch-size", "6x4", "--resized-crop", "0.5,1", "--randaugment", "1,3"]
    argv += ["--flip", "--recompute", "--no-graph"]
    assert command("train", *argv, "--out", "a").status == 0
    values = json.loads(Path("a/config.json").read_text(encoding="utf-8"))
    found = values.pop("model")
    assert {name: values[name] for name in options} == options
    assert {name: found[name] for name in model} == model
    assert (found["image_size"], found["patch_size"]) == ([12, 8], [6, 4])
    assert (values["resized_crop"], values["randaugment"]) == ([0.5, 1], [1, 3])
    assert values["flip"] is values["recompute"] is True
    assert values["graph"] is False
    # and the parser has no option that this test does not know
    elsewhere = {"help", "preset", "config", "resume", "out", "data", "data_root", "model", "image_size", "patch_size"}
    elsewhere |= {"init_from", "resize_positions", "keep_head", "val_share", "classes", "objective", "set", "teacher"}
    known = {*options, *model, *elsewhere, "steps", "resized_crop", "randaugment", "flip", "recompute", "graph"}
    assert {action.dest for action in train.parser()._actions} == known


def test_help_fits_a_screen_and_names_every_preset():
    text = train.parser().format_help()
    assert max(map(len, text.splitlines())) < 110
    assert all(name in text for name in presets.PRESETS)
    assert "--resume RUN" in text
    assert "Ctrl-C" in text


def test_model_variants_and_presets():
    choices, name = merged({"data": "cifar10", "model": "Ti/4", "depth": 3})
    assert name == "cifar10-10min"
    variant = {"name": "vit", "patch_size": 4, "width": 192, "depth": 3, "heads": 3, "mlp_width": 768}
    assert choices["model"] == {**presets.PRESETS["cifar10-10min"]["model"], **variant}
    assert merged({"data": "folder:x"})[1] == "imagefolder"
    assert merged({})[1] == "digits"
    assert presets.PRESETS["cifar10-10min"]["model"]["depth"] != 3  # and the presets are as they were


def test_folders_of_images_of_any_shape_and_mode(pets, command):
    options = ("--image-size", "24x32", "--steps", 30, "--lr", 3e-3, "--randaugment", "0,0", "--mixup", 0, "--out", "a")
    assert command("train", "--data", f"folder:{pets}", *SMALL_IMAGES, *options).status == 0
    recipe = run_folder.read_recipe(Path("a"))
    assert (recipe.model.image_size, recipe.model.grid, recipe.model.channels) == ((24, 32), (3, 4), 3)
    assert "100.00%" in command("evaluate", "a").out  # dark cats, light dogs
    shown = command("predict", "a", pets / "val" / "dog" / "5.png").out.splitlines()
    assert shown[1].split()[1] == "dog"
    assert len(shown) == 3


def test_bad_images_can_be_skipped_and_are_named(pets, command, spoil):
    bad = spoil(pets / "train" / "cat" / "1.jpg", "truncated")
    small = spoil(pets / "val" / "dog" / "5.png", "1x1")
    options = ("--image-size", 16, "--steps", 4, "--bad-images", "skip", "--out", "a")
    result = command("train", "--data", f"folder:{pets}", *SMALL_IMAGES, *options)
    assert result.status == 0
    assert f"skipped {bad}: " in result.err
    assert f"skipped {small}: the image is 1 x 1 pixels" in result.err
    assert result.err.count("\n") == 2
    result = command("evaluate", "a", "--bad-images", "skip")
    assert "3 images" in result.out
    assert str(small) in result.err


# Ctrl-C


@pytest.mark.parametrize("moment", ["update", "_evaluate", "save", "yield"])
def test_ctrl_c_saves_says_how_to_go_on_and_loses_nothing(
    moment, tiny_run, train_tiny, command, same_bits, monkeypatch
):
    """The signal arrives within step 5, its evaluation, while step 6 is saved, or while the bar shows step 7."""
    step = {"update": 4, "_evaluate": 5, "save": 6, "yield": 7}[moment]
    sent = []

    def press(trainer):
        if trainer.step == step and not sent:
            sent.append(trainer.step)
            signal.raise_signal(signal.SIGINT)

    if moment == "yield":
        real_run = Trainer.run

        def run(self):
            for progress in real_run(self):
                press(self)
                yield progress

        monkeypatch.setattr(Trainer, "run", run)
    else:
        real = getattr(Trainer, moment)

        def method(self, *args):
            press(self)
            return real(self, *args)

        monkeypatch.setattr(Trainer, moment, method)
    result = train_tiny("--out", "a")
    stopped = 5 if moment in ("update", "_evaluate") else step
    assert (sent, result.status, result.err) == ([step], 130, "")
    assert f"stopped after step {stopped} and saved; go on with: python -m minivit.train --resume a\n" in result.out
    assert run_folder.read_checkpoint(Path("a/checkpoint.npz"))[1]["step"] == stopped
    result = command("train", "--resume", "a")
    assert result.status == 0
    assert f"continuing after step {stopped}\n" in result.out
    same_bits(tiny_run, "a")
    assert {path.name for path in Path("a").iterdir()} == FILES


def test_a_second_ctrl_c_stops_at_once(train_tiny, monkeypatch):
    def stuck(*args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not interrupted")

    monkeypatch.setattr(Trainer, "_evaluate", stuck)
    result = train_tiny("--out", "a")
    assert (result.status, result.err) == (130, "error: interrupted\n")
    assert run_folder.read_checkpoint(Path("a/checkpoint.npz"))[1]["step"] == 3


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_in_a_terminal():
    """A real process, as a user starts and stops it."""
    options = ("--limit", "64", "--width", "16", "--depth", "2", "--epochs", "400", "--checkpoint-every", "2")
    argv = [sys.executable, "-m", "minivit.train", *options, "--out", "a"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not Path("a/checkpoint.npz").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, (out, err)
    assert out.endswith("go on with: python -m minivit.train --resume a\n")
    assert "Traceback" not in err


# Resuming


def test_resuming_a_finished_run_changes_nothing(tiny_run, command):
    before = {path.name: path.read_bytes() for path in tiny_run.iterdir()}
    (tiny_run / "curves.png").unlink()  # killed before it was drawn
    result = command("train", "--resume", tiny_run)
    assert result.status == 0
    assert "complete: all 12 steps are done" in result.out
    assert {path.name: path.read_bytes() for path in tiny_run.iterdir()} == before


def test_metrics_of_steps_that_were_lost_are_taken_back(tiny_run, command, same_bits):
    shutil.copytree(tiny_run, "a")
    with open("a/metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 99}\n{"step": 1')
    assert command("train", "--resume", "a").status == 0
    same_bits(tiny_run, "a")


def test_resuming_before_the_first_checkpoint_starts_from_the_beginning(tiny_run, train_tiny, command, same_bits):
    run_folder.create(Path("a"), run_folder.read_recipe(tiny_run))
    Path("a/metrics.jsonl").write_text("left over", encoding="utf-8")
    result = command("train", "--resume", "a")
    assert result.status == 0
    assert "continuing" not in result.out
    same_bits(tiny_run, "a")


def test_killed_while_the_folder_was_made(tiny_run, train_tiny, same_bits):
    Path("a.partial").mkdir()
    Path("a.partial/config.json").write_text('{"data": "dig', encoding="utf-8")
    assert train_tiny("--out", "a").status == 0
    same_bits(tiny_run, "a")
    assert not Path("a.partial").exists()


OF_A_GPU = [
    (standin_cupy.cupy.cuda.runtime.CUDARuntimeError, "cudaErrorIllegalAddress: an illegal memory access"),
    (standin_cupy.cupy.cuda.driver.CUDADriverError, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    (standin_cupy.cupy.cuda.driver.CUDADriverError, ""),
    (CompileException, "\n".join(["ptxas: no"] * 130)),
    (DynamicLibNotFoundError, 'Failure finding "libcublas.so.13"\nlistdir'),
]


def test_run_command_has_one_line_for_every_expected_end(capsys):
    def end(error):
        def main(argv):
            raise error

        with pytest.raises(SystemExit) as exit:
            cli.run_command(main)
        return exit.value.code, capsys.readouterr().err

    assert end(KeyboardInterrupt()) == (130, "error: interrupted\n")
    status, text = end(MemoryError())
    assert (status, text.count("\n"), "--batch-size" in text) == (2, 1, True)
    assert end(PermissionError(13, "Permission denied", "/secret")) == (2, "error: /secret: Permission denied\n")
    for kind, text in OF_A_GPU:
        status, said = end(kind(text))
        assert (status, said.count("\n")) == (2, 1)
        assert ("--batch-size" if "OUT_OF" in text else "minivit.doctor`, or use --backend numpy") in said
    with pytest.raises(ZeroDivisionError):  # an unexpected one keeps its traceback
        end(ZeroDivisionError())


def test_the_number_of_workers_is_written_down(command):
    """A batch cut into other pieces gives other roundings, so a run on another machine must not cut it otherwise."""
    assert command("train", "--steps", 1, "--out", "a").status == 0
    recipe = run_folder.read_recipe(Path("a"))
    assert recipe.workers == worker_count(dataclasses.replace(recipe, workers=None))


def test_how_a_batch_is_cut_is_chosen_anew_for_another_batch(tiny_run):
    config = tiny_run / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    assert (values["workers"], values["accumulate"]) == (values["workers"] or 0, 1)  # written down, not left open
    again, _ = merged({"config": str(config), "seed": 5})
    larger, _ = merged({"config": str(config), "batch_size": 1024})
    moved, _ = merged({"config": str(config), "backend": "cupy"})
    assert (again["accumulate"], larger["accumulate"], moved["accumulate"]) == (1, None, None)
    assert (larger["workers"], moved["workers"]) == (values["workers"], None)


@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def test_mixed_precision_trains_on_both_backends(command, backend):
    with standin_cupy.installed():
        small = ["--steps", "3", "--batch-size", "4", "--width", "32", "--heads", "2", "--depth", "1", "--limit", "40"]
        options = ["--precision", "bf16", "--backend", backend, *small, "--mlp-width", "32", "--out", "a"]
        answer = command("train", *options)
        assert answer.status == 0
        assert f"{backend}, bf16" in answer.out
        assert json.loads(Path("a/config.json").read_text(encoding="utf-8"))["backend"] == backend
        assert command("evaluate", "a").status == 0
