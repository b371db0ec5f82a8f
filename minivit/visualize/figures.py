"""The figures by name: each function computes its contents and yields files still to be drawn.

A function raises ConfigError if the model has nothing of the kind to show.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from minivit import plots
from minivit.data import eval_batches
from minivit.data.imagenet import in_words
from minivit.errors import ConfigError
from minivit.models import inside
from minivit.runs import folder as run_folder
from minivit.runs.numerics import loader_threads
from minivit.update.objective import Classification
from minivit.visualize.subject import Subject, predicted

IMAGES_IN_A_ROW = 8  # most images in one figure of rollouts
DISTANCE_IMAGES = 128  # test images over which attention distance is averaged; as many as in the paper
GRAPH_IMAGES = 8  # size of the batch whose step is drawn
PIECE_TOKENS = 2048  # tokens at a time, so that the attention matrices of a layer fit in memory
FILTERS = 28  # principal components, as many as in the paper

Drawing = tuple[str, Callable[[Path], None]]  # name of a file, and what writes it


def draw_attention(subject: Subject) -> Iterator[Drawing]:
    """The attention that the head reads, by layer and head, a file per image."""
    config = subject.vit.config
    reader = "the [class] token" if config.classifier == "token" else "the mean over tokens"
    reader = "the [class] and distillation tokens" if config.distillation_token else reader
    for i, (image, caption) in enumerate(zip(subject.images, subject.captions(), strict=True)):
        maps = inside.attention_weights(subject.vit, image[None], lambda layer: inside.read_by_head(layer[0], config))
        title = f"{subject.name}: attention of {reader}\n{caption.replace(chr(10), ', ')}"
        yield (
            f"attention-{i + 1}.png",
            partial(plots.attention_maps, subject.as_seen(image), maps * config.num_tokens, title),
        )


def draw_rollout(subject: Subject) -> Iterator[Drawing]:
    """Attention rollout of the images, several in a file."""
    maps = []
    for image in subject.images:
        attention = inside.attention_weights(subject.vit, image[None], lambda layer: layer.mean(axis=1, keepdims=True))
        mixed = inside.rollout(attention)[0]
        maps.append(inside.read_by_head(mixed, subject.vit.config) * len(mixed))
    captions = subject.captions()
    title = f"{subject.name}: attention rollout"
    for start in range(0, len(maps), IMAGES_IN_A_ROW):
        part = slice(start, start + IMAGES_IN_A_ROW)
        name = "rollout.png" if len(maps) <= IMAGES_IN_A_ROW else f"rollout-{start // IMAGES_IN_A_ROW + 1}.png"
        seen = subject.as_seen(subject.images[part])
        yield name, partial(plots.attention_rollout, seen, np.stack(maps[part]), captions[part], title)


def draw_distance(subject: Subject) -> Iterator[Drawing]:
    """Mean attention distance over the files, or over test images of all classes."""
    config = subject.vit.config
    images = subject.images
    if not subject.files:
        chosen = subject.test_data.limit(DISTANCE_IMAGES)
        images = subject.augment(chosen.fetch(np.arange(len(chosen)))[0])
    size = max(1, PIECE_TOKENS // config.num_tokens)
    total = np.zeros((config.depth, config.heads))
    for start in range(0, len(images), size):
        total += inside.attention_weights(
            subject.vit,
            images[start : start + size],
            lambda layer: inside.attention_distance(layer, config).sum(axis=0),
        )
    uniform = inside.patch_distances(config.grid, inside.patch_pitch(config)).mean()
    height, width = config.image_size
    title = f"{subject.name}: {len(images)} images of {height}×{width} pixels"
    yield "distance.png", partial(plots.attention_distance, total / len(images), uniform, title)


def draw_positions(subject: Subject) -> Iterator[Drawing]:
    """Cosine similarity of the position embeddings."""
    table = inside.position_table(subject.vit)
    similarity = inside.cosine_similarity(table, subject.vit.config.grid)
    title = f"{subject.name}: position embeddings"
    yield "positions.png", partial(plots.position_similarity, similarity, title)


def draw_filters(subject: Subject) -> Iterator[Drawing]:
    """Principal components of the patch filters."""
    filters = inside.patch_filters(subject.vit)
    if filters.shape[-1] not in (1, 3):
        raise ConfigError(f"there are no colours for filters of {filters.shape[-1]} channels")
    components, shares = inside.principal_components(filters, FILTERS)
    if not len(components):
        raise ConfigError("the patch filters are all the same")
    title = f"{subject.name}: principal components\nof the patch filters"
    yield "filters.png", partial(plots.patch_filters, components, shares, title)


def draw_curves(subject: Subject) -> Iterator[Drawing]:
    """Loss and accuracy over the run."""
    if subject.folder is None:
        raise ConfigError("published weights have no record of their training")
    metrics = run_folder.read_checkpoint(subject.folder / "checkpoint.npz")[1]["metrics"]
    if not metrics:
        raise ConfigError("the run has not been evaluated yet")
    title = f"{subject.name}, {metrics[-1]['step']} steps"
    yield "curves.png", partial(plots.learning_curves, metrics, title, loss=subject.recipe.minimised)


def draw_confusion(subject: Subject) -> Iterator[Drawing]:
    """True against predicted classes over the whole test data."""
    if not subject.takes_images:
        raise ConfigError(f"the network of the objective {subject.recipe.minimised} names no classes of images")
    if not subject.model.config.num_classes:
        raise ConfigError("the model is an encoder without a head, so it has no classes")
    if not subject.classes:
        raise ConfigError("the model's classes have no names: give a file of names with --classes")
    data, size = subject.test_data, max(1, 8 * PIECE_TOKENS // subject.model.config.num_tokens)
    if data.classes != subject.classes:
        raise ConfigError(f"the classes of {data.name} are not the model's")
    counts = np.zeros((len(subject.classes),) * 2, np.int64)
    for images, labels in eval_batches(data, size, subject.augment, threads=loader_threads(data)):
        counts += inside.confusion_counts(labels, predicted(subject.model, images), len(counts))
    accuracy = np.trace(counts) / counts.sum()
    title = f"{subject.name}: {counts.sum()} test images, accuracy {accuracy:.2%}"
    yield "confusion.png", partial(plots.confusion_matrix, counts, list(map(in_words, subject.classes)), title)


def draw_graph(subject: Subject) -> Iterator[Drawing]:
    """The computation graph of a training step. Values do not matter, so the images are black."""
    model, config = subject.model, subject.model.config
    if not subject.takes_images:
        raise ConfigError(f"the network of the objective {subject.recipe.minimised} does not take images as they are")
    images = np.zeros((GRAPH_IMAGES, *config.image_size, config.channels), np.float32)
    output = model.train()(images, rng=np.random.default_rng(0))
    model.eval()
    if not output.requires_grad:
        raise ConfigError("nothing in the model learns")
    labels = np.zeros(GRAPH_IMAGES, np.int64)
    task = Classification(model, subject.recipe.loss)
    loss = task.loss((output,), {"labels": labels}) if config.num_classes else output.mean()
    title = f"{subject.name}: the computation graph of a step on {GRAPH_IMAGES} images"
    yield "graph.svg", partial(plots.computation_graph, loss, title)


def draw_examples(subject: Subject) -> Iterator[Drawing]:
    """What the objective of a run makes of the images, such as masks, or pictures of its own."""
    rows = subject.made()
    if not rows:
        raise ConfigError(f"the objective {subject.recipe.minimised} makes no pictures")
    seen = {name: x if x.ndim == 3 else subject.as_seen(x) for name, x in rows.items()}
    yield "examples.png", partial(plots.image_rows, seen, f"{subject.name}: {subject.recipe.minimised}")


FIGURES: dict[str, Callable[[Subject], Iterator[Drawing]]] = {
    "examples": draw_examples,
    "attention": draw_attention,
    "rollout": draw_rollout,
    "distance": draw_distance,
    "positions": draw_positions,
    "filters": draw_filters,
    "graph": draw_graph,
    "curves": draw_curves,
    "confusion": draw_confusion,
}
