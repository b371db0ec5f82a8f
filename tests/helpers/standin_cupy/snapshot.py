"""What CuPy 14 offers: names and parameters, recorded from the real one (tests/test_cupy_api.py says how)."""

import json
from pathlib import Path

SNAPSHOT = json.loads((Path(__file__).parents[2] / "data" / "cupy-14.json").read_text(encoding="utf-8"))
FUNCTIONS: dict[str, list[str]] = {name: words.split() for name, words in SNAPSHOT["functions"].items()}
METHODS: dict[str, list[str]] = {name: words.split() for name, words in SNAPSHOT["methods"].items()}
UFUNCS: set[str] = set(SNAPSHOT["ufuncs"].split())
CONSTANTS: set[str] = set(SNAPSHOT["constants"].split())  # types and numbers


def check_keywords(what: str, parameters: list[str], keywords: dict[str, object]) -> None:
    """Raise TypeError for keywords that are not among the parameters."""
    unknown = set(keywords) - set(parameters)
    if unknown and not any(name.startswith("**") for name in parameters):
        raise TypeError(f"{what}() got an unexpected keyword argument {min(unknown)!r}")
