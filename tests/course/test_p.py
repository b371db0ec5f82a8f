"""The project's instruments: the handout's numbers by hand."""

from minivit.course.assignment import assignments
from minivit.course.solution import load

MASTER = load(assignments()["p_project"].master)


def test_the_cost_of_the_handouts_example():
    config = {
        "image_size": (4, 4), "patch_size": (2, 2), "channels": 1, "width": 2, "depth": 1, "mlp_width": 4,
        "num_classes": 3, "classifier": "token",
    }  # fmt: skip
    assert MASTER.training_multiply_adds(config, 1, 1) == 894
    assert MASTER.training_multiply_adds(config, 8, 100) == 894 * 800


def test_the_comparison_of_the_handouts_example():
    assert MASTER.paired([3, 5], [1, 4]) == (1.5, 0.5, True)


def test_a_law_is_found_again():
    a, b = MASTER.power_law([1, 10, 100], [2.0, 2.0 * 10**-0.25, 2.0 * 10**-0.5])
    assert abs(a - 2) < 1e-12
    assert abs(b - 0.25) < 1e-12
