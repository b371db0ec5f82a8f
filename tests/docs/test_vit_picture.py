"""The picture on the home page is what its script draws."""

from xml.etree import ElementTree

from vit_picture import PICTURE, drawing, picture


def test_the_picture_is_what_the_script_draws():
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run: python docs/vit_picture.py"


def test_it_has_a_title_and_all_tokens():
    root = ElementTree.fromstring(picture())
    assert root[0].text.startswith("A Vision Transformer")
    words = [part for part in drawing() if part.startswith("<text")]
    assert any(">16 patches<" in part for part in words)
    assert any(">16<" in part for part in words)  # the position of the last token, after 0 for [class]
