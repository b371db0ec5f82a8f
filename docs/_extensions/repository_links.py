"""Links that are right in the repository are made right on the site.

Pages and notebooks link to files by relative paths, which a code host follows. Here such a link leads to the page made
from that file: for a page or a notebook its own, for any other file of the folders in SHOWN its text with numbered
lines, under source/. What is shown nowhere, such as a test, is linked in the repository if the build knows where that
is, and else is plain text. `[source]` beside every function of the reference leads to its line there.
"""

import importlib
import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from repository import repository
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("minivit/**/*.py", "notebooks/**/*.py", "notebooks/**/*.json", "docs/*.py", "*.md", "LICENSE")
PAGES = (".md", ".ipynb")  # what Sphinx makes documents of
NOTEBOOK = re.compile(r"notebooks/(?:\w+/)?(\d\d[a-z]?_\w+)\.py")  # the script of one, which its page shows


def in_repository(docname: str, path: str) -> str:
    """The repository's name of what the document links to by a relative path."""
    folder = posixpath.dirname(docname)
    home = folder if folder == "notebooks" else posixpath.join("docs", folder)  # the site's notebooks are copies
    return posixpath.normpath(posixpath.join(home, path))


def page_of(path: str, documents: set[str]) -> str | None:
    """The document that is made from a file of the repository, if there is one."""
    if script := NOTEBOOK.fullmatch(path):
        path = f"notebooks/{script[1]}.ipynb"
    stem, extension = posixpath.splitext(path)
    name = {".md": stem.removeprefix("docs/"), ".ipynb": stem, ".py": stem}.get(extension)
    return name if name in documents and (extension != ".md" or stem != name) else None


class RepositoryLinks(SphinxTransform):
    """Turn the links of one document, before Sphinx looks for their targets."""

    default_priority = 5  # before anything that collects downloads

    def apply(self, **kwargs) -> None:
        """Change every relative link that leads out of this folder, or to a file that is no document."""
        for node in list(self.document.findall(is_markdown_link)):
            path, anchor = self.target(node)
            document = page_of(path, self.env.found_docs)
            if document:
                link = addnodes.pending_xref(
                    "", *node.children, refdomain="doc", reftype="myst", refdoc=self.env.docname,
                    reftarget=document, reftargetid=anchor or None, refexplicit=bool(node.astext()),
                )  # fmt: skip
                node.replace_self(link)
            elif file := shown_file(path):
                uri = self.app.builder.get_relative_uri(self.env.docname, f"source/{file}")
                node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))
            elif path and not path.startswith("docs/") and (ROOT / path).exists():
                found, text = repository(), node.children
                node.replace_self([nodes.reference("", "", *text, refuri=found.file(path))] if found else text)

    def target(self, node: nodes.Element) -> tuple[str, str]:
        """What the link means in the repository, and the anchor; an empty path for a document of the site."""
        target = node["reftarget"]
        if node.get("refdomain") == "doc":  # MyST has found the file and taken the extension off
            found = next((f for f in Path(target).parent.glob(f"{Path(target).name}.*") if f.suffix in PAGES), None)
            outside = Path(target).is_absolute() and found is not None
            return (found.relative_to(ROOT).as_posix() if outside else ""), node["reftargetid"] or ""
        path, _, anchor = target.partition("#")
        return (in_repository(self.env.docname, path) if path else ""), anchor


def is_markdown_link(node: nodes.Node) -> bool:
    """Whether the node is a link to a relative path that was written in Markdown."""
    return isinstance(node, addnodes.pending_xref | addnodes.download_reference) and node.get("reftype") == "myst"


def shown_file(path: str) -> str | None:
    """The file itself if it is shown under source/, for a package its __init__.py, else None."""
    package = f"{path}/__init__.py"
    return next((name for name in (path, package) if name in shown_files()), None)


def shown_files() -> set[str]:
    """All files with a page under source/."""
    files = {path.relative_to(ROOT).as_posix() for pattern in SHOWN for path in ROOT.glob(pattern) if path.is_file()}
    return {file for file in files if not NOTEBOOK.fullmatch(file)}


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """A page for every shown file: (name, context, template)."""
    for file in sorted(shown_files()):
        language = {"py": "python", "json": "json"}.get(file.rpartition(".")[2], "text")
        text = (ROOT / file).read_text(encoding="utf-8")
        lines = app.builder.highlighter.highlight_block(
            text, language, linenos="inline", lineanchors="L", anchorlinenos=True
        )
        yield f"source/{file}", {"title": file, "body": f"<h1>{file}</h1>\n{lines}"}, "page.html"


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where [source] leads: the page and line of a Python object. All pages of the reference are in api/."""
    found = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        found = getattr(found, name, None)
    found = found.fget if isinstance(found, property) else inspect.unwrap(found) if callable(found) else None
    if domain != "py" or found is None:
        return None
    file = Path(inspect.getsourcefile(found)).relative_to(ROOT).as_posix()
    return f"../source/{file}.html#L-{inspect.getsourcelines(found)[1]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform and the pages."""
    app.add_transform(RepositoryLinks)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
