"""A matplotlib figure as one inline SVG element: text stays text, and the page's style sheet sets the colours.

matplotlib writes style attributes, identifiers and references between them. Here they become plain attributes, which
show the light colours even where no style sheet is, and classes, which a style sheet can colour for dark pages and
print. Nothing is left that could collide with another figure of the page, or refer to anything.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

COLOURS = {
    "a": "#1f6fb5", "b": "#b85c00", "c": "#5f7f2f", "d": "#8a4fa3",
    "ink": "#1c2024", "soft": "#5d666f", "rule": "#dfe2e4", "page": "#fdfdfc",
}  # fmt: skip
"""Name of each colour in `style.html`, and its light value."""

GROUP = "credit:"
"""A matplotlib artist with the gid `credit:NAME` becomes a group with the class NAME."""

_NAMES = {value: name for name, value in COLOURS.items()}
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "credit",
    "text.parse_math": False,  # a dollar sign in the name of a family is a dollar sign
    "axes.unicode_minus": True,
    "font.size": 11,
}
_KEPT = (
    "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "stroke-opacity", "opacity", "text-anchor",
)  # fmt: skip


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with our settings, whatever the user's matplotlibrc says, and leave matplotlib's own as they were."""
    from matplotlib.style import context

    with context(["default", _SETTINGS]), warnings.catch_warnings():
        # The browser brings the fonts: that matplotlib's own lacks a letter does not matter.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        yield


def as_svg(figure: Any, title: str, notes: Mapping[str, Sequence[str]]) -> Markup:
    """Return the figure as an `<svg>` element.

    Args:
        figure: a `matplotlib.figure.Figure` whose size is in units of 1/72 inch; one unit becomes one CSS pixel.
        title: what the figure shows, numbers in words; read out by screen readers.
        notes: for a group NAME, what its shapes say when pointed at, in the order they were drawn.
    """
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    source = ElementTree.fromstring(written.getvalue())
    outlines = {child.attrib["id"]: child.attrib["d"] for child in source.iter() if {"id", "d"} <= set(child.keys())}
    attributes = {"viewBox": source.attrib["viewBox"], "font-family": "sans-serif", "role": "img", "aria-label": title}
    root = ElementTree.Element("svg", attributes)
    _copy(source, root, outlines, {name: iter(said) for name, said in notes.items()})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def standalone(svg: Markup) -> str:
    """Return a figure as the text of an .svg file that needs no style sheet; it is light, with a background."""
    start, rest = str(svg).split(">", 1)
    _, _, width, height = re.findall(r"[\d.]+", start.split("viewBox=")[1])[:4]
    background = f'<rect width="100%" height="100%" fill="{COLOURS["page"]}" />'
    return f'{start} xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{background}{rest}\n'


def _copy(source: Any, target: Any, outlines: Mapping[str, str], notes: Mapping[str, Iterator[str]]) -> None:
    for child in source:
        kind, inside = _kind(child), target
        if kind == "g":
            name = child.get("id", "")
            if name.startswith(GROUP):
                inside = ElementTree.SubElement(target, "g", {"class": name.removeprefix(GROUP)})
            _copy(child, inside, outlines, notes)
        elif kind in ("path", "use", "text"):
            shape = ElementTree.SubElement(target, "circle" if kind == "use" else kind, _look(child))
            if kind == "path":
                shape.set("d", " ".join(_rounded(child.attrib["d"]).split()))
            elif kind == "use":  # of a marker; the only ones drawn are circles, from their lowest point on
                place = {"cx": child.attrib["x"], "cy": child.attrib["y"], "r": outlines[_reference(child)].split()[2]}
                shape.attrib.update({key: _rounded(value) for key, value in place.items()})
            else:
                shape.text = child.text
                shape.attrib.update({key: _rounded(child.attrib[key]) for key in ("x", "y")})
            if (said := next(notes.get(target.get("class", ""), iter(())), None)) is not None:
                ElementTree.SubElement(shape, "title").text = said


def _look(element: Any) -> dict[str, str]:
    """Return the element's style as attributes and colour classes."""
    style = dict(part.split(": ", 1) for part in element.get("style", "").split("; ") if ": " in part)
    look, classes = {}, []
    for name, short in (("fill", "f"), ("stroke", "k")):
        colour = style.get(name, COLOURS["ink"] if (name, _kind(element)) == ("fill", "text") else "none")
        look[name] = colour
        if colour in _NAMES:
            classes.append(f"{short}-{_NAMES[colour]}")
    if size := re.search(r"([\d.]+)px", style.get("font", style.get("font-size", ""))):
        look["font-size"] = size[1]
    look |= {name: _rounded(style[name]) for name in _KEPT if name in style}
    return {"class": " ".join(classes), **look} if classes else look


def _rounded(text: str) -> str:
    """Cut decimals nobody can see, so that the last digit of a sum does not change a file."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), 1) + 0.0:g}", text)


def _kind(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _reference(element: Any) -> str:
    return next(value for key, value in element.attrib.items() if key.endswith("href"))[1:]
