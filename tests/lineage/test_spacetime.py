"""Patches of space and time: what attends to what, their order, and clips of other shapes."""

import numpy as np
import pytest

from minivit.errors import ConfigError
from minivit.lineage import Given, spacetime
from minivit.lineage.dit import DiT
from minivit.lineage.spacetime import ClipFlow, SpacetimeConfig, SpacetimeDiT
from minivit.models import ViTConfig
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

SHAPE = {"classifier": "gap", "position": "sincos2d"}


def small(seed=0, **own):
    """A network for clips of 4 frames, 4x6 pixels, 2 channels, whose zeros are drawn."""
    network = SpacetimeDiT(ViTConfig((4, 6), 2, 8, 2, 2, 16, 3, 8, **SHAPE), SpacetimeConfig(4, **own), seed, "float64")
    rng = np.random.default_rng(1)
    for parameter in network.parameters():
        parameter.data[...] += rng.normal(0, 0.3, parameter.shape)
    return network.eval()


def test_a_tubelet_holds_its_frames_rows_columns_and_channels_in_this_order():
    network, x = small(), np.random.default_rng(0).normal(size=(2, 4, 6, 8))
    clip = x.reshape(2, 4, 6, 4, 2)  # frames are stacked as channels, frame after frame
    pixels, grid = network.tubelets(Tensor(x))
    tokens = pixels.data
    assert grid == (2, 2, 3)
    assert tokens.shape == (2, 2 * 2 * 3, 16)
    for n, (time, row, column) in enumerate(np.ndindex(2, 2, 3)):
        piece = clip[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 2 * time : 2 * time + 2]
        assert np.array_equal(tokens[:, n], piece.transpose(0, 3, 1, 2, 4).reshape(2, -1))
    assert np.array_equal(network.clips(pixels, grid).data, x)


def test_positions_differ_in_time_row_and_column_and_continue():
    table = spacetime.table((3, 2, 3), 16).reshape(3, 2, 3, 16)
    assert len(np.unique(table.reshape(-1, 16).round(12), axis=0)) == 18
    assert np.array_equal(table[:, 0, 0, 8:], table[[0], 0, 0, 8:].repeat(3, axis=0)), "the second half is of space"
    assert np.array_equal(table[0, :, :, :8], table[[0], [0], [0], :8].reshape(1, 1, 8).repeat(2, 0).repeat(3, 1))
    longer = spacetime.table((5, 3, 4), 16).reshape(5, 3, 4, 16)
    assert np.array_equal(longer[:3, :2, :3], table)


def reach(network):
    """Whether a change in the first two frames changes the prediction for the last two."""
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 8))
    other = x.copy()
    other[..., :4] += 1
    t, y = np.array([300.0, 700.0]), np.array([0, 3])
    one, two = network(x, t, y).data, network(other, t, y).data
    assert not np.allclose(one[..., :4], two[..., :4])
    return not np.allclose(one[..., 4:], two[..., 4:], rtol=0, atol=1e-9)


def test_all_times_see_each_other_and_those_of_the_control_do_not():
    assert reach(small())
    assert not reach(small(joint=False))


def test_clips_do_not_mix():
    """A clip's prediction is its own, with the control's fold of times into examples too."""
    x, t, y = np.random.default_rng(0).normal(size=(3, 4, 6, 8)), np.array([10.0, 500, 900]), np.array([0, 1, 3])
    for joint in (True, False):
        network, order = small(joint=joint), [2, 0, 1]
        assert np.allclose(network(x[order], t[order], y[order]).data, network(x, t, y).data[order], atol=1e-12)


@pytest.mark.parametrize("joint", [True, False])
def test_clips_of_one_frame_are_images_of_a_dit(joint):
    """The blocks, the condition and the pixels agree; the position of the one time is a constant."""
    shape, own = ViTConfig(4, 2, 8, 2, 2, 16, 3, 2, **SHAPE), SpacetimeConfig(1, 1, joint)
    network, image = SpacetimeDiT(shape, own, 0, "float64").eval(), DiT(shape, 1, True, 1, "float64").eval()
    rng = np.random.default_rng(2)
    theirs = dict(image.named_tensors())
    for name, parameter in network.named_parameters():
        parameter.data[...] = rng.normal(0, 0.3, parameter.shape)
        theirs[name.replace("condition.", "conditions.0.")].data[...] = parameter.data
    image.positions.data[...] = network.table.data
    x, t, y = rng.normal(size=(2, 4, 4, 2)), np.array([5.0, 700.0]), np.array([1, 3])
    assert np.allclose(network(x, t, y).data, image(x, t, y).data, rtol=0, atol=1e-12)


def test_a_longer_and_a_wider_clip_can_be_sampled():
    objective, _ = spacetime.tiny()
    clips = objective.sample(np.array([0, 2]), 3, np.random.default_rng(0), (4, 8, 6))
    assert clips.shape == (2, 4, 8, 6)
    again = objective.sample(np.array([0, 2]), 3, np.random.default_rng(0), (4, 8, 6))
    assert np.array_equal(clips, again)
    with pytest.raises(ValueError, match="do not tile"):
        objective.sample(np.array([0]), 3, np.random.default_rng(0), (4, 8, 5))
    assert {name: x.shape for name, x in objective.pictures(np.random.default_rng(0)).items()} == {
        f"class {label}": (4, 4, 4, 1) for label in range(3)
    }


def test_a_sample_goes_beyond_the_class_by_the_guidance(monkeypatch):
    """Of a network that sees the velocity 1 for class 0, 3 for class 1 and 10 for none."""
    objective, _ = spacetime.tiny()
    velocity = np.array([1.0, 3.0, 0.0, 10.0])
    monkeypatch.setattr(ClipFlow, "told", lambda self, x, y, t: Tensor(x * 0 + velocity[y][:, None, None, None]))
    made = objective.sample(np.array([0, 1]), 3, np.random.default_rng(0))
    start = np.random.default_rng(0).standard_normal(made.shape)
    assert objective.config.guidance == 2
    assert np.allclose(start - made, np.array([10 + 2 * (1 - 10), 10 + 2 * (3 - 10)])[:, None, None, None], atol=1e-12)


def test_the_network_is_told_1000_times_the_time():
    objective, _ = spacetime.tiny("float64")
    x, y, t = np.random.default_rng(0).normal(size=(1, 4, 4, 4)), np.array([1]), np.array([0.25])
    objective.eval()
    assert np.array_equal(objective.told(x, y, t).data, objective.network(x, 1000 * t, y).data)


def test_it_learns_that_frames_belong_together():
    """Every clip is black or white in all its frames; without attention between times the frames disagree."""
    known = np.array([-1.0, 1.0])[:, None, None, None] * np.ones((1, 2, 2, 4))

    def disagreement(joint):
        shape = ViTConfig(2, 2, 16, 1, 2, 32, 1, 4, **SHAPE)
        config = SpacetimeConfig(4, 1, joint, walk=8, guidance=1.0)
        objective = ClipFlow(config, SpacetimeDiT(shape, config, 0, "float64"))
        optimizer = AdamW(objective.named_parameters(), lr=1e-2, weight_decay=0.0)
        for i in range(150):
            batch = {"images": known[np.arange(16) % 2], "labels": np.zeros(16, int)}
            batch |= objective.draw(batch, i, np.random.default_rng(i))
            loss = objective.loss(objective(batch), batch)
            optimizer.step(grad(loss, optimizer.parameters))
        frames = objective.sample(np.zeros(30, int), 1, np.random.default_rng(1)).mean(axis=(1, 2))
        return np.mean(frames.std(axis=1) > 0.5)

    assert disagreement(True) < 0.2 < 0.6 < disagreement(False)


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"tubelet": 3}, {"drop": 0.0}, {"walk": 0}], ids=str)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SpacetimeConfig(**wrong)


def test_what_it_cannot_be_made_of_is_refused():
    with pytest.raises(ConfigError, match="multiples of 8 and of the 4"):
        ClipFlow.build(SpacetimeConfig(4), Given(ViTConfig(8, 2, 8, 1, 2, 16, 3, 6), "abc", 6))
