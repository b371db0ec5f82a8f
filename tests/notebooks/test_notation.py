"""Every table of symbols gives a reserved letter the meaning that docs/notation.md gives it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/notation.md"
READ = [*sorted((ROOT / "notebooks/source").glob("[0-9]*.py")), ROOT / "docs/equations.md"]
SYMBOL = re.compile(r"\$([^$]+)\$")


def tables(text: str) -> Iterator[list[list[str]]]:
    """The rows of each table whose first column is called "symbol", as cells."""
    lines = [re.sub(r"^# ?", "", line) for line in text.splitlines()] + [""]
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            if rows[0][0] == "symbol":
                yield rows[2:]
            rows = []


def plain(symbol: str) -> str:
    """A symbol without its spaces, its running index, and the braces and fonts that change no meaning."""
    symbol = re.sub(r"\\(?:text|mathrm|operatorname)\s*\{(\w+)\}", r"\1", symbol.replace("\\,", "").replace("\\!", ""))
    symbol = re.sub(r"[{}\s]", "", symbol)
    return re.sub(r"_t$", "", symbol)


def symbols(cell: str) -> list[str]:
    """The symbols of a cell: $a, b$ are two, and $a$, $b$ too; what follows an = explains the symbol before it."""
    return [plain(part.split("=")[0]) for formula in SYMBOL.findall(cell) for part in formula.split(",")]


def reserved() -> dict[str, str]:
    """Symbol -> its meaning; those of one row share it."""
    found = {}
    for rows in tables(PAGE.read_text(encoding="utf-8")):
        for row in rows:
            found |= dict.fromkeys(symbols(row[0]), row[1])
    return found


def words(text: str) -> str:
    """A meaning in small letters, without links and repeated spaces."""
    return re.sub(r"\s+", " ", re.sub(r"\[(\d\w*)\]\([^)]*\)", r"\1", text)).lower()


def clashes(text: str, meanings: dict[str, str]) -> list[str]:
    """The rows that give a reserved symbol another meaning."""
    found = []
    for rows in tables(text):
        for cell, meaning, *_ in rows:
            for symbol in symbols(cell):
                if symbol.startswith("d") and symbol[1:2].isupper() and symbol not in meanings:
                    wanted = "gradient"
                else:
                    wanted = meanings.get(symbol, "")
                if words(wanted) not in words(meaning):
                    found.append(f"{symbol} is {meaning!r}, reserved for {wanted!r}")
    return found


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_no_table_gives_a_reserved_letter_another_meaning(path):
    assert clashes(path.read_text(encoding="utf-8"), reserved()) == []


def test_the_page_is_read_and_reserves_each_letter_once():
    text = PAGE.read_text(encoding="utf-8")
    listed = [symbol for rows in tables(text) for row in rows for symbol in symbols(row[0])]
    assert len(listed) == len(set(listed))
    assert len(listed) > 35
    assert {"B", "N", "N_p", "D_h", "\\mathbfz_\\ell", "\\mathbfk", "dX", "p_drop", "H_I", "W_I"} <= set(listed)
    assert clashes(text, reserved()) == []


@pytest.mark.parametrize(
    ("row", "clash"),
    [
        ("| $N$ | tokens, [class] included | number | `N` |", False),
        ("| $N$ | patches | number | `N` |", True),
        ("| $N_p$ | patches | number | `N` |", False),
        ("| $B$, $D$ | images in a batch; width of the model | numbers | |", False),
        ("| $B$, $D$ | images in a batch; width of the MLP | numbers | |", True),
        (r"| $\eta_t$ | learning rate of update $t$ | number | |", False),
        (r"| $\eta_t$ | momentum | number | |", True),
        (r"| $\mathrm{d}A$ | gradient of the loss with respect to $A$ | that of $A$ | |", False),
        (r"| $\mathrm{d}A$ | the difference | that of $A$ | |", True),
        ("| $a$, $b$ | anything | | |", False),
        (r"| $D_h = D/H$ | width of a head, $D/H$ | number | |", False),
    ],
)
def test_a_clash_is_seen(row, clash):
    text = f"# | symbol | meaning | shape | in the code |\n# |---|---|---|---|\n# {row}\n"
    assert bool(clashes(text, reserved())) == clash
