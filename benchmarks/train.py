"""A public log in, sequences per second of a training epoch by this project and others out, as JSON.

All train a causal transformer of equal width, depth and heads on the same sequences in batches of equal size, with the
whole softmax or with equally many negatives; in turns, an epoch each, everything started before. After the last epoch
all are judged by one evaluator: the last event of every user, all items ranked, seen ones left out.

python benchmarks/train.py                                                          # MovieLens 1M, all contenders
python benchmarks/train.py --log movielens_1m --log amazon_beauty --epochs 20       # both logs
python benchmarks/train.py --skip "RecBole SASRec"                                  # without the slowest
python benchmarks/train.py --short                                                  # a part, and the fastest peer
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.peers.environments import peer_python
from benchmarks.peers.registry import RECBOLE_EPOCHS, RECTOOLS_EPOCHS, REPLAY_EPOCHS, WORKERS, Package
from benchmarks.report import write_report
from benchmarks.timing import time_in_turns
from benchmarks.train_data import LOGS, Sequences, Task, save_task, to_sequences
from benchmarks.train_memory import measure_loss_memory
from benchmarks.workers import Command, workers
from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.retrieval.topk import top_n
from crossrec_core.tensors.training.validation import ndcg

OURS, WARM_UP, JUDGED_AT = "crossrec", 2, 10
OWN_WORKER = Path(__file__).resolve().with_name("train_worker.py")
FULL, SAMPLED = "full softmax", "sampled softmax"
NOT_LISTED = -1  # of an item that nobody trained on; 0 stands for an empty place of a list
LEAST_TIMES_CHANCE = 3.0  # lists of whoever has learned anything


@dataclass(frozen=True)
class Contender:
    """Who trains: a worker, which of its variants, and with which losses it can."""

    package: Package | None  # None for this project
    variant: int
    losses: tuple[str, ...] = (FULL, SAMPLED)

    def command(self, environments: Path) -> Command:
        """How it is started; its environment is made if need be."""
        if self.package is None:
            return Command(Path(sys.executable), OWN_WORKER, (self.variant,))
        python = peer_python(self.package.name, self.package.requirements, environments)
        return Command(python, WORKERS / self.package.worker.name, (self.variant,))


CONTENDERS = {
    OURS: Contender(None, 0),
    "crossrec, float32": Contender(None, 1),
    "RecTools SASRec": Contender(RECTOOLS_EPOCHS, 0),
    "RecTools eSASRec": Contender(RECTOOLS_EPOCHS, 1),
    "RePlay SasRec": Contender(REPLAY_EPOCHS, 0),
    "RePlay SasRec, like lengths": Contender(REPLAY_EPOCHS, 1),
    "RecBole SASRec": Contender(RECBOLE_EPOCHS, 0, (FULL,)),
}
PEERS = tuple(name for name, contender in CONTENDERS.items() if contender.package)
FASTEST_PEER = "RePlay SasRec"


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/train.json"),
    log: Annotated[list[str], typer.Option(help="movielens_1m, amazon_beauty; one or several")] = ["movielens_1m"],  # noqa: B006
    users: Annotated[int, typer.Option(min=0, help="of each log, by hash; 0 for all")] = 0,
    epochs: Annotated[int, typer.Option(min=7, help="of everyone; the first two are not timed")] = 7,
    length: Annotated[int, typer.Option(min=2, help="events of a history that a model looks at")] = 50,
    width: Annotated[int, typer.Option(min=4)] = 64,
    layers: Annotated[int, typer.Option(min=1)] = 2,
    heads: Annotated[int, typer.Option(min=1)] = 2,
    dropout: Annotated[float, typer.Option(min=0, max=0.9)] = 0.2,
    batch_size: Annotated[int, typer.Option(min=1, help="sequences of a step")] = 128,
    negatives: Annotated[int, typer.Option(min=1, help="of the sampled softmax")] = 256,
    learning_rate: Annotated[float, typer.Option(help="of the peers: their default; ours has its own")] = 1e-3,
    precision: Annotated[str, typer.Option(help="of the peers: 32-true or bf16-mixed")] = "32-true",
    threads: Annotated[int, typer.Option(min=1, help="and cores")] = 2,
    memory_items: Annotated[int, typer.Option(min=2, help="items of the loss whose memory is measured")] = 1_000_000,
    memory_positions: Annotated[int, typer.Option(min=1, help="targets of its step: 128 sequences of 50")] = 6400,
    skip: Annotated[list[str], typer.Option(help=f"leave out one of {', '.join(PEERS)}")] = [],  # noqa: B006
    short: Annotated[bool, typer.Option(help="1,000 users, ours and the fastest peer, a smaller loss")] = False,
    environments: Annotated[Path, typer.Option(help="of other packages, made once")] = Path(".cache/peers"),
    data: Annotated[Path, typer.Option(help="folder of logs that no package ships")] = Path("shared/data"),
    work: Annotated[Path, typer.Option(help="where fetched logs are kept")] = Path(".cache/train"),
) -> None:
    """Train all contenders in turns on every log with both losses, check and judge them, and print medians."""
    unknown = sorted(set(log) - set(LOGS))
    if unknown:
        raise typer.BadParameter(f"--log {', '.join(unknown)}: expected some of {', '.join(LOGS)}")
    if unskippable := sorted(set(skip) - set(PEERS)):
        raise typer.BadParameter(f"--skip {', '.join(unskippable)}: expected some of {', '.join(PEERS)}")
    contenders = {name: contender for name, contender in CONTENDERS.items() if name not in skip}
    if short:
        users, memory_items = users or 1000, min(memory_items, 100_000)
        contenders = {name: found for name, found in contenders.items() if name in (OURS, FASTEST_PEER)}
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # the workers inherit it
    torch.set_num_threads(threads)
    task = Task(
        num_items=0, length=length, width=width, layers=layers, heads=heads, dropout=dropout, batch_size=batch_size,
        negatives=0, learning_rate=learning_rate, precision=precision, threads=threads, seed=11,
    )  # fmt: skip
    runs = []
    for name in log:
        sequences = to_sequences(LOGS[name](data, work / name), users=users)
        for loss, number in ((FULL, 0), (SAMPLED, negatives)):
            own = replace(task, num_items=sequences.num_items, negatives=number)
            chosen = {who: found for who, found in contenders.items() if loss in found.losses}
            run = train_in_turns(own, sequences, chosen, repetitions=epochs - WARM_UP, environments=environments)
            runs.append(
                {"log": name, "loss": loss, "users": len(sequences.ends_U), "items": sequences.num_items, **run}
            )
            print_table(runs[-1])
    memory = measure_loss_memory(positions=memory_positions, items=memory_items, width=width, threads=threads)
    typer.echo(f"loss memory: {memory}")
    peers = {found.package for found in contenders.values() if found.package}
    write_report(
        out,
        packages=["torch", "numpy"],
        peers=sorted(peers, key=lambda peer: peer.name),
        settings={**asdict(task), "epochs": epochs, "negatives": negatives, "skipped": skip},
        runs=runs,
        **{"loss memory": memory},
    )


def train_in_turns(
    task: Task, sequences: Sequences, contenders: Mapping[str, Contender], *, repetitions: int, environments: Path
) -> dict[str, Any]:
    """Seconds of each epoch after the first two, and what all have learned after the last.

    Raises:
        CrossRecError: a worker ended early, trained on other targets than the rest, or learned nothing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_task(task, sequences, folder)
        commands = {who: contender.command(environments) for who, contender in contenders.items()}
        with ExitStack() as stack:
            turns: dict[str, Callable[[], object]] = {
                who: stack.enter_context(workers([command], folder, WARM_UP + repetitions))
                for who, command in commands.items()
            }
            seconds = time_in_turns(turns, repetitions=repetitions)
        found = {who: read_vectors(folder, command) for who, command in commands.items()}
    about = {
        who: {"targets": int(arrays["targets"]), "weights": int(arrays["weights"])} for who, arrays in found.items()
    }
    quality = {who: judge(arrays["users"], arrays["items"], sequences) for who, arrays in found.items()}
    check_trained(about, quality, sequences, length=task.length)
    return {"seconds": seconds, "results": summarise(seconds, quality, about, users=len(sequences.ends_U))}


def read_vectors(folder: Path, command: Command) -> dict[str, np.ndarray]:
    """What a worker wrote at its end.

    Raises:
        CrossRecError: nothing.
    """
    file = folder / f"{command.script.stem}-{command.numbers[0]}.npz"
    if not file.exists():
        raise CrossRecError(f"{command.script.name}: trained, but wrote no {file.name}; its message is above")
    with np.load(file) as arrays:
        return dict(arrays)


def judge(users_UD: np.ndarray, items_VD: np.ndarray, sequences: Sequences) -> float:
    """Mean NDCG@10 of the last events: all items ranked by the product of vectors, all the user has seen left out."""
    queries_UD, vectors_VD = torch.from_numpy(users_UD), torch.from_numpy(items_VD)
    truth_U1 = torch.from_numpy(np.where(sequences.truth_U, sequences.truth_U, NOT_LISTED))[:, None]
    total = 0.0
    for start in range(0, len(queries_UD), 512):
        rows = range(start, min(start + 512, len(queries_UD)))
        nums_BN = 1 + rank_unseen(queries_UD[rows.start : rows.stop], vectors_VD, [sequences.of(row) for row in rows])
        total += float(ndcg(nums_BN, truth_U1[rows.start : rows.stop], n=JUDGED_AT).sum())
    return total / len(queries_UD)


def rank_unseen(queries_BD: Tensor, items_VD: Tensor, seen: Sequence[np.ndarray]) -> Tensor:
    """The positions of the ten best items that are not among those seen (numbers from 1), int64 [B, 10]."""
    own = [np.unique(nums) - 1 for nums in seen]
    rows_S = torch.arange(len(own)).repeat_interleave(torch.tensor([len(nums) for nums in own]))
    best_BN, _ = top_n(
        lambda lo, hi: queries_BD @ items_VD[lo:hi].T, num_candidates=len(items_VD), n=JUDGED_AT, seen_rows=rows_S,
        seen_positions=torch.from_numpy(np.concatenate(own)),
    )  # fmt: skip
    return best_BN


def check_trained(
    about: Mapping[str, Mapping[str, int]], quality: Mapping[str, float], sequences: Sequences, *, length: int
) -> None:
    """Everyone had the same targets, the first events of histories apart, and ranks better than by chance.

    Raises:
        CrossRecError: someone did not.
    """
    wanted, num_users = sequences.count_targets(length), len(sequences.ends_U)
    chance = float((1 / torch.log2(torch.arange(2.0, JUDGED_AT + 2))).sum()) / sequences.num_items
    for who, counts in about.items():
        if not wanted <= counts["targets"] <= wanted + num_users:
            raise CrossRecError(
                f"{who}: {counts['targets']} targets an epoch; expected {wanted}, or at most one more per user"
            )
        if quality[who] < LEAST_TIMES_CHANCE * chance:
            raise CrossRecError(f"{who}: NDCG@10 {quality[who]:.5f} after the last epoch; by chance it is {chance:.5f}")


def summarise(
    seconds: Mapping[str, list[float]], quality: Mapping[str, float], about: Mapping[str, Mapping[str, int]], *,
    users: int,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Median seconds of an epoch, sequences per second, how many times as long as ours, and what was learned."""
    medians = {name: statistics.median(own) for name, own in seconds.items()}
    return {
        name: {
            "median_s": round(median, 3), "sequences_per_s": round(users / median, 1),
            "times_ours": round(median / medians[OURS], 2), "ndcg_10": round(quality[name], 4), **about[name],
        }
        for name, median in medians.items()
    }  # fmt: skip


def print_table(run: dict[str, Any]) -> None:
    """One line per contender."""
    typer.echo(f"{run['log']}, {run['loss']}: {run['users']:,} users, {run['items']:,} items")
    for name, row in run["results"].items():
        speed = f"{row['median_s']:>9.2f} s{row['sequences_per_s']:>10,.0f} sequences/s{row['times_ours']:>7.2f}x"
        typer.echo(f"  {name:<28}{speed}  NDCG@10 {row['ndcg_10']:.4f}")


if __name__ == "__main__":
    typer.run(main)
