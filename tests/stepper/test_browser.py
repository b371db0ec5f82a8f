"""The script of the stepper's page, run by a browser: buttons, slider, address, and a name that looks like code."""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from minivit import functional as F
from minivit.stepper import BackwardStepper
from minivit.tensor import Tensor

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: nothing ran the script of the stepper's page")

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</script><script>document.title='run'</script>"


class Shown(HTMLParser):
    """For each stepper on a page which steps are not hidden, and the borders and lines of its boxes."""

    def __init__(self, text: str):
        super().__init__()
        self.title, self.steppers, self.open = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.open.append((tag, attributes.get("class")))
        if attributes.get("class") == "backward-stepper":
            self.steppers.append({"steps": [], "borders": [], "texts": []})
        elif tag == "details":
            self.steppers[-1]["steps"].append("hidden" not in attributes)
        elif tag == "g" and attributes.get("class") == "box":
            self.steppers[-1]["texts"].append([])
        elif tag == "rect" and ("g", "box") in self.open:
            self.steppers[-1]["borders"].append(attributes["stroke-width"])

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass  # <input>, <meta>

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "title" and ("svg", None) not in self.open:
            self.title = data
        elif self.open and self.open[-1][0] == "text" and ("g", "box") in self.open:
            self.steppers[-1]["texts"][-1].append(data)


def drawn(stepper: BackwardStepper, position: int) -> dict[str, list]:
    """What the page must show, from the still picture of a position."""
    boxes = [e for e in ET.fromstring(stepper.svg(position)).iter(f"{SVG}g") if e.get("class") == "box"]
    return {
        "steps": [i == position for i in range(len(stepper) + 1)],
        "borders": [box.find(f"{SVG}rect").get("stroke-width") for box in boxes],
        "texts": [[text.text for text in box.iter(f"{SVG}text") if text.text] for box in boxes],
    }


def test_buttons_slider_and_address_lead_to_the_step(tmp_path):
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name=HOSTILE)
    y = F.exp(x)
    stepper = BackwardStepper(F.sum(F.tanh(y) * y), values={HOSTILE: y})  # 4 vjps
    deeds = {  # what is done at the step of the address, and where that leads
        "": 2,
        "here('.forward').click()": 3,
        "here('.back').click()": 1,
        "for (let i = 0; i < 9; i++) here('.forward').click()": 4,
        "for (let i = 0; i < 9; i++) here('.back').click()": 0,
        "here('input').value = 4; here('input').dispatchEvent(new Event('input'))": 4,
    }
    body = ""
    for deed in deeds:
        here = "const here = what => [...document.querySelectorAll('.backward-stepper')].at(-1).querySelector(what);"
        body += f"{stepper.html()}\n<script>{{ {here} {deed} }}</script>\n"
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset='utf-8'><title>calm</title>{body}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [BROWSER, *options, f"{page.as_uri()}#frame=2"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    shown = Shown(done.stdout)
    assert shown.title == "calm"  # the name was not run
    assert len(shown.steppers) == len(deeds)
    for found, (deed, position) in zip(shown.steppers, deeds.items(), strict=True):
        assert found == drawn(stepper, position), deed
