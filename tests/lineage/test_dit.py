"""Diffusion Transformers: held to a slow second implementation, which the recorded published code agrees with, too."""

import itertools
import math

import dit_by_hand as slow
import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import Given, diffusion, dit, modulated
from minivit.lineage.dit import Denoising, DiT, DiTConfig
from minivit.lineage.recorded import dit as recorded
from minivit.models import ViTConfig
from minivit.models.archive import write_safetensors
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

B = 3
TIMES = np.array([0, 1, 640])


def recording(folder, config, seed=1):
    """A recording that the slow implementation made, with gradients along one direction as their only numbers."""
    rng = np.random.default_rng(seed)
    w, size = slow.weights_of(config, rng), config["input_size"]
    x, noise = rng.normal(size=(2, B, config["in_channels"], size, size))
    x0, y = np.clip(x, -1, 1), np.array([0, 2, 3])
    output = slow.network(w, config, x, TIMES, y)
    cotangent = rng.normal(size=output.shape)
    found = {"forward/x": x, "forward/t": TIMES, "forward/y": y, "forward/cotangent": cotangent}
    found |= {"forward/output": output, "forward/loss": (output * cotangent).sum()}
    mse, bits = slow.losses(w, config, x0, noise, TIMES, y)
    found |= {"train/x0": x0, "train/noise": noise, "train/t": TIMES, "train/y": y, "train/mse_per_sample": mse}
    found |= {"train/vb_per_sample": bits, "train/loss": (mse + bits).mean()}
    asked, none = slow.network(w, config, x[:1], [640], [1])[0], slow.network(w, config, x[:1], [640], [3])[0]
    guided = asked.copy()
    channels = config["in_channels"]
    guided[:channels] = none[:channels] + 1.5 * (asked[:channels] - none[:channels])
    free = np.concatenate([guided[:channels], none[channels:]])
    found |= {"cfg/x": x[[0, 0]], "cfg/t": np.array([640, 640]), "cfg/y": np.array([1, 3]), "cfg/scale": np.array(1.5)}
    found |= {"cfg/output_all_channels": np.array([guided, free])}
    found |= {"ddpm_step/x_t": x, "ddpm_step/t": TIMES, "ddpm_step/y": y, "ddpm_step/noise": noise}
    found["ddpm_step/sample"] = np.array([back(w, config, *of) for of in zip(x, TIMES, y, noise, strict=True)])
    return write_case(folder, "dit", config, w, {name: np.asarray(value) for name, value in found.items()})


def back(w, config, x, t, y, noise):
    """One step of DDPM."""
    output, channels, a = slow.one(w, config, x, t, y), len(x), slow.abar(t)
    small, of_start, of_state = slow.posterior(t)
    mean = of_start * (x - math.sqrt(1 - a) * output[:channels]) / math.sqrt(a) + of_state * x
    log_variance = math.log(slow.betas()[t] if t else small)
    if config["learn_sigma"]:
        share = (output[channels:] + 1) / 2
        log_variance = share * math.log(slow.betas()[t]) + (1 - share) * math.log(small)
    return mean + (t > 0) * np.exp(log_variance / 2) * noise


OTHERS = {
    "learned variance": {},
    "fixed variance, patches of three": {"learn_sigma": False, "patch_size": 3, "input_size": 6, "num_heads": 4},
    "one channel, one block": {"in_channels": 1, "depth": 1, "hidden_size": 12, "num_heads": 3},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_it_agrees_with_the_slow_implementation(tmp_path, changes):
    case = recording(tmp_path, {**slow.SIZES, **changes})
    assert wrong_arrays(case) == []


def test_gradients_are_those_of_differences_with_the_mean_of_the_bound_held(tmp_path):
    config, rng, e = slow.SIZES, np.random.default_rng(2), 1e-5
    case = recording(tmp_path, config)
    found, w = recorded.recompute(case), case.weights
    learned = [name for name in w if name != "pos_embed"]
    way = {name: rng.normal(size=w[name].shape) for name in learned}
    given = [case.arrays[f"train/{name}"] for name in ("x0", "noise", "t", "y")]
    noised = np.array(
        [math.sqrt(slow.abar(t)) * x + math.sqrt(1 - slow.abar(t)) * n for x, n, t in zip(*given[:3], strict=True)]
    )
    fixed = slow.network(w, config, noised, *given[2:])
    moved = [w | {name: w[name] + step * way[name] for name in learned} for step in (e, -e)]
    difference = np.subtract(*(slow.losses(m, config, *given, fixed).sum() / B for m in moved)) / (2 * e)
    assert sum((found[f"train/grad/{name}"] * way[name]).sum() for name in learned) == pytest.approx(
        difference, rel=1e-6
    )
    norm = math.sqrt(sum(np.square(found[f"train/grad/{name}"]).sum() for name in learned))
    assert found["train/grad_norm"] == pytest.approx(norm, rel=1e-12)
    outputs = [
        (
            slow.network(m, config, *(case.arrays[f"forward/{n}"] for n in "xty")) * case.arrays["forward/cotangent"]
        ).sum()
        for m in moved
    ]
    along = sum((found[f"forward/grad/{name}"] * way[name]).sum() for name in learned)
    assert along == pytest.approx(np.subtract(*outputs) / (2 * e), rel=1e-6)


def sines_first(t, features=256, shift=0):
    return np.roll(real_features(t, features, shift), 128, axis=1)


def spaced_as_in_diffusers(t, features=256, shift=0):
    return real_features(t, features, 1)


def scale_first(x, shift, scale, eps=1e-6):
    return real_modulated(x, scale, shift, eps)


def plain_scale(x, shift, scale, eps=1e-6):
    return modulated.normed(x, eps) * scale + shift


def channels_first(tokens, grid, patch):
    batch, count, width = tokens.shape
    cut = tokens.reshape(batch, count, -1, *patch).transpose(0, 1, 3, 4, 2).reshape(batch, count, width)
    return real_unpatchify(cut, grid, patch)


def noisy_to_the_end(schedule, output, x, i, noise, clip=False):
    mean, log_variance, _ = diffusion.moments(schedule, output, x, i, clip)
    return mean + np.exp(log_variance / 2) * noise


def away_from_no_class(output, scale, channels):
    asked, free = np.split(output[..., :channels], 2)
    both = asked + scale * (asked - free)
    return np.concatenate([np.concatenate([both, both]), output[..., channels:]], axis=-1)


def in_nats(self, noise, variance, batch):
    return real_bits(self, noise, variance, batch) * math.log(2)


def by_erf(x, mean, log_variance):
    def below(edge):
        return (F.erf((edge - mean) * F.exp(log_variance * -0.5) / math.sqrt(2)) + 1) / 2

    return -F.log(F.maximum(below(x + 1 / 255) - below(x - 1 / 255), 1e-12))


def without_null(self, t, y):
    return self.of_time(t) + self.classes(y % (len(self.classes.table.data) - 1))


def from_zero_to_one(self, batch):
    clean, noise, *_ = self.numbers(batch)
    return (self.tensor(batch["images"]) + 1) / 2 * clean + self.tensor(batch["noise"]) * noise


real_features, real_modulated, real_unpatchify = modulated.time_features, modulated.modulated, modulated.unpatchify
real_bits = Denoising.bits
WRONG = [
    (modulated, "time_features", sines_first, "forward/output"),
    (modulated, "time_features", spaced_as_in_diffusers, "forward/output"),
    (modulated, "modulated", scale_first, "forward/output"),
    (modulated, "modulated", plain_scale, "forward/output"),
    (dit, "unpatchify", channels_first, "forward/output"),
    (modulated.Condition, "forward", without_null, "forward/output"),
    (diffusion, "ddpm_step", noisy_to_the_end, "ddpm_step/sample"),
    (diffusion, "guided", away_from_no_class, "cfg/output_all_channels"),
    (Denoising, "bits", in_nats, "train/vb_per_sample"),
    (dit, "surprise", by_erf, "train/vb_per_sample"),
    (Denoising, "noised", from_zero_to_one, "train/mse_per_sample"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, tmp_path, place, name, mistake, seen):
    case = recording(tmp_path, {**slow.SIZES, "depth": 1})
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(case)


def test_the_bound_without_detaching_changes_the_gradient_of_the_mean(monkeypatch, tmp_path):
    case = recording(tmp_path, {**slow.SIZES, "depth": 1})
    rows = slice(0, None, 2 * slow.SIZES["in_channels"])  # of the first channel, whose output is the mean's
    right = recorded.recompute(case)["train/grad/final_layer.linear.bias"][rows]
    monkeypatch.setattr(Tensor, "detach", lambda self: self)
    assert not np.allclose(recorded.recompute(case)["train/grad/final_layer.linear.bias"][rows], right, rtol=1e-3)


def test_positions_begin_with_the_column():
    table = modulated.places((2, 3), 8)
    assert np.allclose(table, [[slow.place(row, column, 8) for column in range(3)] for row in range(2)], atol=1e-15)
    assert not np.allclose(table[0, 1], slow.place(1, 0, 8))


def test_the_linear_schedule_has_the_published_numbers():
    """Recorded in the published code."""
    own, at = diffusion.Schedule.linear(), [0, 1, 500, 999]
    recorded_numbers = {
        "betas": [1e-4, 1.1991991991991994e-4, 0.01005995995995996, 0.02],
        "abar": [0.9999, 0.99978009207928, 0.07779665839380822, 4.035829765376465e-05],
    }
    for name, numbers in recorded_numbers.items():
        assert np.allclose(getattr(own, name)[at], numbers, rtol=1e-7, atol=0), name
    variance, of_start, of_state = slow.posterior(500)
    assert own.posterior_variance[500] == pytest.approx(variance, rel=1e-11)
    assert (own.of_start[500], own.of_state[500]) == pytest.approx((of_start, of_state), rel=1e-11)
    assert own.posterior_log_variance[0] == own.posterior_log_variance[1]
    assert own.fixed_log_variance[0] == own.posterior_log_variance[1]
    assert diffusion.Schedule.cosine().betas[[0, 999]] == pytest.approx([4.12842248e-05, 0.999], rel=1e-8)


def test_a_walk_keeps_the_noise_of_the_steps_that_it_visits():
    assert diffusion.spaced(1000, "250")[::249] == [0, 999]
    assert diffusion.spaced(1000, "ddim50") == [*range(0, 1000, 20)]
    assert diffusion.spaced(1000, [5]) == [0, 250, 500, 749, 999]
    assert diffusion.spaced(10, "2,3") == [0, 4, 5, 7, 9]
    whole = diffusion.Schedule.linear()
    kept = whole.respaced([0, 250, 999])
    assert np.allclose(kept.abar, whole.abar[[0, 250, 999]], rtol=1e-12)
    assert kept.told.tolist() == [0, 250, 999]
    for how in ("ddim1001", [1001], "0"):
        with pytest.raises(ConfigError):
            diffusion.spaced(1000, how)


def test_the_network_is_told_the_step_of_the_whole_schedule():
    kept, seen = diffusion.Schedule.linear().respaced([0, 250, 999]), []

    def predict(x, t):
        seen.append(t.tolist())
        return x * 0

    [*diffusion.walk(kept, predict, np.ones((2, 2, 2, 1)), [np.zeros((2, 2, 2, 1))] * 3)]
    assert seen == [[999] * 2, [250] * 2, [0] * 2]


@pytest.mark.parametrize("eta", [None, 0.0])
def test_a_network_that_knows_the_picture_walks_to_it(eta):
    own, rng = diffusion.Schedule.linear(), np.random.default_rng(0)
    kept, x0 = own.respaced(diffusion.spaced(1000, [20])), rng.uniform(-1, 1, (2, 3, 3, 1))

    def predict(x, t):
        a = own.abar[t][:, None, None, None]
        return (x - np.sqrt(a) * x0) / np.sqrt(1 - a)

    *_, last = diffusion.walk(kept, predict, rng.normal(size=x0.shape), rng.normal(size=(20, *x0.shape)), True, eta)
    assert np.allclose(last, x0, atol=1e-12)


def test_a_flow_goes_straight():
    x0, noise = np.random.default_rng(0).normal(size=(2, 2, 3, 3, 1))
    at = diffusion.times(4, 3.0)
    assert at[2] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    path = [*diffusion.euler(lambda x, t: noise - x0, noise, at)]
    assert np.allclose(path[-1], x0)
    assert np.allclose(path[1], (1 - at[2]) * x0 + at[2] * noise)
    assert diffusion.times_of_diffusers(6, 3.0)[-2:] == pytest.approx([0.00893, 0], abs=1e-5)


def test_the_loss_of_a_flow_by_hand():
    objective, data = dit.tiny("float64")
    network = DiT(objective.network.config, 1, True, 0, "float64")
    flow = Denoising(DiTConfig(path="flow"), network).eval()
    images = data.images[:2] / 127.5 - 1
    batch = {"images": images, "labels": np.array([0, 1])}
    batch |= flow.draw(batch, 0, np.random.default_rng(0))
    assert ((batch["time"] > 0) & (batch["time"] < 1)).all()
    network.pixels.bias.data[...] = 0.5
    expected = np.square(0.5 - (batch["noise"] - images)).mean()
    assert flow.loss(flow(batch), batch).item() == pytest.approx(expected, rel=1e-12)
    t = batch["time"][:, None, None, None]
    assert np.allclose(flow.noised(batch).data, (1 - t) * images + t * batch["noise"])


def test_labels_are_hidden_in_training_only():
    shape = ViTConfig(4, 2, 8, 1, 2, 16, 3, 1, classifier="gap", position="sincos2d")
    network = DiT(shape, 1, True, 0, "float64")
    network.pixels.weight.data[...] = network.modulation.linear.weight.data[:, :4] + 1
    network.modulation.linear.weight.data[...] = 0.1 * np.random.default_rng(0).normal(size=(8, 16))
    objective = Denoising(DiTConfig(learned_variance=False), network)
    batch = {"images": np.zeros((2, 4, 4, 1)), "labels": np.array([0, 1])}
    batch |= objective.draw(batch, 0, np.random.default_rng(0))
    for hidden in (True, False):
        batch["dropped"] = np.array([hidden] * 2)
        same = np.array_equal(objective.train()(batch)[0].data, objective.eval()(batch)[0].data)
        assert same != hidden
    share = np.mean(objective.draw({"x": np.zeros(4000)}, 0, np.random.default_rng(1))["dropped"])
    assert share == pytest.approx(0.1, abs=0.03)


def test_published_sizes_have_the_published_numbers_of_parameters():
    """Counted in the published code, for 32x32x4 latents and 1,000 classes, with the fixed table and without."""
    sizes = {(384, 12, 6, 2): 32_963_360, (384, 12, 6, 8): 33_148_160, (1152, 28, 16, 2): 675_129_632}
    for (width, depth, heads, patch), count in sizes.items():
        config = ViTConfig(32, patch, width, depth, heads, 4 * width, 1000, 4, classifier="gap", position="sincos2d")
        network = DiT(config, 2, True, None)
        assert sum(tensor.size for _, tensor in network.named_tensors()) == count
        assert count - network.num_parameters() == width * (32 // patch) ** 2


@pytest.mark.parametrize("library", ["official", "diffusers"])
def test_published_files_are_read(tmp_path, library):
    config = slow.SIZES
    w = slow.weights_of(config, np.random.default_rng(0))
    arrays = slow.in_diffusers_names(w, config) if library == "diffusers" else w
    path = tmp_path / "dit.safetensors"
    write_safetensors(path, arrays, {})
    fields = {"sample_size": 4, "num_attention_heads": 2} if library == "diffusers" else {"num_heads": 2}
    network = recorded.open_pretrained(path, "float64", **fields)
    assert (network.config.grid, network.config.num_classes, network.config.mlp_width) == ((2, 2), 3, 32)
    found = recorded.views({n: x.data for n, x in network.named_tensors()}, network.config, library == "diffusers")
    assert all(np.array_equal(found[name], x) for name, x in arrays.items())
    assert np.allclose(network.positions.data, w["pos_embed"], atol=1e-15)
    x, t, y = np.random.default_rng(1).normal(size=(1, 4, 4, 2)), np.array([700]), np.array([1])
    one = slow.one(w, config, np.moveaxis(x[0], -1, 0), 700, 1)
    near = np.allclose(np.moveaxis(network.eval()(x, t, y).data[0], -1, 0), one, atol=1e-9)
    assert near == (library == "official"), "diffusers spaces its frequencies otherwise"
    write_safetensors(path, {**arrays, "more": np.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="unexpected: more"):
        recorded.open_pretrained(path, **fields)


@pytest.mark.parametrize("stated", [{}, {"norm_eps": 1e-3}], ids=str)
def test_diffusers_port_by_its_own_equations(monkeypatch, tmp_path, stated):
    """Frequencies by 1/127, epsilon 1e-5 before the MLP, or what is stated."""
    config = {**slow.SIZES, "depth": 1}
    w = slow.weights_of(config, np.random.default_rng(0))
    write_safetensors(tmp_path / "dit.safetensors", slow.in_diffusers_names(w, config), {})
    network = recorded.open_pretrained(
        tmp_path / "dit.safetensors", "float64", sample_size=4, num_attention_heads=2, **stated
    )
    x, calls = np.random.default_rng(1).normal(size=(1, 4, 4, 2)), []
    plain = slow.norm

    def norm(row):  # four tokens before the attention, four before the MLP, four before the pixels
        calls.append(0)
        return plain(row, stated.get("norm_eps", 1e-5) if 4 < len(calls) <= 8 else 1e-6)

    features = slow.features
    monkeypatch.setattr(slow, "features", lambda t: features(t, 1))
    monkeypatch.setattr(slow, "norm", norm)
    one = slow.one(w, config, np.moveaxis(x[0], -1, 0), 700, 1)
    found = network.eval()(x, np.array([700]), np.array([1])).data[0]
    assert np.allclose(np.moveaxis(found, -1, 0), one, rtol=0, atol=1e-11)
    given = {"x": np.moveaxis(x, -1, 1), "t": np.array([700]), "y": np.array([1]), "cotangent": one[None] * 0 + 1}
    theirs = {"sample_size": 4, "num_attention_heads": 2, "num_embeds_ada_norm": 3, **stated}
    arrays = slow.in_diffusers_names(w, config)
    case = write_case(tmp_path, "dit", theirs, arrays, {**given, "output": one[None], "loss": np.array(one.sum())})
    case.arrays |= {f"grad/{name}": np.zeros(0) for name in arrays}  # what is asked for
    names = recorded.recompute(case)
    assert {f"grad/{name}" for name in arrays} <= names.keys()
    case.arrays = {name: x for name, x in case.arrays.items() if not name.startswith("grad/")}
    assert wrong_arrays(case) == []


@pytest.mark.parametrize(
    "wrong",
    [{"path": "way"}, {"drop": 1.5}, {"walk": 0}, {"steps": 20}, {"guidance": math.nan}, {"drop": 0.0}, {"walk": 1001}],
    ids=str,
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"path|drop|walk|steps|guidance"):
        DiTConfig(**wrong)


def test_what_it_cannot_be_made_of_is_refused():
    shape = ViTConfig(8, 2, 8, 1, 2, 16, 3, 1, drop_path=0.1)
    with pytest.raises(ConfigError, match="plain ViT"):
        Denoising.build(DiTConfig(), Given(shape, "abc", 6))
    with pytest.raises(ConfigError, match="multiple of 4"):
        DiT(ViTConfig(8, 2, 6, 1, 2, 16, 3, 1), 1)
    with pytest.raises(ConfigError, match="weights of its own"):
        Denoising.build(DiTConfig(), Given(ViTConfig(8, 2, 8, 1, 2, 16, 3, 1), "abc", 6, start=object()))


@pytest.mark.parametrize("clip", [True, False])
def test_clipped_samples_stay_in_range(clip):
    """Of a network that sees no noise anywhere, so that x_0 is far too large at first."""
    shape = ViTConfig(4, 2, 8, 1, 2, 16, 3, 1, classifier="gap", position="sincos2d")
    objective = Denoising(DiTConfig(learned_variance=False, walk=5, guidance=1.0, clip=clip), DiT(shape))
    made = objective.sample(np.array([0, 2]), np.random.default_rng(0))
    assert bool(np.abs(made).max() <= 1) is clip


def test_a_sample_goes_beyond_the_class_by_the_guidance(monkeypatch):
    """Of a network that sees the velocity 1 for class 0, 3 for class 1 and 10 for none."""
    objective, _ = dit.tiny()
    objective.config = DiTConfig("flow", walk=3)
    velocity = np.array([1.0, 3.0, 0.0, 10.0])
    monkeypatch.setattr(Denoising, "told", lambda self, x, y, t: Tensor(x * 0 + velocity[y][:, None, None, None]))
    rng = np.random.default_rng
    for scale in (1.0, 4.0):
        made = objective.sample(np.array([0, 1]), rng(0), scale)
        expected = np.array([10 + scale * (1 - 10), 10 + scale * (3 - 10)])[:, None, None, None]
        assert np.allclose(rng(0).standard_normal(made.shape) - made, expected, rtol=0, atol=1e-12)
    rows = objective.pictures(rng(0))
    assert {name: x.shape for name, x in rows.items()} == {"guidance 1": (3, 4, 4, 1), "guidance 4": (3, 4, 4, 1)}


def test_the_network_of_a_flow_is_told_1000_times_the_time(monkeypatch):
    objective, _ = dit.tiny("float64")
    x, y, t, seen = np.zeros((1, 4, 4, 1)), np.array([1]), np.array([0.25]), []
    monkeypatch.setattr(DiT, "forward", lambda self, x, t, *rest: seen.append(float(t[0])))
    for path in ("diffusion", "flow"):
        objective.config = DiTConfig(path)
        objective.told(x, y, t)
    assert seen == [0.25, 250]


@pytest.mark.parametrize("path", ["diffusion", "flow"])
def test_it_learns_one_picture_for_each_class_and_draws_it(path):
    rng = np.random.default_rng(0)
    known = np.where(rng.random((2, 2, 2, 1)) < 0.5, -1.0, 1.0)
    shape = ViTConfig(2, 1, 16, 1, 2, 32, 2, 1, classifier="gap", position="sincos2d")
    network = DiT(shape, 1, True, 0, "float64")
    objective = Denoising(DiTConfig(path, learned_variance=False, steps=100, walk=10, guidance=1.0), network)
    optimizer = AdamW(objective.named_parameters(), lr=1e-2, weight_decay=0.0)
    labels = np.arange(32) % 2
    for i in range(150):
        batch = {"images": known[labels], "labels": labels}
        batch |= objective.draw(batch, i, np.random.default_rng(i))
        loss = objective.loss(objective(batch), batch)
        optimizer.step(grad(loss, optimizer.parameters))
    made = objective.sample(np.array([0, 1, 0, 1]), np.random.default_rng(1))
    assert np.abs(made - known[[0, 1, 0, 1]]).mean() < 0.3
    assert np.array_equal(made, objective.sample(np.array([0, 1, 0, 1]), np.random.default_rng(1)))


@pytest.mark.parametrize("before", ["euler/", "flow/euler_"])
def test_a_recorded_flow_is_walked_again(tmp_path, before):
    config, rng = {**slow.SIZES, "learn_sigma": False, "depth": 1}, np.random.default_rng(3)
    w = slow.weights_of(config, rng)
    x0, noise, x = rng.normal(size=(3, 2, 2, 4, 4))
    t, y, path = np.array([0.25, 0.9]), np.array([0, 3]), []
    cut = t[:, None, None, None]
    noised = (1 - cut) * x0 + cut * noise
    velocity = slow.network(w, config, noised, 1000 * t, y)
    loss = np.square(velocity - (noise - x0)).mean(axis=(1, 2, 3))
    found = {"flow/x0": x0, "flow/noise": noise, "flow/t": t, "flow/y": y, "flow/x_t": noised}
    found |= {"flow/loss": loss.mean(), "flow/loss_per_sample": loss, f"{before}start": x, f"{before}y": y}
    at = np.array([1, 2 / 3, 1 / 3, 0])
    for now, later in itertools.pairwise(at):
        x = x + (later - now) * slow.network(w, config, x, [1000 * now] * 2, y)
        path.append(x)
    found |= {f"{before}times": at, f"{before}trajectory": np.array(path), f"{before}final": x}
    case = write_case(tmp_path, "dit", config, w, {name: np.asarray(value) for name, value in found.items()})
    assert wrong_arrays(case) == []
