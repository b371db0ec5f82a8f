"""DeiT: recorded outputs of published code, and a second implementation."""

from pathlib import Path

import numpy as np
import pytest
from deit_by_hand import SIZES, VARIANTS, ByHand, arrays, in_hub_names
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.lineage import deit, verify
from minivit.lineage.deit import DeiT
from minivit.lineage.recorded import deit as recorded

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "deit"
OTHERS = {
    "one channel, another temperature": {"num_channels": 1, "num_labels": 3, "tau": 1.5, "alpha_soft": 0.4},
    "not square": {"image_size": [12, 6], "patch_size": [3, 2], "num_channels": 2, "num_attention_heads": 4},
    "another configuration's names": {"img_size": [8, 12], "num_heads": 4},
    "deeper, no biases, another epsilon": {"num_hidden_layers": 3, "qkv_bias": False, "layer_norm_eps": 1e-3},
}


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 53


real_heads = DeiT.heads


def heads_swapped(self, images, rng=None, tap=None):
    return real_heads(self, images, rng, tap)[::-1]


def one_token_for_both(self, images, rng=None, tap=None):
    x = self.model.encode(self.model.embed(images), rng, tap)
    return self.model.head(x[:, 0]), self.model.distillation_head(x[:, 0])


def other_direction(logits, says, tau):
    log_p, log_q = F.log_softmax(says * (1 / tau)), F.log_softmax(logits * (1 / tau))
    return (F.exp(log_q) * (log_q - log_p)).sum(axis=-1).mean() * (tau * tau)


def without_tau_squared(logits, says, tau):
    log_p, log_q = F.log_softmax(says * (1 / tau)), F.log_softmax(logits * (1 / tau))
    return (F.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean()


def only_the_student_cooled(logits, says, tau):
    log_p, log_q = F.log_softmax(says), F.log_softmax(logits * (1 / tau))
    return (F.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean() * (tau * tau)


def without_the_teachers_entropy(logits, says, tau):
    p, log_q = F.softmax(says * (1 / tau)), F.log_softmax(logits * (1 / tau))
    return -(p * log_q).sum(axis=-1).mean() * (tau * tau)


def sum_of_heads(outputs):
    return outputs[0] + outputs[1]


def one_head(outputs):
    return outputs[0]


def sum_of_softmaxes(outputs):
    return F.softmax(outputs[0]) + F.softmax(outputs[1])


def shares_exchanged(self, outputs, batch):
    a = self.config.alpha
    return self.of_labels(outputs[0], batch["labels"]) * a + self.of_teacher(*outputs[1:]) * (1 - a)


def labels_of_both(self, outputs, batch):
    logits, a = deit.answer(outputs), self.config.alpha
    return self.of_labels(logits, batch["labels"]) * (1 - a) + self.of_teacher(*outputs[1:]) * a


def summed_over_classes(logits, labels):
    return F.sigmoid_cross_entropy(logits, labels)


WRONG = [
    (DeiT, "heads", heads_swapped, "cls_logits"),
    (DeiT, "heads", one_token_for_both, "distillation_logits"),
    (recorded, "divergence", other_direction, "kd_soft_paper"),
    (deit, "divergence", other_direction, "soft_code/loss"),
    (deit, "divergence", without_tau_squared, "soft_paper/loss"),
    (deit, "divergence", only_the_student_cooled, "soft_paper/loss"),
    (deit, "divergence", without_the_teachers_entropy, "soft_paper/loss"),
    (recorded, "answer", sum_of_heads, "logits"),
    (recorded, "answer", one_head, "logits"),
    (recorded, "answer", sum_of_softmaxes, "logits"),
    (DeiT, "loss", shares_exchanged, "soft_code/loss"),
    (DeiT, "loss", labels_of_both, "hard/grad/distillation_classifier.weight"),
    (recorded, "binary_cross_entropy", summed_over_classes, "bce_soft_targets"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def given_to(config, rng, count=3):
    """Inputs of a recording."""
    logits = rng.normal(size=(count, config["num_labels"]))
    return {
        "image": rng.normal(size=(count, config["num_channels"], *config["image_size"])),
        "teacher_logits": 2 * logits,
        "labels": rng.integers(0, config["num_labels"], count),
        "soft_targets": rng.dirichlet(np.ones(config["num_labels"]), count),
    }


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("names", ["official", "hub"])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, names):
    config, rng = {**SIZES, **changes}, np.random.default_rng(1)
    stored = dict(config)
    for theirs, hub in (("img_size", "image_size"), ("num_heads", "num_attention_heads")):
        if theirs in stored:
            config[hub] = stored[theirs]
            del stored[hub]
    weights, given = arrays(config, rng), given_to(config, rng)
    slow = ByHand(config, weights, **given)
    parts = ("cls_logits", "distillation_logits", "logits", "ce", "kd_hard", "kd_soft_code", "kd_soft_paper")
    parts += ("ce_soft_targets", "bce_soft_targets")
    found = {name: np.asarray(getattr(slow, name)) for name in parts}
    found |= {f"{variant}/loss": np.asarray(slow.loss(variant)) for variant in VARIANTS}
    case = write_case(
        tmp_path, "deit", stored, in_hub_names(weights) if names == "hub" else weights, {**given, **found}
    )
    assert wrong_arrays(case) == []


@pytest.mark.parametrize("names", ["official", "hub"])
@pytest.mark.parametrize("variant", ["hard_mixup", "soft_code"])
def test_gradients_agree_with_differences_of_the_slow_implementation(tmp_path, variant, names):
    config, rng, e = {**SIZES, **OTHERS["not square"]}, np.random.default_rng(2), 1e-5
    weights, given = arrays(config, rng), given_to(config, rng, 2)
    named = in_hub_names if names == "hub" else dict
    asked = {f"{variant}/grad/{name}": np.zeros(0) for name in named(weights)}
    case = write_case(tmp_path, "deit", config, named(weights), {**given, **asked})
    found = recorded.recompute(case)
    directions = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    moved = [{n: x + s * directions[n] for n, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, w, **given).loss(variant) for w in moved)) / (2 * e)
    along = sum((found[f"{variant}/grad/{name}"] * x).sum() for name, x in named(directions).items())
    assert along == pytest.approx(difference, rel=1e-6)
    norm = np.sqrt(sum(np.square(found[name]).sum() for name in asked))
    assert found[f"{variant}/grad_norm"] == pytest.approx(norm, rel=1e-12)
    way = rng.normal(size=given["image"].shape)
    images = [{**given, "image": given["image"] + s * way} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, weights, **of).loss(variant) for of in images)) / (2 * e)
    assert (found[f"{variant}/grad_input/image"] * way).sum() == pytest.approx(difference, rel=1e-6)


def test_gradients_are_found_under_the_names_of_every_dialect(tmp_path):
    weights, given = arrays(SIZES, np.random.default_rng(0)), given_to(SIZES, np.random.default_rng(1))
    asked = {
        "blocks.1.attn.qkv.weight": (48, 16),
        "deit.encoder.layer.1.attention.attention.query.weight": (16, 16),
        "deit.layers.1.attention.q_proj.weight": (16, 16),
        "deit.layers.0.mlp.fc1.bias": (20,),
        "dist_token": (1, 1, 16),
        "cls_classifier.bias": (5,),
        "classifier.bias": (5,),
    }
    case = write_case(
        tmp_path, "deit", SIZES, weights, {**given, **{f"hard/grad/{name}": np.zeros(0) for name in asked}}
    )
    found = recorded.recompute(case)
    assert {name: found[f"hard/grad/{name}"].shape for name in asked} == asked
    packed = found["hard/grad/blocks.1.attn.qkv.weight"]
    assert np.array_equal(packed[:16], found["hard/grad/deit.layers.1.attention.q_proj.weight"])
