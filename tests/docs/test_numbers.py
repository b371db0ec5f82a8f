"""The page of numbers says what its command prints, and quotes what its tables say."""

import math
import re
import statistics

import numpy as np
import pytest
from number_tables import claims as told
from number_tables.counted import border, inside_only
from number_tables.paper import TABLE_6, TABLE_7, TABLE_9
from number_tables.small import T_95, difference, right, stored, with_error
from number_tables.table import Table, filled, rows_of
from vit_numbers import GROUPS, PAGE, main, page, printed, tables

from minivit.models import ResNetConfig, ViTConfig
from minivit.models.cost import multiply_adds

TEXT = PAGE.read_text(encoding="utf-8")
CLAIMS = [claim for _, _, group in GROUPS for claim in group]
FIGURE = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
NAMES = re.compile(
    r"\b(?:R\d+\+)?[BLHR]\d*[/x]\d+"  # B/16, R50x1, R50+B/16
    r"|\b\d-D\b|\bTable \d+|\bImageNet-\w+"
)


def figures(text: str) -> list[str]:
    """The numbers of a text, without those in names of models and tables."""
    return [found.rstrip(",") for found in FIGURE.findall(NAMES.sub("", text))]


def claims_on_the_page() -> list[list[str]]:
    """The four cells of each row that tells a claim."""
    before = TEXT.partition("\n## Computed\n")[0]
    rows = [re.split(r" *\| *", line)[1:-1] for line in before.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] != "told"]


# the page


def test_the_page_is_what_the_generator_makes():
    assert page() == TEXT, "run: python docs/vit_numbers.py --write"


def test_every_computed_figure_of_a_claim_is_printed_by_its_named_computation():
    lines = {}
    for block in printed([]).strip().split("\n\n"):
        name, *rows = block.splitlines()
        lines |= {f"{name}: {row.strip('| ').partition(' | ')[0]}": row for row in rows[2:]}
    checked = 0
    for claim, (told_here, _, said, source) in zip(CLAIMS, claims_on_the_page(), strict=True):
        assert told_here == claim.told
        names = re.findall(r"`([^`]+)`", source)
        known = {figure for name in names for figure in figures(lines[name])}
        assert set(figures(said)) <= known, claim.told
        checked += len(figures(said))
    assert checked > 80


def test_no_computed_figure_is_typed():
    for claim in CLAIMS:
        assert figures(re.sub(r"\{[^{}]+\}", "", claim.here)) == [], claim.told


def test_tables_of_the_page_are_those_that_the_command_prints():
    for block in printed([]).strip().split("\n\n"):
        assert block.partition("\n")[2] in TEXT


def test_every_computed_figure_belongs_to_a_computed_table():
    for claim in CLAIMS:
        assert {tables()[table].kind for table, _ in rows_of(claim.here)} <= {"computed", "small"}, claim.told


def test_quoted_figures_stand_in_the_named_tables():
    checked = 0
    for claim in CLAIMS:
        quote = filled(claim.paper, tables())
        named = {int(n) for found in re.findall(r"Tables? (\d+(?:, \d+)*)", quote) for n in found.split(", ")}
        if claim.source == told.OTHERS or not named:
            continue
        known = {
            figure
            for number in named
            for cells in tables()[f"table-{number}"].rows.values()
            for cell in cells
            for figure in re.findall(r"\d+\.\d+", cell)
        }
        asked = re.findall(r"\b\d\d\.\d\d\b", quote)
        assert set(asked) <= known, claim.told
        checked += len(asked)
    assert checked > 30


def test_claims_that_the_paper_does_not_contain_say_so():
    assert {claim.source for claim in told.ABSENT} == {told.MISSING}
    assert told.MISSING not in {claim.source for claim in (*told.CONTRADICTED, *told.AGREES, *told.DISAGREES)}


def test_the_command_prints_one_table_or_all_or_names_them(capsys):
    main(["vtab"])
    shown = capsys.readouterr().out
    assert shown.startswith("vtab\n")
    assert "77.63" in shown
    assert "GMAC" not in shown
    main([])
    assert shown.strip() in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no table vtap; there are: sizes, "):
        main(["vtap"])


def test_the_command_writes_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("vit_numbers.PAGE", tmp_path / "numbers.md")
    main(["--write"])
    assert (tmp_path / "numbers.md").read_text(encoding="utf-8") == page()


# the computations


def test_exaflops_by_hand():
    by_hand = 6 * (
        12 * (12 * 197 * 768**2 + 2 * 197**2 * 768) + 196 * 768 * 768 + 768 * 1000
    ) * 303e6 * 7 / 1e18  # fmt: skip
    assert tables()["exaflops"].cell("B/16", "here") == f"{by_hand:.1f}"
    assert multiply_adds(ViTConfig.variant("B/16")) * 42 * 303e6 / 1e18 == pytest.approx(by_hand)


def test_parameters_by_hand():
    block = 4 * (768**2 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    body = 12 * block + 2 * 768 + 768 * (768 + 1) + 768 + 197 * 768
    assert tables()["sizes"].rows["B/16"][:2] == [f"{body:,}", f"{body + 769 * 1000:,}"]


def test_places_on_the_border_are_counted_by_a_loop():
    for size, window, stride in ((7, 3, 1), (8, 3, 2), (7, 3, 2), (14, 7, 2), (5, 1, 1)):
        across = math.ceil(size / stride)
        before = max(0, (across - 1) * stride + window - size) // 2
        outside = 0
        for row in range(across):
            for column in range(across):
                for dy in range(window):
                    for dx in range(window):
                        y, x = row * stride - before + dy, column * stride - before + dx
                        outside += not (0 <= y < size and 0 <= x < size)
        assert border(size, window, stride) == outside


def test_without_the_border_only_convolutions_lose():
    assert inside_only(ViTConfig.variant("B/16")) == multiply_adds(ViTConfig.variant("B/16"))
    tiny = ResNetConfig((1,), image_size=8, width=32, num_classes=2)
    lost = 3 * 32 * border(8, 7, 2) + 32 * 32 * border(2, 3, 1)
    assert multiply_adds(tiny) - inside_only(tiny) == lost > 0


def test_attention_weights_take_what_their_shape_says():
    assert tables()["tokens"].cell("224 px, patch 16", "MiB, one block") == f"{12 * 197 * 197 * 4 / 2**20:.1f}"
    assert tables()["tokens"].cell("224 px, patch 16", "in products of tokens") == (
        f"{100 * 12 * 2 * 197**2 * 768 / multiply_adds(ViTConfig.variant('B/16')):.1f} %"
    )


def test_means_and_errors():
    values = [70.0, 72.0, 77.0]
    error = statistics.stdev(values) / math.sqrt(3)
    assert with_error(values) == f"73.0 ± {error:.1f}"
    assert difference([3.0, 4.0, 5.0], [1.0, 2.2, 2.8]) == "+2.0 ± 0.1"
    assert difference([3.0, 4.0, 5.0], [2.0, 4.5, 3.0]) == "+0.8 ± 0.7 ?"


@pytest.mark.parametrize("runs", T_95)
def test_intervals_hold_95_percent_of_students_distribution(runs):
    freedom, x = runs - 1, np.linspace(0, 2000, 400_001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert density[x <= T_95[runs]].sum() / density.sum() == pytest.approx(0.95, abs=5e-4)


def test_answers_are_counted_bit_by_bit():
    for name in ("hybrid", "higher_resolution"):
        for runs in stored(name)["results"].values():
            for run in runs:
                assert right(run) == pytest.approx(run["after"], abs=5.1e-5)


# the quoted tables, where they say a thing twice


def test_the_tasks_of_vtab_have_the_means_of_table_2():
    for row, cells in tables()["vtab"].rows.items():
        assert abs(float(cells[-2]) - float(cells[-1])) < 0.015, row
    assert len(TABLE_9.rows) == 19


def test_table_7_has_the_means_and_the_rows_of_table_6():
    for name, cells in TABLE_7.rows.items():
        assert statistics.mean(map(float, cells[:-1])) == pytest.approx(float(cells[-1]), abs=0.006), name
        if name.endswith(" Adam"):
            assert [TABLE_6.cell(name.removesuffix(" Adam"), c) for c in TABLE_7.columns[:-1]] == cells[:-1]


def test_table_5_and_6_agree_on_jft():
    for name in ("B/16", "B/32", "L/32"):
        for which in TABLE_6.columns[1:-1]:
            assert TABLE_6.cell(name, which) == tables()["table-5"].cell(f"JFT → {which}", name)


@pytest.mark.parametrize("table", tables().values(), ids=lambda table: table.name)
def test_rows_are_as_long_as_their_heads(table):
    assert all(len(cells) == len(table.columns) for cells in table.rows.values())


def test_a_figure_that_is_in_no_table_is_an_error():
    table = Table("t", "computed", "T", ["a"], {"r": ["1.5"]})
    assert filled("x {t|r|a} y", {"t": table}) == "x 1.5 y"
    for wrong in ("{t|r|b}", "{t|s|a}", "{u|r|a}"):
        with pytest.raises((KeyError, ValueError)):
            filled(wrong, {"t": table})
