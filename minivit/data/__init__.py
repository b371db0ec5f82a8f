"""Data sets, augmentation and the loader: everything between files and the float32 batches a model sees."""

from minivit.data.augment import normalize, random_crop, random_erasing, random_flip, random_resized_crop
from minivit.data.dataset import ArrayDataset, Dataset
from minivit.data.encoded import EncodedDataset
from minivit.data.folder import FolderDataset
from minivit.data.images import read_image, resize
from minivit.data.loader import Loader, eval_batches
from minivit.data.mixing import cutmix, mixup, one_hot
from minivit.data.randaugment import randaugment
from minivit.data.registry import data_root, load
from minivit.data.scenes import Scenes
from minivit.data.scenes_clips import Clips
from minivit.data.transform import Augment

__all__ = [
    "ArrayDataset",
    "Augment",
    "Clips",
    "Dataset",
    "EncodedDataset",
    "FolderDataset",
    "Loader",
    "Scenes",
    "cutmix",
    "data_root",
    "eval_batches",
    "load",
    "mixup",
    "normalize",
    "one_hot",
    "randaugment",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_resized_crop",
    "read_image",
    "resize",
]
