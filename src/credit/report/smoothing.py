"""Smoothing of logged values: a centred mean, which moves no peak in time."""

from __future__ import annotations

Points = list[tuple[float, float | None]]
"""(step, value); None is a value that was logged but is no number: the line breaks there."""

FEWEST = 15
"""Shorter series are not smoothed: there would be little left."""


def window(count: int) -> int:
    """Return how many values a mean is taken over for a series of `count`: odd, about a tenth; 0 is no smoothing."""
    return 0 if count < FEWEST else min(101, max(5, count // 10 | 1))


def smoothed(line: Points, size: int) -> Points:
    """Replace every value by the mean of the `size` values around it; at the ends and beside gaps, of the same
    number on both sides, as many as there are. Gaps stay gaps.
    """
    result: Points = []
    for piece in pieces(line):
        values = [y for _, y in piece]
        for i, (x, _) in enumerate(piece):
            half = min(size // 2, i, len(piece) - 1 - i)
            near = values[i - half : i + half + 1]
            result.append((x, sum(near) / len(near)))
        result.append((piece[-1][0], None))
    return result


def pieces(line: Points) -> list[list[tuple[float, float]]]:
    """Cut at every None; consecutive gaps make no empty piece."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in line:
        if y is None:
            found.append([])
        else:
            found[-1].append((x, y))
    return [piece for piece in found if piece]
