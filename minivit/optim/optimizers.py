"""AdamW and SGD with momentum: update rules written as in their papers, in place and without temporaries to spare."""

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence

from minivit.backend import Array, xp_of
from minivit.backend.tiles import flat_tiles
from minivit.backend.workers import Workers
from minivit.optim.rates import Rates, factors
from minivit.optim.schedules import Schedule, at
from minivit.optim.state import Parameters, ParameterState
from minivit.protocol import gradients_for
from minivit.tensor import Tensor


def is_kernel(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies by default: to kernels (matrices called "weight"), as in big_vision and AugReg.

    Biases, LayerNorm scales, the [class] token and position embeddings do not decay. A tensor without a name counts
    as a kernel if it has two axes or more.
    """
    return name.rpartition(".")[2] == "weight" if name else parameter.ndim >= 2


class Optimizer(ParameterState):
    """Shared by AdamW and SGD: parameters by name, their learning rates and weight decays.

    lr, weight_decay: a number, or a schedule that is called with the number of updates done so far. decay: a function
    of name and Tensor that tells which parameters decay.   rates: factors on the learning rate, by name or as a
    function of it (`layer_rates`), again numbers or schedules. A factor of 0 holds a parameter, but updates its
    moments.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float | Schedule,
        weight_decay: float | Schedule = 0.0,
        decay: Callable[[str, Tensor], bool] = is_kernel,
        rates: Rates | None = None,
    ):
        super().__init__(parameters, lambda data: xp_of(data).zeros_like(data))
        self.lr = lr
        self.weight_decay = weight_decay
        self.rates = factors(rates, self.names)
        self.decays = [bool(decay(*pair)) for pair in zip(self.names, self.parameters, strict=True)]

    def current_lr(self) -> float:
        """The learning rate of the next update."""
        return at(self.lr, self.steps)

    def current(self) -> list[tuple[float, float]]:
        """Learning rate and weight decay of each parameter in the next update."""
        lr, weight_decay = self.current_lr(), at(self.weight_decay, self.steps)
        pairs = zip(self.rates, self.decays, strict=True)
        return [(lr * at(rate, self.steps), weight_decay * decays) for rate, decays in pairs]

    def scalars(self) -> dict[str, float]:
        """What a GPU kernel needs beside `current`, by the names in `FlatParameters`, after the update is counted.
        Betas are rounded to float32 first, because a kernel computes 1 - beta from the rounded value."""
        raise NotImplementedError

    def step(
        self,
        grads: Iterable[Array] | None = None,
        scale: float | Sequence[float] = 1.0,
        workers: Workers | None = None,
    ) -> None:
        """Update every parameter in place from `grads` (same order), or from the parameters' `.grad`, times `scale`.

        scale: a number, or one for each parameter.   workers: number of threads, which affects only speed.
        Raises ValueError if a gradient is missing, not an array or of another shape; then nothing has changed.
        """
        given = [p.grad for p in self.parameters] if grads is None else grads
        grads = gradients_for(self.parameters, self.names, given)
        scales = scale if isinstance(scale, Sequence) else [scale] * len(grads)
        current = self.current()
        self.steps += 1

        def update(piece: tuple[int, tuple[Array, ...]]) -> None:
            i, (p, g, *state) = piece
            lr, decay = current[i]
            self.update(p, g if scales[i] == 1 else g * scales[i], *state, lr=lr, decay=decay)

        slots = [self.state[slot] for slot in self.slots]
        groups = zip([p.data for p in self.parameters], grads, *slots, strict=True)
        pieces = ((i, tile) for i, arrays in enumerate(groups) for tile in flat_tiles(*arrays))
        (workers or Workers(1)).map(update, pieces, size=lambda piece: piece[1][0].size)

    def update(self, p: Array, g: Array, *state: Array, lr: float, decay: float) -> None:
        """Apply one update in place to (part of) a parameter, given its gradient `g` and its state arrays."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget every `.grad`."""
        for parameter in self.parameters:
            parameter.grad = None


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019), as torch and optax compute it.

    m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  t = 1, 2, ...
    p <- p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay p)

    decay: by default kernels only (`is_kernel`), as in big_vision; `lambda name, p: True` decays everything, as the
    optimiser of the published 2020 code did. The other arguments: `Optimizer`.
    """

    slots = ("m", "v")

    def __init__(
        self,
        parameters: Parameters,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Schedule = 0.0,
        decay: Callable[[str, Tensor], bool] = is_kernel,
        rates: Rates | None = None,
    ):
        super().__init__(parameters, lr, weight_decay, decay, rates)
        b1, b2 = betas
        self.betas = b1, b2
        self.eps = eps

    def scalars(self) -> dict[str, float]:
        b1, b2 = (ctypes.c_float(b).value for b in self.betas)
        corrections = {"correction_1": 1 / (1 - b1**self.steps), "correction_2": (1 - b2**self.steps) ** -0.5}
        return {"b1": b1, "b2": b2, "eps": self.eps, **corrections}

    def update(self, p: Array, g: Array, m: Array, v: Array, *, lr: float, decay: float) -> None:  # type: ignore[override]
        b1, b2 = self.betas
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * g * g
        denominator = xp_of(v).sqrt(v)
        denominator *= 1 / math.sqrt(1 - b2**self.steps)
        denominator += self.eps
        if decay:
            p *= 1 - lr * decay  # the decay of the old p, before the step is taken off
        p -= (lr / (1 - b1**self.steps)) * m / denominator


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, the fine-tuning optimiser of the paper (appendix B.1.1).

    v <- momentum v + g,  p <- p - lr v.   No Nesterov term. decay as in AdamW (decoupled), off by default.
    """

    slots = ("v",)

    def __init__(
        self,
        parameters: Parameters,
        lr: float | Schedule = 0.01,
        momentum: float = 0.9,
        weight_decay: float | Schedule = 0.0,
        decay: Callable[[str, Tensor], bool] = is_kernel,
        rates: Rates | None = None,
    ):
        super().__init__(parameters, lr, weight_decay, decay, rates)
        self.momentum = momentum

    def scalars(self) -> dict[str, float]:
        return {"momentum": self.momentum}

    def update(self, p: Array, g: Array, v: Array, *, lr: float, decay: float) -> None:  # type: ignore[override]
        v *= self.momentum
        v += g
        if decay:
            p *= 1 - lr * decay
        p -= lr * v
