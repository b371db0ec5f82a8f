"""Headers of tables that say something: a head without a word is left out, an empty corner of one is no header."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.writers.html5 import HTML5Translator


class TableHeads(SphinxTransform):
    """Markdown cannot write a table without a head; one of empty cells means that there is none."""

    default_priority = 700

    def apply(self, **kwargs: object) -> None:
        """Remove the heads of a document that are empty."""
        for head in list(self.document.findall(nodes.thead)):
            if not head.astext().strip():
                head.parent.remove(head)


def depart_entry(translator: HTML5Translator, node: nodes.entry) -> None:
    """Close a cell; an empty one of a head was opened as a header and becomes a cell."""
    HTML5Translator.depart_entry(translator, node)
    if isinstance(node.parent.parent, nodes.thead) and not node.astext().strip():
        at = next(i for i in reversed(range(len(translator.body))) if "<th" in translator.body[i])
        translator.body[at] = translator.body[at].replace("<th", "<td", 1)
        translator.body[-1] = translator.body[-1].replace("</th>", "</td>")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.add_transform(TableHeads)
    app.add_node(nodes.entry, override=True, html=(HTML5Translator.visit_entry, depart_entry))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
