"""What the list of the family says of a system."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class System:
    """One line of the list.   year, paper: of its publication; new: its addition to earlier work; notebook: its file in
    notebooks/, "" if it has none; recordings: how names of its recordings begin, beside its own name."""

    year: int
    paper: str
    new: str
    notebook: str = ""
    recordings: tuple[str, ...] = ()
