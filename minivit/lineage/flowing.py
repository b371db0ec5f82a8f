"""What objectives that learn to denoise share; and what rectified flows share: times drawn as sigmoids of normal
numbers, the target eps - x_0, Euler's way back."""

from typing import Any

import numpy as np

from minivit.backend import Array, to_numpy, xp_of
from minivit.errors import ConfigError
from minivit.lineage import diffusion
from minivit.models import ViTConfig
from minivit.nn import Module
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Objective, Outputs


def plain_shape(given: Any, name: str) -> ViTConfig:
    """The model of a `lineage.Given`. Raises ConfigError unless it is a plain ViT without starting weights."""
    shape = given.model
    if not isinstance(shape, ViTConfig) or shape.stem or shape.drop_path or shape.layer_scale:
        raise ConfigError(f"{name} needs the shape of a plain ViT, without a stem, drop_path and layer_scale")
    if given.start is not None:
        raise ConfigError(f"{name} begins with weights of its own: leave out --init-from")
    return shape


class Denoiser(Objective):
    """Sees images in noise, and predicts what leads out of it.

    batch: images (B, height, width, C) in -1..1; noise, of the shape of the images; time (B,); dropped (B,), whether
    training hides the condition, such as labels (B,). A subclass has `network`, `config` with `drop`, and `shape`, of
    an image.
    """

    config: Any
    network: Any
    shape: tuple[int, ...]
    has_features = False

    @staticmethod
    def needs(config: Any) -> dict[str, Any]:
        """Fields of ViTConfig: no [class] token, fixed positions."""
        return {"classifier": "gap", "position": "sincos2d"}

    @property
    def encoder(self) -> Module:
        found: Module = self.network
        return found

    def features(self, images: Array) -> Tensor:
        raise NotImplementedError("a denoising network has no features of an image without noise")

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        count = size(batch)
        time, noise = self.draw_times(count, rng), rng.standard_normal((count, *self.shape), np.float32)
        return {"noise": noise, "time": time, "dropped": rng.random(count) < self.config.drop}

    def draw_times(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Sigmoids of normal numbers."""
        return 1 / (1 + np.exp(-rng.standard_normal(count)))

    def labels(self, batch: Batch) -> Array:
        """The classes, in training with K, "none", in place of those that are hidden."""
        labels = batch["labels"]
        return labels + batch["dropped"] * (self.network.config.num_classes - labels) if self.training else labels

    def told(self, x: Tensor | Array, condition: Array, time: Array, rng: Any = None) -> Tensor:
        """The prediction under a condition, such as classes (B,)."""
        raise NotImplementedError

    def predictor(self, condition: np.ndarray) -> diffusion.Predict:
        """`told` under this condition, as a function of arrays x and t on the host."""

        def predict(x: np.ndarray, t: np.ndarray) -> np.ndarray:
            with no_grad(), self.evaluating():
                xp = xp_of(self.network.first_array())
                return to_numpy(self.told(xp.asarray(x), xp.asarray(condition), xp.asarray(t)).data).astype(float)

        return predict


class Flow(Denoiser):
    """Predicts the direction eps - x_0 of a straight line from images x_0 to noise eps.

    batch: as in `Denoiser`, time in 0..1. The configuration has `guidance` and `walk`, too; `forward` of a subclass
    reads the condition.
    """

    def noised(self, batch: Batch) -> Tensor:
        """x_t = (1 - t) x_0 + t eps."""
        t = self.network.like(batch["time"])[:, None, None, None]
        return self.tensor(batch["images"]) * (1 - t) + self.tensor(batch["noise"]) * t

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        error = outputs[0] - (self.tensor(batch["noise"]) - self.tensor(batch["images"]))
        return (error * error).mean()

    def sample(
        self, condition: np.ndarray, none: Any, rng: np.random.Generator, shape: tuple[int, ...] | None = None
    ) -> np.ndarray:
        """New images (B, height, width, C) under a condition, in float64.   none: the condition that says nothing.
        shape: of an image, if not that of training."""
        both = np.concatenate([condition, np.full_like(condition, none)])
        x = rng.standard_normal((len(condition), *(shape or self.shape)))
        predict = diffusion.with_guidance(self.predictor(both), self.config.guidance, x.shape[-1])
        *_, last = diffusion.euler(predict, np.concatenate([x, x]), diffusion.times(self.config.walk))
        return last[: len(condition)]
