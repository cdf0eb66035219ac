"""Plots in, SVG files out: matplotlib's part. Text stays text, and the same plot gives the same file."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")  # no window, on no machine

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from benchmarks.plots.panels import BEST_OF_OURS, OTHER, OURS, Curves, Panel, Plot

COLOURS = {BEST_OF_OURS: "#1b6ca8", OURS: "#7fb2d9", OTHER: "#9aa5b1"}
GUIDES = ("#c1440e", "#3a7d44", "#7b4b94")
DIGEST = "crossrec-plot:"  # what stands before a plot's digest in its file
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "crossrec", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "legend.frameon": False, "figure.facecolor": "white",
}  # fmt: skip
_WIDTH, _LINE_HEIGHT, _CURVE_HEIGHT, _FRAME, _AXIS = 4.2, 0.21, 3.4, 1.2, 0.5  # inches


def draw(plot: Plot, folder: Path) -> Path:
    """Write ``folder/NAME.svg``."""
    columns = min(plot.columns, len(plot.panels))
    rows = [plot.panels[at : at + columns] for at in range(0, len(plot.panels), columns)]
    heights = [max(_height(panel) for panel in row) for row in rows]
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(
            len(rows), columns, figsize=(_WIDTH * columns, sum(heights)), height_ratios=heights, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axes, panel in zip(grid.flat, plot.panels, strict=False):
            _draw_curves(axes, panel) if isinstance(panel, Curves) else _draw_marks(axes, panel)
        for axes in grid.flat[len(plot.panels) :]:
            axes.set_visible(False)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{plot.name}.svg"
        about = {"Title": plot.caption, "Description": f"{DIGEST}{plot.digest}", "Date": None, "Creator": None}
        figure.savefig(path, metadata=about)
        plt.close(figure)
    return path


def draw_if_changed(plot: Plot, folder: Path) -> None:
    """Write the plot unless its file shows the same already."""
    if not is_current(plot, folder):
        draw(plot, folder)


def is_current(plot: Plot, folder: Path) -> bool:
    """Whether the plot's file is there and shows what the plot says."""
    path = folder / f"{plot.name}.svg"
    return path.is_file() and f"{DIGEST}{plot.digest}" in path.read_text(encoding="utf-8")


def _height(panel: Panel | Curves) -> float:
    """Inches: a line per mark, and title, axis and legend."""
    if isinstance(panel, Curves):
        return _CURVE_HEIGHT
    return _FRAME + _LINE_HEIGHT * max(len(panel.marks), 2) + 0.2 * len(panel.guides)


def _draw_marks(axes: Axes, panel: Panel) -> None:
    places = range(len(panel.marks))
    values = [mark.value for mark in panel.marks]
    colours = [COLOURS[mark.kind] for mark in panel.marks]
    if panel.bars:
        axes.barh(places, values, color=colours, height=0.72)
        for place, value in zip(places, values, strict=True):
            axes.annotate(f" {value:,.4g}", (value, place), va="center", fontsize=8)
        axes.set_xlim(0, 1.18 * max(*values, *panel.guides.values(), 0))
    else:
        for place, mark, colour in zip(places, panel.marks, colours, strict=True):
            if mark.low is not None and mark.high is not None:
                axes.plot([mark.low, mark.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot(mark.value, place, "o", color=colour, markersize=4.5)
        axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
    for (name, value), colour in zip(panel.guides.items(), GUIDES, strict=False):
        axes.axvline(value, color=colour, linestyle="--", linewidth=1.1, label=f"{name} {value:.4g}")
    axes.set_yticks(places, [mark.name for mark in panel.marks])
    axes.invert_yaxis()
    axes.set_title(panel.title)
    axes.set_xlabel(panel.axis)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if panel.guides:  # below the axis, where no mark is
        below = axes.transAxes + ScaledTranslation(0, -_AXIS, axes.figure.dpi_scale_trans)
        axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0)


def _draw_curves(axes: Axes, panel: Curves) -> None:
    colours = plt.get_cmap("tab20").colors
    seen = sorted({x for points in panel.lines.values() for x, _ in points})
    for number, (name, points) in enumerate(panel.lines.items()):
        xs = [x if panel.log else seen.index(x) for x, _ in points]
        axes.plot(xs, [y for _, y in points], marker="o", markersize=3, color=colours[number % 20], label=name)
    if panel.log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_xticks(range(len(seen)), [f"{x:g}" for x in seen])
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_axis)
    axes.set_ylabel(panel.y_axis)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
