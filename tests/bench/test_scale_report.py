"""The tables of the model: what the options ask for, and wrong requests."""

import re
from pathlib import Path

import pytest

from minivit.bench import __main__ as bench
from minivit.bench.scale_model import Cluster, Gpu, Link, halving, ring, training_step
from minivit.bench.scale_report import NETWORKS
from minivit.errors import ConfigError
from minivit.models import ViTConfig

B16 = ViTConfig.variant("B/16")
NVLINK = Link(3e-6, 0.85 * 450e9)


def rows(capsys, *argv):
    """The cells of each row by table and network, printed for `argv`."""
    assert bench.main(argv) == 0
    found, title = {}, ""
    for line in capsys.readouterr().out.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "ranks:" in line:
            title = cells[0].partition(";")[0]
            found[title] = {"": cells[1:]}
        elif title and line.startswith("| "):
            found[title][cells[0]] = cells[1:]
    return found


def ms(step):
    return f"{1e3 * step.seconds:,.1f} ms"


def test_by_default_both_models_on_every_network_up_to_1024_ranks(capsys):
    tables = rows(capsys, "--network", "all")
    assert len(tables) == 4
    for table in tables.values():
        assert table.pop("")[::7] == ["8", "1,024"]
        assert list(table) == list(NETWORKS)
        assert all(len(cells) == 8 for cells in table.values())
        assert table["nvlink"][1:] == [""] * 7
        assert table["nvlink"][0] == table["hdr"][0]  # eight GPUs are one node


def test_a_cell_is_the_model_at_the_share_of_a_rank(capsys):
    tables = rows(capsys, "--network", "hdr", "--modelled-ranks", "1,24")
    cluster = Cluster(Link(2e-6, 0.85 * 25e9), NVLINK, 8, halving)
    strong = training_step(B16, 171, 24, cluster, Gpu(), 25e6)
    alone = training_step(B16, 4096, 1, cluster, Gpu(), 25e6)
    assert tables["B/16: 4,096 images in a step"]["hdr"] == [
        f"{ms(alone)}, 100%",
        f"{ms(strong)}, {alone.seconds / 24 / strong.seconds:.0%}",
    ]
    weak = training_step(B16, 256, 24, cluster, Gpu(), 25e6)
    one = training_step(B16, 256, 1, cluster, Gpu(), 25e6)
    assert tables["B/16: 256 images for each rank"]["hdr"][1] == f"{ms(weak)}, {one.seconds / weak.seconds:.0%}"


@pytest.mark.parametrize(
    ("argv", "changes"),
    [
        (["--latency", "40"], {"between": Link(40e-6, 0.85 * 25e9)}),
        (["--bandwidth", "3"], {"between": Link(2e-6, 3e9)}),
        (["--ranks-per-node", "4"], {"per_node": 4}),
        (["--all-reduce", "ring"], {"way": ring}),
        (["--gpu-tflops", "100"], {"gpu": Gpu(100e12)}),
        (["--bucket-mb", "2"], {"bucket": 2e6}),
        (["--accumulate", "4"], {"pieces": 4}),
        (["--batch", "2048"], {"images": 64}),
    ],
)
def test_every_option_reaches_the_model(capsys, argv, changes):
    parts = {"images": 128, "gpu": Gpu(), "bucket": 25e6, "pieces": 1}
    parts |= {"between": Link(2e-6, 0.85 * 25e9), "per_node": 8, "way": halving, **changes}
    cluster = Cluster(parts["between"], NVLINK, parts["per_node"], parts["way"])
    step = training_step(B16, parts["images"], 32, cluster, parts["gpu"], parts["bucket"], parts["pieces"])
    tables = rows(capsys, "--model", "B/16", "--network", "hdr", "--modelled-ranks", "32", *argv)
    (cells,) = [row for name, row in next(iter(tables.values())).items() if name.startswith("hdr")]
    assert cells[0].partition(",")[0] == ms(step)
    assert len(tables) == 2


def test_nvlink_ends_with_the_node(capsys):
    argv = ["--model", "B/16", "--network", "nvlink", "--ranks-per-node", "4", "--modelled-ranks", "4,8"]
    for table in rows(capsys, *argv).values():
        assert table["nvlink"][0]
        assert not table["nvlink"][1]


def test_nvlink_can_be_slower(capsys):
    table = next(iter(rows(capsys, "--model", "B/16", "--network", "nvlink", "--bandwidth", "10").values()))
    step = training_step(B16, 512, 8, Cluster(Link(3e-6, 10e9), NVLINK), Gpu(), 25e6)
    assert table["nvlink*"][0].partition(",")[0] == ms(step)


def test_the_page_shows_what_the_model_says(capsys):
    page = Path(__file__).parents[2] / "docs/scale.md"
    assert bench.main(["--network", "all"]) == 0
    assert capsys.readouterr().out.strip() in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--network", "hdx"], 'unknown network "hdx".*did you mean "hdr"'),
        (["--network", ","], "names no network"),
        (["--latency", "3"], "name it with --network"),
        (["--network", "hdr,ndr", "--bandwidth", "3"], "name it with --network"),
    ],
)
def test_wrong_requests_are_answered(argv, message):
    with pytest.raises(ConfigError, match=message):
        bench.main(argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--modelled-ranks", "8,,16"], '"", expected a whole number'),
        (["--modelled-ranks", "8,99999999"], "at most 1,000,000"),
        (["--bandwidth", "inf"], "above 0"),
        (["--gpu-tflops", "-1"], "above 0"),
        (["--bucket-mb", "0.001"], "at least 0.1"),
    ],
)
def test_wrong_numbers_are_answered(argv, message, capsys):
    with pytest.raises(SystemExit):
        bench.main(argv)
    assert re.search(message, capsys.readouterr().err)
