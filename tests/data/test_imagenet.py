"""The class names of ImageNet-1k: count, order, and known places in it."""

from minivit.data.imagenet import imagenet_classes, imagenet_ids, in_words, some


def test_a_thousand_different_names_and_ids():
    names, ids = imagenet_classes(), imagenet_ids()
    assert len(names) == len(set(names)) == len(ids) == len(set(ids)) == 1000
    assert all(name == name.strip() and name.isprintable() for name in names)
    assert all(len(i) == 9 and i[0] == "n" and i[1:].isdigit() for i in ids)


def test_the_order_is_that_of_the_sorted_ids():
    assert imagenet_ids() == sorted(imagenet_ids())


def test_known_places():
    names, ids = imagenet_classes(), imagenet_ids()
    known = {
        0: ("n01440764", "tench"),
        1: ("n01443537", "goldfish"),
        134: ("n02012849", "crane bird"),
        207: ("n02099601", "golden retriever"),
        281: ("n02123045", "tabby"),
        291: ("n02129165", "lion"),
        388: ("n02510455", "giant panda"),
        517: ("n03126707", "crane"),
        701: ("n03888257", "parachute"),
        817: ("n04285008", "sports car"),
        954: ("n07753592", "banana"),
        999: ("n15075141", "toilet tissue"),
    }
    assert {place: (ids[place], names[place]) for place in known} == known


def test_a_class_in_words():
    assert in_words("n03417042") == "garbage truck (n03417042)"
    assert in_words("n99999999") == "n99999999"
    assert in_words("tench") == "tench"
    assert some(["n01440764", "yard", "bee"]) == "tench (n01440764), yard, bee"
    assert some("abcd") == "a, b, c, ..."
