"""DINOv2's training: held to a recording of a reference of the published code, and to a slow implementation; mistakes
are seen; what is hidden, what learns."""

from pathlib import Path

import numpy as np
import pytest
from dinov2_by_hand import Training, training_arrays
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import dinov2_objective, verify
from minivit.lineage.dinov2 import PRESETS, DINOv2Config, DINOv2Network
from minivit.lineage.dinov2_objective import BLOCKS, Answering, DINOv2, TrainingConfig, tiny
from minivit.lineage.dinov2_parts import hidden, koleo, sinkhorn
from minivit.lineage.masked_tokens import blocks
from minivit.lineage.recorded import dinov2_objective as recorded
from minivit.models import ViT, ViTConfig
from minivit.optim.rates import is_matrix
from minivit.runs.presets import of_objective
from minivit.runs.recipes import from_mapping
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "dinov2_ssl"
GROUPS = ("shared_centering", "shared_sinkhorn", "separate_centering", "separate_sinkhorn")


def test_the_recording_of_a_reference_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 55


def by_view(x):
    return x.reshape(-1, *x.shape[2:])


@pytest.mark.parametrize(("registers", "gated", "small"), [(0, False, 3), (2, True, 1)])
def test_a_slow_implementation_agrees(tmp_path, registers, gated, small):
    """Crops that are not square, an image with nothing hidden, other numbers of outputs; all four kinds of targets."""
    w, rng = training_arrays(registers, gated), np.random.default_rng(5)
    crops, locals_ = rng.normal(size=(2, 3, 6, 6, 2)), rng.normal(size=(small, 3, 4, 3, 2))
    mask = np.array(
        [[[0, 1, 0, 0, 1, 1], [0] * 6, [0, 0, 0, 0, 1, 0]], [[1, 1, 0, 1, 0, 0], [0] * 6, [0, 0, 1, 0, 0, 1]]]
    )
    centres = [rng.normal(size=6) * 0.1, rng.normal(size=4) * 0.1, rng.normal(size=6) * 0.1]
    found = {
        "global_crops": np.moveaxis(by_view(crops), -1, 1), "local_crops": np.moveaxis(by_view(locals_), -1, 1),
        "mask": by_view(mask), "center_dino": centres[0][None], "center_ibot": centres[1][None, None],
        "center_ibot_shared": centres[2][None, None],
    }  # fmt: skip
    for group in GROUPS:
        own = [centres[0], centres[2 if "shared" in group else 1]]
        arrays, neighbours = Training(w, crops, locals_, mask, own, group).found()
        found |= {f"{group}/{name}": x for name, x in arrays.items()}
    config = {"image_global": [6, 6], "image_local": [4, 3], "heads": 2, "heads_hidden": 7, "teacher_temp": 0.07}
    case = write_case(tmp_path, "dinov2_ssl", config, w, {**found, "koleo_neighbours": neighbours})
    assert wrong_arrays(case) == []
    gradients = recorded.recompute(case)
    for group, name in ((GROUPS[0], "dino_head.mlp.0.weight"), (GROUPS[3], "backbone.pos_embed")):
        way, sides = rng.normal(size=w[f"student.{name}"].shape), []
        own = [centres[0], centres[2 if "shared" in group else 1]]
        for h in (1e-6, -1e-6):
            moved = {**w, f"student.{name}": w[f"student.{name}"] + h * way}
            sides.append(Training(moved, crops, locals_, mask, own, group).found()[0]["loss"])
        slope = (sides[0] - sides[1]) / 2e-6
        assert (gradients[f"{group}/grad/{name}"] * way).sum() == pytest.approx(slope, rel=1e-5, abs=1e-7)


# mistakes


def weighted_alike(self, outputs, batch, right=DINOv2.parts):
    counted = batch["patch_weights"] > 0
    mean = 2 * len(counted) * counted / counted.sum()
    return right(self, outputs, {**batch, "patch_weights": mean})


def same_view(self, outputs, batch, right=DINOv2.parts):
    said, features, patches, taught, taught_patches = outputs
    return right(self, (said, features, patches, taught[:, ::-1], taught_patches), batch)


def of_heads(self, outputs, batch, right=DINOv2.parts):
    said = outputs[0]
    return {**right(self, outputs, batch), "koleo": koleo(said[:, 0]) + koleo(said[:, 1])}


def across_views(self, outputs, batch, right=DINOv2.parts):
    features = outputs[1]
    return {**right(self, outputs, batch), "koleo": 2 * koleo(features.reshape(-1, features.shape[-1]))}


def masked_teacher(self, batch, rng=None, right=DINOv2.forward):
    outputs = right(self, batch, rng)
    whole = self.teacher.tokens(batch["global_crops"].detach(), batch["mask"])
    return *outputs[:3], self.teacher.head(whole[:, :, 0]).detach(), outputs[4]


def student_unmasked(self, batch, rng=None, right=DINOv2.forward):
    return right(self, {**batch, "mask": 0 * batch["mask"]}, rng)


def centre_of_all(self, outputs, batch, right=DINOv2.sums):
    return right(self, outputs, {**batch, "patch_weights": 1 + batch["patch_weights"]})


def next_places(self, tokens, places, right=Answering.of_patches):
    return right(self, tokens, (places + 1) % 9)


def outputs_last(t, steps, counts=None):
    q = F.exp(t - t.max()) * counts if counts is not None else F.exp(t - t.max())
    for _ in range(steps):
        q = q / F.maximum(q.sum(axis=1, keepdims=True), 1e-30)
        q = q / F.maximum(q.sum(axis=0, keepdims=True), 1e-30)
    return q


def constant_neighbour(x):
    x = x / F.sqrt((x * x).sum(axis=-1, keepdims=True))
    apart = x - Tensor(x.data[dinov2_parts_nearest(x.data)]) + 1e-8
    return -F.log(F.sqrt((apart * apart).sum(axis=-1)) + 1e-8).mean()


dinov2_parts_nearest = recorded.nearest
WRONG = [
    (DINOv2, "parts", weighted_alike, "shared_centering/loss_ibot"),
    (DINOv2, "parts", same_view, "shared_centering/loss_global"),
    (DINOv2, "parts", of_heads, "shared_centering/loss_koleo"),
    (DINOv2, "parts", across_views, "shared_centering/loss_koleo"),
    (DINOv2, "forward", masked_teacher, "separate_centering/teacher_dino_probabilities"),
    (DINOv2, "forward", student_unmasked, "separate_sinkhorn/loss_ibot"),
    (DINOv2, "sums", centre_of_all, "separate_centering/new_center_ibot"),
    (Answering, "of_patches", next_places, "separate_sinkhorn/student_masked"),
    (dinov2_objective, "sinkhorn", outputs_last, "separate_sinkhorn/loss_local"),
    (dinov2_objective, "koleo", constant_neighbour, "separate_sinkhorn/grad/backbone.cls_token"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", ""))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_large_logits_do_not_overflow_sinkhorn():
    t = Tensor(np.array([[900.0, 0, 899], [890, 899, 890]], "float32"))
    q = sinkhorn(t, 3).data
    assert np.isfinite(q).all()
    assert np.allclose(q.sum(axis=1), 1, atol=1e-5)
    rows = np.random.default_rng(0).normal(size=(6, 4))
    counts = np.array([1, 1, 0, 1, 0, 1.0])[:, None]
    some = sinkhorn(Tensor(rows), 3, Tensor(counts)).data
    assert np.allclose(some[counts[:, 0] > 0], sinkhorn(Tensor(rows[counts[:, 0] > 0]), 3).data, rtol=1e-12)
    assert not some[counts[:, 0] == 0].any()


# a run


def test_patches_are_hidden_in_blocks_up_to_the_share_asked():
    rng = np.random.default_rng(0)
    masks = [blocks((8, 8), count, *BLOCKS, rng, 32) for count in (0, 7, 20, 32) for _ in range(20)]
    counts = np.array([mask.sum() for mask in masks]).reshape(4, 20)
    assert counts[0].max() == 0
    assert (counts[1:].max(axis=1) <= [7, 20, 32]).all()
    assert (counts[1:].mean(axis=1) > [4, 16, 26]).all()
    neighbours = np.mean([(mask[:, 1:] & mask[:, :-1]).sum() / mask.sum() for mask in masks[40:]])
    assert neighbours > 0.6  # of places drawn one by one, about 0.35


def test_no_block_is_larger_than_the_largest():
    rng = np.random.default_rng(0)
    masks = [blocks((8, 8), 16, 1, 1.0, rng, largest=1) for _ in range(50)]  # single patches
    assert np.mean([(mask[:, 1:] & mask[:, :-1]).sum() / mask.sum() for mask in masks]) < 0.35


def test_where_nothing_is_hidden_the_centre_stays_and_one_image_has_no_neighbour():
    objective, _ = tiny("float64")
    objective.patch_centre.data[...] = before = np.arange(10.0)
    means = {"output": np.zeros(24), "patch_output": np.zeros(10), "hidden": np.array(0.0)}
    objective.after_update(means, {"teacher_momentum": np.array(1.0)})
    assert np.array_equal(objective.patch_centre.data, before)
    assert koleo(Tensor(np.ones((1, 3)))).item() == 0


def test_places_name_what_is_hidden():
    mask = np.random.default_rng(0).random((3, 2, 9)) < 0.4
    mask[1, 0] = False
    found = hidden(mask)
    for index in np.ndindex(3, 2):
        counted = found["patch_weights"][index] > 0
        assert found["places"][index][counted].tolist() == np.flatnonzero(mask[index]).tolist()
        assert found["patch_weights"][index].sum() == pytest.approx(float(mask[index].any()))
    assert hidden(np.zeros((2, 2, 4), bool))["patch_weights"].shape == (2, 2, 1)


def test_half_of_the_crops_hide_patches_and_numbers_rise():
    objective, _ = tiny()
    images = {"global_crops": np.zeros((8, 2, 8, 8, 1))}
    first, last = (objective.draw(images, step, np.random.default_rng(1)) for step in (0, 6))
    shares = first["mask"].mean(axis=-1)
    assert (shares > 0).sum() <= 8
    assert 0 < shares.max() <= 0.5
    assert first["teacher_temperature"] == 0.04
    assert last["teacher_temperature"] == pytest.approx(0.07)
    assert last["teacher_momentum"] == 1


def test_all_batches_have_the_same_shapes_as_a_recorded_step_needs():
    objective, _ = tiny()
    images = {"global_crops": np.zeros((2, 2, 8, 8, 1))}
    drawn = [objective.draw(images, 0, np.random.default_rng(seed)) for seed in range(20)]
    assert {x["places"].shape for x in drawn} == {x["patch_weights"].shape for x in drawn} == {(2, 2, 8)}
    assert len({x["mask"].sum(axis=-1).max() for x in drawn}) > 1
    for x in drawn:
        assert ((x["patch_weights"] > 0).sum(axis=-1) == x["mask"].sum(axis=-1)).all()


def test_every_layer_has_its_rate():
    objective, _ = tiny()
    objective.config = TrainingConfig(layer_decay=0.5, patch_rate=0.2, freeze_last=0.5)
    options = objective.optimizer_options(10)
    assert options["decay"] is is_matrix
    rates = options["rates"]
    assert rates["student.encoder.patch_embed.projection.weight"] == pytest.approx(0.5**3 * 0.2)
    assert rates["student.encoder.register_tokens"] == 0.5**3
    assert rates["student.encoder.blocks.1.norm1.scale"] == 0.5
    assert rates["student.encoder.norm.scale"] == rates["student.head.layers.0.weight"] == 1
    for head in ("head", "patch_head"):
        assert [rates[f"student.{head}.directions"](step) for step in (4, 5)] == [0, 1]


def test_no_gradient_reaches_the_teacher_and_all_that_learns_has_one():
    objective = tiny("float64")[0]
    objective.eval()
    rng = np.random.default_rng(0)
    mask = rng.random((4, 2, 16)) < 0.3
    batch = {"global_crops": rng.normal(size=(4, 2, 8, 8, 1)), "local_crops": rng.normal(size=(4, 2, 4, 4, 1)),
             **hidden(mask), "teacher_temperature": np.array(0.07), "teacher_momentum": np.array(0.5)}  # fmt: skip
    loss = objective.loss(objective(batch), batch)
    assert not objective.teacher.parameters()
    assert all(np.any(g) for g in grad(loss, objective.parameters()))


def test_the_preset_is_a_recipe():
    recipe = from_mapping(PRESETS["cifar10-dinov2"], "test")
    assert recipe.objective["targets"] == "centring"
    assert isinstance(recipe.model, DINOv2Config)
    assert of_objective("dinov2", "cifar10") == "cifar10-dinov2"


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="DINOv2 needs its own encoder, --model dinov2-mini, not a ViT"):
        DINOv2(TrainingConfig(), ViT(ViTConfig(num_classes=0), None), 1)
    shape = DINOv2Config(num_classes=0, depth=1, width=8, heads=1)
    with pytest.raises(ConfigError, match=r"local_size .* is not a multiple of the patch size"):
        DINOv2(TrainingConfig(local_size=97), DINOv2Network(shape, None), 1, None)
    for wrong, message in (
        ({"targets": "both"}, "targets"), ({"hidden_share": (0.5, 0.1)}, "hidden_share"), ({"momentum": 2.0}, "0 to 1"),
        ({"patch_rate": 0.0}, "above 0"), ({"outputs": 0}, "at least 1"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            TrainingConfig(**wrong)
