"""What the page says of a suite that is not finished."""

from dataclasses import replace
from itertools import product

from benchmarks.quality_suites.coverage import coverage_notes, is_complete, num_finished
from benchmarks.quality_suites.suite import Part, Suite

CUTS = [f"2024-0{month}-01" for month in range(1, 7)]
SUITE = Suite(
    name="made", title="made up", protocol="none", cuts=CUTS, seeds=[1, 2, 3],
    parts=[Part(name="main"), Part(name="control"), Part(name="extra")],
)  # fmt: skip


def nights(parts, cuts, seeds):
    return [{"part": part, "cut": cut, "seed": seed} for part, cut, seed in product(parts, cuts, seeds)]


def test_a_finished_suite_has_nothing_missing():
    found = nights(["main", "control", "extra"], CUTS, [1, 2, 3])
    assert is_complete(SUITE, found)
    assert list(coverage_notes(SUITE, found)) == [
        "Seeds 1, 2, 3; a user's measure is the mean over them, intervals are over users.",
        f"Cuts: {', '.join(CUTS)}.",
    ]
    assert not is_complete(SUITE, found[1:])


def test_missing_cuts_parts_and_seeds_are_counted():
    found = nights(["main"], CUTS[:4], [1]) + nights(["main"], CUTS[:1], [2]) + nights(["control"], CUTS[:1], [1])
    notes = list(coverage_notes(SUITE, found))
    assert notes[0].startswith("**Incomplete**: 6 of 54 (part, cut, seed) are finished")
    assert notes[1].startswith("Seeds 2 of 3 (1, 2);")
    assert notes[2].startswith("1 to 2 seeds per part and cut")
    assert notes[3] == f"Cuts: 4 of 6 ({', '.join(CUTS[:4])})."
    assert notes[4:] == ["Part main: 4 of 6 cuts.", "Part control: 1 of 6 cuts.", "Part extra: not run."]


def test_draws_have_a_seed_each():
    suite = replace(SUITE, cuts=["one", "two"], seeds=[1, 2], seed_per_cut=True)
    found = nights(["main", "control", "extra"], ["one"], [1]) + nights(["main", "control", "extra"], ["two"], [2])
    assert is_complete(suite, found)
    assert next(coverage_notes(suite, found)) == "Seeds 1, 2, one for each cut; intervals are over users."
    swapped = [{**night, "seed": 3 - night["seed"]} for night in found]
    assert num_finished(suite, swapped) == 0


def test_nights_that_the_suite_no_longer_has_do_not_make_it_complete():
    suite = Suite(name="made", title="made up", protocol="none", seeds=[1, 2])
    assert not is_complete(suite, nights(["main"], [""], [1, 3]))
    assert "One split." in coverage_notes(suite, nights(["main"], [""], [1, 2]))
