"""Whose lists the guard's choices make, and what its rule leaves of transfer."""

from datetime import date

from benchmarks.quality_suites.guarded import SERVED, read_transfer, with_chosen
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.lake import Lake
from jobs.steps import Night
from tests.benchmarks.made_values import make_values


def test_each_user_is_served_by_the_model_that_the_guard_chose_for_their_segment():
    values = make_values(
        ("m", "a", "u", "warm", 0.1), ("k", "a", "u", "warm", 0.2), ("m", "a", "u", "known_items", 0.3),
        ("k", "a", "u", "known_items", 0.4), ("m", "a", "v", "cold_in_domain", 0.5),
        ("k", "a", "v", "cold_in_domain", 0.6), ("m", "b", "u", "warm", 0.7),
    )  # fmt: skip
    found = with_chosen(values, {"a": {"all": "m", "warm": "k"}, "b": {"all": "m"}}, SERVED)
    served = found[found["model"] == "served"]
    assert sorted(served["value"]) == [0.2, 0.4, 0.5, 0.7]
    assert len(found) == len(values) + 4
    assert len(with_chosen(values, {}, SERVED)) == len(values)


def report_row(domain, segment, difference, *, half_width, num_users=200, **other):
    row = {
        "run_id": "r1", "purpose": "validate", "domain": domain, "segment": segment, "model": "transferred",
        "baseline": "target_only", "metric": "ndcg", "n": 10, "value": 0.1 + difference, "baseline_value": 0.1,
        "difference": difference, "ci_low": difference - half_width, "ci_high": difference + half_width,
        "num_users": num_users, "decision": "crossrec", "reason": "made up",
    }  # fmt: skip
    return {**row, **other}


def test_transfer_stays_where_validation_puts_it_a_standard_error_above(tmp_path):
    night = Night("r1", date(2024, 7, 1), Lake(str(tmp_path / "lake")))
    rows = [
        report_row("a", "all", 0.010, half_width=0.0195),  # a standard error is 1 / 1.96 of it: .00995
        report_row("a", "warm", 0.009, half_width=0.0195),
        report_row("a", "new", 0.030, half_width=0.001, num_users=99),
        report_row("b", "all", -0.010, half_width=0.001),
        report_row("c", "all", -0.010, half_width=0.001, purpose="backtest"),
        report_row("c", "all", -0.010, half_width=0.001, n=5),
        report_row("c", "all", 0.020, half_width=0.001),
        report_row("c", "all", -0.010, half_width=0.001, baseline="markov"),
        report_row("c", "known_items", -0.010, half_width=0.001),
    ]
    write_rows(night.lake, t.TRANSFER_REPORT, rows, replace={"run_id": "r1"})
    (tmp_path / "own.toml").write_text('[domains.a]\npath = "a.csv"\n')
    assert read_transfer(night, read_config(tmp_path / "own.toml")) == {
        "a": {"all": "transferred", "warm": "target_only"}, "b": {"all": "target_only"}, "c": {"all": "transferred"},
    }  # fmt: skip
