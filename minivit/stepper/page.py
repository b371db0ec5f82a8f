"""All steps of a backward pass on one page: one drawing, the text of every step, and a slider in plain JavaScript.

Where scripts and styles are stripped, as on code hosts, a list of steps in words is left: what needs the script is
`hidden` until it runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from html import escape
from typing import TYPE_CHECKING

from minivit.plots.svg import page
from minivit.stepper.drawing import LEGEND_HEIGHT, LEGEND_WIDTH, STATES, legend

if TYPE_CHECKING:
    from minivit.stepper.stepper import BackwardStepper

_NUMBER = itertools.count(1)  # of pages made by this process, for ids that differ

STYLE = """
#ID .parts { display: flex; flex-wrap: wrap; gap: 12px; }
#ID .picture { max-width: 100%; }
#ID .graph { overflow: auto; max-height: 75vh; border: 1px solid #ddd; }
#ID .graph svg { display: block; max-width: none; }
#ID .steps { flex: 1 1 420px; min-width: 0; }
#ID pre { overflow: auto; background: #f7f7f7; color: #111; padding: 8px; line-height: 1.4; }
#ID summary { font-weight: bold; }
#ID input { width: 50%; vertical-align: middle; }
"""

SCRIPT = """
(() => {
  const root = document.getElementById("ID");
  const data = JSON.parse(root.querySelector(".data").textContent);
  const slider = root.querySelector("input"), graph = root.querySelector(".graph");
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
  root.querySelectorAll("[hidden]").forEach(part => { part.hidden = false; });
  const fromAddress = /^#frame=([0-9]+)$/.exec(location.hash);
  go(fromAddress ? Math.min(Number(fromAddress[1]), steps.length - 1) : data.position);
})();
"""


def html(stepper: BackwardStepper) -> str:
    """The page, a <div> complete in itself. Runs all vjps that have not run. "#frame=3" at its address opens step 3."""
    drawing = stepper.drawing
    texts = [(stepper.heading(i), stepper.details(i)) for i in range(len(stepper) + 1)]
    digest = hashlib.sha256(repr(texts).encode()).hexdigest()[:8]
    name = f"backward-{digest}-{next(_NUMBER)}"
    graph = [page(*drawing.size, "The graph of the backward pass"), *drawing.body(stepper.position, name)]
    opened = " open" if len(stepper) <= 8 else ""
    steps = [
        f"<details{opened}><summary>{escape(heading)}</summary>\n<pre>{escape(details)}</pre></details>"
        for heading, details in texts
    ]
    parts = [
        f'<div id="{name}" class="backward-stepper">',
        f"<style>{STYLE.replace('ID', name)}</style>",
        f'<p hidden><label for="{name}-slider">Step of the backward pass</label>',
        '<button type="button" class="back" aria-label="one step back">◀</button>',
        f'<input id="{name}-slider" type="range" min="0" max="{len(stepper)}" step="1" value="{stepper.position}">',
        '<button type="button" class="forward" aria-label="one step forward">▶</button></p>',
        '<div class="parts"><div class="picture" hidden>',
        '<div class="graph" tabindex="0" role="region" aria-label="the graph">',
        *graph,
        "</svg></div>",
        page(LEGEND_WIDTH, LEGEND_HEIGHT, "What the borders mean"),
        *legend(4),
        '</svg></div><div class="steps" aria-live="polite">',
        *steps,
        "</div></div>",
        f'<script type="application/json" class="data">{_data(stepper)}</script>',
        f"<script>{SCRIPT.replace('ID', name)}</script>",
        "</div>",
    ]
    return "\n".join(parts)


def _data(stepper: BackwardStepper) -> str:
    """What the script needs to know: how each step changes the drawing."""
    drawing = stepper.drawing
    steps = []
    for i in range(len(stepper) + 1):
        node = stepper.frame(i).node or stepper.nodes[-1]
        box = drawing.number[node]
        steps.append({"changes": drawing.changes(i), "lines": drawing.active_lines(i), "box": box})
    waiting = [drawing.waiting(link) for link in drawing.links]
    data = {"states": STATES, "waiting": waiting, "steps": steps, "position": stepper.position}
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
