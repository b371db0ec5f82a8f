"""A class that has sent every kind of solution there is of an assignment: for measuring how long a grading takes.

python tests/helpers/many_submissions.py notebooks/assignments/a3_attention 200 DIR
python -m minivit.course grade a3 DIR --key KEY --out OUT
"""

import itertools
import sys
from pathlib import Path

from minivit.course.assignment import Assignment


def send(assignment: Assignment, count: int, folder: Path) -> None:
    """`count` submissions in `folder`: master, stub, right solutions and wrong ones, round and round, no two alike."""
    kinds = {"master": assignment.master, "stub": assignment.stub, **assignment.rights}
    kinds.update({name: assignment.wrong_files(name) for name in assignment.wrongs})
    for number, (kind, files) in zip(range(count), itertools.cycle(kinds.items())):
        place = folder / f"student{number:03} {kind}"
        place.mkdir(parents=True)
        for name, text in files.items():
            (place / name).write_text(f"{text}\n# {number}\n", encoding="utf-8")


if __name__ == "__main__":
    send(Assignment(Path(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3]))
