"""What is computed about a model, against loops over the definitions and cases with a known answer."""

import math
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minivit.errors import ConfigError
from minivit.models import ViT, ViTConfig, inside
from minivit.tensor import Tensor

RNG = np.random.default_rng(0)
# 2 x 3 patches of 4 x 2 pixels, so that rows, columns, heights and widths can be told apart
SMALL = ViTConfig(
    image_size=(8, 6), patch_size=(4, 2), width=8, depth=3, heads=2, mlp_width=8, num_classes=3, channels=2
)


def small(**changes):
    fields = {name: getattr(SMALL, name) for name in ViTConfig.__dataclass_fields__}
    return ViTConfig(**{**fields, **changes})


def random_model(config):
    """A model whose parameters are all random."""
    model = ViT(config, dtype="float64")
    for tensor in model.parameters():
        tensor.data = RNG.standard_normal(tensor.shape)
    return model


def random_attention(*shape):
    """Matrices whose rows sum to 1."""
    weights = RNG.exponential(size=shape)
    return weights / weights.sum(axis=-1, keepdims=True)


# attention


def test_attention_weights_are_those_of_every_layer_without_dropout():
    model = random_model(small(dropout=0.5, attention_dropout=0.5, drop_path=0.5)).train()
    images = RNG.standard_normal((4, 8, 6, 2))
    attention = inside.attention_weights(model, images)
    assert attention.shape == (3, 4, 2, 7, 7)
    assert model.training
    tap = {}
    model.eval()(images, tap=tap)
    for layer in range(3):
        assert_array_equal(attention[layer], tap[f"block{layer}/attention_weights"])
    assert_allclose(attention.sum(axis=-1), 1)
    means = inside.attention_weights(model, images, lambda layer: layer.mean(axis=1))
    assert_array_equal(means, attention.mean(axis=2))


def test_attention_is_read_layer_by_layer():
    """Of the matrices no more than one layer's are held at a time."""
    model = random_model(small(depth=8, image_size=(64, 48)))  # 385 tokens
    tracemalloc.start()
    inside.attention_weights(model, np.zeros((1, 64, 48, 2)), lambda layer: layer.mean())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2 * 385**2 * 8  # a layer's matrices, and what is made on the way to them


def test_rollout_is_the_definition_in_loops():
    attention = random_attention(3, 2, 4, 5, 5)  # layers, batch, heads
    mixed = inside.rollout(attention)
    for b in range(2):
        expected = np.eye(5)
        for layer in range(3):
            step = np.zeros((5, 5))
            for i in range(5):
                for j in range(5):
                    step[i, j] = sum(attention[layer, b, h, i, j] for h in range(4)) / 4 / 2 + (i == j) / 2
            expected = np.array(
                [[sum(step[i, k] * expected[k, j] for k in range(5)) for j in range(5)] for i in range(5)]
            )
        assert_allclose(mixed[b], expected, rtol=1e-12)
    assert_allclose(mixed.sum(axis=-1), 1)


def test_rollout_of_known_attention():
    identity, uniform = np.eye(4), np.full((4, 4), 1 / 4)
    assert_allclose(inside.rollout(np.stack([identity[None]] * 5)), identity)
    assert_allclose(inside.rollout(uniform[None, None]), identity / 2 + uniform / 2)
    # many layers forget where a token came from
    assert_allclose(inside.rollout(np.stack([uniform[None]] * 50)), uniform, atol=1e-12)


def test_rollout_applies_the_first_layer_first():
    """Token 1 takes from token 2 in layer 1, token 0 from token 1 in layer 2: so token 0 ends with a bit of token 2."""
    first, second = np.eye(3), np.eye(3)
    first[1], second[0] = [0, 0, 1], [0, 1, 0]
    mixed = inside.rollout(np.stack([first[None], second[None]]))
    assert_allclose(mixed[0], [1 / 2, 1 / 4, 1 / 4])
    assert_allclose(inside.rollout(np.stack([second[None], first[None]]))[0], [1 / 2, 1 / 2, 0])


def test_what_the_head_reads_is_one_row_or_the_mean_of_all():
    matrix = RNG.random((5, 7, 7))
    assert_array_equal(inside.read_by_head(matrix, SMALL), matrix[:, 0, 1:].reshape(5, 2, 3))
    matrix = RNG.random((5, 8, 8))
    both = (matrix[:, 0, 2:] + matrix[:, 1, 2:]) / 2
    assert_allclose(inside.read_by_head(matrix, small(distillation_token=True)), both.reshape(5, 2, 3))
    matrix = RNG.random((5, 6, 6))
    mean = sum(matrix[:, i] for i in range(6)) / 6
    assert_allclose(inside.read_by_head(matrix, small(classifier="gap")), mean.reshape(5, 2, 3))


# distance


def test_patch_distances_in_loops():
    distances = inside.patch_distances((2, 3), (4.0, 2.0))
    for a in range(6):
        for b in range(6):
            (row_a, column_a), (row_b, column_b) = divmod(a, 3), divmod(b, 3)
            expected = math.sqrt((4 * (row_a - row_b)) ** 2 + (2 * (column_a - column_b)) ** 2)
            assert distances[a, b] == pytest.approx(expected)


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_attention_distance_in_loops(classifier):
    config = small(classifier=classifier)
    tokens = config.num_tokens
    attention = random_attention(2, 3, tokens, tokens)
    found = inside.attention_distance(attention, config)
    assert found.shape == (2, 3)
    between = inside.patch_distances((2, 3), (4, 2))
    first = tokens - 6
    for index in np.ndindex(2, 3):
        means = []
        for query in range(6):
            row = attention[index][first + query, first:]
            means.append(sum(row[key] * between[query, key] for key in range(6)) / sum(row))
        assert found[index] == pytest.approx(sum(means) / 6)


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_distance_of_uniform_attention_in_a_row_of_patches(count):
    """The mean of |i - j| over i, j = 0..n-1 is (n^2 - 1) / (3 n)."""
    config = small(image_size=(4, 2 * count))
    uniform = np.full((count + 1, count + 1), 1 / (count + 1))
    assert inside.attention_distance(uniform, config) == pytest.approx(2 * (count**2 - 1) / (3 * count))


def test_distance_of_uniform_attention_in_a_fine_grid_is_that_of_random_points_in_a_square():
    config = small(image_size=80, patch_size=2, classifier="gap")
    uniform = np.full((1600, 1600), 1 / 1600)
    limit = (2 + math.sqrt(2) + 5 * math.log(1 + math.sqrt(2))) / 15  # of a side: 0.5214
    assert inside.attention_distance(uniform, config) == pytest.approx(80 * limit, rel=1e-3)


def test_distance_of_attention_to_oneself_and_to_a_neighbour():
    assert inside.attention_distance(np.eye(7), SMALL) == 0
    right_or_left = np.zeros((7, 7))
    for row, key in enumerate((2, 1, 2, 5, 4, 5), start=1):  # patches 1..6, three in a row
        right_or_left[row, key] = 0.25  # the rest goes to [class]
        right_or_left[row, 0] = 0.75
    assert inside.attention_distance(right_or_left, SMALL) == pytest.approx(2)


def test_attention_to_the_class_token_alone_has_no_distance():
    attention = np.zeros((7, 7))
    attention[:, 0] = 1
    assert inside.attention_distance(attention, SMALL) == 0


# positions


@pytest.mark.parametrize("classifier", ["token", "gap"])
@pytest.mark.parametrize("position", ["learned", "learned2d", "sincos2d"])
def test_the_position_table_is_what_the_model_adds_to_the_patches(position, classifier):
    model = random_model(small(position=position, classifier=classifier))
    images = RNG.standard_normal((1, 8, 6, 2))
    added = model.embed(Tensor(images)).data[0, -6:] - model.patch_embed(Tensor(images)).data[0]
    assert_allclose(inside.position_table(model), added, atol=1e-12)


def test_a_model_without_positions_says_so():
    with pytest.raises(ConfigError, match=r'no position embeddings \(position is "none"\)'):
        inside.position_table(ViT(small(position="none")))


def test_cosine_similarity_in_loops():
    table = RNG.standard_normal((6, 4))
    table[4] = 0
    similarity = inside.cosine_similarity(table, (2, 3))
    for a in range(6):
        for b in range(6):
            lengths = math.sqrt(sum(table[a] ** 2)) * math.sqrt(sum(table[b] ** 2))
            expected = sum(table[a] * table[b]) / lengths if lengths else 0
            assert similarity[(*divmod(a, 3), *divmod(b, 3))] == pytest.approx(expected)


# filters


def test_a_filter_is_what_its_feature_multiplies_the_patch_with():
    model = random_model(SMALL)
    image = RNG.standard_normal((1, 8, 6, 2))
    features = model.patch_embed(Tensor(image)).data[0]  # (6, 8)
    filters = inside.patch_filters(model)
    assert filters.shape == (8, 4, 2, 2)
    patch = image[0, 4:8, 2:4]  # second row, second column: patch 4
    for feature in range(8):
        product = (filters[feature] * patch).sum() + model.patch_embed.projection.bias.data[feature]
        assert features[4, feature] == pytest.approx(product)


def test_principal_components_of_known_data():
    """Points on an ellipse: axes (3, 4)/5 and (4, -3)/5, spread 3 : 1, around a mean that is not 0."""
    long, short = np.array([3, 4]) / 5, np.array([4, -3]) / 5
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)[:, None]
    samples = 7 + 3 * np.cos(angle) * long + np.sin(angle) * short
    components, shares = inside.principal_components(samples, 5)
    assert_allclose(components, [long, short], atol=1e-12)
    assert_allclose(shares, [0.9, 0.1])
    assert inside.principal_components(samples, 1)[0].shape == (1, 2)


def test_principal_components_are_eigenvectors_of_the_covariance():
    samples = RNG.standard_normal((20, 2, 3))
    components, shares = inside.principal_components(samples, 4)
    assert components.shape == (4, 2, 3)
    values, vectors = np.linalg.eigh(np.cov(samples.reshape(20, 6).T))
    assert_allclose(shares, values[::-1][:4] / values.sum())
    for component, vector in zip(components.reshape(4, 6), vectors.T[::-1], strict=False):
        assert abs(component @ vector) == pytest.approx(1)
        assert component.max() == abs(component).max()  # the sign


def test_directions_without_variance_are_no_components():
    assert len(inside.principal_components(np.ones((5, 3)), 3)[0]) == 0
    line = np.outer(np.arange(5.0), [1, 2, 2])
    components, shares = inside.principal_components(line, 3)
    assert_allclose(components, [[1 / 3, 2 / 3, 2 / 3]])
    assert_allclose(shares, [1])
    shares = inside.principal_components(np.float32(1e30) * line.astype(np.float32), 3)[1]  # its square is infinite
    assert_allclose(shares, [1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_have_no_components(value):
    with pytest.raises(ConfigError, match="NaN or infinite values"):
        inside.principal_components(np.array([[1.0, 2.0], [value, 3.0]]), 2)


# confusion


def test_confusion_counts_in_loops():
    labels, predictions = RNG.integers(0, 4, 50), RNG.integers(0, 3, 50)  # class 3 is never predicted
    counts = inside.confusion_counts(labels, predictions, 5)
    expected = [[sum((labels == i) & (predictions == j)) for j in range(5)] for i in range(5)]
    assert counts.tolist() == expected
