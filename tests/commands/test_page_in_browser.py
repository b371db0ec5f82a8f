"""The page of visualize in a browser: what its script tells and what keys and clicks do."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from untrained import SAM, untrained

from minivit import data
from minivit.models import ViT, ViTConfig, export, inside
from minivit.models.pretrained import open_pretrained
from minivit.runs.published import recipe_of
from minivit.visualize.__main__ import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: nothing ran the script of visualize's page")
SLOW = 120  # seconds for a browser on a busy machine

# What a test does once the page is drawn. It stands where the page's policy allows it: in the page's own script.
PROBE = """
const pressed = (key, fields) => new KeyboardEvent("keydown", { key, bubbles: true, ...fields });
const press = (key, fields) => document.body.dispatchEvent(pressed(key, fields));
const click = (id, x, y) => {
  const box = $(id).getBoundingClientRect();
  const [clientX, clientY] = [box.left + x * box.width, box.top + y * box.height];
  $(id).dispatchEvent(new MouseEvent("click", { clientX, clientY }));
};
const start = { image: 0, view: 0, layer: 0, head: 0, query: 0 };
const note = {};
addEventListener("load", () => {
  for (const [name, deed] of Object.entries(DEEDS)) { choose(start); deed(); note[name] = location.hash; }
  document.title = JSON.stringify(note);
});
"""
# deeds, and what they change in the address. The model has 17 tokens, [class] before a grid of 4x4, 2 layers, 2 heads.
DEEDS = {
    "press('ArrowRight')": {"query": 1},
    "press('ArrowRight'); press('ArrowRight'); press('ArrowDown')": {"query": 6},
    "press('ArrowDown'); press('ArrowUp'); press('ArrowLeft')": {"query": 1},
    "press('ArrowLeft')": {},
    "press('ArrowRight'); press('c')": {},
    "press('l'); press('h')": {"layer": 1, "head": 1},
    "press('l'); press('l'); press('l')": {"layer": 1},
    "press('l'); press('L', {shiftKey: true})": {},
    "press('l', {ctrlKey: true})": {},
    "press('n'); press('n')": {"image": 1},
    "press('v')": {"view": "rollout"},
    "press('v'); press('v')": {"view": "positions", "query": 1},
    "press('v'); press('v'); press('v')": {"query": 1},
    "click('image', .9, .1)": {"query": 4},
    "click('map', .1, .9)": {"query": 13},
    "click('overview', .9, .1)": {"head": 1},
    "click('overview', .1, .9)": {"layer": 1},
    "press('v'); click('overview', .9, .5)": {"view": "rollout", "layer": 1},
    "press('v'); press('v'); click('overview', .9, .9)": {"view": "positions", "query": 16},
    "document.querySelectorAll('#views button')[1].click()": {"view": "rollout"},
    "document.querySelectorAll('#steps button')[3].click()": {"head": 1},
    "document.querySelectorAll('#images input')[1].click()": {"image": 1},
    "choose({image: 99, layer: -3, head: NaN, query: 1e9})": {"image": 1, "query": 16},
}

# the same of masks: 16x16 points, three answers, which the address calls layers
CLICKS = {
    "press('ArrowRight'); press('ArrowDown')": {"query": 17},
    "press('a')": {"layer": 1},
    "press('a'); press('a'); press('a')": {"layer": 2},
    "press('a'); press('A', {shiftKey: true})": {},
    "press('a'); press('ArrowRight')": {"query": 1},
    "press('a'); click('map', .99, .99)": {"query": 255},
    "click('image', .99, .01)": {"query": 15},
    "click('overview', .9, .5)": {"layer": 2},
    "press('l'); press('h'); press('v'); press('c')": {},
    "document.querySelectorAll('#steps button')[1].click()": {"layer": 1},
    "choose({image: 99, layer: 7, query: 1e9})": {"image": 1, "layer": 2, "query": 255},
}


def dumped(path: Path, fragment: str = "", width: int = 1280) -> str:
    """The page after its script has run."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"{path.resolve().as_uri()}#{fragment}"]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8", timeout=SLOW).stdout


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights that attend to some patches much more than to others."""
    model = ViT(ViTConfig(image_size=8, patch_size=2, width=16, depth=2, heads=2, num_classes=10, channels=1))
    for block in model.blocks:
        block.attention.qkv.weight.data *= 2
    path = tmp_path_factory.mktemp("weights") / "published.npz"
    export(model, path)
    return path


@pytest.fixture(scope="module")
def attention(weights):
    path = weights.with_name("page.html")
    assert main([str(weights), "--data", "digits", "--index", "5,7", "--page", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    """A page of masks, and the objective that gave them."""
    folder = tmp_path_factory.mktemp("clicks")
    objective, path = untrained(folder / "run", "scenes-sam", **SAM), folder / "page.html"
    assert main([str(folder / "run"), "--index", "5,8", "--page", str(path)]) == 0
    return path, objective


@pytest.fixture
def file(request):
    """The page that a test names, otherwise that of attention."""
    if getattr(request, "param", "attention") == "masks":
        return request.getfixturevalue("clicks")[0]
    return request.getfixturevalue("attention")


def probed(file: Path, script: str) -> Path:
    """A copy whose script goes on with `script`, and the policy that would forbid it is gone."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", file.read_text(encoding="utf-8"))
    copy = file.with_name("probed.html")
    copy.write_text(text.replace("</script>\n</body>", script + "</script>\n</body>"), encoding="utf-8")
    return copy


def test_it_tells_what_the_model_attends_to(file, weights):
    found = open_pretrained(weights)
    image = recipe_of(found).augment.evaluation()(data.load("digits", split="test").fetch([7])[0])
    row = inside.attention_weights(found.model, image)[1, 0, 0, 6]  # layer 2, head 1, the patch in row 2, column 2
    down, right = divmod(int(row[1:].argmax()), 4)
    most = "[class]" if row.argmax() == 0 else f"patch in row {down + 1}, column {right + 1}"
    text = dumped(file, "image=1&layer=1&head=0&query=6")
    told = re.search(r'id="told"[^>]*>(.*?)<', text)[1]
    weight = re.match(rf"Query: patch in row 2, column 2. Largest weight: {re.escape(most)}, ([01]\.\d+), ", told)[1]
    assert float(weight) == pytest.approx(row.max(), abs=0.0006)
    assert re.search(r"<main(?! hidden)", text)


def test_an_address_that_means_nothing_is_the_start(file):
    assert "Query: [class]." in dumped(file, "image=x&layer=99999&view=nonsense&query=-5&__proto__=1")


@pytest.mark.parametrize(
    ("file", "view", "deeds"), [("attention", "attention", DEEDS), ("masks", "masks", CLICKS)], indirect=["file"]
)
def test_keys_clicks_and_buttons(file, view, deeds):
    script = "{" + ",\n".join(f"{json.dumps(deed)}: () => {{ {deed}; }}" for deed in deeds) + "}"
    title = re.search(r"<title>(.*?)</title>", dumped(probed(file, PROBE.replace("DEEDS", script))), re.DOTALL)[1]
    view = "masks" if deeds is CLICKS else "attention"
    start = {"image": 0, "view": view, "layer": 0, "head": 0, "query": 0}
    expected = {name: "&".join(f"{k}={v}" for k, v in {**start, **change}.items()) for name, change in deeds.items()}
    assert json.loads(html.unescape(title)) == {name: f"#{fragment}" for name, fragment in expected.items()}


def test_it_tells_and_shows_what_the_model_answers_to_a_click(clicks):
    page, objective = clicks
    pixels = data.load("nested", split="test").fetch([8])[0] / np.float32(127.5) - 1
    masks, scores = objective.clicked(pixels, np.array([[[2 * 5 + 0.5, 2 * 3 + 0.5]]], np.float32))
    count = "document.title = [0, 1, 2].map(i => view().tones(53, i).join('')).join(' ')"
    text = dumped(probed(page, f"addEventListener('load', () => {{ {count}; }});"), "image=1&query=53&layer=1")
    told = re.search(r'id="told"[^>]*>(.*?)<', text)[1]
    one, two, three = (f"{score:.2f}" for score in scores[0, 0])
    assert told == (
        f"Point in row 4, column 6. The model expects that answer 2 overlaps with the right one by {two} (IoU), "
        f"answer 1 by {one}, answer 3 by {three}."
    )
    shown = re.search(r"<title>(.*?)</title>", text)[1].split()
    assert shown == ["".join("01"[int(bit)] for bit in mask.ravel()) for mask in masks[0, 0]]
    assert 'data-for="points">' in text
    assert 'data-for="patches" hidden' in text


def test_an_image_begins_at_the_best_of_the_points_that_lie_in_their_mask(clicks):
    page, objective = clicks
    rows, columns = np.divmod(np.arange(256), 16)
    points = np.stack([2 * columns + 0.5, 2 * rows + 0.5], axis=1)[None].astype(np.float32)
    wanted = []
    for image in data.load("nested", split="test").fetch([5, 8])[0]:
        masks, scores = objective.clicked(image[None] / np.float32(127.5) - 1, points)
        has_it = masks[0, np.arange(256), 0, rows, columns]  # an answer has 16x16 pixels, too
        wanted.append(int(np.where(has_it, scores[0, :, 0], scores[0, :, 0] - 9).argmax()))
    note = "const seen = [state.query]; choose({layer: 1}); choose({image: 1}); seen.push(state.query, state.layer)"
    script = f"addEventListener('load', () => {{ {note}; document.title = seen.join(' '); }});"
    title = re.search(r"<title>(.*?)</title>", dumped(probed(page, script)))[1]
    assert title == f"{wanted[0]} {wanted[1]} 0"


@pytest.mark.parametrize(
    ("file", "width"), [("attention", 390), ("attention", 1280), ("masks", 390)], indirect=["file"]
)
def test_nothing_is_wider_than_the_screen(file, width):
    measure = "parent.document.title = `${document.documentElement.scrollWidth} ${innerWidth} ${$('map').width > 50}`"
    script = f"addEventListener('load', () => {{ {measure}; }});"
    inside_it = html.escape(probed(file, script).read_text(encoding="utf-8"))
    screen = file.with_name("screen.html")  # a browser's own window is never narrower than 500 pixels
    screen.write_text(
        f'<!doctype html><title></title><iframe width="{width}" height="900" frameborder="0" srcdoc="{inside_it}">',
        encoding="utf-8",
    )
    scroll, inner, drawn = re.search(r"<title>(\d+) (\d+) (\w+)</title>", dumped(screen)).groups()
    assert int(scroll) <= int(inner) == width
    assert drawn == "true"
