"""The dials show the angles that they are given."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
rotation = pytest.importorskip("minivit.lessons.pictures.rotation")


def test_there_is_a_hand_for_each_pair_and_column_at_its_angle():
    angles = np.array([[0.0, 0.5, 1.0], [0.0, 0.1, 0.2]])
    axes = rotation.turning_pairs(angles, ["fast", "slow"]).axes[0]
    hands = [patch for patch in axes.patches if hasattr(patch, "_posA_posB")]
    (xa, ya), (xb, yb) = hands[2]._posA_posB
    plt.close("all")
    assert len(hands) == angles.size
    assert np.arctan2(ya - yb, xb - xa) == pytest.approx(1.0)
    assert [text.get_text() for text in axes.texts if text.get_text()][:4] == [
        "column 0",
        "column 1",
        "column 2",
        "fast",
    ]
