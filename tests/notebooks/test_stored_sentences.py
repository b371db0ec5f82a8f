"""What a notebook says of its stored run is what the stored run has printed."""

import json
import re
from collections.abc import Iterator

import pytest

run = pytest.importorskip("run")
STORED = sorted(run.HERE.glob("[0-9]*.ipynb"))
TOLD = re.compile(r"^\*\*In the stored run\*\*(?:.+\n?)+", flags=re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
LINK = re.compile(r"\[[^\]]*\]\([^)]*\)|`[^`]*`")  # the number of a notebook or of an exercise is none of a result


def numbers(text: str) -> set[float]:
    """The numbers of a text, without signs: a text may speak of 3 points less. 1,000 is one number."""
    found = (number.replace(",", "").lstrip("-+−") for number in NUMBER.findall(text))
    return {float(number) for number in found}


def paragraphs(notebook: dict) -> Iterator[tuple[str, str]]:
    """Each paragraph that tells what came out, with what the cells above it in its section have printed."""
    printed = ""
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            outputs = cell.get("outputs", [])
            printed += "\n".join(
                "".join(part)
                for output in outputs
                for part in (output.get("text", ""), output.get("data", {}).get("text/plain", ""))
            )
        else:
            for block in re.split(r"^(?=## )", text, flags=re.MULTILINE):
                printed = "" if block.startswith("## ") else printed
                yield from ((found[0], printed) for found in TOLD.finditer(block))


def unsupported(told: str, printed: str) -> set[float]:
    """The numbers of a paragraph that no cell has printed."""
    return numbers(LINK.sub("", told)) - numbers(printed)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_every_number_that_is_told_was_printed(path):
    for told, printed in paragraphs(json.loads(path.read_text(encoding="utf-8"))):
        assert unsupported(told, printed) == set(), told


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ("it was 37.5 % after 1,200 updates, three seeds.", set()),
        ("it fell by -37.5 points.", set()),
        ("it was 37.6 %.", {37.6}),
        ("see [notebook 99](99_x.ipynb) and `lr=3e-4`: 1.2e-03.", set()),
        ("1.3e-03", {1.3e-3}),
        ("from 3 to 5", {3.0, 5.0}),
    ],
)
def test_a_number_that_was_not_printed_is_seen(told, missing):
    assert unsupported(told, "accuracy +37.5 % (1200 updates), error 1.2e-03") == missing


def test_paragraphs_are_found_with_the_outputs_of_their_section():
    cells = [
        {"cell_type": "code", "source": "a", "outputs": [{"text": ["1\n"]}]},
        {"cell_type": "markdown", "source": ["## New\n", "text"]},
        {"cell_type": "code", "source": "b", "outputs": [{"text": ["2\n"]}, {"data": {"text/plain": ["3"]}}]},
        {"cell_type": "markdown", "source": ["**In the stored run** it was 2.\n", "And 3.\n", "\n", "Then 4."]},
    ]
    (found,) = paragraphs({"cells": cells})
    assert found[0].endswith("And 3.\n")
    assert numbers(found[1]) == {2.0, 3.0}
