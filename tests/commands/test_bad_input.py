"""Whatever is wrong, each command says it in one line, exits with status 2, and leaves everything as it was."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from minivit.cli import look
from minivit.data.cifar import FORMATS
from minivit.models.archive import read_npz, write_npz
from minivit.runs import folder as run_folder
from minivit.runs.trainer import Trainer

# The options of a train command, and what its one line must say.
REFUSED = {
    # options that do not exist or are no numbers
    "--nonsense 3": "unrecognized arguments: --nonsense 3",
    "digits": "unrecognized arguments: digits; did you mean --data digits?",
    "--lr": "--lr: expected one argument",
    "--lr fast": "--lr: invalid float value: 'fast'",
    "--seed 1.5": "--seed: invalid int value: '1.5'",
    "--image-size 8by8": "--image-size: invalid size value: '8by8'",
    "--image-size 8x": "--image-size: invalid size value: '8x'",
    "--mean 0.5;0.5": "--mean: invalid numbers value",
    "--steps 2 --epochs 1": "--epochs and --steps",
    # names
    "--preset digts": 'unknown preset "digts"; did you mean "digits"?',
    "--preset cifar": 'unknown preset "cifar"; did you mean "cifar10"?',
    "--preset zzzz": "choose one of digits, cifar10-10min, cifar10, cifar10-resnet, imagefolder, finetune",
    "--data digit": 'did you mean "digits"?',
    "--optimizer adam": 'optimizer is "adam", expected one of adamw, sgd',
    "--schedule cosin": "expected one of cosine, linear, constant",
    "--loss mse": "expected one of softmax, sigmoid",
    "--precision float16": "expected one of float32, float64",
    "--classifier max": "expected one of token, gap",
    "--position 3d": "expected one of learned, learned2d, sincos2d, relative, rope, none",
    "--gelu relu": "expected one of tanh, erf",
    "--bad-images keep": '"keep", expected "refuse" or "skip"',
    "--model B16": 'unknown variant "B16": expected one of Ti, S, B, L, H and a patch size, as B/16',
    "--backend gpu": 'unknown backend "gpu": choose numpy, cupy or auto',
    # numbers out of range
    "--seed -1": "seed is -1, expected 0 or more",
    "--lr 0": "lr is 0.0, expected a positive number",
    "--lr nan": "lr is nan",
    "--lr inf": "lr is inf",
    "--epochs 0": "epochs is 0.0, expected a positive number",
    "--steps 0": "steps is 0, expected at least 1",
    "--batch-size 0": "batch_size is 0, expected at least 1",
    "--workers 0": "workers is 0, expected at least 1",
    "--accumulate 0": "accumulate is 0, expected at least 1",
    "--eval-every 0": "eval_every is 0, expected at least 1",
    "--checkpoint-every -3": "checkpoint_every is -3, expected at least 1",
    "--limit 0": "limit is 0, expected at least 1",
    "--limit -4": "limited to -4",
    "--warmup 1": "warmup is 1.0, expected 0 or more and less than 1",
    "--ema 1": "ema is 1.0, expected 0 or more and less than 1",
    "--momentum -0.1": "momentum is -0.1",
    "--beta2 1": "beta2 is 1.0",
    "--label-smoothing 1": "label_smoothing is 1.0",
    "--weight-decay -1": "weight_decay is -1.0, expected 0 or more",
    "--clip-norm -1": "clip_norm is -1.0, expected 0 or more",
    "--mixup -1": "mixup is -1.0, expected 0 or more",
    "--cutmix nan": "cutmix is nan",
    "--erasing 2": "erasing is 2.0, expected a probability",
    "--crop-padding -1": "crop_padding is -1",
    "--resized-crop 0.5": "resized_crop is 0.5, expected",
    "--resized-crop 0.5,2": "expected 0 < min <= max <= 1",
    "--randaugment 2": "randaugment is 2, expected",
    "--randaugment 2,9,1": "randaugment is [2, 9, 1], expected",
    "--mean 0.5,0.5": "mean has 2 values, the images have 1 channels",
    "--std 0": "std is 0, expected more than 0",
    "--dropout 1": "dropout is 1.0, expected 0 <= rate < 1",
    "--loss sigmoid --label-smoothing 0.1": "label smoothing belongs to the softmax loss",
    # parts that do not fit
    "--patch-size 3": "patch size 3x3 does not divide image size 8x8; the nearest image size that fits is 9x9",
    "--heads 5": "5 heads do not divide width 64",
    "--width 0": "width is 0, expected at least 1",
    "--depth 0": "depth is 0, expected at least 1",
    "--image-size 0": "image_size is 0x0, expected at least 1x1",
    "--position sincos2d --width 6 --heads 1": "cannot split width 6 evenly",
    "--batch-size 5000": "a batch of 5000 is larger than the data set",
    # files and folders
    "--preset imagefolder": "preset imagefolder needs --data folder:PATH",
    "--data folder:nowhere": "nowhere: there is no such folder",
    "--data .": '"." is a folder: to use its images write "folder:."',
    "--config nowhere.json": "nowhere.json does not exist",
    "--config .": ". is not a configuration",
    "--config a.json --preset digits": "--config and --preset",
    "--out .": ". exists already: continue it with --resume ., or choose another --out",
    "--out /dev/null/run": "cannot create the run folder /dev/null/run: ",
    f"--out {'x' * 300}": f"error: {'x' * 300}: ",
    "--resume nowhere": "nowhere: there is no such run folder or file",
    "--resume . --lr 1": "--resume accepts only",
    "--resume . --out b": "--resume accepts only",
}


@pytest.mark.parametrize("options", REFUSED)
def test_train_refuses(options, command):
    assert REFUSED[options] in command("train", *options.split()).complaint
    assert list(Path().rglob("*")) == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["evaluate"], "required: run"),
        (["evaluate", "nowhere"], "nowhere: there is no such run folder or file; published weights: Ti/16"),
        (["evaluate", "finished", "--batch-size", 0], '--batch-size: "0", expected a whole number of at least 1'),
        (["evaluate", "finished", "--workers", -1], '--workers: "-1", expected a whole number'),
        (["evaluate", "finished", "--split", "val"], "choose from"),
        (["evaluate", "finished", "--backend", "cuda"], 'unknown backend "cuda"'),
        (["predict", "finished"], "required: image"),
        (["predict", "finished", "missing.png"], "missing.png: there is no such file"),
        (["predict", "finished", "finished/config.json"], "finished/config.json: not an image"),
        (["predict", "finished", "x.png", "--top", "0"], "expected a whole number of at least 1"),
        (["predict", "nowhere", "missing.png"], "nowhere: there is no such run folder or file"),
    ],
)
def test_evaluate_and_predict_refuse(argv, expected, tiny_run, command):
    assert expected in command(*argv).complaint


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "required: RUN_OR_FILE"),
        (["nowhere"], "nowhere: there is no such run folder or file"),
        (["."], ". is not a run folder: it has no config.json"),
        (["finished/metrics.jsonl"], "finished/metrics.jsonl is JSON, not weights"),
        (["finished", "missing.png"], "missing.png: there is no such file"),
        (["finished", "finished/config.json"], "finished/config.json: not an image"),
        (["finished", "--index", "-1"], '"-1", expected numbers of test images'),
        (["finished", "--index", "1,,2"], '"1,,2", expected numbers of test images, such as 3,14,15'),
        (["finished", "--index", "0,359"], "digits has 359 test images, there is no 359"),
        (["finished", "--figures", "curve"], 'there is no figure "curve", choose from examples, attention, rollout'),
        (["finished", "--data", "digit"], 'did you mean "digits"?'),
        (["finished", "--data", "cifar10"], "put cifar-10-binary.tar.gz into"),
        (["finished", "--out", "/dev/null/pictures"], "/dev/null/pictures: "),
        (["finished", "--out", "finished/config.json"], "finished/config.json: "),
    ],
)
def test_visualize_refuses(argv, expected, tiny_run, command):
    before = sorted(Path().rglob("*"))
    assert expected in command("visualize", *argv).complaint
    assert sorted(Path().rglob("*")) == before


def test_a_run_folder_that_exists_is_not_touched(tiny_run, train_tiny):
    before = {path.name: path.read_bytes() for path in tiny_run.iterdir()}
    assert "finished exists already" in train_tiny("--out", "finished").complaint
    Path("empty").mkdir()
    assert "empty exists already" in train_tiny("--out", "empty").complaint
    Path("file").write_text("precious", encoding="utf-8")
    assert "file exists already" in train_tiny("--out", "file").complaint
    assert Path("file").read_text(encoding="utf-8") == "precious"
    assert {path.name: path.read_bytes() for path in tiny_run.iterdir()} == before


# Backends


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


def test_cupy_is_never_replaced_silently(no_cupy, train_tiny, tiny_run, command):
    text = train_tiny("--backend", "cupy", "--out", "a").complaint
    assert "CuPy is not installed" in text
    assert "--backend numpy" in text
    assert not Path("a").exists()
    assert "CuPy is not installed" in command("evaluate", tiny_run, "--backend", "cupy").complaint
    config = json.loads((tiny_run / "config.json").read_text(encoding="utf-8"))
    (tiny_run / "config.json").write_text(json.dumps({**config, "backend": "cupy"}), encoding="utf-8")
    assert "CuPy is not installed" in command("train", "--resume", tiny_run).complaint


def test_auto_falls_back_and_says_so(no_cupy, train_tiny, command):
    result = train_tiny("--backend", "auto", "--out", "a")
    assert (result.status, run_folder.read_recipe(Path("a")).backend) == (0, "numpy")
    assert "backend auto: using numpy" in result.out
    assert "backend auto: using numpy" in command("evaluate", "a", "--backend", "auto").out


# Data


def cifar_folder(root: Path, labels=(0, 1, 2, 3, 9)) -> Path:
    """An unpacked CIFAR-10 of one record a file, all pixels 7."""
    folder = root / FORMATS["cifar10"].folder
    folder.mkdir(parents=True)
    for i, label in enumerate(labels, 1):
        (folder / f"data_batch_{i}.bin").write_bytes(bytes([label]) + bytes([7]) * 3072)
    (folder / "test_batch.bin").write_bytes(bytes([0]) + bytes([7]) * 3072)
    return folder


def test_damaged_cifar_is_refused(tmp_path, command):
    root = tmp_path / "cifar"
    root.mkdir()
    options = ("--data", "cifar10", "--data-root", root, "--batch-size", 1, "--steps", 1, "--out", "a")
    assert "cannot download https" in command("train", *options).complaint  # missing, and there is no network
    (root / FORMATS["cifar10"].archive).write_bytes(b"\x1f\x8b" + bytes(1000))
    assert "incomplete or damaged (MD5" in command("train", *options).complaint
    folder = cifar_folder(root, labels=(0, 1, 200, 3, 4))
    text = command("train", *options).complaint
    assert re.search(r"data_batch_3.bin: record 0 .* has label 200, expected 0 to 9", text)
    (folder / "data_batch_3.bin").write_bytes(bytes(3000))
    assert "3,000 bytes is not a whole number of 3,073-byte records" in command("train", *options).complaint
    (folder / "data_batch_3.bin").unlink()
    assert "data_batch_3.bin is missing" in command("train", *options).complaint
    assert not Path("a").exists()


FOLDER_MODEL = ("--image-size", 16, "--patch-size", 8, "--width", 8, "--depth", 1, "--heads", 2)
FOLDER_RUN = (*FOLDER_MODEL, "--batch-size", 4, "--steps", 4, "--out", "a")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("truncated", ""),
        ("nonsense", "not an image"),
        ("1x1", "1 x 1 pixels, each side needs at least 2"),
        ("bomb", "more than 89,478,485 pixels"),
    ],
)
def test_a_bad_image_is_named_and_refused(how, expected, split, pets, command, spoil):
    bad = spoil(pets / split / "dog" / ("1.jpg" if split == "train" else "5.png"), how)
    text = command("train", "--data", f"folder:{pets}", *FOLDER_RUN).complaint
    assert f"error: {bad}: " in text
    assert expected in text


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_run_that_meets_a_bad_image_is_saved_and_goes_on_without_it(split, pets, command, spoil, monkeypatch):
    bad = pets / split / "dog" / ("1.jpg" if split == "train" else "5.png")

    def spoilt_later(*datasets):
        spoil(bad, "truncated")

    with monkeypatch.context() as patch:
        patch.setattr(look, "at_files", spoilt_later)
        text = command("train", "--data", f"folder:{pets}", *FOLDER_RUN).complaint
    assert "go on with --resume a --bad-images skip" in text
    saved = int(text.split("saved after step ")[1].split(":")[0])
    assert run_folder.read_checkpoint(Path("a/checkpoint.npz"))[1]["step"] == saved
    result = command("train", "--resume", "a", "--bad-images", "skip")
    assert result.status == 0
    assert f"skipped {bad}: " in result.err
    records = [json.loads(line) for line in Path("a/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["step"] for record in records] == [2, 4]  # also the evaluation in which the image was met
    assert [record["lr"] > 0 for record in records] == [True, True]


def test_who_skips_bad_images_already_is_not_told_to(pets, command, spoil, monkeypatch):
    def all_spoilt(*datasets):
        for image in (pets / "train").glob("*/*"):
            spoil(image, "truncated")

    with monkeypatch.context() as patch:
        patch.setattr(look, "at_files", all_spoilt)
        text = command("train", "--data", f"folder:{pets}", *FOLDER_RUN, "--bad-images", "skip").complaint
    assert "too few readable images" in text
    assert "once mended, go on with --resume a" in text
    assert "--bad-images skip" not in text


def test_predict_refuses_bad_images(tiny_run, pets, command, spoil):
    good = pets / "train" / "cat" / "0.png"
    for how, expected in (("truncated", "truncated"), ("1x1", "1 x 1 pixels"), ("bomb", "89,478,485 pixels")):
        bad = spoil(pets / "train" / "dog" / "1.jpg", how)
        result = command("predict", tiny_run, good, bad)
        assert f"{bad}: " in result.complaint
        assert expected in result.err.lower()
        assert result.out.startswith(str(good))  # what could be answered was


def test_a_folder_that_changed_since(pets, command, spoil):
    data = ("--data", f"folder:{pets}")
    assert command("train", *data, *FOLDER_RUN).status == 0
    extra = pets / "train" / "cat" / "extra.png"
    extra.write_bytes((pets / "train" / "cat" / "0.png").read_bytes())
    text = command("train", "--resume", "a").complaint
    assert "has changed: 9 images of 2 classes, 8 of 2 when a/checkpoint.npz was saved" in text
    extra.unlink()
    assert command("train", "--resume", "a").status == 0
    (pets / "train" / "eel").mkdir()
    (pets / "train" / "cat" / "0.png").rename(pets / "train" / "eel" / "0.png")
    assert "has 3 classes and 3 channels, the model 2 classes" in command("train", "--resume", "a").complaint
    text = command("train", "--config", "a/config.json", "--out", "b").complaint
    assert "has 3 classes and 3 channels, the model 2 classes" in text
    assert not Path("b").exists()
    assert "has 3 classes (cat, dog, eel" in command("evaluate", "a").complaint
    assert "--preset" in command("train", "--config", "a/config.json", "--data", "digits").complaint


def test_evaluate_wants_the_same_classes_and_channels(tiny_run, pets, command):
    data = f"folder:{pets}"
    assert "the model was trained on 10 (0, 1, 2, ...)" in command("evaluate", tiny_run, "--data", data).complaint
    (pets / "train" / "cat").rename(pets / "train" / "0")  # now the classes of the digits, but in colour
    (pets / "train" / "dog").rename(pets / "train" / "1")
    for name in "23456789":
        (pets / "train" / name).mkdir()
        (pets / "train" / name / "x.png").write_bytes((pets / "train" / "0" / "0.png").read_bytes())
    text = command("evaluate", tiny_run, "--data", data, "--split", "train").complaint
    assert "10 classes and 3 channels, the model 10 classes and 1 channels" in text


# config.json


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"learning_rate": 1}, 'unknown field "learning_rate"'),
        ({"batchsize": 1}, 'unknown field "batchsize"; did you mean "batch_size"?'),
        ({"lr": "fast"}, 'lr is "fast", expected float'),
        ({"lr": True}, "lr is true, expected float"),
        ({"batch_size": 1.5}, "batch_size is 1.5, expected int"),
        ({"flip": "yes"}, 'flip is "yes", expected bool'),
        ({"data": 5}, "data is 5, expected str"),
        ({"seed": None}, "seed is null, expected int"),
        ({"randaugment": [2, "9"]}, 'randaugment is [2, "9"], expected'),
        ({"lr": -1}, "lr is -1, expected a positive number"),
        ({"model": 3}, "expected a JSON object"),
        ({"model": {"width": "64"}}, 'width is "64", expected int'),
        ({"model": {"wdith": 64}}, 'unknown field "wdith"; did you mean "width"?'),
        ({"model": {"image_size": [8]}}, "image_size is [8], expected"),
    ],
)
def test_a_config_that_is_wrong(change, expected, tiny_run, command):
    path = tiny_run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    for argv in (("train", "--resume", tiny_run), ("train", "--config", path), ("evaluate", tiny_run)):
        assert expected in command(*argv).complaint
    assert list(Path().iterdir()) == [tiny_run]


def test_a_config_that_is_not_json(tiny_run, command):
    for text in ("", "{", "[]", "\x00\xff", "3"):
        (tiny_run / "config.json").write_text(text, encoding="utf-8")
        assert "config.json is not a configuration" in command("train", "--resume", tiny_run).complaint


# Checkpoints


def test_a_damaged_checkpoint_is_refused_and_kept(tiny_run, command):
    path = tiny_run / "checkpoint.npz"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", b"nonsense" * 100, whole[:2000] + b"!" + whole[2001:]):
        said = {b"": "empty", b"nonsense" * 100: "a text"}.get(damaged, "truncated or not a checkpoint")
        path.write_bytes(damaged)
        for name in ("train", "evaluate"):
            argv = ("--resume", tiny_run) if name == "train" else (tiny_run,)
            assert f"{path} is {said}" in command(name, *argv).complaint
        assert path.read_bytes() == damaged
    path.unlink()
    text = command("evaluate", tiny_run).complaint
    assert "finished has no checkpoint yet: train it with --resume finished" in text


def test_a_checkpoint_of_another_kind(tiny_run, command):
    path = tiny_run / "checkpoint.npz"
    other = np.frombuffer(b'{"format": "x"}', np.uint8)
    for arrays in ({"weights": np.zeros(3)}, {"meta": np.zeros(3)}, {"meta": other}):
        np.savez(path, **arrays)
        assert f"{path} is not a checkpoint of a minivit run" in command("train", "--resume", tiny_run).complaint
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    assert "one array, not named arrays" in command("train", "--resume", tiny_run).complaint
    np.savez(path, meta=np.array([{"a": "pickle"}]))
    assert "allow_pickle=False" in command("train", "--resume", tiny_run).complaint


def test_a_checkpoint_of_another_model_lists_what_differs(tiny_run, command):
    path = tiny_run / "checkpoint.npz"
    arrays = read_npz(path)
    for name in ("objective/model.norm.scale", "optimizer/m/model.norm.bias", "ema/average/model.class_token"):
        del arrays[name]
    arrays["objective/model.head.weight"] = np.zeros((3, 4), np.float32)
    arrays["optimizer/surplus"] = np.zeros(1)
    write_npz(path, arrays)
    text = command("train", "--resume", tiny_run).complaint
    assert f"{path} does not fit the model: " in text
    assert "missing: objective/model.norm.scale, optimizer/m/model.norm.bias, ema/average/model.class_token; " in text
    assert "unexpected: optimizer/surplus; " in text
    assert "wrong shape: objective/model.head.weight (3, 4), expected (8, 10)" in text
    text = command("evaluate", tiny_run).complaint
    assert f"{path} does not fit the model: missing: model.class_token" in text


def test_weights_spoilt_by_an_update_are_not_saved(train_tiny):
    """A learning rate that overflows float32 at once: the next step would notice, but the checkpoint comes first."""
    text = train_tiny("--out", "a", "--lr", "1e39", "--warmup", 0, "--checkpoint-every", 1).complaint
    assert re.search(r"step 1: NaN or infinity, first in objective/model\.\S+ after the update; try .* --lr", text)
    assert not Path("a/checkpoint.npz").exists()
    text = train_tiny("--out", "b", "--lr", "1e39", "--warmup", 0, "--eval-every", 1, "--checkpoint-every", 9).complaint
    assert "step 1: NaN or infinity, first in the test loss" in text
    assert {path.name for path in Path("b").iterdir()} == {"config.json"}


def test_a_run_that_becomes_nan_keeps_its_last_checkpoint(train_tiny, command, monkeypatch):
    """A planted infinity in a weight, at step 8 of a run that saves every 3."""
    real = Trainer.update

    def update(self, *args):
        if self.step == 7:
            dict(self.model.named_parameters())["blocks.1.norm1.scale"].data[2] = np.inf
        return real(self, *args)

    monkeypatch.setattr(Trainer, "update", update)
    text = train_tiny("--out", "a").complaint
    assert "step 8: NaN or infinity, first in parameter model.blocks.1.norm1.scale (8,)" in text
    assert "the checkpoint in a is from an earlier step" in text
    states, meta = run_folder.read_checkpoint(Path("a/checkpoint.npz"))
    assert meta["step"] == 6
    assert all(np.isfinite(array).all() for state in states.values() for array in state.values())


# Full disks


@pytest.mark.parametrize("file", ["checkpoint.npz", "metrics.jsonl", "curves.png"])
def test_a_full_disk_loses_nothing(file, tiny_run, stopped_run, command, same_bits, monkeypatch):
    folder, checkpoint = stopped_run(4), Path("stopped/checkpoint.npz")
    before = checkpoint.read_bytes()
    real = os.replace

    def full(source, target):
        if Path(target).name == file:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        result = command("train", "--resume", folder)
    *warnings, complaint = result.err.splitlines()
    assert result.status == 2
    assert complaint.startswith(f"error: cannot write {folder / file}: No space left on device")
    if file == "checkpoint.npz":
        assert len(warnings) == 2  # after steps 6 and 9
        assert all(line.endswith("the file that was there before is unharmed; training goes on") for line in warnings)
        assert "the last save is older" in complaint
        assert complaint.endswith("go on with --resume stopped")
    if file != "curves.png":
        assert checkpoint.read_bytes() == before
    assert {path.name for path in folder.iterdir()} <= {
        "config.json",
        "metrics.jsonl",
        "checkpoint.npz",
        "best.npz",
        "curves.png",
    }
    assert command("train", "--resume", folder).status == 0
    same_bits(tiny_run, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits")
def test_a_quota_keeps_the_old_checkpoint(tiny_run, stopped_run, command, same_bits):
    """No file may grow beyond 8 KB while the checkpoint, of about 40 KB, is written."""
    import resource

    folder = stopped_run(4)
    before = (folder / "checkpoint.npz").read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, old[1]))
    try:
        result = command("train", "--resume", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert result.status == 2
    assert result.err.count("checkpoint.npz: File too large; the file that was there before is unharmed") == 3
    assert result.err.count("\n") == result.err.count("File too large") == 3 + result.err.count("best.npz")
    assert (folder / "checkpoint.npz").read_bytes() == before
    assert command("train", "--resume", folder).status == 0
    same_bits(tiny_run, folder)


def test_no_room_for_the_run_folder(train_tiny, monkeypatch):
    def full(self, text, encoding=None):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert "cannot create the run folder a: No space left on device" in train_tiny("--out", "a").complaint
    assert not Path("a").exists()


@pytest.mark.parametrize("moment", ["update", "_evaluate", "print"])
def test_what_fails_before_the_first_step_leaves_no_folder(moment, train_tiny, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error") if moment == "print" else MemoryError

    if moment == "print":
        monkeypatch.setattr(Trainer, "run", fail)
    else:
        monkeypatch.setattr(Trainer, moment, fail)
    assert train_tiny("--out", "a", "--steps", 1).status == 2
    assert Path("a").exists() == (moment == "_evaluate")  # after a step
    Path("b").mkdir()
    assert "b exists already" in train_tiny("--out", "b").complaint
    assert Path("b").exists()


def test_predict_goes_on_after_a_bad_image(tiny_run, pets, command, spoil):
    good = [pets / "train" / "cat" / "0.png", pets / "train" / "cat" / "2.png"]
    bad = [spoil(pets / "train" / "dog" / "1.jpg", "truncated"), pets / "missing.png"]
    result = command("predict", tiny_run, bad[0], good[0], bad[1], good[1])
    assert result.status == 2
    *errors, last = result.err.splitlines()
    assert all(line.startswith(f"error: {path}: ") for line, path in zip(errors, bad, strict=True))
    assert last == "2 images classified; 2 could not be read, see above"
    assert [line for line in result.out.splitlines() if not line.startswith("  ")] == [str(path) for path in good]


def test_commands_that_are_printed_can_be_pasted(train_tiny, command):
    Path("a  b's").mkdir()
    (Path("a  b's") / "config.json").write_text("{}", encoding="utf-8")
    pasted = shlex.split(train_tiny("--out", "a  b's").complaint.split("continue it with ")[1].split(", or")[0])
    assert pasted == ["--resume", "a  b's"]
    pasted = shlex.split(command("evaluate", "a  b's").complaint.split("train it with ")[1])
    assert pasted == ["--resume", "a  b's"]


@pytest.mark.parametrize("option", ["--config", "--out", "--data", "--data-root", "--init-from", "--preset"])
def test_an_empty_option_is_not_ignored(option, command):
    assert f"{option} is empty" in command("train", option, "").complaint


def test_an_empty_name_of_a_file(tiny_run, command):
    assert "is empty" in command("predict", tiny_run, "").complaint
    assert "--csv is empty" in command("predict", tiny_run, "x.png", "--csv", "").complaint
