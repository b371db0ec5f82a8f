"""A skeleton of an assignment: one working question, a check of each kind, a wrong solution.

It passes the gate at once.
"""

import re
from pathlib import Path

from minivit.course.assignment import ROOT, CourseError, assignments
from minivit.errors import quoted

__all__ = ["new"]

FILES = {
    "assignment.toml": """\
id = "{id}"
title = "{title}"
hours = 2
cpu_seconds = 60            # what the reference may take for all checks
memory_mib = 2048
given = []                  # earlier assignments whose adapters students get: ["a1", "a2"]
submit = ["*.py", "answers.md"]
imports = "the standard library, NumPy and your own files"

[[questions]]
id = "q1"
points = 90
title = "Rows of mean 0"
adapters = ["centred"]      # what the checks of this question call
after = []                  # questions that a right answer needs

[[written]]
id = "w1"
points = 10
title = "What is lost"
""",
    "handout.md": """\
# {title}

Why this matters, in a paragraph.

| symbol | shape | meaning |
|---|---|---|
| x | (N, D) | N rows of D features |

## q1. Rows of mean 0

`centred(x)` takes the mean of each row off: $y_{{nd}} = x_{{nd}} - \\frac1D \\sum_e x_{{ne}}$.
It returns (N, D), and leaves x as it is.

**By hand:** the row (1, 2, 6) becomes (-2, -1, 3).

**Hint.** Along which axis are the features of one row?

## w1. What is lost

In at most five lines: which inputs can no longer be told apart after this?
""",
    "master/adapters.py": '''\
"""What the checks call. It only hands on to your own modules."""

from rows import without_mean


def centred(x):
    """q1. x (N, D) float64 -> (N, D): every row without its mean. x is not changed."""
    return without_mean(x)
''',
    "master/rows.py": '''\
"""Rows and their means."""

import numpy as np


def without_mean(x):
    """Every row without its mean."""
    # BEGIN SOLUTION q1
    means = np.mean(x, axis=1, keepdims=True)
    return x - means
    # END SOLUTION
''',
    "oracle.py": '''\
"""The reference, by other means than the master solution: minivit's own functions. Students never have it."""

from minivit import ops


def centred(x):
    return x - ops.mean(x, axis=-1, keepdims=True)[0]
''',
    "visible.py": '''\
"""The checks that students have, named qN_v_name. They import NumPy alone and draw from t.rng."""


def q1_v_small(t):
    """Two rows of three."""
    t.agree("centred", t.rng.normal(size=(2, 3)))
''',
    "hidden.py": '''\
"""The checks that students do not have, named qN_h_name. Each meets its requirements by design, not by luck."""

import numpy as np


def q1_h_shapes(t):
    # a single row, a square (where a wrong axis gives no error of shape), all lengths different
    for rows, width in ((1, 5), (4, 4), (int(t.rng.integers(2, 5)), 7)):
        t.agree("centred", t.rng.normal(size=(rows, width)))


def q1_h_mean(t):
    got = np.asarray(t.call("centred", 100 + t.rng.normal(size=(3, 4))))  # a list of lists is as good
    t.require(abs(got.mean(axis=1)).max() < 1e-12, "the rows of centred do not have mean 0", got)
''',
    "wrong.toml": """\
# Mistakes that students make. Each is an edit of the master solution at one place. It has to lose its question, and
# nothing else.

[[wrong]]
name = "columns"
question = "q1"
misconception = "the mean of each column is taken off"
hint = "Which entries are averaged: those of one row, or those of one feature?"
file = "rows.py"
old = '''np.mean(x, axis=1, keepdims=True)'''
new = '''np.mean(x, axis=0, keepdims=True)'''
""",
    "right/loops.py": '''\
"""Another right solution, in another style: it shows that the checks ask for no more than the handout says."""


def centred(x):
    rows = []
    for row in x.tolist():
        mean = sum(row) / len(row)
        rows.append([entry - mean for entry in row])
    return rows
''',
    "rubric.md": """\
# {title}: how the written question is graded

## w1. What is lost (10 points)

- 6 points: rows that differ by a constant become the same.
- 4 points: an example with numbers.

**Model answer.** (1, 2, 6) and (11, 12, 16) both become (-2, -1, 3): a constant added to a row is lost.

**For calibration.** "The mean is lost." 4 points: true, but it does not say what cannot be told apart.
""",
}


def new(name: str, title: str = "", root: Path = ROOT) -> Path:
    """Make the folder `name` in `root` with a small assignment in it, and return it.

    A missing root is made, unless it is the clone's. Raises CourseError for an invalid or taken name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise CourseError(
            f'"{name}" is not a name for an assignment; use small letters, digits and _, as in b1_rotations'
        )
    if not root.is_dir() and (root == ROOT or root.exists()):
        raise CourseError(
            f"there is no folder {quoted(root)}; run this in a clone of minivit, or name a folder of your own with --in"
        )
    number, _, rest = name.partition("_")
    taken = {other.id for other in assignments(root).values()}
    if (root / name).exists() or number in taken:
        raise CourseError(f"there is an assignment {number} already in {quoted(root)}; take another name")
    words = {"id": number, "title": title.replace('"', "'") or (rest or number).replace("_", " ").capitalize()}
    for file, text in FILES.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        filled = text.format(**words) if file.endswith((".md", "assignment.toml")) else text
        path.write_text(filled, encoding="utf-8", newline="\n")
    return root / name
