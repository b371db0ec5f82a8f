"""A table of the page: rows with names, so that a sentence can take a figure from it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FIGURE = re.compile(r"\{([^|{}]+)\|([^|{}]+)\|([^|{}]+)\}")  # {table|row|column}


@dataclass(frozen=True)
class Table:
    """name: one word, the first part of the name of a row.   kind: "computed", "small" or "quoted".   title: its
    heading.   about: what stands above it, what stands below is `after`.   columns: heads of the cells.   rows: the
    cells, as they are printed, by the name of the row.   command: of the experiment, of a "small" one."""

    name: str
    kind: str
    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[str]]
    about: str = ""
    after: str = ""
    command: str = ""

    def cell(self, row: str, column: str) -> str:
        """A figure. Raises KeyError or ValueError if there is none."""
        return self.rows[row][list(self.columns).index(column)]

    def markdown(self) -> str:
        """The table alone."""
        lines = [["", *self.columns], ["---"] * (1 + len(self.columns))]
        lines += [[name, *cells] for name, cells in self.rows.items()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(text: str, tables: Mapping[str, Table]) -> str:
    """The text with the figures that it asks for. Raises KeyError or ValueError for a figure that is in no table."""
    return FIGURE.sub(lambda match: tables[match[1]].cell(match[2], match[3]), text)


def rows_of(text: str) -> list[tuple[str, str]]:
    """The (table, row) of the figures that a text asks for, each once."""
    return list(dict.fromkeys((match[1], match[2]) for match in FIGURE.finditer(text)))
