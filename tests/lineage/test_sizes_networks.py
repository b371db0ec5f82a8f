"""Networks for images of all sizes as families of models: by name, from JSON, trained, also on a GPU."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from minivit import functional as F
from minivit.backend import to_numpy
from minivit.data import ArrayDataset
from minivit.errors import ConfigError
from minivit.lineage.naflexvit import filled
from minivit.lineage.navit import pack
from minivit.models import families
from minivit.models.families import ModelConfig
from minivit.runs import recipes
from minivit.runs.building import recompute
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.tensor import grad

NAMES = {"map_head": "map-b16", "flexivit": "flexivit-b", "navit": "navit-b16", "naflexvit": "naflexvit-b16-gap"}
MINI = {"map_head": "map-mini", "flexivit": "flexivit-mini", "navit": "navit-mini", "naflexvit": "naflexvit-mini"}
SHAPE = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12, "num_classes": 3,
         "channels": 1}  # fmt: skip
SMALL = {
    "map_head": {},
    "flexivit": {"base_patch": 3, "base_grid": 3, "grids": (1, 4)},
    "navit": {},
    "naflexvit": {"base_grid": 3, "register_tokens": 1},
}


def config(family, **changes):
    return families.config_of({"name": family, **SHAPE, **SMALL[family], **changes}, "test")


@pytest.mark.parametrize(("family", "name"), [*NAMES.items(), *MINI.items()])
def test_a_name_stands_for_fields_which_survive_json(family, name):
    found = families.config_of(families.named_fields(name), name)
    assert isinstance(found, ModelConfig)
    assert families.name_of(found) == family
    recipe = Recipe(model=found)
    assert recipes.from_mapping(json.loads(recipes.to_json(recipe)), "test") == recipe
    assert str(found.width) in found.description
    assert str(found.num_tokens) in found.description


@pytest.mark.parametrize("name", ["map-b17", "flexivit-x", "navit-h", "naflexvit-b"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match=f'unknown model "{name}".*known: '):
        families.named_fields(name)


@pytest.mark.parametrize("family", SMALL)
def test_features_are_what_a_model_without_a_head_returns(family):
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
    with_head, without = (families.build(config(family, num_classes=classes)).eval() for classes in (3, 0))
    tap = {}
    logits = with_head(images, tap=tap)
    assert (logits.shape, np.ptp(logits.data), logits.data.dtype) == ((3, 3), 0, np.float32)  # the head begins at zero
    assert np.array_equal(tap["features"].data, without(images).data)
    assert tap["block1/attention_weights"].shape == (3, 2, tap["encoded"].shape[1], tap["encoded"].shape[1])
    assert np.ptp(without(images).data, axis=0).all()
    assert with_head.num_parameters() == families.build(with_head.config, None).num_parameters()


def train(family, backend, **changes):
    """The metrics of a run on images whose brightness tells the class, and the Trainer."""
    rng, labels = np.random.default_rng(0), np.arange(24) % 3
    images = (rng.integers(0, 100, (24, 8, 8, 1)) + 70 * labels[:, None, None, None]).astype("uint8")
    data = ArrayDataset(images, labels, ["dark", "grey", "light"], "noise")
    recipe = Recipe(
        model=config(family), batch_size=6, steps=5, optimizer="sgd", lr=0.05, eval_every=5, workers=1, accumulate=1,
        backend=backend,
    )  # fmt: skip
    trainer = Trainer(dataclasses.replace(recipe, **changes), data, data, None)
    for _ in trainer.run():
        pass
    return trainer.metrics[-1], trainer


@pytest.mark.parametrize("family", SMALL)
def test_it_learns(family):
    found, _ = train(family, "numpy", steps=40, eval_every=40, optimizer="adamw", lr=1e-2)
    assert found["test_accuracy"] > 0.9


@pytest.mark.parametrize("rate", ["dropout", "drop_path"])
@pytest.mark.parametrize("family", SMALL)
def test_noise_is_drawn_in_training_only(family, rate):
    model = families.build(config(family, **{rate: 0.4}, num_classes=0))
    images, tap = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32"), {}
    first = model(images, tap, np.random.default_rng(1)).data
    assert not np.allclose(first, model(images, rng=np.random.default_rng(2)).data)
    assert (tap["embedded"].data[:, 1:] == 0).any() == (rate == "dropout")  # a [class] token begins at zero
    model.eval()
    assert np.array_equal(model(images).data, model(images).data)


@pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True)
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("family", SMALL)
def test_a_run_on_a_gpu_has_the_same_metrics(family):
    found, trainer = train(family, "cupy", recompute=True)
    assert trainer.work.recorded == (family != "flexivit")  # its patch size is drawn in every step
    expected, _ = train(family, "numpy")
    for figure in ("train_loss", "test_loss"):
        assert found[figure] == pytest.approx(expected[figure], rel=1e-4), figure


@pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True)
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("family", SMALL)
def test_mixed_precision_is_what_numpy_emulates(family):
    found, expected = (train(family, backend, precision="bf16", steps=3)[0] for backend in ("cupy", "numpy"))
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=2**-8)


@pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True)
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("fields", [{}, {"pool": "gap"}, {"classifier": "map"}, {"classifier": "max"}], ids=str)
def test_images_of_several_sizes_in_a_batch_on_a_gpu(fields):
    """Arrays from the host may be given: the model brings them to its device."""
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(*size, 1)).astype("float32") for size in ((8, 4), (4, 4), (12, 8))]
    family = "naflexvit" if "classifier" in fields else "navit"
    model = families.build(config(family, num_classes=0, **fields)).eval()
    found = []
    for backend in ("numpy", "cupy"):
        model.to(backend)
        if family == "navit":
            answers = model.packed(pack(images, (4, 4), 7))
        else:
            answers = model.padded(*filled(images, (4, 4)))
        found.append(to_numpy(answers.data))
        assert all(np.isfinite(to_numpy(g)).all() for g in grad((answers * answers).sum(), model.parameters()))
    assert np.allclose(*found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", SMALL)
def test_blocks_that_are_computed_again_give_the_same_gradients(family, monkeypatch):
    model, found = families.build(config(family, dropout=0.2, drop_path=0.2, num_classes=0), dtype="float64"), []
    images, calls, norm = np.random.default_rng(0).normal(size=(3, 8, 8, 1)), [], F.layer_norm
    monkeypatch.setattr(F, "layer_norm", lambda *given: calls.append(1) or norm(*given))
    for again in (False, True):
        recompute(model, again)
        y = model(images, rng=np.random.default_rng(1))
        found.append(grad((y * y).sum(), model.parameters()))
        calls.append(0)
    assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*found, strict=True))
    first = calls.index(0)
    assert sum(calls[first:]) == first + 4  # two norms of two blocks


def test_their_files_are_imported_on_use():
    code = (
        "import sys, minivit, minivit.lineage\n"
        "from minivit.models.families import ViTConfig, mapping, named_fields\n"
        "mapping(ViTConfig()), named_fields('B/16')\n"
        "files = {f'minivit.lineage.{name}' for name in ('map_head', 'flexivit', 'navit', 'naflexvit')}\n"
        "early = files & sys.modules.keys()\n"
        "named_fields('navit-mini')\n"
        "print(early, files & sys.modules.keys())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set() {'minivit.lineage.navit'}"
