"""Figures that explain themselves: labelled lines and grouped bars as SVG, inline or as files of their own."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from credit.report.figures import Axis, nice, tag
from credit.report.text import compact

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 44
LABEL = 6.4
"""Width of one letter of a label, in user units: labels must not be cut off."""

STYLE = """
:root { color-scheme: light dark; --page: #fdfdfc; --ink: #1c2024; --soft: #5d666f; --rule: #dfe2e4;
  --a: #1f6fb5; --b: #b85c00; --c: #5f7f2f; --d: #8a4fa3; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e6e8ea; --soft: #9aa4ad; --rule: #32383d;
  --a: #6fb1ec; --b: #f0a24c; --c: #a9c877; --d: #cf9be2; } }
"""
MARKS = """
text { fill: var(--soft); font: 12px system-ui, sans-serif; } text.name { fill: var(--ink); }
.grid { stroke: var(--rule); stroke-width: 1; } .zero { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.s0 { stroke: var(--a); } .line.s1 { stroke: var(--b); stroke-dasharray: 7 4; }
.line.s2 { stroke: var(--c); stroke-dasharray: 2 4; } .line.s3 { stroke: var(--d); stroke-dasharray: 9 3 2 3; }
text.s0, .bar.s0 { fill: var(--a); } text.s1, .bar.s1 { fill: var(--b); }
text.s2, .bar.s2 { fill: var(--c); } text.s3, .bar.s3 { fill: var(--d); }
"""


def standalone(figure: Markup) -> str:
    """Return an inline figure as the text of an .svg file, with its colours for light and dark."""
    start, rest = str(figure).split(">", 1)
    background = f'<rect width="100%" height="100%" fill="var(--page)"/><style>{STYLE}{MARKS}</style>'
    return f'{start} xmlns="http://www.w3.org/2000/svg">{background}{rest}\n'


def lines(
    title: str, x_label: str, y_label: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]]
) -> Markup:
    """Draw up to four lines, each with its label at its right end."""
    points = [point for _, line in series for point in line]
    right = WIDTH - RIGHT - LABEL * max(len(label) for label, _ in series) - 8
    x_axis = Axis(min(p[0] for p in points), max(p[0] for p in points), LEFT, right)
    y_axis = _y_axis([p[1] for p in points])
    parts = _frame(y_axis, right, y_label)
    for value, text in x_axis.ticks():
        parts.append(tag("text", text, x=f"{x_axis.at(value):.1f}", y=HEIGHT - BOTTOM + 18, text_anchor="middle"))
    parts.append(tag("text", x_label, x=(LEFT + right) / 2, y=HEIGHT - 8, text_anchor="middle"))
    ends = _apart([y_axis.at(line[-1][1]) for _, line in series])
    for index, ((label, line), y) in enumerate(zip(series, ends, strict=True)):
        at = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(v):.1f}" for x, v in line)
        parts.append(tag("polyline", tag("title", label), points=at, class_=f"line s{index}"))
        parts.append(tag("text", label, x=f"{right + 8:.1f}", y=f"{y + 4:.1f}", class_=f"s{index}"))
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)


def bars(title: str, y_label: str, groups: Sequence[tuple[str, Sequence[float]]], names: Sequence[str]) -> Markup:
    """Draw groups of up to four bars, one per name; a value of zero is written out, since it has no bar."""
    right = WIDTH - RIGHT
    y_axis = _y_axis([0.0, *(value for _, values in groups for value in values)])
    parts = _frame(y_axis, right, y_label)
    zero, step = y_axis.at(0.0), (right - LEFT) / len(groups)
    width = 0.72 * step / len(names)
    for place, (label, values) in enumerate(groups):
        start = LEFT + step * place + 0.14 * step
        for index, value in enumerate(values):
            x, y = start + index * width, y_axis.at(value)
            said = tag("title", f"{label}, {names[index]}: {compact(round(value, 9))}")
            parts.append(
                tag(
                    "rect", said, x=f"{x:.1f}", y=f"{min(y, zero):.1f}", width=f"{0.86 * width:.1f}",
                    height=f"{abs(y - zero):.1f}", class_=f"bar s{index}",
                )
            )  # fmt: skip
            if abs(y - zero) < 0.5:
                parts.append(tag("text", "0", x=f"{x + 0.43 * width:.1f}", y=f"{zero - 3:.1f}", text_anchor="middle"))
        middle = LEFT + step * (place + 0.5)
        parts.append(tag("text", label, x=f"{middle:.1f}", y=HEIGHT - BOTTOM + 18, text_anchor="middle", class_="name"))
    parts.append(tag("line", x1=LEFT, x2=right, y1=f"{zero:.1f}", y2=f"{zero:.1f}", class_="zero"))
    spread = (right - LEFT) / len(names)
    for index, name in enumerate(names):
        x = LEFT + spread * index
        parts.append(tag("rect", x=f"{x:.1f}", y=HEIGHT - 17, width=10, height=10, class_=f"bar s{index}"))
        parts.append(tag("text", name, x=f"{x + 15:.1f}", y=HEIGHT - 8))
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)


def _y_axis(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    step = nice((high - low or 1.0) / 5)
    return Axis(step * (low // step), -step * (-high // step), HEIGHT - BOTTOM, TOP + 14)


def _frame(y_axis: Axis, right: float, y_label: str) -> list[Markup]:
    parts = [tag("text", y_label, x=4, y=TOP + 2)]
    for value, text in y_axis.ticks():
        y = f"{y_axis.at(value):.1f}"
        parts.append(tag("line", x1=LEFT, x2=f"{right:.1f}", y1=y, y2=y, class_="grid"))
        parts.append(tag("text", text, x=LEFT - 6, y=y, dy="0.32em", text_anchor="end"))
    return parts


def _apart(ends: list[float], gap: float = 15.0) -> list[float]:
    """Move labels down until none covers another."""
    placed: dict[int, float] = {}
    lowest = float("-inf")
    for index in sorted(range(len(ends)), key=lambda i: ends[i]):
        placed[index] = lowest = max(ends[index], lowest + gap)
    return [placed[i] for i in range(len(ends))]
