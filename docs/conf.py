"""How Sphinx builds the site from this folder.

    python -m pip install -e ".[docs]"
    python -m sphinx -W --keep-going -b html docs site

With MINIVIT_REPOSITORY=owner/name in the environment pages link to that repository on GitHub and notebooks to Colab,
see `_extensions/repository.py`. Nothing is fetched: formulas become MathML (see `_extensions/mathml.py`), notebooks
are shown with the outputs that are stored in them, and no script comes from another server. So the site can be read
from a folder, without a network.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the reference is that of this tree, whatever is installed
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from repository import site_address, theme_links
from repository_links import linkcode_resolve  # noqa: F401  (sphinx.ext.linkcode looks for it here)

import minivit

project = "minivit"
author = "The minivit authors"
copyright = "The minivit authors, MIT licence"
version = release = minivit.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "sphinx_copybutton",
    "code_lines",
    "command_help",
    "docstrings",
    "mathml",
    "notebook_copies",
    "repository",
    "repository_links",
    "search_words",
    "table_heads",
]
templates_path = ["_templates"]
exclude_patterns = ["_extensions", "_templates", "equation_tables", "number_tables"]
nitpicky = True
smartquotes = False  # quotation marks stand for those of the code

# Markdown and notebooks
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4  # headings have the anchors that a code host gives them
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # without a kernel a widget cannot answer; what it shows instead is its static picture
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

# The reference
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types stand in the tables of parameters, see _extensions/parameter_tables.py
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"

# Appearance
html_theme = "pydata_sphinx_theme"
html_title = "minivit"
html_favicon = "_static/favicon.svg"
html_baseurl = site_address()
html_context = {"default_mode": "auto"}  # or the theme's script asks for a mode "" and complains
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["scrolling.js"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
copybutton_selector = "div.highlight pre:not(:has(.linenos))"
copybutton_exclude = ".linenos, .gp, .go"
html_theme_options = {
    **theme_links(),
    "logo": {"text": f"minivit {version}", "alt_text": "minivit, home"},
    "article_header_end": ["notebook-links.html"],
    "navbar_align": "left",
    "navbar_persistent": [],
    "navbar_end": ["search-field-button.html", "navbar-icon-links", "theme-switcher"],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_nav_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "reading": [], "equations": [], "source/**": []}  # nothing is below them
