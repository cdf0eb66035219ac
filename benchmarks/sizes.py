"""Model settings in, parameters and memory of training out, as a table and as JSON; nothing of that size is allocated.

python benchmarks/sizes.py --out benchmarks/results/sizes.json
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.report import write_report
from crossrec_core.tensors.network.encoder import ModelConfig
from crossrec_core.tensors.training.sizes import Memory, describe_memory

GIB = 2**30
PLAIN = ModelConfig(
    encoder="gpt", num_items=14_000, num_domains=4, num_actions=4, num_gap_buckets=40, width=64, layers=2, heads=2,
    dropout=0.2, id_dropout=0.1, max_len=50, text_dimensions=64, relative_bias="none", adapter_rank=8, mask_share=0.3,
    mask_last_share=0.5,
)  # fmt: skip
CONFIGS = (
    PLAIN,
    replace(PLAIN, num_items=50_000, width=128, layers=4, heads=4),
    replace(PLAIN, num_items=200_000, width=384, layers=8, heads=6, max_len=200),
    replace(PLAIN, num_items=500_000, width=1024, layers=40, heads=16, max_len=200),
    replace(PLAIN, encoder="hstu", num_items=500_000, width=1024, layers=24, heads=16, max_len=1000,
            relative_bias="time_and_position"),
    replace(PLAIN, num_items=1_000_000, width=4096, layers=24, heads=32, max_len=200),
)  # fmt: skip


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/sizes.json"),
    batch_size: Annotated[int, typer.Option(help="sequences per batch")] = 32,
    num_candidates: Annotated[int, typer.Option(help="candidates or negatives of the softmax")] = 4096,
) -> None:
    """State what each configuration takes."""
    rows = [
        (config, describe_memory(config, batch_size=batch_size, num_candidates=num_candidates)) for config in CONFIGS
    ]
    typer.echo(f"{'encoder':<8}{'width':>6}{'layers':>7}{'items':>10}{'max_len':>8}{'parameters':>15}"
               f"{'weights':>10}{'optimiser':>11}{'activations':>13}{'training':>10}  (GiB)")  # fmt: skip
    for config, memory in rows:
        typer.echo(_line(config, memory))
    write_report(
        out,
        packages=["torch"],
        settings={"batch_size": batch_size, "num_candidates": num_candidates, "bytes_per_number": 4},
        results=[
            {"config": asdict(config), **asdict(memory), "training_bytes": memory.training_bytes}
            for config, memory in rows
        ],
    )


def _line(config: ModelConfig, memory: Memory) -> str:
    parameters = memory.table_parameters + memory.dense_parameters
    return (
        f"{config.encoder:<8}{config.width:>6}{config.layers:>7}{config.num_items:>10,}{config.max_len:>8}"
        f"{parameters:>15,}{memory.weight_bytes / GIB:>10.2f}{memory.optimiser_bytes / GIB:>11.2f}"
        f"{memory.activation_bytes / GIB:>13.2f}{memory.training_bytes / GIB:>10.2f}"
    )


if __name__ == "__main__":
    typer.run(main)
