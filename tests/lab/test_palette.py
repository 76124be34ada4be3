"""What is said in colour must be readable in both themes, and not by colour alone."""

from kit.lab.palette import DARK, INK, RULE, SERIES, WHITE, contrast


def test_contrast_is_wcags():
    assert contrast("#000000", "#ffffff") == 21
    assert contrast("#777777", "#777777") == 1
    assert round(contrast("#767676", WHITE), 2) == 4.54  # the tone that WCAG's own examples give


def test_no_tone_is_more_readable_on_both_themes_than_the_ink():
    tones = [f"#{tone:02x}{tone:02x}{tone:02x}" for tone in range(256)]
    best = max(tones, key=lambda tone: min(contrast(tone, WHITE), contrast(tone, DARK)))
    assert best == INK
    assert min(contrast(INK, WHITE), contrast(INK, DARK)) > 4.3


def test_lines_reach_what_graphics_need_on_both_themes():
    for colour in [RULE, *(look.colour for look in SERIES)]:
        assert min(contrast(colour, WHITE), contrast(colour, DARK)) >= 3, colour


def test_no_two_lines_differ_by_colour_alone():
    assert len({look.dash for look in SERIES}) == len({look.marker for look in SERIES}) == len(SERIES)
