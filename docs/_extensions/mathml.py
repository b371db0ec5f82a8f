"""Formulas as MathML, which browsers draw themselves: no script, no fonts, no network.

docutils, on which Sphinx is built, translates LaTeX to MathML. It knows less LaTeX than MathJax, by which notebooks are
shown elsewhere. A few such commands are put into its words here; any other is a warning that names the formula. Its
`latex2mathml` is no public part of docutils and has changed before: the tests of the site notice.
"""

import html
import re

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

TAG = re.compile(r"\\tag\{([^}]*)\}")
DIALECT = (  # what MathJax reads and docutils does not, and how docutils reads it
    (re.compile(r"\\([td]?frac)(\d)(\d)"), r"\\\1{\2}{\3}"),
    (re.compile(r"\\dots\b"), r"\\ldots"),
    (re.compile(r"\\bm\b"), r"\\boldsymbol"),
    # a space between a function and its argument: "log N", not "logN"
    (re.compile(r"\\(log|exp|cos|sin|tanh)(?= *[A-Za-z\\])(?! *\\(?:left|[Bb]ig))(?![a-z])"), r"\\\1\\,"),
    (re.compile(r"\\(begin|end)\{align\*?\}"), r"\\\1{aligned}"),
)


def mathml(latex: str, node: nodes.Element, as_block: bool) -> str:
    """LaTeX as MathML; as it is, with a warning, if docutils cannot translate it."""
    for pattern, replacement in DIALECT:
        latex = pattern.sub(replacement, latex)
    try:
        return latex2mathml.tex2mathml(latex, as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", latex, error, location=node, type="mathml")
        return f"<code>{html.escape(latex)}</code>"


def visit_inline(translator, node: nodes.math) -> None:
    """Write an inline formula."""
    translator.body.append(mathml(node.astext(), node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator, node: nodes.math_block) -> None:
    r"""Write a displayed formula, with its \tag{...} beside it, in a box that scrolls if it is too wide."""
    latex = node.astext()
    tag = TAG.search(latex)
    formula = mathml(TAG.sub("", latex), node, as_block=True)
    number = f'<span class="formula-tag">({html.escape(tag[1])})</span>' if tag else ""
    translator.body.append(f'<div class="formula">{formula}{number}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name that conf.py chooses."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
