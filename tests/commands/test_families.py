"""ResNets and hybrids through the commands: trained, resumed, evaluated and used like a plain ViT."""

import json
from pathlib import Path

import pytest

RUN = ["--limit", "40", "--batch-size", "5", "--steps", "6", "--eval-every", "3", "--workers", "2", "--mean", "0.5"]
RESNET = ["--preset", "cifar10-resnet", "--data", "digits", *RUN]
HYBRID = [*RUN, "--model", "R+Ti/16", "--patch-size", "1", "--width", "8", "--depth", "1", "--heads", "2"]


@pytest.mark.parametrize(
    ("options", "described"),
    [
        (RESNET, "ResNet: 2+2+2 units, width 16, root 3x3, "),
        (HYBRID, "ViT: ResNet stem (root only), width 8, depth 1, 2 heads, 5 tokens, "),
    ],
    ids=["resnet", "hybrid"],
)
def test_from_training_to_evaluation(command, options, described):
    result = command("train", *options, "--out", "run")
    assert (result.status, described in result.out) == (0, True), result
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 2
    again = command("train", "--resume", "run")
    assert "complete: all 6 steps are done" in again.out
    accuracy = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])["test_accuracy"]
    assert f"accuracy {accuracy:.2%}" in command("evaluate", "run").out


def test_a_resnet_is_repeated_bit_for_bit(command, same_bits):
    assert command("train", *RESNET, "--out", "whole").status == 0
    assert command("train", "--config", "whole/config.json", "--out", "again").status == 0
    same_bits("whole", "again")


def test_a_named_model_of_the_other_family_replaces_all_of_the_presets_model(command):
    """The digits' preset is a ViT: nothing of its width, patches and dropout is left."""
    result = command("train", *RUN, "--steps", "1", "--model", "R26x1", "--out", "run")
    assert result.status == 0, result
    model = json.loads(Path("run/config.json").read_text())["model"]
    assert (model["units"], model["width"], model["image_size"]) == ([2, 2, 2, 2], 64, [8, 8])
    assert "patch_size" not in model


def test_a_plain_model_in_place_of_a_hybrid_has_no_stem(command):
    assert command("train", *HYBRID, "--steps", "1", "--out", "hybrid").status == 0
    options = ["--config", "hybrid/config.json", "--model", "Ti/4", "--depth", "1", "--steps", "1"]
    assert command("train", *options, "--out", "plain").status == 0
    assert json.loads(Path("plain/config.json").read_text())["model"]["stem"] is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--model", "R51x1"], 'unknown ResNet "R51x1": expected one of R26, R50, R101, R152 and a widening factor'),
        (["--model", "R51+B/16"], 'unknown variant "R51+B/16"'),
        (["--model", "R50x1", "--heads", "3"], 'unknown field "heads"'),
        (
            ["--preset", "cifar10-resnet", "--data", "digits", "--mean", "0.5", "--width", "20"],
            "16 groups do not divide",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(command, options, complaint):
    assert complaint in command("train", *options).complaint
