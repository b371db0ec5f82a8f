"""`minivit` and `python -m minivit`: the list of commands, the commands, and what is told to who mistypes them."""

import subprocess
import sys
from pathlib import Path

import pytest

import minivit
from minivit import __main__ as door
from minivit import cli
from minivit.cli import train_options
from minivit.errors import ConfigError
from minivit.models import ViTConfig


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr("minivit.cli.parser._door", None)


@pytest.fixture
def enter(capsys, monkeypatch):
    """enter("train", "--help"): exit status, output and errors of `minivit train --help`."""

    def run(*argv, program="/somewhere/bin/minivit"):
        monkeypatch.setattr(sys, "argv", [program, *map(str, argv)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            door.main()
        return exit.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",), ("help",)])
def test_without_a_command_the_commands_are_listed(argv, enter):
    status, out, err = enter(*argv)
    assert (status, err) == (0, "")
    assert out.startswith("usage: minivit COMMAND [options]\n")
    for name in ("train", "evaluate", "predict", "visualize", "models", "datasets", "doctor", "bench"):
        assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")].count(name) == 1
    assert all(len(line) <= 120 for line in out.splitlines())


@pytest.mark.parametrize("option", ["--version", "-V", "version"])
def test_the_version(option, enter):
    assert enter(option) == (0, f"minivit {minivit.__version__}\n", "")


@pytest.mark.parametrize("name", door.COMMANDS)
def test_every_command_helps_under_the_name_it_was_called_by(name, enter):
    status, out, err = enter(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: minivit {name} ")
    assert "python -m" not in out  # nor in the examples
    assert enter("help", name)[1] == out
    assert enter(name, "--help", program="/x/minivit/__main__.py")[1].startswith(f"usage: python -m minivit {name} ")


def test_its_own_module_calls_itself_so():
    assert train_options.parser("").prog == "python -m minivit.train"


def test_it_is_the_same_command(enter, command, tiny_options, same_bits):
    status, out, _ = enter("train", *tiny_options, "--out", "a")
    assert (status, "run folder: a" in out) == (0, True)
    cli.entered_by("")
    assert command("train", *tiny_options, "--out", "b").status == 0
    same_bits(Path("a"), Path("b"))
    assert "digits test: 359 images, accuracy " in enter("evaluate", "a")[1]


def test_errors_of_a_command_are_its_own(enter):
    assert enter("train", "--data", "digit") == (
        2,
        "",
        'error: there is no data set called "digit"; did you mean "digits"?\n',
    )
    assert enter("predict", "nothing", "a.png")[0] == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("trian",), 'there is no command "trian"; did you mean "train"?'),
        (("Train",), 'did you mean "train"?'),
        (("train.py", "--lr", "1"), 'did you mean "train"?'),
        (("vis", "run"), 'did you mean "visualize"?'),
        (("visualise",), 'did you mean "visualize"?'),
        (("model",), 'did you mean "models"?'),
        (("dataset",), 'did you mean "datasets"?'),
        (("eval",), 'did you mean "evaluate"?'),
        (("xyzzy",), "choose from train, evaluate, "),
        (("",), "choose from train, evaluate, "),
        (("a\nb" * 200,), "there is no command"),
        (("--seed", "1"), "options come after the command: minivit COMMAND --seed ..."),
        (("--seed", "1", "train"), "options come after the command: minivit train --seed ..."),
    ],
)
def test_what_is_no_command(argv, words, enter):
    status, out, err = enter(*argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("minivit: error: ")
    assert words in err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--modle", "--model"),
        ("--modle=Ti/4", "--model"),
        ("--batch_size", "--batch-size"),
        ("--Batch-Size", "--batch-size"),
        ("--batch", "--batch-size"),
        ("--epoch", "--epochs"),
        ("-lr", "--lr"),
        ("--dropuot", "--dropout"),
        ("--dataset", "--data"),
        ("--output", "--out"),
        ("--learning-rate", "--lr"),
        ("--threads", "--workers"),
        ("--optimiser", "--optimizer"),
        ("--no-filp", "--no-flip"),
        ("--sede", "--seed"),
    ],
)
def test_an_unknown_option_is_guessed(given, meant, command):
    complaint = command("train", given, "3").complaint
    assert f"unrecognized arguments: {given} 3; did you mean {meant}?" in complaint


@pytest.mark.parametrize("given", ["--xyzzy", "more", "-", "--q"])
def test_nothing_is_guessed_where_nothing_is_alike(given, command):
    complaint = command("evaluate", "run", given).complaint
    assert f"unrecognized arguments: {given} (--help" in complaint


def test_the_other_commands_guess_too(command):
    assert "did you mean --top?" in command("predict", "run", "a.png", "--topp", "3").complaint
    assert "did you mean --split?" in command("evaluate", "run", "--spilt", "test").complaint


def test_python_minus_m_ends_with_the_status_of_the_command():
    for argv, status in (([], 0), (["trian"], 2), (["models", "X/3"], 2), (["datasets"], 0)):
        result = subprocess.run([sys.executable, "-m", "minivit", *argv], capture_output=True, text=True, check=False)
        assert result.returncode == status
        assert "Traceback" not in result.stderr


def test_the_help_names_every_kind_of_positions():
    with pytest.raises(ConfigError) as caught:
        ViTConfig(position="spiral")
    kinds = str(caught.value).partition("one of ")[2].split(", ")
    assert "rope" in kinds
    assert all(kind in train_options.OF_THE_MODEL["position"][2] for kind in kinds)
