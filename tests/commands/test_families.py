"""ResNets and hybrids through the commands: trained, resumed, evaluated and used like a plain ViT."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit.models import export
from minivit.runs import folder as run_folder

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
    assert len(Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    again = command("train", "--resume", "run")
    assert "complete: all 6 steps are done" in again.out
    accuracy = json.loads(Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["test_accuracy"]
    assert f"accuracy {accuracy:.2%}" in command("evaluate", "run").out


def test_a_resnet_is_repeated_bit_for_bit(command, same_bits):
    assert command("train", *RESNET, "--out", "whole").status == 0
    assert command("train", "--config", "whole/config.json", "--out", "again").status == 0
    same_bits("whole", "again")


def test_a_named_model_of_the_other_family_replaces_all_of_the_presets_model(command):
    """The digits' preset is a ViT: nothing of its width, patches and dropout is left."""
    result = command("train", *RUN, "--steps", "1", "--model", "R26x1", "--out", "run")
    assert result.status == 0, result
    model = json.loads(Path("run/config.json").read_text(encoding="utf-8"))["model"]
    assert (model["units"], model["width"], model["image_size"]) == ([2, 2, 2, 2], 64, [8, 8])
    assert "patch_size" not in model


def test_a_plain_model_in_place_of_a_hybrid_has_no_stem(command):
    assert command("train", *HYBRID, "--steps", "1", "--out", "hybrid").status == 0
    options = ["--config", "hybrid/config.json", "--model", "Ti/4", "--depth", "1", "--steps", "1"]
    assert command("train", *options, "--out", "plain").status == 0
    assert json.loads(Path("plain/config.json").read_text(encoding="utf-8"))["model"]["stem"] is None


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


NO_FILTERS = "the model does not cut its patches from the image, so it has no filters to show"


@pytest.fixture
def trained(command, request):
    """A run folder, and an image file for its model."""
    assert command("train", *request.param, "--out", "run").status == 0
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9), np.uint8)).save("digit.png")
    return "run"


@pytest.mark.parametrize("trained", [RESNET], indirect=True)
def test_a_resnet_is_shown_as_far_as_it_goes(command, trained):
    result = command("visualize", trained)
    lines = result.out.splitlines()
    reason = "the model is a ResNet: it has no patches, positions or attention of a ViT"
    named = ("attention", "rollout", "distance", "positions", "filters")
    assert lines[:5] == [f"left out {name}: {reason}" for name in named]
    assert lines[5:] == ["pictures/graph.svg", "pictures/curves.png", "pictures/confusion.png"]
    assert command("visualize", trained, "--figures", "attention").complaint == f"error: {reason}\n"


@pytest.mark.parametrize("trained", [HYBRID], indirect=True)
def test_a_hybrid_shows_all_but_filters(command, trained):
    lines = command("visualize", trained, "--index", "0").out.splitlines()
    names = [
        "attention-1.png",
        "rollout.png",
        "distance.png",
        "positions.png",
        "graph.svg",
        "curves.png",
        "confusion.png",
    ]
    assert [line for line in lines if line.startswith("pictures/")] == [f"pictures/{name}" for name in names]
    left_out = [line for line in lines if line.startswith("left out")]
    assert left_out == ["left out filters: " + NO_FILTERS]


@pytest.mark.parametrize("trained", [RESNET, HYBRID], indirect=True, ids=["resnet", "hybrid"])
def test_predict_prints_the_likeliest_classes(command, trained):
    lines = command("predict", trained, "digit.png", "--top", "3").out.splitlines()
    assert lines[0] == "digit.png"
    assert len(lines) == 4


@pytest.mark.parametrize("trained", [HYBRID], indirect=True)
def test_a_file_of_a_hybrid_answers_as_its_run(command, trained):
    export(run_folder.load_trained(Path(trained))[0], "hybrid.npz")
    measured = [
        command("evaluate", *of).out.splitlines()[-1] for of in ((trained,), ("hybrid.npz", "--data", "digits"))
    ]
    assert measured[0].split(",")[:2] == measured[1].split(",")[:2]
    answers = [command("predict", of, "digit.png").out.splitlines()[-5:] for of in (trained, "hybrid.npz")]
    assert [line.split()[0] for line in answers[0]] == [line.split()[0] for line in answers[1]]
    assert "left out filters" in command("visualize", "hybrid.npz", "digit.png").out
