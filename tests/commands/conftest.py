"""Running commands inside this process, tiny runs and tiny folders of images, comparing run folders bit for bit."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained import SAM, untrained

from minivit import cli, evaluate, predict, train
from minivit.lineage import __main__ as lineage
from minivit.models.archive import read_npz
from minivit.runs.trainer import Trainer
from minivit.update.objective import Objective
from minivit.visualize import __main__ as visualize

MAINS = {
    "lineage": lineage.main,
    "train": train.main,
    "evaluate": evaluate.main,
    "predict": predict.main,
    "visualize": visualize.main,
}

# Everything random switched on, in a model and a data set as small as they can be: 8 steps an epoch.
# fmt: off
TINY = [
    "--limit", "40", "--batch-size", "5", "--steps", "12", "--eval-every", "5", "--checkpoint-every", "3",
    "--width", "8", "--depth", "2", "--heads", "2", "--mlp-width", "8", "--patch-size", "4", "--workers", "2",
    "--dropout", "0.2", "--attention-dropout", "0.1", "--drop-path", "0.2", "--ema", "0.9",
    "--mixup", "0.5", "--cutmix", "0.5", "--crop-padding", "1", "--flip",
]
# fmt: on


@dataclass
class Result:
    """What a command did: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that it wrote to standard error before it refused (status 2)."""
        assert self.status == 2, self
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder and find no data but the digits; nothing is downloaded."""

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("this test has no network")

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", offline)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """command("train", "--steps", 3): run it as `python -m minivit.train --steps 3` does, errors and all."""

    def run(name: str, *argv: object) -> Result:
        if any(str(arg).startswith("/dev/") for arg in argv) and not Path("/dev/null").exists():
            pytest.skip("devices are no files here")
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.run_command(lambda _: MAINS[name]([str(arg) for arg in argv]))
        out, err = (text.replace(os.sep, "/") for text in capsys.readouterr())  # paths as tests write them
        return Result(exit.value.code, out, err)  # type: ignore[arg-type]

    return run


@pytest.fixture
def tiny_options() -> list[str]:
    """The options of the tiny run."""
    return list(TINY)


@pytest.fixture
def train_tiny(command: Callable[..., Result]) -> Callable[..., Result]:
    """train_tiny("--out", "a"): train the tiny run, with further options."""
    return lambda *options: command("train", *TINY, *options)


@pytest.fixture
def tiny_run(train_tiny: Callable[..., Result]) -> Path:
    """The folder of a finished tiny run."""
    assert train_tiny("--out", "finished").status == 0
    return Path("finished")


@pytest.fixture
def stopped_run(train_tiny: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """stopped_run(4): the folder of a tiny run that was stopped, and saved, after step 4."""

    def run(step: int) -> Path:
        real = Trainer.update

        def update(self: Trainer, *args: object) -> object:
            result = real(self, *args)  # type: ignore[arg-type]
            self.stop_requested = self.step == step
            return result

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "update", update)
            assert train_tiny("--out", "stopped").status == 130
        return Path("stopped")

    return run


@pytest.fixture
def clicking() -> Objective:
    """The objective of a run of SAM in the folder "clicks", without training."""
    return untrained(Path("clicks"), "scenes-sam", **SAM)


def lines(folder: Path) -> list[dict]:
    """metrics.jsonl without what no two runs share."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in records]


def contents(folder: Path) -> dict[str, object]:
    """Everything that two runs with the same seed must have in common, bit for bit."""
    arrays = read_npz(folder / "checkpoint.npz")
    meta = json.loads(arrays.pop("meta").tobytes())
    for record in meta["metrics"]:
        del record["images_per_second"]
    assert meta["metrics"] == lines(folder)[: len(meta["metrics"])]
    return {"meta": meta, "metrics": lines(folder), **{name: (a.dtype, a.tobytes()) for name, a in arrays.items()}}


@pytest.fixture
def same_bits() -> Callable[[Path, Path], None]:
    """same_bits(a, b): assert that two run folders hold the same weights, optimiser, averages and metrics."""

    def check(a: str | Path, b: str | Path) -> None:
        first, second = contents(Path(a)), contents(Path(b))
        assert first.keys() == second.keys()
        assert [name for name in first if first[name] != second[name]] == []

    return check


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder data set of two easy classes: 8 training and 4 validation images of mixed sizes, shapes and modes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "pets"
    sizes = ((30, 20), (24, 32), (11, 40), (64, 48), (9, 9), (33, 24))  # width, height
    modes = ("RGB", "L", "RGBA", "P", "CMYK", "LA")
    for name, shade in (("cat", 40), ("dog", 200)):
        for i in range(6):
            width, height = sizes[i]
            pixels = np.clip(rng.normal(shade, 20, (height, width, 3)), 0, 255).astype(np.uint8)
            mode = modes[i] if i < 4 else "RGB"
            suffix = "jpg" if mode in ("CMYK", "L") else "png"
            path = root / ("train" if i < 4 else "val") / name / f"{i}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).convert(mode).save(path)
    return root


def png_header(width: int, height: int) -> bytes:
    """A PNG file that says it has this size and ends there."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def spoil() -> Callable[[Path, str], Path]:
    """spoil(path, how): replace an image file by one that is "truncated", "1x1", "bomb", "nonsense" or "missing"."""

    def write(path: Path, how: str) -> Path:
        whole = path.read_bytes()
        path.write_bytes(
            {
                "truncated": whole[: len(whole) // 2],
                "1x1": b"",
                "bomb": png_header(20_000, 20_000),
                "nonsense": b"nonsense",
                "missing": b"",
            }[how]
        )
        if how == "1x1":
            Image.new("RGB", (1, 1)).save(path)
        if how == "missing":
            path.unlink()
        return path

    return write
