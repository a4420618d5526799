"""The figures of every page, drawn by matplotlib without a display and without touching its global state.

A figure is as wide in units as it is in CSS pixels on a wide page. Labels never enter the layout: margins are fixed,
so that a figure is the same wherever it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from credit.report.smoothing import Points, pieces, smoothed
from credit.report.svg import COLOURS, GROUP, as_svg, drawing
from credit.report.text import compact, show
from credit.report.verdict import Estimate, Row

SERIES = tuple(COLOURS[name] for name in "abcd")
DASHES = ("solid", (0, (3.5, 2)), (0, (1, 1.6)), (0, (4.5, 1.5, 1, 1.5)))
"""Line i is told from the others by its dashes too, not by colour alone."""
DOTS = 60
"""Lines with more points are drawn without a dot for each."""
WIDE, TALL = 480, 290
"""Size of `lines` and `bars`; not much wider than a phone, so that their texts stay readable there."""
LETTER = 7.0
"""Width of one letter of a label, in user units: labels must not be cut off."""


def nice(value: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9))


def curves(title: str, series: list[tuple[str, Points]], floor: float | None = None, window: int = 0) -> Markup:
    """Draw up to three lines over steps.

    Args:
        title: read out by screen readers.
        series: label and points of each line; the line breaks where a value is None.
        floor: lower end of the axis; without it the axis starts near the smallest value.
        window: also draw the centred mean over so many values, in groups of the class `smooth`; the lines themselves
            are then of the class `raw`.
    """
    points = [(x, y) for _, line in series for x, y in line if y is not None]
    with drawing():
        figure, axes = _canvas(340, 180, (46, 12, 8, 24))
        notes: dict[str, list[str]] = {}
        if not points:
            axes.text(0.5, 0.5, "no number was logged", transform=axes.transAxes, ha="center", color=COLOURS["soft"])
            return as_svg(figure, title, notes)
        low, high = _widen(min(y for _, y in points), max(y for _, y in points), 0.06)
        if floor is not None:
            low, high = floor, max(high, floor + 1e-3)
        axes.set_xlim(*_widen(min(x for x, _ in points), max(x for x, _ in points), 0))
        axes.set_ylim(low, high)
        _ticks(axes, "y", grid=True)
        _ticks(axes, "x", whole=True)
        for i, (label, line) in enumerate(series):
            look = {"color": SERIES[i], "linestyle": DASHES[i]}
            for piece in pieces(line):
                x, y = zip(*piece, strict=True)
                if len(piece) > 1:
                    axes.plot(x, y, **look, linewidth=1.4, gid=f"{GROUP}raw" if window else None)
                if len(line) <= DOTS or len(piece) == 1:
                    name = f"raw dots-{i}" if window else f"dots-{i}"
                    axes.plot(x, y, "o", color=SERIES[i], markersize=4.4, markeredgewidth=0, gid=GROUP + name)
                    notes.setdefault(name, []).extend(
                        f"{label}, step {s:g}: {compact(v)}" for s, v in zip(x, y, strict=True)
                    )
            for piece in pieces(smoothed(line, window)) if window else []:
                x, y = zip(*piece, strict=True)
                axes.plot(x, y, **look, linewidth=2.2, gid=f"{GROUP}smooth")
        return as_svg(figure, title, notes)


def dumbbells(title: str, table: list[Row]) -> Markup:
    """Draw before (hollow) and after (filled) of every row, each with its interval, joined by a line."""
    ends = [x for row in table for e in (row.before, row.after) for x in (e.mean, e.low, e.high) if x is not None]
    said = [f"{row.name}: before {_spoken(row.before)}, after {_spoken(row.after)}" for row in table]
    with drawing():
        figure, axes = _canvas(420, 32 + 34 * len(table), (112, 12, 8, 24))
        axes.set_xlim(min([0.0, *ends]), max([1.0, *ends]))
        axes.set_ylim(len(table) - 0.5, -0.5)
        _ticks(axes, "x", grid=True)
        names = [row.name if len(row.name) <= 16 else row.name[:15] + "…" for row in table]
        axes.set_yticks(range(len(table)), [" ".join(name.split()) for name in names])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"], labelsize=12, pad=12)
        notes = {}
        for y, row in enumerate(table):
            if row.before.mean is not None and row.after.mean is not None:
                axes.plot([row.before.mean, row.after.mean], [y, y], color=COLOURS["soft"], linewidth=2, alpha=0.5)
            # The whiskers sit above and below the joining line, so that overlapping intervals stay readable.
            for when, value, at, colour, face in (
                ("before", row.before, y - 0.24, "b", "page"),
                ("after", row.after, y + 0.24, "a", "a"),
            ):
                if value.interval:
                    axes.plot(
                        value.interval, [at, at], color=COLOURS[colour], linewidth=3, alpha=0.7, solid_capstyle="round"
                    )
                if value.mean is not None:
                    axes.plot(
                        value.mean, y, "o", color=COLOURS[face], markeredgecolor=COLOURS[colour], markersize=10,
                        markeredgewidth=2, zorder=3, gid=f"{GROUP}{when}-{y}",
                    )  # fmt: skip
                    notes[f"{when}-{y}"] = [f"{row.name}, {when}: {_spoken(value)}"]
        return as_svg(figure, "; ".join([title, *said]), notes)


def lines(
    title: str, x_label: str, y_label: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]]
) -> Markup:
    """Draw up to four lines, each with its label at its right end."""
    points = [point for _, line in series for point in line]
    said = [f"{label} from {compact(line[0][1])} to {compact(line[-1][1])}" for label, line in series]
    with drawing():
        right = 22 + LETTER * max(len(label) for label, _ in series)
        figure, axes = _canvas(WIDE, TALL, (54, right, 28, 46))
        axes.set_xlim(*_widen(min(p[0] for p in points), max(p[0] for p in points), 0))
        axes.set_ylim(*_whole_steps([p[1] for p in points]))
        _ticks(axes, "y", grid=True)
        _ticks(axes, "x")
        _labels(axes, x_label, y_label)
        notes = {}
        for i, (label, line) in enumerate(series):
            x, y = zip(*line, strict=True)
            axes.plot(x, y, color=SERIES[i], linestyle=DASHES[i], linewidth=2, gid=f"{GROUP}line-{i}")
            notes[f"line-{i}"] = [label]
        low, high = axes.get_ylim()
        for i, y in enumerate(_apart([(line[-1][1] - low) / (high - low) for _, line in series], 16 / (TALL - 74))):
            x = (WIDE - right + 8) / WIDE
            figure.text(x, (46 + y * (TALL - 74)) / TALL, series[i][0], va="center", color=SERIES[i], fontsize=13)
        return as_svg(figure, "; ".join([title, *said]), notes)


def bars(title: str, y_label: str, groups: Sequence[tuple[str, Sequence[float]]], names: Sequence[str]) -> Markup:
    """Draw groups of up to four bars, one per name; a value of zero is written out, since it has no bar."""
    said = [
        f"{label}: " + ", ".join(f"{name} {compact(round(v, 9))}" for name, v in zip(names, values, strict=True))
        for label, values in groups
    ]
    with drawing():
        figure, axes = _canvas(WIDE, TALL, (54, 14, 28, 62))
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.set_ylim(*_whole_steps([0.0, *(value for _, values in groups for value in values)]))
        _ticks(axes, "y", grid=True)
        _labels(axes, "", y_label)
        axes.set_xticks(range(len(groups)), [label for label, _ in groups])
        axes.tick_params(axis="x", labelcolor=COLOURS["ink"], labelsize=13, pad=8)
        axes.axhline(0, color=COLOURS["soft"], linewidth=1, clip_on=False)
        width, (low, high) = 0.72 / len(names), axes.get_ylim()
        notes: dict[str, list[str]] = {}
        for i, name in enumerate(names):
            heights = [values[i] for _, values in groups]
            places = [g - 0.36 + (i + 0.5) * width for g in range(len(groups))]
            for g, (at, height) in enumerate(zip(places, heights, strict=True)):
                axes.bar(at, height, 0.86 * width, color=SERIES[i], clip_on=False, gid=f"{GROUP}bar-{i}-{g}")
                notes[f"bar-{i}-{g}"] = [f"{groups[g][0]}, {name}: {compact(round(height, 9))}"]
                if abs(height) < (high - low) / 400:
                    axes.annotate("0", (at, 0), (0, 3), textcoords="offset points", ha="center", color=COLOURS["soft"])
            x = 54 + (WIDE - 68) / len(names) * i
            figure.text(x / WIDE, 10 / TALL, "■", color=SERIES[i], fontsize=13)
            figure.text((x + 16) / WIDE, 10 / TALL, name, color=COLOURS["soft"], fontsize=13)
        return as_svg(figure, "; ".join([title, *said]), notes)


def _canvas(width: float, height: float, margins: tuple[float, float, float, float]) -> tuple[Any, Any]:
    """Return an empty figure and its axes; margins are left, right, top, bottom, in the units of the size."""
    from matplotlib.figure import Figure

    left, right, top, bottom = margins
    figure = Figure(figsize=(width / 72, height / 72), frameon=False)
    area = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(area, frameon=False)
    axes.tick_params(length=0, pad=6, labelcolor=COLOURS["soft"], labelsize=13 if width == WIDE else 11)
    axes.set_axisbelow(True)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure, axes


def _ticks(axes: Any, which: str, grid: bool = False, whole: bool = False) -> None:
    """Put round values inside the range of one axis, with real minus signs."""
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    values = _round_values(low, high)
    digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
    pad = 1e-9 * (high - low)
    values = [v for v in values if low - pad <= v <= high + pad and (not whole or v == int(v))]
    digits = 0 if whole else digits
    short = max(abs(low), abs(high)) < 1e5 and digits <= 4
    labels = [show(v, digits) if short else f"{v:.3g}".replace("-", "−") for v in values]
    getattr(axes, f"set_{which}ticks")(values, labels)
    if grid:
        axes.grid(axis=which, color=COLOURS["rule"], linewidth=1)


def _labels(axes: Any, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, color=COLOURS["soft"], fontsize=13, labelpad=6)
    axes.annotate(
        y_label, (0, 1), (-50, 14), xycoords="axes fraction", textcoords="offset points", color=COLOURS["soft"],
        fontsize=13,
    )  # fmt: skip


def _spoken(value: Estimate) -> str:
    if value.interval is None:
        return show(value.mean)
    return f"{show(value.mean)} ({show(value.interval[0])} to {show(value.interval[1])})"


def _widen(low: float, high: float, share: float) -> tuple[float, float]:
    """Pad a range; a single value gets a range around it."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(high) / 2 or 1.0
        return low - pad, high + pad
    pad = share * (high - low)
    return low - pad, high + pad


def _round_values(low: float, high: float) -> list[float]:
    """Return about five round values from at or below `low` to at or above `high`."""
    from matplotlib.ticker import MaxNLocator

    return [float(v) for v in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)]


def _whole_steps(values: Sequence[float]) -> tuple[float, float]:
    """Return a range that starts and ends at a round value."""
    low, high = min(values), max(values)
    steps = _round_values(*(_widen(low, high, 0)))
    return steps[0], steps[-1]


def _apart(ends: list[float], gap: float) -> list[float]:
    """Move labels up until none covers another."""
    placed: dict[int, float] = {}
    lowest = float("-inf")
    for index in sorted(range(len(ends)), key=lambda i: ends[i]):
        placed[index] = lowest = max(ends[index], lowest + gap)
    return [placed[i] for i in range(len(ends))]
