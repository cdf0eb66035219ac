"""A model of the default shape and made-up sequences in, milliseconds per training step of four ways out, as JSON.

float32 or bfloat16 products, torch's SparseAdam or this project's LazyAdam over the item table; the steps in turns.

python benchmarks/train_step.py --out benchmarks/results/train_step.json
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.optim import Optimizer, SparseAdam

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.report import write_report
from benchmarks.timing import time_in_turns
from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.tensors.devices import autocast
from crossrec_core.tensors.inputs.batches import Batch, move_batch, to_batch
from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.training.finetune import build_model
from crossrec_core.tensors.training.lazy_adam import LazyAdam
from crossrec_core.tensors.training.optimiser import BETAS, clip_gradients, make_optimisers
from crossrec_core.tensors.training.pretrain import make_step

CPU = torch.device("cpu")
WAYS = {
    "float32, SparseAdam": (False, SparseAdam), "bfloat16, SparseAdam": (True, SparseAdam),
    "float32, LazyAdam": (False, LazyAdam), "bfloat16, LazyAdam": (True, LazyAdam),
}  # fmt: skip
LEARNING_RATE = 1e-3


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/train_step.json"),
    domains: Annotated[int, typer.Option(min=1, help="domains of the log")] = 3,
    items: Annotated[int, typer.Option(min=2, help="items of each, all in the softmax")] = 12_000,
    rows: Annotated[int, typer.Option(min=1, help="sequences of a batch")] = 256,
    length: Annotated[int, typer.Option(min=2, help="events of each")] = 8,
    width: Annotated[int, typer.Option(help="model.width")] = 64,
    layers: Annotated[int, typer.Option(help="model.layers")] = 1,
    threads: Annotated[int, typer.Option(help="torch threads, 0 for one per core")] = 0,
    repetitions: Annotated[int, typer.Option(min=5, help="timed steps of each way")] = 15,
) -> None:
    """Time one training step by each way, in turns, and print medians."""
    if threads:
        torch.set_num_threads(threads)
    batch = made_batch(domains=domains, items=items, rows=rows, length=length)
    steps = {
        name: training_step(
            made_model(domains=domains, items=items, length=length, width=width, layers=layers), batch,
            domains=domains, items=items, way=way,
        )
        for name, way in WAYS.items()
    }  # fmt: skip
    seconds = time_in_turns(steps, repetitions=repetitions)
    results = summarise(seconds)
    for name, row in results.items():
        typer.echo(f"{name:<22}{row['median_ms']:>9.1f} ms{row['times_faster']:>7.2f}x")
    write_report(
        out,
        packages=["torch"],
        settings={"domains": domains, "items": items, "rows": rows, "length": length, "width": width,
                  "layers": layers, "threads": torch.get_num_threads(), "repetitions": repetitions},
        cpu_has={name: bool(torch.cpu.get_capabilities().get(name)) for name in ("avx512_bf16", "amx_bf16")},
        seconds=seconds,
        results=results,
    )  # fmt: skip


def made_batch(*, domains: int, items: int, rows: int, length: int) -> Batch:
    """Sequences that stay in one domain each; few items have most of the events."""
    generator = torch.Generator().manual_seed(0)
    own_B1 = torch.randint(domains, (rows, 1), generator=generator)
    places_BL = (torch.rand(rows, length, generator=generator) ** 3 * items).long()
    ones_BL = torch.ones(rows, length, dtype=torch.int64)
    return to_batch({
        "item_nums": 1 + own_B1 * items + places_BL, "domain_nums": 1 + own_B1.expand(-1, length).contiguous(),
        "action_nums": ones_BL, "gap_buckets": ones_BL, "event_orders": ones_BL.cumsum(1),
    })  # fmt: skip


def training_step(
    model: SequenceModel, batch: Batch, *, domains: int, items: int, way: tuple[bool, type[Optimizer]],
    negatives: int = 0, device: torch.device = CPU,
) -> Callable[[], Tensor]:  # fmt: skip
    """A step of training from the batch to the changed weights. 0 negatives: the whole softmax."""
    bf16, table_optimiser = way
    model.to(device).train()
    candidates = {1 + d: torch.arange(1 + d * items, 1 + (d + 1) * items, device=device) for d in range(domains)}
    loss_of = make_step(
        model, candidates, full_softmax_items=0 if negatives else items, num_negatives=negatives or 1,
        domain_temperature=1.0, generator=torch.Generator(device).manual_seed(1),
    )  # fmt: skip
    optimisers = make_optimisers(model, learning_rate=LEARNING_RATE, weight_decay=0.01)
    optimisers[-1] = table_optimiser([model.items.ids], lr=LEARNING_RATE, betas=BETAS)  # type: ignore[call-arg]

    def step() -> Tensor:
        with autocast(device, bf16=bf16):
            loss = loss_of(move_batch(batch, device))
        assert loss is not None
        change(model, loss, optimisers)
        return loss.detach()

    return step


def change(model: SequenceModel, loss: Tensor, optimisers: Sequence[Optimizer]) -> None:
    """Gradients, clipped, and one step of every optimiser."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    clip_gradients(list(model.parameters()), 1.0)
    for optimiser in optimisers:
        optimiser.step()


def made_model(*, domains: int, items: int, length: int, width: int, layers: int) -> SequenceModel:
    """The default encoder over ids and random texts."""
    defaults = read_config(DEFAULTS, overrides={"domains": {"made": {"path": "made"}}})  # one is needed, none is read
    model, dimensions = defaults.model, defaults.text.dimensions
    config = ModelConfig(
        encoder=model.encoder, num_items=domains * items, num_domains=domains, num_actions=1, num_gap_buckets=40,
        width=width, layers=layers, heads=model.heads, dropout=model.dropout, id_dropout=model.id_dropout,
        max_len=length, text_dimensions=dimensions, relative_bias=model.relative_bias, adapter_rank=model.adapter_rank,
        mask_share=model.mask_share, mask_last_share=model.mask_last_share, normalise_inputs=defaults.normalises_inputs,
    )  # fmt: skip
    texts_IK = torch.randn(domains * items + 1, dimensions, generator=torch.Generator().manual_seed(2)).half()
    return build_model(config, seed=3, text_vectors_IK=texts_IK, attributes=None)


def summarise(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median milliseconds, and how many times faster than the first way."""
    medians = {name: statistics.median(steps) for name, steps in seconds.items()}
    slowest = next(iter(medians.values()))
    return {
        name: {"median_ms": round(1000 * median, 1), "times_faster": round(slowest / median, 2)}
        for name, median in medians.items()
    }


if __name__ == "__main__":
    typer.run(main)
