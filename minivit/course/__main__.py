"""Course assignments: hand out, grade, and hold the graders to account.

python -m minivit.course list                                            the assignments
python -m minivit.course release a3 --key course.key --out handed        zips for students, staff, Gradescope, nbgrader
python -m minivit.course grade a3 submissions --key course.key --out graded   a class: grades, feedback, an overview
python -m minivit.course gate a3                                         every wrong solution through all checks
python -m minivit.course new b1_my_own --title "My own"                  the skeleton of an assignment
"""

import sys
from collections.abc import Sequence

from minivit import cli, terminal
from minivit.course import commands
from minivit.course.assignment import CourseError
from minivit.errors import MinivitError, meant, shown

COMMANDS = {
    "list": "list the assignments",
    "release": "zips for students and staff, for Gradescope and nbgrader",
    "grade": "grade a class: grades.csv, a page of feedback each, an overview",
    "gate": "run the reference, the stub and every wrong solution through all checks",
    "new": "start an assignment of your own",
}


def usage() -> str:
    """The list of commands."""
    door = cli.called("course")
    lines = [f"  {name:<9} {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {door} COMMAND [options]",
            "",
            "Course assignments with tested graders: every known wrong answer has to fail.",
            "",
            "commands:",
            *lines,
            "",
            f"{door} COMMAND --help lists the options of a command. docs/course.md says how to run a course.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    first, rest = (given[0], given[1:]) if given else ("--help", [])
    if first == "help":
        first, rest = (rest[0], ["--help"]) if rest else ("--help", [])
    if first in ("--help", "-h"):
        print(usage())
        return 0
    door = cli.called("course")
    if first not in COMMANDS:
        if first.startswith("-"):
            told = f"options come after the command: {door} grade {shown(first)} ..."
        else:
            told = f'there is no command "{shown(first)}"' + (
                meant(first.lower(), COMMANDS, 0.4) or f"; choose from {', '.join(COMMANDS)}"
            )
        terminal.say(f"{door}: error: {told} ({door} --help lists the commands)")
        return 2
    try:
        return commands.command_of(first)(rest) or 0
    except MinivitError as error:
        terminal.say(f"error: {error}")
        return 3 if isinstance(error, CourseError) and str(error).startswith("environment broken") else 2
    except KeyboardInterrupt as interrupt:
        terminal.say(f"error: {interrupt or 'interrupted'}")
        return 130


if __name__ == "__main__":
    cli.run_command(main)
