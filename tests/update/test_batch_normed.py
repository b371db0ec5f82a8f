"""Classification by a network with batch normalisation: its running statistics follow what a batch has shown."""

import numpy as np
import pytest

from minivit import lineage
from minivit.lineage.convnext import ConvNeXtConfig
from minivit.lineage.efficientnet import EfficientNet, EfficientNetConfig
from minivit.nn.batch_norm import batch_statistics
from minivit.runs.recipes import Recipe
from minivit.update.batch_normed import BatchNormedClassification, has_batch_norm
from minivit.update.objective import Classification

SMALL = EfficientNetConfig(
    expansions=(1,), widths=(8,), repeats=(1,), strides=(1,), kernels=(3,), stem=8, features=8, num_classes=3,
    image_size=4, stem_stride=1,
)  # fmt: skip


def some(count=6, seed=0):
    rng = np.random.default_rng(seed)
    return {"images": rng.normal(size=(count, 4, 4, 3)), "labels": rng.integers(0, 3, count)}


def test_running_statistics_move_towards_the_mean_over_pieces():
    network = EfficientNet(SMALL, 0, "float64")
    objective, batch = BatchNormedClassification(network, label_smoothing=0.1).train(), some()
    plain = Classification(network, label_smoothing=0.1).train()
    pieces = [{name: x[rows] for name, x in batch.items()} for rows in (slice(0, 4), slice(4, 6))]
    seen, total = [], 0
    for piece in pieces:
        with batch_statistics() as of_piece:
            logits = network(piece["images"])
        seen.append(of_piece[network.bn1]["mean"])
        outputs = objective(piece)
        assert np.array_equal(outputs[0].data, logits.data)
        assert objective.loss(outputs, piece).item() == plain.loss((logits,), piece).item()
        sums = objective.sums(outputs, piece)
        assert sums["accuracy"] == plain.sums((logits,), piece)["accuracy"]
        total = total + sums["statistics"]
    assert not network.bn1.running_mean.data.any()  # nothing has changed so far
    objective.after_update({"statistics": total / 6}, batch)
    assert np.allclose(network.bn1.running_mean.data, 0.1 * (4 * seen[0] + 2 * seen[1]) / 6)


def test_evaluation_has_nothing_to_keep():
    objective, batch = BatchNormedClassification(EfficientNet(SMALL, 0, "float64")).eval(), some()
    outputs = objective(batch)
    assert (len(outputs), objective.sums(outputs, batch).keys()) == (1, {"accuracy"})


@pytest.mark.parametrize(
    ("config", "kind"),
    [(SMALL, BatchNormedClassification), (ConvNeXtConfig((1,), (8,), (1,), 4, num_classes=3), Classification)],
)
def test_a_recipe_gets_what_its_network_needs(config, kind):
    objective = lineage.build(Recipe(model=config), lineage.Given(config, ["a", "b", "c"], 10))
    assert type(objective) is kind
    assert has_batch_norm(objective.encoder) == (kind is BatchNormedClassification)
