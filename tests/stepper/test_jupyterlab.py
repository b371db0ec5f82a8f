"""The stored steppers in JupyterLab itself, in a browser: before the notebook is trusted, and after it has run.

Needs JupyterLab, Playwright and Chromium, which nothing else here needs: without them it is skipped.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytest.importorskip("jupyterlab", reason="no JupyterLab: nothing looked at the steppers in it")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="no Playwright: nothing looked at the steppers in JupyterLab"
)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: nothing looked at the steppers in JupyterLab"),
    pytest.mark.timeout(900),
]

NOTEBOOK = Path(__file__).parents[2] / "notebooks/01_autodiff.ipynb"
STEPPER, STEPS = ".backward-stepper", 6  # of the first stepper: the start and five vjps
WIDTH, HEIGHT = 1280, 800
PATIENCE = 240  # seconds; a machine may be busy


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a JupyterLab that has nothing of its user: no settings, no trust."""
    folder, own = tmp_path_factory.mktemp("opened"), tmp_path_factory.mktemp("jupyter")
    shutil.copy(NOTEBOOK, folder)
    (own / "labconfig").mkdir()
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}  # they need a network
    (own / "labconfig/page_config.json").write_text(json.dumps(news), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    command += [f"--LabApp.{kind}_dir={own / kind}" for kind in ("user_settings", "workspaces")]
    places = {f"JUPYTER_{kind}_DIR": str(own) for kind in ("CONFIG", "DATA", "RUNTIME")}
    with (own / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env={**os.environ, **places}, stdout=log, stderr=log)
    try:
        wait_for(f"{address}/api", process, own / "log.txt")
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_for(address, process, log):
    """Until the server answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(address, timeout=PATIENCE).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < end, log.read_text(encoding="utf-8")
            time.sleep(0.2)


@pytest.fixture
def lab(server):
    """A window in which the notebook has just been opened."""
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{server}/lab/tree/{NOTEBOOK.name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell h1")
        yield page
        browser.close()


def bring(page, selector):
    """Scroll until the notebook has made what is looked for, and put that at its top: cells far away are not there."""
    panel = page.locator(".jp-NotebookPanel-notebook .jp-WindowedPanel-outer")
    found = page.locator(selector).first
    end = time.monotonic() + PATIENCE
    while not found.count() and time.monotonic() < end:
        panel.evaluate("panel => { panel.scrollTop = (panel.scrollTop + 300) % (panel.scrollHeight - 600); }")
        page.wait_for_timeout(100)
    for _ in range(3):  # what is above may change its height when it is drawn
        found.evaluate("element => element.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(500)
    return found


def test_stored_steppers_show_before_the_notebook_is_trusted(lab):
    stepper = bring(lab, STEPPER)
    assert stepper.locator("script, svg, input, button").count() == 0  # or it is trusted, and this sees nothing
    assert stepper.locator("details[open] pre").count() == STEPS
    drawn = "images => images.map(image => image.checkVisibility() && image.naturalWidth > 200 && image.width > 200)"
    assert stepper.locator("details img").evaluate_all(drawn) == [True] * STEPS
    strip = bring(lab, "img[alt*='at 3 steps']")
    assert strip.evaluate("image => image.naturalWidth") > 500


def test_the_slider_obeys_the_keys_and_graph_and_text_are_seen_together(lab):
    lab.get_by_role("menuitem", name="Run", exact=True).click()
    lab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    slider = bring(lab, f"{STEPPER} input")
    slider.focus()
    for position in (1, 2, 3):
        lab.keyboard.press("ArrowRight")
        assert slider.input_value() == str(position)
    lab.keyboard.press("ArrowLeft")
    lab.keyboard.press("Tab")
    lab.keyboard.press("Enter")  # the button behind it: one step forward
    assert slider.input_value() == "3"
    stepper = lab.locator(STEPPER).first
    shown = stepper.locator("details:visible")
    assert shown.locator("summary").inner_text().startswith("Step 3 of 5")
    graph, text = stepper.locator(".graph svg").bounding_box(), shown.locator("pre").bounding_box()
    for box in (graph, text):
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= WIDTH
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= HEIGHT
    assert graph["x"] + graph["width"] <= text["x"]
    assert stepper.locator("details img:visible").count() == 0
