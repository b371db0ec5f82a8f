"""Visual Transformers: held to a recording of a module and to a slow second implementation."""

from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import verify
from minivit.lineage import visual_transformer as vt
from minivit.lineage.recorded import visual_transformer as recorded
from minivit.lineage.visual_transformer import Projector, Tokeniser, TokenTransformer, VisualTransformer
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "visual_transformer"


def softmax(scores):
    e = np.exp(scores - max(scores))
    return e / e.sum()


def by_hand(x, w):
    """Equations 1 to 5, one token and one pixel at a time, and a recurrent tokeniser on the result."""
    between, back = w.get("W_V", np.eye(x.shape[2])), w.get("proj_V", np.eye(x.shape[2]))
    found = {name: [] for name in ("token_maps", "tokens", "tokens_after_attention", "tokens_out", "features_out",
                                   "recurrent_maps", "recurrent_tokens")}  # fmt: skip
    for pixels in x:
        maps = np.stack([softmax(pixels @ group) for group in w["W_A"].T], axis=1)
        tokens = np.stack([sum(a * (p @ between) for a, p in zip(column, pixels, strict=True)) for column in maps.T])
        after = np.stack([t + softmax([(t @ w["K"]) @ (o @ w["Q"]) for o in tokens]) @ tokens for t in tokens])
        out = np.stack([t + np.maximum(t @ w["F1"], 0) @ w["F2"] for t in after])
        features = np.stack(
            [p + softmax([(p @ w["proj_Q"]) @ (t @ w["proj_K"]) for t in out]) @ out @ back for p in pixels]
        )
        again = np.stack([softmax(features @ (t @ w["W_TR"])) for t in out], axis=1)
        recurrent = np.stack([column @ features @ between for column in again.T])
        for name, value in zip(found, (maps, tokens, after, out, features, again, recurrent), strict=True):
            found[name].append(value)
    return {name: np.stack(values) for name, values in found.items()}


def weights(rng, channels, tokens, width, attention, hidden):
    shapes = {
        "W_A": (channels, tokens), "K": (width, attention), "Q": (width, attention), "F1": (width, hidden),
        "F2": (hidden, width), "proj_Q": (channels, attention), "proj_K": (width, attention), "W_TR": (width, channels),
    }  # fmt: skip
    if channels != width:
        shapes |= {"W_V": (channels, width), "proj_V": (width, channels)}
    return {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 21


@pytest.mark.parametrize(
    "sizes", [(5, 3, 7, 2, 4), (6, 2, 6, 3, 6), (4, 1, 3, 2, 5)], ids=["wider", "one width", "L = 1"]
)
def test_other_sizes_agree_with_the_slow_implementation(tmp_path, sizes):
    rng = np.random.default_rng(0)
    w, x = weights(rng, *sizes), rng.normal(size=(2, 7, sizes[0]))
    g = {"cotangent": rng.normal(size=x.shape), "cotangent_tokens": rng.normal(size=(2, sizes[1], sizes[2]))}

    def loss(x, w):
        found = by_hand(x, w)
        return (found["features_out"] * g["cotangent"]).sum() + (
            found["recurrent_tokens"] * g["cotangent_tokens"]
        ).sum()

    case = write_case(
        tmp_path, "visual_transformer", {}, w, {"x": x, **g, **by_hand(x, w), "loss": np.array(loss(x, w))}
    )
    assert wrong_arrays(case) == []
    found, e, way = recorded.recompute(case), 1e-5, {name: rng.normal(size=a.shape) for name, a in w.items()}
    moved = [{name: a + s * way[name] for name, a in w.items()} for s in (e, -e)]
    difference = (loss(x, moved[0]) - loss(x, moved[1])) / (2 * e)
    assert sum((found[f"grad/{name}"] * way[name]).sum() for name in w) == pytest.approx(difference, rel=1e-6)
    across = rng.normal(size=x.shape)
    difference = (loss(x + e * across, w) - loss(x - e * across, w)) / (2 * e)
    assert (found["grad_input/x"] * across).sum() == pytest.approx(difference, rel=1e-6)


real_softmax = F.softmax


def over_tokens(x, axis=-1):
    return real_softmax(x)


def over_pixels(x, axis=-1):
    return real_softmax(x, axis=1)


def scaled(x, axis=-1):
    return real_softmax(x * 0.5, axis=axis)


def queries_are_keys(self, x, tap=None):
    self.key, self.query = self.query, self.key
    return real_transformer(self, x, tap)


def only_attention(self, x, tap=None):
    y = real_transformer(self, x, tap)
    return y - x


def filters_again(self, x, previous=None, tap=None):
    """The second tokeniser also reads its input, not the tokens."""
    previous = previous * 0 + previous.mean(axis=1, keepdims=True) if self.recurrent else previous
    return real_tokeniser(self, x, previous, tap)


def instead_of_pixels(self, x, tokens):
    return real_projector(self, x, tokens) - x


real_transformer, real_tokeniser, real_projector = TokenTransformer.forward, Tokeniser.forward, Projector.forward
WRONG = [
    (F, "softmax", over_tokens, "token_maps"),
    (F, "softmax", over_pixels, "features_out"),
    (F, "softmax", scaled, "tokens_out"),
    (TokenTransformer, "forward", queries_are_keys, "tokens_after_attention"),
    (TokenTransformer, "forward", only_attention, "tokens_out"),
    (Tokeniser, "forward", filters_again, "recurrent_maps"),
    (Projector, "forward", instead_of_pixels, "output"),
    (F, "relu", F.gelu, "tokens_out"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_parameters_by_hand():
    """ResNet-50 without its last stage and head, then modules of the equations with C = D = E = 1024."""
    body = 25_557_032 - 14_964_736 - 2_049_000
    square = 1024**2
    modules = 3 * 6 * square + 2 * square + 1024 * 16
    network = VisualTransformer(vt.VisualTransformerConfig(), None)
    assert network.num_parameters() == body + modules + 1025 * 1000


def test_the_network_passes_tokens_on_and_its_head_reads_the_last():
    config = vt.FAMILY.config(**vt.VARIANTS["vt-small32"], num_classes=3)
    network = VisualTransformer(config, 0, "float64").eval()
    network.head.weight.data += np.random.default_rng(1).normal(size=network.head.weight.shape)
    tap = {}
    logits = network(np.random.default_rng(2).normal(size=(2, 32, 32, 3)), tap=tap)
    pixels = tap["unit1"].data.reshape(2, 256, 64)
    first, second = network.modules
    tokens = first.transformer(first.tokeniser(Tensor(pixels)))
    refined = first.projector(Tensor(pixels), tokens)
    last = second.transformer(second.tokeniser(refined, tokens))
    assert np.allclose(tap["module1/tokens"].data, last.data, rtol=0, atol=1e-13)
    assert np.allclose(logits.data, last.data.mean(axis=1) @ network.head.weight.data, rtol=0, atol=1e-12)
    assert np.allclose(tap["module0/token_maps"].data.sum(axis=1), 1)
    assert tap["features"].shape == (2, 64)


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"units": (3, 0)}, {"root": "attention"}, {"num_classes": -1}])
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        vt.VisualTransformerConfig(**wrong)
