"""Every layer's forward pass against loops that follow the equations, one number at a time."""

import itertools
import math

import numpy as np
import pytest
from devices import assert_allclose, assert_equal, placed, tensor, to_host

from minivit import functional as F
from minivit.nn import (
    MLP,
    Dropout,
    DropPath,
    EncoderBlock,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    PatchEmbed,
    patchify,
)
from minivit.ops.dropping import keep_mask
from minivit.tensor import watch

pytestmark = pytest.mark.usefixtures("device")

WIDTH, HEADS = 6, 3


def perturbed(layer, seed=7):
    """The layer with random parameters everywhere: no bias is zero, no scale is one."""
    rng = np.random.default_rng(seed)
    for p in layer.parameters():
        p.data += 0.5 * rng.standard_normal(p.shape)
    return placed(layer)


def tokens(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape or (2, 4, WIDTH))


def rng(seed=0):
    return np.random.default_rng(seed)


def encoder_block(noise=0.0, **options):
    generator = rng()
    attention = MultiHeadAttention(WIDTH, HEADS, generator, "float64", noise)
    return EncoderBlock(attention, MLP(WIDTH, 10, generator, "float64", noise), WIDTH, "float64", noise, **options)


def softmax(scores):
    e = np.exp(scores)
    return e / e.sum()


def attention_by_head(layer, x, keep=None):
    """Eq. 5-8, one head of one image at a time, with separate query, key and value matrices."""
    query, key, value = np.split(to_host(layer.qkv.weight), 3, axis=1)
    query_bias, key_bias, value_bias = np.split(to_host(layer.qkv.bias), 3)
    head_width = x.shape[2] // layer.heads
    weights = np.zeros((x.shape[0], layer.heads, x.shape[1], x.shape[1]))
    y = np.zeros_like(x)
    for b, head in itertools.product(range(x.shape[0]), range(layer.heads)):
        mine = slice(head * head_width, (head + 1) * head_width)
        q = x[b] @ query[:, mine] + query_bias[mine]
        k = x[b] @ key[:, mine] + key_bias[mine]
        v = x[b] @ value[:, mine] + value_bias[mine]
        for i in range(x.shape[1]):
            weights[b, head, i] = softmax(np.array([q[i] @ k[j] for j in range(len(k))]) / math.sqrt(head_width))
            kept = weights[b, head, i] * (1 if keep is None else keep[b, head, i])
            y[b, i, mine] = sum(kept[j] * v[j] for j in range(len(v)))
    return y @ to_host(layer.out.weight) + to_host(layer.out.bias), weights


def test_linear():
    layer = perturbed(Linear(3, 2, rng(), "float64"))
    x = tokens(2, 4, 3)
    y = to_host(layer(tensor(x)))
    for b, n, j in np.ndindex(2, 4, 2):
        expected = sum(x[b, n, i] * to_host(layer.weight)[i, j] for i in range(3)) + to_host(layer.bias)[j]
        assert y[b, n, j] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_layer_norm(eps):
    layer = perturbed(LayerNorm(WIDTH, eps, "float64"))
    x = 3 + tokens()
    y = to_host(layer(tensor(x)))
    for b, n in np.ndindex(2, 4):
        row = x[b, n].tolist()
        mean = sum(row) / WIDTH
        variance = sum((value - mean) ** 2 for value in row) / WIDTH
        for j in range(WIDTH):
            expected = (row[j] - mean) / math.sqrt(variance + eps) * to_host(layer.scale)[j] + to_host(layer.bias)[j]
            assert y[b, n, j] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_attention(heads):
    layer = perturbed(MultiHeadAttention(WIDTH, heads, rng(), "float64"))
    tap = {}
    y = layer(tensor(tokens()), tap=tap)
    expected, weights = attention_by_head(layer, tokens())
    assert_allclose(y.data, expected, rtol=1e-12, atol=1e-13)
    assert_allclose(tap["attention_weights"], weights, rtol=1e-12, atol=1e-14)


def test_attention_agrees_with_torch():
    torch = pytest.importorskip("torch")
    layer = perturbed(MultiHeadAttention(WIDTH, HEADS, rng(), "float64"))
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    names = {"in_proj_": layer.qkv, "out_proj.": layer.out}
    state = {}
    for name, linear in names.items():
        state[name + "weight"] = torch.tensor(to_host(linear.weight).T)
        state[name + "bias"] = torch.tensor(to_host(linear.bias))
    theirs.load_state_dict(state)
    x = torch.tensor(tokens())
    y, weights = theirs(x, x, x, average_attn_weights=False)
    tap = {}
    assert_allclose(layer(tensor(tokens()), tap=tap).data, y.detach().numpy(), rtol=1e-12, atol=1e-13)
    assert_allclose(tap["attention_weights"], weights.detach().numpy(), rtol=1e-12, atol=1e-14)


def gelu(x, form):
    if form == "erf":
        return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_mlp(form):
    layer = perturbed(MLP(WIDTH, 10, rng(), "float64", gelu=form))
    x = tokens()
    hidden = x @ to_host(layer.hidden.weight) + to_host(layer.hidden.bias)
    hidden = np.vectorize(gelu)(hidden, form)
    expected = hidden @ to_host(layer.out.weight) + to_host(layer.out.bias)
    assert_allclose(to_host(layer(tensor(x))), expected, rtol=1e-12, atol=1e-13)


def test_the_published_gelu_is_the_default():
    layer = perturbed(MLP(WIDTH, 10, rng(), "float64"))
    published = perturbed(MLP(WIDTH, 10, rng(), "float64", gelu="tanh"))
    assert_equal(to_host(layer(tensor(tokens()))), to_host(published(tensor(tokens()))))


def test_encoder_block_normalises_before_each_branch():
    block = perturbed(encoder_block(norm_eps=0.1))
    x = tokens()

    def norm(z, layer):
        z = z - z.mean(axis=-1, keepdims=True)
        return z / np.sqrt((z * z).mean(axis=-1, keepdims=True) + 0.1) * to_host(layer.scale) + to_host(layer.bias)

    attended, weights = attention_by_head(block.attention, norm(x, block.norm1))
    middle = attended + x
    expected = to_host(block.mlp(tensor(norm(middle, block.norm2)))) + middle
    tap = {}
    y = block(tensor(x), tap=tap)
    assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)
    assert set(tap) == {"attention_weights", "output"}
    assert tap["output"] is y
    assert_allclose(tap["attention_weights"], weights, rtol=1e-12, atol=1e-14)


# Patches


@pytest.mark.parametrize("patch", [(2, 3), (3, 2), (1, 6), (6, 1), (6, 6), (1, 1)])
def test_patchify_against_loops(patch):
    images = np.random.default_rng(0).standard_normal((2, 6, 12, 3))
    rows, columns = 6 // patch[0], 12 // patch[1]
    y = to_host(patchify(tensor(images), patch))
    assert y.shape == (2, rows * columns, patch[0] * patch[1] * 3)
    for b, r, c in np.ndindex(2, rows, columns):
        pixels = []
        for i, j, channel in np.ndindex(*patch, 3):
            pixels.append(images[b, r * patch[0] + i, c * patch[1] + j, channel])
        assert y[b, r * columns + c].tolist() == pixels


@pytest.mark.parametrize(
    ("pixel", "token", "feature"),
    [  # image 4 x 9, patches 2 x 3, 2 channels: 2 x 3 patches of 12 numbers
        ((0, 0, 0), 0, 0),
        ((0, 0, 1), 0, 1),  # the next channel is next
        ((0, 1, 0), 0, 2),  # then the next column
        ((1, 0, 0), 0, 6),  # then the next row
        ((0, 3, 0), 1, 0),  # the patch to the right
        ((2, 0, 0), 3, 0),  # the patch below, after a whole row of patches
        ((3, 8, 1), 5, 11),
    ],
)
def test_one_hot_pixels_arrive_where_they_should(pixel, token, feature):
    images = np.zeros((1, 4, 9, 2))
    images[(0, *pixel)] = 1
    assert np.argwhere(to_host(patchify(tensor(images), (2, 3)))[0]).tolist() == [[token, feature]]


@pytest.mark.parametrize("size", [(5, 9), (4, 10), (1, 9)])
def test_patches_that_do_not_tile_are_refused(size):
    with pytest.raises(ValueError, match=f"patches 2x3 do not tile images of {size[0]}x{size[1]}"):
        patchify(tensor(np.zeros((1, *size, 2))), (2, 3))


def test_patch_embedding_is_a_convolution():
    layer = perturbed(PatchEmbed((2, 3), 2, 5, rng(), "float64"))
    images = np.random.default_rng(0).standard_normal((2, 4, 9, 2))
    kernel = to_host(layer.projection.weight).reshape(2, 3, 2, 5)  # HWIO, as in the published checkpoints
    y = to_host(layer(tensor(images)))
    assert y.shape == (2, 6, 5)
    for b, r, c, d in np.ndindex(2, 2, 3, 5):
        total = to_host(layer.projection.bias)[d]
        for i, j, channel in np.ndindex(2, 3, 2):
            total += images[b, 2 * r + i, 3 * c + j, channel] * kernel[i, j, channel, d]
        assert y[b, r * 3 + c, d] == pytest.approx(total, rel=1e-12)


# Noise


def test_dropout_zeroes_at_its_rate_and_scales_the_rest():
    layer = Dropout(0.3)
    x = tensor(1 + np.random.default_rng(0).random((50, 40, 20), "float32"))
    y = to_host(layer(x, rng(5)))
    kept = y != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    assert_allclose(y[kept], x.data[kept] / 0.7, rtol=1e-6)
    assert y.dtype == "float32"
    for axis in range(3):  # element by element: no two elements share their fate
        alike = (kept == np.roll(kept, 1, axis)).mean()
        assert alike == pytest.approx(0.7**2 + 0.3**2, abs=0.02)


def test_drop_path_leaves_out_whole_samples():
    layer = DropPath(0.25)
    x = tensor(1 + np.random.default_rng(0).random((4000, 3, 2)))
    y = to_host(layer(x, rng(5)))
    kept = (y != 0).reshape(4000, 6)
    assert (kept.all(axis=1) | ~kept.any(axis=1)).all()
    assert kept[:, 0].mean() == pytest.approx(0.75, abs=0.03)
    assert_allclose(y[kept[:, 0]], x.data[kept[:, 0]] / 0.75, rtol=1e-12)


def test_attention_dropout_acts_on_the_weights_of_each_head():
    layer = perturbed(MultiHeadAttention(WIDTH, HEADS, rng(), "float64", dropout=0.4))
    keep = keep_mask((2, HEADS, 4, 4), 0.4, rng(3), tokens())
    assert 0 < (keep == 0).sum() < keep.size
    tap = {}
    y = layer(tensor(tokens()), rng(3), tap)
    expected, weights = attention_by_head(layer, tokens(), keep)
    assert_allclose(y.data, expected, rtol=1e-12, atol=1e-13)
    assert_allclose(tap["attention_weights"], weights, rtol=1e-12)  # before dropout: rows sum to 1


NOISY = {
    "Dropout": lambda: Dropout(0.5),
    "DropPath": lambda: DropPath(0.5),
    "attention dropout": lambda: MultiHeadAttention(WIDTH, HEADS, rng(), "float64", dropout=0.5),
}


@pytest.mark.parametrize("name", NOISY)
def test_noise_needs_a_generator_only_in_training(name):
    layer = placed(NOISY[name]())
    x = tensor(tokens(8, 4, WIDTH))
    with pytest.raises(ValueError, match=rf"{name}: in training mode .* pass rng=.*eval\(\)") as caught:
        layer(x)
    assert "\n" not in str(caught.value)
    one, again, other = to_host(layer(x, rng(2))), to_host(layer(x, rng(2))), to_host(layer(x, rng(3)))
    assert_equal(one, again)
    assert not np.array_equal(one, other)
    layer.eval()
    quiet = to_host(layer(x))
    assert_equal(quiet, to_host(layer(x, rng(2))))
    layer.train()
    assert not np.array_equal(quiet, one)


@pytest.mark.parametrize("kind", [Dropout, DropPath])
def test_without_noise_the_input_itself_is_returned(kind):
    x = tensor(tokens())
    assert kind(0.0)(x) is x
    assert kind(0.5).eval()(x, rng()) is x


def ops_of(f, *args):
    names = []
    with watch(lambda name, inputs, output: names.append(name)):
        f(*args)
    return names


def test_the_places_of_noise_in_a_block():
    block = placed(encoder_block(0.1, drop_path=0.1))
    x = tensor(tokens())
    assert ops_of(block, x, rng()) == [
        *("layer_norm", "linear", "attention", "linear", "dropout", "drop_path", "add"),
        *("layer_norm", "linear_gelu", "dropout", "linear", "dropout", "drop_path", "add"),
    ]
    assert ops_of(block.eval(), x) == [
        *("layer_norm", "linear", "attention", "linear", "add"),
        *("layer_norm", "linear_gelu", "linear", "add"),
    ]


def test_a_block_is_made_of_any_two_branches():
    class Add(Module):
        def __init__(self, value):
            self.value = value

        def forward(self, x, rng=None, tap=None, queries=None):
            return x[:, :queries] * 0 + self.value

    block = placed(EncoderBlock(Add(1.0), Add(20.0), WIDTH, "float64", layer_scale=0.5))
    assert [name for name, _ in block.named_parameters()] == [
        *("norm1.scale", "norm1.bias", "norm2.scale", "norm2.bias", "scale1.gamma", "scale2.gamma")
    ]
    x = tokens()
    assert_allclose(block(tensor(x)).data, x + 10.5, rtol=1e-14)
    assert_allclose(block(tensor(x), queries=3).data, x[:, :3] + 10.5, rtol=1e-14)


def test_a_block_that_is_left_out_is_the_identity():
    block = perturbed(encoder_block(drop_path=0.999999))
    x = tensor(tokens())
    assert_equal(block(x, rng()).data, x.data)
    assert not np.array_equal(block.eval()(x).data, x.data)


def test_a_wrong_width_is_named():
    with pytest.raises(ValueError, match="linear: x has 5 features in its last axis"):
        Linear(6, 2, rng())(tensor(tokens(2, 5).astype("float32")))


def test_layers_record_nothing_without_parameters_that_learn():
    assert F.gelu(tensor(tokens())).node is None
    assert placed(Linear(WIDTH, 2, rng(), "float64"))(tensor(tokens())).node is not None
