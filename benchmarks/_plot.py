"""Draw a report's figures: bars on a logarithmic scale, one panel for each unit, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from typing import Protocol

_WIDTH, _LABELS, _ROW, _HEAD = 900, 400, 22, 34
_SVG = "http://www.w3.org/2000/svg"
_BAR = _WIDTH - _LABELS - 90


class Drawn(Protocol):
    """A figure; `floor` names another one that it is compared with."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def floor(self) -> str: ...


def svg(title: str, figures: Iterable[Drawn]) -> str:
    """The whole drawing; a thin line across a bar is its floor."""
    known = list(figures)
    at = {figure.name: figure.value for figure in known}
    lines: list[str] = []
    top = _HEAD + 10
    for unit, panel in groupby(sorted(known, key=lambda figure: figure.unit), lambda figure: figure.unit):
        drawn = list(panel)
        lines.append(_text(_LABELS, top + 14, unit, "start", bold=True))
        lines += _bars(drawn, at, top + _ROW)
        top += _ROW * (len(drawn) + 2)
    return "\n".join(
        [
            f'<svg xmlns="{_SVG}" font-family="sans-serif" width="{_WIDTH}" height="{top}">',
            _box(0, 0, _WIDTH, top, "white"),
            _text(10, 22, title, "start", bold=True),
            *lines,
            "</svg>\n",
        ]
    )


def _bars(figures: list[Drawn], at: dict[str, float], top: int) -> Iterator[str]:
    compared = [at[figure.floor] for figure in figures if figure.floor in at]
    positive = [value for value in [*(figure.value for figure in figures), *compared] if value > 0]
    least = math.floor(math.log10(min(positive))) if positive else 0
    most = max(least + 1, math.ceil(math.log10(max(positive)))) if positive else 1

    def length(value: float) -> float:
        return _BAR * (math.log10(value) - least) / (most - least) if value > 0 else 0.0

    for row, figure in enumerate(figures):
        y = top + row * _ROW
        yield _text(_LABELS - 8, y + 14, figure.name, "end")
        yield _box(_LABELS, y + 3, length(figure.value), _ROW - 7, "#4878a8")
        if figure.floor in at:
            x = _LABELS + length(at[figure.floor])
            yield f'<path d="M{x:.1f} {y}V{y + _ROW - 1}" stroke="#c04000" stroke-width="2"/>'
        yield _text(_LABELS + length(figure.value) + 6, y + 14, f"{figure.value:,.4g}", "start")


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}" font-size="12" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
