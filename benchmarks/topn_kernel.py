"""Made-up vectors of users and items in, seconds of top-N by this project and others out, as JSON.

All rank every item for every user, with each user's seen items left out, on the same cores, in turns. They are held
against the bare product of the same matrices: no one can rank exactly what has not been scored. The compressed search
scores in eight bits; its recall against the exact lists is beside its seconds.

python benchmarks/topn_kernel.py                                                      # 20,000 items, width 64
python benchmarks/topn_kernel.py --items 20000 --items 100000 --width 64 --width 128  # all four
python benchmarks/topn_kernel.py --items 1000000 --width 64 --width 128 --scores 1024000000  # a million
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.peers.environments import peer_python
from benchmarks.peers.registry import FAISS, IMPLICIT, WORKERS
from benchmarks.report import write_report
from benchmarks.timing import time_in_turns
from benchmarks.workers import Command, workers
from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.devices import set_up_cpu
from crossrec_core.tensors.inputs.user_batch import Ragged
from crossrec_core.tensors.retrieval.block_scores import BlockScores, Product
from crossrec_core.tensors.retrieval.int8 import Int8Rows, compress_table
from crossrec_core.tensors.retrieval.search import COMPRESSED, Search, find_exactly, find_in_pool
from crossrec_core.tensors.retrieval.topk import BLOCK_ITEMS

BATCH_USERS = 512  # score.batch_users
LIMIT = "bare product"
OWN, OWN_COMPRESSED = "crossrec", "crossrec, compressed"
OWN_WORKER = Path(__file__).resolve().with_name("topn_worker.py")
PEERS = {"implicit topk": (IMPLICIT, "implicit_topk.py"), "faiss knn": (FAISS, "faiss_knn.py")}


@dataclass(frozen=True)
class Problem:
    """Users' and items' vectors, and what each user has seen."""

    queries_BD: Tensor
    items_VD: Tensor
    seen_BS: Tensor  # int64 positions, ascending
    n: int

    def batches(self) -> Iterator["Problem"]:
        """The users, as many at a time as a worker scores."""
        for queries_BD, seen_BS in zip(
            self.queries_BD.split(BATCH_USERS), self.seen_BS.split(BATCH_USERS), strict=True
        ):
            yield Problem(queries_BD, self.items_VD, seen_BS, self.n)


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/topn_kernel.json"),
    items: Annotated[list[int], typer.Option(min=100, help="one or several")] = [20_000],  # noqa: B006  (read only)
    width: Annotated[list[int], typer.Option(min=1, help="of the vectors; one or several")] = [64],  # noqa: B006
    scores: Annotated[int, typer.Option(help="users times items of a run")] = 80_000_000,
    seen: Annotated[int, typer.Option(min=1, help="items that each user has seen")] = 20,
    n: Annotated[int, typer.Option(min=1, help="length of the lists")] = 50,
    threads: Annotated[int, typer.Option(help="0 for one per core")] = 0,
    repetitions: Annotated[int, typer.Option(min=5, help="timed runs of each")] = 5,
    peers: Annotated[bool, typer.Option(help="time other packages too, in environments that are made once")] = True,
    environments: Annotated[Path, typer.Option(help="where these lie")] = Path(".cache/peers"),
) -> None:
    """Check the lists against brute force, time all contenders in turns at every size, and print medians."""
    set_up_cpu(threads or torch.get_num_threads())
    check_against_brute_force(make_problem(users=200, items=3000, width=8, seen=seen, n=n, whole_numbers=True))
    runs = []
    for size, dimensions in product(items, width):
        problem = make_problem(users=max(scores // size, 1), items=size, width=dimensions, seen=seen, n=n)
        seconds = time_contenders(problem, repetitions=repetitions, environments=environments if peers else None)
        runs.append({
            "items": size, "width": dimensions, "users": len(problem.queries_BD), "seconds": seconds,
            "recall": measure_recall(problem), "results": summarise(seconds, problem),
        })  # fmt: skip
        print_table(runs[-1])
    write_report(
        out,
        packages=["torch", "numba"],
        peers=[package for package, _ in PEERS.values() if peers],
        settings={"seen": seen, "n": n, "threads": torch.get_num_threads(), "repetitions": repetitions},
        runs=runs,
    )


def time_contenders(problem: Problem, *, repetitions: int, environments: Path | None) -> dict[str, list[float]]:
    """Seconds of each run by contender, those of other packages too where there is a folder for their environments.

    This project is timed as it runs on Spark: a process of one thread per core, each with users of its own.
    """
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        save_problem(problem, folder)
        exact, compressed = (
            [Command(Path(sys.executable), OWN_WORKER, (part, threads, kind)) for part in range(threads)]
            for kind in (0, 1)
        )
        contenders: dict[str, Callable[[], object]] = {
            LIMIT: lambda: multiply(problem, len(problem.items_VD)),
            "product by blocks": lambda: multiply(problem, BLOCK_ITEMS),
            OWN: stack.enter_context(workers(exact, folder, problem.n)),
            OWN_COMPRESSED: stack.enter_context(workers(compressed, folder, problem.n)),
            "torch product, topk": lambda: [product_and_topk(batch) for batch in problem.batches()],
            "numpy argpartition": lambda: [argpartition(batch) for batch in problem.batches()],
        }  # fmt: skip
        for name, (package, script) in PEERS.items() if environments is not None else ():
            python = peer_python(package.name, package.requirements, environments)
            command = Command(python, WORKERS / script, (threads,))
            contenders[name] = stack.enter_context(workers([command], folder, problem.n))
        return time_in_turns(contenders, repetitions=repetitions)


def print_table(run: dict[str, Any]) -> None:
    """One line per contender."""
    typer.echo(f"{run['users']:,} users, {run['items']:,} items, width {run['width']}")
    for name, row in run["results"].items():
        rate, share = row["users_per_s"], row["share_of_limit"]
        typer.echo(f"  {name:<22}{row['median_s']:>9.3f} s{rate:>12,.0f} users/s{share:>8.2f}")
    typer.echo(f"  recall@n of the compressed search: {run['recall']:.5f}")


def make_problem(
    *, users: int, items: int, width: int, seen: int, n: int, whole_numbers: bool = False
) -> Problem:  # fmt: skip
    """Random vectors; with ``whole_numbers`` every sum is exact in any order, and many scores are equal."""
    generator = torch.Generator().manual_seed(0)

    def draw(rows: int) -> Tensor:
        if whole_numbers:
            return torch.randint(-2, 3, (rows, width), generator=generator).float()
        return torch.randn(rows, width, generator=generator)

    seen_BS = torch.stack([torch.randperm(items, generator=generator)[:seen] for _ in range(users)])
    return Problem(draw(users), draw(items), seen_BS.sort(dim=1).values, n)


def as_scores(batch: Problem, small: Int8Rows | None = None) -> tuple[BlockScores, Ragged]:
    """What a model of this project gives its search, and the seen positions."""
    queries_BD, items_VD = batch.queries_BD, batch.items_VD
    scores = BlockScores(
        block=lambda lo, hi: queries_BD @ items_VD[lo:hi].T,
        at=lambda rows_P, positions_P: (queries_BD[rows_P] * items_VD[positions_P]).sum(dim=1),
        is_personal_B=torch.ones(len(queries_BD), dtype=torch.bool),
        probability=None,
        product=Product(queries_BD, lambda places: items_VD[places], lambda: small) if small else None,
    )
    rows_BS = torch.arange(len(batch.seen_BS)).unsqueeze(1).expand_as(batch.seen_BS)
    return scores, Ragged(rows_BS.flatten(), batch.seen_BS.flatten())


def compress(problem: Problem) -> Int8Rows:
    """The items in eight bits, as a worker keeps them."""
    return compress_table(lambda places: problem.items_VD[places], len(problem.items_VD))


def select(batch: Problem) -> tuple[Tensor, Tensor]:
    """This project's way."""
    scores, seen = as_scores(batch)
    return find_exactly(Search(batch.n), scores, len(batch.items_VD), seen)


def select_compressed(batch: Problem, small: Int8Rows) -> Tensor:
    """This project's way in eight bits."""
    positions_BN, _, holds_B = find_in_pool(Search(batch.n, kind=COMPRESSED), *as_scores(batch, small))
    assert bool(holds_B.all()), "someone here has no whole list"
    return positions_BN


def measure_recall(problem: Problem) -> float:
    """The share of the exact lists that the compressed search finds, over the first batch of users."""
    batch = next(problem.batches())
    exact_BN, found_BN = select(batch)[0], select_compressed(batch, compress(problem))
    return float((exact_BN.unsqueeze(2) == found_BN.unsqueeze(1)).any(dim=2).double().mean())


def check_against_brute_force(problem: Problem) -> None:
    """Every list of a small problem with many ties, against a stable sort of all scores.

    Raises:
        CrossRecError: a list is another.
    """
    scores_BV = (problem.queries_BD @ problem.items_VD.T).scatter(1, problem.seen_BS, -torch.inf)
    expected_BN = scores_BV.sort(dim=1, descending=True, stable=True).indices[:, : problem.n]
    found_BN = torch.cat([select(batch)[0] for batch in problem.batches()])
    if not torch.equal(found_BN, expected_BN):
        row = int((found_BN != expected_BN).any(dim=1).nonzero()[0])
        raise CrossRecError(f"top_n: row {row}: {found_BN[row].tolist()}; brute force {expected_BN[row].tolist()}")


def multiply(problem: Problem, block_items: int) -> None:
    """The scores alone, into memory that is there."""
    buffer = torch.empty(BATCH_USERS * block_items)
    for batch in problem.batches():
        for lo in range(0, len(problem.items_VD), block_items):
            block_VD = problem.items_VD[lo : lo + block_items]
            size = (len(batch.queries_BD), len(block_VD))
            torch.mm(batch.queries_BD, block_VD.T, out=buffer[: size[0] * size[1]].view(size))


def product_and_topk(batch: Problem) -> Tensor:
    """Two calls of torch."""
    scores_BV = batch.queries_BD @ batch.items_VD.T
    return scores_BV.scatter_(1, batch.seen_BS, -torch.inf).topk(batch.n, dim=1).indices


def argpartition(batch: Problem) -> np.ndarray:
    """Three calls of NumPy."""
    scores_BV = batch.queries_BD.numpy() @ batch.items_VD.numpy().T
    np.put_along_axis(scores_BV, batch.seen_BS.numpy(), -np.inf, axis=1)
    best_BN = np.argpartition(scores_BV, -batch.n, axis=1)[:, -batch.n :]
    order_BN = np.argsort(-np.take_along_axis(scores_BV, best_BN, axis=1), axis=1)
    return np.take_along_axis(best_BN, order_BN, axis=1)


def save_problem(problem: Problem, folder: Path) -> None:
    """As files that a worker of another environment reads."""
    for name, values in (("queries", problem.queries_BD), ("items", problem.items_VD), ("seen", problem.seen_BS)):
        np.save(folder / f"{name}.npy", values.numpy())


def summarise(seconds: dict[str, list[float]], problem: Problem) -> dict[str, dict[str, float]]:
    """Median seconds, users per second, and the share of the bare product's rate."""
    medians = {name: float(np.median(own)) for name, own in seconds.items()}
    return {
        name: {
            "median_s": round(median, 4), "users_per_s": round(len(problem.queries_BD) / median, 1),
            "share_of_limit": round(medians[LIMIT] / median, 3),
        }
        for name, median in medians.items()
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
