"""Plots as SVG, written by hand: bars that are stacked, and lines over logarithmic axes. Readable on light and dark ground."""

import math
from dataclasses import dataclass
from html import escape

COLOURS = ["#2f7ed8", "#d9822b", "#3d9970", "#b0413e", "#7b5ea7", "#8a8a8a"]
STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#6b7280}.title{font-size:14px;font-weight:600}"
    ".grid{stroke:#9ca3af;stroke-opacity:.3}.axis{stroke:#9ca3af}</style>"
)


@dataclass
class Bar:
    label: str
    """Parts, from the left; one colour each."""
    parts: list[float]
    note: str


@dataclass
class Line:
    label: str
    points: list[tuple[float, float]]


def svg(width: int, height: int, body: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([head, STYLE, *body, "</svg>\n"])


def text(x: float, y: float, words: str, anchor: str = "start", of_class: str = "") -> str:
    kind = f' class="{of_class}"' if of_class else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def bars(title: str, parts: list[str], rows: list[Bar], top: int = 0) -> tuple[list[str], int]:
    """A panel of bars from `top` down, and where it ends."""
    left, width, step = 250, 430, 24
    longest = max(sum(row.parts) for row in rows)
    out = [text(8, top + 20, title, of_class="title")]
    x = left
    if len(parts) > 1:
        for colour, part in zip(COLOURS, parts):
            out.append(f'<rect x="{x}" y="{top + 32}" width="10" height="10" fill="{colour}"/>')
            out.append(text(x + 15, top + 41, part))
            x += 30 + 8 * len(part)
        top += 16
    for number, row in enumerate(rows):
        y = top + 36 + number * step
        out.append(text(left - 8, y + 13, row.label, "end"))
        x = float(left)
        for colour, part in zip(COLOURS, row.parts):
            length = part / longest * width
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{max(length, 0.5):.1f}" height="16" fill="{colour}"/>')
            x += length
        out.append(text(x + 6, y + 13, row.note))
    return out, top + 36 + len(rows) * step + 12


def bar_chart(panels: list[tuple[str, list[str], list[Bar]]]) -> str:
    body, top = [], 0
    for title, parts, rows in panels:
        drawn, top = bars(title, parts, rows, top)
        body += drawn
    return svg(820, top, body)


def line_panel(title: str, x_title: str, lines: list[Line], top: int, log_y: bool) -> tuple[list[str], int]:
    """A panel of lines over a logarithmic x axis, from `top` down, and where it ends."""
    left, right, height = 70, 560, 200
    floor = top + 40 + height
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    low_x, high_x = math.log10(min(xs)), math.log10(max(xs))
    if log_y:
        low_y, high_y = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
        marks = [10.0**power for power in range(low_y, high_y + 1)]
    else:
        low_y, high_y = 0.0, max(ys) * 1.1
        step = 10 ** math.floor(math.log10(high_y))
        step = step / 2 if high_y / step < 3 else step
        marks = [step * n for n in range(int(high_y / step) + 1)]

    def place(x: float, y: float) -> tuple[float, float]:
        y = math.log10(y) if log_y else y
        across = (math.log10(x) - low_x) / max(high_x - low_x, 1e-9)
        return left + across * (right - left), floor - (y - low_y) / (high_y - low_y) * height

    out = [text(8, top + 20, title, of_class="title")]
    for mark in marks:
        y = place(min(xs), mark)[1]
        out.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        out.append(text(left - 6, y + 4, f"{mark:,.4g}", "end"))
    for x in sorted(set(xs)):
        across = place(x, marks[-1])[0]
        out.append(f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{floor}" y2="{floor + 4}" class="axis"/>')
        out.append(text(across, floor + 18, f"{x:,.0f}", "middle"))
    out.append(text((left + right) / 2, floor + 36, x_title, "middle"))
    for colour, line in zip(COLOURS, lines):
        spots = [place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
    for number, (colour, line) in enumerate(zip(COLOURS, lines)):
        y = top + 52 + number * 18
        out.append(f'<rect x="{right + 20}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        out.append(text(right + 36, y, line.label))
    return out, floor + 52


def line_chart(panels: list[tuple[str, str, list[Line], bool]]) -> str:
    body, top = [], 0
    for title, x_title, lines, log_y in panels:
        drawn, top = line_panel(title, x_title, lines, top, log_y)
        body += drawn
    return svg(820, top, body)
