"""The first assignment: its conventions as numbers, its master against differences, its engines for find_bugs."""

import numpy as np
import pytest

from minivit.course.assignment import REGION, assignments
from minivit.course.gate import run
from minivit.course.solution import load

A1 = assignments()["a1_engine"]
NAMES = ["master", *A1.rights]


@pytest.fixture(params=NAMES)
def solution(request):
    return load(A1.master if request.param == "master" else A1.rights[request.param])


def grads(solution, op, inputs, g, **params):
    inputs = [np.array(x, float) for x in inputs]
    count = len(inputs)
    program = [[op, list(range(count)), params]]
    return solution.run_program(program, inputs, [count], [np.array(g, float)], list(range(count)))[1]


def test_the_number_that_the_handout_works_out(solution):
    program = [["mul", [0, 0], {}], ["add", [1, 0], {}]]
    values, found = solution.run_program(program, [np.array(3.0)], [2], [np.array(2.0)], [0])
    assert float(values[0]) == 12
    assert float(found[0]) == 14


def test_conventions_where_several_would_be_possible(solution):
    np.testing.assert_array_equal(grads(solution, "maximum", [[1, 2, 3], [1, 3, 2]], [8, 8, 8])[0], [4, 0, 8])
    np.testing.assert_array_equal(grads(solution, "pow", [[-1, 0, 2]], [1, 1, 1], exponent=0.0)[0], [0, 0, 0])
    np.testing.assert_array_equal(grads(solution, "pow", [[-3, 0]], [1, 1], exponent=2.0)[0], [-6, 0])
    tied = grads(solution, "max", [[[2, 2], [1, 3]]], [4, 5], axis=1, keepdims=False)[0]
    np.testing.assert_array_equal(tied, [[2, 2], [0, 5]])
    np.testing.assert_array_equal(
        grads(solution, "getitem", [[7, 8, 9]], [1, 2, 4], index=np.array([2, 0, -1]))[0], [2, 0, 5]
    )
    column, row = grads(solution, "add", [[[0], [0]], [0, 0, 0]], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(column, [[6], [15]])
    np.testing.assert_array_equal(row, [5, 7, 9])


def test_what_nothing_depends_on_has_a_gradient_of_zeros(solution):
    x, unused = np.ones(3), np.ones((2, 1))
    _, found = solution.run_program([["neg", [0], {}]], [x, unused], [2, 0], [None, np.ones(3)], [1, 0])
    np.testing.assert_array_equal(found[0], np.zeros((2, 1)))
    np.testing.assert_array_equal(found[1], np.ones(3))


def test_several_backward_passes(solution):
    x, y, one = np.array(2.0), np.array(5.0), np.array(1.0)
    program = [["mul", [0, 1], {}], ["mul", [2, 0], {}]]  # x y, and x x y
    found = solution.backward_each(program, [x, y], [2, 3, 2], [one, one, one], [1, 0])
    np.testing.assert_array_equal(found, [[2, 5], [4, 20], [2, 5]])
    np.testing.assert_array_equal(solution.accumulate([program, program[:1]], [x, y], [one, one], [0, 1]), [25, 6])


OPS = [
    *[(op, [(2, 3), (3,)], {}) for op in ("add", "sub", "mul", "div", "maximum")],
    *[(op, [(2, 3)], {}) for op in ("neg", "exp", "log", "sqrt", "tanh")],
    ("pow", [(2, 3)], {"exponent": -1.5}),
    *[(op, [(2, 3, 4)], {"axis": (-1, 0), "keepdims": False}) for op in ("sum", "mean", "max")],
    ("reshape", [(2, 3, 4)], {"shape": (4, -1)}),
    ("transpose", [(2, 3, 4)], {"axes": (1, -1, 0)}),
    ("broadcast_to", [(2, 1)], {"shape": (4, 2, 3)}),
    ("getitem", [(3, 4)], {"index": (slice(None), np.array([1, 1, 0]))}),
    ("concat", [(2, 3), (2, 1)], {"axis": -1}),
    ("matmul", [(2, 1, 3, 4), (5, 4, 2)], {}),
    ("matmul", [(4,), (2, 4, 3)], {}),
]


@pytest.mark.parametrize(("op", "shapes", "params"), OPS, ids=lambda x: x if isinstance(x, str) else "")
def test_the_master_agrees_with_differences_of_its_values(op, shapes, params):
    rng = np.random.default_rng(5)
    run = load(A1.master).run_program
    inputs = [rng.uniform(0.5, 2, shape) for shape in shapes]
    directions = [rng.uniform(0.25, 1, shape) * rng.choice([-1, 1], shape) for shape in shapes]
    numbers, last = list(range(len(inputs))), len(inputs)
    program = [[op, numbers, params]]

    def value(h):
        moved = [x + h * d for x, d in zip(inputs, directions, strict=True)]
        return run(program, moved, [last], [None], numbers)[0][0]

    g = rng.normal(size=value(0).shape)
    slope = ((value(1e-5) - value(-1e-5)) * g).sum() / 2e-5
    found = run(program, inputs, [last], [g], numbers)[1]
    assert sum((d * dx).sum() for d, dx in zip(directions, found, strict=True)) == pytest.approx(
        slope, rel=1e-6, abs=1e-8
    )


def test_twelve_engines_wait_for_find_bugs_and_each_gives_right_values():
    engines = [name for name, wrong in A1.wrongs.items() if wrong.engine]
    assert len(engines) == 12
    assert {A1.wrongs[name].question for name in engines} == {"q1", "q2", "q3", "q4", "q5", "q6"}
    rng = np.random.default_rng(6)
    right = load(A1.master).run_program
    for name in engines:
        wrong = load(A1.wrong_files(name)).run_program
        for op, shapes, params in OPS:
            inputs = [rng.uniform(0.5, 2, shape) for shape in shapes]
            program = [[op, list(range(len(inputs))), params]]
            g = np.ones(np.shape(right(program, inputs, [len(inputs)], [None], [])[0][0]))
            values = [run(program, inputs, [len(inputs)], [g], [])[0][0] for run in (right, wrong)]
            np.testing.assert_array_equal(*values)


def test_find_bugs_needs_few_calls_of_a_right_engine():
    for files in (A1.master, *A1.rights.values()):
        calls = []

        def counted(*args, calls=calls):
            calls.append(args)
            return load(A1.master).run_program(*args)

        assert load(files).find_bugs(counted) is False
        assert len(calls) <= 500


def partly_answered(*questions):
    """The files of a student who has answered these questions alone."""

    def left(region):
        return region[0] if region[2] in questions else f'{region[1]}raise NotImplementedError("{region[2]}")\n'

    return {name: REGION.sub(left, text) for name, text in A1.master.items()}


@pytest.mark.parametrize(
    ("answered", "right"),
    [("q1", "q1"), ("q3", "q3"), ("q4 q2", "q4"), ("q5 q2", "q5"), ("q1 q2 q3 q4 q5", "q1 q2 q3 q4 q5")],
)
def test_a_question_can_be_checked_before_the_way_back_is_written(answered, right):
    files = partly_answered(*answered.split())
    for check in A1.checks:
        passed = not isinstance(run(A1, files, check), str)
        if check.question in right.split():
            assert passed, (check.question, check.name)
        elif check.question in ("q6", "q7", "q8"):
            assert not passed, (check.question, check.name)


def test_a_pullback_that_gives_no_tuple_is_named():
    files = {**A1.master}
    files["elementwise.py"] = files["elementwise.py"].replace("return g * y, g * x", "return g * y")
    files["elementwise.py"] = files["elementwise.py"].replace("return (-g,)", "return (-g)")
    solution = load(files)
    with pytest.raises(TypeError, match="the pullback of mul returned an array; a tuple of 2 gradients is asked"):
        grads(solution, "mul", [[1, 2], [3, 4]], [1, 1])
    with pytest.raises(TypeError, match="the pullback of neg returned an array; a tuple of 1 gradient is asked"):
        grads(solution, "neg", [3], 1)
