"""FlexiViT: held to recordings of both published codes and to a slow implementation; each likely mistake is seen."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from recordings import wrong_arrays
from sizes_by_hand import (
    block,
    block_shapes,
    cross_entropy,
    dense,
    drawn,
    map_pool,
    norm,
    patches_of,
    pool_shapes,
    pseudo_inverse_resized,
    resized,
    slopes,
)

from minivit import functional as F
from minivit.backend.resizing import resize_matrix
from minivit.backend.workers import Workers
from minivit.data import ArrayDataset
from minivit.errors import ConfigError
from minivit.lineage import flexivit, verify
from minivit.lineage.flexivit import VARIANTS, FlexiViT, FlexiViTConfig, resized_kernel, training_grids
from minivit.lineage.recorded import flexivit as recorded
from minivit.lineage.recorded import pooling
from minivit.optim import SGD, AdamW
from minivit.runs import folder as run_folders
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor, grad
from minivit.update.batch import cut
from minivit.update.draws import ImageDraws
from minivit.update.objective import Classification
from minivit.update.step import step

DATA = Path(__file__).resolve().parents[1] / "data" / "lineage"
LINEAR = {"kernel_method": "bilinear", "table_method": "bilinear_antialias"}
CUBIC = {"kernel_method": "bicubic_antialias", "table_method": "bicubic_antialias"}
# what a model is, then the grids it is asked for
OTHERS = {
    "token, all sizes": ({}, LINEAR, [(2, 2), (3, 3), (4, 4), (6, 6)]),
    "mean over patches, erf": ({"pool": "gap"}, {**LINEAR, "gelu": "erf"}, [(2, 2), (4, 4)]),
    "attention pooling": ({"pool": "map"}, LINEAR, [(3, 3), (6, 6)]),
    "timm's ways to resize": ({}, CUBIC, [(2, 2), (3, 3), (6, 6)]),
    "not square": ({"image": (12, 24), "channels": 1}, LINEAR, [(2, 4), (3, 3), (4, 12)]),
}


def arrays(pool="tok", channels=3, base=4, grid=3, width=8, classes=3, depth=2):
    shapes = {"patch_embed.proj.weight": (width, channels, base, base), "patch_embed.proj.bias": (width,)}
    shapes |= {"pos_embed": (1, grid * grid, width), "norm.weight": (width,), "norm.bias": (width,)}
    shapes |= {"head.weight": (classes, width), "head.bias": (classes,)}
    shapes |= {"cls_token": (1, 1, width)} if pool == "tok" else pool_shapes(width, 12) if pool == "map" else {}
    for i in range(depth):
        shapes |= block_shapes(f"blocks.{i}", width, 12)
    return drawn(shapes)


def by_hand(w, image, grid, kernel_method="bilinear", table_method="", gelu="tanh"):
    """Logits of one image (height, width, C)."""
    cubic = kernel_method != "bilinear"
    size = image.shape[0] // grid[0], image.shape[1] // grid[1]
    kernel = w["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    if kernel.shape[:2] != size:
        kernel = pseudo_inverse_resized(kernel, size, "cubic" if cubic else "linear", cubic)
    x = patches_of(image, size).reshape(grid[0] * grid[1], -1) @ kernel.reshape(-1, kernel.shape[-1])
    side = round(w["pos_embed"].shape[1] ** 0.5)
    table = w["pos_embed"].reshape(side, side, -1)
    table = resized(table, grid, "cubic" if cubic else "linear", True) if grid != (side, side) else table
    x = x + w["patch_embed.proj.bias"] + table.reshape(len(x), -1)
    x = np.concatenate([w["cls_token"][0], x]) if "cls_token" in w else x
    for i in range(2):
        x = block(x, w, f"blocks.{i}", 2, gelu)
    x = norm(x, w["norm.weight"], w["norm.bias"])
    pooled = x[0] if "cls_token" in w else map_pool(x, w, 2, gelu) if "attn_pool.latent" in w else x.mean(axis=0)
    return dense(pooled, w, "head")


def small(w, image=(12, 12), **fields):
    shape = {"image_size": image, "patch_size": 1, "heads": 2, "gelu": "tanh"}
    return recorded.build(w, **{**shape, **LINEAR, **fields}).eval()


@pytest.mark.parametrize(("name", "arrays"), [("flexivit", 9), ("flexivit_bv", 22)])
def test_the_recordings_of_the_published_code(name, arrays):
    case = verify.open_case(DATA / name)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == arrays


@pytest.mark.parametrize("name", OTHERS)
def test_a_slow_implementation_agrees(name):
    what, how, grids = OTHERS[name]
    size, channels = what.get("image", (12, 12)), what.get("channels", 3)
    w = arrays(what.get("pool", "tok"), channels)
    images, labels = np.random.default_rng(1).normal(size=(2, *size, channels)), [0, 2]
    model = small(w, size, **how)
    for grid in grids:
        expected = np.array([by_hand(w, image, grid, **how) for image in images])
        logits = model(images, grid=grid)
        assert np.allclose(logits.data, expected, rtol=0, atol=1e-12)
    names, learning = zip(*model.named_parameters(), strict=True)
    gradients = grad(F.cross_entropy(logits, np.array(labels)), learning)
    found = pooling.with_kv(pooling.views(dict(zip(names, gradients, strict=True)), model.config.base))

    def loss(weights):
        return cross_entropy([by_hand(weights, image, grids[-1], **how) for image in images], labels)

    chosen = ["patch_embed.proj.weight", "pos_embed", "head.weight", *(["cls_token"] if "cls_token" in w else [])]
    chosen += ["attn_pool.kv.weight", "attn_pool.latent"] if "attn_pool.latent" in w else []
    for array, way, slope in slopes(loss, w, chosen):
        assert (found[array] * way).sum() == pytest.approx(slope, rel=1e-6, abs=1e-7), array


def test_patches_that_grow_with_the_kernel_keep_their_tokens():
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(1, 4, 4, 2)), Tensor(rng.normal(size=(4, 4, 2, 5)))
    token = image.reshape(-1) @ kernel.data.reshape(-1, 5)
    for size in ((4, 4), (5, 7), (8, 8), (12, 4)):
        for method in ("bilinear", "bicubic_antialias"):
            grown = F.resize(Tensor(image), size, method).data.reshape(-1)
            assert np.allclose(grown @ resized_kernel(kernel, size, method).data.reshape(-1, 5), token, atol=1e-10)


# mistakes

real_kernel, real_table, real_resize = flexivit.resized_kernel, flexivit.resized_table, F.resize


def like_an_image(kernel, size, method):
    return F.resize(kernel.reshape(1, *kernel.shape[:2], -1), size, method).reshape(*size, *kernel.shape[2:])


def with_the_old_length(kernel, size, method):
    ratio = kernel.shape[0] * kernel.shape[1] / (size[0] * size[1])
    return like_an_image(kernel, size, method) * ratio


def inverse_of_the_way_back(kernel, size, method):
    down, across = (np.linalg.pinv(resize_matrix(n, o, method)) for o, n in zip(kernel.shape, size, strict=False))
    return np.einsum("ih,jw,hwcd->ijcd", down, across, kernel.data) + 0 * real_kernel(kernel, size, method)


def as_a_constant(kernel, size, method):
    return real_kernel(kernel, size, method).data + 0 * real_kernel(kernel, size, method)


def antialiased(kernel, size, method):
    return real_kernel(kernel, size, f"{method.removesuffix('_antialias')}_antialias")


def table_without_antialiasing(table, old, new, method):
    return real_table(table, old, new, "bilinear")


def table_of_the_first_rows(table, old, new, method):
    return real_table(table, old, new, method) if new[0] > old[0] else table[:, : new[0] * new[1]]


def positions_for_the_class_token(self, images, grid, tap=None):
    x = real_embed(self, images, grid, tap)
    first = x[:, :1] + self.network.position_embedding[:, :1]
    return F.concat(first, x[:, 1:], axis=1)


def student_first(logits, teacher):
    log_p = F.log_softmax(logits)
    return (F.exp(log_p) * (log_p - F.log_softmax(Tensor(teacher)))).sum(axis=-1).mean()


real_embed = FlexiViT.embed
KERNELS = [
    (like_an_image, "pi/4x4"),
    (with_the_old_length, "bilinear_noaa/tokens12"),
    (inverse_of_the_way_back, "pi/5x7"),
    (as_a_constant, "grad/kernel8/5x7"),
    (antialiased, "bilinear_noaa/4x4"),
]
WRONG = [
    (flexivit, "resized_kernel", like_an_image, "grid3/logits"),
    (flexivit, "resized_kernel", antialiased, "grid6/logits"),
    (flexivit, "resized_kernel", as_a_constant, "grid3/grad/embedding.kernel"),
    (flexivit, "resized_table", table_without_antialiasing, "grid3/embedded"),
    (flexivit, "resized_table", table_of_the_first_rows, "grid3/embedded"),
    (FlexiViT, "embed", positions_for_the_class_token, "grid4/logits"),
    (recorded, "distillation", student_first, "grid3/kl"),
]


@pytest.mark.parametrize(("mistake", "seen"), KERNELS, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_in_the_kernel_are_seen(monkeypatch, mistake, seen):
    monkeypatch.setattr(recorded, "resized_kernel", mistake)
    assert seen in wrong_arrays(verify.open_case(DATA / "flexivit"))


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(DATA / "flexivit_bv"))


@pytest.mark.parametrize("change", [{"gelu": "erf"}, {"norm_eps": 1e-3}])
def test_a_wrong_configuration_is_seen(change):
    case = verify.open_case(DATA / "flexivit_bv")
    case.config |= change
    assert "grid3/logits" in wrong_arrays(case)


# counts, sizes, training


@pytest.mark.parametrize(("name", "count"), [("s", 22_061_416), ("b", 86_589_160), ("l", 304_355_304)])
def test_the_published_models_have_as_many_parameters(name, count):
    config = FlexiViTConfig(**{**VARIANTS[f"flexivit-{name}"], "base_grid": 15})
    assert FlexiViT(config, None).num_parameters() == count


# the patch size of a training step

DRAWING = {
    "image_size": 12, "patch_size": 4, "base_patch": 4, "base_grid": 3, "grids": (2, 4, 5), "width": 8, "depth": 1,
    "heads": 2, "mlp_width": 16, "num_classes": 2, "channels": 1,
}  # fmt: skip


def halves(count=32):
    """Images whose upper or lower half is bright, and which of them."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 2
    half = np.arange(12) // 6 == labels[:, None]
    return rng.normal(0, 0.3, size=(count, 12, 12, 1)) + half[:, :, None, None], labels


def seen_grids(monkeypatch):
    """A list to which every forward pass in training mode adds its grid from now on."""
    seen, embed = [], FlexiViT.embed

    def watched(self, images, grid, tap=None):
        seen.extend([grid] if self.training else [])
        return embed(self, images, grid, tap)

    monkeypatch.setattr(FlexiViT, "embed", watched)
    return seen


def test_training_draws_of_the_grids_that_divide_the_images_and_of_the_own():
    config = FlexiViTConfig(**DRAWING)
    assert training_grids(config) == [(2, 2), (3, 3), (4, 4)]  # 5 does not divide 12
    assert training_grids(config, (24, 12)) == [(2, 2), (4, 4), (6, 3)]
    assert training_grids(config, (10, 10)) == [(2, 2), (5, 5)]  # patches of 4 do not tile 10
    assert training_grids(FlexiViTConfig(**VARIANTS["flexivit-mini"])) == [(4, 4), (8, 8), (16, 16)]


def test_each_grid_is_drawn_equally_often():
    model, image = FlexiViT(FlexiViTConfig(**DRAWING)), (12, 12)
    drawn_ones = [model.drawn_grid(image, ImageDraws((0, step, 2), 0, 4, 4)) for step in range(600)]
    assert {drawn_ones.count(grid) > 160 for grid in training_grids(model.config)} == {True}
    assert drawn_ones != [model.drawn_grid(image, ImageDraws((1, step, 2), 0, 4, 4)) for step in range(600)]
    assert len({model.drawn_grid(image, np.random.default_rng(step)) for step in range(30)}) == 3


def test_a_training_step_computes_with_the_drawn_grid_and_evaluation_with_the_own():
    model, images = FlexiViT(FlexiViTConfig(**{**DRAWING, "num_classes": 0}), 0, "float64"), halves(4)[0]
    assert model.varies
    for seed in range(6):
        draws = ImageDraws((0, seed), 0, 4, 4)
        expected = model(images, grid=model.drawn_grid((12, 12), draws)).data
        assert np.array_equal(model(images, rng=draws).data, expected)
    with pytest.raises(ValueError, match="in training mode it draws a patch size; pass rng="):
        model(images)
    model.eval()
    assert not model.varies
    assert np.array_equal(model(images, rng=draws).data, model(images, grid=3).data)


def test_a_model_of_one_grid_draws_nothing(monkeypatch):
    seen = seen_grids(monkeypatch)
    model = FlexiViT(FlexiViTConfig(**{**DRAWING, "grids": (3,)}))
    model(halves(2)[0])
    assert not model.varies
    assert seen == [(3, 3)]


@pytest.mark.parametrize(("count", "pieces"), [(1, 3), (2, 1), (3, 2)])
def test_all_pieces_of_a_batch_have_the_same_grid(count, pieces, monkeypatch):
    images, labels = halves(12)
    found, seen = [], seen_grids(monkeypatch)
    for workers, accumulate in ((1, 1), (count, pieces)):
        model = FlexiViT(FlexiViTConfig(**DRAWING, dropout=0.2, drop_path=0.2), 0, "float64")
        optimizer = SGD(model.named_parameters(), lr=1e-2)
        for i in range(4):
            seen.clear()
            given = {"images": images, "labels": labels}
            with Workers(workers) as threads:
                step(Classification(model), optimizer, given, 1.0, threads, accumulate, seed=(0, i, 2))
            assert len(seen) == workers * accumulate
            assert len(set(seen)) == 1
        found.append(model.state_dict())
    for name, array in found[0].items():
        assert np.allclose(array, found[1][name], rtol=0, atol=1e-12), name


def test_all_ranks_have_the_same_grid():
    model, batch = FlexiViT(FlexiViTConfig(**DRAWING)), {"images": halves(4)[0]}
    for seed in range(5):
        ranks = [SimpleNamespace(rank=rank, count=3) for rank in range(3)]
        pieces = [piece for rank in ranks for piece in cut(batch, 2, (seed, 7, 2), rank)]
        assert len({model.drawn_grid((12, 12), piece.rng) for piece in pieces}) == 1


def recipe_and_data(**changes):
    images, labels = halves()
    images = np.clip(60 + 100 * images, 0, 255).astype("uint8")
    recipe = {"model": FlexiViTConfig(**DRAWING), "batch_size": 8, "steps": 9, "eval_every": 3, "workers": 1}
    recipe |= {"accumulate": 2, "backend": "numpy", "lr": 1e-2}
    return Recipe(**{**recipe, **changes}), ArrayDataset(images, labels, ["upper", "lower"], "halves")


def test_a_resumed_run_draws_what_an_uninterrupted_one_draws(tmp_path, monkeypatch):
    recipe, data = recipe_and_data(precision="float64")
    found, grids, seen = {}, {}, seen_grids(monkeypatch)
    for name, stops in (("whole", ()), ("resumed", (2, 6))):
        run = tmp_path / name
        seen.clear()
        run_folders.create(run, recipe)
        for stop in (*stops, None):
            trainer = Trainer(recipe, data, None, run)
            if (run / "checkpoint.npz").exists():
                trainer.restore()
            for progress in trainer.run():
                if progress.step == stop:
                    trainer.stop()
        found[name], grids[name] = trainer.model.state_dict(), [*seen]
    assert grids["whole"] == grids["resumed"]
    assert len(grids["whole"]) == 2 * recipe.steps
    assert len(set(grids["whole"])) == 3
    for name, array in found["whole"].items():
        assert np.array_equal(array, found["resumed"][name]), name


@pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True)
@pytest.mark.usefixtures("device")
def test_on_a_gpu_the_grid_changes_too(monkeypatch):
    """A recorded step would repeat its first grid, and masks of another size would not fit."""
    found, grids, seen = {}, {}, seen_grids(monkeypatch)
    for backend in ("numpy", "cupy"):
        seen.clear()
        model = FlexiViTConfig(**DRAWING, dropout=0.1, drop_path=0.1)
        recipe, data = recipe_and_data(model=model, backend=backend, optimizer="sgd", lr=0.05)
        trainer = Trainer(recipe, data, data, None)
        for _ in trainer.run():
            pass
        assert not trainer.work.recorded
        found[backend], grids[backend] = trainer.metrics[-1], [*seen]
    assert grids["numpy"] == grids["cupy"]
    for figure in ("train_loss", "test_loss"):
        assert found["cupy"][figure] == pytest.approx(found["numpy"][figure], rel=1e-4), figure


def test_one_model_learns_at_all_sizes():
    images, labels = halves()
    model = FlexiViT(FlexiViTConfig(**DRAWING), 0, "float64")
    optimizer = AdamW(model.named_parameters(), lr=2e-2)
    for i in range(40):
        step(Classification(model), optimizer, {"images": images, "labels": labels}, seed=(0, i))
    model.eval()
    for grid in training_grids(model.config):
        assert (model(images, grid=grid).data.argmax(axis=1) == labels).mean() == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classifier": "mean"}, 'classifier is "mean", expected one of token, gap, map'),
        ({"kernel_method": "linear"}, 'kernel_method is "linear", expected one of'),
        ({"grids": ()}, "grids is"),
        ({"heads": 5}, "5 heads do not divide width 768"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"image_size": 8}, "patch size 16x16 does not divide image size 8x8"),
        ({"image_size": 24, "patch_size": 5}, "patch size 5x5 does not divide image size 24x24"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FlexiViTConfig(**fields)
    assert "\n" not in str(caught.value)


def test_images_that_a_grid_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="cannot be cut into 5x5 equal patches"):
        small(arrays())(np.zeros((1, 12, 12, 3)), grid=5)
    with pytest.raises(ValueError, match="patches 5x5 do not tile images of 24x24"):
        small(arrays(), (10, 10), patch_size=5)(np.zeros((1, 24, 24, 3)))
