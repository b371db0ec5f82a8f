"""Draws the pictures of drawn-world.md and prints its tables of sentences: `python docs/drawn_world_pictures.py`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from minivit.data.scenes import Scenes
from minivit.data.scenes_clips import Clips
from minivit.data.scenes_words import WORDS, decode

IMAGES = Path(__file__).parent / "images"
NAMES = ("images", "mask", "boxes", "caption", "question", "answer")
SEED = 21
ENLARGED, GAP = 5, 10  # pixels for one, pixels between pictures
# Of what is behind, and of the five kinds: Okabe and Ito's palette, distinguishable with any colour vision.
TINTS = np.array([[*bytes.fromhex(t)] for t in ["282828", "e69f00", "56b4e9", "009e73", "f0e442", "cc79a7"]], np.uint8)
WHITE = 255


def shown_scenes() -> dict[str, np.ndarray]:
    """The columns of six scenes, two of them nested."""
    first = Scenes(4, seed=SEED).columns(range(4), NAMES)
    nested = Scenes(2, seed=SEED, shapes=(2, 4), nested=1.0).columns(range(2), NAMES)
    return {name: np.concatenate([first[name], nested[name]]) for name in NAMES}


def scenes() -> np.ndarray:
    """Six scenes from left to right; below them the boxes, and the masks by kind."""
    found = shown_scenes()
    pictures = [enlarged(image) for image in found["images"]]
    framed = [with_boxes(picture, boxes) for picture, boxes in zip(pictures, found["boxes"], strict=True)]
    masks = [enlarged(TINTS[mask]) for mask in found["mask"]]
    return sheet([pictures, framed, masks])


def clips() -> np.ndarray:
    """The eight frames of four clips, one below the other."""
    frames = Clips(4, seed=SEED).columns(range(4), ["clip"])["clip"]
    return sheet([[enlarged(frame, 3) for frame in clip] for clip in frames])


def enlarged(image: np.ndarray, times: int = ENLARGED) -> np.ndarray:
    """Every pixel of (H, W, 3) as a square."""
    return image.repeat(times, axis=0).repeat(times, axis=1)


def with_boxes(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """An enlarged picture with a white frame around each box (n, 4)."""
    picture = picture.copy()
    for x0, y0, x1, y1 in (ENLARGED * boxes).tolist():
        picture[y0:y1, x0 : x0 + 2] = picture[y0:y1, x1 - 2 : x1] = WHITE
        picture[y0 : y0 + 2, x0:x1] = picture[y1 - 2 : y1, x0:x1] = WHITE
    return picture


def sheet(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Pictures of one size in rows, on white: (height, width, 3) uint8."""
    side = len(rows[0][0]) + GAP
    page = np.full((len(rows) * side - GAP, len(rows[0]) * side - GAP, 3), WHITE, np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            page[y * side : y * side + len(picture), x * side : x * side + len(picture)] = picture
    return page


def sentences() -> tuple[str, str]:
    """What is said of the six scenes, and of the clips: two tables in Markdown."""
    found = shown_scenes()
    said = zip(found["caption"], found["question"], found["answer"], strict=True)
    scenes = [f"| {decode(caption)} | {decode(question)} | {WORDS[answer]} |" for caption, question, answer in said]
    clips = [f"| {decode(caption)} |" for caption in Clips(4, seed=SEED).columns(range(4), ["caption"])["caption"]]
    heads = "| caption | question | answer |\n|---|---|---|", "| caption |\n|---|"
    return "\n".join([heads[0], *scenes]), "\n".join([heads[1], *clips])


PICTURES = {"drawn-scenes.png": scenes, "drawn-clips.png": clips}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Image.fromarray(draw()).save(IMAGES / name, optimize=True)
    sys.stdout.write("\n\n".join(sentences()) + "\n")
