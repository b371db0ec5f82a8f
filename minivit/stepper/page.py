"""All steps of a backward pass on one page: pictures, the text of every step, and a slider in plain JavaScript.

Code hosts, and JupyterLab for a notebook that is not trusted, remove scripts, styles and <svg> from a page. Images
stay: in a short pass each step has its picture as an image, in a long pass only the first. If the script runs, it puts
the drawing of the first image beside the texts, changes it step by step, and makes the controls.
"""

import hashlib
import itertools
import json
from html import escape

from minivit.plots.svg import img, page
from minivit.stepper.drawing import LEGEND_HEIGHT, LEGEND_TEXT, LEGEND_WIDTH, STATES, Drawing, legend

_NUMBER = itertools.count(1)  # of pages made by this process, for ids that differ

SHORT = 12  # a pass of no more vjps has a picture of every step

STYLE = """
#ID .parts { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 12px; }
#ID .graph { max-width: max(55%, min(100%, 360px)); max-height: 75vh; box-sizing: border-box; overflow: auto; }
#ID .graph { border: 1px solid #ddd; }
#ID .graph svg { display: block; max-width: 100%; height: auto; min-width: LEASTpx; }
#ID .steps { flex: 1 1 320px; min-width: 0; }
#ID pre { white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; font-size: 12px; line-height: 1.4; }
#ID pre { background: #f7f7f7; color: #111; padding: 8px; }
#ID summary { font-weight: bold; }
#ID input { width: 50%; vertical-align: middle; }
@media screen { #ID .graph + .steps img { display: none; } }
@media print {
  #ID .controls, #ID .graph { display: none; }
  #ID details, #ID details[hidden] { display: block; break-inside: avoid; }
  #ID details img { max-height: 9cm; }
}
"""

# JupyterLab leaves keys to an element that has the attribute itself; else arrows and Enter are its shortcuts.
CONTROLS = """<p class="controls"><label for="ID-slider">Step of the backward pass</label>
<button type="button" class="back" aria-label="one step back" data-lm-suppress-shortcuts="true">◀</button>
<input id="ID-slider" type="range" min="0" max="LAST" step="1" data-lm-suppress-shortcuts="true"/>
<button type="button" class="forward" aria-label="one step forward" data-lm-suppress-shortcuts="true">▶</button></p>"""
GRAPH = '<div class="graph" tabindex="0" role="region" aria-label="the graph" data-lm-suppress-shortcuts="true"></div>'

SCRIPT = """
(() => {
  const root = document.getElementById("ID"), parts = root.querySelector(".parts");
  const data = JSON.parse(root.querySelector(".data").textContent);
  parts.insertAdjacentHTML("beforebegin", `CONTROLS`);
  parts.insertAdjacentHTML("afterbegin", `GRAPH`);
  const slider = root.querySelector("input"), graph = root.querySelector(".graph");
  const bytes = atob(root.querySelector("details img").src.split(",")[1]);
  graph.innerHTML = new TextDecoder().decode(Uint8Array.from(bytes, byte => byte.charCodeAt(0)));
  root.querySelector(".steps").setAttribute("aria-live", "polite");
  const boxes = [...root.querySelectorAll(".box")], lines = [...root.querySelectorAll(".line")];
  const steps = [...root.querySelectorAll("details")];

  function drawBox(box, [state, words]) {
    const [colour, width, dashes] = data.states[state], border = box.querySelector("rect");
    border.setAttribute("stroke", colour);
    border.setAttribute("stroke-width", width);
    border.setAttribute("stroke-dasharray", dashes);
    box.querySelectorAll(".g").forEach((line, i) => { line.textContent = words[i] || ""; });
  }
  function drawLine(line, active) {
    line.setAttribute("stroke", active ? data.states.runs[0] : "#777");
    line.setAttribute("stroke-width", active ? 3 : 1);
    line.setAttribute(active ? "marker-start" : "marker-end", active ? "url(#ID-back)" : "url(#ID-tip)");
    line.removeAttribute(active ? "marker-end" : "marker-start");
  }
  function scrollTo(box) {  // the graph only, never the page
    const place = box.getBoundingClientRect(), view = graph.getBoundingClientRect();
    graph.scrollLeft += place.left + place.width / 2 - view.left - view.width / 2;
    graph.scrollTop += place.top + place.height / 2 - view.top - view.height / 2;
  }
  function go(position) {
    slider.value = position;
    const now = data.waiting.map(words => ["waits", words]);
    for (let i = 0; i <= position; i++)
      for (const [box, change] of Object.entries(data.steps[i].changes)) now[box] = change;
    boxes.forEach((box, i) => drawBox(box, now[i]));
    lines.forEach((line, i) => drawLine(line, data.steps[position].lines.includes(i)));
    steps.forEach((step, i) => { step.hidden = i != position; step.open = true; });
    scrollTo(boxes[data.steps[position].box]);
  }
  const moved = by => go(Math.min(Math.max(Number(slider.value) + by, 0), steps.length - 1));
  slider.addEventListener("input", () => moved(0));
  root.querySelector(".back").addEventListener("click", () => moved(-1));
  root.querySelector(".forward").addEventListener("click", () => moved(1));
  const fromAddress = /^#frame=([0-9]+)$/.exec(location.hash);
  go(fromAddress ? Math.min(Number(fromAddress[1]), steps.length - 1) : data.position);
})();
"""


def html(drawing: Drawing, position: int) -> str:
    """The page, a self-contained <div>. Runs all remaining vjps. It opens at `position`, or at step 3 if its address
    ends in "#frame=3"."""
    stepper = drawing.stepper
    texts = [(stepper.heading(i), stepper.details(i)) for i in range(len(stepper) + 1)]
    digest = hashlib.sha256(repr(texts).encode()).hexdigest()[:8]
    name = f"backward-{digest}-{next(_NUMBER)}"
    last = len(stepper)
    steps = []
    for step, (heading, details) in enumerate(texts):
        drawn = step == 0 or last <= SHORT
        picture = img(drawing.graph(step, name), f"The graph. {heading}") if drawn else ""
        opened = " open" if drawn else ""
        summary = f"<summary>{escape(heading)}</summary>"
        steps.append(f"<details{opened}>{summary}\n{picture}\n<pre>{escape(details)}</pre></details>")
    borders = "\n".join([page(LEGEND_WIDTH, LEGEND_HEIGHT, "What the borders mean"), *legend(4), "</svg>"])
    style = STYLE.replace("LEAST", f"{0.85 * drawing.size[0]:.0f}")  # shrunk further, letters are too small
    script = SCRIPT.replace("CONTROLS", CONTROLS.replace("LAST", str(last))).replace("GRAPH", GRAPH)
    parts = [
        f'<div id="{name}" class="backward-stepper">',
        f"<style>{style.replace('ID', name)}</style>",
        '<div class="parts"><div class="steps">',
        *steps,
        "</div></div>",
        f"<p>{img(borders, LEGEND_TEXT)}</p>",
        f'<script type="application/json" class="data">{_data(drawing, position)}</script>',
        f"<script>{script.replace('ID', name)}</script>",
        "</div>",
    ]
    return "\n".join(parts)


def _data(drawing: Drawing, position: int) -> str:
    """The data for the script: how each step changes the drawing."""
    stepper = drawing.stepper
    steps = []
    for i in range(len(stepper) + 1):
        node = stepper.frame(i).node or stepper.nodes[-1]
        box = drawing.number[node]
        steps.append({"changes": drawing.changes(i), "lines": drawing.active_lines(i), "box": box})
    waiting = [drawing.waiting(link) for link in drawing.links]
    data = {"states": STATES, "waiting": waiting, "steps": steps, "position": position}
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
