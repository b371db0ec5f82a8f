"""The picture of SAM: what runs once, and the tokens in their order."""

import pytest

plt = pytest.importorskip("matplotlib.pyplot")
requests = pytest.importorskip("minivit.lessons.pictures.requests")


def test_the_image_is_encoded_once_and_tokens_stand_in_order():
    requests.masks_from_a_click()
    axes = plt.gcf().axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    tokens = sorted((y, text) for text, (x, y) in places.items() if x == pytest.approx(places["score"][0]))
    assert [text for _, text in tokens][1:7] == ["score", "mask 0", "mask 1", "mask 2", "mask 3", "click"]
    (frame,) = (patch for patch in axes.patches if not patch.get_fill())
    right = frame.get_x() + frame.get_width()
    inside = {
        text
        for text, (x, y) in places.items()
        if x < right and y < frame.get_y() + frame.get_height() and y > frame.get_y()
    }
    assert inside == {"image", "encoder\n(ViTDet, neck)", "map\n$h \\times w$"}
    plt.close("all")
