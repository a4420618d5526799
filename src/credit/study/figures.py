"""Figures of a study: every mark has its method's name beside it, so that no figure needs colours to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from credit.report.svg import COLOURS, GROUP, as_svg, drawing
from credit.report.text import compact, show

LABEL = 150
"""Width of the column of names, in units."""
ROW = 24
_LONGEST = 22


@dataclass(frozen=True)
class Line:
    """One row: a method, its value with interval, and whether the others are compared with it."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: bool = False

    @property
    def spread(self) -> tuple[float, float] | None:
        """Both ends of the interval, or None when there is none or it is a point."""
        if self.low is None or self.high is None or self.high - self.low < 1e-9 * max(1.0, abs(self.high)):
            return None
        return self.low, self.high


def dots(title: str, lines: Sequence[Line], line_at: float | None = None, width: int = 460) -> Markup:
    """Draw one dot with its interval per row; the reference is hollow, and `line_at` a dashed vertical line."""
    with drawing():
        figure, axes = _rows(lines, width, None, line_at)
        notes = {}
        for y, line in enumerate(lines):
            if line.spread:
                axes.plot(line.spread, [y, y], color=COLOURS["a"], linewidth=2.5, alpha=0.7)
            if line.value is not None:
                axes.plot(
                    line.value, y, "o", color=COLOURS["page" if line.reference else "a"], markeredgecolor=COLOURS["a"],
                    markersize=8, markeredgewidth=2, zorder=3, gid=f"{GROUP}dot-{y}",
                )  # fmt: skip
                notes[f"dot-{y}"] = [_spoken(line)]
        if line_at is not None:
            axes.axvline(line_at, color=COLOURS["soft"], linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
        return as_svg(figure, _title(title, lines), notes)


def bars(title: str, lines: Sequence[Line], most: float | None = None, width: int = 360) -> Markup:
    """Draw one horizontal bar with its interval per row; the reference's bar is hatched.

    Args:
        title: what is shown, for screen readers.
        lines: the rows.
        most: right end of the axis, for shares; otherwise the largest value.
        width: in units.
    """
    with drawing():
        figure, axes = _rows(lines, width, (0.0, most))
        notes = {}
        low, high = axes.get_xlim()
        slant = (high - low) / (width - LABEL) * 9
        for y, line in enumerate(lines):
            if line.value is None:
                axes.annotate("not measured", (low, y), (3, -4), textcoords="offset points", color=COLOURS["soft"])
                continue
            look = {"color": COLOURS["page"], "edgecolor": COLOURS["a"]} if line.reference else {"color": COLOURS["a"]}
            axes.barh(y, line.value, 0.56, linewidth=1.4, gid=f"{GROUP}bar-{y}", **look)
            notes[f"bar-{y}"] = [_spoken(line)]
            if line.reference:
                _hatch(axes, line.value, y, slant)
            if line.spread:
                axes.plot(line.spread, [y, y], color=COLOURS["ink"], linewidth=1.6)
            if line.value == 0:
                axes.annotate("0", (0, y), (3, -4), textcoords="offset points", color=COLOURS["soft"])
        return as_svg(figure, _title(title, lines), notes)


def curve(
    title: str, own: Sequence[tuple[float, float, float | None, float | None]],
    reference: Sequence[tuple[float, float, float | None, float | None]], most: float,
) -> Markup:  # fmt: skip
    """Draw a method's learning curve with its band, solid, and the reference's, dashed.

    Args:
        title: for screen readers.
        own: (rollouts, mean, low, high).
        reference: the same; empty for the reference itself.
        most: right end of the axis, so that panels can be compared.
    """
    width, height = 300, 170
    with drawing():
        figure, axes = _canvas(width, height, (38, 10, 8, 24))
        axes.set_xlim(0, most)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.grid(axis="y", color=COLOURS["rule"], linewidth=1)
        step = _nice_step(most)
        ticks = [i * step for i in range(int(most / step) + 1)]
        axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        band = [(x, low, high) for x, _, low, high in own if low is not None]
        if band:
            x, low, high = (list(side) for side in zip(*band, strict=True))
            axes.fill(x + x[::-1], low + high[::-1], color=COLOURS["a"], alpha=0.18, linewidth=0)
        if len(reference) > 1:
            axes.plot(*_line(reference), color=COLOURS["b"], linewidth=1.6, linestyle=(0, (4, 2.5)))
        if len(own) > 1:
            axes.plot(*_line(own), color=COLOURS["a"], linewidth=2)
        end = f"; from {show(own[0][1], 2)} to {show(own[-1][1], 2)}" if own else "; nothing was logged"
        return as_svg(figure, title + end, {})


def _line(points: Sequence[tuple[float, float, Any, Any]]) -> tuple[list[float], list[float]]:
    return [p[0] for p in points], [p[1] for p in points]


def _rows(
    lines: Sequence[Line], width: int, ends: tuple[float, float | None] | None, shown: float | None = None
) -> tuple[Any, Any]:
    figure, axes = _canvas(width, 34 + ROW * len(lines), (LABEL, 14, 6, 28))
    values = [v for line in lines for v in (line.value, line.low, line.high, shown) if v is not None] or [0.0]
    low, high = min(values), max(values)
    if ends is not None:
        low, high = ends[0], ends[1] if ends[1] is not None else max(high, 1e-9) * 1.04
    else:
        pad = 0.06 * (high - low) or 0.05
        low, high = low - pad, high + pad
    axes.set_xlim(low, high)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    step = _nice_step(high - low)
    first = int(low // step) + (low % step > 1e-12)
    ticks = [round(i * step, 12) for i in range(first, int(high / step + 1e-9) + 1)]
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.grid(axis="x", color=COLOURS["rule"], linewidth=1)
    names = [n if len(n := line.name) <= _LONGEST else n[: _LONGEST - 1] + "…" for line in lines]
    axes.set_yticks(range(len(lines)), names)
    axes.tick_params(axis="y", labelcolor=COLOURS["ink"], labelsize=12, pad=8)
    return figure, axes


def _canvas(width: float, height: float, margins: tuple[float, float, float, float]) -> tuple[Any, Any]:
    """Return an empty figure and its axes; margins are left, right, top, bottom, in units."""
    from matplotlib.figure import Figure

    left, right, top, bottom = margins
    figure = Figure(figsize=(width / 72, height / 72), frameon=False)
    area = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(area, frameon=False)
    axes.tick_params(length=0, pad=6, labelcolor=COLOURS["soft"], labelsize=11)
    axes.set_axisbelow(True)
    return figure, axes


def _hatch(axes: Any, length: float, y: float, slant: float) -> None:
    """Draw slanted lines over a bar from 0 to `length`, cut at its ends; patterns would not survive the page."""
    top, bottom = y - 0.28, y + 0.28
    start = -slant
    while start < length:
        a, b = max(start, 0.0), min(start + slant, length)
        heights = [bottom - (x - start) / slant * (bottom - top) for x in (a, b)]
        if b > a:
            axes.plot([a, b], heights, color=COLOURS["a"], linewidth=1.2)
        start += slant * 0.7


def _nice_step(span: float) -> float:
    """Return a round step that divides a span into three to five parts."""
    power = 10.0 ** len(str(int(span))) if span >= 1 else 1.0
    while power > span / 3:
        power /= 10
    return next(m * power for m in (10, 5, 2, 1) if span / (m * power) >= 2.5)


def _spoken(line: Line) -> str:
    ends = "" if line.low is None else f" ({compact(line.low)} to {compact(line.high)})"
    return f"{line.name}: {compact(line.value)}{ends}"


def _title(title: str, lines: Sequence[Line]) -> str:
    return "; ".join([title, *(_spoken(line) for line in lines if line.value is not None)])
