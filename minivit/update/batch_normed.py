"""Classification by a network with batch normalisation, whose running statistics change after every update."""

from collections.abc import Mapping

from minivit.backend import Array
from minivit.nn import BatchNorm, Module
from minivit.nn.batch_norm import batch_statistics, statistics_rows, update_running
from minivit.nn.layers import Rng
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Classification, Outputs


class BatchNormedClassification(Classification):
    """As `Classification`. In training there is a second output, the statistics that the layers saw, (B, S).

    Every piece of a batch is normalised by its own statistics, so here results depend on how a batch is cut.
    """

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        if not self.training:
            return super().forward(batch, rng)
        with batch_statistics() as seen:
            (logits,) = super().forward(batch, rng)
        return logits, statistics_rows(self.model, seen, len(logits.data))

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        return super().loss(outputs[:1], batch)

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        found = super().sums(outputs, batch)
        return {**found, "statistics": outputs[1].data.sum(axis=0)} if len(outputs) > 1 else found

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        update_running(self.model, means["statistics"])


def has_batch_norm(module: Module) -> bool:
    """Whether a BatchNorm is inside."""
    return isinstance(module, BatchNorm) or any(has_batch_norm(child) for _, child in module.named_children())
