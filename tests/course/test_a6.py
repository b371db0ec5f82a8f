"""A6: the conventions of its handout as numbers, for the master solution and the other right ones."""

import numpy as np
import pytest
from toy_assignment import forks

from minivit.course import gate, grading
from minivit.course.assignment import assignments
from minivit.course.solution import load
from minivit.course.student.trial import Apart, Direct, Wrong

A6 = assignments()["a6_inspection"]
SOLUTIONS = {"master": A6.master, **A6.rights}
SMALL = {"image_size": (2, 4), "patch_size": (2, 2), "channels": 1, "width": 2, "depth": 1, "heads": 1, "mlp_width": 2}
SMALL |= {"num_classes": 2, "classifier": "token", "gelu": "tanh", "norm_eps": 1e-6}


@pytest.fixture(params=SOLUTIONS, scope="module")
def adapters(request):
    return load(SOLUTIONS[request.param], given=A6.given)


@pytest.mark.parametrize(
    ("method", "count", "want"),
    [
        ("align_corners", 7, [0, 5, 10, 15, 20, 25, 30]),
        ("align_corners", 2, [0, 30]),
        ("align_corners", 1, [0]),
        ("half_pixel", 8, [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]),
        ("half_pixel", 2, [5, 25]),
        ("half_pixel", 1, [15]),
    ],
)
def test_places_of_both_methods(adapters, method, count, want):
    table = np.array([7.0, 0, 10, 20, 30]).reshape(1, 5, 1)
    for old, new in (((1, 4), (1, count)), ((4, 1), (count, 1))):
        resized = np.asarray(adapters.resize_positions(table, old, new, 1, method))
        assert resized.ravel() == pytest.approx([7, *want])


def test_both_axes_are_resized(adapters):
    table = np.array([0.0, 10, 20, 30]).reshape(1, 4, 1)
    resized = np.asarray(adapters.resize_positions(table, (2, 2), (3, 3), 0, "align_corners"))
    assert resized.ravel() == pytest.approx([0, 5, 10, 10, 15, 20, 20, 25, 30])


def parameters():
    shapes = {"class_token": (1, 1, 2), "position_embedding": (1, 3, 2), "patch_embed.projection.weight": (4, 2)}
    shapes |= {"patch_embed.projection.bias": (2,), "norm.scale": (2,), "norm.bias": (2,)}
    shapes |= {"head.weight": (2, 2), "head.bias": (2,)}
    for name, shape in {
        "attention.qkv": (2, 6),
        "attention.out": (2, 2),
        "mlp.hidden": (2, 2),
        "mlp.out": (2, 2),
    }.items():
        shapes |= {f"blocks.0.{name}.weight": shape, f"blocks.0.{name}.bias": shape[1:]}
    for name in ("norm1", "norm2"):
        shapes |= {f"blocks.0.{name}.scale": (2,), f"blocks.0.{name}.bias": (2,)}
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_the_head_is_new_and_all_else_is_copied(adapters):
    params = parameters()
    found = Direct(adapters)("adapt", (Apart(params), SMALL, SMALL))
    assert not np.any(found["head.weight"])
    assert not np.any(found["head.bias"])
    assert set(found) == set(params)
    assert all(found[name] == pytest.approx(params[name]) for name in params if not name.startswith("head."))


def test_a_result_in_the_memory_of_its_argument_is_noticed():
    for name in ("q2_shallow_copy", "q2_class_token_by_view"):
        call = Direct(load(A6.wrong_files(name), given=A6.given))
        call("adapt", (parameters(), SMALL, SMALL))
        with pytest.raises(Wrong, match="shares memory"):
            call("adapt", (Apart(parameters()), SMALL, SMALL))


def test_maps_by_hand(adapters):
    """Queries and keys of 2 features from tokens (1, -1) and (-1, 1) after LayerNorm."""
    params = {name: np.zeros_like(value) for name, value in parameters().items()}
    params["class_token"][:] = [[[3, 1]]]
    params["patch_embed.projection.bias"][:] = [0, 2]
    params["blocks.0.norm1.scale"][:] = 1
    params["blocks.0.attention.qkv.weight"][:, :4] = np.tile(np.eye(2), 2)
    maps = np.asarray(adapters.attention_maps(params, {**SMALL, "norm_eps": 1e-12}, np.zeros((1, 2, 4, 1))))
    near, far = np.exp(2 / 2**0.5), np.exp(-2 / 2**0.5)
    want = [[near, far, far], [far, near, near], [far, near, near]] / np.array(
        [[near + 2 * far], *[[2 * near + far]] * 2]
    )
    assert maps.shape == (1, 1, 1, 3, 3)
    assert maps[0, 0, 0] == pytest.approx(want, rel=1e-9)


def test_rollout_by_hand(adapters):
    attention = np.array([[[[[0.5, 0.5], [0, 1]]]], [[[[1, 0], [1, 0]]]]])
    assert np.asarray(adapters.rollout(attention))[0] == pytest.approx(np.array([[0.75, 0.25], [0.375, 0.625]]))


def test_what_the_head_reads(adapters):
    matrix = np.array([[[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0, 0, 1]]])
    assert np.asarray(adapters.read_by_head(matrix, SMALL)) == pytest.approx(np.array([[[0.2, 0.3]]]))
    gap = {**SMALL, "classifier": "gap"}
    assert np.asarray(adapters.read_by_head(matrix[:, 1:, 1:], gap)) == pytest.approx(np.array([[[0.4, 0.55]]]))


def test_distance_by_hand(adapters):
    attention = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0, 0.5, 0.5]])
    assert adapters.attention_distance(attention, (1, 2), (4, 16)) == pytest.approx(8)
    assert adapters.attention_distance(attention, (2, 1), (4, 16)) == pytest.approx(2)
    assert adapters.attention_distance(np.eye(4)[[3, 2, 1, 0]], (2, 2), (3, 4)) == pytest.approx(5)


def test_similarity_by_hand(adapters):
    table = np.array([[1.0, 0], [2, 0], [-3, 0], [0, 1], [1, 1], [0, -5]])
    similar = np.asarray(adapters.position_similarity(table, (2, 3)))
    assert similar.shape == (2, 3, 2, 3)
    assert similar[0, 0] == pytest.approx(np.array([[1, 1, -1], [0, 0.5**0.5, 0]]))


def test_components_by_hand(adapters):
    samples = np.array([[0.0, 2], [4, 2], [2, 1], [2, 3]])
    components, share = adapters.principal_components(samples, 2)
    assert np.abs(components) == pytest.approx(np.eye(2))
    assert list(share) == pytest.approx([0.8, 0.2])


@forks
def test_the_grader_notices_it_too():
    check = next(check for check in A6.checks if check.name == "h_copies")
    shallow = grading.run(A6, grading.texts(A6.wrong_files("q2_shallow_copy")), check, "ada", b"key")
    assert (shallow.share, "shares memory" in shallow.words) == (0, True)
    assert grading.run(A6, grading.texts(A6.master), check, "ada", b"key").share == 1


def test_one_side_of_the_image_may_change_alone():
    for name in ("h_token", "h_gap"):
        (check,) = [each for each in A6.checks if (each.question, each.name) == ("q2", name)]
        assert isinstance(gate.run(A6, A6.wrong_files("q2_rows_alone"), check), str)
