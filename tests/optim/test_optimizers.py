"""AdamW and SGD against trajectories recorded from torch, optax and big_vision, and their contracts."""

import numpy as np
import pytest
from devices import assert_allclose, assert_equal, tensor, to_device, to_host

from minivit.optim import EMA, SGD, AdamW, clip_by_global_norm
from minivit.optim.optimizers import Optimizer, is_kernel

pytestmark = pytest.mark.usefixtures("device")

# Our names of the recorded parameters: a kernel is called "weight" here.
RECORDED = {"a.weight": "a/kernel", "a.bias": "a/bias", "n.scale": "n/scale"}


def everything(name, parameter):
    return True


def start(recorded):
    return [(ours, tensor(recorded[f"p0/{theirs}"].copy(), requires_grad=True)) for ours, theirs in RECORDED.items()]


def farthest_from(recorded, tag, optimizer, gradients="g", max_norm=None):
    """Make 20 updates; the largest distance of any parameter after any of them from the trajectory `tag`."""
    distance = 0.0
    for t in range(20):
        grads = to_device([recorded[f"{gradients}/{theirs}"][t] for theirs in RECORDED.values()])
        if max_norm:
            grads, _ = clip_by_global_norm(grads, max_norm)
        optimizer.step(grads)
        for p, theirs in zip(optimizer.parameters, RECORDED.values(), strict=True):
            distance = max(distance, abs(to_host(p.data) - recorded[f"{tag}/{theirs}"][t]).max())
    return distance


@pytest.fixture
def recorded(vectors):
    return vectors("optim")


@pytest.fixture
def hyper(recorded):
    lr, b1, b2, eps, decay = recorded["hp_lr_b1_b2_eps_wd"].tolist()
    return {"lr": lr, "betas": (b1, b2), "eps": eps, "weight_decay": decay}


def test_adamw_decaying_everything(recorded, hyper):
    optimizer = AdamW(start(recorded), **hyper, decay=everything)
    assert farthest_from(recorded, "adamw", optimizer) < 1e-12
    for i, theirs in enumerate(RECORDED.values()):
        assert_allclose(optimizer.state["m"][i], recorded[f"adamw_m_end/{theirs}"], rtol=1e-12)
        assert_allclose(optimizer.state["v"][i], recorded[f"adamw_v_end/{theirs}"], rtol=1e-12)


def test_adamw_decays_only_kernels_by_default(recorded, hyper):
    assert farthest_from(recorded, "adamw_kernels_only", AdamW(start(recorded), **hyper)) < 1e-12


def test_adamw_without_decay_is_adam(recorded, hyper):
    hyper["weight_decay"] = 0.0
    assert farthest_from(recorded, "adam", AdamW(start(recorded), **hyper)) < 1e-12


def test_adamw_is_not_adam_with_l2_regularisation(recorded, hyper):
    assert farthest_from(recorded, "adam_l2", AdamW(start(recorded), **hyper, decay=everything)) > 0.01


def test_adamw_with_a_schedule(recorded, hyper):
    hyper["lr"] = lambda step: recorded["lrs_cosine_T20_w5"][step]
    assert farthest_from(recorded, "adamw_sched", AdamW(start(recorded), **hyper, decay=everything)) < 1e-12


def test_big_visions_chain_is_adamw_with_decay_over_lr(recorded):
    lr, decay, max_norm, _, _ = recorded["bigvision_hp_lr_wd_clip_T_warmup"].tolist()
    schedule = recorded["bigvision_sched"]
    optimizer = AdamW(start(recorded), lambda step: lr * schedule[step], weight_decay=decay / lr)
    assert farthest_from(recorded, "bigvision", optimizer, "g2", max_norm) < 1e-12


def test_sgd_with_momentum_and_clipping_as_in_the_published_fine_tuning(recorded):
    lrs = recorded["lrs_cosine_T20_w5"] * 10  # base rate 0.03
    optimizer = SGD(start(recorded), lambda step: lrs[step])
    assert farthest_from(recorded, "sgd_clip_f64", optimizer, "g2", max_norm=1.0) < 1e-12


def test_defaults_are_the_usual_ones(recorded):
    adamw, sgd = (kind([tensor(0.0, requires_grad=True)]) for kind in (AdamW, SGD))
    assert (adamw.lr, adamw.betas, adamw.eps) == (1e-3, (0.9, 0.999), 1e-8)
    assert (sgd.lr, sgd.momentum) == (0.01, 0.9)
    assert farthest_from(recorded, "adam", AdamW(start(recorded), 3e-3)) < 1e-12  # no decay unless asked for


def test_sgd_by_hand():
    p = tensor(np.array([[10.0]]), requires_grad=True)
    optimizer = SGD([p], lr=0.5, momentum=0.5, weight_decay=0.2)
    optimizer.step(to_device([np.array([[2.0]])]))  # v = 2; p = 10 - 0.5 (2 + 0.2 10)
    assert to_host(p.data) == pytest.approx(8.0)
    optimizer.step(to_device([np.array([[-3.0]])]))  # v = 1 - 3 = -2; p = 8 - 0.5 (-2 + 0.2 8)
    assert to_host(p.data) == pytest.approx(8.2)


def test_kernels_are_the_matrices_called_weight():
    matrix, vector = tensor(np.zeros((2, 2))), tensor(np.zeros(2))
    assert is_kernel("blocks.0.attention.qkv.weight", matrix)
    assert is_kernel("weight", matrix)
    assert not is_kernel("blocks.0.mlp.hidden.bias", vector)
    assert not is_kernel("norm.scale", vector)
    assert not is_kernel("class_token", matrix)
    assert not is_kernel("position_embedding", matrix)
    assert is_kernel("", matrix)
    assert not is_kernel("", vector)


def test_what_a_kernel_is_told_fits_what_it_computes_with():
    """It makes 1 - b1 and 1 - b2 of numbers rounded to float32: the first update is then -lr sign(g) to rounding."""
    optimizer = AdamW([tensor(np.ones(1), requires_grad=True)], eps=1e-7)
    optimizer.steps = 1
    scalars = {name: np.float32(x) for name, x in optimizer.scalars().items()}
    assert scalars["b1"] == np.float32(0.9)
    assert scalars["eps"] == np.float32(1e-7)
    one = np.float32(1)
    assert (one - scalars["b1"]) * scalars["correction_1"] == pytest.approx(1, rel=2e-7)
    assert np.sqrt(one - scalars["b2"]) * scalars["correction_2"] == pytest.approx(1, rel=2e-7)
    assert SGD([tensor(np.ones(1), requires_grad=True)], momentum=0.8).scalars() == {"momentum": 0.8}


def test_decay_can_be_chosen_by_name_and_tensor():
    p, q = (tensor(np.ones(1), requires_grad=True) for _ in range(2))
    optimizer = SGD([("p", p), ("q", q)], lr=0.5, weight_decay=0.5, decay=lambda name, tensor: name == "q")
    optimizer.step(to_device([np.zeros(1), np.zeros(1)]))
    assert (p.item(), q.item()) == (1.0, 0.75)


@pytest.mark.parametrize("kind", [AdamW, SGD])
class TestEveryOptimizer:
    def tensors(self, dtype="float64"):
        rng = np.random.default_rng(0)
        shapes = {"weight": (3, 4), "bias": (4,)}
        return {name: tensor(rng.standard_normal(s).astype(dtype), True) for name, s in shapes.items()}

    def grads(self, seed=1, dtype="float64"):
        rng = np.random.default_rng(seed)
        return to_device([rng.standard_normal((3, 4)).astype(dtype), rng.standard_normal(4).astype(dtype)])

    def test_updates_in_place_and_counts(self, kind):
        tensors = self.tensors()
        arrays = [t.data for t in tensors.values()]
        before = [a.copy() for a in arrays]
        grads = self.grads()
        optimizer = kind(tensors.values(), lr=0.1)
        optimizer.step(grads)
        assert optimizer.steps == 1
        for parameter, array, old, g, same in zip(tensors.values(), arrays, before, grads, self.grads(), strict=True):
            assert parameter.data is array
            assert (array != old).all()
            assert_equal(g, same)

    def test_reads_the_gradients_of_the_parameters(self, kind):
        given, own = self.tensors(), self.tensors()
        kind(given.items(), lr=0.1).step(self.grads())
        for parameter, g in zip(own.values(), self.grads(), strict=True):
            parameter.grad = g
        optimizer = kind(own.items(), lr=0.1)
        optimizer.step()
        for name in own:
            assert_equal(own[name].data, given[name].data)
        optimizer.zero_grad()
        assert [parameter.grad for parameter in own.values()] == [None, None]

    def test_float32_stays_float32_whatever_the_type_of_the_rate(self, kind):
        plain, numpy_rate = self.tensors("float32"), self.tensors("float32")
        optimizers = kind(plain.items(), lr=0.1), kind(numpy_rate.items(), lr=lambda step: np.float64(0.1))
        for seed in range(3):
            for optimizer in optimizers:
                optimizer.step(self.grads(seed, "float32"))
        for name in plain:
            assert plain[name].data.dtype == "float32"
            assert_equal(plain[name].data, numpy_rate[name].data)
        assert {a.dtype.name for slot in optimizers[0].state.values() for a in slot} == {"float32"}

    def test_the_schedule_sees_the_number_of_updates_done(self, kind):
        seen = []
        optimizer = kind(self.tensors().items(), lr=lambda step: seen.append(step) or 0.1)
        for seed in range(3):
            optimizer.step(self.grads(seed))
        assert seen == [0, 1, 2]
        assert optimizer.current_lr() == 0.1

    def test_missing_and_misshapen_gradients_are_refused_before_anything_changes(self, kind):
        tensors = self.tensors()
        before = {name: parameter.data.copy() for name, parameter in tensors.items()}
        optimizer = kind(tensors.items(), lr=0.1)
        weight, bias = self.grads()
        with pytest.raises(ValueError, match=r"gradient of bias is none, expected \(4,\)"):
            optimizer.step([weight, None])
        with pytest.raises(ValueError, match=r"gradient of bias is \(1,\), expected \(4,\)"):  # it would broadcast
            optimizer.step([weight, bias[:1]])
        with pytest.raises(ValueError, match="1 gradients for 2 parameters"):
            optimizer.step([weight])
        tensors["weight"].grad = weight
        with pytest.raises(ValueError, match="gradient of bias is none"):
            optimizer.step()
        assert optimizer.steps == 0
        for name, parameter in tensors.items():
            assert_equal(parameter.data, before[name])

    def test_an_unnamed_parameter_is_called_by_its_number(self, kind):
        with pytest.raises(ValueError, match="gradient of 1 is none"):
            kind(self.tensors().values(), lr=0.1).step([self.grads()[0], None])

    def test_training_continues_bit_for_bit_from_a_saved_state(self, kind):
        straight, resumed = self.tensors(), self.tensors()
        one, two = kind(straight.items(), lr=0.1), kind(resumed.items(), lr=0.1)
        for seed in range(3):
            one.step(self.grads(seed))
            two.step(self.grads(seed))
        saved = two.state_dict()
        assert set(saved) == {"steps"} | {f"{slot}/{name}" for slot in kind.slots for name in straight}
        three = kind([(name, t) for name, t in resumed.items()], lr=0.1)
        three.load_state_dict({key: np.array(to_host(value)) for key, value in saved.items()})
        for optimizer in (one, three):
            for seed in range(3, 6):
                optimizer.step(self.grads(seed))
        assert three.steps == 6
        for name in straight:
            assert straight[name].data.tobytes() == resumed[name].data.tobytes()
        for key, value in one.state_dict().items():
            assert np.array(to_host(value)).tobytes() == np.array(to_host(three.state_dict()[key])).tobytes()

    def test_a_state_that_does_not_fit_changes_nothing(self, kind):
        optimizer = kind(self.tensors().items(), lr=0.1)
        optimizer.step(self.grads())
        before = {key: np.array(to_host(value)) for key, value in optimizer.state_dict().items()}
        good = {key: np.zeros_like(value) for key, value in before.items()}
        slot = kind.slots[-1]
        with pytest.raises(ValueError, match=rf"{slot}/bias has shape \(1,\), expected \(4,\)"):  # it would broadcast
            optimizer.load_state_dict({**good, f"{slot}/bias": np.zeros(1)})
        with pytest.raises(KeyError, match=f"{slot}/bias"):
            optimizer.load_state_dict({key: good[key] for key in good if key != f"{slot}/bias"})
        for key, value in optimizer.state_dict().items():
            assert_equal(value, before[key])


def test_the_base_class_has_no_rule():
    with pytest.raises(NotImplementedError):
        Optimizer([tensor(np.ones(1), requires_grad=True)], lr=0.1).step(to_device([np.ones(1)]))


def test_adamw_agrees_with_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((5, 4)), rng.standard_normal((30, 5, 4))
    ours = tensor(start.copy(), requires_grad=True)
    theirs = torch.nn.Parameter(torch.tensor(start))
    mine = AdamW([ours], lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)
    yours = torch.optim.AdamW([theirs], lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)
    for g in grads:
        mine.step(to_device([g]))
        theirs.grad = torch.tensor(g)
        yours.step()
    assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("g", [[1.0, 2.0], 1.0, np.array([1j, 1]), np.array([1.0, None])])
def test_a_gradient_that_is_no_array_of_numbers_changes_nothing(g):
    p = tensor(np.ones(2), requires_grad=True)
    optimizer = AdamW([("w", p)], 0.1)
    with pytest.raises(ValueError, match=r"^step: gradient of w is .*, expected \(2,\)"):
        optimizer.step([g])
    assert optimizer.steps == 0
    assert_equal(p.data, np.ones(2))


def test_betas_may_be_a_generator():
    p = tensor(np.ones(2), requires_grad=True)
    optimizer = AdamW([p], 0.1, betas=(b for b in (0.9, 0.99)))
    for _ in range(2):
        optimizer.step(to_device([np.ones(2)]))
    assert optimizer.betas == (0.9, 0.99)


@pytest.mark.parametrize("kind", [lambda pairs: SGD(pairs, 0.1), EMA])
def test_parameters_of_one_name_keep_a_state_each(kind):
    def pairs():
        return [("w", tensor(np.full(2, k), requires_grad=True)) for k in (1.0, 2.0)]

    first, second = kind(pairs()), kind(pairs())
    arrays = getattr(first, "averages", None) or first.state["v"]
    for k, array in enumerate(arrays):
        array[:] = 5 + k
    second.load_state_dict(first.state_dict())
    restored = getattr(second, "averages", None) or second.state["v"]
    assert [float(array[0]) for array in restored] == [5, 6]
