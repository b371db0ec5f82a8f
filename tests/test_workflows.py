"""What a code host is given: workflows, hooks and forms can be read, and say what README and pyproject say."""

import re
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="the extra dev is not installed")

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.fixture(scope="module")
def jobs() -> dict:
    return read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
class TestWorkflow:
    def test_it_may_read_alone_and_ends(self, path):
        workflow = read(path)
        assert workflow["permissions"] == {"contents": "read"}
        assert "secrets." not in path.read_text(encoding="utf-8")
        assert workflow["concurrency"]["cancel-in-progress"] is True
        assert all(0 < job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())

    def test_every_step_runs_something_of_a_known_version(self, path):
        for step in steps(read(path)):
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v1"))

    def test_every_job_begins_with_a_clone(self, path):
        assert all("checkout" in job["steps"][0]["uses"] for job in read(path)["jobs"].values())

    def test_every_path_exists(self, path):
        for step in steps(read(path)):
            for named in re.findall(r"(?<![\w/])(?:\.ci|tests)/[\w./]+", step.get("run", "")):
                assert (ROOT / named).exists(), named


def test_what_must_pass_includes_the_planted_errors():
    assert "pytest -n auto -m 'planted or not planted'" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_tests_run_on_every_python_that_is_promised(jobs):
    promised = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: 3." in text]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    assert promised[0] == PROJECT["requires-python"].removeprefix(">=")
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_every_python_has_its_oldest_numpy(jobs):
    matrix = jobs["tests"]["strategy"]["matrix"]
    pins = {entry["python"]: entry["pin"] for entry in matrix["include"] if entry["numpy"] == "oldest"}
    assert list(pins) == matrix["python"]
    (bound,) = (line.partition(">=")[2] for line in PROJECT["dependencies"] if line.startswith("numpy"))
    assert pins[matrix["python"][0]] == f"numpy=={bound}.0"


def test_the_commands_tried_in_every_shell_are_those_of_the_readme(jobs):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, *_ = re.findall(r"^```\n(.*?)^```", readme, flags=re.M | re.S)
    (lines,) = (step["run"] for step in jobs["readme"]["steps"] if "pip install" in step.get("run", ""))
    assert lines.partition("${{ matrix.enter }}\n")[2] == first
    for entry in jobs["readme"]["strategy"]["matrix"]["include"]:
        assert f"`{entry['make']}`" in readme
        assert f"`{entry['enter'].removeprefix('call ')}`" in readme


def test_hooks_are_tools_of_the_extra_dev():
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        tool = re.fullmatch(r"python (?:-m (\w+)|([\w/]+\.py))( .*)?", hook["entry"])
        assert tool, hook["entry"]
        assert (
            (ROOT / tool[2]).exists()
            if tool[2]
            else any(line.startswith(tool[1]) for line in PROJECT["optional-dependencies"]["dev"])
        )


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_what_a_code_host_can_show(path):
    form = read(path)
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(part["type"] == "textarea" and part["attributes"]["label"] for part in form["body"])
    assert any(part.get("validations", {}).get("required") for part in form["body"])
