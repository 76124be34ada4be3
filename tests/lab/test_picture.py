"""A picture carries its words, has no background, and says the same whatever was measured."""

import base64

import pytest

from kit.lab.palette import DARK, INK, WHITE, contrast
from kit.lab.picture import ON_DARK, ON_LIGHT, Picture, figure, style


def drawing(values=(1, 3, 2)):
    made = figure(4, 2)
    style(made.subplots(), "a <title> & $more$").plot(values)
    return made


def test_picture(check_picture):
    check_picture(Picture(drawing(), "three values", "A line through the three values 1, 3 and 2"))


def test_words_are_escaped_in_html():
    html = Picture(drawing(), "t", 'a "quoted" <word> & more').html()
    assert 'alt="a &quot;quoted&quot; &lt;word&gt; &amp; more"' in html


def test_two_runs_differ_only_where_something_was_measured():
    one, other = (Picture(drawing(v), "t", f"values {v}")._repr_mimebundle_()[0] for v in ((1, 2), (5, 1)))
    assert one["text/plain"] == other["text/plain"]
    assert one["text/html"] != other["text/html"]


def test_the_same_drawing_gives_the_same_bytes():
    assert Picture(drawing(), "t", "words").png == Picture(drawing(), "t", "words").png


def test_no_words_no_picture():
    with pytest.raises(ValueError, match="alt is empty"):
        Picture(drawing(), "t", "  ")


def test_save(tmp_path):
    picture = Picture(drawing(), "t", "words")
    picture.save(str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").read_bytes() == base64.b64decode(picture._repr_mimebundle_()[0]["image/png"])


def test_where_the_theme_is_known_the_text_reaches_what_text_needs():
    def filtered(factor):
        return "#" + "".join(f"{min(255, round(int(INK[i : i + 2], 16) * factor)):02x}" for i in (1, 3, 5))

    assert contrast(filtered(ON_LIGHT), WHITE) >= 4.5
    assert contrast(filtered(ON_DARK), DARK) >= 4.5
    html = Picture(drawing(), "t", "words").html()
    assert f"[data-jp-theme-light=false] .kit-picture{{filter:brightness({ON_DARK})}}" in html
