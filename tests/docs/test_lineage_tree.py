"""The family tree holds every registered system, and the picture and the table are those of its script."""

import itertools
from xml.etree import ElementTree

import lineage_tree
import pytest
from lineage_tree import BY_KEY, HIGH, NODES, PAGE, PICTURE, ROOT, WIDE, Node, picture, route, with_table

from minivit.lineage import SYSTEMS

LINES = [(BY_KEY[parent], node) for node in NODES for parent in node.parents]
SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_and_the_table_are_what_the_script_makes():
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run: python docs/lineage_tree.py"
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run: python docs/lineage_tree.py"
    assert f"](images/{PICTURE.name})" in page


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_registered_system_is_in_the_tree_with_its_year_and_paper(system):
    assert system in BY_KEY, "give it a line in docs/lineage_tree.py"
    assert BY_KEY[system].year == SYSTEMS[system].year
    assert BY_KEY[system].source in SYSTEMS[system].paper


def test_a_registered_system_is_drawn_whole_and_another_broken():
    boxes = {link.get("href"): link.find(f"{SVG}rect") for link in ElementTree.fromstring(picture()).iter(f"{SVG}a")}
    for node in NODES:
        if node.key not in ("vit", "relative"):  # of one paper
            broken = boxes[node.link].get("stroke-dasharray")
            assert (broken is None) == (node.key in SYSTEMS or bool(node.file)), node.name
    for node in NODES:
        assert not node.here or (ROOT / node.here).is_file()


def test_a_system_that_is_not_registered_is_drawn_broken_and_not_linked(monkeypatch):
    page = PAGE.read_text(encoding="utf-8")
    before = picture().count("stroke-dasharray"), with_table(page).count("not yet")
    assert ("broken border" in picture()) == any(not node.here for node in NODES)
    assert "(../minivit/lineage/simmim.py)" in with_table(page)
    without = {name: system for name, system in SYSTEMS.items() if name != "simmim"}
    monkeypatch.setattr(lineage_tree, "SYSTEMS", without)
    assert (picture().count("stroke-dasharray"), with_table(page).count("not yet")) == (before[0] + 1, before[1] + 1)
    assert "broken border" in picture()
    assert "(../minivit/lineage/simmim.py)" not in with_table(page)


def test_no_two_systems_share_a_place_and_names_are_unique():
    assert len({node.corner for node in NODES}) == len(NODES)
    assert len({node.key for node in NODES}) == len({node.name for node in NODES}) == len(NODES)


def test_names_fit_into_their_boxes():
    for node in NODES:
        assert len(node.name) <= 19, node.name


@pytest.mark.parametrize(("parent", "child"), LINES, ids=lambda node: node.key)
def test_lines_lead_forward_and_past_all_boxes(parent, child):
    assert (parent.year, parent.arxiv) <= (child.year, child.arxiv)
    corners = route(parent, child)
    for (x1, y1), (x2, y2) in itertools.pairwise(corners):
        assert x1 == x2 or y1 == y2
        for node in NODES:
            x, y = node.corner
            hit = min(x1, x2) < x + WIDE and max(x1, x2) > x and min(y1, y2) < y + HIGH and max(y1, y2) > y
            assert not hit, node.name


def test_lines_of_two_parents_that_change_rows_side_by_side_do_not_share_a_lane():
    lanes: dict[int, set[str]] = {}
    for parent, child in LINES:
        corners = route(parent, child)
        if len(corners) == 4:
            lanes.setdefault(corners[1][0], set()).add(parent.key)
    assert all(len(parents) == 1 for parents in lanes.values())
    assert len(lanes) > 5


def test_a_line_without_a_way_is_an_error(monkeypatch):
    wall = [Node(f"n{n}", f"n{n}", "A", 2020, "0", "before", n) for n in (0, 5)]
    monkeypatch.setattr(lineage_tree, "NODES", tuple(wall))
    first, last = Node("a", "a", "A", 2017, "0", "before", 0), Node("b", "b", "A", 2021, "0", "before", 5)
    with pytest.raises(ValueError, match="no free row from a to b"):
        route(first, last)
    with pytest.raises(ValueError, match="n0 and n5 are no neighbours in their column"):
        route(*wall)
