"""Advice when the GPU's memory was too small for an update."""

from collections.abc import Callable

from minivit.backend.cupy_kernels.memory import is_full


def advice(batch: int, free: int, memory_of: Callable[[int], int] | None) -> str:
    """The advice for a batch of this many images, based on a measurement with a few.

    free: free bytes.   memory_of: measures the bytes for a number of images; None if it cannot.
    """
    line = f"out of GPU memory with a batch of {batch}; {free / 2**30:.1f} GiB were free for it"
    few = min(8, batch)
    if memory_of is None or few < 2:
        return f"{line}: choose a smaller model or image size, or --recompute"
    try:
        needs = [memory_of(images) for images in (few // 2, few)]
    except Exception as error:
        if not is_full(error):
            raise
        return f"{line}: not even {few} images fit; choose a smaller model or image size, or --recompute"
    per_image = max(1, (needs[1] - needs[0]) / (few - few // 2))
    fits = max(1, min(batch - 1, int((0.9 * free - needs[0]) / per_image)))
    return (
        f"{line}: about {fits} images would fit ({per_image / 2**20:.1f} MiB each); try --batch-size {fits}, "
        f"--accumulate {-(-batch // fits)} or --recompute"
    )
