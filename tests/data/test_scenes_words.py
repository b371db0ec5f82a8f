"""Captions and answers are true of the pictures: parsed by a grammar of their own, judged by pixels and masks."""

import re
from collections import Counter

import numpy as np
import pytest
from scene_witness import HUES, KINDS, holds, witnessed

from minivit.data.scenes import Scenes, things_of
from minivit.data.scenes_words import CAPTION, QUESTION, WORDS, Thing, decode, encode, questions, relation

COUNT = 400
A = rf"(?:{'|'.join(HUES)}) (?:{'|'.join(KINDS)})"
WHERE = "left of|right of|above|below|in"
NUMBERS = ["no", "one", "two", "three", "four"]


@pytest.fixture(scope="module", params=[(16, 0.0), (33, 0.0), (32, 0.6)])
def told(request):
    """For every scene what a witness sees, and what is said: the caption, and every question with its answer."""
    size, nested = request.param
    scenes = Scenes(COUNT, 11, size, nested=nested)
    found = scenes.columns(range(COUNT), ("images", "mask", "instances", "boxes", "caption"))
    shapes = [witnessed(*(found[name][i] for name in ("images", "mask", "instances"))) for i in range(COUNT)]
    things = things_of(scenes.layout(scenes.items), found["boxes"])
    asked = [[pair for sort in questions(scene) for answers in sort for pair in answers] for scene in things]
    return size, list(zip(shapes, map(decode, found["caption"]), asked, strict=True))


def caption_is_true(text, shapes, size):
    """Whether a caption says of every shape once what a witness sees."""
    by_name = {shape.name: shape for shape in shapes}
    named = []
    for part in text.split(" and "):
        if pair := re.fullmatch(rf"a ({A}) ({WHERE}) a ({A})", part):
            a, b = by_name.get(pair[1]), by_name.get(pair[3])
            named += [pair[1], pair[3]]
            if not (a and b and holds(pair[2], a, b)):
                return False
        elif alone := re.fullmatch(rf"a ({A}) in the (top|bottom) (left|right)", part):
            a = by_name.get(alone[1])
            named.append(alone[1])
            if not (a and (a.y < size / 2) == (alone[2] == "top") and (a.x < size / 2) == (alone[3] == "left")):
                return False
        else:
            return False
    return sorted(named) == sorted(by_name)


def right_answer(question, shapes):
    """What a witness answers; None where the question has no one answer."""
    by_name = {shape.name: shape for shape in shapes}
    colours, kinds = Counter(shape.colour for shape in shapes), Counter(shape.kind for shape in shapes)
    if question == "how many shapes":
        return NUMBERS[len(shapes)]
    if found := re.fullmatch(r"how many (\w+) shapes", question):
        return NUMBERS[colours[found[1]]]
    if found := re.fullmatch(r"what colour is the (\w+)", question):
        return next(shape.colour for shape in shapes if shape.kind == found[1]) if kinds[found[1]] == 1 else None
    if found := re.fullmatch(r"what is (\w+)", question):
        return next(shape.kind for shape in shapes if shape.colour == found[1]) if colours[found[1]] == 1 else None
    if found := re.fullmatch(rf"is there a ({A})", question):
        return "yes" if found[1] in by_name else "no"
    if found := re.fullmatch(rf"is the ({A}) ({WHERE}) the ({A})", question):
        return "yes" if holds(found[2], by_name[found[1]], by_name[found[3]]) else "no"
    found = re.fullmatch(rf"what is ({WHERE}) the ({A})", question)
    there = [shape for shape in shapes if shape.name != found[2] and holds(found[1], shape, by_name[found[2]])]
    return there[0].kind if len(there) == 1 else None


def test_every_caption_is_true(told):
    size, scenes = told
    for shapes, text, _ in scenes:
        assert caption_is_true(text, shapes, size), (text, shapes)


def test_every_answer_is_right(told):
    for shapes, _, asked in told[1]:
        for question, answer in asked:
            assert right_answer(question, shapes) == answer, (question, answer, shapes)


def test_the_judge_finds_what_is_false(told):
    size, scenes = told
    shapes, text, _ = next(scene for scene in scenes if " left of " in scene[1] and " and " not in scene[1])
    for false in (
        text.replace("left", "right"),
        text.replace("left of", "above"),
        re.sub(r"a \w+", "a white", text),
        f"{text} and {text}",
    ):
        assert not caption_is_true(false, shapes, size)
    assert right_answer("how many shapes", shapes) == "two"


def test_every_sentence_is_in_the_vocabulary_and_fits():
    assert len(WORDS) == len(set(WORDS)) <= 40
    unknown = WORDS.index("<unk>")
    used = set()
    for nested in (0.0, 1.0):
        scenes = Scenes(COUNT, 2, nested=nested)
        found = scenes.columns(range(COUNT), ("caption", "question", "answer"))
        used |= {int(number) for ids in found.values() for number in np.unique(ids)}
        for scene in things_of(scenes.layout(scenes.items), scenes.columns(range(COUNT), ["boxes"])["boxes"]):
            for question, answer in (pair for sort in questions(scene) for answers in sort for pair in answers):
                assert unknown not in encode(question, QUESTION)
                assert answer in WORDS
    assert unknown not in used
    assert found["caption"].shape == (COUNT, CAPTION)
    assert {WORDS[number] for number in used} == set(WORDS) - {"<unk>", "moves", "up", "down"}


def test_questions_of_every_sort_are_asked_and_yes_is_as_frequent_as_no():
    found = Scenes(4000, 5).columns(range(4000), ("question", "answer"))
    answers = Counter(WORDS[number] for number in found["answer"])
    assert abs(answers["yes"] - answers["no"]) < 5 * np.sqrt(answers["yes"] + answers["no"])
    sorts = Counter(re.sub(rf"\b({'|'.join([*HUES, *KINDS])})\b", "*", decode(ids)) for ids in found["question"])
    assert len(sorts) == 5 + 4 + 4  # one way to ask each, and two that name one of four directions
    assert min(sorts.values()) > 40


def test_words_to_numbers_and_back():
    ids = encode("What is left of the red  disc?", 12)
    assert ids.dtype == np.int64
    assert [WORDS[number] for number in ids] == [
        *("<start>", "what", "is", "left", "of", "the", "red", "disc", "<end>", "<pad>", "<pad>", "<pad>")
    ]
    assert decode(ids) == "what is left of the red disc"
    assert decode(ids[1:4]) == "what is left"
    assert decode([*ids, *ids]) == decode(ids)  # ends at the first <end>
    assert decode(encode("a purple disc", 5)) == "a <unk> disc"
    assert decode(encode("a <unk> disc", 5)) == "a <unk> disc"


def test_what_does_not_fit_is_refused(refused):
    with refused('"a red disc" takes 5 numbers', "more than the length 4"):
        encode("a red disc", 4)
    for wrong in (40, -1):
        with refused(f"{wrong} is not the number of a word", "0 to 39"):
            decode([1, wrong])


@pytest.mark.parametrize(
    ("box", "where"),
    [
        ((0, 4, 4, 8), "left of"),
        ((16, 4, 20, 8), "right of"),
        ((8, 0, 12, 3), "above"),
        ((8, 13, 12, 17), "below"),
        ((7, 7, 11, 11), "in"),
        ((6, 6, 12, 12), "in"),
        ((0, 0, 4, 4), "left of"),  # as far up as left
    ],
)
def test_a_relation_goes_by_the_larger_difference(box, where):
    assert relation(Thing("disc", "red", box), Thing("ring", "blue", (6, 6, 12, 12))) == where
