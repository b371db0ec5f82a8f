"""Pages as a reader meets them: the Markdown pages of the site are built, and looked at."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

for module in ("myst_nb", "sphinx_copybutton"):
    pytest.importorskip(module, reason="the extra docs is not installed")

DOCS = Path(__file__).parents[2] / "docs"
CONF = f"""
import sys
sys.path[:0] = [{str(DOCS)!r}, {str(DOCS / "_extensions")!r}]
exec(compile(open({str(DOCS / "conf.py")!r}, encoding="utf-8").read(), {str(DOCS / "conf.py")!r}, "exec"),
     globals() | {{"__file__": {str(DOCS / "conf.py")!r}}}, globals())
import repository_links
repository_links.SHOWN = ("minivit/update/step.py",)
extensions = [name for name in extensions if name not in ("notebook_copies", "sphinx.ext.linkcode")]
html_favicon = str(Path({str(DOCS)!r}) / html_favicon)
html_static_path = [{str(DOCS / "_static")!r}]
templates_path = [{str(DOCS / "_templates")!r}]
nitpicky = False
"""
PAGE = """
# A page

[a test](../tests/runs/test_trainer.py), [a file](../minivit/update/step.py)

| | |
|---|---|
| a | b |

| | two |
|---|---|
| a | b |

```
python -m minivit.train
```

```
x = 1
```

```python
def f():
    return "a long line"
```
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a built site: all pages but notebooks and reference, and one page of special cases."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for page in DOCS.glob("*.md"):
        shutil.copy(page, source)
    shutil.copytree(DOCS / "images", source / "images")
    (source / "conf.py").write_text(CONF, encoding="utf-8")
    (source / "special.md").write_text(PAGE, encoding="utf-8")
    environment = {**os.environ, "MINIVIT_REPOSITORY": "ada/vit@dev"}
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(source), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def special(site):
    return (site / "special.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("install", "index#install"),
        ("own images", "training#class-folders"),
        ("imagefolder", "training#class-folders"),
        ("validation split", "training#class-folders"),
        ("colab", "reading#run-a-notebook"),
        ("fine-tuning", "transfer#fine-tuning"),
        ("weights", "weights#published-weights"),
    ],
)
def test_the_search_finds_the_right_page_first(site, words, place):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    found = [f"{index['docnames'][page]}#{anchor}" for page, anchor, is_main in index["indexentries"][words] if is_main]
    assert found == [place]


def test_pages_have_what_search_engines_and_messengers_show(site):
    text = (site / "reading.html").read_text(encoding="utf-8")
    assert re.search(r'<meta name="description" content="Where to begin[^"]+">', text)
    assert '<meta property="og:title" content="Reading guide">' in text
    assert '<link rel="canonical" href="https://ada.github.io/vit/reading.html"' in text


def test_the_head_of_a_page_has_version_icon_and_mode(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert 'dataset.mode = localStorage.getItem("mode") || "auto"' in text
    assert re.search(r'<link rel="icon" href="_static/favicon.svg"', text)
    assert re.search(r'logo__title">minivit \d', text)
    assert 'href="https://github.com/ada/vit"' in text


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//', text), page.name
        assert not re.search(r'<link[^>]+rel="(?:stylesheet|icon|preload)"[^>]+href="(?:https?:)?//', text), page.name


def test_a_test_is_linked_in_the_repository_and_a_shown_file_here(special):
    assert 'href="https://github.com/ada/vit/blob/dev/tests/runs/test_trainer.py"' in special
    assert 'href="source/minivit/update/step.py.html"' in special


def test_a_table_has_no_header_without_words(special):
    assert special.count("<thead>") == 1
    assert re.findall(r"<th[ >].*?</t[hd]>", special) == ['<th class="head"><p>two</p></th>']


def test_commands_are_in_the_language_of_a_shell(special):
    assert "highlight-shell" in special
    assert special.count("highlight-default") == 1


def test_lines_of_code_know_their_indentation(special):
    assert '<span class="code-line" style="--indent: 4ch">' in special
    assert special.count('class="code-line"') == 4


def test_home_shows_how_to_install_and_a_picture(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert '<section id="install">' in text
    assert re.search(r'<img alt="A Vision Transformer\.[^"]+" src="_images/vit.svg"', text)
