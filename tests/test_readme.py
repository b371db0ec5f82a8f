"""What the README promises about itself."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from PIL import Image

import minivit
from minivit import train
from minivit.backend import kernels
from minivit.data import load
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW, warmup_cosine
from minivit.runs.presets import PRESETS
from minivit.tensor import Tensor
from minivit.update.objective import Classification
from minivit.update.step import step

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


READING = README.partition("## Reading one training step")[2].partition("\n## ")[0]
PATH = re.findall(r"^\d+\. \[`(minivit/[\w/]+\.py)`\]", READING, flags=re.M)


def test_the_reading_path_of_one_step_is_under_1800_lines():
    assert len(PATH) > 10
    assert sum((ROOT / file).read_text(encoding="utf-8").count("\n") for file in PATH) < 1800


def files_that_run(function: Callable[[], object]) -> set[str]:
    """The files of minivit of which a function runs while the given one does, in this thread."""
    package, found = Path(minivit.__file__).parent, set()

    def look(frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(package):
            found.add(file.relative_to(package.parent).as_posix())

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        function()
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.parametrize("mode", ["reference", "fused"])
def test_every_file_that_a_step_runs_is_on_the_path_or_named_below_it(mode):
    data, config = load("digits"), PRESETS["digits"]["model"]
    model = ViT(ViTConfig(**config, image_size=8, channels=1, num_classes=10, drop_path=0.1))
    optimizer = AdamW(model.named_parameters(), warmup_cosine(1e-3, 10))
    objective, batch = Classification(model), {"images": data.images[:8].astype("float32"), "labels": data.labels[:8]}
    with kernels(mode):
        ran = files_that_run(lambda: step(objective, optimizer, batch, clip_norm=1.0))
    named = set(re.findall(r"\[`(minivit/[\w/]+\.py)`\]", READING))
    assert ran <= named
    called_at_import = {"minivit/functional.py"}
    if mode == "reference":
        assert set(PATH) - called_at_import <= ran


def test_the_files_that_run_are_found():
    x = Tensor(1.0)
    assert {"minivit/tensor.py", "minivit/ops/arithmetic.py"} <= files_that_run(lambda: x + x)
    assert files_that_run(lambda: None) == set()


def test_the_softmax_shown_is_the_softmax_that_runs():
    shown = README.split("```python\ndef softmax")[1].split("```")[0]
    source = (ROOT / "minivit/ops/normalisation.py").read_text(encoding="utf-8")

    def code(text):
        return [line.split("  #")[0].rstrip() for line in text.splitlines()[1:] if line.strip()]

    assert "\n".join(code(shown)) in "\n".join(code(source))


# Figures


FIGURE = r"about 97\.7 % of the 359\stest\simages\W+96\.9 to 98\.6 % by seed"


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/training.md", "docs/inside.md"])
def test_the_accuracy_on_digits_is_a_range_and_the_same_everywhere(page):
    assert re.search(FIGURE, (ROOT / page).read_text(encoding="utf-8"))


# Commands and snippets


def commands_shown(text: str) -> list[list[str]]:
    """The words of every command that the page shows, without `minivit`."""
    table = text.partition("| after `minivit` |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.+?`) \|", table, flags=re.M)
    rows = [line for cell in cells for line in re.findall(r"`([^`]+)`", cell)]
    return [line.split() for line in rows + re.findall(r"(?:`|^)minivit (\w[^`\n]*)", text, flags=re.M)]


SHOWN = [words for words in commands_shown(README) if words[0].islower()]  # not the placeholder COMMAND


def test_the_commands_shown_are_found():
    table = "| after `minivit` | |\n|---|---|\n| `train --a 1` | x |\n| `doctor`, `models` | y |\n"
    page = f"{table}\n`minivit`, `minivit models`\nminivit train\n"
    assert commands_shown(page) == [["train", "--a", "1"], ["doctor"], ["models"], ["models"], ["train"]]
    assert len(SHOWN) > 10


@pytest.mark.parametrize("command", sorted({words[0] for words in SHOWN}))
def test_every_command_and_option_exists(command):
    done = subprocess.run([sys.executable, "-m", "minivit", command, "--help"], capture_output=True, cwd=ROOT)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, done.stderr
    options = {word for words in SHOWN if words[0] == command for word in words if word.startswith("--")}
    assert [option for option in options if not re.search(rf"{option}\b", said)] == []


def test_what_is_shown_of_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--steps", "2"]) == 0
    Image.new("L", (8, 8)).save("image.png")
    capsys.readouterr()
    snippets = re.findall(r"^```python\n(.*?)^```", README.partition("## In Python")[2], flags=re.M | re.S)
    classes, gradients, _ = snippets
    exec(classes, {})
    assert len(re.findall(r"^ *\d+\.\d+%  \d$", capsys.readouterr().out, flags=re.M)) == 5
    found: dict = {}
    exec(gradients, found)
    assert all(g.shape == p.shape for g, p in zip(found["gradients"], found["model"].parameters(), strict=True))
