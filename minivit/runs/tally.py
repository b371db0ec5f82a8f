"""Training metrics since the last evaluation."""

import dataclasses
from typing import Any

import numpy as np

from minivit.update.step import StepResult


@dataclasses.dataclass
class Tally:
    """Sums over steps: "steps", their number, "loss", and each sum of the objective, by name."""

    sums: dict[str, float] = dataclasses.field(default_factory=lambda: {"steps": 0})

    def add(self, result: StepResult, steps: int) -> None:
        """Add a number of steps with these means. A name missing at the first step is not counted."""
        scalars = {name: float(mean) for name, mean in result.means.items() if not np.ndim(mean)}
        known = self.sums if self.sums["steps"] else {"loss", *scalars}
        for name, mean in {"loss": result.loss, **scalars}.items():
            if name not in known:
                continue
            self.sums[name] = self.sums.get(name, 0.0) + mean * steps
        self.sums["steps"] += steps

    def means(self) -> dict[str, Any]:
        """The mean of each over the steps; empty without steps."""
        sums, steps = dict(self.sums), self.sums["steps"]
        del sums["steps"]
        return {name: total / steps for name, total in sums.items()} if steps else {}
