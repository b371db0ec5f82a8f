"""Loading released checkpoints, with changes, and writing them."""

import dataclasses

import numpy as np
import pytest

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.models import ViTConfig, export, load_pretrained, resize_posemb
from minivit.models.convert import to_official
from minivit.tensor import grad

RECORDED = ViTConfig(image_size=32, patch_size=4, width=48, depth=3, heads=3, mlp_width=96, num_classes=10)
ATTENTION = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/"


@pytest.fixture
def plain(vector_path):
    return vector_path("vit_tok.ckpt.npz")


@pytest.fixture
def with_representation(vector_path):
    return vector_path("vit_tok_rep.ckpt.npz")


def same_arrays(one, two):
    assert list(one) == list(two)
    for name in one:
        assert one[name].dtype == two[name].dtype
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


# The configuration and the weights


def test_the_configuration_is_read_from_the_arrays(plain, with_representation):
    assert load_pretrained(plain).config == RECORDED
    config = load_pretrained(with_representation).config
    assert config == dataclasses.replace(RECORDED, representation_size=40)


def test_a_path_may_be_a_string(plain):
    assert load_pretrained(str(plain)).config == RECORDED


def test_queries_keys_and_values_stand_side_by_side(vectors, plain):
    released = vectors("vit_tok.ckpt")
    state = load_pretrained(plain).state_dict()
    packed, bias = state["blocks.1.attention.qkv.weight"], state["blocks.1.attention.qkv.bias"]
    for i, part in enumerate(("query", "key", "value")):
        for head in range(3):
            columns = slice(48 * i + 16 * head, 48 * i + 16 * (head + 1))
            np.testing.assert_array_equal(packed[:, columns], released[f"{ATTENTION}{part}/kernel"][:, head])
            np.testing.assert_array_equal(bias[columns], released[f"{ATTENTION}{part}/bias"][head])
    for head in range(3):
        rows = state["blocks.1.attention.out.weight"][16 * head : 16 * (head + 1)]
        np.testing.assert_array_equal(rows, released[f"{ATTENTION}out/kernel"][head])


def test_the_model_is_float32_unless_asked_otherwise(vectors, plain):
    assert {p.dtype.name for p in load_pretrained(plain).parameters()} == {"float32"}
    wide = load_pretrained(plain, dtype="float64")
    assert {p.dtype.name for p in wide.parameters()} == {"float64"}
    same_arrays(
        to_official(wide.state_dict(), RECORDED),
        wide_arrays(to_official(load_pretrained(plain).state_dict(), RECORDED)),
    )


def wide_arrays(arrays):
    return {name: array.astype("float64") for name, array in arrays.items()}


def test_rates_and_forms_can_be_changed(plain):
    model = load_pretrained(plain, dropout=0.1, drop_path=0.2, gelu="erf", norm_eps=1e-12)
    assert model.config == dataclasses.replace(RECORDED, dropout=0.1, drop_path=0.2, gelu="erf", norm_eps=1e-12)
    same_arrays(model.state_dict(), load_pretrained(plain).state_dict())


# Another image size


@pytest.mark.parametrize("size", [48, 16, (24, 40), (16, 64)])  # the last has as many patches as before
def test_another_image_size_resizes_the_position_embedding(plain, size):
    before, after = load_pretrained(plain), load_pretrained(plain, image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    assert after.config == dataclasses.replace(RECORDED, image_size=size)
    one, two = before.state_dict(), after.state_dict()
    expected = resize_posemb(one.pop("position_embedding"), (8, 8), (height // 4, width // 4), prefix=1)
    np.testing.assert_array_equal(two.pop("position_embedding"), expected)
    same_arrays(one, two)
    assert after.eval()(np.zeros((1, height, width, 3))).shape == (1, 10)


def test_without_a_class_token_no_row_is_set_aside(tmp_path, tiny, perturbed):
    model = perturbed(tiny(image_size=8, patch_size=(2, 2), classifier="gap"))
    export(model, tmp_path / "gap.npz")
    larger = load_pretrained(tmp_path / "gap.npz", image_size=(12, 4), dtype="float64")
    expected = resize_posemb(model.position_embedding.data, (4, 4), (6, 2), prefix=0)
    np.testing.assert_array_equal(larger.position_embedding.data, expected)


def test_an_image_size_that_patches_do_not_tile(plain):
    with pytest.raises(ConfigError, match="patch size 4x4 does not divide image size 30x30"):
        load_pretrained(plain, image_size=30)


# Another head


@pytest.mark.parametrize("head_bias", [0.0, -10.0])
def test_another_number_of_classes_gives_a_fresh_head(plain, head_bias):
    before, after = (
        load_pretrained(plain).state_dict(),
        load_pretrained(plain, num_classes=7, head_bias=head_bias).state_dict(),
    )
    assert after["head.weight"].shape == (48, 7)
    assert not after.pop("head.weight").any()
    assert after.pop("head.bias").tolist() == [head_bias] * 7
    del before["head.weight"], before["head.bias"]
    same_arrays(before, after)


def test_the_same_number_of_classes_keeps_the_head(plain):
    assert load_pretrained(plain, num_classes=10).head.weight.data.any()


def test_no_classes_give_the_features(vectors, plain):
    x, tap = vectors("vit_tok.io")["x"], {}
    load_pretrained(plain)(x, tap=tap)
    features = load_pretrained(plain, num_classes=0)
    np.testing.assert_allclose(features(x).data, tap["features"].data, atol=3e-6)


def test_the_representation_layer_can_be_dropped_and_takes_its_head_along(with_representation):
    before, after = load_pretrained(with_representation), load_pretrained(with_representation, representation_size=None)
    assert after.config == RECORDED
    state = after.state_dict()
    assert state["head.weight"].shape == (48, 10)
    assert not state.pop("head.weight").any()
    assert not state.pop("head.bias").any()
    old = {name: a for name, a in before.state_dict().items() if name.partition(".")[0] not in ("head", "pre_logits")}
    same_arrays(old, state)


@pytest.mark.parametrize("name", ["vit_tok", "vit_tok_rep"])
def test_a_new_representation_layer_is_drawn_so_that_it_can_learn(vectors, vector_path, name):
    model = load_pretrained(vector_path(f"{name}.ckpt.npz"), representation_size=16)
    assert model.pre_logits.weight.data.std() == pytest.approx((1 / 48) ** 0.5, rel=0.1)
    assert not model.head.weight.data.any()
    io = vectors(f"{name}.io")
    (g,) = grad(F.cross_entropy(model(io["x"]), io["y"]), [model.head.weight])
    assert g.any()


# Writing


def test_export_writes_what_was_read(tmp_path, plain, with_representation):
    for path in (plain, with_representation):
        export(load_pretrained(path), tmp_path / "again.npz")
        with np.load(path) as released, np.load(tmp_path / "again.npz") as again:
            same_arrays({k: released[k] for k in sorted(released)}, {k: again[k] for k in sorted(again)})


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"image_size": 8, "patch_size": 2}, {}),
        ({"image_size": 8, "patch_size": 2, "classifier": "gap"}, {}),
        ({"image_size": (8, 16), "patch_size": (2, 4)}, {}),
        ({"image_size": 8, "patch_size": 2, "representation_size": 5}, {}),
        ({"image_size": 8, "patch_size": 2, "num_classes": 0}, {}),
        ({"image_size": 8, "patch_size": 2, "depth": 11}, {}),  # "10" comes after "9", not after "1"
        ({}, {"image_size": (4, 12)}),  # 2 x 3 patches: not a square grid
        ({"position": "none"}, {"image_size": (4, 12)}),
    ],
)
def test_export_and_load_are_exact(tmp_path, tiny, perturbed, images, changes, given):
    model = perturbed(tiny(**changes))
    export(model, tmp_path / "model.npz")
    again = load_pretrained(tmp_path / "model.npz", dtype="float64", **given)
    assert again.config == model.config
    same_arrays(again.state_dict(), model.state_dict())
    x = images(model.config)
    assert again(x).data.tobytes() == model(x).data.tobytes()


def test_export_knows_its_layouts(tmp_path, tiny, perturbed):
    with pytest.raises(ValueError, match='layout is "tensorflow"'):
        export(perturbed(tiny()), tmp_path / "model.npz", layout="tensorflow")
    for changes in ({"position": "learned2d"}, {"position": "sincos2d"}, {"gelu": "erf"}, {"norm_eps": 1e-5}):
        with pytest.raises(ValueError, match=f"cannot express {next(iter(changes))}="):
            export(perturbed(tiny(**changes)), tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


def test_the_released_names_are_views_of_ours(tiny, perturbed):
    """What is written into them is in the model."""
    model = perturbed(tiny())
    views = to_official(model.state_dict(), model.config)
    assert sum(view.size for view in views.values()) == model.num_parameters()
    for view in views.values():
        view[...] = 7
    assert all((parameter.data == 7).all() for parameter in model.parameters())


# Files that do not fit


def refused(tmp_path, arrays, **changes):
    path = tmp_path / "model.npz"
    np.savez(path, **arrays)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(path, **changes)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize(
    "key",
    [
        "Transformer/encoderblock_1/LayerNorm_2/scale",
        "Transformer/encoderblock_0/MlpBlock_3/Dense_0/bias",
        "Transformer/encoder_norm/bias",
        f"{ATTENTION}key/kernel",
        "head/kernel",
        "head/bias",
    ],
)
def test_a_missing_array_is_named(tmp_path, vectors, key):
    arrays = {name: array for name, array in vectors("vit_tok.ckpt").items() if name != key}
    message = refused(tmp_path, arrays)
    assert "head/kernel" in message if key == "head/bias" else f"missing: {key}" in message


@pytest.mark.parametrize("key", ["embedding/kernel", f"{ATTENTION}query/kernel".replace("block_1", "block_0")])
def test_without_its_landmarks_a_file_is_of_another_layout(tmp_path, vectors, key):
    arrays = {name: array for name, array in vectors("vit_tok.ckpt").items() if name != key}
    assert f"is not a released ViT checkpoint: it has no {key}" in refused(tmp_path, arrays)


def test_other_checkpoints_are_not_mistaken_for_it(tmp_path):
    assert "is not a released ViT checkpoint" in refused(tmp_path, {"blocks.0.norm1.weight": np.ones(3)})


def test_unexpected_arrays_are_named(tmp_path, vectors):
    message = refused(tmp_path, {**vectors("vit_tok.ckpt"), "opt/step": np.ones(1), "conv_root/kernel": np.ones(2)})
    assert message.endswith("unexpected: opt/step, conv_root/kernel")


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel", (96, 48)),  # (out, in), as torch stores it
        ("Transformer/encoderblock_2/LayerNorm_0/scale", (47,)),
        (f"{ATTENTION}query/kernel", (48, 16, 3)),
        (f"{ATTENTION}value/bias", (5,)),
        (f"{ATTENTION}out/kernel", (48, 48)),
        ("head/kernel", (10, 48)),
        ("cls", (48,)),
    ],
)
def test_a_wrong_shape_is_named_even_where_the_sizes_agree(tmp_path, vectors, key, shape):
    message = refused(tmp_path, {**vectors("vit_tok.ckpt"), key: np.ones(shape, "float32")})
    assert f"wrong shape: {key} {shape}, expected" in message


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("embedding/kernel", (48, 48)),
        ("Transformer/posembed_input/pos_embedding", (65, 48)),
        ("Transformer/posembed_input/pos_embedding", (1, 0, 48)),
        ("head/bias", ()),
        ("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel", (48, 5, 16)),
    ],
)
def test_shapes_that_say_nothing_about_the_model(tmp_path, vectors, key, shape):
    message = refused(tmp_path, {**vectors("vit_tok.ckpt"), key: np.ones(shape, "float32")})
    assert "is not a released ViT checkpoint" in message or "do not divide" in message


def test_a_grid_that_is_not_square_must_be_given(tmp_path, tiny, perturbed):
    path = tmp_path / "model.npz"
    export(perturbed(tiny()), path)
    for given in ({}, {"image_size": 8}, {"image_size": (6, 12)}):
        with pytest.raises(CheckpointError, match="6 position embeddings are not a square grid; pass their image_size"):
            load_pretrained(path, **given)


@pytest.mark.parametrize("changes", [{"width": 96}, {"depth": 2}, {"classifier": "gap"}, {"position": "none"}])
def test_changes_that_the_weights_cannot_follow(plain, changes):
    with pytest.raises(CheckpointError, match="does not fit the model") as caught:
        load_pretrained(plain, **changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_field(plain):
    with pytest.raises(ConfigError, match="widht"):
        load_pretrained(plain, widht=3)


def test_a_damaged_file(tmp_path, plain):
    data = plain.read_bytes()
    (tmp_path / "model.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="truncated or not a checkpoint"):
        load_pretrained(tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_pretrained(tmp_path / "nothing.npz")
