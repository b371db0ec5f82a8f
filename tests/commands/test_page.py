"""visualize --page: what the file holds is what the model gives, and what it costs."""

import base64
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minivit import data, runs
from minivit.models import ViT, ViTConfig, export, inside
from minivit.tensor import no_grad
from minivit.visualize import page

ROW = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def held(path: str) -> dict:
    """The data of a page."""
    return json.loads(ROW.search(Path(path).read_text(encoding="utf-8"))[1])


def numbers(stored: dict, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of matrices in a page, and half a step of each row."""
    whole = np.frombuffer(base64.b64decode(stored["bytes"]), np.uint8).reshape(shape)
    largest = np.frombuffer(base64.b64decode(stored["largest"]), "<f4").reshape(shape[:-1])[..., None]
    return whole / 255 * largest, largest / 510 * 1.001 + 1e-9


@pytest.fixture
def model(tiny_run):
    return runs.load_trained(Path(tiny_run))[0]


def test_a_page_holds_the_model_s_numbers(tiny_run, model, command):
    result = command("visualize", tiny_run, "--index", "5,7", "--page", "new/page.html")
    assert (result.status, result.err) == (0, "")
    assert re.fullmatch(r"new/page.html \(0\.\d MB\)\n", result.out)
    assert [path.name for path in Path("new").iterdir()] == ["page.html"]
    found, config = held("new/page.html"), model.config
    assert (found["layers"], found["heads"], tuple(found["grid"])) == (config.depth, config.heads, config.grid)
    assert len(found["tokens"]) + np.prod(config.grid) == config.num_tokens
    digits = data.load("digits", split="test")
    pixels, labels = digits.fetch([5, 7])
    images = runs.load_trained(Path(tiny_run))[1].augment.evaluation()(pixels)
    for image, label, pixel, shown, index in zip(images, labels, pixels, found["images"], (5, 7), strict=True):
        assert shown["caption"] == f"image {index}: {label}"
        attention = inside.attention_weights(model, image[None])[:, 0]
        decoded, half = numbers(shown["attention"], attention.shape)
        assert (abs(decoded - attention) <= half).all()
        for layer in range(config.depth):
            mixed = inside.rollout(attention[: layer + 1])
            decoded, half = numbers(shown["rollout"], (config.depth, *mixed.shape))
            assert (abs(decoded[layer] - mixed) <= half[layer]).all()
        with no_grad():
            logits = model(image[None]).data[0]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        assert [name for name, _ in shown["guesses"]] == [str(k) for k in (-probabilities).argsort()[:5]]
        assert [p for _, p in shown["guesses"]] == pytest.approx(np.sort(probabilities)[::-1][:5].tolist(), rel=1e-4)
        png = base64.b64decode(shown["picture"].removeprefix("data:image/png;base64,"))
        Path("picture.png").write_bytes(png)
        assert np.array_equal(np.asarray(Image.open("picture.png")), pixel.squeeze(-1))
    cosines = inside.cosine_similarity(inside.position_table(model), config.grid)
    decoded = np.frombuffer(base64.b64decode(found["positions"]), np.int8).reshape(cosines.shape) / 127
    assert abs(decoded - cosines).max() <= 0.5 / 127 + 1e-6


def test_a_page_of_clicks_holds_the_masks_that_the_model_answers(clicking, command):
    result = command("visualize", "clicks", "--index", "3,8", "--page", "page.html")
    assert (result.status, result.err) == (0, "")
    found = held("page.html")
    assert (found["grid"], found["masks"], found["tokens"]) == ([16, 16], {"answers": 3, "size": [16, 16]}, [])
    assert "layers" not in found
    pixels = data.load("nested", split="test").fetch([3, 8])[0]
    for query in (0, 77, 255):  # rows of 16 points in squares of 2x2 pixels: their middles lie between pixels
        x, y = 2 * (query % 16) + 0.5, 2 * (query // 16) + 0.5
        points, kinds = np.tile(np.array([[[x, y], [0, 0]]], np.float32), (2, 1, 1, 1)), np.array([[[1, -1]]] * 2)
        with no_grad():
            images = clicking.tensor(pixels / np.float32(127.5) - 1)
            masks, scores = (part.data[:, 0, 1:] for part in clicking.answer(images, points, kinds))
        for image, shown in enumerate(found["images"]):
            bits = np.unpackbits(np.frombuffer(base64.b64decode(shown["masks"]["bits"]), np.uint8))
            kept = np.frombuffer(base64.b64decode(shown["masks"]["scores"]), "<f4").reshape(256, 3)[query]
            order = (-scores[image]).argsort(kind="stable")
            assert kept == pytest.approx(scores[image][order], rel=1e-4)
            near = abs(masks[image][order]) < 1e-4  # of other batches, so rounded otherwise
            assert (near | (bits.reshape(256, 3, 16, 16)[query] == (masks[image][order] > 0))).all()
            assert shown["caption"].startswith("image ")


def test_a_page_of_clicks_stays_small(clicking, monkeypatch):
    subject = SimpleNamespace(model=clicking.encoder, objective=clicking, answers_clicks=True)
    assert page.click_grid(subject) == (16, 16 * 16 * 3 * 16 * 16 // 8 * 4 // 3)
    assert page.how_many(subject) == 8
    monkeypatch.setattr(page, "MOST_BYTES", 20_000)
    assert page.click_grid(subject)[0] == 16 // 2
    assert page.how_many(subject) == 2


def test_it_runs_its_own_script_and_style_and_asks_for_nothing(tiny_run, command):
    command("visualize", tiny_run, "--index", "5", "--page", "page.html")
    text = Path("page.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    for tag in ("script", "style"):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"https?:|//www|@import|url\(", text)
    assert not re.search(" (style|onclick)=", text)  # the policy would forbid them


def test_names_are_text_and_no_part_of_the_page(tmp_path):
    name = "</script><script>alert(1)</script><!--"
    text = page.filled({"name": name, "images": []})
    assert name not in text
    assert json.loads(ROW.search(text)[1])["name"] == name
    assert "<title>&lt;/script&gt;" in text


@pytest.mark.parametrize(
    ("size", "patch", "depth", "heads", "count"),
    [(32, 4, 6, 3, 8), (32, 2, 6, 3, 1), (224, 16, 12, 12, 1), (64, 8, 8, 4, 6)],
)
def test_a_page_shows_as_many_images_as_keep_it_small(size, patch, depth, heads, count):
    config = ViTConfig(image_size=size, patch_size=patch, width=12, depth=depth, heads=heads, num_classes=2)
    assert page.how_many(SimpleNamespace(vit=SimpleNamespace(config=config), answers_clicks=False)) == count


def test_a_cifar_model_s_page_is_under_two_megabytes():
    config = ViTConfig(image_size=32, patch_size=4, width=96, depth=6, heads=3, num_classes=10)
    noise = np.random.default_rng(0).random((8, 6, 3, 65, 65))
    rows = [page.weights(image) for image in noise] + [page.weights(image[:, 0]) for image in noise]
    pictures = [page.picture(image) for image in np.random.default_rng(1).random((8, 32, 32, 3))]
    assert page.how_many(SimpleNamespace(vit=SimpleNamespace(config=config), answers_clicks=False)) == 8
    assert len(json.dumps([rows, pictures])) < 1_900_000


def test_a_head_less_encoder_s_page_has_no_predictions_and_one_without_table_no_positions(command, tmp_path):
    config = ViTConfig(
        image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=0, channels=1, position="none",
        classifier="gap",
    )  # fmt: skip
    export(ViT(config), tmp_path / "encoder.npz")
    result = command(
        "visualize", tmp_path / "encoder.npz", "--data", "digits", "--image-size", "8", "--page", "page.html"
    )
    assert (result.status, result.err) == (0, "")
    found = held("page.html")
    assert (found["positions"], found["tokens"], len(found["images"])) == (None, [], 8)
    assert found["images"][0]["guesses"] == []


def test_with_figures_both_are_written(tiny_run, command):
    result = command("visualize", tiny_run, "--page", "page.html", "--figures", "positions", "--out", "pictures")
    assert result.status == 0
    assert sorted(map(str, Path().rglob("p*.*"))) == ["page.html", "pictures/positions.png"]


def test_what_cannot_be_written_is_one_line(tiny_run, command):
    Path("folder").mkdir()
    result = command("visualize", tiny_run, "--page", "folder")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "folder" in result.err
    Path("file").write_text("", encoding="utf-8")
    result = command("visualize", tiny_run, "--page", "file/page.html")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "file" in result.err


def test_an_old_page_stays_whole_until_the_new_one_is(tiny_run, command, monkeypatch):
    Path("page.html").write_text("old", encoding="utf-8")
    write = Path.write_text

    def fail(path, text, **options):
        write(path, text[:100], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    result = command("visualize", tiny_run, "--page", "page.html")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert Path("page.html").read_text(encoding="utf-8") == "old"
    assert len(list(Path().glob("page.html*"))) == 1
