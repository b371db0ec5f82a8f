"""How a recipe is computed: kernels, precision, number of threads, size of pieces."""

import contextlib
from collections.abc import Iterator

from minivit.backend import blas, kernels
from minivit.backend.cores import available_cores
from minivit.backend.precision import precision
from minivit.data import ArrayDataset, Dataset
from minivit.models.families import ModelConfig
from minivit.runs.recipes import Recipe

PIECE_TOKENS = 2048  # enough rows for fast matrix products, few enough to keep the memory of a step small
LEAST_SHARE = 2**14  # numbers in one activation of a worker's share; with less, threads wait for each other
MOST_WORKERS = 8  # nobody has measured more; they share one interpreter lock


@contextlib.contextmanager
def numerics(recipe: Recipe) -> Iterator[None]:
    """In this context, compute with the recipe's kernels and precision."""
    with kernels(recipe.kernels), precision(recipe.precision):
        yield


def worker_count(recipe: Recipe, batch_size: int | None = None, tokens: int | None = None, ranks: int = 1) -> int:
    """The number of threads that share a batch: the recipe's, or a number that suits batch and machine; one to feed a
    GPU.   tokens: number of tokens of an example, by default the model's; ranks: processes that share the batch."""
    if recipe.workers or recipe.backend != "numpy":
        return recipe.workers or 1
    return default_workers((batch_size or recipe.batch_size) // ranks, recipe.model, tokens)


def default_workers(images: int, model: ModelConfig, tokens: int | None = None) -> int:
    """The default number of threads for a batch: one per core, but no more than have enough work, and one if the matrix
    library cannot be kept from using all cores."""
    shares = images * (tokens or model.num_tokens) * model.width // LEAST_SHARE
    count = min(available_cores(), images, shares, MOST_WORKERS)
    return count if count > 1 and blas.limitable() else 1


def pieces_per_worker(images: int, tokens: int, workers: int) -> int:
    """The number of pieces into which each worker cuts its share of a batch: about PIECE_TOKENS tokens per piece."""
    return max(1, round(images * tokens / (workers * PIECE_TOKENS)))


def accumulation(recipe: Recipe, tokens: int | None = None, ranks: int = 1) -> int:
    """The number of pieces of each worker's share: the recipe's, or one that suits the CPU's caches."""
    if recipe.accumulate or recipe.backend != "numpy":
        return recipe.accumulate or 1
    workers = worker_count(recipe, tokens=tokens, ranks=ranks)
    return pieces_per_worker(recipe.batch_size // ranks, tokens or recipe.model.num_tokens, workers)


def evaluation_batch(recipe: Recipe) -> int:
    """The number of images evaluated at a time: on a GPU no more than training has room for."""
    return 256 if recipe.backend == "numpy" else min(256, -(-recipe.batch_size // accumulation(recipe)))


def loader_threads(dataset: Dataset) -> int:
    """The number of threads that prepare batches: one for images in memory, one per core for files."""
    return 1 if isinstance(dataset, ArrayDataset) else available_cores()
