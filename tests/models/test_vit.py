"""The whole model: what it accepts, returns and shows; noise; positions."""

import math

import numpy as np
import pytest

from minivit import functional as F
from minivit.models import ViT
from minivit.nn import patchify
from minivit.ops.dropping import dropout
from minivit.tensor import Tensor, grad, watch


def test_tap_collects_every_intermediate_value(tiny, perturbed, images):
    config = tiny(representation_size=5)
    model, tap = perturbed(config), {}
    logits = model(images(config), tap=tap)
    blocks = ["block0/attention_weights", "block0/output", "block1/attention_weights", "block1/output"]
    assert list(tap) == ["embedded", *blocks, "encoded", "features"]
    assert {name: tap[name].shape for name in tap} == {
        "embedded": (2, 7, 8),
        "block0/attention_weights": (2, 2, 7, 7),
        "block0/output": (2, 7, 8),
        "block1/attention_weights": (2, 2, 7, 7),
        "block1/output": (2, 7, 8),
        "encoded": (2, 7, 8),
        "features": (2, 5),
    }
    # looking changes nothing but rounding: without a tap the last block computes the [class] row alone
    np.testing.assert_allclose(logits.data, model(images(config)).data, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(tap["embedded"].data, model.embed(Tensor(images(config))).data)
    one = model.blocks[0](tap["embedded"])
    np.testing.assert_array_equal(one.data, tap["block0/output"].data)
    np.testing.assert_array_equal(model.blocks[1](one).data, tap["block1/output"].data)
    np.testing.assert_array_equal(model.norm(tap["block1/output"]).data, tap["encoded"].data)
    np.testing.assert_array_equal(np.tanh(model.pre_logits(tap["encoded"][:, 0]).data), tap["features"].data)
    np.testing.assert_array_equal(model.head(tap["features"]).data, logits.data)


@pytest.mark.parametrize("changes", [{}, {"classifier": "gap", "fc_norm": True}, {"distillation_token": True}])
def test_the_model_is_embed_encode_and_classify(tiny, perturbed, images, changes):
    config, tap, inner = tiny(**changes), {}, {}
    model, x = perturbed(config), Tensor(images(tiny()))
    logits = model(x, tap=tap)
    encoded = model.encode(model.embed(x), tap=inner)
    assert encoded.shape == (2, config.num_tokens, 8)
    np.testing.assert_array_equal(encoded.data, tap["encoded"].data)
    np.testing.assert_array_equal(model.classify(encoded).data, logits.data)
    assert list(inner) == [name for name in tap if name.startswith("block")]


def test_any_tokens_can_be_encoded(tiny, perturbed):
    """Fewer than the image has, as where patches are left out; and of the result the first rows alone."""
    model, x = perturbed(tiny()), np.random.default_rng(0).standard_normal((3, 4, 8))
    encoded = model.encode(Tensor(x)).data
    assert encoded.shape == (3, 4, 8)
    order = [0, 3, 1, 2]
    np.testing.assert_allclose(model.encode(Tensor(x[:, order])).data, encoded[:, order], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(model.encode(Tensor(x), read=2).data, encoded[:, :2], rtol=1e-11, atol=1e-13)


def test_attention_weights_are_distributions_over_the_keys(tiny, perturbed, images):
    config, tap = tiny(), {}
    perturbed(config, scale=1.0)(images(config), tap=tap)
    for name in ("block0/attention_weights", "block1/attention_weights"):
        weights = tap[name]
        assert (weights > 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-13)
        assert abs(weights.sum(axis=-2) - 1).max() > 1e-3  # not over the queries


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_what_the_head_reads(tiny, perturbed, images, classifier):
    config, tap = tiny(classifier=classifier), {}
    perturbed(config)(images(config), tap=tap)
    encoded = tap["encoded"].data
    assert encoded.shape == (2, 7 if classifier == "token" else 6, 8)
    expected = encoded[:, 0] if classifier == "token" else encoded.mean(axis=1)
    np.testing.assert_allclose(tap["features"].data, expected, rtol=1e-14)


@pytest.mark.parametrize(("representation", "width"), [(None, 8), (5, 5)])
def test_without_classes_the_features_are_returned(tiny, perturbed, images, representation, width):
    config = tiny(num_classes=0, representation_size=representation)
    model, tap = perturbed(config), {}
    y = model(images(config), tap=tap)
    assert y.shape == (2, width)
    assert y is tap["features"]
    assert not [name for name, _ in model.named_parameters() if name.startswith("head")]


@pytest.mark.parametrize("shape", [(2, 12, 4, 2), (2, 4, 12, 3), (4, 12, 2), (2, 2, 4, 12), (2, 8, 12, 2)])
def test_images_of_another_shape_are_refused(tiny, shape):
    model = ViT(tiny())
    with pytest.raises(ValueError, match=r"expected \(B, 4, 12, 2\)") as caught:
        model(np.zeros(shape))
    assert str(caught.value) == f"ViT: images are {shape}, expected (B, 4, 12, 2)"


def test_arrays_are_brought_to_the_models_dtype(tiny, perturbed):
    config = tiny()
    model = perturbed(config)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 4, 12, 2), "uint8")
    expected = model(pixels.astype("float64")).data
    assert expected.dtype == "float64"
    for images in (pixels, pixels.astype("float32")):
        logits = model(images)
        assert logits.dtype == "float64"
        np.testing.assert_array_equal(logits.data, expected)
    narrow = ViT(config)
    narrow.load_state_dict(model.state_dict())
    logits = narrow(pixels / 255)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits.data, model(pixels / 255).data, rtol=0, atol=1e-5)


def test_one_image_does_not_see_the_others(tiny, perturbed, images):
    config = tiny()
    model, batch = perturbed(config), images(config, batch=5)
    together = model(batch).data
    for i in range(5):
        np.testing.assert_allclose(model(batch[i : i + 1]).data[0], together[i], rtol=1e-12)


def test_an_image_given_as_a_tensor_has_a_gradient(tiny, perturbed, images):
    config = tiny()
    model, x = perturbed(config), Tensor(images(config), requires_grad=True)
    (gx,) = grad(model(x)[0, 1], [x])
    assert gx[0].all()  # every pixel of the first image matters,
    assert not gx[1].any()  # no pixel of the second


def test_every_normalisation_has_the_eps_of_the_configuration(tiny):
    model = ViT(tiny(norm_eps=0.25))
    norms = [model.norm, *(norm for block in model.blocks for norm in (block.norm1, block.norm2))]
    assert [norm.eps for norm in norms] == [0.25] * 5


# Noise


def test_training_with_noise_needs_a_generator_and_evaluation_none(tiny, perturbed, images):
    for rates in ({"dropout": 0.2}, {"attention_dropout": 0.2}, {"drop_path": 0.2}):
        config = tiny(**rates)
        model = perturbed(config)
        with pytest.raises(ValueError, match="rng"):
            model(images(config))
        noisy = model(images(config), rng=np.random.default_rng(0)).data
        again = model(images(config), rng=np.random.default_rng(0)).data
        other = model(images(config), rng=np.random.default_rng(5)).data
        np.testing.assert_array_equal(noisy, again)
        assert not np.array_equal(noisy, other)
        quiet = model.eval()(images(config)).data
        np.testing.assert_array_equal(quiet, perturbed(tiny())(images(config)).data)


def test_a_model_without_noise_trains_without_a_generator(tiny, images):
    config = tiny()
    assert ViT(config).training
    ViT(config)(images(config))


def test_drop_path_rises_linearly_to_the_last_block(tiny):
    rates = [block.drop_path.rate for block in ViT(tiny(depth=5, drop_path=0.2)).blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2], rel=1e-12)
    assert [block.drop_path.rate for block in ViT(tiny(depth=1, drop_path=0.2)).blocks] == [0]


def test_the_places_and_rates_of_noise(tiny, images):
    config = tiny(dropout=0.25, attention_dropout=0.5, drop_path=0.75, classifier="gap")
    model = ViT(config, dtype="float64")
    names = []
    with watch(lambda name, inputs, output: names.append(name)):
        model(images(config), rng=np.random.default_rng(0))
    embed = ["reshape", "transpose", "reshape", "linear", "add", "dropout"]
    attention = ["layer_norm", "linear", "attention", "linear", "dropout"]
    mlp = ["layer_norm", "linear_gelu", "dropout", "linear", "dropout"]
    last = [*attention, "drop_path", "add", *mlp, "drop_path", "add"]
    assert names == [*embed, *attention, "add", *mlp, "add", *last, "layer_norm", "mean", "linear"]
    rates = [m.rate for block in model.blocks for m in (block.dropout, block.mlp.dropout, block.drop_path)]
    assert [model.dropout.rate, *rates] == [0.25, 0.25, 0.25, 0, 0.25, 0.25, 0.75]
    assert [block.attention.dropout for block in model.blocks] == [0.5, 0.5]


def test_embedding_dropout_covers_the_class_token(tiny, perturbed, images):
    config, tap = tiny(dropout=0.5), {}
    model = perturbed(config)
    model(images(config), tap=tap, rng=np.random.default_rng(1))
    masked, _ = dropout(model.embed(Tensor(images(config))).data, 0.5, np.random.default_rng(1))
    np.testing.assert_array_equal(tap["embedded"].data, masked)
    assert (masked[:, 0] == 0).any()


# Positions


def embedding(model, images):
    """The embedded tokens less the patches' projections: what was prepended and added."""
    embedded = model.embed(Tensor(images)).data
    patches = model.patch_embed(Tensor(images)).data
    if model.config.classifier == "token":
        return embedded[:, 0], embedded[:, 1:] - patches
    return None, embedded - patches


def sincos_by_loops(rows, columns, width):
    """big_vision's posemb_sincos_2d, one number at a time."""
    quarter = width // 4
    table = np.zeros((rows * columns, width))
    for y in range(rows):
        for x in range(columns):
            for i in range(quarter):
                omega = 1 / 10_000 ** (i / (quarter - 1))
                row = table[y * columns + x]
                row[i] = math.sin(x * omega)
                row[quarter + i] = math.cos(x * omega)
                row[2 * quarter + i] = math.sin(y * omega)
                row[3 * quarter + i] = math.cos(y * omega)
    return table


def test_learned_positions_include_one_for_the_class_token(tiny, perturbed, images):
    config = tiny()
    model = perturbed(config)
    token, added = embedding(model, images(config))
    table = model.position_embedding.data[0]
    np.testing.assert_allclose(token, np.tile(model.class_token.data[0, 0] + table[0], (2, 1)), rtol=1e-14)
    np.testing.assert_allclose(added, np.stack([table[1:]] * 2), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_sincos2d_positions(tiny, perturbed, images, classifier):
    config = tiny(position="sincos2d", classifier=classifier)
    model = perturbed(config)
    token, added = embedding(model, images(config))
    np.testing.assert_allclose(added, np.stack([sincos_by_loops(2, 3, 8)] * 2), rtol=1e-11, atol=1e-13)
    if classifier == "token":  # the table has no row for it
        np.testing.assert_array_equal(token, np.tile(model.class_token.data[0, 0], (2, 1)))


def test_learned2d_positions_are_a_column_and_a_row_vector(tiny, perturbed, images):
    config = tiny(position="learned2d")
    model = perturbed(config)
    token, added = embedding(model, images(config))
    for y, x in np.ndindex(2, 3):
        expected = np.concatenate([model.column_embedding.data[0, x], model.row_embedding.data[y, 0]])
        np.testing.assert_allclose(added[1, y * 3 + x], expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(token, np.tile(model.class_token.data[0, 0], (2, 1)))


def test_no_positions(tiny, perturbed, images):
    config = tiny(position="none")
    model = perturbed(config)
    token, added = embedding(model, images(config))
    assert not added.any()
    np.testing.assert_array_equal(token, np.tile(model.class_token.data[0, 0], (2, 1)))


def shuffled(images, patch, order):
    """The images with their patches in another order."""
    batch, height, width, channels = images.shape
    rows, columns = height // patch[0], width // patch[1]
    tiles = patchify(Tensor(images), patch).data[:, order]
    tiles = tiles.reshape(batch, rows, columns, *patch, channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


def test_without_positions_patches_are_a_set(tiny, perturbed, images):
    config = tiny(position="none", classifier="gap")
    model, x, order = perturbed(config), images(config), [4, 2, 0, 5, 1, 3]
    before, after = {}, {}
    logits = model(x, tap=before)
    moved = model(shuffled(x, config.patch_size, order), tap=after)
    np.testing.assert_allclose(after["encoded"].data, before["encoded"].data[:, order], rtol=1e-10, atol=1e-12)
    weights = before["block1/attention_weights"][:, :, order][:, :, :, order]
    np.testing.assert_allclose(after["block1/attention_weights"], weights, rtol=1e-10)
    np.testing.assert_allclose(moved.data, logits.data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["learned", "learned2d", "sincos2d"])
def test_with_positions_the_order_of_patches_matters(tiny, perturbed, images, position):
    config = tiny(position=position, classifier="gap")
    model, x = perturbed(config), images(config)
    assert abs(model(x).data - model(shuffled(x, config.patch_size, [4, 2, 0, 5, 1, 3])).data).max() > 1e-2


def test_labels_and_loss_close_the_circle(tiny, perturbed, images):
    """A few plain gradient steps lower the loss: every sign is right."""
    config = tiny()
    model = perturbed(config)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(model(images(config, batch=4)), np.array([0, 1, 2, 0]))
        losses.append(loss.item())
        for p, g in zip(model.parameters(), grad(loss, model.parameters()), strict=True):
            p.data -= 0.1 * g
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(("classifier", "rows"), [("token", [7, 1]), ("gap", [6, 6])])
def test_the_last_block_computes_what_the_head_reads(classifier, rows, tiny, perturbed, images):
    config, seen = tiny(classifier=classifier), []
    with watch(lambda op, inputs, output: seen.append(output.shape[1]) if op == "linear_gelu" else None):
        perturbed(config)(images(config))
    assert seen == rows
