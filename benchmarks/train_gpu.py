"""A model and made-up sequences in, what a GPU makes of a training step and of its loss out, as JSON.

Steps from the batch in the host's memory to the changed weights: a model of the default shape, and one of width 256
with 8 layers over a million items, with the whole softmax and with negatives, in float32 and in bfloat16. The loss
alone is held against its three bare products, which are the limit, and against torch's over the logits as a matrix.
The peak of a step of every configuration of sizes.py that fits is held against what is stated of it without running it.

python benchmarks/train_gpu.py --out benchmarks/results/train_gpu.json
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.report import write_report
from benchmarks.sizes import CONFIGS
from benchmarks.timing import time_in_turns
from benchmarks.train_step import made_batch, made_model, training_step
from crossrec_core.tensors.devices import autocast, pick_device
from crossrec_core.tensors.training.finetune import build_model
from crossrec_core.tensors.training.lazy_adam import LazyAdam
from crossrec_core.tensors.training.losses import full_softmax
from crossrec_core.tensors.training.sizes import describe_memory

GIB = 2**30
SMALL = {"domains": 3, "items": 12_000, "length": 50, "width": 64, "layers": 2}
LARGE = {"domains": 4, "items": 250_000, "length": 50, "width": 256, "layers": 8}
STEPS: dict[str, dict[str, int]] = {
    "default shape, whole softmax": SMALL | {"rows": 256, "negatives": 0},
    "default shape, batch of 2,048": SMALL | {"rows": 2048, "negatives": 0},
    "large, 4,096 negatives": LARGE | {"rows": 1024, "negatives": 4096},
    "large, whole softmax": LARGE | {"rows": 1024, "negatives": 0},
}
LOSS = {"positions": 8192, "items": 250_000, "width": 256}
MEMORY_ROWS, MEMORY_NEGATIVES = 32, 4096
BARE, OURS, MATRIX = "three bare products", "crossrec", "torch, logits as a matrix"


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/train_gpu.json"),
    repetitions: Annotated[int, typer.Option(min=5, help="timed steps of each")] = 10,
) -> None:
    """Time training steps and the loss on a GPU, in turns, and print medians."""
    device = pick_device("cuda")
    steps = {name: time_steps(sizes, device, repetitions=repetitions) for name, sizes in STEPS.items()}
    loss = time_loss(device, repetitions=repetitions)
    write_report(
        out,
        packages=["torch"],
        settings={"steps": STEPS, "loss": LOSS, "repetitions": repetitions},
        gpu=torch.cuda.get_device_name(device),
        steps=steps,
        loss=loss,
        memory=measure_memory(device),
    )


def time_steps(sizes: dict[str, int], device: torch.device, *, repetitions: int) -> dict[str, Any]:
    """Milliseconds of a step, events per second and peak GiB, by type of the products."""
    domains, items, length, rows = (sizes[name] for name in ("domains", "items", "length", "rows"))
    batch = made_batch(domains=domains, items=items, rows=rows, length=length)
    found = {}
    for name, bf16 in (("float32", False), ("bfloat16", True)):
        model = made_model(domains=domains, items=items, length=length, width=sizes["width"], layers=sizes["layers"])
        step = synchronised(training_step(
            model, batch, domains=domains, items=items, way=(bf16, LazyAdam), negatives=sizes["negatives"],
            device=device,
        ))  # fmt: skip
        torch.cuda.reset_peak_memory_stats(device)
        seconds = time_in_turns({name: step}, repetitions=repetitions, untimed=3)[name]
        median = statistics.median(seconds)
        found[name] = {
            "median_ms": round(1000 * median, 2), "events_per_s": round(rows * length / median),
            "peak_gib": round(torch.cuda.max_memory_allocated(device) / GIB, 2), "seconds": seconds,
        }  # fmt: skip
        typer.echo(f"{sizes} {name}: {found[name]['median_ms']} ms, {found[name]['events_per_s']:,} events/s")
        del step, model
        torch.cuda.empty_cache()
    return found


def time_loss(device: torch.device, *, repetitions: int) -> dict[str, Any]:
    """Milliseconds and peak GiB of the loss and its gradients in bfloat16, and how many times as long as the limit."""
    generator = torch.Generator(device).manual_seed(0)
    queries_PD = torch.randn(LOSS["positions"], LOSS["width"], generator=generator, device=device).requires_grad_()
    vectors_VD = torch.randn(LOSS["items"], LOSS["width"], generator=generator, device=device).mul_(0.1)
    vectors_VD.requires_grad_()
    places_P = torch.randint(LOSS["items"], (LOSS["positions"],), generator=generator, device=device)
    halves = queries_PD.detach().bfloat16(), vectors_VD.detach().bfloat16()

    def bare() -> None:
        logits_PV = halves[0] @ halves[1].T
        torch.mm(logits_PV, halves[1])
        torch.mm(logits_PV.T, halves[0])

    def differentiate(loss_of: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        queries_PD.grad = vectors_VD.grad = None
        with autocast(device, bf16=True):
            loss = loss_of(queries_PD, vectors_VD, places_P)
        loss.backward()  # type: ignore[no-untyped-call]

    ways: dict[str, Callable[[], object]] = {
        BARE: bare,
        OURS: lambda: differentiate(full_softmax),
        MATRIX: lambda: differentiate(lambda queries, vectors, places: F.cross_entropy(queries @ vectors.T, places)),
    }
    peaks = {name: peak_gib(way, device) for name, way in ways.items()}
    seconds = time_in_turns({name: synchronised(way) for name, way in ways.items()}, repetitions=repetitions, untimed=3)
    medians = {name: statistics.median(own) for name, own in seconds.items()}
    found = {
        name: {"median_ms": round(1000 * median, 2), "times_bare": round(median / medians[BARE], 2),
               "peak_gib": round(peaks[name], 2), "seconds": seconds[name]}
        for name, median in medians.items()
    }  # fmt: skip
    for name, row in found.items():
        typer.echo(f"loss, {name:<28}{row['median_ms']:>9} ms{row['times_bare']:>7}x{row['peak_gib']:>8} GiB")
    return found


def measure_memory(device: torch.device) -> list[dict[str, Any]]:
    """Stated and measured GiB of a training step in float32, for every configuration that leaves a tenth free."""
    found = []
    for config in CONFIGS:
        stated = describe_memory(config, batch_size=MEMORY_ROWS, num_candidates=MEMORY_NEGATIVES)
        if stated.training_bytes > 0.9 * torch.cuda.get_device_properties(device).total_memory:
            continue
        items = config.num_items // config.num_domains
        batch = made_batch(domains=1, items=items, rows=MEMORY_ROWS, length=config.max_len)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        step = training_step(
            build_model(config, seed=3, text_vectors_IK=None), batch, domains=1, items=items, way=(False, LazyAdam),
            negatives=MEMORY_NEGATIVES, device=device,
        )  # fmt: skip
        for _ in range(2):
            step()
        peak = torch.cuda.max_memory_allocated(device)
        found.append({
            "encoder": config.encoder, "width": config.width, "layers": config.layers, "items": config.num_items,
            "max_len": config.max_len, "parameters": stated.table_parameters + stated.dense_parameters,
            "stated_gib": round(stated.training_bytes / GIB, 3), "measured_gib": round(peak / GIB, 3),
            "times_stated": round(peak / stated.training_bytes, 3),
        })  # fmt: skip
        typer.echo(str(found[-1]))
        del step
    return found


def peak_gib(way: Callable[[], object], device: torch.device) -> float:
    """What a way holds at most, less what was held before."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    way()
    return (torch.cuda.max_memory_allocated(device) - before) / GIB


def synchronised(way: Callable[[], object]) -> Callable[[], object]:
    """A way that ends when the GPU has done it."""

    def run() -> None:
        way()
        torch.cuda.synchronize()

    return run


if __name__ == "__main__":
    typer.run(main)
