"""What stands where: the numbers behind it, the quarters, the combinations that are held out."""

import itertools

import numpy as np
import pytest

from minivit.data.scenes_layout import COLOURS, HELD_OUT, KINDS, PLACES, hashed, lay_out, mixed, uniform

ITEMS = np.arange(4000)


def test_the_hash_is_splitmix64():
    """The first numbers of the generator's stream from the state 1234567, as its authors' code gives them."""
    step = np.uint64(0x9E3779B97F4A7C15)
    stream = mixed(np.uint64(1234567) + step * np.arange(1, 4, dtype=np.uint64))
    assert stream.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_numbers_depend_on_seed_item_and_place_alone():
    numbers = hashed((7, 0), ITEMS, 20)
    assert np.array_equal(hashed((7, 0), ITEMS[[3900, 5]], 8), numbers[[3900, 5], :8])
    assert len(np.unique(numbers)) == numbers.size
    for other in ((8, 0), (7, 1)):
        assert not np.isin(hashed(other, ITEMS, 20), numbers).any()


def test_numbers_are_uniform_and_neighbours_independent():
    numbers = uniform((0,), ITEMS, 16)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=16, range=(0, 1))
    assert np.abs(counts - 4000).max() < 5 * np.sqrt(4000)
    for a, b in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_every_shape_lies_in_a_quarter_of_its_own():
    layout = lay_out(0, ITEMS, (1, 4))
    present = layout.kind >= 0
    assert np.bincount(present.sum(axis=1)).min(initial=4000, where=[False, True, True, True, True]) > 900
    quarter = np.where(present, (layout.x > 0.5) + 2 * (layout.y > 0.5), -np.arange(1, 5))
    assert all(len(set(row)) == 4 for row in quarter.tolist())
    for middle in (layout.x, layout.y):
        assert (middle - layout.radius)[present].min() >= 0
        assert (middle + layout.radius)[present].max() <= 1
    assert (layout.radius[:, :1] > 1.2 * layout.radius[:, 1:]).all()
    assert (layout.colour >= 0).tolist() == present.tolist()


def test_no_two_shapes_of_a_scene_agree_in_kind_and_colour():
    layout = lay_out(0, ITEMS, (4, 4))
    names = layout.kind * len(COLOURS) + layout.colour
    assert all(len(set(row)) == 4 for row in names.tolist())
    counts = np.bincount(names.ravel(), minlength=20)
    assert np.abs(counts - 800).max() < 5 * np.sqrt(800)


def combinations_of(layout):
    place = (layout.x > 0.5) + 2 * (layout.y > 0.5)
    return [
        {(int(p), int(k), int(c)) for p, k, c in zip(*row, strict=True) if k >= 0}
        for row in zip(place, layout.kind, layout.colour, strict=True)
    ]


def test_the_rule_holds_out_a_fifth_and_none_of_its_parts():
    assert HELD_OUT.shape == (len(PLACES), len(KINDS), len(COLOURS))
    assert HELD_OUT.sum() == 16
    assert (HELD_OUT.sum(axis=1) == 1).all()  # one kind of each colour in each place
    assert HELD_OUT.sum(axis=0).max() == 1  # of four places at most one


@pytest.mark.parametrize("nested", [0.0, 0.5])
@pytest.mark.parametrize("most", [1, 4])
def test_training_never_shows_what_is_held_out(most, nested):
    held_out = {tuple(map(int, place)) for place in np.argwhere(HELD_OUT)}
    all_of_them = set(itertools.product(range(4), range(5), range(4)))
    train = set().union(*combinations_of(lay_out(0, ITEMS, (1, most), "train", nested)))
    assert train == all_of_them - held_out
    scenes = lay_out(0, ITEMS, (1, most), "held-out", nested)
    shown = combinations_of(scenes)
    assert set().union(*shown) & held_out == held_out
    assert all(len(names & held_out) == 1 for names in shown)
    place = (scenes.x > 0.5) + 2 * (scenes.y > 0.5)
    assert HELD_OUT[place[:, 0], scenes.kind[:, 0], scenes.colour[:, 0]].all()
    assert set().union(*combinations_of(lay_out(0, ITEMS, (1, most), "all", nested))) == all_of_them


def test_a_nested_shape_lies_inside_another_both_solid_and_of_different_colours():
    layout = lay_out(0, ITEMS, (1, 4), nested=0.5)
    inside = (layout.x[:, 0] == layout.x[:, 1]) & (layout.y[:, 0] == layout.y[:, 1]) & (layout.kind[:, 1] >= 0)
    assert 0.45 < inside[layout.kind[:, 1] >= 0].mean() < 0.55
    assert set(layout.kind[inside, 0]) == set(layout.kind[inside, 1]) == {0, 1, 2}
    assert (layout.colour[inside, 0] != layout.colour[inside, 1]).all()
    assert np.allclose(layout.radius[inside, 1], 0.4 * layout.radius[inside, 0])
