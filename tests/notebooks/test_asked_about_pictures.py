"""The experiment of notebook 33: its controls control what it says."""

import numpy as np
from experiments import asked_about_pictures as experiment

from minivit.data import load
from minivit.data.scenes_words import NUMBER_OF, encode


def batch_of(*pairs):
    questions, found = zip(*pairs, strict=True)
    return {
        "question": np.array([encode(question, 12) for question in questions]),
        "answer": np.array([NUMBER_OF[word] for word in found]),
    }


def test_words_alone_answer_what_is_most_frequent():
    train = batch_of(
        ("what is red", "disc"), ("what is red", "ring"), ("what is red", "ring"), ("what is blue", "disc"),
        ("what is green", "disc"), ("how many shapes", "two"),
    )  # fmt: skip
    test = batch_of(
        ("what is red", "ring"), ("what is yellow", "disc"), ("what is yellow", "ring"), ("what is red", "disc")
    )
    assert experiment.words_alone(train, test).tolist() == [True, True, False, False]


def test_a_bridge_leaves_language_model_and_encoder_as_they_were(monkeypatch):
    for name, value in (("TEXT_STEPS", 2), ("BRIDGE_STEPS", 3), ("GATES", (0, 3)), ("BATCH", 8)):
        monkeypatch.setattr(experiment, name, value)
    data = load("scenes").limit(40)
    objective, _ = experiment.preset_run("scenes-flamingo", 0, data, steps=2, batch_size=8)
    known = experiment.asked(data, objective)
    language, _ = experiment.text_model(experiment.decoder(objective), known, 0)
    parts = language, objective.encoder
    for kind in experiment.BRIDGES:
        before = [x.data.copy() for part in parts for _, x in part.named_tensors()]
        found = experiment.bridge_run(kind, objective.encoder, language, 0, known, known)
        after = [x.data for part in parts for _, x in part.named_tensors()]
        assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))
        assert len(before) > 20
        if kind == "gated blocks":
            assert found["gates"][0] == [0.0] * 4
            assert all(found["gates"][1])
