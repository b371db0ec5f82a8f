"""What people install: the archive of the source and the wheel, and the version that both have."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import minivit

ROOT = Path(__file__).parents[1]
TOOLS = {"build": 1, "setuptools": 77, "twine": 6}
BESIDE = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "MANIFEST.in"}


def sources(folder: Path) -> set[str]:
    """The files of the package, as paths from `folder`, without what Python writes there itself."""
    return {
        path.relative_to(folder).as_posix()
        for path in (folder / "minivit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def too_old(tool: str, first: int) -> bool:
    try:
        return int(version(tool).split(".")[0]) < first
    except PackageNotFoundError:
        return True


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A folder with the archive of the source and the wheel that was built from that archive, without a network."""
    if missing := [f"{tool}>={first}" for tool, first in TOOLS.items() if too_old(tool, first)]:
        pytest.skip(f"the extra dev lacks {', '.join(missing)}")
    source = tmp_path_factory.mktemp("source")  # not the clone: there lie what earlier builds left, and notebooks
    shutil.copytree(ROOT / "minivit", source / "minivit", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("tests", "notebooks", "docs"):
        (source / folder).mkdir()
        (source / folder / "test_x.py").write_text("", encoding="utf-8")
    for name in BESIDE:
        shutil.copy(ROOT / name, source)
    run("-m", "build", "--no-isolation", "--outdir", "dist", ".", folder=source)
    return source / "dist"


def run(*arguments: str, folder: Path, **environment: str) -> str:
    """What Python says when run in a folder. Raises AssertionError if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, **environment}, capture_output=True
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said[-3000:]
    return said


def test_the_archive_has_the_package_and_what_builds_it(dist):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    made = {name for name in names if name.startswith("minivit.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert names - made == sources(ROOT) | BESIDE


def test_the_wheel_has_the_package_alone(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode("utf-8")
    assert {name for name in names if ".dist-info/" not in name} == sources(ROOT)
    assert f"\nVersion: {minivit.__version__}\n" in text


def test_the_description_is_one_that_an_index_shows(dist):
    run("-m", "twine", "check", "--strict", *(str(path) for path in dist.iterdir()), folder=dist)


def test_what_is_installed_trains(dist, tmp_path):
    wheel = next(dist.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:  # what pip does with a wheel of Python alone
        archive.extractall(tmp_path / "installed")
    place = {"PYTHONPATH": str(tmp_path / "installed"), "PYTHONSAFEPATH": "1"}
    assert str(tmp_path) in run("-c", "import minivit; print(minivit.__file__)", folder=tmp_path, **place)
    run("-m", "minivit.train", "--steps", "2", "--out", "run", folder=tmp_path, **place)
    assert {"config.json", "checkpoint.npz", "curves.png"} <= set(os.listdir(tmp_path / "run"))


def test_an_editable_install_is_found_from_the_folder_that_holds_the_clone(tmp_path):
    if too_old("setuptools", TOOLS["setuptools"]):
        pytest.skip(f"the extra dev lacks setuptools>={TOOLS['setuptools']}")
    clone = tmp_path / "minivit"  # a script beside it sees this folder first, which is no package
    shutil.copytree(ROOT / "minivit", clone / "minivit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, clone)
    run("-c", f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})", folder=clone)
    site = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(site)
    code = f"""
import os, site, sys
sys.path[:] = [path for path in sys.path if not os.path.exists(os.path.join(path, "minivit", "__init__.py"))]
site.addsitedir({str(site)!r})
from minivit import ViT
import minivit
print(minivit.__file__)
"""
    said = run("-c", code, folder=tmp_path, PYTHONPATH="")
    assert str(clone / "minivit" / "__init__.py") in said


# One version, which only minivit/__init__.py says, and what is written about its release


def test_the_version_comes_from_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "minivit.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", minivit.__version__)


def test_what_is_cited_is_the_release_of_the_changelog():
    releases = re.findall(
        r"^## (\d\S*) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M
    )
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert releases, "a release has a heading: ## VERSION - YEAR-MONTH-DAY"
    assert re.findall(r"^version: (\S+)\n^date-released: (\S+)$", cited, flags=re.M) == releases[:1]
    assert releases[0][0] == minivit.__version__
