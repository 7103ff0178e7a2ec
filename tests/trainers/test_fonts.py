"""Texts of any script in pictures."""

import warnings

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainers._fonts import columns, families, legible, readable, wrapped


def test_what_the_fonts_lack_is_shown_by_its_sound_or_as_a_box():
    for text in ("4 juillet, Июль", "神の言"):
        assert legible(text)
        assert readable(text) == text
    assert not legible("न한")
    assert readable("4 न") == "4 na"
    assert readable("\U00030000") == "□"  # of a later Unicode than the fonts


def test_japanese_is_drawn_and_not_as_boxes():
    def drawn(text):
        figure = Figure(figsize=(1, 1))
        FigureCanvasAgg(figure)
        figure.text(0.1, 0.5, text, fontfamily=families())
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a glyph that is missing
            figure.canvas.draw()
        return np.asarray(figure.canvas.buffer_rgba())

    assert (drawn("神") != drawn("王")).any()


def test_lines_break_at_blanks_and_between_wide_characters():
    assert columns("ab神") == 4
    assert wrapped("one two three", 7, lines=3) == ["one two", "three"]
    assert wrapped("神は光を", 5, lines=3) == ["神は", "光を"]
    assert wrapped("says 神は", 7, lines=2) == ["says 神", "は"]
    assert wrapped("", 7, lines=2) == [""]


def test_what_does_not_fit_the_lines_is_cut_visibly():
    assert wrapped("one two three four", 7, lines=2) == ["one two", "three…"]
    (line,) = wrapped("神は光を晝と名け", 7, lines=1)
    assert line.endswith("…")
    assert columns(line) <= 8
