"""Two small assignments for the tests of the course: t1, softmax and a mean, and t2, which is given t1's adapters."""

import os
from pathlib import Path

import pytest

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork")

T1 = {
    "assignment.toml": """\
id = "t1"
title = "Weights"
hours = 1
cpu_seconds = 5
memory_mib = 2048
given = []
submit = ["*.py", "answers.md"]
imports = "NumPy, the standard library and your own files"

[[questions]]
id = "q1"
points = 50
title = "Weights that sum to 1"
adapters = ["softmax"]

[[questions]]
id = "q2"
points = 40
title = "A mean by weights"
after = ["q1"]
adapters = ["weighted_mean"]

[[written]]
id = "w1"
points = 10
title = "Why the largest is taken off"
""",
    "handout.md": """\
# Weights

![three bars](figures/bars.svg)

**q1.** `softmax(x)`: of every row of `x`, (N, M), weights $e^{x_i} / \\sum_j e^{x_j}$. Entries may be as large as 1000.

**q2.** `weighted_mean(x, v)`: the mean of the rows of `v`, (M, D), by the weights
of every row of `x`; its shape is (N, D).

**w1** (5 to 10 lines). Why may the largest entry be taken off before the exponential?
""",
    "figures/bars.svg": """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 10"><rect width="30" height="10" fill="white"/>
<rect x="2" y="5" width="4" height="5"/><rect x="12" y="2" width="4" height="8"/>
<rect x="22" y="7" width="4" height="3"/></svg>
""",
    "master/adapters.py": '''\
"""What the checks call. It only hands on to your own modules."""

from weights import mean_by_weights, soft_maximum


def softmax(x):
    """x (N, M) -> (N, M), every row sums to 1."""
    return soft_maximum(x)


def weighted_mean(x, v):
    """x (N, M), v (M, D) -> (N, D): means of the rows of v by softmax(x)."""
    return mean_by_weights(x, v)
''',
    "master/weights.py": '''\
"""Weights of sums."""

import numpy as np


def soft_maximum(x):
    """The weights of every row."""
    # BEGIN SOLUTION q1
    # taking off the largest keeps the exponential finite
    shifted = x - np.max(x, axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
    # END SOLUTION


def mean_by_weights(x, v):
    """The means of the rows of v."""
    # BEGIN SOLUTION q2
    weights_of_rows = soft_maximum(x)
    return weights_of_rows @ v
    # END SOLUTION
''',
    "oracle.py": '''\
"""The reference, by minivit's ops."""

from minivit import ops


def softmax(x):
    return ops.softmax(x)[0]


def weighted_mean(x, v):
    return ops.softmax(x)[0] @ v
''',
    "visible.py": '''\
"""Checks that students have."""

import numpy as np


def q1_v_rows(t):
    """Two rows of three entries."""
    t.agree("softmax", t.rng.normal(size=(2, 3)))


def q1_v_sums(t):
    """Every row sums to 1."""
    got = np.asarray(t.call("softmax", t.rng.normal(size=(2, 2))))
    t.require(abs(got.sum(axis=1) - 1).max() < 1e-12, "the rows of softmax do not sum to 1", got)


def q2_v_small(t):
    """Two rows, three weights."""
    t.agree("weighted_mean", t.rng.normal(size=(2, 3)), t.rng.normal(size=(3, 2)))
''',
    "hidden.py": '''\
"""Checks that students do not have."""

import numpy as np


def q1_h_shapes(t):
    for rows, columns in ((1, 4), (3, 3), (int(t.rng.integers(2, 5)), 6)):
        t.agree("softmax", t.rng.normal(size=(rows, columns)))


def q1_h_large(t):
    with np.errstate(all="ignore"):
        t.agree("softmax", t.rng.uniform(750, 1000, size=(2, 5)))


def q2_h_shapes(t):
    for rows, columns, width in ((2, 3, 4), (3, 3, 3), (int(t.rng.integers(4, 7)), 2, 1)):
        t.agree("weighted_mean", t.rng.normal(size=(rows, columns)), t.rng.normal(size=(columns, width)))
''',
    "wrong.toml": """\
[[wrong]]
name = "columns"
question = "q1"
misconception = "the weights are made down the columns"
hint = "Which entries have to sum to 1: those of a row, or those of a column?"
file = "weights.py"
old = '''exponentials.sum(axis=-1, keepdims=True)'''
new = '''exponentials.sum(axis=0, keepdims=True)'''

[[wrong]]
name = "overflows"
question = "q1"
misconception = "large entries overflow"
hint = "What is the exponential of 1000 in float64?"
file = "weights.py"
old = '''    shifted = x - np.max(x, axis=-1, keepdims=True)'''
new = '''    shifted = x'''

[[wrong]]
name = "of_columns_of_v"
question = "q2"
misconception = "the weights are not used"
hint = "Do all rows of v count the same?"
file = "weights.py"
old = '''return weights_of_rows @ v'''
new = '''return np.full_like(weights_of_rows, 1 / weights_of_rows.shape[1]) @ v'''

[[wrong]]
name = "in_place"
question = "q2"
misconception = "the argument is changed"
hint = "Whose array is x?"
file = "weights.py"
old = '''    weights_of_rows = soft_maximum(x)'''
new = '''    weights_of_rows = soft_maximum(x)
    x -= 1'''
""",
    "right/loops.py": '''\
"""Row by row."""

import math

import numpy as np


def softmax(x):
    rows = []
    for row in x.tolist():
        top = max(row)
        parts = [math.exp(entry - top) for entry in row]
        rows.append([part / sum(parts) for part in parts])
    return np.asfortranarray(rows)


def weighted_mean(x, v):
    return np.einsum("nm,md->nd", softmax(x), v)
''',
    "rubric.md": "# Rubric of w1\n\nA common factor of numerator and denominator cancels: 10 points.\n",
}

T2 = {
    "assignment.toml": """\
id = "t2"
title = "Sharper weights"
hours = 1
cpu_seconds = 5
memory_mib = 2048
given = ["t1"]
submit = ["*.py", "answers.md"]
imports = "NumPy, the standard library, your own files and given"

[[questions]]
id = "q1"
points = 90
title = "A temperature"
adapters = ["sharper"]
""",
    "handout.md": "# Sharper weights\n\n**q1.** `sharper(x, temperature)`: softmax of x divided by the temperature.\n",
    "master/adapters.py": '''\
"""What the checks call."""

from given import softmax


def sharper(x, temperature):
    """x (N, M), a number -> (N, M)."""
    # BEGIN SOLUTION q1
    cooled = x / temperature
    return softmax(cooled)
    # END SOLUTION
''',
    "oracle.py": '''\
"""The reference."""

from minivit import ops


def sharper(x, temperature):
    return ops.softmax(x / temperature)[0]
''',
    "visible.py": '''\
def q1_v_two(t):
    """Temperature 2."""
    t.agree("sharper", t.rng.normal(size=(2, 3)), 2.0)
''',
    "hidden.py": """\
def q1_h_other(t):
    t.agree("sharper", t.rng.normal(size=(3, 4)), float(t.rng.uniform(0.1, 0.9)))
""",
    "wrong.toml": """\
[[wrong]]
name = "times"
question = "q1"
misconception = "multiplied by the temperature"
hint = "Is something hot sharper, or something cold?"
file = "adapters.py"
old = '''x / temperature'''
new = '''x * temperature'''
""",
    "right/one_line.py": '''\
"""In one line."""

import given


def sharper(x, temperature):
    return given.softmax(x * (1 / temperature))
''',
    "rubric.md": "# Rubric\n\nNo written questions.\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    """The folder with these files in it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return folder


def toy_assignments(root: Path) -> Path:
    """A folder of assignments with t1_weights and t2_sharper."""
    write(root / "t1_weights", T1)
    write(root / "t2_sharper", T2)
    return root
