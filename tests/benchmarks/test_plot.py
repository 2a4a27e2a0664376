"""A report's figures are drawn, whatever they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

SVG = "{http://www.w3.org/2000/svg}"


class Figure(NamedTuple):
    name: str
    value: float
    unit: str
    floor: str = ""


TEXTS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
FIGURES = st.builds(Figure, TEXTS, st.floats(0, 1e15), st.sampled_from(["µs", "checks/s"]), TEXTS)


@pytest.fixture(scope="module")
def svg(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        from _plot import svg

        yield svg
        sys.modules.pop("_plot", None)


@given(st.lists(FIGURES, max_size=6, unique_by=lambda figure: figure.name), TEXTS)
def test_every_figure_has_a_bar_inside_the_drawing(svg, figures: list[Figure], title: str) -> None:  # type: ignore[no-untyped-def]
    drawing = ElementTree.fromstring(svg(title, figures))
    width, height = float(drawing.attrib["width"]), float(drawing.attrib["height"])
    boxes = [
        {key: float(box.attrib[key]) for key in ("x", "y", "width", "height")}
        for box in drawing.iter(f"{SVG}rect")
    ]
    assert len(boxes) == 1 + len(figures)
    for box in boxes:
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert 0 <= box["y"] <= box["y"] + box["height"] <= height
    texts = [text.text or "" for text in drawing.iter(f"{SVG}text")]
    assert {title, *(figure.name for figure in figures)} <= set(texts)


def test_a_floor_is_drawn_across_its_figure(svg) -> None:  # type: ignore[no-untyped-def]
    figures = [
        Figure("bare", 10, "µs"),
        Figure("ours", 100, "µs", "bare"),
        Figure("alone", 50, "µs", "elsewhere"),
    ]
    drawing = ElementTree.fromstring(svg("how long?", figures))
    bare, ours, _ = list(drawing.iter(f"{SVG}rect"))[1:]
    [line] = drawing.iter(f"{SVG}path")
    assert line.attrib["d"].startswith(f"M{float(bare.attrib['x']) + float(bare.attrib['width'])}")
    assert float(bare.attrib["width"]) < float(ours.attrib["width"])
