"""The picture of noise draws every stage, and an arrow each way between neighbours."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
noise = pytest.importorskip("minivit.lessons.pictures.noise")
patches = pytest.importorskip("matplotlib.patches")


def test_arrows_lead_both_ways_between_the_stages():
    stages = [(f"x{i}", np.full((2, 2), i / 2 - 1)) for i in range(4)]
    noise.there_and_back(stages)
    axes = plt.gcf().axes[0]
    arrows = [patch for patch in axes.patches if isinstance(patch, patches.FancyArrowPatch)]
    between = {}
    for arrow in arrows:
        (begin, _), (end, _) = arrow._posA_posB
        if arrow.get_edgecolor() != arrows[-1].get_edgecolor():  # that of the network's inputs and outputs
            between.setdefault(arrow.get_edgecolor(), []).append(np.sign(end - begin))
    texts = [text.get_text() for text in axes.texts]
    plt.close("all")
    assert sorted(between.values()) == [[-1.0] * 3, [1.0] * 3]
    assert [name for name, _ in stages] == [text for text in texts if text.startswith("x")]
