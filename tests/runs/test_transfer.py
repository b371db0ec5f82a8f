"""Starting from the weights of another model: what is loaded, resized, replaced, new; the scaled recipe."""

import dataclasses

import numpy as np
import pytest
import standin_cupy

from minivit.data import ArrayDataset
from minivit.data.imagenet import imagenet_ids
from minivit.errors import CheckpointError, ConfigError, DataError
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig, export, freeze, resize_posemb
from minivit.models.families import build, config_of, named_fields
from minivit.runs import folder as run_folder
from minivit.runs import transfer
from minivit.runs.plan import plan
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.tensor import no_grad

CONFIG = ViTConfig(
    image_size=8, patch_size=4, width=8, depth=2, heads=2, mlp_width=12, num_classes=3, representation_size=6
)
RECIPE = Recipe(model=CONFIG, mean=(0.4, 0.5, 0.6), std=0.2, resize="crop", data="folder:photos", batch_size=4)
CLASSES = ["ant", "bee", "cat"]


def random_model(config=CONFIG, seed=5):
    model = ViT(config, seed=None)
    rng = np.random.default_rng(seed)
    for _, tensor in model.named_tensors():
        tensor.data[...] = rng.standard_normal(tensor.shape)
    return model


def a_run(folder, recipe=RECIPE, classes=CLASSES, **parts):
    """A run folder with the weights of `random_model`, which are returned."""
    model = random_model(recipe.model).state_dict()
    run_folder.create(folder, recipe)
    meta = {"step": 3, "sums": {"steps": 0}, "metrics": [], "classes": classes, "images": 9}
    objective = {f"model.{name}": array for name, array in model.items()}
    run_folder.write_checkpoint(folder, {"objective": objective, "optimizer": {"steps": 3}, **parts}, meta)
    return model


def planned(path, classes=CLASSES, images=9, **given):
    """The Plan of a fine-tuning run on images that are all alike."""
    data = ArrayDataset(np.zeros((images, 8, 8, 3), np.uint8), np.zeros(images), classes, "photos")
    return plan({"init_from": str(path), **given}, lambda *_: data)


def begin(path, classes=CLASSES, model=None, **choices):
    """The Start of a fine-tuning run, and its recipe."""
    found = planned(path, classes, data="digits", batch_size=4, **(model or {}), **choices)
    return transfer.start(found.source, found.recipe, classes), found.recipe


@pytest.fixture(params=["official", "timm", "hf", "run", "checkpoint.npz"])
def weights(request, tmp_path):
    """A file or run folder of each kind, its weights under our names, and the convention for its positions."""
    if request.param in ("run", "checkpoint.npz"):
        state = a_run(tmp_path / "run")
        return tmp_path / "run" / request.param.removeprefix("run"), state, "align_corners"
    config = CONFIG
    if request.param != "official":
        config = dataclasses.replace(CONFIG, gelu="erf")
    if request.param in ("timm", "hf"):
        config = dataclasses.replace(config, representation_size=None)
    model = random_model(config)
    path = tmp_path / f"model.{'npz' if request.param == 'official' else 'safetensors'}"
    export(model, path, request.param)
    method = {"official": "align_corners", "timm": "bicubic_antialias", "hf": "bicubic"}[request.param]
    return path, model.state_dict(), method


def test_the_body_is_loaded_the_positions_are_resized_and_the_head_is_zero(weights):
    path, state, method = weights
    found, recipe = begin(path, classes=list("abcde"), model={"image_size": (12, 16)})
    assert (recipe.model.image_size, recipe.model.num_classes) == ((12, 16), 5)
    assert recipe.model.representation_size is None
    own = found.model.state_dict()
    expected = resize_posemb(state["position_embedding"], (2, 2), (3, 4), 1, method)
    np.testing.assert_array_equal(own.pop("position_embedding"), expected)
    assert own.pop("head.weight").shape == (8, 5)
    assert not found.model.head.weight.data.any()
    assert not found.model.head.bias.data.any()
    del own["head.bias"]
    for name, array in own.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)
    assert set(found.loaded) == {*own, "position_embedding"}
    assert len(found.resized) == 1
    assert f"from 2 x 2 to 3 x 4 ({method})" in found.resized[0]
    assert found.replaced == ["head.weight", "head.bias"]
    assert found.new == []
    assert found.left_out == [name for name in state if name.startswith("pre_logits")]


@pytest.mark.parametrize("method", ["half_pixel", "bicubic"])
def test_the_convention_can_be_chosen(weights, method):
    path, state, _ = weights
    found, recipe = begin(path, model={"image_size": 16}, resize_positions=method)
    expected = resize_posemb(state["position_embedding"], (2, 2), (4, 4), 1, method)
    np.testing.assert_array_equal(found.model.state_dict()["position_embedding"], expected)
    assert recipe.resize_positions == method


def test_fresh_positions_are_drawn_from_the_seed(weights):
    path, state, _ = weights
    tables = {}
    for seed in (0, 1):
        found, recipe = begin(path, model={"image_size": 16}, resize_positions="fresh", seed=seed)
        tables[seed] = found.model.state_dict()["position_embedding"]
        np.testing.assert_array_equal(tables[seed], ViT(recipe.model, seed=seed).state_dict()["position_embedding"])
        assert found.resized == []
        assert found.replaced == ["position_embedding", "head.weight", "head.bias"]
        np.testing.assert_array_equal(found.model.state_dict()["class_token"], state["class_token"])
    assert not np.array_equal(tables[0], tables[1])


def test_the_same_size_resizes_nothing(weights):
    path, state, _ = weights
    found, _ = begin(path)
    assert found.resized == []
    np.testing.assert_array_equal(found.model.state_dict()["position_embedding"], state["position_embedding"])


@pytest.mark.parametrize("grid", [(3, 2), (2, 4)])
def test_tables_for_rows_and_columns_are_resized_each_on_its_own(tmp_path, grid):
    state = a_run(
        tmp_path / "run", dataclasses.replace(RECIPE, model=dataclasses.replace(CONFIG, position="learned2d"))
    )
    size = (4 * grid[0], 4 * grid[1])
    found, _ = begin(tmp_path / "run", model={"image_size": size})
    for name, old, new in (
        ("row", state["row_embedding"][:, 0], grid[0]),
        ("column", state["column_embedding"][0], grid[1]),
    ):
        expected = np.stack([np.interp(np.linspace(0, 1, new), [0, 1], feature) for feature in old.T], axis=1)
        table = found.model.state_dict()[f"{name}_embedding"].reshape(new, -1)
        np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-6)
    assert [line.split()[0] for line in found.resized] == ["row_embedding", "column_embedding"]


def test_fixed_positions_have_no_table(tmp_path):
    a_run(tmp_path / "run", dataclasses.replace(RECIPE, model=dataclasses.replace(CONFIG, position="sincos2d")))
    found, recipe = begin(tmp_path / "run", model={"image_size": 16})
    assert (found.resized, recipe.model.grid) == ([], (4, 4))
    with pytest.raises(
        ConfigError, match=r"^position sincos2d has no table: --resize-positions bicubic does not apply$"
    ):
        begin(tmp_path / "run", model={"image_size": 16}, resize_positions="bicubic")


def test_the_averaged_weights_of_a_run_are_taken(tmp_path):
    model = random_model().state_dict()
    average = {"steps": 3, **{f"average/model.{name}": 2 * array for name, array in model.items()}}
    a_run(tmp_path / "run", dataclasses.replace(RECIPE, ema=0.9), ema=average)
    found, _ = begin(tmp_path / "run")
    np.testing.assert_array_equal(found.model.norm.scale.data, 2 * model["norm.scale"])


def test_a_kept_head_gives_the_same_logits(weights):
    path, _, _ = weights
    if path.name.startswith("model."):  # published weights without names of classes beside them
        with pytest.raises(DataError, match="does not name the classes of its head"):
            begin(path, keep_head=True)
        return
    found, recipe = begin(path, keep_head=True)
    assert recipe.model.representation_size == CONFIG.representation_size
    assert found.replaced == found.new == found.left_out == []
    images = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")
    with no_grad():
        np.testing.assert_array_equal(found.model.eval()(images).data, random_model().eval()(images).data)
    with pytest.raises(DataError, match=r"is for 3 classes \(ant, bee, cat\), and none of them is dog, eel$"):
        begin(path, classes=["bee", "dog", "eel"], keep_head=True)


@pytest.mark.parametrize("classes", [["bee", "ant"], ["cat", "ant", "bee"], ["cat"]])
def test_of_a_kept_head_the_rows_of_the_data_are_kept(tmp_path, classes):
    a_run(tmp_path / "run")
    found, recipe = begin(tmp_path / "run", classes=classes, keep_head=True)
    assert recipe.model.num_classes == len(classes)
    assert found.resized == [f"head from 3 classes to {len(classes)} of them"]
    images = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")
    with no_grad():
        ours, all_classes = found.model.eval()(images).data, random_model().eval()(images).data
    np.testing.assert_allclose(ours, all_classes[:, [CLASSES.index(name) for name in classes]], rtol=1e-5)


def test_the_layer_before_the_head_can_be_new(tmp_path):
    a_run(tmp_path / "run")
    found, _ = begin(tmp_path / "run", model={"representation_size": 10})
    assert found.replaced[:2] == ["pre_logits.weight", "pre_logits.bias"]
    assert found.model.pre_logits.weight.shape == (8, 10)
    assert found.model.pre_logits.weight.data.std() > 0.1  # zeros below a zero head would never learn
    export(random_model(dataclasses.replace(CONFIG, num_classes=0, representation_size=None)), tmp_path / "body.npz")
    found, _ = begin(tmp_path / "body.npz")
    assert (found.new, found.replaced) == (["head.weight", "head.bias"], [])


def test_what_comes_with_a_run(tmp_path):
    a_run(tmp_path / "run")
    _, recipe = begin(tmp_path / "run")
    assert (recipe.mean, recipe.std, recipe.resize, recipe.data) == ((0.4, 0.5, 0.6), 0.2, "crop", "digits")
    _, recipe = begin(tmp_path / "run", mean=0.1, std=0.3, resize="squash")
    assert (recipe.mean, recipe.std, recipe.resize) == (0.1, 0.3, "squash")
    (tmp_path / "photos").mkdir()
    a_run(tmp_path / "there", dataclasses.replace(RECIPE, data=f"folder:{tmp_path / 'photos'}"))
    assert planned(tmp_path / "there").recipe.data == f"folder:{tmp_path / 'photos'}"


def test_what_comes_with_published_weights(tmp_path):
    model = random_model(dataclasses.replace(CONFIG, representation_size=None))
    export(model, tmp_path / "a.safetensors", "timm")
    _, recipe = begin(tmp_path / "a.safetensors")
    assert (recipe.mean, recipe.std, recipe.resize) == (0.5, 0.5, "crop")


def test_the_report_is_read_by_people(tmp_path):
    a_run(tmp_path / "run")
    found, _ = begin(tmp_path / "run", model={"image_size": 16})
    assert str(found).splitlines() == [
        f"  loaded: {len(found.loaded)} arrays: class_token, position_embedding, patch_embed, blocks, norm",
        "  resized: position_embedding from 2 x 2 to 4 x 4 (align_corners)",
        "  replaced: head.weight, head.bias",
        "  left out: pre_logits.weight, pre_logits.bias",
    ]


def test_weights_that_do_not_fit_are_listed(weights):
    path, _, _ = weights
    with pytest.raises(CheckpointError, match=r"does not fit the model: wrong shape: .*; resized: ") as caught:
        begin(path, model={"mlp_width": 16, "image_size": 16})
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = random_model()
    model.blocks[1].mlp.out.weight.data[0, 0] = np.nan
    export(model, tmp_path / "a.npz")
    with pytest.raises(CheckpointError, match=r"a.npz is not a working model: .* holds NaN or infinity$"):
        begin(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("images", "batch", "steps"),
    [(5, 5, 500), (100, 8, 500), (800, 32, 500), (5_000, 128, 500), (50_000, 512, 970)],
)
def test_batch_and_steps_fit_the_data(tmp_path, images, batch, steps):
    a_run(tmp_path / "run")
    found = planned(tmp_path / "run", images=images, data="digits", preset="finetune", lr=1.0).recipe
    assert (found.batch_size, found.steps, found.lr) == (batch, steps, 1)
    assert images // batch >= 20 or batch <= 8
    given = {"data": "digits", "images": images}
    assert planned(tmp_path / "run", batch_size=50, **given).recipe.batch_size == 50
    assert planned(tmp_path / "run", epochs=3.0, **given).recipe.steps is None
    assert planned(tmp_path / "run", steps=7, **given).recipe.steps == 7


# the loop


def fine_tune(folder, stop_after=None, killed=False, **changes):
    """A run that begins with `random_model`: its metrics and its Trainer.   killed: at its first evaluation."""
    data = ArrayDataset(
        np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 3, CLASSES, "random"
    )
    recipe = Recipe(
        model=dataclasses.replace(CONFIG, dropout=0.3), init_from="gone", batch_size=4, steps=6, workers=1,
        accumulate=1, eval_every=3, optimizer="sgd", lr=0.05, **changes,
    )  # fmt: skip
    begun = folder.exists()
    trainer = Trainer(recipe, data, data, folder, None if begun else random_model(recipe.model))
    if begun:
        trainer.restore()
    else:
        run_folder.create(folder, recipe)
    for progress in trainer.run():
        trainer.stop_requested = progress.step == stop_after
        if killed:
            break
    return trainer.metrics, trainer


def test_there_is_a_line_before_the_first_step(tmp_path):
    metrics, _ = fine_tune(tmp_path / "a")
    assert [line["step"] for line in metrics] == [0, 3, 6]
    assert metrics[0]["train_loss"] is None
    assert 0 <= metrics[0]["test_accuracy"] <= 1
    assert metrics[0]["lr"] is None
    lines, _ = fine_tune(tmp_path / "b", freeze="backbone", ema=0.5)
    assert lines[0]["test_loss"] == metrics[0]["test_loss"]  # of the weights that were loaded
    assert lines[-1]["test_loss"] != metrics[-1]["test_loss"]


@pytest.mark.parametrize(("stop_after", "frozen"), [(1, None), (3, None), (4, None), (1, "backbone"), (4, 1)])
def test_a_resumed_run_does_not_need_the_file_and_ends_the_same(tmp_path, stop_after, frozen):
    whole, one = fine_tune(tmp_path / "whole", freeze=frozen, ema=0.5)
    fine_tune(tmp_path / "cut", stop_after, freeze=frozen, ema=0.5)
    resumed, other = fine_tune(tmp_path / "cut", freeze=frozen, ema=0.5)
    for a, b in zip(whole, resumed, strict=True):
        assert {**a, "images_per_second": 0} == {**b, "images_per_second": 0}
    for name, array in one.model.state_dict().items():
        np.testing.assert_array_equal(array, other.model.state_dict()[name], err_msg=name)
    model, _, _ = run_folder.load_trained(tmp_path / "whole")
    with one.ema.swapped():
        for name, array in one.model.state_dict().items():
            np.testing.assert_array_equal(array, model.state_dict()[name], err_msg=name)


def test_killed_before_the_weights_were_saved(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fine_tune(tmp_path / "a")
    with pytest.raises(CheckpointError, match="was stopped before its weights were saved: start anew with --config"):
        fine_tune(tmp_path / "a")


def test_killed_before_the_first_step_was_done(tmp_path):
    expected, _ = fine_tune(tmp_path / "a")
    fine_tune(tmp_path / "b", killed=True)
    assert run_folder.read_checkpoint(tmp_path / "b" / "checkpoint.npz")[1]["step"] == 0
    found, _ = fine_tune(tmp_path / "b")
    assert [line["test_loss"] for line in found] == [line["test_loss"] for line in expected]


@pytest.mark.parametrize("frozen", [None, 1, "backbone"])
def test_on_a_gpu_only_what_learns_is_updated(tmp_path, frozen):
    expected, _ = fine_tune(tmp_path / "numpy", freeze=frozen, ema=0.5)
    with standin_cupy.installed():
        found, trainer = fine_tune(tmp_path / "cupy", backend="cupy", freeze=frozen, ema=0.5)
        assert trainer.work.flat.data.size >= trainer.model.num_parameters()
        assert len(trainer.work.flat.views) == len(trainer.model.parameters())
        state = trainer.model.state_dict()
    before = random_model(trainer.recipe.model).state_dict()
    learning = {name for name, _ in trainer.model.named_parameters()}
    for name, array in state.items():
        assert np.array_equal(array, before[name]) == (name not in learning), name
    for one, other in zip(found, expected, strict=True):
        for key in ("step", "test_loss", "test_accuracy"):
            assert one[key] == pytest.approx(other[key], rel=1e-3), key


def test_an_encoder_with_layers_of_its_own_is_refused(tmp_path, monkeypatch):
    class Other(ViT):
        pass

    body = dataclasses.replace(CONFIG, num_classes=0)
    monkeypatch.setattr(run_folder, "load_trained", lambda folder: (Other(body, seed=None), Recipe(), []))
    with pytest.raises(CheckpointError, match="is the run of an Other: a Vision Transformer cannot start from it"):
        transfer.open_source(tmp_path, {})


def test_the_run_of_a_resnet_is_refused(tmp_path, monkeypatch):
    small = ResNetConfig(image_size=8, units=(1,), width=4, groups=2, root="3x3", num_classes=3)
    monkeypatch.setattr(run_folder, "load_trained", lambda folder: (ResNet(small), Recipe(), list("abc")))
    with pytest.raises(CheckpointError, match="is the run of a ResNet: a Vision Transformer cannot start from it"):
        transfer.open_source(tmp_path, {})


OTHERS = {  # name of a model -> the arrays of its head
    "mit-mini": {"head.weight", "head.bias"},
    "swin-mini": {"head.weight", "head.bias"},
    "dinov2-mini": {"head.weight", "head.bias"},
    "beit_nano_patch4": {"head.weight", "head.bias"},
    "convnextv2-atto": {"head.fc.weight", "head.fc.bias"},
    "vivit-small32": {"head.weight", "head.bias"},
    "R26x1": {"head.weight", "head.bias"},
}


def run_of(folder, name, classes=CLASSES, **fields):
    """A run folder of another family with drawn weights, which are returned."""
    config = config_of({**named_fields(name), "num_classes": len(classes), **fields}, name)
    model = build(config, 3)
    for _, tensor in model.named_tensors():
        tensor.data = tensor.data + np.float32(0.01)
    run_folder.create(folder, dataclasses.replace(RECIPE, model=config, mean=0.4))
    meta = {"step": 3, "sums": {"steps": 0}, "metrics": [], "classes": classes, "images": 9}
    state = {f"model.{name}": array for name, array in model.state_dict().items()}
    run_folder.write_checkpoint(folder, {"objective": state}, meta)
    return model.state_dict()


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_start_from_runs_of_their_own(tmp_path, name):
    state = run_of(tmp_path / "run", name)
    found, recipe = begin(tmp_path / "run", classes=["a", "b", "c", "d"])
    assert set(found.replaced) == OTHERS[name]
    assert set(found.loaded) == set(state) - OTHERS[name]
    assert (found.new, found.left_out, found.resized) == ([], [], [])
    assert recipe.model.num_classes == 4
    own = found.model.state_dict()
    assert all(np.array_equal(own[name], state[name]) for name in found.loaded)
    assert {own[name].shape[-1] for name in OTHERS[name]} == {4}


def test_another_family_keeps_its_head_and_starts_from_an_encoder_without_one(tmp_path):
    state = run_of(tmp_path / "run", "mit-mini")
    found, _ = begin(tmp_path / "run", classes=["cat", "ant"], keep_head=True)
    assert np.array_equal(found.model.head.weight.data, state["head.weight"][:, [2, 0]])
    run_of(tmp_path / "bare", "mit-mini", num_classes=0)
    found, _ = begin(tmp_path / "bare")
    assert (found.replaced, found.new) == ([], ["head.weight", "head.bias"])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"model": "swin-mini"}, "run is the run of a MiT: a Swin cannot start from it"),
        ({"model": "Ti/16"}, "run is the run of a MiT: a ViT cannot start from it"),
        ({"model": "mit-b0"}, r"does not fit the model: missing: stages\.\d.*; wrong shape: stages\.\d"),
        ({"resize_positions": "bicubic"}, "--resize-positions is for Vision Transformers"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_run_of_another_family_is_one_line(tmp_path, choices, message):
    run_of(tmp_path / "run", "mit-mini")
    with pytest.raises((CheckpointError, ConfigError), match=message) as caught:
        planned(tmp_path / "run", **choices)
    assert "\n" not in str(caught.value)


def test_a_file_is_for_a_vit(tmp_path):
    export(random_model(), tmp_path / "model.npz")
    with pytest.raises(ConfigError, match="reads files of Vision Transformers, but a Swin was chosen: give a run"):
        planned(tmp_path / "model.npz", model="swin-mini")


def test_the_head_of_a_resnet_can_learn_alone():
    model = ResNet(ResNetConfig(image_size=8, units=(1,), width=4, groups=2, root="3x3", num_classes=3))
    freeze(model, "backbone")
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("classes", "choices", "message"),
    [
        (CLASSES, {"model": {"representation_size": 5}}, "representation_size is 6, not 5"),
        (CLASSES, {"model": {"representation_size": None}}, "representation_size is 6, not None"),
        (["ant", "bee"], {}, "names 2 classes, its head has 3 outputs"),
    ],
)
def test_a_head_that_cannot_be_kept_is_refused_before_anything_is_made(tmp_path, classes, choices, message):
    a_run(tmp_path / "run", classes=classes)
    with pytest.raises((ConfigError, DataError), match=message):
        begin(tmp_path / "run", keep_head=True, **choices)


def test_a_head_for_imagenet_is_kept_for_folders_called_by_wordnet_numbers(tmp_path):
    path, names = tmp_path / "model.npz", imagenet_ids()
    export(random_model(dataclasses.replace(CONFIG, num_classes=1000, representation_size=None)), path, "official")
    found, _ = begin(path, classes=names, keep_head=True)
    assert "head.weight" in found.loaded
    weight = found.model.head.weight.data
    three = ["n03417042", "n01440764", "goldfish"]
    found, _ = begin(path, classes=three, keep_head=True)
    np.testing.assert_array_equal(found.model.head.weight.data, weight[:, [569, 0, 1]])
    with pytest.raises(
        DataError, match=r"1000 classes \(tench, goldfish, great white shark, ...\), and none of .* yard$"
    ):
        begin(path, classes=["tench", "yard"], keep_head=True)
    with pytest.raises(DataError, match=r"has one class for tench, tench \(n01440764\)$"):
        begin(path, classes=["tench", "n01440764"], keep_head=True)


def test_both_heads_of_a_distilled_model_are_picked_from(tmp_path):
    path = tmp_path / "model.safetensors"
    config = dataclasses.replace(
        CONFIG, num_classes=1000, distillation_token=True, representation_size=None, gelu="erf"
    )
    model = random_model(config)
    export(model, path, "timm")
    found, _ = begin(path, classes=["n03417042"], keep_head=True)
    for head in ("head", "distillation_head"):
        for leaf in ("weight", "bias"):
            name = f"{head}.{leaf}"
            np.testing.assert_array_equal(found.model.state_dict()[name], model.state_dict()[name][..., [569]])


def test_a_run_on_folders_called_by_wordnet_numbers_knows_the_words(tmp_path):
    a_run(tmp_path / "run", classes=["n01440764", "n03417042", "yard"])
    found, _ = begin(tmp_path / "run", classes=["garbage truck", "tench"], keep_head=True)
    whole = random_model().state_dict()["head.weight"]
    np.testing.assert_array_equal(found.model.head.weight.data, whole[:, [1, 0]])


def test_a_source_can_be_started_from_again(tmp_path):
    state = a_run(tmp_path / "run")
    found = planned(tmp_path / "run", data="digits", batch_size=4)
    for tensor in transfer.start(found.source, found.recipe, CLASSES).model.parameters():
        tensor.data += 1
    again = transfer.start(found.source, found.recipe, CLASSES).model.state_dict()
    np.testing.assert_array_equal(again["class_token"], state["class_token"])


def test_the_evaluations_of_a_run_are_scaled_to_the_data(tmp_path):
    a_run(tmp_path / "run")
    for images, every in ((50_000, 97), (12, 25)):
        assert planned(tmp_path / "run", images=images, data="digits").recipe.eval_every == every
    assert planned(tmp_path / "run", images=12, data="digits", epochs=2.0).recipe.eval_every is None
    with pytest.raises(ConfigError, match="batch_size is 0, expected at least 1"):
        planned(tmp_path / "run", data="digits", batch_size=0)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"resize_positions": "cubic", "image_size": 16}, 'resize_positions is "cubic", expected one of'),
        ({"model": "R50x1"}, "is the run of a ViT: a ResNet cannot start from it"),
    ],
)
def test_choices_that_make_no_sense_are_refused_in_one_line(tmp_path, choices, message):
    a_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=message):
        planned(tmp_path / "run", data="digits", **choices)
