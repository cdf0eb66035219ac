"""The benchmark of ranking metrics: our means are the oracle's, and a contender with others is refused."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from benchmarks import metrics as bench
from benchmarks.made_lists import write_files
from benchmarks.peers.registry import WORKERS
from crossrec_core.errors import CrossRecError
from tests.oracles import ranking_values

VALUES = {"ndcg@5": 0.5, "map@5": 0.25, "map@10": 0.125}


@pytest.mark.spark
def test_our_means_with_and_without_intervals_are_the_oracles(spark, tmp_path):
    write_files(tmp_path, users=60, items=80, length=20, held_out=4)
    scene = bench.Scene(bench.measure_settings(n=[1, 5, 20], length=20, driver_memory_gib=1), spark, tmp_path)
    lists = pq.read_table(tmp_path / "recommendations").to_pandas().sort_values("rank")
    listed = lists.groupby("user_id")["item_id"].agg(list)
    held_out = pq.read_table(tmp_path / "truth").to_pandas().groupby("user_id")["item_id"].agg(set)
    expected = {
        f"{metric}@{n}": sum(ranking_values(listed[user], held_out[user], n)[metric] for user in listed.index) / 60
        for metric in ("recall", "precision", "hr", "ndcg", "map", "mrr")
        for n in (1, 5, 20)
    }
    assert bench.measure(scene) == pytest.approx(expected, abs=1e-12)
    assert bench.measure_with_intervals(scene) == pytest.approx(expected, abs=1e-12)
    assert 0.01 < expected["recall@5"] < expected["recall@20"] < 1


def test_a_contender_with_another_mean_is_refused():
    wrong = {**VALUES, "ndcg@5": 0.5 + 2e-9}
    bench.check_values({bench.OURS: VALUES, bench.REPLAY_SPARK: dict(VALUES)}, most_held_out=10)
    with pytest.raises(CrossRecError, match=r"^RecTools: ndcg@5: 0\.500000002; crossrec has 0\.5$"):
        bench.check_values({bench.OURS: VALUES, bench.BY_RECTOOLS: wrong}, most_held_out=10)
    with pytest.raises(CrossRecError, match=r"^RecTools: ndcg@5: nan"):
        bench.check_values({bench.OURS: VALUES, bench.BY_RECTOOLS: {**VALUES, "ndcg@5": float("nan")}}, most_held_out=1)


def test_map_divided_by_all_held_out_items_is_compared_where_a_list_can_hold_them():
    other = {**VALUES, "map@5": 0.2}
    bench.check_values({bench.OURS: VALUES, bench.BY_RANX: other}, most_held_out=10)
    with pytest.raises(CrossRecError, match=r"^ranx: map@5"):
        bench.check_values({bench.OURS: VALUES, bench.BY_RANX: other}, most_held_out=5)
    with pytest.raises(CrossRecError, match=r"^ranx: map@10"):
        bench.check_values({bench.OURS: VALUES, bench.BY_RANX: {**other, "map@10": 0.1}}, most_held_out=10)
    with pytest.raises(CrossRecError, match=r"^RePlay on Polars: map@5"):
        bench.check_values({bench.OURS: VALUES, bench.REPLAY_POLARS: other}, most_held_out=10)


def test_times_are_of_our_median_without_intervals():
    found = bench.summarise({bench.OURS: [3.0, 1.0, 2.0], bench.REPLAY_SPARK: [30.0, 20.0, 20.0]})
    assert found[bench.OURS] == {"median_s": 2.0, "times_ours": 1.0}
    assert found[bench.REPLAY_SPARK] == {"median_s": 20.0, "times_ours": 10.0}


def test_peers_are_left_out_by_name_and_an_unknown_name_is_refused():
    assert bench.keep_peers([bench.REPLAY_SPARK]) == [bench.REPLAY_POLARS, bench.BY_RECTOOLS, bench.BY_RANX]
    with pytest.raises(CrossRecError, match=r"^--skip: unknown replay; expected some of RePlay on Spark, "):
        bench.keep_peers(["replay"])
    assert all(package.worker.is_file() for package in bench.PEERS.values())


def test_a_worker_answers_with_what_it_measured_from_the_files_it_is_told(tmp_path):
    script = tmp_path / "own_metrics.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(WORKERS)!r})\n"
        "from answers import answer, read_problem\n"
        "problem = read_problem()\n"
        "assert (problem.length, problem.n, problem.cores, problem.memory_gib) == (100, [1, 5], 2, 3)\n"
        "assert (problem.lists.name, problem.truth.name) == ('recommendations', 'truth')\n"
        "answer(lambda: {'recall@1': .25})\n"
    )
    line = [sys.executable, str(script), str(tmp_path), "100", "2", "3", "1", "5"]
    done = subprocess.run(line, input="solve\nsolve\n", capture_output=True, text=True, check=True)
    assert done.stdout == "solved\nsolved\n"
    assert bench.solved(lambda: None, tmp_path / "own_metrics.py") == {"recall@1": 0.25}
    assert json.loads((tmp_path / "own_metrics.json").read_text()) == {"recall@1": 0.25}
