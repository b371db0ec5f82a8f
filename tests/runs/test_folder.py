"""Run folders: all or nothing, arrays only, and one line for everything that can be wrong with them."""

import errno
import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivit.errors import CheckpointError, ConfigError
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_npz, write_npz
from minivit.runs import folder as run_folder
from minivit.runs.recipes import Recipe
from minivit.update.objective import Classification

META = {"step": 7, "sums": {"loss": 0.1, "steps": 3}, "metrics": [{"lr": 1e-300}], "classes": ["a", "ö"], "images": 5}
MODEL = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=3)


def states(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "model": {"w": rng.standard_normal((3, 4)).astype(np.float32), "b": np.float64(rng.standard_normal(2))},
        "optimizer": {"steps": 12345678901, "m/w": rng.standard_normal((3, 4))},
    }


# create


def test_create_makes_a_folder_that_read_recipe_reads(tmp_path):
    recipe = Recipe(lr=0.1, model=MODEL)
    run_folder.create(tmp_path / "deep" / "down" / "run", recipe)
    assert run_folder.read_recipe(tmp_path / "deep" / "down" / "run") == recipe
    assert [path.name for path in (tmp_path / "deep" / "down").iterdir()] == ["run"]


def test_create_refuses_what_exists(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for name in ("run", "file"):
        with pytest.raises(
            CheckpointError, match=r"exists already: continue it with --resume .*, or choose another --out"
        ):
            run_folder.create(tmp_path / name, Recipe())
    with pytest.raises(CheckpointError, match=r"cannot create the run folder .*run: \w"):
        run_folder.create(tmp_path / "file" / "run", Recipe())


def test_the_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda source, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_folder.create(tmp_path / "run", Recipe())
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    run_folder.create(tmp_path / "run", Recipe(lr=0.5))
    assert run_folder.read_recipe(tmp_path / "run").lr == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_without_config_is_no_run_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a run folder: it has no config\.json"):
        run_folder.read_recipe(tmp_path)
    with pytest.raises(CheckpointError, match="nowhere: there is no such run folder or file"):
        run_folder.read_recipe(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"lr": ', encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a configuration"):
        run_folder.read_recipe(tmp_path)


# metrics


def test_metrics_are_replaced_or_added_to(tmp_path):
    first, second = {"step": 1, "lr": 0.1}, {"step": 2, "lr": None}
    run_folder.write_metrics(tmp_path, [first, second])
    run_folder.write_metrics(tmp_path, [second])
    run_folder.write_metrics(tmp_path, [first], append=True)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()] == [
        second,
        first,
    ]


# checkpoints


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    run_folder.write_checkpoint(tmp_path, states(), META)
    found, meta = run_folder.read_checkpoint(tmp_path / "checkpoint.npz")
    assert meta == META
    for part, state in states().items():
        assert found[part].keys() == state.keys()
        for name, array in state.items():
            assert found[part][name].tobytes() == np.asarray(array).tobytes()
            assert found[part][name].dtype == np.asarray(array).dtype
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_checkpoint_holds_arrays_only(tmp_path):
    """Nothing in the file is a pickle: every member is an .npy whose header names a plain dtype."""
    run_folder.write_checkpoint(tmp_path, states(), META)
    with zipfile.ZipFile(tmp_path / "checkpoint.npz") as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            content = archive.read(name)
            assert content.startswith(b"\x93NUMPY")
            assert b"|O" not in content[:128]
    with pytest.raises(TypeError, match="only pickle"):
        write_npz(tmp_path / "x.npz", {"a": np.array([{}])})
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("call", ["write_array", "fsync", "replace"])
def test_a_full_disk_keeps_the_older_checkpoint(call, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr({"write_array": np.lib.format, "fsync": os, "replace": os}[call], call, full)
    with pytest.raises(CheckpointError, match=r"^cannot write .*checkpoint.npz: No space left on device$"):
        run_folder.write_checkpoint(tmp_path, states(), META)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    run_folder.write_checkpoint(tmp_path, states(), META)
    before = (tmp_path / "checkpoint.npz").read_bytes()
    monkeypatch.setattr({"write_array": np.lib.format, "fsync": os, "replace": os}[call], call, full)
    with pytest.raises(CheckpointError, match=r"No space left on device; the file that was there before is unharmed$"):
        run_folder.write_checkpoint(tmp_path, states(1), META)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_the_new_file_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """Written, then flushed to the disk, then renamed: in any other order a power cut could lose both files."""
    order, real = [], {"fsync": os.fsync, "replace": os.replace, "write_array": np.lib.format.write_array}

    def note(name):
        def call(*args, **kwargs):
            what = name
            if name == "fsync":
                what = f"fsync of {os.fstat(args[0]).st_size} bytes"
            order.append(what)
            return real[name](*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", note("fsync"))
    monkeypatch.setattr(os, "replace", note("replace"))
    monkeypatch.setattr(np.lib.format, "write_array", note("write_array"))
    run_folder.write_checkpoint(tmp_path, states(), META)
    size = (tmp_path / "checkpoint.npz").stat().st_size  # nothing was left in Python's buffer
    assert list(dict.fromkeys(order)) == ["write_array", f"fsync of {size} bytes", "replace"]


def test_an_interruption_leaves_no_partial_file(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_folder.write_checkpoint(tmp_path, states(), META)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint, and a folder."""
    folder = tmp_path_factory.mktemp("whole")
    run_folder.write_checkpoint(folder, states(), META)
    return folder, (folder / "checkpoint.npz").read_bytes()


def read_or_refuse(path):
    """The checkpoint, or None if it is refused in one line."""
    try:
        return run_folder.read_checkpoint(path)
    except CheckpointError as error:
        text = str(error)
    assert str(path) in text
    assert "\n" not in text
    return None


def test_every_truncation_is_refused(whole):
    folder, content = whole
    path = folder / "damaged.npz"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert read_or_refuse(path) is None


@given(data=st.data())
def test_damage_is_refused_or_harmless(whole, data):
    """Bytes overwritten anywhere: a refusal in one line, or the very same content (they are in unused fields of the
    archive), or fewer arrays than there were (they are in its list of names), which the model misses then."""
    folder, content = whole
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.npz"
    path.write_bytes(damaged)
    found = read_or_refuse(path)
    if found is not None:
        assert found[1] == META
        for part, state in found[0].items():
            assert all(array.tobytes() == np.asarray(states()[part][name]).tobytes() for name, array in state.items())


@pytest.mark.parametrize("missing", META)
def test_a_checkpoint_without_a_part_of_its_meta(missing, tmp_path):
    meta = {key: value for key, value in META.items() if key != missing}
    run_folder.write_checkpoint(tmp_path, states(), meta)
    with pytest.raises(CheckpointError, match=f"is not a checkpoint of a minivit run: it has no '{missing}'"):
        run_folder.read_checkpoint(tmp_path / "checkpoint.npz")


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (None, "it has no 'meta'"),
        (b"{}", "it has no 'format'"),
        (b"[]", "list indices"),
        (b"\xff\xfe", "UTF-16"),
        (b'{"format": "minivit checkpoint 9"}', 'its format is "minivit checkpoint 9"'),
    ],
)
def test_archives_that_are_no_checkpoint(meta, expected, tmp_path):
    path = tmp_path / "checkpoint.npz"
    write_npz(path, {"a": np.zeros(2)} if meta is None else {"meta": np.frombuffer(meta, np.uint8)})
    with pytest.raises(CheckpointError, match=f"is not a checkpoint of a minivit run: .*{expected}"):
        run_folder.read_checkpoint(path)


def test_files_that_are_no_archives(tmp_path):
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(CheckpointError, match=r"checkpoint.npz does not exist$"):
        read_npz(path)
    path.mkdir()
    with pytest.raises(CheckpointError, match=r"checkpoint.npz is not a file$"):
        read_npz(path)
    path.rmdir()
    np.save(tmp_path / "a.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    np.savez(tmp_path / "pickled.npz", a=np.array([{}]))
    for name, reason in (("a.npy", "one array"), ("other.zip", "not an array"), ("pickled.npz", "allow_pickle")):
        with pytest.raises(CheckpointError, match=reason):
            read_npz(tmp_path / name)


# trained models


def trained(folder, **choices):
    """A run folder as training leaves it: the weights all 1, their averages all 2."""
    recipe = Recipe(model=MODEL, **choices)
    run_folder.create(folder, recipe)
    parameters = Classification(ViT(MODEL, seed=None)).named_parameters()
    model = {name: np.full(p.shape, 1, np.float32) for name, p in parameters}
    ema = {"steps": 5, **{f"average/{name}": 2 * array for name, array in model.items()}}
    parts = {"objective": model, "optimizer": {"steps": 5}, **({"ema": ema} if recipe.ema else {})}
    run_folder.write_checkpoint(folder, parts, META)
    return recipe


@pytest.mark.parametrize(("ema", "value"), [(None, 1), (0.9, 2)])
def test_load_trained_gives_the_weights_that_are_evaluated(ema, value, tmp_path):
    expected = trained(tmp_path / "run", ema=ema)
    model, recipe, classes = run_folder.load_trained(tmp_path / "run")
    assert (recipe, classes, model.config, model.training) == (expected, ["a", "ö"], MODEL, False)
    assert all((p.data == value).all() for p in model.parameters())


def test_load_trained_lists_what_does_not_fit(tmp_path):
    trained(tmp_path / "run", ema=0.9)
    config = tmp_path / "run" / "config.json"
    config.write_text(
        config.read_text(encoding="utf-8")
        .replace('"depth": 1', '"depth": 2')
        .replace('"mlp_width": 8', '"mlp_width": 9'),
        encoding="utf-8",
    )
    with pytest.raises(CheckpointError) as caught:
        run_folder.load_trained(tmp_path / "run")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'run' / 'checkpoint.npz'} does not fit the model: missing: model.blocks.1.")
    assert "and 7 more; wrong shape: " in text
    assert "\n" not in text


def test_load_trained_without_a_checkpoint(tmp_path):
    run_folder.create(tmp_path / "run", Recipe(model=MODEL))
    with pytest.raises(CheckpointError, match="has no checkpoint yet: train it with --resume"):
        run_folder.load_trained(tmp_path / "run")
