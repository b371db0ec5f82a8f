"""A list of published weights that minivit can read: names, addresses, and what the publishers state about them.

`load_pretrained` reads all their layouts. Sources of the table: the README and the notebooks of
google-research/vision_transformer (c6de1e5), the default configurations of timm 1.0.31 and its results on ImageNet
(results-imagenet.csv, aa4b585), the README of DeiT (4da6691). The addresses may change; nothing here checks them.
"""

import dataclasses
import difflib
import re
from collections import defaultdict
from urllib.parse import quote

from minivit.errors import CheckpointError

LICENCE = "Apache 2.0"  # of the repositories, and on the pages of Hugging Face; none names another for the weights
BUCKET = "https://storage.googleapis.com/vit_models/"
HUB = "https://huggingface.co/"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A published file.

    name: a folder and a name of the publisher's; model: name for `ViTConfig.variant`; pixels: side of its images;
    classes: 1,000 of ImageNet-1k, or 21,843 of ImageNet-21k (for fine-tuning; these have no names here); mib: size as
    published, or after "~" that of the arrays, 4 bytes a number; top1: published accuracy on ImageNet-1k in per cent,
    and who measured it.
    """

    name: str
    model: str
    pixels: int
    classes: int
    mib: str
    top1: str = ""

    @property
    def files(self) -> dict[str, str]:
        """The weights file and the files needed beside it: path below the folder of weights -> address."""
        if not self.name.startswith(("timm/", "google/")):
            return {f"{self.name}.npz": f"{BUCKET}{quote(self.name)}.npz"}
        beside = ("config.json", "preprocessor_config.json") if self.name.startswith("google/") else ("config.json",)
        return {
            f"{self.name}/{file}": f"{HUB}{self.name}/resolve/main/{file}" for file in ("model.safetensors", *beside)
        }

    @property
    def page(self) -> str:
        """The publisher's page about it."""
        on_the_hub = self.name.startswith(("timm/", "google/"))
        return f"{HUB}{self.name}" if on_the_hub else "https://github.com/google-research/vision_transformer"

    def __str__(self) -> str:
        size = self.mib.replace("~", "about ")
        top1 = self.top1 and f", top-1 {self.top1}"
        return f"{self.name}: {self.model}, {self.pixels} px, {self.classes:,} classes, {size} MiB{top1}"


def _timm(name: str, model: str, pixels: int, mib: str, top1: str = "", classes: int = 1000) -> Weights:
    by = "DeiT" if name.startswith("deit") else "timm"
    return Weights(f"timm/{name}", model, pixels, classes, mib, top1 and f"{top1} ({by})")


def _augreg(model: str, file: str, mib: str, tuned: str, tuned_mib: str, top1: str) -> list[Weights]:
    """The best pre-trained file of a model in "How to train your ViT?", and its fine-tuned version."""
    name = f"augreg/{model.replace('/', '_').replace('+', '_')}-i21k-300ep-lr_0.001-{file}"
    after = f"{name}--imagenet2012-steps_20k-lr_{tuned}-res_384"
    return [
        Weights(after, model, 384, 1000, tuned_mib, f"{top1} (google-research)"),
        Weights(name, model, 224, 21843, mib),
    ]


# timm's default of an architecture comes first
TABLE: tuple[Weights, ...] = (
    _timm("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "Ti/16", 224, "~22", "75.452"),
    _timm("vit_small_patch16_224.augreg_in21k_ft_in1k", "S/16", 224, "~84", "81.402"),
    _timm("vit_small_patch32_224.augreg_in21k_ft_in1k", "S/32", 224, "~87", "76.010"),
    _timm("vit_base_patch32_224.augreg_in21k_ft_in1k", "B/32", 224, "~337", "80.732"),
    _timm("vit_base_patch16_224.augreg2_in21k_ft_in1k", "B/16", 224, "~330", "85.108"),
    _timm("vit_base_patch16_224.augreg_in21k_ft_in1k", "B/16", 224, "~330", "84.534"),
    _timm("vit_large_patch16_224.augreg_in21k_ft_in1k", "L/16", 224, "~1161", "85.856"),
    _timm("vit_tiny_patch16_384.augreg_in21k_ft_in1k", "Ti/16", 384, "~22", "78.438"),
    _timm("vit_small_patch16_384.augreg_in21k_ft_in1k", "S/16", 384, "~85", "83.814"),
    _timm("vit_small_patch32_384.augreg_in21k_ft_in1k", "S/32", 384, "~87", "80.476"),
    _timm("vit_base_patch32_384.augreg_in21k_ft_in1k", "B/32", 384, "~337", "83.358"),
    _timm("vit_base_patch16_384.augreg_in21k_ft_in1k", "B/16", 384, "~331", "86.010"),
    _timm("vit_large_patch16_384.augreg_in21k_ft_in1k", "L/16", 384, "~1162", "87.096"),
    _timm("vit_base_patch16_224.orig_in21k_ft_in1k", "B/16", 224, "~330", "81.782"),
    _timm("vit_base_patch16_384.orig_in21k_ft_in1k", "B/16", 384, "~331", "84.212"),
    _timm("vit_large_patch32_384.orig_in21k_ft_in1k", "L/32", 384, "~1170", "81.508"),
    _timm("vit_small_patch16_224.augreg_in1k", "S/16", 224, "~84", "78.842"),
    _timm("vit_small_patch16_384.augreg_in1k", "S/16", 384, "~85", "81.130"),
    _timm("vit_base_patch16_224.augreg_in1k", "B/16", 224, "~330", "79.154"),
    _timm("vit_base_patch16_384.augreg_in1k", "B/16", 384, "~331", "81.102"),
    _timm("vit_base_patch32_224.augreg_in1k", "B/32", 224, "~337", "74.908"),
    _timm("vit_base_patch32_384.augreg_in1k", "B/32", 384, "~337", "78.750"),
    _timm("vit_base_patch16_224.sam_in1k", "B/16", 224, "~330", "80.246"),
    _timm("vit_base_patch32_224.sam_in1k", "B/32", 224, "~337", "73.704"),
    _timm("vit_tiny_patch16_224.augreg_in21k", "Ti/16", 224, "~37", classes=21843),
    _timm("vit_small_patch16_224.augreg_in21k", "S/16", 224, "~115", classes=21843),
    _timm("vit_base_patch16_224.augreg_in21k", "B/16", 224, "~391", classes=21843),
    _timm("deit_tiny_patch16_224.fb_in1k", "Ti/16", 224, "~22", "72.2"),
    _timm("deit_small_patch16_224.fb_in1k", "S/16", 224, "~84", "79.9"),
    _timm("deit_base_patch16_224.fb_in1k", "B/16", 224, "~330", "81.8"),
    _timm("deit_base_patch16_384.fb_in1k", "B/16", 384, "~331", "82.9"),
    _timm("deit_tiny_distilled_patch16_224.fb_in1k", "Ti/16", 224, "~23", "74.5"),
    _timm("deit_small_distilled_patch16_224.fb_in1k", "S/16", 224, "~86", "81.2"),
    _timm("deit_base_distilled_patch16_224.fb_in1k", "B/16", 224, "~333", "83.4"),
    *_augreg("Ti/16", "aug_none-wd_0.03-do_0.0-sd_0.0", "37", "0.03", "~22", "78.22"),
    *_augreg("S/32", "aug_none-wd_0.1-do_0.0-sd_0.0", "118", "0.01", "~87", "79.58"),
    *_augreg("S/16", "aug_light1-wd_0.03-do_0.0-sd_0.0", "115", "0.03", "~85", "83.73"),
    *_augreg("B/32", "aug_light1-wd_0.1-do_0.0-sd_0.0", "398", "0.01", "~337", "83.59"),
    *_augreg("B/16", "aug_medium1-wd_0.1-do_0.0-sd_0.0", "391", "0.03", "~331", "85.49"),
    *_augreg("L/16", "aug_strong1-wd_0.1-do_0.0-sd_0.0", "1243", "0.01", "~1162", "85.59"),
    *_augreg("R+Ti/16", "aug_none-wd_0.03-do_0.0-sd_0.0", "40", "0.03", "~24", "75.40"),
    *_augreg("R26+S/32", "aug_light1-wd_0.1-do_0.0-sd_0.0", "170", "0.01", "~139", "83.85"),
    *_augreg("R50+L/32", "aug_medium1-wd_0.1-do_0.1-sd_0.1", "1337", "0.01", "~1255", "85.99"),
    Weights("imagenet21k+imagenet2012/ViT-B_16-224", "B/16", 224, 1000, "330.29", "81.2 expected (google-research)"),
    Weights("imagenet21k+imagenet2012/ViT-B_16", "B/16", 384, 1000, "331.4", "84.212 (timm)"),
    Weights("imagenet21k+imagenet2012/ViT-B_32", "B/32", 384, 1000, "336.89", "81.66 (google-research)"),
    Weights("imagenet21k/ViT-B_16", "B/16", 224, 21843, "393.69"),
    Weights("imagenet21k/ViT-B_32", "B/32", 224, 21843, "400.01"),
    Weights("google/vit-base-patch16-224", "B/16", 224, 1000, "~330"),
)  # fmt: skip

_PREFIX = re.compile(
    r"hf[-_]hub:|gs:/+vit_models/|https?:/+(huggingface\.co|hf\.co|storage\.googleapis\.com/vit_models)/", re.I
)
_REST = re.compile(r"/(resolve|blob|tree)/main(/[^/]*)?$|/+$|\.npz$", re.I)


def _plain(named: str) -> str:
    """A name or address in the spelling of the keys of `_keys`."""
    text = _PREFIX.sub("", str(named).replace("\\", "/"), count=1)
    return _REST.sub("", re.sub("%2b", "+", text, flags=re.I)).lower()


def _keys() -> dict[str, list[Weights]]:
    """All accepted spellings -> the files of that name; a timm name without a tag means timm's default."""
    keys: dict[str, list[Weights]] = defaultdict(list)
    for weights in TABLE:
        folder, _, file = weights.name.lower().partition("/")
        keys[f"{folder}/{file}"].append(weights)
        keys[file].append(weights)
        if folder == "timm":
            for short in (f"{folder}/{file.partition('.')[0]}", file.partition(".")[0]):
                keys.setdefault(short, [weights])
    for model, weights in by_model().items():
        keys[model.lower()] = [weights]
    return keys


def by_model() -> dict[str, Weights]:
    """The weights meant by the name of a model: the first in the table with the classes of ImageNet-1k."""
    first: dict[str, Weights] = {}
    for weights in TABLE:
        if weights.classes == 1000:
            first.setdefault(weights.model, weights)
    return first


def find(named: str) -> Weights | None:
    """The weights of a name, an address or a model ("Ti/16"), or None. Raises CheckpointError for an ambiguous name."""
    found = _keys().get(_plain(named), [])
    if len(found) > 1:
        raise CheckpointError(f"{named} names {len(found)} published files: {' or '.join(w.name for w in found)}")
    return found[0] if found else None


def suggestion(named: str) -> str:
    """An addition to the error about a missing file: a similar name of published weights, or nothing."""
    keys = _keys()
    near = difflib.get_close_matches(_plain(named), keys, n=1, cutoff=0.75)
    if near:
        return f"; did you mean {keys[near[0]][0].name}?"
    bare = not re.search(r"[/\\.]", named)
    return "; published weights: Ti/16, S/16, B/16 and others (minivit models --published)" if bare else ""


def listing() -> list[str]:
    """A line for each of the published weights, in the order of the table."""
    return [str(weights) for weights in TABLE]
