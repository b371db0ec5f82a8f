"""The stand-in is as strict as CuPy: each of its refusals, and what a captured graph is made of."""

import sys

import ml_dtypes
import numpy as np
import pytest
import standin_cupy
from devices import assert_equal, to_device

from minivit import functional as F
from minivit.backend import get_namespace
from minivit.backend.arrays import _NAMESPACES
from minivit.backend.kernels import registered
from minivit.tensor import Tensor, grad

X = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def cupy():
    with standin_cupy.installed() as module:
        yield module


@pytest.fixture
def x(cupy):
    return cupy.asarray(X)


@pytest.fixture
def stream(cupy):
    return cupy.cuda.Stream(non_blocking=True)


def test_nothing_is_left_behind():
    before = dict(_NAMESPACES), registered(), sys.modules.get("cupy")
    with standin_cupy.installed() as cupy:
        assert get_namespace("cupy") is cupy is sys.modules["cupy"]
        assert any(key[1] is cupy.ndarray for key in registered())
    assert (dict(_NAMESPACES), registered(), sys.modules.get("cupy")) == before


# arrays


@pytest.mark.parametrize(
    "use",
    [
        np.asarray,
        lambda x: x + X,
        lambda x: X * x,
        lambda x: x + np.array(1.0),
        lambda x: np.add(x, X),
        lambda x: x.__iadd__(X),
        lambda x: standin_cupy.cupy.where(x > 0, X, 0),
        lambda x: standin_cupy.cupy.concatenate([x, X]),
        lambda x: standin_cupy.cupy.exp(x, out=X),
        lambda x: standin_cupy.cupy.sum([1, 2]),
        lambda x: standin_cupy.cupy.exp(x, where=x > 0),
        lambda x: x.sum(initial=1),
        lambda x: x.max(where=x > 0),
        lambda x: standin_cupy.cupy.zeros(3, like=x),
    ],
)
def test_what_cupy_refuses_with_a_type_error(x, use):
    with pytest.raises(TypeError):
        use(x)


def test_arrays_of_the_host_are_set_and_not_assigned(x):
    with pytest.raises(ValueError, match="cannot be used for fill"):
        x[...] = X
    with pytest.raises(TypeError, match="float32 array cannot be set to float64"):
        x.set(X.astype("float32"))
    with pytest.raises(RuntimeError, match="non-contiguous"):
        x[:, ::2].set(X[:, ::2])
    x.set(2 * X)
    assert_equal(x.get(), 2 * X)


@pytest.mark.parametrize("name", ["vecdot", "insert", "errstate", "unstack", "einsum_path", "no_such_function"])
def test_functions_that_cupy_has_not(cupy, name):
    with pytest.raises(AttributeError, match=name):
        getattr(cupy, name)


def test_only_sums_and_products_reduce(cupy, x):
    assert cupy.add.reduce(x).tolist() == [3, 5, 7]
    with pytest.raises(AttributeError):
        cupy.maximum.reduce(x)


def test_reductions_give_arrays(cupy, x):
    for value in (x.sum(), x.max(), x.mean(), x[0, 0], cupy.vdot(x, x), x.argmax()):
        assert type(value) is cupy.ndarray
        assert value.shape == ()


def test_element_wise_results_are_c_contiguous(x):
    assert (x.T + 1).flags.c_contiguous
    assert not x.T.flags.c_contiguous
    assert x.T.copy().flags.c_contiguous


def test_the_base_of_a_view_owns_the_memory(x):
    view = x.T[1:]
    assert view.base is x
    assert view.data.ptr == x.data.ptr + x.itemsize
    assert (x + 1).base is None
    view[...] = 7
    assert x.get()[0].tolist() == [0, 7, 7]


def test_indices_wrap_around(cupy, x):
    assert x[0].tolist() == x[cupy.array([2])][0].tolist() == [0, 1, 2]
    x[cupy.array([3]), cupy.array([4])] = 9
    assert x[1, 1].item() == 9
    cupy.add.at(x, cupy.array([4, 4]), 1.0)
    assert x[0].tolist() == [2, 3, 4]
    with pytest.raises(IndexError):
        x[2]


def test_python_numbers_are_weak_and_numpy_s_are_not(cupy):
    x = cupy.ones(2, "float32")
    assert (x * 2.0).dtype == "float32"
    assert (x * np.float64(2)).dtype == "float64"


def test_bfloat16_as_far_as_cupy_has_it(cupy):
    x = cupy.asarray(np.full((3, 300), 1.0)).astype(ml_dtypes.bfloat16)
    assert x.sum(axis=1).tolist() == [300, 300, 300]  # added up in bfloat16: 256
    assert (x @ x.T).dtype == ml_dtypes.bfloat16
    assert (x * 2.0).dtype == "float32"
    with pytest.raises(TypeError):
        x[None] @ x.T[None]
    with pytest.raises(TypeError):
        cupy.einsum("ij,kj", x, x)


def test_waiting_for_the_device_is_counted_and_can_be_forbidden(cupy, x):
    uses = [
        x.get,
        x.sum().item,
        x.tolist,
        lambda: float(x.sum()),
        lambda: bool(x.any()),
        lambda: x[x > 1],
        lambda: str(x),
    ]
    uses += [lambda: cupy.nonzero(x), cupy.cuda.Stream.null.synchronize, cupy.cuda.runtime.deviceSynchronize]
    for count, use in enumerate(uses):
        assert standin_cupy.synchronisations() == count
        use()
        with standin_cupy.forbid_synchronisation(), pytest.raises(AssertionError, match="waits for the device"):
            use()
    with standin_cupy.forbid_synchronisation():
        cupy.exp(x + 1).sum()


# memory


def test_new_memory_is_poisoned_and_aligned(cupy):
    x = cupy.empty((3, 4), "float32")
    assert x.data.ptr % 256 == 0
    assert np.isnan(x.get()).all()
    assert np.isnan(cupy.empty_like(x).get()).all()


def test_pools_share_nothing_and_keep_what_they_hold(cupy):
    def taken():
        free, total = cupy.cuda.runtime.memGetInfo()
        return total - free

    pool, default = cupy.cuda.MemoryPool(), cupy.get_default_memory_pool()
    begin = taken()
    with cupy.cuda.using_allocator(pool.malloc):
        x = cupy.zeros(100)
    del x
    assert taken() == begin + 1024
    default.free_all_blocks()
    y = cupy.zeros(100)
    assert taken() == begin + 2048  # not what the other pool does not need
    with cupy.cuda.Stream(non_blocking=True):
        del y
        z = cupy.zeros(100)  # nor what was used on another stream
    assert taken() == begin + 3072
    del z
    default.free_all_blocks()
    assert taken() == begin + 1024
    del pool
    assert taken() == begin + 1024  # for good


def test_a_graph_whose_pool_gave_its_memory_back_is_found(cupy, stream):
    pool, x = cupy.cuda.MemoryPool(), cupy.ones(3)
    result = cupy.zeros(3)
    with stream, cupy.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        constant = x * 2
        result[...] = constant
        del constant
        graph = stream.end_capture()
    graph.launch()
    assert result.tolist() == [2, 2, 2]
    assert pool.free_bytes() == 512  # it seems to be of no use
    pool.free_all_blocks()
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="IllegalAddress"):
        graph.launch()


def test_streams_are_entered_and_left_as_a_stack(cupy):
    first, second = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cupy.cuda.get_current_stream() == first  # the second was left
    second.__exit__(None, None, None)
    assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null


# machines


def test_an_older_gpu_refuses_bfloat16_and_gives_less_memory():
    pytest.importorskip("cuda_on_cpu")
    with standin_cupy.installed(capabilities=((7, 5),)) as cupy:
        assert cupy.cuda.Device().compute_capability == "75"
        code = "#define T bf16\n" + SOURCE
        with pytest.raises(Exception, match=r"requires .target sm_80"):
            cupy.RawModule(code=code).compile()
        kernel = cupy.RawModule(code=SOURCE).get_function("scale")
        with pytest.raises(cupy.cuda.driver.CUDADriverError):
            kernel.max_dynamic_shared_size_bytes = 65 << 10


@pytest.mark.parametrize("versions", [{"cupy": "13.6.0"}, {"numpy": "2.0.2"}], ids=str)
def test_versions_without_bfloat16(versions):
    with standin_cupy.installed(**versions) as cupy:
        assert versions.items() <= {"cupy": cupy.__version__, "numpy": np.__version__}.items()
        with pytest.raises(ValueError, match="Unsupported dtype bfloat16"):
            cupy.zeros(2, ml_dtypes.bfloat16)
        cupy.zeros(2)


def test_libraries_of_cuda_that_are_missing():
    with standin_cupy.installed(missing=("nvrtc", "cublas"), cuda=12) as cupy:
        x = cupy.asarray(X)
        for use, name in ((lambda: cupy.exp(x), "nvrtc"), (cupy.RawModule(code=SOURCE).compile, "nvrtc")):
            with pytest.raises(RuntimeError, match=rf"lib{name}.so.12"):
                use()
        with pytest.raises(RuntimeError, match=r"libcublas.so.12"):
            _ = x @ x.T
    assert cupy.cuda.runtime.runtimeGetVersion() == 13000


def test_arrays_of_another_device_are_no_place_for_a_kernel():
    pytest.importorskip("cuda_on_cpu")
    with standin_cupy.installed(capabilities=((9, 0), (7, 5))) as cupy:
        kernel = cupy.RawModule(code=SOURCE).get_function("scale")
        x = cupy.ones(3, "float32")
        with cupy.cuda.Device(1) as device:
            assert device.compute_capability == "75"
            assert x.device != cupy.ones(3).device == device
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="IllegalAddress"):
                kernel((1,), (32,), (x, x, np.float32(2), np.int32(3)))
        assert cupy.cuda.Device().id == 0


def test_a_pool_runs_out_and_counts(cupy):
    pool = cupy.cuda.MemoryPool()
    pool.set_limit(size=1024)
    with cupy.cuda.using_allocator(pool.malloc):
        x = cupy.zeros(100)
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            cupy.zeros(100)
    y = cupy.zeros(100)
    assert (pool.used_bytes(), pool.total_bytes()) == (1024, 1024)
    assert_equal(x, y)
    del x
    assert (pool.used_bytes(), pool.total_bytes()) == (0, 1024)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


# graphs


def test_a_graph_runs_when_it_is_launched_and_not_when_it_is_captured(cupy, stream):
    total = cupy.ones(3)
    with stream:
        stream.begin_capture()
        doubled = total * 2
        doubled += 1
        total[...] = doubled
        graph = stream.end_capture()
    assert total.tolist() == [1, 1, 1]
    assert np.isnan(doubled.get()).all()
    for expected in (3, 7, 15):
        graph.launch()
        assert total.tolist() == [expected] * 3
    total[...] = 0  # the graph reads the memory, not what was in it
    graph.launch()
    assert doubled.tolist() == [1, 1, 1]


def test_a_graph_that_reads_freed_memory_is_found(cupy, stream):
    x, y = cupy.ones(3), cupy.ones(3)
    with stream:
        stream.begin_capture()
        z = x + y
        graph = stream.end_capture()
    graph.launch()
    assert z.tolist() == [2, 2, 2]
    del y
    graph.launch()
    assert np.isnan(z.get()).all()


def test_what_cannot_be_captured(cupy, x, stream):
    refused = [
        x.get, x.sum().item, lambda: float(x.sum()), lambda: bool(x.any()), lambda: x.set(X), lambda: cupy.asarray(X),
        lambda: x[[0, 1]], lambda: x[x > 0], stream.synchronize, lambda: cupy.nonzero(x),
    ]  # fmt: skip
    with stream:
        for use in refused:
            stream.begin_capture()
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="CaptureUnsupported"):
                use()
            for next_use in (stream.is_capturing, lambda: x + 1):
                with pytest.raises(RuntimeError, match=r"Invalidated|invalidated"):
                    next_use()
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="CaptureInvalidated"):
                stream.end_capture()
            assert not stream.is_capturing()
        stream.begin_capture()
        for use in (lambda: x @ x.T, lambda: cupy.vdot(x, x), lambda: cupy.einsum("ij->i", x)):
            with pytest.raises(NotImplementedError, match="cuBLAS"):
                use()
        stream.end_capture()
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        cupy.cuda.Stream.null.begin_capture()


def test_a_forward_and_backward_pass_is_captured_with_its_kernels(cupy, stream):
    get_namespace("cupy")
    rng = np.random.default_rng(0)
    batches = rng.standard_normal((2, 4, 8)).astype("float32")
    weight = rng.standard_normal((8, 3)).astype("float32")

    def gradients(x, w):
        return grad(F.sum(F.gelu(F.linear(x, w))), [w])[0]

    x, w = Tensor(cupy.asarray(batches[0])), Tensor(cupy.asarray(weight), requires_grad=True)
    with stream:
        stream.begin_capture()
        found = gradients(x, w)
        graph = stream.end_capture()
    for batch in batches:
        x.data.set(batch)
        graph.launch()
        np.testing.assert_allclose(found.get(), gradients(Tensor(batch), Tensor(weight, True)), rtol=1e-5, atol=1e-5)


# kernels

SOURCE = """
extern "C" __global__ void scale(const float* x, float* y, float factor, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = factor * x[i];
}
"""


@pytest.fixture
def scale(cupy):
    pytest.importorskip("cuda_on_cpu")
    return cupy.RawModule(code=SOURCE, options=("-std=c++17",)).get_function("scale")


def test_a_kernel_runs_on_the_arrays_it_is_given(cupy, scale, stream):
    x, y = cupy.arange(6, dtype="float32"), cupy.zeros(6, dtype="float32")
    scale((1,), (32,), (x, y, np.float32(2), np.int32(6)))
    assert y.tolist() == [0, 2, 4, 6, 8, 10]
    scale((1,), (32,), (x[::2], y, np.float32(1), np.int32(3)))  # strides are not passed
    assert y.tolist() == [0, 1, 2, 6, 8, 10]
    with stream:
        stream.begin_capture()
        scale((1,), (32,), (y, y, np.float32(10), np.int32(6)))
        graph = stream.end_capture()
    assert y[1].item() == 1
    graph.launch()
    assert y[1].item() == 10


def test_a_python_number_is_eight_bytes(cupy, scale):
    x = cupy.ones(3, "float32")
    with pytest.raises(TypeError, match="factor"):
        scale((1,), (32,), (x, x, 2.0, np.int32(3)))
    with pytest.raises(TypeError, match="n "):
        scale((1,), (32,), (x, x, np.float32(2), 3))


def test_shared_memory_must_be_asked_for(cupy, scale):
    x = cupy.ones(3, "float32")
    arguments = (x, x, np.float32(2), np.int32(3))
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="max_dynamic_shared_size_bytes"):
        scale((1,), (32,), arguments, shared_mem=49 << 10)
    scale.max_dynamic_shared_size_bytes = 49 << 10
    scale((1,), (32,), arguments, shared_mem=49 << 10)
    assert x.tolist() == [2, 2, 2]
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        scale.max_dynamic_shared_size_bytes = 228 << 10


# where tests run


@pytest.mark.parametrize("device", ["standin"], indirect=True)
def test_arrays_are_sent_with_their_layout(device):
    x = np.arange(24.0).reshape(2, 3, 4)
    for layout in (x, np.asfortranarray(x), x.transpose(1, 0, 2), x[:, ::-1], x[:, :, ::2], x[::-1, 1:2], x[:0]):
        there = to_device(layout)
        assert type(there) is device.ndarray
        assert_equal(there, layout)
        assert there.flags.c_contiguous == layout.flags.c_contiguous
        assert there.flags.f_contiguous == layout.flags.f_contiguous
        assert [s < 0 for s in there.strides] == [s < 0 for s in layout.strides]
