"""What readers search for, and the page that they should find first.

A page's own words decide how Sphinx ranks it, and a long notebook has them all. The words of this table become entries
of the index, which the search puts before anything else. The sentence is the page's description, for search engines.
"""

import re
from html import escape, unescape

from docutils import nodes
from repository import site_address
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "index": (
        "The Vision Transformer in pure NumPy: every layer and every derivative written by hand, for teaching.",
        ("minivit", "vision transformer"),
    ),
    "reading": (
        "Where to begin as a student, a practitioner or an instructor; notebooks on Colab; hosting the site.",
        ("course", "teaching", "where to begin"),
    ),
    "notebooks": (
        "22 notebooks that derive the Vision Transformer equation by equation, with checked exercises.",
        ("notebooks", "exercises", "download", "tutorial"),
    ),
    "equations": (
        "Every equation of the paper with its op, its notebook and its tests.",
        ("equations", "formulas", "paper"),
    ),
    "training": (
        "What was trained with minivit, how, how well, and how to train on your own images.",
        ("accuracy", "cifar", "presets"),
    ),
    "transfer": (
        "Fine-tuning published Vision Transformer weights on your own images.",
        ("fine-tuning", "finetune", "transfer learning", "freeze", "own classes"),
    ),
    "weights": (
        "Published Vision Transformer weights that minivit reads and writes: official, timm, Hugging Face.",
        ("weights", "pretrained", "pre-trained weights", "timm", "hugging face", "safetensors", "imagenet"),
    ),
    "gpu": ("Running minivit on a GPU with CuPy.", ("gpu", "cuda", "cupy", "mixed precision", "bf16")),
    "performance": ("How fast minivit is and why.", ("speed", "performance", "benchmark", "memory")),
    "inside": (
        "Pictures of what a trained Vision Transformer has learned, and of a backward pass.",
        ("visualise attention maps", "visualise", "visualize", "rollout"),
    ),
    "hybrid": ("Hybrids of a ResNet and a Vision Transformer.", ("hybrid", "resnet")),
    "design": ("Why minivit is built the way it is.", ("design", "architecture", "autodiff")),
    "api/commands": (
        "The commands of minivit with every option.",
        ("command line", "cli", "options", "predict", "evaluate"),
    ),
    "api/training": ("Recipes, the training loop and run folders.", ("trainer", "own loop", "recipe")),
}  # fmt: skip

SECTIONS: dict[str, tuple[str, ...]] = {  # words whose answer is one section of a page
    "training#class-folders": (
        "own images", "own data", "train my own", "custom dataset", "imagefolder", "image folder", "class folders",
        "folder of images", "validation split", "train test split",
    ),
    "reading#host-this-site": ("hosting", "host the site"),
    "reading#run-a-notebook": ("colab", "google colab", "jupyter", "run a notebook"),
    "index#install": ("install", "installation", "pip install", "getting started", "quick start", "requirements"),
}  # fmt: skip


class SearchWords(SphinxTransform):
    """Add a page's words to the index, before Sphinx collects it."""

    default_priority = 800

    def apply(self, **kwargs: object) -> None:
        """Entries point to the title of the page, or of the section."""
        page = self.env.docname
        sections = {name: section for section in self.document.findall(nodes.section) for name in section["ids"]}
        wanted = {name.partition("#")[2]: words for name, words in SECTIONS.items() if name.startswith(f"{page}#")}
        if page in PAGES and sections:
            wanted[next(iter(sections))] = PAGES[page][1]
        for name, words in wanted.items():
            if name not in sections:
                logger.warning("search_words.py: page %s has no section %s", page, name)
                continue
            entries = [("single", word, name, "main", None) for word in words]
            sections[name].insert(1, addnodes.index(entries=entries))


def describe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Add a description, and what is shown where somebody links to the page."""
    title = unescape(re.sub(r"<[^>]+>", "", context.get("title") or "minivit"))
    text = PAGES[page][0] if page in PAGES else f"{title}: a page of minivit, the Vision Transformer written by hand."
    tags = {"og:title": title, "og:description": text, "og:type": "website", "og:site_name": "minivit"}
    if site_address():
        tags |= {"og:url": f"{site_address()}{page}.html", "og:image": f"{site_address()}_images/digits.png"}
    head = "".join(f'<meta property="{name}" content="{escape(content)}">\n' for name, content in tags.items())
    context["metatags"] = f'{context.get("metatags", "")}<meta name="description" content="{escape(text)}">\n{head}'


def all_pages_exist(app: Sphinx, env: object) -> None:
    """A page of the table that is not there is a warning."""
    for page in PAGES.keys() - app.env.found_docs:
        logger.warning("search_words.py: there is no page %s", page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform and the tags."""
    app.add_transform(SearchWords)
    app.connect("html-page-context", describe)
    app.connect("env-updated", all_pages_exist)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
