"""`minivit models` and `minivit datasets`."""

import re

import pytest

from minivit import data, listing
from minivit.data.about import about
from minivit.data.cifar import FORMATS
from minivit.errors import ConfigError
from minivit.models import HYBRIDS, addresses
from minivit.models.pretrained import LAYOUTS


@pytest.fixture
def shown(capsys):
    """shown(listing.models, "Ti/4"): what the command prints."""

    def run(main, *argv):
        capsys.readouterr()
        assert main(list(argv)) == 0
        return capsys.readouterr().out

    return run


def rows(text):
    """{model: (parameters, multiply-adds in 1e9, GFLOP)} of a table."""
    found = re.findall(r"^  (\S+) +([\d,]+) +([\d.]+) +([\d.]+) ", text, flags=re.M)
    return {name: (int(count.replace(",", "")), float(work), float(flop)) for name, count, work, flop in found}


def test_the_table_has_the_published_figures(shown):
    text = shown(listing.models)
    table = rows(text)
    published = {
        "Ti/16": 5_717_416,
        "S/16": 22_050_664,
        "S/32": 22_878_952,
        "B/16": 86_567_656,
        "B/32": 88_224_232,
        "L/16": 304_326_632,
        "H/14": 632_045_800,
    }
    assert {name: table[name][0] for name in published} == published
    assert {*HYBRIDS, "R50x1", "R152x1"} <= set(table)
    assert table["B/16"][1:] == (17.56, 35.13)
    assert table["R50x1"][1] == pytest.approx(4.09)
    assert all(flop == pytest.approx(2 * work, abs=0.011) for _, work, flop in table.values())
    assert all(name in text for name in LAYOUTS)
    assert re.search(r"^  Ti/16 +224 +~22   75\.452 \(timm\) +timm/vit_tiny_patch16_224\.augreg", text, flags=re.M)
    assert shown(listing.models, "--published").splitlines() == addresses.listing()
    assert all(len(line) <= 120 for line in text.splitlines())


def test_models_of_other_sizes_and_their_layers(shown):
    text = shown(listing.models, "Ti/4", "R50x2", "--image-size", "32", "--classes", "10")
    assert list(rows(text)) == ["Ti/4", "R50x2"]
    assert rows(text)["Ti/4"][0] == 5_362_762  # as a run with --model Ti/4 on CIFAR says
    assert "blocks.0 to 11, each   EncoderBlock" in text
    assert "Head, weight (192, 10), bias (10,)" in text


def test_models_that_do_not_fit_the_image_are_left_out(shown):
    assert "B/16" not in rows(shown(listing.models, "--image-size", "28"))
    assert {"H/14", "R50x1"} <= set(rows(shown(listing.models, "--image-size", "28")))
    assert {"R50x1"} <= set(rows(shown(listing.models, "--image-size", "37x41")))
    with pytest.raises(ConfigError, match="nearest image size"):
        listing.models(["B/16", "--image-size", "28"])
    for wrong, words in (("X/3", "unknown variant"), ("R51x1", "unknown ResNet"), ("B", "unknown variant")):
        with pytest.raises(ConfigError, match=words):
            listing.models([wrong])
    with pytest.raises(ConfigError, match="at least 1x1"):
        listing.models(["--image-size", "0"])


def test_data_sets_with_their_sizes(shown, tmp_path):
    text = shown(listing.datasets, "--data-root", str(tmp_path))
    for name in ("digits", "shapes", "scenes", "nested", "captions", "clips"):
        train, test = data.load(name), data.load(name, split="test")
        height, width = train.image_size
        words = (
            f"{len(train):,} training and {len(test):,} test images, {height}x{width} .*, {len(train.classes)} classes"
        )
        assert re.search(rf"^{name} +{words} ", text, flags=re.M)
    assert re.search(r"^folder:PATH .* PATH/CLASS/\*\.jpg with --val-share", text, flags=re.M)
    assert [name for name, _, _ in about(None)] == [*data.registry.NAMES, *data.registry.PATHS]
    assert str(tmp_path) in text


@pytest.mark.parametrize("name", FORMATS)
def test_where_cifar_is(name, shown, tmp_path):
    layout = FORMATS[name]

    def place():
        return next(
            line for line in shown(listing.datasets, "--data-root", str(tmp_path)).splitlines() if f"{name} " in line
        )

    assert f"not here: downloaded when first used, {layout.megabytes} MB from https://" in place()
    (tmp_path / layout.archive).write_bytes(b"")
    assert place().endswith(str(tmp_path / layout.archive))
    (tmp_path / layout.folder).mkdir()
    for file in (*layout.train_files, *layout.test_files):
        assert place().endswith(f"{tmp_path / layout.folder}, which lacks {file}")
        (tmp_path / layout.folder / file).write_bytes(b"")
    assert place().endswith(str(tmp_path / layout.folder))


def test_no_home_folder_is_told(shown, monkeypatch):
    monkeypatch.delenv("MINIVIT_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert "set MINIVIT_DATA" in shown(listing.datasets)
