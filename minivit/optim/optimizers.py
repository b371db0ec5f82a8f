"""AdamW and SGD with momentum: update rules written as in their papers, in place and without temporaries to spare."""

import math
from collections.abc import Callable, Iterable, Sequence

from minivit.backend import Array, xp_of
from minivit.backend.arrays import asarray_like
from minivit.backend.tiles import flat_tiles
from minivit.backend.workers import Workers
from minivit.optim.schedules import Schedule
from minivit.protocol import gradients_for, named_leaves, state_keys
from minivit.tensor import Tensor

Parameters = Iterable[Tensor | tuple[str, Tensor]]


def is_kernel(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies by default: to kernels (matrices called "weight"), as in big_vision and AugReg.

    Biases, LayerNorm scales, the [class] token and position embeddings do not decay. A tensor without a name counts
    as a kernel if it has two axes or more.
    """
    return name.rpartition(".")[2] == "weight" if name else parameter.ndim >= 2


def copy_arrays(sources: Sequence[Array], targets: Sequence[Array], names: Sequence[str]) -> None:
    """Copy each source into its target. Raises ValueError for another shape; then nothing has been copied."""
    for source, target, name in zip(sources, targets, names, strict=True):
        if source.shape != target.shape:
            raise ValueError(f"load_state_dict: {name} has shape {source.shape}, expected {target.shape}")
    for source, target in zip(sources, targets, strict=True):
        target[...] = asarray_like(source, target)


class Optimizer:
    """What AdamW and SGD share: parameters, the learning rate, the step counter, state by name.

    parameters: Tensors, or (name, Tensor) pairs such as `model.named_parameters()`; lr: a number, or a schedule that
    is called with the number of updates done so far. Raises what `named_leaves` raises for other parameters.
    """

    slots: tuple[str, ...] = ()  # names of the per-parameter state arrays

    def __init__(
        self,
        parameters: Parameters,
        lr: float | Schedule,
        weight_decay: float = 0.0,
        decay: Callable[[str, Tensor], bool] = is_kernel,
    ):
        pairs = named_leaves(parameters, type(self).__name__)
        self.names = [name for name, _ in pairs]
        self.parameters = [parameter for _, parameter in pairs]
        self.lr = lr
        self.steps = 0
        self.decays = [weight_decay * decay(*pair) for pair in zip(self.names, self.parameters, strict=True)]
        self.state = {slot: [xp_of(p.data).zeros_like(p.data) for p in self.parameters] for slot in self.slots}

    def current_lr(self) -> float:
        """The learning rate of the next update."""
        return float(self.lr(self.steps) if callable(self.lr) else self.lr)  # a NumPy scalar would widen float32

    def step(self, grads: Iterable[Array] | None = None, scale: float = 1.0, workers: Workers | None = None) -> None:
        """Update every parameter in place from `grads` (same order), or from the parameters' `.grad`, times `scale`.

        workers: threads that share the work, which changes nothing else.
        Raises ValueError if a gradient is missing, no array or of another shape; then nothing has changed.
        """
        given = [p.grad for p in self.parameters] if grads is None else grads
        grads = gradients_for(self.parameters, self.names, given)
        lr = self.current_lr()
        self.steps += 1

        def update(piece: tuple[int, tuple[Array, ...]]) -> None:
            i, (p, g, *state) = piece
            self.update(p, g if scale == 1 else g * scale, *state, lr=lr, decay=self.decays[i])

        slots = [self.state[slot] for slot in self.slots]
        groups = zip([p.data for p in self.parameters], grads, *slots, strict=True)
        pieces = ((i, tile) for i, arrays in enumerate(groups) for tile in flat_tiles(*arrays))
        (workers or Workers(1)).map(update, pieces, size=lambda piece: piece[1][0].size)

    def update(self, p: Array, g: Array, *state: Array, lr: float, decay: float) -> None:
        """Apply one update in place to (part of) a parameter, its gradient `g` and its state arrays given."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget every `.grad`."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Array | int]:
        """The step counter and every state array (itself, not a copy), as "slot/parameter name or number"."""
        keys = state_keys(self.names)
        arrays = {f"{slot}/{key}": a for slot in self.slots for key, a in zip(keys, self.state[slot], strict=True)}
        return {"steps": self.steps, **arrays}

    def load_state_dict(self, state: dict[str, Array | int]) -> None:
        """Restore what `state_dict` returned, bit for bit.

        Raises KeyError for a missing entry, ValueError for one of another shape; then nothing has been changed.
        """
        keys = [f"{slot}/{key}" for slot in self.slots for key in state_keys(self.names)]
        targets = [target for slot in self.slots for target in self.state[slot]]
        steps = int(state["steps"])
        copy_arrays([state[key] for key in keys], targets, keys)
        self.steps = steps


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019), as torch and optax compute it.

    m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  t = 1, 2, ...
    p <- p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay p)

    decay: which parameters decay, as a function of name and Tensor; by default kernels only (`is_kernel`), as in
    big_vision; `lambda name, p: True` decays everything, as the optimiser of the published 2020 code did.
    """

    slots = ("m", "v")

    def __init__(
        self,
        parameters: Parameters,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay: Callable[[str, Tensor], bool] = is_kernel,
    ):
        super().__init__(parameters, lr, weight_decay, decay)
        b1, b2 = betas
        self.betas = b1, b2
        self.eps = eps

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
        weight_decay: float = 0.0,
        decay: Callable[[str, Tensor], bool] = is_kernel,
    ):
        super().__init__(parameters, lr, weight_decay, decay)
        self.momentum = momentum

    def update(self, p: Array, g: Array, v: Array, *, lr: float, decay: float) -> None:  # type: ignore[override]
        v *= self.momentum
        v += g
        if decay:
            p *= 1 - lr * decay
        p -= lr * v
