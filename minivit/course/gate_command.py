"""`python -m minivit.course gate`: every wrong solution through all checks, and the resulting page."""

import re
from collections.abc import Iterable, Mapping, Sequence

from minivit import cli
from minivit.course import catalogue
from minivit.course.assignment import ROOT, Assignment, CourseError, assignments
from minivit.course.classroom import gradebook
from minivit.course.gate import gate as rows_of
from minivit.course.gate import markdown, table

__all__ = ["gate", "page_of", "sections"]

PAGE = ROOT.parents[1] / "docs" / "course" / "matrices.md"
EXAMPLES = """examples:
  python -m minivit.course gate a3
  python -m minivit.course gate --all --write"""
HEAD = """\
# Kill matrices

Every known wrong solution of every assignment, and the checks that catch it: {count} in {many} assignments. Each is
the master solution with one edit, and goes through the grader as a submission does.
`python -m minivit.course gate --all --write` makes this page, and a test holds it to the lists.

In the columns of the questions stands how many of the question's checks a solution fails; the question that it has to
lose is in bold. "Visible" says whether a check that students have notices it: where none does, students have to test
for themselves. "Hint" says whether the student reads the hint that was written for this mistake.

"""


def gate(argv: Sequence[str]) -> int:
    """Check assignments against their lists of wrong solutions; 1 if one survives."""
    made = catalogue.parser(
        "gate",
        "ASSIGNMENT... | --all [options]",
        description="Run the reference (100), the stub (0), right solutions (100) and wrong ones through all checks.\n"
        "A wrong solution has to lose its question, and nothing that it should not lose.",
        epilog=EXAMPLES,
    )
    made.add_argument("names", nargs="*", metavar="ASSIGNMENT", help="a3, a3_attention, or its folder")
    made.add_argument("--all", action="store_true", help="all assignments")
    made.add_argument(
        "--jobs", type=cli.positive, default=2, metavar="N", help="solutions at the same time (default: 2)"
    )
    made.add_argument("--write", action="store_true", help="write the result to docs/course/matrices.md")
    options = made.parse_args(argv)
    if options.all == bool(options.names):
        made.error("which assignment? or --all" if not options.names else "--all, or some assignments")
    known = list((catalogue.known_in if options.all else assignments)(options.assignments).values())
    chosen = [one for name in options.names for one in catalogue.named(name, options.assignments)] or known
    if options.write and not PAGE.exists():
        raise CourseError(f"there is no {PAGE}: --write is for a clone of minivit")
    made_now, bad = {}, 0
    for one in chosen:
        print(f"{one.id}: {len(one.wrongs)} wrong solutions, {len(one.rights) + 1} right ones, the stub", flush=True)
        rows = rows_of(one, jobs=options.jobs)
        print(table(one, rows), flush=True)
        bad += sum(bool(row.fault) for row in rows)
        made_now[one.id] = markdown(one, rows)
    if bad:
        print(f"BAD: {bad} of the lines above{': the page is left as it is' if options.write else ''}")
    elif options.write:
        old = {} if options.all else sections(PAGE.read_text(encoding="utf-8"))
        gradebook.save(PAGE, page_of({**old, **made_now}, chosen if options.all else known).encode("utf-8"))
        print(PAGE)
    return int(bad > 0)


def sections(page: str) -> dict[str, str]:
    """The sections of the page: id of the assignment -> text."""
    parts = re.split(r"^(?=## )", page, flags=re.M)[1:]
    return {part[3:].partition(".")[0].lower(): f"{part.rstrip()}\n" for part in parts}


def page_of(made: Mapping[str, str], known: Iterable[Assignment]) -> str:
    """The page, its sections in the order of the assignments."""
    ordered = [made[one.id].rstrip() for one in known if one.id in made]
    count = sum(len(re.findall(r"^\| `", text, flags=re.M)) for text in ordered)
    return HEAD.format(count=count, many=len(ordered)) + "\n\n".join(ordered) + "\n"
