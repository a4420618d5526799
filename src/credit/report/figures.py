"""Figures as inline SVG: text stays text, and the style sheet sets the colours, also those of dark pages.

Drawn by hand rather than by a plotting library: a few lines and dots, no fonts to embed, no identifiers to
collide, and every text is escaped in one place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup, escape

from credit.report.text import compact, show
from credit.report.verdict import Estimate, Row

Points = list[tuple[float, float | None]]
"""(step, value); None is a value that was logged but is no number: the line breaks there."""

WIDTH, HEIGHT = 340, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 8, 24
DOTS = 60
"""Lines with more points are drawn without a dot for each."""


@dataclass(frozen=True)
class Axis:
    """A linear scale with round ticks."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the coordinate of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """Return round values inside the range with their labels."""
        step = nice((self.high - self.low) / count)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        values = [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
        short = max(abs(self.low), abs(self.high)) < 1e5 and digits <= 4
        return [(v, show(v, digits) if short else f"{v:.3g}".replace("-", "−")) for v in values]


def nice(value: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element; attribute values and texts are escaped, `class_` becomes `class`."""
    pairs = (f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{''.join(pairs)}>{''.join(escape(child) for child in children)}</{name}>")


def curves(title: str, series: list[tuple[str, Points]], floor: float | None = None) -> Markup:
    """Draw up to three lines over steps.

    Args:
        title: read out by screen readers.
        series: label and points of each line; line i has the classes `line` and `s<i>`.
        floor: lower end of the axis; without it the axis starts near the smallest value.
    """
    points = [(x, y) for _, line in series for x, y in line if y is not None]
    if not points:
        empty = tag("text", "no number was logged", x=WIDTH / 2, y=HEIGHT / 2, text_anchor="middle")
        return _figure(title, WIDTH, HEIGHT, [empty])
    x_axis = Axis(*_widen(min(p[0] for p in points), max(p[0] for p in points), 0), LEFT, WIDTH - RIGHT)
    low, high = _widen(min(p[1] for p in points), max(p[1] for p in points), 0.06)
    if floor is not None:
        low, high = floor, max(high, floor + 1e-3)
    y_axis = Axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_grid_y(value, label, y_axis) for value, label in y_axis.ticks()]
    steps = [(v, label) for v, label in x_axis.ticks() if v == int(v)]
    parts += [tag("text", t, x=f"{x_axis.at(v):.1f}", y=HEIGHT - 8, text_anchor="middle") for v, t in steps]
    for index, (label, line) in enumerate(series):
        parts += _line(label, line, index, x_axis, y_axis)
    return _figure(title, WIDTH, HEIGHT, parts)


def dumbbells(title: str, table: list[Row]) -> Markup:
    """Draw before (hollow) and after (filled) of every row, each with its interval, joined by a line."""
    left, row_height = 112, 34
    height = TOP + row_height * len(table) + BOTTOM
    ends = [x for row in table for e in (row.before, row.after) for x in (e.mean, e.low, e.high) if x is not None]
    low, high = min([0.0, *ends]), max([1.0, *ends])
    axis = Axis(low, high, left, 420 - RIGHT)
    parts = []
    for value, label in axis.ticks():
        x = f"{axis.at(value):.1f}"
        parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=height - BOTTOM, class_="grid"))
        parts.append(tag("text", label, x=x, y=height - 7, text_anchor="middle"))
    for index, row in enumerate(table):
        y = TOP + row_height * (index + 0.5)
        name = row.name if len(row.name) <= 16 else row.name[:15] + "…"
        label = tag("text", name, tag("title", row.name), x=left - 12, y=y + 4, text_anchor="end", class_="name")
        parts.append(label)
        if row.before.mean is not None and row.after.mean is not None:
            a, b = axis.at(row.before.mean), axis.at(row.after.mean)
            parts.append(tag("line", x1=f"{a:.1f}", x2=f"{b:.1f}", y1=y, y2=y, class_="join"))
        # The whiskers sit above and below the joining line, so that overlapping intervals stay readable.
        parts += _mark("before", row.before, y, y - 8, axis) + _mark("after", row.after, y, y + 8, axis)
    return _figure(title, 420, height, parts)


def _mark(when: str, value: Estimate, y: float, y_interval: float, axis: Axis) -> list[Markup]:
    parts = []
    said = f"{when}: {show(value.mean)}"
    if value.interval:
        low, high = value.interval
        said += f" ({show(low)} to {show(high)})"
        ends = {"x1": f"{axis.at(low):.1f}", "x2": f"{axis.at(high):.1f}", "y1": y_interval, "y2": y_interval}
        parts.append(tag("line", class_=f"whisker {when}", **ends))
    if value.mean is not None:
        dot = tag("circle", tag("title", said), cx=f"{axis.at(value.mean):.1f}", cy=y, r=5, class_=f"dot {when}")
        parts.append(dot)
    return parts


def _line(label: str, line: Points, index: int, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    parts, dotted = [], len(line) <= DOTS
    for piece in _pieces(line):
        at = [(f"{x_axis.at(x):.1f}", f"{y_axis.at(y):.1f}") for x, y in piece]
        if len(piece) > 1:
            parts.append(tag("polyline", points=" ".join(map(",".join, at)), class_=f"line s{index}"))
        for (cx, cy), (x, y) in zip(at, piece, strict=True):
            if dotted or len(piece) == 1:
                said = tag("title", f"{label}, step {x:g}: {compact(y)}")
                parts.append(tag("circle", said, cx=cx, cy=cy, r=2.2, class_=f"point s{index}"))
    return parts


def _pieces(line: Points) -> list[list[tuple[float, float]]]:
    """Cut at every None; consecutive gaps make no empty piece."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in line:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append((x, y))
    return [piece for piece in pieces if piece]


def _grid_y(value: float, label: str, axis: Axis) -> Markup:
    y = f"{axis.at(value):.1f}"
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
    return line + tag("text", label, x=LEFT - 6, y=y, dy="0.32em", text_anchor="end")


def _widen(low: float, high: float, share: float) -> tuple[float, float]:
    """Pad a range; a single value gets a range around it."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(high) / 2 or 1.0
        return low - pad, high + pad
    pad = share * (high - low)
    return low - pad, high + pad


def _figure(title: str, width: int, height: int, parts: list[Markup]) -> Markup:
    return tag("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=title)
