"""What the stepper draws: complete, readable without script and without network, and in step with its frames."""

import base64
import builtins
import itertools
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from minivit import functional as F
from minivit.models import ViT, ViTConfig
from minivit.stepper import BackwardStepper
from minivit.stepper.drawing import STATES, Drawing
from minivit.tensor import Tensor

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "input", "br"}


def doubled_twice():
    a = Tensor(3.0, requires_grad=True, name="a")
    b = a + a
    c = b + b
    return BackwardStepper(c, values={"b": b, "c": c})


def fan_out():
    """exp has two consumers: mul at once, and tanh on the way."""
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name="<x> & co")
    y = F.exp(x)
    return BackwardStepper(F.sum(F.tanh(y) * y), values={"y": y})


def long_chain():
    """More ops than fit into a column, with lines past many of them."""
    x = Tensor(np.ones((5, 5)), requires_grad=True, name="x")
    first = y = F.exp(x)
    for i in range(30):
        y = F.tanh(y) if i % 3 else y * first
    return BackwardStepper(F.sum(y * F.exp(x)))


def vit():
    config = ViTConfig(image_size=8, patch_size=2, width=16, depth=6, heads=2, num_classes=10, channels=1)
    images = np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)
    return BackwardStepper(F.cross_entropy(ViT(config).train()(images), np.arange(4)))


def many_inputs():
    leaves = [Tensor(np.ones(2), requires_grad=True) for _ in range(9)]
    return BackwardStepper(F.concat(*leaves, leaves[0], axis=0).sum())


GRAPHS = [doubled_twice, fan_out, long_chain, many_inputs, vit]


class Page(HTMLParser):
    """The elements of a page; well-formed means that every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.attributes if name == tag]


def box_states(svg):
    """For each box its texts and the width of its border."""
    groups = [e for e in ET.fromstring(svg).iter(f"{SVG}g") if e.get("class") == "box"]
    return [([t.text or "" for t in g.iter(f"{SVG}text")], g.find(f"{SVG}rect").get("stroke-width")) for g in groups]


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_picture_is_xml_with_a_title_and_not_too_large(graph):
    stepper = graph()
    for position in {0, 1, len(stepper) // 2, len(stepper)}:
        svg = stepper.svg(position)
        root = ET.fromstring(svg)
        assert stepper.heading(position) in root.find(f"{SVG}title").text
        texts = [t.text for t in root.iter(f"{SVG}text")]
        for line in stepper.text(position).splitlines():
            assert line in texts
        assert len(svg) < 300_000
    assert ET.fromstring(stepper.frames().svg()).get("role") == "img"


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_result_and_leaf_has_a_box(graph):
    stepper = graph()
    labels = [e.text for e in ET.fromstring(stepper.svg()).iter(f"{SVG}title")][1:]
    assert sorted(labels) == sorted(stepper.label(link) for link in stepper.portions)


@pytest.mark.parametrize("graph", GRAPHS)
def test_no_box_lies_over_another_or_outside(graph):
    layout = graph().drawing.layout
    boxes = list(layout.boxes.values())
    for box in boxes:
        assert 0 <= box.left < box.left + box.width <= layout.width
        assert 0 <= box.top < box.bottom <= layout.height
    for a, b in itertools.combinations(boxes, 2):
        apart = a.left + a.width <= b.left or b.left + b.width <= a.left or a.bottom <= b.top or b.bottom <= a.top
        assert apart, (a, b)


def segments(path):
    """The straight pieces of a path of M, H and V, as left, top, right, bottom."""
    x, y = map(float, re.match(r"M([\d.]+),([\d.]+)", path).groups())
    for letter, value in re.findall(r" ([HV])([\d.]+)", path):
        x2, y2 = (float(value), y) if letter == "H" else (x, float(value))
        yield min(x, x2), min(y, y2), max(x, x2), max(y, y2)
        x, y = x2, y2


def on_border(box, x, y):
    inside = box.left <= x <= box.left + box.width and box.top <= y <= box.bottom
    return inside and (x in (box.left, box.left + box.width) or y in (box.top, box.bottom))


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_line_leads_from_its_source_to_its_target_and_through_no_box(graph):
    stepper = graph()
    layout = stepper.drawing.layout
    assert len(layout.lines) == sum(link is not None for node in stepper.nodes for link in node.inputs)
    for line in layout.lines:
        start = tuple(map(float, re.match(r"M([\d.]+),([\d.]+)", line.path).groups()))
        assert on_border(layout.boxes[line.source], *start)
        *_, last = segments(line.path)
        assert any(on_border(layout.boxes[line.target], x, y) for x in last[::2] for y in last[1::2])
        for left, top, right, bottom in segments(line.path):
            for box in layout.boxes.values():
                beside = right <= box.left or box.left + box.width <= left or bottom <= box.top or box.bottom <= top
                assert beside, (line.path, box)


@pytest.mark.parametrize("graph", [fan_out, long_chain, vit])
def test_lines_of_different_sources_do_not_lie_on_one_another(graph):
    pieces = [(line, piece) for line in graph().drawing.layout.lines for piece in segments(line.path)]
    for (one, a), (other, b) in itertools.combinations(pieces, 2):
        if one.source is other.source:
            continue
        along_x = a[1] == a[3] == b[1] == b[3] and max(a[0], b[0]) < min(a[2], b[2])
        along_y = a[0] == a[2] == b[0] == b[2] and max(a[1], b[1]) < min(a[3], b[3])
        assert not along_x
        assert not along_y


def test_states_and_portions_of_a_fan_out():
    a, b = "g waits (0 of 2)", "g waits (0 of 2)"
    stepper = doubled_twice()
    found = [[texts[-1] for texts, _ in box_states(stepper.svg(i))] for i in range(3)]
    assert found == [
        [a, b, "g = 1"],
        [a, "g = 2 (2 of 2)", "▶ g = 1"],
        ["g = 4 (2 of 2)", "▶ g = 2 (2 of 2)", "✓ g = 1"],
    ]
    titles = [texts[:3] for texts, _ in box_states(stepper.svg(0))]
    assert titles == [["a (one number)", "value 3", a], ["b = add(a, a)", "one number", "value 6"], titles[2]]
    stepper = fan_out()
    y = next(texts for texts, _ in box_states(stepper.svg(2)) if texts[0] == "y = exp(<x> & co)")
    assert "g (1 of 2) =" in y
    assert [(line[0], line[-1]) for line in y[-2:]] == [("[", "]"), ("[", "]")]


def test_what_has_run_and_what_waits_differ_in_more_than_colour():
    stepper = doubled_twice()
    borders = [[width for _, width in box_states(stepper.svg(i))] for i in range(3)]
    waits, part, whole, runs, done = (str(width) for _, width, _ in STATES.values())
    assert borders == [[waits, waits, whole], [waits, whole, runs], [whole, runs, done]]
    assert fan_out().drawing.changes(2)[1][0] == "part"
    assert part in [width for _, width in box_states(fan_out().svg(2))]


def test_a_long_graph_goes_on_in_the_next_column():
    layout = long_chain().drawing.layout
    assert [column.title for column in layout.columns] == ["ops", "ops, continued", "ops, continued"]
    assert max(len(column.links) for column in layout.columns) <= 13


def test_the_lines_of_the_step_are_marked():
    stepper = doubled_twice()
    for position, active in ((0, []), (1, [2, 3]), (2, [0, 1])):
        paths = [e for e in ET.fromstring(stepper.svg(position)).iter(f"{SVG}path") if e.get("class") == "line"]
        assert [i for i, path in enumerate(paths) if path.get("marker-start")] == active


# the page


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_page_is_well_formed_and_complete(graph):
    stepper = graph()
    page = Page(stepper.html())
    headings = [stepper.heading(i) for i in range(len(stepper) + 1)]
    assert page.texts["summary"] == headings
    assert page.texts["pre"] == [stepper.details(i) for i in range(len(stepper) + 1)]
    controls = controls_of(stepper.html())
    (slider,) = controls.of("input")
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", str(len(stepper)))
    assert [label["for"] for label in controls.of("label")] == [slider["id"]]
    urls = set(re.findall(r"\w+://[^\s\"'<]+", stepper.html()))
    assert urls <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not [a for tag, a in page.attributes if tag != "img" and a.keys() & {"src", "href"}]


def controls_of(html):
    """What the script adds to the page."""
    return Page("".join(re.findall(r"`(<.+?>)`", html, flags=re.S)))


def drawings(html):
    """The drawings that a page holds as images, and their alternative texts."""
    images = Page(html).of("img")
    kind, data = zip(*(image["src"].split(",") for image in images), strict=True)
    assert set(kind) == {"data:image/svg+xml;base64"}
    return [base64.b64decode(one).decode() for one in data], [image["alt"] for image in images]


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_needs_a_script_is_not_there_without_it_and_nothing_is_hidden(graph):
    """Of what JupyterLab leaves of a page that it does not trust, nothing is dead and nothing runs together."""
    stepper = graph()
    page = Page(stepper.html())
    assert {tag for tag, _ in page.attributes} == {"div", "style", "details", "summary", "img", "pre", "p", "script"}
    assert not any("hidden" in attributes for _, attributes in page.attributes)
    drawn, texts = drawings(stepper.html())
    assert len(drawn) == (len(stepper) + 1 if len(stepper) <= 12 else 1) + 1  # and the legend
    for position, svg in enumerate(drawn[:-1]):
        assert box_states(svg) == box_states(stepper.svg(position))
        assert stepper.heading(position) in texts[position]
    assert "dashed: has some portions of it" in texts[-1]


def test_jupyterlab_leaves_its_keys_to_every_control():
    controls = controls_of(fan_out().html()).attributes
    focusable = [attributes for tag, attributes in controls if tag in ("button", "input") or "tabindex" in attributes]
    assert len(focusable) == 4
    assert all(attributes.get("data-lm-suppress-shortcuts") == "true" for attributes in focusable)


def test_a_long_pass_is_not_too_large():
    assert len(vit().html()) < 300_000


def test_ids_are_unique_and_two_steppers_fit_on_one_page():
    stepper = doubled_twice()
    both = stepper.html() + stepper.html() + doubled_twice().html()
    ids = [attributes["id"] for _, attributes in Page(both).attributes if "id" in attributes]
    assert len(ids) == len(set(ids))
    inside = [id for svg in drawings(both)[0] for id in set(re.findall(r'id="([^"]+)"', svg))]
    assert set(re.findall(r"url\(#([^)]+)\)", both)) <= set(inside)
    assert not set(inside) & set(ids)
    assert len(set(inside)) == 6  # two tips for each stepper, the same in all of its drawings
    assert "ID" not in re.findall(r"#?\bID\b", both)


def test_the_script_is_given_what_the_pictures_show():
    """The script adds up the changes of all steps, as done here, and must come to each still picture."""
    stepper = fan_out()
    (text,) = [t for t in Page(stepper.html()).texts["script"] if t.startswith("{")]
    data = json.loads(text)
    now = {i: ["waits", lines] for i, lines in enumerate(data["waiting"])}
    for position, step in enumerate(data["steps"]):
        now |= {int(box): change for box, change in step["changes"].items()}
        shown = box_states(stepper.svg(position))
        for i, (state, lines) in now.items():
            texts, width = shown[i]
            assert [t for t in texts if t][-len(lines) :] == lines
            assert width == str(data["states"][state][1])
        runs = [i for i, (state, _) in now.items() if state == "runs"]
        assert runs == ([step["box"]] if position else [])


def test_names_are_text_not_markup():
    html = fan_out().html()
    assert "<x>" not in html
    assert "&lt;x&gt; &amp; co" in html


def test_what_xml_forbids_is_escaped():
    x = Tensor(3.0, requires_grad=True, name="a\x00\x1b\ufffe")
    for svg in (BackwardStepper(x * x).svg(), BackwardStepper(x * x, values={"\x01": x}).frames().svg()):
        assert any("\\x0" in text for texts, _ in box_states(svg) for text in texts)


def test_data_for_the_script_do_not_end_it(monkeypatch):
    monkeypatch.setattr(Drawing, "waiting", lambda drawing, link: ["</script>"])
    (text,) = [t for t in Page(doubled_twice().html()).texts["script"] if t.startswith("{")]
    assert json.loads(text)["waiting"] == [["</script>"]] * 3


def test_a_strip_has_all_steps_of_a_short_pass_and_four_of_a_long_one():
    assert repr(doubled_twice().frames()) == "steps 0, 1, 2 of a backward pass"
    stepper = long_chain()
    assert len(stepper) == 34
    assert repr(stepper.frames()) == "steps 0, 11, 22, 34 of a backward pass"


def test_a_strip_shows_the_steps_asked_for():
    stepper = long_chain()
    strip = stepper.frames([0, 5])
    assert repr(strip) == "steps 0, 5 of a backward pass"
    (svg,), (text,) = drawings(strip._repr_html_())
    assert (svg, text) == (
        strip.svg(),
        f"The graph of the backward pass at 2 steps. {stepper.heading(0)}; {stepper.heading(5)}",
    )
    root = ET.fromstring(svg)
    assert [t.text for t in root.iter(f"{SVG}text") if t.get("font-size") == "14" and "ops" not in t.text] == [
        "Start",
        f"Step 5 of {len(stepper)}",
    ]
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


# in a notebook


def test_a_cell_shows_the_page_at_the_current_step():
    stepper = doubled_twice()
    stepper.go_to(2)
    (data,) = [t for t in Page(stepper._repr_html_()).texts["script"] if t.startswith("{")]
    assert json.loads(data)["position"] == 2


def test_without_ipywidgets_the_stepper_shows_itself(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "ipywidgets":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    stepper = doubled_twice()
    assert stepper.show() is stepper


def test_the_widget_moves_the_stepper():
    pytest.importorskip("ipywidgets")
    stepper = doubled_twice()
    stepper.go_to(1)
    slider, picture = stepper.show().children
    assert (slider.value, slider.max, picture.value) == (1, 2, stepper.svg(1))
    slider.value = 2
    assert stepper.position == 2
    assert picture.value == stepper.svg(2)
