"""Formulas as MathML, which browsers draw themselves: no script, no fonts, no network.

docutils, on which Sphinx is built, translates LaTeX to MathML. It knows less LaTeX than MathJax; what it does not know
is a warning that names the formula, so that it is written another way (`\\ldots` for `\\dots`, `aligned` for `align`).
"""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def mathml(node: nodes.Element, as_block: bool) -> str:
    """The formula of a node as MathML; as LaTeX, with a warning, if docutils cannot translate it."""
    latex = node.astext()
    try:
        return latex2mathml.tex2mathml(latex, as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", latex, error, location=node, type="mathml")
        return f"<code>{nodes.Text(latex).astext()}</code>"


def visit_inline(translator, node: nodes.math) -> None:
    """Write an inline formula."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator, node: nodes.math_block) -> None:
    """Write a displayed formula, in a box that scrolls where the formula is wider than the page."""
    translator.body.append(translator.starttag(node, "div", CLASS="formula"))
    translator.body.append(mathml(node, as_block=True))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name that conf.py chooses."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
