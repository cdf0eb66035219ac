"""What the plots show is what the results say, and the committed ones are of the committed results."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.plot import all_plots
from benchmarks.plots.draw import draw, draw_if_changed, is_current
from benchmarks.plots.panels import BEST_OF_OURS, OTHER, OURS, Curves, Mark, Panel, Plot
from benchmarks.plots.quality import suite_plot
from benchmarks.plots.speed import prepare
from benchmarks.quality_suites.suite import Figure, Suite

ROOT = Path(__file__).resolve().parents[2]
BARS = Panel(title="speed", axis="rows per second", marks=[Mark("crossrec", 3.0), Mark("a peer", 1.0)], bars=True)
POINTS = Panel(
    title="quality", axis="ndcg@10", marks=[Mark("crossrec", 0.3, 0.2, 0.4), Mark("markov", 0.1)], guides={"goal": 0.35}
)
CURVES = Curves(title="growth", x_axis="rows", y_axis="seconds", lines={"crossrec": [(1, 2), (10, 20)]}, log=True)
PLOT = Plot(name="made", caption="made up", panels=[BARS, POINTS, CURVES], columns=2)


def row(model: str, value: float, **changed: object) -> dict[str, object]:
    return {
        "suite": "made", "domain": "a", "segment": "all", "model": model, "metric": "ndcg", "n": 10, "value": value,
        "ci_low": value - 0.01, "ci_high": value + 0.01, "num_users": 1200,
    } | changed  # fmt: skip


def suite(**changed: object) -> Suite:
    return dataclasses.replace(Suite(name="made", title="made up", protocol="none", metrics=["ndcg@10"]), **changed)


def test_a_panel_has_the_models_best_first_with_intervals_and_the_best_published_figure():
    published = [Figure(model=name, metric="ndcg@10", values={"a": value}) for name, value in (("X", 0.1), ("Y", 0.25))]
    goals = [Figure(model="crossrec", metric="ndcg@10", values={"a": 0.3, "b": 0.9})]
    rows = [row("markov", 0.2), row("served", 0.3), row("crossrec", 0.4), row("crossrec", 0.5, metric="hr")]
    (panel,) = suite_plot(suite(published=published, goals=goals), rows).panels
    assert isinstance(panel, Panel)
    assert list(panel.marks) == [
        Mark("crossrec", 0.4, 0.4 - 0.01, 0.4 + 0.01, BEST_OF_OURS),
        Mark("served", 0.3, 0.3 - 0.01, 0.3 + 0.01, OURS),
        Mark("markov", 0.2, 0.2 - 0.01, 0.2 + 0.01, OTHER),
    ]
    assert panel.guides == {"goal": 0.3, "best published": 0.25}
    assert panel.title == "a\n1,200 users"
    assert panel.axis == "ndcg@10"


def test_tables_and_segments_have_panels_of_their_own_and_figures_stay_in_the_suites_table():
    goals = [Figure(model="crossrec", metric="ndcg@10", values={"a": 0.3})]
    rows = [row("crossrec", 0.4), row("crossrec", 0.3, suite="made/shuffled"), row("crossrec", 0.2, segment="warm")]
    panels = suite_plot(suite(goals=goals), rows).panels
    assert [panel.title for panel in panels] == [
        "a\n1,200 users", "shuffled, a\n1,200 users", "a, warm\n1,200 users"
    ]  # fmt: skip
    assert [bool(panel.guides) for panel in panels if isinstance(panel, Panel)] == [True, False, False]


def test_pooled_domains_are_shown_as_their_pool():
    rows = [row("crossrec", 0.4, domain=domain) for domain in ("a", "b", "a + b")]
    panels = suite_plot(suite(pools={"a + b": ["a", "b"]}), rows).panels
    assert [panel.title for panel in panels] == ["a + b\n1,200 users"]


def test_of_a_loss_the_lowest_comes_first_and_of_click_metrics_those_that_judge_are_shown():
    rows = [
        row(model, value, metric=metric, n=0, domain="all")
        for metric in ("click_log_loss", "click_auc", "click_recall")
        for model, value in (("crossrec", 0.6), ("best_constant", 0.5))
    ]
    panels = suite_plot(suite(metrics=["click_log_loss", "click_auc"]), rows).panels
    assert [panel.axis for panel in panels if isinstance(panel, Panel)] == [
        "click_log_loss, lower is better", "click_auc"
    ]  # fmt: skip
    assert [[mark.name for mark in panel.marks] for panel in panels if isinstance(panel, Panel)] == [
        ["best_constant", "crossrec"], ["crossrec", "best_constant"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "names", "title"),
    [("segment", ("k=8", "all", "k=0"), "made, a"), ("suite", ("made/k_8", "made", "made/k_0"), "a, all")],
)
def test_values_by_what_was_known_are_curves(key, names, title):
    rows = [row("crossrec", value, **{key: name}) for name, value in zip(names, (0.3, 0.9, 0.1), strict=True)]
    (panel,) = suite_plot(suite(), rows).panels
    assert isinstance(panel, Curves)
    assert panel.title == title
    assert panel.lines == {"crossrec": [(0.0, 0.1), (8.0, 0.3)]}


def test_prepare_is_a_curve_once_there_are_two_sizes():
    runs = [{"rows": rows, "results": {"crossrec": {"median_s": rows / 2}}} for rows in (10, 40)]
    (bars,) = prepare(lambda name: {"runs": runs[:1]}).panels
    (curve,) = prepare(lambda name: {"runs": runs}).panels
    assert isinstance(bars, Panel)
    assert list(bars.marks) == [Mark("crossrec", 5.0, kind=BEST_OF_OURS)]
    assert isinstance(curve, Curves)
    assert curve.lines == {"crossrec": [(10, 5.0), (40, 20.0)]}


def test_the_same_plot_gives_the_same_file_which_names_all_that_is_shown(tmp_path):
    first, second = (draw(PLOT, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text(encoding="utf-8")
    for name in ("crossrec", "a peer", "markov", "rows per second", "ndcg@10", "goal 0.35", "growth", "made up"):
        assert f">{name}<" in text or f">{name} <" in text, name


def test_a_plot_is_drawn_again_when_what_it_shows_has_changed_and_only_then(tmp_path):
    draw_if_changed(PLOT, tmp_path)
    path = tmp_path / "made.svg"
    path.write_text(path.read_text(encoding="utf-8") + "<!-- kept -->", encoding="utf-8")
    draw_if_changed(PLOT, tmp_path)
    assert path.read_text(encoding="utf-8").endswith("<!-- kept -->")
    changed = dataclasses.replace(PLOT, panels=[dataclasses.replace(BARS, title="another")])
    assert not is_current(changed, tmp_path)
    draw_if_changed(changed, tmp_path)
    assert is_current(changed, tmp_path)


def test_the_committed_plots_are_those_of_the_committed_results_and_a_page_shows_each():
    plots = all_plots(ROOT / "benchmarks" / "results")
    pages = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("results.md", "benchmarks.md"))
    assert [plot.name for plot in plots if not is_current(plot, ROOT / "docs" / "plots")] == [], "run: make plots"
    assert [plot.name for plot in plots if f"(plots/{plot.name}.svg)" not in pages] == []
    assert {path.stem for path in (ROOT / "docs" / "plots").glob("*.svg")} == {plot.name for plot in plots}
