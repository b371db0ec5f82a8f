"""One setting decides where links to the source and to Colab lead, and whether there are any."""

from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the extra docs is not installed")

from notebook_copies import downloads
from repository import Repository, page_links, repository, site_address, source_file, theme_links
from sphinx.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build(monkeypatch):
    """Set the environment of a build."""

    def choose(where="", site=""):
        monkeypatch.setenv("MINIVIT_REPOSITORY", where)
        monkeypatch.setenv("MINIVIT_SITE", site)

    return choose


def test_a_repository_is_named_by_owner_name_and_branch():
    assert Repository.of("ada/vit.py") == Repository("ada", "vit.py", "main")
    assert Repository.of("ada/vit@v1/2") == Repository("ada", "vit", "v1/2")
    assert Repository.of("") is None


@pytest.mark.parametrize("wrong", ["ada", "https://github.com/ada/vit", "ada/vit@", "a da/vit", "ada/vit\n"])
def test_anything_else_is_an_error_that_says_what_is_expected(wrong):
    with pytest.raises(ConfigError, match="expected owner/name"):
        Repository.of(wrong)


def test_the_addresses_that_follow():
    where = Repository("Ada", "vit", "dev")
    assert where.file("tests/x.py") == "https://github.com/Ada/vit/blob/dev/tests/x.py"
    assert where.pages == "https://ada.github.io/vit/"
    assert where.colab("notebooks/a.ipynb") == (
        "https://colab.research.google.com/github/Ada/vit/blob/dev/notebooks/a.ipynb"
    )
    assert where.colab_cell().splitlines() == [
        "!git clone --quiet --depth 1 --branch dev https://github.com/Ada/vit /content/vit",
        "%pip install --quiet /content/vit",
        "%cd /content/vit/notebooks",
    ]


def test_without_a_repository_there_are_no_links(build, tmp_path):
    build()
    context = context_of("notebooks/07_attention", tmp_path)
    assert repository() is None
    assert theme_links() == {"icon_links": []}
    assert site_address() == ""
    assert context["source_url"] is None
    assert context["notebook"]["colab"] is context["notebook"]["colab_cell"] is None


def test_with_one_a_notebook_leads_to_it_and_to_colab(build, tmp_path):
    build("ada/vit")
    context = context_of("notebooks/07_attention", tmp_path)
    assert context["source_url"] == "https://github.com/ada/vit/blob/main/notebooks/07_attention.ipynb"
    assert context["notebook"]["colab"].endswith("/ada/vit/blob/main/notebooks/07_attention.ipynb")
    assert theme_links()["icon_links"][0]["url"] == "https://github.com/ada/vit"


def test_the_site_is_where_it_is_said_to_be_or_with_the_repository(build):
    build("ada/vit")
    assert site_address() == "https://ada.github.io/vit/"
    build("ada/vit", "https://courses.example.org/vit/")
    assert site_address() == "https://courses.example.org/vit/"


def context_of(page, out):
    """What the templates of a page are told, if a download lies beside it."""
    (out / "notebooks").mkdir(exist_ok=True)
    (out / f"{page}.ipynb").touch()
    context = {}
    page_links(type("App", (), {"outdir": out}), page, "page.html", context, None)
    return context


def test_only_files_that_are_there_are_offered(tmp_path):
    assert context_of("notebooks/07_attention", tmp_path)["notebook"]["files"] == ["07_attention.ipynb"]
    assert context_of("notebooks/../reading", tmp_path)["notebook"] is None


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("reading", "docs/reading.md"),
        ("api/nn", "docs/api/nn.rst"),
        ("notebooks/07_attention", "notebooks/07_attention.ipynb"),
        ("genindex", None),
        ("source/minivit/update/step.py", None),
    ],
)
def test_the_source_of_a_page(page, file):
    assert source_file(page) == file


def test_every_notebook_and_its_script_can_be_taken_away():
    names = [path.name for path in downloads()]
    stems = [path.stem for path in ROOT.glob("notebooks/[0-9]*.ipynb")]
    assert len(names) == len(set(names))
    assert {f"{stem}{suffix}" for stem in stems for suffix in (".ipynb", ".py")} <= set(names)
