"""How every chart of a report looks, in the page and as a file of its own."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = {"teacher": "teacher", "baseline": "student, labels only", "kd": "student, distilled"}
# In a file these colours stand; in the page the variables of style.css that are called the same.
INK = {
    "teacher": "#6e7781",
    "baseline": "#c95b00",
    "kd": "#0072b2",
    "line": "#d8dee4",
    "muted": "#59636e",
    "ink": "#1f2328",
}
MARKERS = {"teacher": "^", "baseline": "s", "kd": "o"}
DASHES: dict[str, Literal["-", "--"]] = {"teacher": "--", "baseline": "-", "kd": "-"}
SIZE = (4.6, 2.9)  # inches, of most charts
DPI = 200
_TAG = re.compile(r"<[^>]*>")  # matplotlib escapes "<" in text and ">" in attributes


@dataclass(frozen=True)
class Chart:
    """A chart, and the same in words and numbers for who does not see it.

    Attributes:
        name: of its files, without the suffix: letters, digits, "_", "-".
        title, note: what it is, in a few words; how to read it.
        said: what it shows, in words.
        headings, lines: its numbers as a table.
        roles: whose lines or dots it has, of `ROLES`.
        draw: makes the figure, without title and legend.
    """

    name: str
    title: str
    note: str
    said: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    roles: Sequence[str]
    draw: Callable[[], Figure]


@contextmanager
def our_style() -> Iterator[None]:
    """Inside, figures are drawn and saved alike, whatever a matplotlibrc says."""
    import matplotlib

    muted = INK["muted"]
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a class may be named in any script
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kdrecipes", "font.size": 9})
        matplotlib.rcParams.update({"text.color": INK["ink"], "axes.labelcolor": muted})
        matplotlib.rcParams.update({"xtick.color": muted, "ytick.color": muted})
        yield


def empty_figure(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    """A figure and its one pair of axes; `size` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def quiet(axes: Axes, lines: str = "y") -> None:
    """Take away all of the axes that is no figure; `lines`: along which axis faint lines help to read it."""
    axes.tick_params(which="both", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis=lines, color=INK["line"], linewidth=0.7)  # type: ignore[arg-type]
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(INK["line"])


def logarithmic(axes: Axes, low: float, high: float) -> None:
    """Make the horizontal axis logarithmic, with plain numbers such as 1, 2, 5, 10 between `low` and `high`."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def unit_above(axes: Axes, unit: str) -> None:
    """Say the unit of the vertical axis at its upper end, where nobody has to turn their head."""
    axes.set_ylabel(unit, rotation=0, horizontalalignment="right", y=1.0, verticalalignment="top")


def in_page(chart: Chart) -> Markup:
    """The chart as it stands in a page: as wide as its place, ids of its own, colours of the page."""

    def adapt(match: re.Match[str]) -> str:
        tag = re.sub(r'\bid="|url\(#|href="#', lambda found: f"{found[0]}{chart.name}-", match[0])
        if tag.startswith("<svg"):
            tag = re.sub(r'\s(xmlns(:\w+)?|width|height|version)="[^"]*"', "", tag)
            tag = tag.replace("<svg", '<svg aria-hidden="true"', 1)
        for name, colour in INK.items():
            tag = tag.replace(colour, f"rgb(var(--{name}))")
        return tag

    with our_style():
        text = _saved(chart.draw(), "svg", transparent=True).decode()
    return Markup(_TAG.sub(adapt, text[text.index("<svg") :]))


def files_of(chart: Chart) -> dict[str, bytes]:
    """The chart as files by name, SVG and PNG: with its title and a legend, on white."""
    with our_style():
        figure = chart.draw()
        figure.suptitle(chart.title, fontsize=10, parse_math=False)
        if len(chart.roles) > 1:
            figure.legend(handles=_keys(chart.roles), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        svg = _saved(figure, "svg", facecolor="white")
        figure.set_layout_engine("none")  # what was found for the one holds for the other
        return {f"{chart.name}.svg": svg, f"{chart.name}.png": _saved(figure, "png", facecolor="white")}


def _keys(roles: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=INK[role], linestyle=DASHES[role], marker=MARKERS[role], markersize=4, label=ROLES[role])
        for role in roles
    ]


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type") if kind == "svg" else ("Software",))
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI if kind == "png" else "figure", metadata=nothing, **options)
    return buffer.getvalue()
