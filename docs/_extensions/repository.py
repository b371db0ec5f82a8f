"""Where the source is hosted, in one setting, and every link that follows from it.

`MINIVIT_REPOSITORY=owner/name` or `owner/name@branch` in the environment of a build names a repository on GitHub. Then
pages have links to it, to their own source, and notebooks to Colab. Without it there are none, so that no link is
dead. `MINIVIT_SITE` is the address at which the site will be; without it that of the repository's GitHub Pages.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
FORM = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:@(?P<branch>[\w./-]+))?")


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub."""

    owner: str
    name: str
    branch: str

    @classmethod
    def of(cls, text: str) -> "Repository | None":
        """The repository that "owner/name" or "owner/name@branch" names, None for "". Raises ConfigError otherwise."""
        if not text:
            return None
        if not (found := FORM.fullmatch(text)):
            raise ConfigError(f'MINIVIT_REPOSITORY is "{text}", expected owner/name or owner/name@branch')
        return cls(found["owner"], found["name"], found["branch"] or "main")

    @property
    def address(self) -> str:
        """Of its home page."""
        return f"https://github.com/{self.owner}/{self.name}"

    @property
    def pages(self) -> str:
        """Where GitHub Pages would show the site."""
        return f"https://{self.owner.lower()}.github.io/{self.name}/"

    def file(self, path: str) -> str:
        """The page of a file, given by its path in the repository."""
        return f"{self.address}/blob/{self.branch}/{path}"

    def colab(self, path: str) -> str:
        """Where Colab opens a notebook."""
        return f"https://colab.research.google.com/github/{self.owner}/{self.name}/blob/{self.branch}/{path}"

    def colab_cell(self) -> str:
        """What a reader runs on Colab before anything else: the package and the files beside the notebooks."""
        clone = f"!git clone --quiet --depth 1 --branch {self.branch} {self.address} /content/{self.name}"
        return f"{clone}\n%pip install --quiet /content/{self.name}\n%cd /content/{self.name}/notebooks"


def repository() -> Repository | None:
    """The one of this build."""
    return Repository.of(os.environ.get("MINIVIT_REPOSITORY", ""))


def site_address() -> str:
    """Of this build, "" if nothing tells it."""
    found = repository()
    return os.environ.get("MINIVIT_SITE", "") or (found.pages if found else "")


def theme_links() -> dict[str, object]:
    """What the theme needs for the link in the header."""
    found = repository()
    icon = {"name": "Repository", "url": found.address, "icon": "fa-brands fa-github"} if found else None
    return {"icon_links": [icon] if icon else []}


def source_file(page: str) -> str | None:
    """The file of the repository from which a page is made, None for pages such as the index that have none."""
    home = "" if page.startswith("notebooks/") else "docs/"
    names = (f"{home}{page}{suffix}" for suffix in (".md", ".rst", ".ipynb"))
    return next((name for name in names if (ROOT / name).is_file()), None)


def page_links(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Tell the templates of a page where its source is: `notebook` and `source_url`."""
    file, found = source_file(page), repository()
    context["source_url"] = found.file(file) if found and file else None
    context["notebook"] = None
    if file and file.endswith(".ipynb"):
        stem = page.rpartition("/")[2]
        context["notebook"] = {
            "files": [stem + suffix for suffix in (".ipynb", ".py") if (Path(app.outdir) / f"{page}{suffix}").exists()],
            "colab": found.colab(file) if found else None,
            "colab_cell": found.colab_cell() if found else None,
        }


def setup(app: Sphinx) -> dict[str, bool]:
    """Add to every page's context; a page is written again when the repository changes."""
    app.add_config_value("repository", os.environ.get("MINIVIT_REPOSITORY", ""), "html")
    app.connect("html-page-context", page_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
