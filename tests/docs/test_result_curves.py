"""Pictures, tables and sentences of the family's experiments are those of their stored results."""

import copy
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import result_curves
from result_curves import DOCS, PARTS, Part, picture

RESULTS = DOCS.parent / "notebooks/results"


def page_of(part: Part) -> str:
    return (DOCS / part.page).read_text(encoding="utf-8")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.experiment)
def test_the_page_and_the_picture_are_what_the_script_makes(part):
    assert part.with_block(page_of(part)) == page_of(part), "run: python docs/result_curves.py"
    stored = (DOCS / "images" / part.image).read_text(encoding="utf-8")
    assert stored == picture(part.panels(), part.alt), "run: python docs/result_curves.py"
    assert f"](../images/{part.image})" in page_of(part)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.experiment)
def test_other_results_make_another_page_and_picture(part, monkeypatch):
    record = json.loads((RESULTS / f"{part.experiment}.json").read_text(encoding="utf-8"))
    changed = copy.deepcopy(record)
    runs = changed["results"]
    while isinstance(runs, dict):
        runs = [*runs.values()][-1]
    first = runs[0]
    while isinstance(next(iter(first.values())), dict):
        first = next(iter(first.values()))
    first[min(first)] += 0.1
    before = part.block(), picture(part.panels(), part.alt)
    monkeypatch.setattr(result_curves, "stored", lambda name: changed)
    assert part.block() != before[0]
    assert picture(part.panels(), part.alt) != before[1]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.experiment)
def test_no_result_is_typed(part):
    for text in (part.before, part.after, part.alt):
        assert re.findall(r"\d+\.\d", re.sub(r"\{[^{}]+\}", "", text)) == []


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.experiment)
def test_figures_of_the_sentences_stand_in_the_tables(part):
    cells = {cell for table in part.tables().values() for row in table.rows.values() for cell in row}
    found = re.findall(r"[-+]?\d+\.\d ± \d+\.\d(?: \?)?", part.block().partition("| ")[0])
    assert found
    assert set(found) <= cells


def test_cells_by_hand():
    record = json.loads((RESULTS / "patch_sizes.json").read_text(encoding="utf-8"))["results"]
    four = 100 * np.array([run["pseudo-inverse"]["2"] for run in record["fixed 4"]])
    like = 100 * np.array([run["like an image"]["2"] for run in record["fixed 4"]])
    tables = result_curves.patch_tables()
    error = four.std(ddof=1) / np.sqrt(len(four))
    assert tables["patch"].cell("trained at 4, pseudo-inverse", "2 px") == f"{four.mean():.1f} ± {error:.1f}"
    apart, error = four - like, (four - like).std(ddof=1) / np.sqrt(len(four))
    cell = tables["apart"].cell("trained at 4: pseudo-inverse minus like an image", "2 px")
    assert cell.removesuffix(" ?") == f"{apart.mean():+.1f} ± {error:.1f}"
    record = json.loads((RESULTS / "resolution_positions.json").read_text(encoding="utf-8"))["results"]
    runs = 100 * np.array([run["64"] for run in record["left"]["rope"]])
    error = runs.std(ddof=1) / np.sqrt(len(runs))
    cell = result_curves.resolution_tables()["accuracy"].cell("left: rope", "64 px")
    assert cell == f"{runs.mean():.1f} ± {error:.1f}"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.experiment)
def test_means_are_drawn_at_their_heights(part):
    root = ElementTree.fromstring(picture(part.panels(), part.alt))
    drawn = [
        (float(circle.get("cx")), float(circle.get("cy"))) for circle in root.iter("{http://www.w3.org/2000/svg}circle")
    ]
    it = part.panels()[0]
    line = next(line for line in it.lines if not line.square)
    place = it.places[-1]
    share = (it.high - np.mean(line.values[place])) / (it.high - it.low)
    wanted = result_curves.TOP + result_curves.HIGH * share
    x = result_curves.LEFT + result_curves.WIDE * (len(it.places) - 0.5) / len(it.places)
    assert any(abs(a - x) < 0.1 and abs(b - wanted) < 0.1 for a, b in drawn)
    for panel in part.panels():
        for line in panel.lines:
            assert all(panel.low <= value <= panel.high for runs in line.values.values() for value in runs), line.name
