"""Pictures and sentences of the page on the drawn world are what the code draws and says."""

import numpy as np
import pytest
from drawn_world_pictures import IMAGES, PICTURES, sentences
from PIL import Image

from minivit.data.scenes_layout import COLOURS, HELD_OUT, KINDS, PLACES

PAGE = (IMAGES.parent / "drawn-world.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_are_what_the_script_draws(name):
    assert f"](images/{name})" in PAGE
    with Image.open(IMAGES / name) as image:
        stored = np.asarray(image.convert("RGB")).astype(int)
    drawn = PICTURES[name]()
    assert drawn.shape == stored.shape
    differ = (np.abs(drawn - stored) > 2).mean()  # libraries of mathematics may round the last bit otherwise
    assert differ < 1e-3, "run: python docs/drawn_world_pictures.py"
    assert (IMAGES / name).stat().st_size < 150_000


def test_the_sentences_are_what_the_script_says():
    for table in sentences():
        assert table in PAGE, "copy them from: python docs/drawn_world_pictures.py"


def test_the_rule_of_the_page_is_that_of_the_code():
    for names in (KINDS, COLOURS, PLACES):
        assert ", ".join(names) in " ".join(PAGE.split())
    place, kind, colour = np.indices(HELD_OUT.shape)
    assert np.array_equal(HELD_OUT, (kind + colour + place) % 5 == 0)
