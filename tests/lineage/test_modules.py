"""Outputs of modules that a recording may have by the names of published code."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from minivit.lineage import verify
from minivit.lineage.recorded import modules
from minivit.lineage.verify import Case

DATA = Path(__file__).resolve().parents[1] / "data" / "lineage"


def asked(name: str, *names: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What is computed under names that a stored recording does not have."""
    case = verify.open_case(DATA / name)
    case = dataclasses.replace(case, arrays={**case.arrays, **{key: np.zeros(shape) for key in names}})
    wrong = {result.name for result in verify.compare(case) if not result.fine}
    assert wrong == set(names)  # zeros are not what is computed
    return recomputed(case)


def recomputed(case: Case) -> dict[str, np.ndarray]:
    module = __import__(f"minivit.lineage.recorded.{verify.system_of(case.name)}", fromlist=["recompute"])
    return module.recompute(case)


def normed(x: np.ndarray, weights: dict[str, np.ndarray], name: str, eps: float) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


@pytest.mark.parametrize("letter", "qkv")
def test_projections_of_queries_keys_and_values(letter: str) -> None:
    """CLIP's second layer, from the recorded output of its first and the published weights."""
    layer = "vision_model.encoder.layers.1."
    case = verify.open_case(DATA / "clip")
    x = case.arrays["full/tap/vision_block0"]
    names = [f"full/tap/{layer}layer_norm1", f"full/tap/{layer}self_attn.{letter}_proj"]
    found = asked("clip", *names, shape=x.shape)
    expected = normed(x, case.weights, f"{layer}layer_norm1", 1e-5)
    np.testing.assert_allclose(found[names[0]], expected, atol=1e-12)
    projection = f"{layer}self_attn.{letter}_proj"
    expected = expected @ case.weights[f"{projection}.weight"].T + case.weights[f"{projection}.bias"]
    np.testing.assert_allclose(found[names[1]], expected, atol=1e-12)


def test_biases_that_stand_apart_are_in_the_projection() -> None:
    """BEiT's queries have a bias beside the packed matrix."""
    case = verify.open_case(DATA / "beit_mim")
    x = case.arrays["tap/block0"]
    names = ["tap/beit.layers.1.attention.q_proj", "tap/beit.layers.1.attention.k_proj"]
    found = asked("beit_mim", *names, shape=x.shape)
    layer = "beit.encoder.layer.1."
    x = normed(x, case.weights, f"{layer}layernorm_before", 1e-6)
    inside = f"{layer}attention.attention."
    expected = x @ case.weights[f"{inside}query.weight"].T + case.weights[f"{inside}query.bias"]
    np.testing.assert_allclose(found[names[0]], expected, atol=1e-12)
    np.testing.assert_allclose(found[names[1]], x @ case.weights[f"{inside}key.weight"].T, atol=1e-12)


def test_an_output_takes_the_shape_of_the_recording() -> None:
    x = np.arange(24.0).reshape(2, 4, 3)
    assert (modules.fitted(x, (2, 3, 2, 2)) == x.transpose(0, 2, 1).reshape(2, 3, 2, 2)).all()
    assert (modules.fitted(x, (8, 3)) == x.reshape(8, 3)).all()
    assert (modules.fitted(x[:, None], (2, 4, 3)) == x).all()
    assert modules.fitted(x, (2, 5)).shape == x.shape


@pytest.mark.parametrize(
    ("name", "key"),
    [("timesformer_divided", "image_layout"), ("vivit_factorised", "image_layout"), ("beit_mim", "hidden_size")],
)
def test_what_a_recording_does_not_say_is_as_usual(name: str, key: str) -> None:
    case = verify.open_case(DATA / name)
    (case.meta if key in case.meta else case.config).pop(key)
    assert all(result.fine for result in verify.compare(case))
