"""The page of visualize in a browser: what its script tells and what keys and clicks do."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

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
def file(weights):
    path = weights.with_name("page.html")
    assert main([str(weights), "--data", "digits", "--index", "5,7", "--page", str(path)]) == 0
    return path


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


def test_keys_clicks_and_buttons(file):
    deeds = "{" + ",\n".join(f"{json.dumps(deed)}: () => {{ {deed}; }}" for deed in DEEDS) + "}"
    title = re.search(r"<title>(.*?)</title>", dumped(probed(file, PROBE.replace("DEEDS", deeds))), re.DOTALL)[1]
    start = {"image": 0, "view": "attention", "layer": 0, "head": 0, "query": 0}
    expected = {name: "&".join(f"{k}={v}" for k, v in {**start, **change}.items()) for name, change in DEEDS.items()}
    assert json.loads(html.unescape(title)) == {name: f"#{fragment}" for name, fragment in expected.items()}


@pytest.mark.parametrize("width", [390, 1280])
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
