"""Computes the numbers of docs/numbers.md: `python docs/vit_numbers.py` prints them, with the names of tables only
these, and `--write` writes the page.

The tables and sentences are in number_tables/. Parameters, tokens and multiply-adds are counted, the results of small
experiments are read from notebooks/results, and the paper's figures are those of its tables.
"""

import functools
import sys
from pathlib import Path

from equation_map import slug
from number_tables.claims import ABSENT, AGREES, CONTRADICTED, DISAGREES, Claim
from number_tables.counted import counted
from number_tables.paper import PAPER
from number_tables.small import small
from number_tables.table import Table, filled, rows_of

PAGE = Path(__file__).parent / "numbers.md"

HEAD = """\
<!-- Made by `python docs/vit_numbers.py --write` from docs/number_tables. Change these, not this page. -->

# Numbers

The numbers that are told about the Vision Transformer, each with where it comes from:

- **computed**: by minivit, or by arithmetic on the paper's tables. `python docs/vit_numbers.py` prints all of them,
  `python docs/vit_numbers.py sizes` those of the table `sizes`. A test compares this page with what is printed.
- **in small**: an experiment of the notebooks asks the same question with small models, and its results are stored.
  ± is the standard error over the runs. "?" means that the 95 % interval contains 0, so the sign is not decided.
  Small models need not behave like large ones.
- **quoted**: from a table or section of [the paper](https://arxiv.org/abs/2010.11929v2), in its second version.
  Accuracies are in percent.

Names of figures in the last column are those of the tables below: `sizes: B/16` is the row B/16 of the table `sizes`.
"""

GROUPS = (
    (
        "Told, but the paper contradicts it",
        "Such figures stand in popular retellings. The first column repeats them: use none of its numbers.",
        CONTRADICTED,
    ),
    ("Told, but not in the paper", "We searched the whole text of the second version.", ABSENT),
    ("Told, and it holds", "", AGREES),
    ("Where the paper disagrees with itself", "", DISAGREES),
)
PARTS = {
    "computed": ("Computed", ""),
    "small": ("In small", ""),
    "quoted": ("Quoted", "The paper's tables as printed."),
}


@functools.cache
def tables() -> dict[str, Table]:
    """All tables by name."""
    return {table.name: table for table in (*counted(), *small(), *PAPER)}


def where_from(claim: Claim) -> str:
    """How the figures of a claim are known, with the names of computed ones."""
    kinds = {"computed": [], "small": []}
    for table, row in rows_of(claim.here):
        kinds[tables()[table].kind].append(f"[`{table}: {row}`](#{slug(heading(tables()[table]))})")
    found = [claim.source]
    found += [f"{'in small' if kind == 'small' else kind} {', '.join(names)}" for kind, names in kinds.items() if names]
    return "; ".join(found)


def claims(group: tuple[Claim, ...]) -> str:
    """The claims as a table."""
    lines = ["| told | the paper | here | from |", "|---|---|---|---|"]
    for claim in group:
        cells = claim.told, filled(claim.paper, tables()), filled(claim.here, tables()), where_from(claim)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def heading(table: Table) -> str:
    """The words above a table."""
    return table.title if table.kind == "quoted" else f"{table.title}: `{table.name}`"


def section(table: Table) -> str:
    """A table with its heading."""
    command = f"Computed by `{table.command}`." if table.command else ""
    parts = (f"### {heading(table)}", table.about, table.markdown(), table.after, command)
    return "\n\n".join(part for part in parts if part)


def page() -> str:
    """The whole page."""
    parts = [HEAD.rstrip()]
    for title, about, group in GROUPS:
        parts += [f"## {title}", *([about] if about else []), claims(group)]
    for kind, (title, about) in PARTS.items():
        parts += [f"## {title}", *([about] if about else [])]
        parts += [section(table) for table in tables().values() if table.kind == kind]
    return "\n\n".join(parts) + "\n"


def printed(names: list[str]) -> str:
    """The computed tables, or those with these names."""
    chosen = [table for table in tables().values() if table.kind != "quoted"]
    unknown = set(names) - {table.name for table in chosen}
    if unknown:
        sys.exit(f"no table {', '.join(sorted(unknown))}; there are: {', '.join(table.name for table in chosen)}")
    return "\n\n".join(f"{t.name}\n{t.markdown()}" for t in chosen if t.name in names or not names) + "\n"


def main(arguments: list[str]) -> None:
    """The command."""
    if arguments == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    else:
        sys.stdout.write(printed(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
