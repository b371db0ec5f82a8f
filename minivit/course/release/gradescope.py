"""An autograder for Gradescope: the zip to upload, and the program that runs in its container.

`python -m minivit.course.release.gradescope` grades /autograder/submission and writes /autograder/results/results.json.
It writes after the last process of the student has ended, and replaces whatever lies there. The zip holds the key and
the answers: it is for staff. If the reference does not reach all points in the container, there are no results, and
Gradescope reports a failure of the autograder instead of giving a zero.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import minivit
from minivit.course.assignment import Assignment, CourseError, assignments
from minivit.course.grading import grade, scores, shares
from minivit.course.release.given import masters
from minivit.course.student.packing import chosen
from minivit.errors import MinivitError

__all__ = ["autograder_files", "main", "results"]

VISIBILITIES = ("visible", "after_due_date", "after_published", "hidden")
NEEDED = ("numpy", "safetensors", "pillow", "tqdm", "threadpoolctl", "matplotlib")  # what minivit is installed with

SETUP = """\
#!/bin/sh
# Runs once, when Gradescope builds the image. minivit needs Python 3.11 or later.
set -e
apt-get update
for version in 3.13 3.12 3.11; do
    if command -v "python$version" >/dev/null || apt-get install -y "python$version" "python$version-venv"; then
        python="python$version"
        break
    fi
done
"$python" -m venv /autograder/venv
/autograder/venv/bin/python -m pip install {pinned}
"""

RUN = """\
#!/bin/sh
# Runs for each submission.
root="${MINIVIT_AUTOGRADER:-/autograder}"
python="${MINIVIT_PYTHON:-$root/venv/bin/python}"
cd "$root/source" && exec "$python" -m minivit.course.release.gradescope
"""

STAFF = """\
For staff alone: this zip holds the key of the course and all answers.
Upload it under "Configure Autograder", with Ubuntu 22.04 or later.
Hidden checks show "{hidden}" (settings.json, "hidden": one of {visibilities}).
Written questions are graded by hand: add them as questions of their own.
"""


def _package() -> dict[str, bytes]:
    """The sources of minivit, Python files alone."""
    root = Path(minivit.__file__).parent
    paths = sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts and not path.is_symlink())
    return {f"minivit/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}


def _folder(assignment: Assignment) -> dict[str, bytes]:
    """What grading reads of an assignment's folder."""
    patterns = ("assignment.toml", "visible.py", "hidden.py", "oracle.py", "wrong.toml", "master/*.py", "right/*.py")
    paths = sorted(path for pattern in patterns for path in assignment.folder.glob(pattern))
    name = assignment.folder.name
    return {f"assignments/{name}/{path.relative_to(assignment.folder).as_posix()}": path.read_bytes() for path in paths}


def autograder_files(
    assignment: Assignment, key: bytes, base: str = "reference", hidden: str = "after_due_date"
) -> dict[str, bytes]:
    """The files of the zip.   hidden: when students see the hidden checks, one of VISIBILITIES."""
    from importlib.metadata import version

    if hidden not in VISIBILITIES:
        raise CourseError(f'there is no visibility "{hidden}"; there are {", ".join(VISIBILITIES)}')
    files = {**_package(), **_folder(assignment), "course_key": key}
    for earlier in masters(assignment).values():
        files.update(_folder(earlier))
    settings = {"assignment": assignment.folder.name, "base": base, "hidden": hidden}
    pinned = " ".join(f"{name}=={version(name)}" for name in NEEDED)
    texts = {
        "setup.sh": SETUP.format(pinned=pinned),
        "run_autograder": RUN,
        "settings.json": json.dumps(settings, indent=1) + "\n",
        "FOR_STAFF.txt": STAFF.format(hidden=hidden, visibilities=", ".join(VISIBILITIES)),
    }
    files.update({name: text.encode() for name, text in texts.items()})
    return files


def submitted(assignment: Assignment, folder: Path, base: str) -> dict[str, bytes]:
    """The graded part of a submission: files that match `submit`, with folders of modules that they import, beside the
    topmost adapters.py."""
    found = sorted(folder.rglob("adapters.py"), key=lambda path: (len(path.parts), path))
    top = found[0].parent if found else folder
    patterns = [*assignment.about["submit"], *(["earlier/*/*.py"] if base == "own" else [])]
    paths = chosen(top, {"submit": patterns, "released": ["given.py"]})
    own = [path for path in paths if path.resolve() == top.resolve() / path.relative_to(top)]  # no links
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in own}


def results(assignment: Assignment, graded: Mapping[str, Any], hidden: str) -> dict[str, Any]:
    """The result of `grade` in Gradescope's form: one test for each check that counts."""
    tests = []
    for question in assignment.questions.values():
        row = graded["questions"][question.id]
        checks = [check for check in assignment.checks if check.question == question.id]
        points, reached = shares(question, checks), scores(question, checks, row)
        for name, said in row["checks"].items():
            printed = graded.get("output", {}).get(f"{question.id}.{name}")
            tests.append(
                {
                    "name": f"{question.id} {name.partition('_')[2]}: {question.title}",
                    "score": round(reached[name], 4),
                    "max_score": round(points[name], 4),
                    "output": "\n\n".join([said, *([f"It printed:\n{printed}"] if printed else [])]),
                    "visibility": hidden if name.startswith("h_") else "visible",
                }
            )
    stopped = [f"No check could run: {graded['unloaded']}."] if graded.get("unloaded") else []
    return {
        "tests": tests,
        "output": "\n".join([*stopped, *graded.get("notes", [])]),
        "visibility": "visible",
        "stdout_visibility": "hidden",
    }


def _student(root: Path) -> str:
    """Who handed in: what the draws of the checks depend on. The same for each attempt."""
    try:
        about = json.loads((root / "submission_metadata.json").read_text(encoding="utf-8"))
        return "+".join(sorted(str(user.get("email") or user["id"]) for user in about["users"])) or "nobody"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "nobody"


def main() -> int:
    """Grade $MINIVIT_AUTOGRADER/submission; 0 if there are results."""
    root = Path(os.environ.get("MINIVIT_AUTOGRADER", "/autograder"))
    source, target = root / "source", root / "results" / "results.json"
    try:
        settings = json.loads((source / "settings.json").read_text(encoding="utf-8"))
        assignment = assignments(source / "assignments")[settings["assignment"]]
        key = (source / "course_key").read_bytes()
        if root == Path("/autograder"):  # a container that is thrown away: the student's code shall find nothing
            (source / "course_key").unlink()
        files = submitted(assignment, root / "submission", settings["base"])
        graded = grade(assignment, files, _student(root), key, base=settings["base"])
        if "adapters.py" not in files:
            graded["unloaded"] = "there is no adapters.py. Hand in the zip that python check.py pack makes"
    except (MinivitError, OSError, ValueError, KeyError) as error:
        print(f"No results: {error}", file=sys.stderr)  # noqa: T201 - staff see it, in Gradescope's log
        return 1
    text = json.dumps(results(assignment, graded, settings["hidden"]), indent=1)
    shutil.rmtree(target, ignore_errors=True)  # if somebody has made a folder of it
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
