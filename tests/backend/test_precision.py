"""Mixed precision as NumPy emulates it: what is rounded, where, and what stays in float32."""

import contextlib

import numpy as np
import pytest
import standin_cupy
from devices import placed, to_device, to_host

from minivit import functional as F
from minivit import ops
from minivit.backend import get_namespace
from minivit.backend.precision import NARROW, bfloat16, narrow, precision, products, round_bf16
from minivit.errors import BackendError
from minivit.models import ResNetConfig, ViT, ViTConfig
from minivit.models.families import build
from minivit.tensor import Tensor, grad, watch


def is_narrow(x):
    """Whether every number has at most 8 bits of mantissa."""
    return bool((np.ascontiguousarray(x, np.float32).view(np.uint32) & 0xFFFF == 0).all())


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0)])
def test_bfloat16_is_there_where_the_gpu_has_it(capability):
    with standin_cupy.installed(capabilities=((9, 0), capability)) as cupy:
        get_namespace("cupy")
        bfloat16()
        with cupy.cuda.Device(1), precision("bf16"):
            x = Tensor(cupy.ones((2, 16), "float32"))
            uses = [bfloat16, lambda: narrow(x.data), lambda: F.matmul(x, x.T), lambda: F.gelu(x)]
            uses += [lambda: F.layer_norm(x, Tensor(cupy.ones(16, "float32")), Tensor(cupy.ones(16, "float32")))]
            for use in uses:
                if capability >= (8, 0):
                    use()
                    continue
                with pytest.raises(BackendError) as caught:
                    use()
                assert f"compute capability 8.0, but this one has {capability[0]}.{capability[1]}" in str(caught.value)
                assert "--precision float32" in str(caught.value)


@pytest.mark.parametrize("version", ["2.0.2", "2.1.1", "1.26.4"])
def test_bfloat16_needs_a_numpy_that_cupy_has_it_with(version):
    with standin_cupy.installed(numpy=version), pytest.raises(BackendError, match=rf"NumPy 2.1.2, this is {version}"):
        bfloat16()
    for good in ("2.1.2", "2.10.0", "2.2.0rc1", "3.0"):
        with standin_cupy.installed(numpy=good):
            assert bfloat16().name == "bfloat16"


def test_rounding_is_to_nearest_ties_to_even():
    ulp = 2.0**-7  # of bfloat16 at 1
    x = np.array([1, 1 + ulp / 2, 1 + 3 * ulp / 2, 1 + 0.51 * ulp, -1 - ulp / 2, 0, 3.4e38], np.float32)
    np.testing.assert_array_equal(round_bf16(x), [1, 1, 1 + 2 * ulp, 1 + ulp, -1, 0, np.inf])


def test_rounding_keeps_what_is_not_finite():
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    x[0] = np.array([0x7F800001], np.uint32).view(np.float32)[0]  # a NaN whose upper half is that of infinity
    np.testing.assert_array_equal(np.isnan(round_bf16(x)), [True, False, False])
    np.testing.assert_array_equal(round_bf16(x)[1:], x[1:])


def test_rounding_leaves_its_argument_and_other_types_alone():
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("float32").T
    before = x.copy()
    assert is_narrow(round_bf16(x))
    np.testing.assert_array_equal(x, before)
    for other in (x.astype("float64"), np.arange(3), 0.1, None):
        assert round_bf16(other) is other


def test_the_context_is_left_also_after_an_error():
    with contextlib.suppress(ZeroDivisionError), precision("bf16"):
        assert products() == "bf16"
        _ = 1 / 0
    assert products() == "full"
    with pytest.raises(ValueError, match='"fp8", expected one of'), precision("fp8"):
        pass


CASES = {
    "linear": ([(5, 4), (4, 3), (3,)], {}),
    "linear_gelu": ([(5, 4), (4, 3), (3,)], {}),
    "matmul": ([(5, 4), (4, 3)], {}),
    "attention": ([(2, 3, 12)], {"heads": 2}),
    "attend": ([(2, 3, 4), (2, 5, 4), (2, 5, 6), (2, 2, 3, 5)], {"heads": 2}),
    "gelu": ([(5, 4)], {}),
    "layer_norm": ([(5, 4), (4,), (4,)], {}),
}


@pytest.mark.parametrize("name", NARROW)
def test_an_op_in_bf16_is_the_op_on_rounded_arrays(name):
    shapes, params = CASES[name]
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    inputs, gradients = NARROW[name]

    tensors = [Tensor(x, requires_grad=True) for x in values]
    with precision("bf16"):
        y = getattr(F, name)(*tensors, **params)
    g = rng.standard_normal(y.shape).astype("float32")
    found = grad(y, tensors, g)

    rounded = [round_bf16(x) if i in inputs else x for i, x in enumerate(values)]
    expected, vjp = getattr(ops, name)(*rounded, **params)
    np.testing.assert_allclose(y.data, round_bf16(expected), rtol=2**-7, atol=1e-6)
    assert is_narrow(y.data)
    assert not np.array_equal(y.data, expected)
    for i, (one, other) in enumerate(zip(found, vjp(round_bf16(g)), strict=True)):
        assert one.dtype == "float32"
        assert is_narrow(one) == (i in gradients)
        np.testing.assert_allclose(one, other, rtol=2**-7, atol=2e-2 if i in gradients else 1e-5)


def test_the_residual_stream_and_the_loss_stay_in_float32():
    model = ViT(ViTConfig(image_size=8, patch_size=4, width=16, depth=2, heads=2, num_classes=3))
    model.head.weight.data += np.random.default_rng(0).standard_normal((16, 3)).astype("float32")
    images = Tensor(np.random.default_rng(1).standard_normal((2, 8, 8, 3)).astype("float32"))
    narrow: dict[str, set[bool]] = {}
    with precision("bf16"), watch(lambda op, _, out: narrow.setdefault(op, set()).add(is_narrow(out.data))):
        loss = F.cross_entropy(model(images), np.array([0, 2]))
    for op in ("linear_gelu", "attention", "layer_norm"):
        assert narrow[op] == {True}
    assert narrow["linear"] == {True, False}  # the head's
    assert narrow["add"] == {False}
    assert narrow["cross_entropy"] == {False}
    assert all(g.dtype == "float32" for g in grad(loss, model.parameters()))


@pytest.mark.parametrize("device", ["numpy", "standin"], indirect=True)
@pytest.mark.parametrize(
    "config",
    [
        ViTConfig(image_size=8, patch_size=4, width=32, depth=1, heads=2, num_classes=40),
        ViTConfig(image_size=8, patch_size=4, width=32, depth=1, heads=2, num_classes=40, distillation_token=True),
        ResNetConfig(units=(1,), image_size=12, width=8, groups=4, num_classes=40, root="3x3"),
    ],
    ids=["vit", "distilled", "resnet"],
)
def test_logits_are_float32_and_all_different(device, config):
    """Of factors in bfloat16, the bias in full; also on their way back, where factors are rounded again."""
    model = build(config)
    rng = np.random.default_rng(0)
    for _, p in model.named_parameters():
        p.data += rng.standard_normal(p.shape).astype("float32") / 8
    numbers = {name: p.data.copy() for name, p in model.named_parameters()}
    images = rng.standard_normal((2, *model.config.image_size, 3)).astype("float32")
    model = placed(model)
    with precision("bf16"), watch(lambda op, inputs, out: seen.append((op, to_host(inputs[0]), out))):
        seen: list = []
        logits = model(to_device(images))
    assert logits.dtype == "float32"
    assert len(set(to_host(logits).ravel().tolist())) == 2 * 40
    _, features, y = next(one for one in reversed(seen) if one[0] == "linear")
    if not config_has_distillation(config):
        factors = round_bf16(features.astype("float32")), round_bf16(numbers["head.weight"])
        np.testing.assert_allclose(to_host(y), factors[0] @ factors[1] + numbers["head.bias"], rtol=1e-5, atol=1e-6)
        with precision("bf16"):
            g = rng.standard_normal(logits.shape).astype("float32")
            logits = model(to_device(images))
            weight, bias = grad(logits, [model.head.weight, model.head.bias], to_device(g))
        np.testing.assert_allclose(to_host(weight), factors[0].T @ round_bf16(g), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(to_host(bias), round_bf16(g).sum(axis=0), rtol=1e-5, atol=1e-5)


def config_has_distillation(config):
    return getattr(config, "distillation_token", False)


def test_bf16_changes_a_model_by_bf16_rounding_and_no_more():
    model = ViT(ViTConfig(image_size=8, patch_size=4, width=16, depth=2, heads=2, num_classes=3))
    model.head.weight.data += np.random.default_rng(0).standard_normal((16, 3)).astype("float32")
    images = np.random.default_rng(1).standard_normal((4, 8, 8, 3)).astype("float32")
    exact = model(images).data
    with precision("bf16"):
        narrow = model(images).data
    error = np.linalg.norm(narrow - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 2e-2


@pytest.mark.parametrize(
    ("name", "shapes"), [("rotate", [(2, 3, 8), (3, 4)]), ("rms_norm", [(2, 3, 8), (8,)]), ("swiglu", [(5, 4), (5, 4)])]
)
def test_an_op_outside_the_table_takes_bf16_and_computes_in_full(name, shapes):
    """As on NumPy, where nothing is rounded in between."""
    with standin_cupy.installed(), precision("bf16"):
        cupy = get_namespace("cupy")
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
        arrays[0] = round_bf16(arrays[0])
        y, vjp = getattr(ops, name)(cupy.asarray(arrays[0]).astype(bfloat16()), *map(cupy.asarray, arrays[1:]))
        g = rng.standard_normal(y.shape).astype("float32")
        found = [x.get() for x in (y, *vjp(cupy.asarray(g))) if x is not None]
    expected, vjp = getattr(ops, name)(*arrays)
    for one, other in zip(found, (expected, *(d for d in vjp(g) if d is not None)), strict=True):
        assert one.dtype == "float32"
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
