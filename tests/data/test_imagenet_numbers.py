"""ImageNet's classes are known under several names."""

import pytest

from minivit.data.imagenet import imagenet_classes, imagenet_ids
from minivit.data.imagenet_numbers import numbers_of


def test_ids_words_and_the_first_of_several_words():
    assert numbers_of(["n01443537", "tench", "hen, a bird", "Kerry_blue_terrier", " TENCH "]) == [1, 0, 8, 183, 0]
    assert numbers_of(["my cat", "n00000000", ""]) == [None, None, None]


def test_what_means_two_classes_is_none_and_case_may_tell():
    assert numbers_of(["crane", "maillot, tank suit"]) == [None, None]
    assert numbers_of(["Cardigan, Cardigan Welsh corgi", "cardigan", "CARDIGAN"]) == [264, 474, None]


@pytest.mark.parametrize("wrong", [0, 90, 101])
def test_a_thousand_names_that_mostly_agree_are_all_of_them(wrong):
    for names in (imagenet_ids(), imagenet_classes()):
        changed = [f"other {k}" if k < wrong else f"{name}, Latin name" for k, name in enumerate(names)]
        expected = list(range(1000))
        assert (numbers_of(changed) == expected) == (wrong <= 100)
    assert numbers_of(imagenet_ids()[::-1]) == expected[::-1]
