import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import topn_kernel as kernel
from crossrec_core.errors import CrossRecError

SIZES = {"users": 30, "items": 3000, "width": 8, "seen": 4, "n": 7}


def test_all_contenders_in_this_process_agree_where_no_scores_are_equal():
    problem = kernel.make_problem(**SIZES)
    (batch,) = problem.batches()
    ours_BN, scores_BN = kernel.select(batch)
    assert torch.equal(kernel.product_and_topk(batch), ours_BN)
    assert np.array_equal(kernel.argpartition(batch), ours_BN.numpy())
    assert not bool((ours_BN.unsqueeze(2) == problem.seen_BS.unsqueeze(1)).any())
    assert bool(scores_BN.isfinite().all())


def test_the_recall_is_the_share_of_the_exact_lists_that_is_found(monkeypatch):
    problem = kernel.make_problem(**SIZES)
    assert kernel.measure_recall(problem) == 1.0
    monkeypatch.setattr(kernel, "select_compressed", lambda batch, small: kernel.select(batch)[0][:, :5])
    assert kernel.measure_recall(problem) == pytest.approx(5 / 7)


def test_a_list_that_is_not_brute_forces_is_refused(monkeypatch):
    problem = kernel.make_problem(**SIZES, whole_numbers=True)
    kernel.check_against_brute_force(problem)
    monkeypatch.setattr(kernel, "select", lambda batch: (kernel.product_and_topk(batch).flip(1), None))
    with pytest.raises(CrossRecError, match=r"^top_n: row 0: \[[^\n]*\]; brute force \["):
        kernel.check_against_brute_force(problem)


def test_shares_are_of_the_bare_product():
    problem = kernel.make_problem(**SIZES)
    rows = kernel.summarise({kernel.LIMIT: [0.2, 0.1, 0.1], "crossrec": [0.4, 0.4, 0.1]}, problem)
    assert rows["crossrec"] == {"median_s": 0.4, "users_per_s": 75.0, "share_of_limit": 0.25}


def test_workers_solve_when_asked_and_the_end_of_one_is_one_line(tmp_path):
    kernel.save_problem(kernel.make_problem(**SIZES), tmp_path)
    script = tmp_path / "own.py"
    script.write_text(
        "import sys, numpy as np\n"
        "assert np.load(sys.argv[1] + '/seen.npy').shape == (30, 4) and sys.argv[2] == '7'\n"
        "for _ in range(int(sys.argv[3])):\n    next(sys.stdin), print('solved', flush=True)\n"
    )
    commands = [kernel.Command(Path(sys.executable), script, (times,)) for times in (1, 2)]
    with kernel.workers(commands, tmp_path, 7) as solve:
        solve()
        with pytest.raises(CrossRecError, match=r"^own\.py: ended early; run it by hand: [^\n]* 7 1$"):
            solve()


def test_this_project_solves_its_shares_in_processes(tmp_path):
    problem = kernel.make_problem(**SIZES)
    kernel.save_problem(problem, tmp_path)
    kinds = ((0, 0), (1, 1))  # one part exactly, the other compressed
    commands = [kernel.Command(Path(sys.executable), kernel.OWN_WORKER, (part, 2, kind)) for part, kind in kinds]
    with kernel.workers(commands, tmp_path, 7) as solve:
        solve()
