"""What LLaVA and Flamingo share: sorts of questions, and which answers survive that the image is exchanged."""

from types import SimpleNamespace

import numpy as np
import pytest

from minivit.data import Scenes
from minivit.data.scenes_words import encode
from minivit.lineage import answers, flamingo, llava


def test_every_question_has_its_sort():
    asked = {
        "how many shapes": "count",
        "how many red shapes": "count",
        "what colour is the disc": "colour",
        "what is red": "shape",
        "is there a red disc": "presence",
        "is the red disc left of the blue ring": "place",
        "what is left of the blue ring": "place",
        "what is in the blue ring": "place",
    }
    sorts = answers.sort_of(np.array([encode(question, 12) for question in asked]))
    assert [answers.SORTS[i] for i in sorts] == list(asked.values())


@pytest.mark.parametrize("system", [llava, flamingo])
def test_controls_of_a_trained_looker(system, monkeypatch):
    """It answers the first question of every two, and only with its own image: what `read` is given decides."""
    objective = system.tiny()[0].eval()
    data = Scenes(6, 0, 16)
    columns = data.columns(range(6), objective.columns)
    asked = columns["answer"]
    shape = objective.project(columns["images"][:1].astype(np.float32)).shape
    monkeypatch.setattr(objective, "config", SimpleNamespace(**{**vars(objective.config), "text": "question"}))
    monkeypatch.setattr(objective, "project", lambda images: llava.Tensor(told(images, shape)))

    def told(images, shape):
        """Rows that say their sum in the first token alone."""
        rows = np.zeros((len(images), *shape[1:]))
        rows[..., 0, :] = images[:, :1, :1, :1].reshape(len(images), *[1] * (rows.ndim - 2))
        return rows

    def read(rows, ids, seen):
        number = rows.data[..., 0, 0].reshape(len(ids))
        z = np.zeros((*ids.shape, 41))
        for n, i in enumerate(number):
            z[n, :, asked[int(i)] if i == int(i) and i < 6 else 0] = 1
        return llava.Tensor(z)

    monkeypatch.setattr(objective, "read", read)
    numbers = np.arange(6.0)[:, None, None, None] * np.ones((1, 1, 1, 3)) + 0.0
    monkeypatch.setattr(objective, "prepare", lambda columns, augment, rng: {**columns, "images": numbers})
    batch = {**columns, "images": numbers, **objective.draw(columns, 0, np.random.default_rng(0))}
    found, counted = answers.right(objective, batch, 0)
    assert counted.sum() == 6
    right = {kind: (hits & counted).any(axis=1) for kind, hits in found.items()}
    assert right["its own image"].all()
    assert (right["another image"] == (asked == np.roll(asked, -1))).all()
    recipe = SimpleNamespace(seed=0, augment=SimpleNamespace(evaluation=lambda: None))
    lines = system.HOW["controls"](objective, data, recipe)
    assert lines[0].startswith("words: 100.0% right with its own image (")
    assert [line.partition(" right with ")[2].partition(" (")[0] for line in lines] == list(answers.CONTROLS)


def test_the_resampler_does_not_notice_another_order_and_the_decoder_does():
    for system, same in ((flamingo, True), (llava, False)):
        objective, data = system.tiny("float64")
        objective.eval()
        columns = data.columns(range(4), objective.columns)
        batch = {**columns, **objective.draw(columns, 0, np.random.default_rng(0))}
        rows = objective.project(columns["images"] / 127.5 - 1)
        turned = rows[..., np.array([2, 0, 3, 1]), :]
        z, mixed = (objective.read(x, batch["ids"], batch["seen"]).data for x in (rows, turned))
        assert np.allclose(z, mixed, rtol=0, atol=1e-12) == same
