"""Results in benchmarks/results in, the plots of docs/results.md and docs/benchmarks.md out.

python benchmarks/plot.py
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.plots.draw import draw
from benchmarks.plots.panels import Plot
from benchmarks.plots.quality import suite_plot
from benchmarks.plots.speed import speed_plots
from benchmarks.quality_suites.page import read_results


def main(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("benchmarks/results"),
    out: Annotated[Path, typer.Option(help="Folder of the SVG files.")] = Path("docs/plots"),
) -> None:
    """Draw every plot anew; files of plots that are no more are removed."""
    paths = {draw(plot, out) for plot in all_plots(results)}
    for old in set(out.glob("*.svg")) - paths:
        old.unlink()
    typer.echo(f"{len(paths)} plots written to {out}")


def all_plots(results: Path) -> list[Plot]:
    """Those of every quality suite with results, and of the speed benchmarks."""
    return [suite_plot(suite, rows) for suite, rows, _ in read_results(results)] + speed_plots(results)


if __name__ == "__main__":
    typer.run(main)
