"""augment.cu and mix.cu: batches made by the kernels equal, bit for bit, those that the CPU makes of the same draws."""

import numpy as np
import pytest
import standin_cupy
from cuda_on_cpu.kernels import both_orders, module, must_fail, needs_compiler

from minivit.backend.cupy_kernels import augment as kernels
from minivit.data import ArrayDataset, Augment, Loader
from minivit.data.device_loader import DeviceLoader
from minivit.data.randaugment import OPERATIONS
from minivit.data.transform import Changes
from minivit.nn import Module
from minivit.update.objective import Classification

pytestmark = needs_compiler
EVERYTHING = {"flip": True, "crop_padding": 4, "randaugment": (3, 9), "erasing": 0.5, "mean": (0.1, 0.4, 0.5)}


def awkward_images(count, height, width, channels):
    """uint8: constant, of two values, dark, smooth, with a single different pixel, of levels that autocontrast maps to
    whole numbers only before rounding, and noise, in turn."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    images[0::7] = images[0::7, :1, :1]
    images[1::7] = np.where(images[1::7] < 99, 17, 230)
    images[2::7] //= 9
    images[3::7] = np.add.outer(np.arange(height), np.arange(width))[..., None] * 3 % 256
    images[4::7] = 200
    images[4::7, height // 2, width // 3] = 3
    images[5::7] = np.resize(np.arange(113, 233), (height, width, 1))
    return images


def loader(shape=(32, 32, 3), mixup=0.0, cutmix=0.0, batch=18, **options):
    images = awkward_images(43, *shape)
    dataset = ArrayDataset(images, np.arange(43) % 10, list("abcdefghij"), "awkward")
    transform = Augment(shape[:2], **options)
    objective = Classification(Module(), mixup=mixup, cutmix=cutmix, classes=10)
    return Loader(dataset, batch, transform, objective, total_steps=99, seed=5)


def check(batches, steps=(0, 3), reverse=False, bug=None):
    """Assert that the kernels, with an error planted or not, make the batches of these steps."""

    def kernel(file, name, **defines):
        compiled = module(file, bug[1] if bug and bug[0] == file else None, **defines)

        def launch(grid, block, *arguments, shared_memory=0):
            hosts = [getattr(argument, "_host", argument) for argument in arguments]
            compiled.launch(name, grid, block, hosts, shared_memory, reverse)

        return launch

    with standin_cupy.installed() as cupy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "kernel", kernel)
        device = DeviceLoader(batches, cupy)
        for step in steps:
            wanted, made = batches.batch(step), device.batch(step)
            assert made.keys() == wanted.keys() == {"images", "labels"}
            for name, expected in wanted.items():
                actual = made[name]
                assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
                wrong = np.flatnonzero((actual.get() != expected).reshape(len(expected), -1).any(1))
                assert not wrong.size, f"step {step}: items {wrong.tolist()} of the batch differ"


def check_operation(name, shape=(32, 32, 3), magnitudes=(9,), reverse=False, bug=None):
    """One operation alone, with signs and places in turn."""
    number, (height, width, _) = list(OPERATIONS).index(name), shape
    rng = np.random.default_rng(0)
    operations = np.zeros((43, 1, 3), np.int32)
    operations[:, 0, 0] = number
    if name == "Cutout":
        operations[:, 0, 1], operations[:, 0, 2] = rng.integers(0, width, 43), rng.integers(0, height, 43)
    elif name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"):
        operations[:, 0, 1] = np.resize([1, -1, -1], 43)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Augment, "draw", lambda self, shape, rng: Changes(None, None, None, operations, []))
        for magnitude in magnitudes:
            check(loader(shape, batch=43, randaugment=(1, magnitude)), (0,), reverse, bug)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (7, 12, 3), (2, 3, 1)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_equals_that_of_the_cpu(name, shape):
    check_operation(name, shape, magnitudes=(0, 2, 5, 9, 13.7, 20, 60))


@both_orders
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_in_both_orders_of_threads(name, reverse):
    check_operation(name, reverse=reverse)


OPTIONS = [
    {},
    {"flip": True},
    {"crop_padding": 4},
    {"flip": True, "crop_padding": 40, "mean": (0.1, 0.2, 0.3), "std": (0.3, 0.2, 0.1)},
    {"erasing": 0.7},
    {"randaugment": (0, 9)},
    {"randaugment": (5, 14)},
    {"mixup": 0.8},
    {"cutmix": 1.0},
    {**EVERYTHING, "mixup": 0.3, "cutmix": 0.7},
]


@both_orders
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_batches_equal_those_of_the_cpu(options, reverse):
    check(loader(**options), range(6), reverse)


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 14, 3), (1, 1, 3), (17, 2, 1)], ids=str)
def test_images_of_other_sizes(shape):
    check(loader(shape, **{**EVERYTHING, "mean": 0.4}, mixup=0.3, cutmix=0.7), range(6))


def test_large_images_need_no_shared_memory_without_operations():
    check(loader((150, 160, 3), batch=4, flip=True, crop_padding=9, erasing=0.5, cutmix=1.0))


def test_images_that_come_with_their_batch():
    check(loader(**EVERYTHING, resized_crop=(0.3, 1), cutmix=1.0))


def test_a_batch_of_one_is_mixed_with_itself():
    check(loader(batch=1, mixup=0.5, cutmix=0.5), range(8))


BUGS = [
    ("row < height", "row <= height"),
    ("change.flipped ? width - 1 - x", "change.flipped ? width - x"),
    ("width - 1 - x : x) + change.left", "width - 1 - x - 2 * change.left : x) + change.left"),
    ("y + change.top", "y - change.top"),
    ("        __syncthreads();\n    }\n    const Operation", "    }\n    const Operation"),
    ("cutout_half});\n        __syncthreads();", "cutout_half});"),
    ("blockIdx.x * operation_count;", "blockIdx.x;"),
    ("y * change.erased_width + x", "y * width + x"),
    ("noise[change.noise + ", "noise["),
    ("normalised[value * CHANNELS + i % CHANNELS]", "normalised[value * CHANNELS]"),
    ("original_labels[change.original]", "original_labels[blockIdx.x]"),
]
MIX_BUGS = [
    ("blockIdx.x - 1 : gridDim.x - 1", "blockIdx.x - 1 : 0"),
    ("y < bottom", "y <= bottom"),
    ("product(own, image[i]) + product(other, previous[i])", "image[i] + product(other, previous[i] - image[i])"),
    (": image[i];", ": previous[i];"),
    ("labels[blockIdx.x], previous", "labels[0], previous"),
    ("(k == previous ? other : 0)", "(k == previous && k != label ? other : 0)"),
]
OPERATION_BUGS = [
    ("Rotate", ("source < 0 ? GREY", "source < 0 ? 0")),
    ("TranslateX", ("    swap_buffers(image);\n}\n\n// table", "}\n\n// table")),
    ("Brightness", ("tables.values + operation.x * LEVELS", "tables.values")),
    ("Equalize", ("counts[i] = 0;\n    __syncthreads();", "counts[i] = 0;")),
    ("Equalize", ("], 1);\n    }\n    __syncthreads();", "], 1);\n    }")),
    ("Equalize", ("    __syncthreads();\n    look_up(image, table", "    look_up(image, table")),
    ("Equalize", ("(pixels - counts[lightest]) / 255", "pixels / 255")),
    ("Equalize", ("int below = step / 2", "int below = 0")),
    ("Equalize", ("return result > 255 ? 255 : result;\n}\n\n// AUTO", "return result;\n}\n\n// AUTO")),
    ("Equalize", ("if (step == 0) return v;", "if (step == 0) return 0;")),
    ("AutoContrast", ("if (lightest <= darkest) return v;", "")),
    ("AutoContrast", ("double scale = 255.0 /", "float scale = 255.0f /")),
    ("AutoContrast", ("product(v, scale) + product(-darkest, scale)", "product(v - darkest, scale)")),
    ("AutoContrast", ("product(v, scale) + product(-darkest, scale)", "fma(v, scale, product(-darkest, scale))")),
    ("Color", ("+ 0x8000", "")),
    ("Contrast", ("if (threadIdx.x == 0) sum = 0;\n    __syncthreads();", "if (threadIdx.x == 0) sum = 0;")),
    ("Contrast", ("add(&sum, share);\n    __syncthreads();", "add(&sum, share);")),
    ("Contrast", ("(2 * sum + pixels) / (2 * pixels)", "sum / pixels")),
    ("Sharpness", ("y < image.height - 1", "y < image.height")),
    ("Sharpness", ("(2 * sum + 13) / 26", "sum / 13")),
    ("Sharpness", ("LEVELS * smooth + image.values[i]", "LEVELS * image.values[i] + smooth")),
    ("Cutout", ("dx < half", "dx <= half")),
]


@pytest.mark.parametrize("bug", [("augment.cu", bug) for bug in BUGS] + [("mix.cu", bug) for bug in MIX_BUGS], ids=str)
@pytest.mark.planted
def test_a_planted_error_is_found(bug):
    must_fail(check, loader(**EVERYTHING, mixup=0.3, cutmix=0.7), range(6), bug=bug)


@pytest.mark.parametrize(("name", "bug"), OPERATION_BUGS, ids=str)
@pytest.mark.planted
def test_an_error_planted_in_an_operation_is_found(name, bug):
    must_fail(check_operation, name, bug=("augment.cu", bug))
