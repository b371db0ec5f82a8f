"""The texts of a student zip and of an instructor zip that are not in an assignment's folder."""

from minivit.course.assignment import Assignment, Question
from minivit.course.release.given import exported
from minivit.course.student.packing import STATEMENT

__all__ = ["CHECK", "TEST_VISIBLE", "WHERE", "answers", "grading_notes", "readme"]

# Even a Python that cannot read the rest shall say what it lacks, so this is written in the language of Python 2.
CHECK = '''\
"""The visible checks: python check.py --help"""

import os
import sys

here, path = os.path.realpath(os.path.dirname(__file__)), list(sys.path)

if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or later is needed, and this is %d.%d." % sys.version_info[:2])
try:  # without this folder on the path: a random.py of yours shall not be taken for Python's
    sys.path[:] = [place for place in path if os.path.realpath(place) != here]
    import argparse, ast, hashlib, importlib, json, shutil, subprocess, tempfile, traceback, zipfile, numpy
except ImportError:
    for own in (os.path.join(".venv", "bin", "python"), os.path.join(".venv", "Scripts", "python.exe")):
        if os.path.exists(os.path.join(here, own)):
            sys.exit("NumPy is missing in %s. Or did you mean %s check.py?" % (sys.executable, own))
    sys.exit("NumPy is missing. Install it with: %s -m pip install numpy" % sys.executable)
if tuple(map(int, numpy.__version__.split(".")[:2])) < (1, 22):
    sys.exit("NumPy 1.22 or later is needed, and this is %s." % numpy.__version__)

sys.path[:] = [here] + path
try:
    from _course import check
except Exception:
    sys.exit("The folder _course is missing or damaged: unpack the zip again.")

if __name__ == "__main__":
    sys.exit(check.main())
'''

TEST_VISIBLE = '''\
"""The visible checks for pytest, with the words of check.py: python -m pytest

For a debugger write breakpoint() into your code and run `python -m pytest -s -k q1`, or add --pdb to stop where your
code raises an exception.
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
try:
    from _course import check as course  # noqa: E402
except Exception:
    pytest.fail("The folder _course is missing or damaged: unpack the zip again.", pytrace=False)
if course.broken():
    pytest.fail(course.broken(), pytrace=False)


@pytest.mark.parametrize(("question", "check"), course.names(), ids=map("-".join, course.names()))
def test_visible(question, check, request):
    kind, said = course.outcome(question, check, request.config.getoption("usepdb"))
    if kind == "unsaid":
        pytest.skip(said)
    if kind in ("wrong", "open"):
        pytest.fail(said, pytrace=False)
'''

README = """\
# {title}

About {hours} of work. Read `handout.md` first{policy}.

## Set up, once

```
python3 -m venv .venv
.venv/bin/python -m pip install "numpy>=1.22" pytest
```

On Windows write `py -m venv .venv`, and `.venv\\Scripts\\python` in place of `.venv/bin/python`. Python must be 3.9
or later. Nothing else is needed. Below, `python` is that of `.venv`.

## Work

Write your answers in the place of each `raise NotImplementedError(...)`. The files are a suggestion: the checks call
only what is in `adapters.py`. Behind it you may arrange your code as you like, in files beside `check.py`. The text
below each adapter is its contract.

```
python check.py          all questions
python check.py q1 q2    these questions
python check.py --list   what there is
python -m pytest -k q1   the same checks in pytest
```

For a debugger, write `breakpoint()` where you want to stop and run `python -m pytest -s -k q1`; or add `--pdb`, which
stops where your code raises an exception.

{questions}

`python check.py` runs the visible checks only. They are in `_course/visible.py`, which you may read, and give 4/9 of a
question's points. Hidden checks, with other shapes and values, give the other 5/9, so try your functions on cases of
your own. The grader runs the visible checks with other numbers, too.{bugs}

You may import {imports}.
{given}
## Hand in

```
python check.py pack
```

makes `submission-{id}.zip` of {submit} in this folder, with folders of modules that they import, and says what it left
out. Hand in that file.{written}
"""

GIVEN = {
    "reference": """
`from given import ...` gives you the adapters of earlier assignments, as the staff solved them:
{names}.
You may use them or your own.
""",
    "own": """
`from given import ...` gives you the adapters of your own earlier assignments:
{names}.
Put the files that you handed in then, unpacked, into {folders}. They keep their names; those of
one assignment do not see those of another. They are packed with what you hand in.
""",
}

GRADING = """\
# How to grade {title}

For staff: this folder holds the answers. It does not hold the key of the course.

- `student/` is what students get. `master/` is the solution; the regions between its markers are what students write.
- `rubric.md` is for the written questions, {written}.
- `wrong.toml` lists the known mistakes, with the hint that a student reads when one of them is recognised.

With a clone of minivit, and the submissions in a folder as your course system exports them:

```
python -m minivit.course grade {name} SUBMISSIONS --key KEY --out RESULTS
```

`RESULTS` then holds `grades.csv`, a page for each student in `feedback/`, and `overview.html`. If the command is
stopped, start it again: it goes on. The key has to be the one of the release. The submissions are programs of
strangers; run the command in a container.
"""


BUGS = "The visible checks of {} give no points: hidden checks alone grade it."


def _without_points(assignment: Assignment, question: Question) -> bool:
    checks = [check for check in assignment.checks if check.question == question.id and not check.hidden]
    return all(check.name in question.unpaid for check in checks)


def _inside(sentence: str) -> str:
    """Words that begin a sentence, in the middle of one."""
    first, _, rest = sentence.partition(" ")
    return f"{first.lower() if first in ('A', 'The', 'Your', 'Only', 'All') else first} {rest}".strip()


def readme(assignment: Assignment, base: str, policy: bool) -> str:
    """README.md of the student zip."""
    about, names = assignment.about, exported(assignment)
    unpaid = [q.id for q in assignment.questions.values() if _without_points(assignment, q)]
    rows = "\n".join(f"| {q.id} | {q.title} | {q.points:g} |" for q in assignment.questions.values())
    rows += "".join(
        f"\n| {row['id']} | {row['title']} (written) | {row['points']:g} |" for row in about.get("written", [])
    )
    earlier = ", ".join(f"`earlier/{name}/`" for name in dict.fromkeys(names.values()))
    listed = ", ".join(f"`{name}`" for name in names)
    return README.format(
        id=about["id"],
        title=f"{about['id'].upper()}. {about['title']}",
        hours=f"{about['hours']:g} hour{'s' * (about['hours'] != 1)}",
        policy=", and `ai_policy.md`" if policy else "",
        questions=f"| | question | points |\n|---|---|---|\n{rows}",
        imports=_inside(about["imports"].rstrip(".")),
        bugs=f"\n{BUGS.format(', '.join(unpaid))}" if unpaid else "",
        given=GIVEN[base].format(names=listed, folders=earlier) if names else "",
        submit=" and ".join(f"`{pattern}`" for pattern in about["submit"]),
        written=" Write your answers to the written questions into `answers.md`." if about.get("written") else "",
    )


WHERE = "The questions are at the end of handout.md."  # the first words of answers.md


def answers(assignment: Assignment) -> str:
    """answers.md, with a place for each written question and for the statement that ai_policy.md asks for."""
    parts = [
        f"## {row['id']}. {row['title']} ({row['points']:g} points)\n\n\n"
        for row in assignment.about.get("written", [])
    ]
    parts.append(f"## {STATEMENT}\n\n<!-- Which did you use, and for what? One or two sentences; none is fine. -->\n\n")
    return f"# {assignment.about['title']}: written questions\n\n{WHERE}\n\n" + "\n".join(parts)


def grading_notes(assignment: Assignment) -> str:
    """GRADING.md of the instructor zip."""
    written = (
        ", ".join(f"{row['id']} ({row['points']:g} points)" for row in assignment.about.get("written", []))
        or "of which there are none"
    )
    title = f"{assignment.id.upper()}. {assignment.about['title']}"
    return GRADING.format(title=title, name=assignment.folder.name, written=written)
