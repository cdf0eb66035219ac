"""One network and made-up sequences in, sequences per second of one process and of several out, as JSON.

Ranks share every batch: one process of one thread, two of one thread each, one of two threads; in turns. What a step
does for every candidate is not shared, what it does for every event is: histories are short and long.

python benchmarks/train_ranks.py --out benchmarks/results/train_ranks.json
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.report import write_report
from benchmarks.train_step import CPU, LEARNING_RATE, made_batch, made_model
from crossrec_core.tensors.inputs.batches import Batch
from crossrec_core.tensors.training.fit import EpochReport, FitPlan, fit
from crossrec_core.tensors.training.pretrain import make_step
from crossrec_core.tensors.training.ranks import this_rank

WAYS = {"1 process, 1 thread": (1, 1), "2 processes, 1 thread each": (2, 1), "1 process, 2 threads": (1, 2)}
DOMAINS, WIDTH, LAYERS = 3, 64, 1
EPOCHS = 3  # the first is not timed


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/train_ranks.json"),
    items: Annotated[int, typer.Option(min=2, help="items of each of three domains, all in the softmax")] = 12_000,
    rows: Annotated[int, typer.Option(min=2, help="sequences of a batch, over all ranks")] = 256,
    length: Annotated[list[int], typer.Option(min=2, help="events of each; one or several")] = [8, 50],  # noqa: B006
    steps: Annotated[int, typer.Option(min=1, help="steps of an epoch")] = 20,
    repetitions: Annotated[int, typer.Option(min=5, help="runs of each way")] = 5,
) -> None:
    """Train a few steps by each way, in turns, and print medians."""
    runs = []
    for events in length:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
        for _ in range(repetitions):
            for name, (processes, threads) in WAYS.items():
                found[name].append(run_ranks(processes, threads, items=items, rows=rows, length=events, steps=steps))
        runs.append({"length": events, "runs": found, "results": summarise(found)})
        for name, row in runs[-1]["results"].items():
            speed, losses = f"{row['sequences_per_second']:>9.0f} /s{row['times_faster']:>7.2f}x", row["losses"]
            typer.echo(f"{events:>4} events, {name:<28}{speed}  losses {losses}")
    write_report(
        out,
        packages=["torch"],
        settings={"domains": DOMAINS, "items": items, "rows": rows, "width": WIDTH, "layers": LAYERS, "steps": steps,
                  "repetitions": repetitions},
        runs=runs,
    )  # fmt: skip


def run_ranks(processes: int, threads: int, *, items: int, rows: int, length: int, steps: int) -> dict[str, Any]:
    """The losses and speeds of rank 0, all ranks' sequences counted."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        words = [str(word) for word in (processes, threads, items, rows, length, steps, folder)]
        ranks = [
            subprocess.Popen([sys.executable, __file__, "rank", str(rank), *words], env=environment)
            for rank in range(processes)
        ]
        ended = [rank.wait() for rank in ranks]
        if any(ended):
            raise typer.Exit(1)
        found: dict[str, Any] = json.loads(Path(folder, "0.json").read_text(encoding="utf-8"))
        return found


def train_rank(
    rank: int, processes: int, threads: int, items: int, rows: int, length: int, steps: int, folder: str
) -> None:
    """What one process does."""
    torch.set_num_threads(threads)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    model = made_model(domains=DOMAINS, items=items, length=length, width=WIDTH, layers=LAYERS)
    candidates = {1 + d: torch.arange(1 + d * items, 1 + (d + 1) * items) for d in range(DOMAINS)}
    loss_of = make_step(
        model, candidates, full_softmax_items=items, num_negatives=1, domain_temperature=1.0,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    plan = FitPlan(
        max_epochs=EPOCHS, num_epochs=EPOCHS, steps_per_epoch=steps, patience=EPOCHS, learning_rate=LEARNING_RATE,
        weight_decay=0.01, warmup_share=0.05, clip_norm=1.0,
    )  # fmt: skip
    whole = made_batch(domains=DOMAINS, items=items, rows=rows, length=length)
    reports: list[EpochReport] = []
    fit(
        model,
        lambda _: share_of(whole, steps),
        loss_of,
        plan=plan,
        seed=1,
        device=CPU,
        bf16=True,
        on_epoch=reports.append,
    )
    if rank == 0:
        found = {
            "losses": [round(report.metrics["loss"], 4) for report in reports],
            "sequences_per_second": [round(report.metrics["sequences_per_second"], 1) for report in reports[1:]],
        }
        Path(folder, "0.json").write_text(json.dumps(found), encoding="utf-8")
    if processes > 1:
        dist.destroy_process_group()


def share_of(whole: Batch, steps: int) -> Iterator[Batch]:
    """This rank's rows of the batch, once per step."""
    ranks = this_rank()
    own = Batch(*(getattr(whole, name)[ranks.rank :: ranks.size] for name in Batch.__dataclass_fields__))
    return (own for _ in range(steps))


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Median sequences per second, how many times faster than the first way, and the first run's losses."""
    medians = {
        name: statistics.median(speed for run in found for speed in run["sequences_per_second"])
        for name, found in runs.items()
    }
    slowest = next(iter(medians.values()))
    return {
        name: {"sequences_per_second": round(median, 1), "times_faster": round(median / slowest, 2),
               "losses": runs[name][0]["losses"]}
        for name, median in medians.items()
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        rank, processes, threads, items, rows, events, steps = (int(word) for word in sys.argv[2:9])
        train_rank(rank, processes, threads, items, rows, events, steps, sys.argv[9])
    else:
        typer.run(main)
