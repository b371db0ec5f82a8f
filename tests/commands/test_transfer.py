"""`python -m minivit.train --init-from`: fine-tuning published weights and runs from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import standin_cupy
from untrained import untrained

from minivit.models import ViT, ViTConfig, export, load_pretrained, resize_posemb
from minivit.models.archive import read_npz
from minivit.models.families import named_fields
from minivit.runs import folder as run_folder
from minivit.runs.presets import PRESETS
from minivit.runs.trainer import Trainer

FEW = ("--batch-size", 8, "--steps", 4, "--limit", 40, "--eval-every", 2, "--workers", 2)


def records(folder):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def colour():
    """A file of random weights for colour images, three classes."""
    model = ViT(ViTConfig(image_size=16, patch_size=8, width=8, depth=2, heads=2, mlp_width=8, num_classes=3))
    model.head.weight.data[...] = np.random.default_rng(0).standard_normal(model.head.weight.shape)
    export(model, "colour.npz")
    return Path("colour.npz")


def test_a_run_is_fine_tuned_at_another_size(tiny_run, command):
    result = command("train", "--init-from", tiny_run, "--image-size", 16, "--keep-head", *FEW, "--out", "a")
    assert (result.status, result.err) == (0, "")
    for text in (
        "starting from finished\n  loaded: 32 arrays: class_token, position_embedding, patch_embed, blocks, norm, ",
        "\n  resized: position_embedding from 2 x 2 to 4 x 4 (align_corners)\n",
        "16x16x1",
        "17 tokens",
        "%, at the start\n",
    ):
        assert text in result.out, text
    recipe, source = run_folder.read_recipe(Path("a")), run_folder.read_recipe(tiny_run)
    finetune = PRESETS["finetune"]
    assert {name: getattr(recipe, name) for name in finetune} == finetune
    assert (recipe.init_from, recipe.keep_head, recipe.data) == (str(Path("finished").absolute()), True, "digits")
    assert (recipe.mean, recipe.std, recipe.mixup, recipe.ema) == (source.mean, source.std, 0, None)
    assert (recipe.model.image_size, recipe.model.dropout) == ((16, 16), source.model.dropout)
    assert [line["step"] for line in records("a")] == [0, 2, 4]
    # evaluated at the run's own size, whatever the data's
    assert f"accuracy {records('a')[-1]['test_accuracy']:.2%}" in command("evaluate", "a").out


def test_the_line_at_the_start_is_of_the_source_itself(tiny_run, command):
    """Same size, same head: nothing has changed yet."""
    assert command("train", "--init-from", tiny_run / "checkpoint.npz", "--keep-head", *FEW, "--out", "a").status == 0
    expected = records(tiny_run)[-1]
    first = records("a")[0]
    assert (first["test_accuracy"], first["train_loss"], first["lr"]) == (expected["test_accuracy"], None, None)
    assert first["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-6)


def test_published_weights_are_fine_tuned_on_a_folder(colour, pets, command):
    argv = ("--init-from", colour, "--image-size", 24, "--data", f"folder:{pets}", "--mean", "0.4,0.5,0.6")
    result = command("train", *argv, "--steps", 3, "--out", "a")
    assert result.status == 0
    assert "resized: Transformer/posembed_input/pos_embedding from 2 x 2 to 3 x 3 (align_corners)" in result.out
    assert "replaced: head.weight, head.bias" in result.out
    recipe = run_folder.read_recipe(Path("a"))
    assert (recipe.mean, recipe.std, recipe.model.num_classes) == ((0.4, 0.5, 0.6), 0.5, 2)
    assert recipe.batch_size == 8
    assert records("a")[0]["test_loss"] == pytest.approx(np.log(2), rel=1e-6)  # the head is zero
    assert command("predict", "a", pets / "val" / "dog" / "5.png").status == 0


def test_the_first_step_starts_from_the_weights(colour, pets, command):
    """With a learning rate near zero they are what the checkpoint holds."""
    argv = ("--init-from", colour, "--image-size", 24, "--data", f"folder:{pets}", "--lr", 1e-30, "--steps", 1)
    for options, name in (((), "a"), (("--resize-positions", "bicubic"), "b"), (("--resize-positions", "fresh"), "c")):
        assert command("train", *argv, *options, "--out", name).status == 0
    source = load_pretrained(colour).state_dict()
    a, b, c = (read_npz(Path(name) / "checkpoint.npz") for name in "abc")
    for method, state in (("align_corners", a), ("bicubic", b)):
        expected = resize_posemb(source["position_embedding"], (2, 2), (3, 3), 1, method)
        np.testing.assert_array_equal(state["objective/model.position_embedding"], expected)
    assert abs(c["objective/model.position_embedding"] - a["objective/model.position_embedding"]).max() > 0.01
    for name in ("blocks.1.mlp.out.weight", "patch_embed.projection.weight", "norm.scale"):
        for state in (a, b, c):
            np.testing.assert_array_equal(state[f"objective/model.{name}"], source[name])


@pytest.mark.parametrize("part", ["backbone", 1])
def test_frozen_parts_keep_their_weights(part, tiny_run, command):
    result = command("train", "--init-from", tiny_run, "--freeze", part, "--lr", 0.5, *FEW, "--ema", 0.5, "--out", "a")
    assert result.status == 0
    assert " frozen; numpy" in result.out
    before, after = (
        run_folder.load_trained(tiny_run)[0].state_dict(),
        run_folder.load_trained(Path("a"))[0].state_dict(),
    )
    learned = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in learned} == (
        {"head"} if part == "backbone" else {"blocks", "norm", "head"}
    )
    assert not any(name.startswith("blocks.0") for name in learned)
    assert run_folder.read_recipe(Path("a")).freeze == part
    assert "accuracy" in command("evaluate", "a").out


def test_resuming_and_repeating(tiny_run, command, same_bits, monkeypatch):
    argv = ("--init-from", tiny_run, "--image-size", 16, "--freeze", 1, "--keep-head", *FEW)
    assert command("train", *argv, "--out", "whole").status == 0
    assert command("train", "--config", "whole/config.json", "--out", "again").status == 0
    same_bits("whole", "again")
    assert Path("whole/config.json").read_text(encoding="utf-8") == Path("again/config.json").read_text(
        encoding="utf-8"
    )
    real = Trainer.update

    def update(self, *args):
        self.stop_requested = self.step == 2
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", update)
        assert command("train", *argv, "--out", "cut").status == 130
    assert run_folder.read_checkpoint(Path("cut/checkpoint.npz"))[1]["step"] == 3
    shutil.move(tiny_run, "elsewhere")  # nobody needs it any more
    assert command("train", "--resume", "cut").status == 0
    same_bits("whole", "cut")
    answer = command("train", "--config", "whole/config.json", "--out", "b").complaint
    assert "finished: there is no such run folder or file" in answer
    assert not Path("b").exists()


def test_another_recipe_can_be_used(tiny_run, command):
    argv = ("--init-from", tiny_run, "--preset", "digits", "--steps", 2, "--mixup", 0, "--out", "a")
    assert command("train", *argv).status == 0
    recipe = run_folder.read_recipe(Path("a"))
    assert (recipe.optimizer, recipe.batch_size, recipe.model.width) == ("adamw", 64, 8)


def test_normalisation_and_shape_are_not_those_of_the_recipe(colour, pets, command):
    argv = ("--init-from", colour, "--preset", "cifar10-10min", "--data", f"folder:{pets}", "--batch-size", 4)
    assert command("train", *argv, "--steps", 1, "--out", "a").status == 0
    recipe = run_folder.read_recipe(Path("a"))
    assert (recipe.mean, recipe.std, recipe.beta2, recipe.flip) == (0.5, 0.5, 0.99, True)
    assert (recipe.model.patch_size, recipe.model.position) == ((8, 8), "learned")


def test_on_the_stand_in_of_a_gpu(tiny_run, command):
    argv = ("--init-from", tiny_run, "--image-size", 16, "--keep-head", *FEW, "--workers", 1)
    assert command("train", *argv, "--freeze", "backbone", "--out", "a").status == 0
    with standin_cupy.installed():
        assert command("train", *argv, "--freeze", "backbone", "--backend", "cupy", "--out", "b").status == 0
    for one, other in zip(records("a"), records("b"), strict=True):
        assert one["test_loss"] == pytest.approx(other["test_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--preset finetune", "preset finetune needs --init-from FILE"),
        ("--init-from nowhere", "nowhere: there is no such run folder or file"),
        ("--init-from PETS", "pets is not a run folder: it has no config.json"),
        ("--init-from finished/metrics.jsonl", "finished/metrics.jsonl is JSON, not weights"),
        ("--init-from colour.npz", "preset finetune needs --data folder:PATH"),
        ("--init-from colour.npz --data digits", "digits has 10 classes and 1 channels, the model 10 classes and 3"),
        ("--init-from colour.npz --data digits --heads 4", "wrong shape: Transformer/encoderblock_0"),
        ("--init-from finished --image-size 9", "patch size 4x4 does not divide image size 9x9"),
        ("--init-from finished --width 16", "finished does not fit the model: wrong shape: class_token (1, 1, 8)"),
        ("--init-from finished --position none", "unexpected: position_embedding"),
        ("--init-from finished --resize-positions cubic", 'resize_positions is "cubic", expected one of align_corners'),
        ("--resize-positions bicubic", "resize_positions and keep_head need weights to start from: give init_from"),
        ("--keep-head", "resize_positions and keep_head need weights to start from: give init_from"),
        ("--freeze head", "freeze is head, expected backbone or a number of blocks from 1 to 4"),
        ("--freeze 0", "freeze is 0, expected backbone or a number of blocks from 1 to 4"),
        ("--init-from finished --freeze 3", "freeze is 3, expected backbone or a number of blocks from 1 to 2"),
        (
            "--init-from finished --resize-positions fresh --freeze 1",
            "freeze would fix the random positions of resize_positions fresh",
        ),
        (
            "--init-from finished --keep-head --data folder:PETS",
            "10 classes (0, 1, 2, ...), and none of them is cat, dog",
        ),
    ],
)
def test_bad_input_is_refused(argv, expected, tiny_run, colour, pets, command):
    before = sorted(Path().rglob("*"))
    assert expected in command("train", *argv.replace("PETS", str(pets)).split()).complaint
    assert sorted(Path().rglob("*")) == before


SMALL = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 8}
CROPS = {"local_crops": 1, "local_size": 4, "outputs": 8, "hidden": 8, "bottleneck": 4}
ENCODERS = {  # preset -> model and objective of a run on digits, in small
    "cifar10-dinov2": ({"name": "dinov2", **SMALL}, {"name": "dinov2", **CROPS}),
    "cifar10-beit": (named_fields("beit_nano_patch4") | SMALL, {"name": "beit", "vocabulary": 4, "block": 1}),
    "cifar10-simmim": (SMALL, {"name": "simmim", "unit": 4}),
    "cifar10-masked-patch": (SMALL, {"name": "masked_patch"}),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_classifier_starts_from_an_encoder_that_saw_no_labels(name, command):
    model, objective = ENCODERS[name]
    untrained(Path("encoder"), name, data="digits", model=model, objective=objective, mean=0.5, std=0.5)
    result = command("train", "--init-from", "encoder", *FEW, "--out", "tuned")
    assert (result.status, result.err) == (0, "")
    assert "\n  new: head.weight, head.bias\n" in result.out
    recipe = run_folder.read_recipe(Path("tuned"))
    assert (recipe.objective, recipe.model.num_classes) == (None, 10)
    before = run_folder.load_trained("encoder")[0]
    assert type(run_folder.load_trained("tuned")[0]) is type(before)
    result = command("train", "--init-from", "tuned", *FEW, "--keep-head", "--out", "again")
    assert (result.status, "replaced" in result.out) == (0, False)


def test_predict_says_how_to_get_a_classifier_from_any_encoder(command):
    model, objective = ENCODERS["cifar10-dinov2"]
    untrained(Path("encoder"), "cifar10-dinov2", data="digits", model=model, objective=objective, mean=0.5, std=0.5)
    Path("a.png").write_bytes(b"")
    assert "--init-from encoder" in command("predict", "encoder", "a.png").complaint
