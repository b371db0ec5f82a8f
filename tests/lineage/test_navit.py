"""NaViT: held to a recording and to a slow implementation of one image at a time; each likely mistake is seen."""

from pathlib import Path

import numpy as np
import pytest
from recordings import wrong_arrays
from sizes_by_hand import GELU, attend, norm, patches_of, rms

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import navit, verify
from minivit.lineage.navit import NaViT, NaViTConfig, Pack, pack
from minivit.lineage.recorded import navit as recorded
from minivit.nn import RMSNorm
from minivit.nn.masked import MaskedAttention
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "navit"
SIZES = [(4, 6), (6, 2), (8, 4), (2, 2), (4, 4)]
RNG = np.random.default_rng(0)
IMAGES = [RNG.normal(size=(*size, 2)) for size in SIZES]


def small(seed=0, dtype="float64", noise=True, **fields):
    """A model with no array at a special value, so that every one of them counts."""
    shape = {"image_size": 8, "patch_size": 2, "table": (5, 4), "width": 8, "depth": 2, "heads": 2, "mlp_width": 12}
    model = NaViT(NaViTConfig(**{**shape, "num_classes": 3, "channels": 2, **fields}), seed, dtype)
    rng = np.random.default_rng(1)
    for tensor in model.parameters() if noise else []:
        tensor.data += 0.3 * rng.standard_normal(tensor.shape)
    return model.eval()


def by_hand(model, image):
    """Logits of one image (height, width, C), from the arrays of the model."""
    w, config = model.state_dict(), model.config
    cut = patches_of(image, config.patch_size)
    x = cut @ w["patch_embed.weight"] + w["patch_embed.bias"]
    for row in range(cut.shape[0]):
        for column in range(cut.shape[1]):
            x[row, column] += w["row_embedding"][row] + w["column_embedding"][column]
    x = x.reshape(-1, config.width)
    for i in range(config.depth):
        inside = {name.removeprefix(f"blocks.{i}."): a for name, a in w.items() if name.startswith(f"blocks.{i}.")}
        q, k, v = np.split(norm(x, inside["norm1.scale"]) @ inside["attention.qkv.weight"], 3, axis=1)
        q, k = (
            np.concatenate([rms(part, inside[f"attention.{n}_norm.scale"]) for part in np.split(a, 2, axis=1)], axis=1)
            for n, a in (("q", q), ("k", k))
        )
        x = x + attend(q, k, v, 2) @ inside["attention.out.weight"]
        y = norm(x, inside["norm2.scale"]) @ inside["mlp.hidden.weight"]
        x = x + GELU[config.gelu](y) @ inside["mlp.out.weight"]
    x = norm(x, w["norm.scale"])
    if config.pool == "gap":
        pooled = x.mean(axis=0)
    else:
        q, k, v = (
            a @ w[f"pool.attention.{n}.weight"] + w[f"pool.attention.{n}.bias"]
            for n, a in (("query", w["pool.probe"][0]), ("key", x), ("value", x))
        )
        y = attend(q, k, v, 2) @ w["pool.attention.out.weight"] + w["pool.attention.out.bias"]
        z = norm(y, w["pool.norm.scale"], w["pool.norm.bias"]) @ w["pool.mlp.hidden.weight"] + w["pool.mlp.hidden.bias"]
        pooled = (y + GELU[config.gelu](z) @ w["pool.mlp.out.weight"] + w["pool.mlp.out.bias"])[0]
    return pooled @ w["head.weight"] + w["head.bias"]


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 31


@pytest.mark.parametrize("fields", [{}, {"pool": "gap"}, {"gelu": "erf", "pool": "gap"}], ids=str)
@pytest.mark.parametrize("length", [10, 16, 40])
def test_packed_images_give_what_each_gives_alone(fields, length):
    model = small(**fields)
    packed = model.packed(pack(IMAGES, (2, 2), length)).data
    slow = np.array([by_hand(model, image) for image in IMAGES])
    alone = np.concatenate([model(image[None]).data for image in IMAGES])
    assert np.allclose(packed, slow, rtol=0, atol=1e-12)
    assert np.allclose(alone, slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pool", ["map", "gap"])
def test_packed_gradients_are_those_of_the_images_alone(pool):
    model, labels = small(pool=pool), np.array([0, 1, 2, 0, 1])
    packed = grad(F.cross_entropy(model.packed(pack(IMAGES, (2, 2), 16)), labels), model.parameters())
    alone = F.concat(*(model(image[None]) for image in IMAGES), axis=0)
    for a, b in zip(packed, grad(F.cross_entropy(alone, labels), model.parameters()), strict=True):
        assert np.allclose(a, b, rtol=0, atol=1e-12)
        assert np.isfinite(a).all()


# packing


def test_images_go_into_the_first_sequence_with_room():
    found = pack(IMAGES, (2, 2), 10)  # 6, 3, 8, 1 and 4 tokens
    assert found.sequence.tolist() == [0, 0, 1, 0, 2]
    assert found.number.tolist() == [0, 1, 0, 2, 0]
    assert found.owners.tolist() == [[0] * 6 + [1] * 3 + [2], [0] * 8 + [-1] * 2, [0] * 4 + [-1] * 6]
    assert found.places[0, :6].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert np.array_equal(found.patches[2, 1], IMAGES[4][:2, 2:].ravel())
    assert not found.patches[2, 4:].any()


def tokens(given, image):
    """The places and pixels of the tokens of an image."""
    s = given.sequence[image]
    mine = given.owners[s] == given.number[image]
    return {(*place, x.tobytes()) for place, x in zip(given.places[s][mine], given.patches[s][mine], strict=True)}


def test_dropped_tokens_leave_room_and_the_others_keep_their_places():
    found = pack(IMAGES, (2, 2), 11, drop=0.5, rng=np.random.default_rng(3))
    counts = [(found.owners[s] == m).sum() for s, m in zip(found.sequence, found.number, strict=True)]
    assert counts == [3, 2, 4, 1, 2]
    assert tokens(found, 2) < tokens(pack(IMAGES, (2, 2), 40), 2)
    order = found.places[found.sequence[2]][found.owners[found.sequence[2]] == found.number[2]].tolist()
    assert order == sorted(order)
    again = pack(IMAGES, (2, 2), 11, drop=0.5, rng=np.random.default_rng(4))
    assert not np.array_equal(found.patches, again.patches)


def test_an_image_longer_than_a_sequence_is_refused():
    with pytest.raises(ValueError, match="image 2 has 8 tokens, a sequence 7"):
        pack(IMAGES, (2, 2), 7)


# mistakes

real_packed, real_normed = NaViT.packed, MaskedAttention._normed


def everyone_sees_everyone(owners):
    return np.ones((len(owners), 1, owners.shape[1], owners.shape[1]), bool)


def padding_is_seen(owners):
    seen = real_together(owners)
    return seen | (owners == -1)[:, None, None, :]


def padding_sees_nobody(owners):
    return real_together(owners) & (owners >= 0)[:, None, :, None]


def with_places(change):
    def packed(self, given, tap=None, rng=None):
        return real_packed(self, given._replace(places=change(given)), tap, rng)

    return packed


def swapped(given):
    return given.places[..., ::-1]


def counted_in_the_sequence(given):
    places = given.places.copy()
    places[..., 1] = np.arange(places.shape[1]) % 6
    return places


def mean_of_the_sequence(self, given, tap=None, rng=None):
    owners = np.where(given.owners == -1, 0, given.owners)
    hidden = real_packed(self, given._replace(owners=owners), tap, rng)
    return hidden


def over_the_whole_width(self, x, norm):
    wide = RMSNorm(x.shape[-1], norm.eps, "float64")
    wide.scale = F.concat(*[norm.scale] * self.heads, axis=0)
    return wide(x)


def not_normed(self, x, norm):
    return x + 0 * F.sum(norm.scale)


def with_a_mean(x, scale, eps=1e-6):
    return F.layer_norm(x, scale, Tensor(0 * scale.data), eps)


real_together = navit.together
WRONG = [
    (navit, "together", everyone_sees_everyone, "output"),
    (navit, "together", padding_is_seen, "output"),
    (navit, "together", padding_sees_nobody, "tap/block0"),
    (recorded, "together", everyone_sees_everyone, "mask"),
    (NaViT, "packed", with_places(swapped), "output"),
    (NaViT, "packed", with_places(counted_in_the_sequence), "output"),
    (NaViT, "packed", mean_of_the_sequence, "output"),
    (MaskedAttention, "_normed", over_the_whole_width, "output"),
    (MaskedAttention, "_normed", not_normed, "output"),
    (F, "rms_norm", with_a_mean, "output"),
]


@pytest.mark.parametrize(
    ("place", "name", "mistake", "seen"),
    WRONG,
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("change", [{"norm_eps": 1e-5}, {"heads": 3}])
def test_a_wrong_configuration_is_seen(change):
    case = verify.open_case(CASE)
    case.config |= change
    if "heads" in change:
        case.weights |= {f"block{i}.{part}_norm": np.ones(4) for i in (0, 1) for part in "qk"}
    assert "output" in wrong_arrays(case)


def test_a_sequence_without_padding_and_one_with_much_are_the_same():
    model = small()
    tight, loose = (model.packed(pack(IMAGES[:2], (2, 2), length)).data for length in (9, 30))
    assert np.allclose(tight, loose, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pool": "mean"}, 'pool is "mean", expected one of map, gap'),
        ({"heads": 5}, "5 heads do not divide width 768"),
        ({"patch_size": 15}, "patch size 15x15 does not divide image size 224x224"),
        ({"table": 8}, "images of 14x14 patches exceed the 8x8 places that have positions"),
        ({"depth": 0}, "depth is 0, expected at least 1"),
        ({"norm_eps": float("nan")}, "norm_eps is nan, expected 0 < norm_eps < 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        NaViTConfig(**fields)
    assert "\n" not in str(caught.value)


def test_places_beyond_the_table_are_refused():
    model = small()
    given = pack(IMAGES, (2, 2), 16)
    with pytest.raises(ValueError, match="embedding"):
        model.packed(Pack(*given[:1], given.places + 5, *given[2:]))
    with pytest.raises(ValueError, match=r"of 6x2 patches, only \(5, 4\) have positions"):
        model(np.zeros((1, 12, 4, 2)))
