"""What is told of an equation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equation:
    """One equation and its places.

    id: a short name, eq-N for Eq. N; title: what it says; latex: the equation, which docutils can read; place: section
    in the paper; symbols: (LaTeX, meaning, shape in the code); ops: import paths of what computes it; notebook: stem
    of the file that derives it; tag: words that stand where it does so; tests: "file::test" of what holds it.
    """

    id: str
    title: str
    latex: str
    place: str
    symbols: tuple[tuple[str, str, str], ...]
    ops: tuple[str, ...]
    notebook: str
    tag: str
    tests: tuple[str, ...]
