"""The commands of `python -m minivit.course`, except `grade` and `gate`, which have their own files."""

from collections.abc import Sequence
from typing import Any

from minivit import cli
from minivit.course import catalogue
from minivit.course.assignment import ROOT
from minivit.errors import quoted

__all__ = ["command_of", "list_assignments", "new", "release"]

RELEASES = """examples:
  python -m minivit.course release a3 --key course.key --out handed-out
  python -m minivit.course release a3 --key course.key --out handed-out --only gradescope"""
NEWS = """examples:
  python -m minivit.course new b1_convolution --title "Convolution by hand"
  python -m minivit.course new b1_convolution --in my-assignments"""


def list_assignments(argv: Sequence[str]) -> int:
    """Print the assignments."""
    options = catalogue.parser("list", "[options]", description="The assignments that there are.").parse_args(argv)
    for folder, one in catalogue.known_in(options.assignments).items():
        points = f"{sum(question.points for question in one.questions.values()):g}"
        by_hand = sum(row["points"] for row in one.about.get("written", []))
        written = f" + {by_hand:g} by hand" if by_hand else ""
        print(f"{one.id:8} {one.about.get('title', '')}")
        hours = one.about.get("hours", "?")
        print(f"{'':8} {folder}; {hours} h; {len(one.questions)} questions, {points} points{written}")
    return 0


def release(argv: Sequence[str]) -> int:
    """Make the files to hand out."""
    from minivit.course.release.build import KINDS
    from minivit.course.release.build import release as make

    made = catalogue.parser(
        "release",
        "ASSIGNMENT --key FILE --out DIR [options]",
        description="Make the zips for students, staff and Gradescope, and the notebook for nbgrader.\n"
        "Each is tried and looked through for answers before it is written.",
        epilog=RELEASES,
    )
    made.add_argument(
        "assignment", metavar="ASSIGNMENT", help="a3, a3_attention, or its folder; a7 for all its variants"
    )
    made.add_argument(
        "--key", type=cli.path, required=True, metavar="FILE", help="the course's key; made if it is missing"
    )
    made.add_argument("--out", type=cli.path, required=True, metavar="DIR", help="where the zips go")
    help_of = "contents of `given` from earlier assignments (default: the reference)"
    made.add_argument("--base", choices=("reference", "own"), default="reference", help=help_of)
    made.add_argument("--only", action="append", choices=KINDS, help="make only this; may be repeated")
    options = made.parse_args(argv)
    for one in catalogue.named(options.assignment, options.assignments):
        for line in make(one, options.key, options.out, options.base, options.only or ()):
            print(line, flush=True)
    return 0


def new(argv: Sequence[str]) -> int:
    """Start an assignment."""
    made = catalogue.parser(
        "new",
        "NAME [options]",
        description="Make the skeleton of an assignment: a question that works, checks, a wrong solution.",
        epilog=NEWS,
    )
    made.add_argument(
        "name", metavar="NAME", help="name of the folder, such as b1_convolution; the part before _ is the id"
    )
    made.add_argument("--title", help="its title (default: made from the name)")
    made.add_argument(
        "--in", dest="place", type=cli.path, metavar="DIR", help="where (default: the folder of the assignments)"
    )
    options = made.parse_args(argv)
    from minivit.course.release.new import new as make

    root = options.place or options.assignments
    folder = make(options.name, options.title or "", root)
    more = "" if root == ROOT else f" --assignments {quoted(root)}"
    print(f"{folder}\nNow: {cli.called('course')} gate {options.name}{more}")
    return 0


def command_of(name: str) -> Any:
    """The function of a command, with its arguments; it returns the exit status."""
    if name == "grade":
        from minivit.course.grade_command import grade

        return grade
    if name == "gate":
        from minivit.course.gate_command import gate

        return gate
    return {"list": list_assignments, "release": release, "new": new}[name]
