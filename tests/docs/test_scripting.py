"""docs/scripting.md: its snippets run one after the other, as they stand."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from minivit import load_pretrained
from minivit.models import load_pretrained as load_published
from minivit.tensor import no_grad

PAGE = (Path(__file__).parents[2] / "docs/scripting.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)


def module(name, **contents):
    made = types.ModuleType(name)
    vars(made).update(contents)
    return made


class Recorder:
    """In the place of a TensorBoard writer and of a run of Weights & Biases: keeps what is logged."""

    def __init__(self, *args, **kwargs):
        self.lines = []
        self.settings = kwargs
        Recorder.latest = self

    def add_scalar(self, name, value, step):
        self.lines.append((step, {name: value}))

    def log(self, values, step):
        self.lines.append((step, values))

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder, and the names that the snippets have made so far."""
    return tmp_path_factory.mktemp("script"), {}


@pytest.fixture
def run(place, monkeypatch, capsys):
    """run("Trainer("): run the snippet with these words; what it printed and the names that there are now."""
    folder, names = place
    monkeypatch.chdir(folder)

    def execute(words):
        (snippet,) = (text for text in SNIPPETS if words in text)
        exec(compile(snippet, "docs/scripting.md", "exec"), names)
        return capsys.readouterr().out, names

    return execute


def test_arrays_a_run_and_its_answers(run):
    out, names = run("ArrayDataset(")
    assert "1,200 images" in out
    assert not set(map(bytes, names["train"].images)) & set(map(bytes, names["val"].images))

    out, names = run("runs.create(")
    accuracies = [float(line.split()[1]) for line in out.splitlines()]
    assert len(accuracies) == 10
    assert accuracies[-1] > 0.7

    out, names = run("classify(model, val.images[:3]")
    assert "Head, weight (32, 10), bias (10,)" in out
    answers = re.findall(r"^(\d): (\d+\.\d)%$", out, flags=re.M)
    best = np.argmax(direct_logits(names["model"], names["val"].images[:3]), axis=1)
    assert [int(name) for name, _ in answers] == list(best)

    out, names = run("loss.backward()")
    assert float(re.findall(r"accuracy (\d+\.\d)%", out)[0]) > 70
    # what the page says of a run's folder and of exported weights
    assert (Path("runs/mine/config.json").exists(), Path("runs/mine/curves.png").exists()) == (True, True)
    import minivit

    minivit.export(names["model"], "mine.npz")
    assert np.array_equal(load_pretrained("mine.npz").head.weight.data, names["model"].head.weight.data)

    loggers(run)
    onnx(run, names)


def loggers(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", module("torch"))
        patch.setitem(sys.modules, "torch.utils", module("torch.utils"))
        patch.setitem(sys.modules, "torch.utils.tensorboard", module("tensorboard", SummaryWriter=Recorder))
        patch.setitem(sys.modules, "wandb", module("wandb", init=Recorder))
        run("SummaryWriter(")
        steps = 10 * (1200 // 64)
        lines = Recorder.latest.lines
        assert [step for step, values in lines if "loss" in values] == list(range(1, steps + 1))
        assert len([0 for _, values in lines if "test_accuracy" in values]) == 10
        run("wandb.init(")
        lines = Recorder.latest.lines
        assert [step for step, _ in lines] == list(range(1, steps + 1))
        assert sum("test_accuracy" in values for _, values in lines) == 10
        assert Recorder.latest.settings["config"]["model"]["width"] == 32


def onnx(run, names):
    """The whole way where timm and onnx are installed; otherwise the first step, whose file has the same answers."""
    import minivit

    images = names["val"].images[:3]
    model = load_pretrained("runs/mine")
    try:
        import onnx  # noqa: F401
        import timm  # noqa: F401
        import torch
    except ImportError:
        minivit.export(model, "mine.safetensors", layout="timm")
        found = direct_logits(load_published("mine.safetensors", heads=4), images)
    else:
        _, names = run("torch.onnx.export(")
        pixels = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        found = names["theirs"](pixels).detach().numpy()
    assert found == pytest.approx(direct_logits(model, images), abs=1e-4)


def direct_logits(model, images):
    """Logits in the definition's normalisation."""
    with no_grad():
        return model(images.astype(np.float32) / 127.5 - 1).data


def test_every_snippet_is_run():
    source = Path(__file__).read_text(encoding="utf-8")
    words = re.findall(r'[ =]run\("(.+?)"\)\n', source)
    assert len(SNIPPETS) == len(words) == 7
    assert all(sum(word in snippet for snippet in SNIPPETS) == 1 for word in words)
    assert all(len(line) <= 120 for snippet in SNIPPETS for line in snippet.splitlines())
