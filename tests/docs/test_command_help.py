"""Commands in the reference: every option with an address of its own."""

import argparse
import subprocess
import sys

import pytest

pytest.importorskip("sphinx", reason="the extra docs is not installed")

from command_help import help_of, options, parser_of

COMMANDS = ["train", "evaluate", "predict", "visualize", "doctor", "bench"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_described(command):
    parser = parser_of(f"minivit.{command}")
    described = [line.removeprefix(".. option:: ") for line in options(parser, "m") if line.startswith(".. option::")]
    written = {part.split()[0] for line in described for part in line.split(", ")}
    assert {name for action in parser._actions for name in action.option_strings} - written == {"-h", "--help"}


def test_options_are_written_with_their_values_and_help():
    parser = argparse.ArgumentParser("m", description="Does `it`.", epilog="examples:\n  m --rate 1     half a_b\n  m")
    parser.add_argument("files", nargs="+", help="to read")
    parser.add_argument("--rate", type=float, metavar="R", default=2, help="how often (default: %(default)s), 5 %%")
    parser.add_argument("--kind", choices=("a", "b"))
    parser.add_argument("--fast", action=argparse.BooleanOptionalAction, help=argparse.SUPPRESS)
    text = "\n".join(options(parser, "minivit.m"))
    assert ".. program:: minivit.m\n" in text
    assert "   python -m minivit.m [options] files ...\n" in text
    assert "Does \\ ``it``\\ ." in text
    assert ".. option:: files\n\n   to read\n" in text
    assert ".. option:: --rate R\n\n   how often (default: 2), 5 %\n" in text
    assert ".. option:: --kind a|b\n" in text
    assert "--fast" not in text
    assert ".. code-block:: shell\n\n   m --rate 1  # half a_b\n   m\n" in text


def test_a_command_without_a_parser_shows_its_help(tmp_path, monkeypatch):
    (tmp_path / "plain.py").write_text("def main(argv):\n    return 0\n\nprint('usage: plain')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    assert parser_of("plain") is None
    assert help_of("plain") == "usage: plain\n"
    sys.modules.pop("plain")


def test_the_help_of_a_command_has_no_colours(tmp_path, monkeypatch):
    (tmp_path / "colourful.py").write_text(
        "import os\nprint(*(os.environ.get(k) for k in ('NO_COLOR', 'FORCE_COLOR')))", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert help_of("colourful") == "1 None\n"
    with pytest.raises(subprocess.CalledProcessError):
        help_of("no_such_command")


def test_a_command_that_does_not_exist_is_an_error():
    with pytest.raises(ImportError, match="there is no module"):
        parser_of("minivit.no_such_command")
