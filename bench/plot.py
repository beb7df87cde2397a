"""Figures as SVG, without a library: panels side by side that share one vertical axis, each with lines or bars over a
few categories. A figure is for a page of text: white ground, legible at 100 %, colours that differ in lightness too."""

import math
from dataclasses import dataclass
from html import escape

COLOURS = ("#1b4f9c", "#e07b00", "#2f9e6e", "#8a3ffc")
HEIGHT, TOP, BOTTOM, LEFT, RIGHT, GAP = 330, 78, 58, 74, 14, 16
CURVES_WIDTH = 600
FONT = "font-family='sans-serif' font-size='12'"


@dataclass(frozen=True)
class Series:
    """`values` go with the panel's categories; None is left out. `tops`: a whisker up to there. `colour`: its number;
    a dashed series may share it with another one."""
    name: str
    values: tuple
    colour: int = 0
    dashed: bool = False
    tops: tuple = ()


@dataclass(frozen=True)
class Panel:
    title: str
    categories: tuple
    series: tuple


def figure(path, title, x_label, y_label, panels, bars=False, log=False):
    """Writes the figure; returns the path."""
    width = max(panel_width(panel, bars) for panel in panels)
    axis = Axis([v for s in all_series(panels) for v in (*s.values, *s.tops) if v is not None], bars, log)
    out = opening(title, x_label, y_label, panels, width, bars)
    for number, panel in enumerate(panels):
        left = LEFT + number * (width + GAP)
        out += frame(panel, left, width, axis, labelled=number == 0)
        out += draw_bars(panel, left, width, axis) if bars else draw_lines(panel, left, width, axis)
    return write(path, out)


def curves(path, title, x_label, y_label, panels):
    """The same with numbers on both axes, both logarithmic: series have pairs (x, y), panels no categories."""
    points = [point for s in all_series(panels) for point in s.values]
    across, axis = Axis([x for x, _ in points], log=True), Axis([y for _, y in points], log=True)
    out = opening(title, x_label, y_label, panels, CURVES_WIDTH, bars=False)
    for number, panel in enumerate(panels):
        left = LEFT + number * (CURVES_WIDTH + GAP)
        out += frame(panel, left, CURVES_WIDTH, axis, labelled=number == 0)
        for tick in across.ticks:
            x = left + across.share(tick) * CURVES_WIDTH
            out += [line(x, TOP, x, HEIGHT - BOTTOM, "#dddddd"), text(x, HEIGHT - BOTTOM + 16, f"{tick:,.10g}")]
        for s in panel.series:
            out += draw_line(s, [(left + across.share(x) * CURVES_WIDTH, axis.place(y)) for x, y in s.values])
    return write(path, out)


def all_series(panels):
    return [s for panel in panels for s in panel.series]


def opening(title, x_label, y_label, panels, width, bars):
    """What stands around panels of that width."""
    needed = max(20 + 9 * len(title), sum(legend_width(s) for s in panels[0].series))
    total = max(LEFT + len(panels) * (width + GAP) + RIGHT, needed)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return [f"<svg xmlns='http://www.w3.org/2000/svg' width='{total}' height='{HEIGHT}' {FONT}>",
            f"<title>{escape(title)}</title><rect width='100%' height='100%' fill='white'/>",
            text(10, 20, title, "start", "font-weight='bold' font-size='14'"), legend(panels[0].series, bars),
            f"<text transform='translate(16,{middle}) rotate(-90)' text-anchor='middle'>{escape(y_label)}</text>",
            text(LEFT + len(panels) * (width + GAP) / 2, HEIGHT - 10, x_label)]


def write(path, out):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*out, "</svg>"]) + "\n")
    return path


def panel_width(panel, bars):
    slot = max(7 * max(len(str(category)) for category in panel.categories) + 10, 40)
    slot = max(slot, 12 * len(panel.series) + 12) if bars else slot
    return max(150, 7 * len(panel.title), len(panel.categories) * slot)


def legend_width(series):
    return 48 + 7 * len(series.name)


class Axis:
    """Values to vertical places, and the ticks between."""

    def __init__(self, values, bars=False, log=False):
        top = max(values)
        self.log = log
        if log:
            self.low, self.high = math.floor(math.log10(min(values))), math.ceil(math.log10(top))
            self.high = max(self.high, self.low + 1)
            self.ticks = [10.0 ** e for e in range(self.low, self.high + 1)]
            return
        step = 10.0 ** math.floor(math.log10(top))
        step = next(step * f for f in (0.1, 0.2, 0.25, 0.5, 1, 2) if top / (step * f) <= 6)
        self.low, self.high = 0, math.ceil(top / step) * step
        self.ticks = [step * i for i in range(round(self.high / step) + 1)]

    def share(self, value):
        """0 for the lowest, 1 for the highest value."""
        return ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)

    def place(self, value):
        return HEIGHT - BOTTOM - self.share(value) * (HEIGHT - BOTTOM - TOP)


def text(x, y, what, anchor="middle", more=""):
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {more}>{escape(what)}</text>"


def line(x1, y1, x2, y2, colour, more=""):
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' {more}/>"


def dashes(series):
    return "stroke-dasharray='5 4'" if series.dashed else ""


def legend(series, bars):
    out, x = [], 12
    for s in series:
        colour = COLOURS[s.colour]
        out.append(f"<rect x='{x}' y='33' width='18' height='10' fill='{colour}'/>" if bars else
                   line(x, 38, x + 22, 38, colour, f"stroke-width='2' {dashes(s)}"))
        out.append(text(x + 27, 42, s.name, "start"))
        x += legend_width(s)
    return "".join(out)


def frame(panel, left, width, axis, labelled):
    out = [text(left + width / 2, TOP - 10, panel.title)]
    for tick in axis.ticks:
        y = axis.place(tick)
        out.append(line(left, y, left + width, y, "#dddddd"))
        if labelled:
            out.append(text(left - 6, y + 4, f"{tick:,.10g}", "end"))
    for i, category in enumerate(panel.categories):
        out.append(text(left + (i + 0.5) * width / len(panel.categories), HEIGHT - BOTTOM + 16, str(category)))
    out.append(line(left, HEIGHT - BOTTOM, left + width, HEIGHT - BOTTOM, "black"))
    return out


def draw_lines(panel, left, width, axis):
    slot = width / len(panel.categories)
    for s in panel.series:
        yield from draw_line(s, [(left + (i + 0.5) * slot, axis.place(v)) for i, v in enumerate(s.values)
                                 if v is not None])


def draw_line(series, points):
    colour = COLOURS[series.colour]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2' {dashes(series)}/>"
    yield from (f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in points)


def draw_bars(panel, left, width, axis):
    slot = width / len(panel.categories)
    bar = (slot - 12) / len(panel.series)
    for n, s in enumerate(panel.series):
        for i, value in enumerate(s.values):
            if value is None:
                continue
            x, y = left + i * slot + 6 + n * bar, axis.place(value)
            yield (f"<rect x='{x:.1f}' y='{y:.1f}' width='{bar - 1:.1f}' height='{HEIGHT - BOTTOM - y:.1f}' "
                   f"fill='{COLOURS[s.colour]}'/>")
            if s.tops:
                yield line(x + bar / 2, y, x + bar / 2, axis.place(s.tops[i]), "black")
