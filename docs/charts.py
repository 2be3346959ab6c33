"""Pictures as SVG, in the colours of the page, which is light or dark: curves that fall, spectra, contours.

All curves have the same axes, so that two of them can be laid side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# Gradients of all examples that a curve spans.
BUDGET = 100
# It is drawn between these decades of what it had to fall.
TOP, BOTTOM = 1, -8
WIDTH, HEIGHT, LEFT, RIGHT, BELOW = 320, 200, 42, 14, 34

Curve = tuple[list[float], list[float]]


def framed(title: str, parts: Sequence[str], height: float = HEIGHT) -> str:
    """Return a picture with its title for those who do not see it."""
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>{"".join(parts)}</svg>'


def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    """Return a text in a picture."""
    return f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}">{text}</text>'


def power(decade: int) -> str:
    """Return a power of ten as it is written."""
    return "1" if decade == 0 else f'10<tspan dy="-4" font-size="8">{decade}</tspan>'


def place(at: float, left: float, reach: float = BUDGET) -> tuple[float, float]:
    """Return where a point stands in the picture."""
    decade = min(max(math.log10(left) if left > 0 else BOTTOM, BOTTOM), TOP)
    x = LEFT + (WIDTH - LEFT - RIGHT) * min(at, reach) / reach
    return round(x, 1), round(8 + (HEIGHT - BELOW - 8) * (TOP - decade) / (TOP - BOTTOM), 1)


def axes(reach: float, unit: str) -> list[str]:
    """Return decades to the left and a linear scale below."""
    parts = []
    for decade in range(TOP - 1, BOTTOM - 1, -2):
        _, y = place(0, 10.0**decade)
        parts += [
            f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>',
            label(LEFT - 5, y + 4, power(decade), "end"),
        ]
    for quarter in range(5):
        x, y = place(reach * quarter / 4, 10.0**BOTTOM, reach)
        parts.append(label(x, y + 14, f"{reach * quarter / 4:g}"))
    return [*parts, label((LEFT + WIDTH) / 2, HEIGHT - 4, unit)]


def falling(
    curves: Sequence[Curve], title: str, reach: float = BUDGET, unit: str = "gradient equivalents"
) -> str:
    """Return curves in their axes, of one colour each.

    Parameters
    ----------
    curves : sequence of (places, values)
        Values are drawn in decades; what lies beyond `reach` is left out.
    title : str
    reach : float
        Where the scale below ends.
    unit : str
        What it counts.
    """
    parts = axes(reach, unit)
    for i, curve in enumerate(curves):
        points = [place(a, v, reach) for a, v in zip(*curve) if math.isfinite(v) and a <= reach]
        parts.append(f'<polyline class="c{i}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>')
    return framed(title, parts)


def spectrum(eigenvalues: Sequence[float], title: str) -> str:
    """Return eigenvalues in descending order of size, in decades of the largest; negative ones are hollow."""
    ordered = sorted(eigenvalues, key=abs, reverse=True)
    most, n = abs(ordered[0]), len(ordered)
    parts = axes(n, "eigenvalues, the largest first")
    for i, value in enumerate(ordered):
        x, y = place(i + 0.5, abs(value) / most, n)
        parts.append(f'<circle class="{"minus" if value < 0 else "plus"}" cx="{x}" cy="{y}" r="2.5"/>')
    return framed(title, parts)


def contours(
    lines: Sequence[Sequence[tuple[float, float]]],
    marks: Mapping[str, tuple[float, float]],
    box: tuple[float, float, float, float],
    title: str,
) -> str:
    """Return level lines in the box (x from, to, y from, to), with marked points."""
    low, high, below, above = box

    def at(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (WIDTH - LEFT - RIGHT) * (x - low) / (high - low)
        return round(right, 1), round(8 + (HEIGHT - BELOW - 8) * (above - y) / (above - below), 1)

    parts = []
    for line in lines:
        parts.append(f'<polyline class="level" points="{" ".join("{},{}".format(*at(*p)) for p in line)}"/>')
    for i, (name, point) in enumerate(marks.items()):
        x, y = at(*point)
        parts += [f'<circle class="mark{i}" cx="{x}" cy="{y}" r="3.5"/>', label(x + 6, y - 5, name, "start")]
    for share in (0.0, 0.5, 1.0):
        x, y = low + share * (high - low), below + share * (above - below)
        parts += [
            label(at(x, 0)[0], HEIGHT - BELOW + 14, f"{x:g}"),
            label(LEFT - 5, at(0, y)[1] + 4, f"{y:g}", "end"),
        ]
    return framed(title, [*parts, label((LEFT + WIDTH) / 2, HEIGHT - 4, "the two unknowns")])


def dots(rows: Mapping[str, Sequence[float | None]], series: Sequence[str], title: str, unit: str) -> str:
    """Return a line for each row with a mark for each series, on a logarithmic scale; None has no mark.

    Parameters
    ----------
    rows : dict of str to values
        As many values as there are series, positive.
    series : sequence of str
        Named above the picture, where there are several.
    title, unit : str
    """
    values = [v for found in rows.values() for v in found if v is not None]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    left, top, line = 118, 8 + 14 * (len(series) if len(series) > 1 else 0), 15
    bottom = top + line * len(rows)

    def across(value: float) -> float:
        return round(left + (WIDTH - left - RIGHT) * (math.log10(value) - low) / (high - low), 1)

    parts = []
    for i, name in enumerate(series if len(series) > 1 else ()):
        parts += [mark(i, left, 10 + 14 * i), label(left + 9, 14 + 14 * i, name, "start")]
    for decade in range(low, high + 1):
        x = across(10.0**decade)
        parts += [f'<path class="grid" d="M{x} {top}V{bottom}"/>', label(x, bottom + 14, power(decade))]
    for k, (name, found) in enumerate(rows.items()):
        y = top + line * (k + 0.5)
        words = name if len(name) < 22 else name[:20] + "…"
        parts += [
            f'<path class="grid" d="M{left} {y}H{WIDTH - RIGHT}"/>',
            label(left - 5, y + 4, words, "end"),
        ]
        parts += [mark(i, across(v), y) for i, v in enumerate(found) if v is not None]
    return framed(title, [*parts, label((left + WIDTH) / 2, bottom + 30, shorter(unit))], bottom + 36)


def shorter(unit: str) -> str:
    """Return what fits below a picture: the words before the first comma or semicolon."""
    return unit.replace(";", ",").partition(",")[0]


def mark(i: int, x: float, y: float) -> str:
    """Return the i-th kind of mark, by shape and colour."""
    shapes = (
        "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0",
        "M-3 -3H3V3H-3Z",
        "M0 -4L4 3H-4Z",
        "M0 -4.5L4.5 0L0 4.5L-4.5 0Z",
    )
    return (
        f'<path class="dot d{i % len(shapes)}" d="{shapes[i % len(shapes)]}" transform="translate({x} {y})"/>'
    )


def figure(picture: str, words: str) -> str:
    """Return a picture with what stands under it, in HTML."""
    return f"<figure>{picture}<figcaption>{words}</figcaption></figure>"


def shown(figures: Sequence[str]) -> list[str]:
    """Return figures as HTML in a page."""
    return [".. raw:: html", "", f'   <div class="curves">{"".join(figures)}</div>', ""]
