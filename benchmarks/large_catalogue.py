"""A made-up catalogue that is larger than what a worker may hold in, seconds and peak memory of its lists out, as JSON.

Every search runs in a process of its own, which maps the items' vectors shard by shard. Lists with shards must be those
without, bit for bit, and the peak below the limit. Vectors are normal and independent, or with --topics lie around so
many centres, as trained ones do; only then does an index by cells (--index) have something to find.

python benchmarks/large_catalogue.py                                    # 10 million items of width 64
python benchmarks/large_catalogue.py --items 200000 --shard-mib 16      # a minute less
python benchmarks/large_catalogue.py --items 1000000 --topics 5000 --index
"""

import json
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.report import write_report
from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.devices import set_up_cpu
from crossrec_core.tensors.inputs.user_batch import Ragged
from crossrec_core.tensors.retrieval.block_scores import BlockScores, Product
from crossrec_core.tensors.retrieval.cells import Cells, build_cells, open_cells
from crossrec_core.tensors.retrieval.int8 import Int8Rows, compress_table
from crossrec_core.tensors.retrieval.item_vectors import FLOAT_BYTES, MappedVectors
from crossrec_core.tensors.retrieval.search import APPROXIMATE, COMPRESSED, EXACT, Search, find_exactly, find_in_pool

BLOCK_ROWS = 100_000
NAME = "vectors_VD"
MIB, GIB = 2**20, 2**30
NO_ROWS = Int8Rows(torch.empty(0, 0, dtype=torch.int8), torch.empty(0))

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Asked:
    """Where the vectors lie and what is made of them."""

    file: Path
    users: int
    seen: int
    n: int
    threads: int
    topics: int
    num_probes: int


@dataclass(frozen=True)
class Found:
    """Lists, and what they took."""

    positions_BN: Tensor
    scores_BN: Tensor
    prepare_s: float
    seconds: float
    peak_mib: float


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/large_catalogue.json"),
    items: Annotated[int, typer.Option(min=1000, help="of the catalogue")] = 10_000_000,
    width: Annotated[int, typer.Option(min=1, help="of the vectors")] = 64,
    users: Annotated[int, typer.Option(min=1, help="one batch")] = 512,
    seen: Annotated[int, typer.Option(min=1, help="items that each user has seen")] = 20,
    n: Annotated[int, typer.Option(min=1, help="length of the lists")] = 50,
    shard_mib: Annotated[int, typer.Option(min=1, help="vectors that are mapped at a time")] = 512,
    limit_gib: Annotated[float, typer.Option(help="what no process may exceed")] = 8.0,
    threads: Annotated[int, typer.Option(help="0 for one per core")] = 0,
    topics: Annotated[int, typer.Option(min=0, help="centres that vectors lie around; 0: none")] = 0,
    index: Annotated[bool, typer.Option(help="build an index by cells and search it too")] = False,
    num_probes: Annotated[int, typer.Option(min=1, help="cells of the index that a user's search looks into")] = 64,
) -> None:
    """Make the lists without shards, with them, with them in eight bits and from an index; check and print."""
    ways = {
        "whole": (EXACT, 0),
        "shards": (EXACT, shard_mib * MIB),
        "shards, compressed": (COMPRESSED, shard_mib * MIB),
        **({"shards, index": (APPROXIMATE, shard_mib * MIB)} if index else {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        asked = Asked(
            Path(folder) / "items.safetensors", users, seen, n, threads or torch.get_num_threads(), topics, num_probes
        )
        write_vectors(asked.file, items=items, width=width, topics=topics)
        found = {name: in_own_process(asked, *way) for name, way in ways.items()}
    check(found, limit_gib=limit_gib)
    results = {
        name: {
            "prepare_s": round(own.prepare_s, 2), "seconds": round(own.seconds, 2), "peak_mib": round(own.peak_mib),
            "users_per_s": round(users / own.seconds, 1), "recall": recall(found["whole"], own),
        }
        for name, own in found.items()
    }  # fmt: skip
    typer.echo(f"{items:,} items, width {width}: {items * width * FLOAT_BYTES / GIB:.2f} GiB; {users:,} users")
    for name, row in results.items():
        typer.echo(
            f"  {name:<20}{row['prepare_s']:>9.2f} s before,{row['seconds']:>9.2f} s{row['peak_mib']:>8,} MiB"
            f"{row['recall']:>10.5f}"
        )
    write_report(
        out,
        packages=["torch", "numba", "faiss-cpu"],
        settings={"items": items, "width": width, "users": users, "seen": seen, "n": n, "shard_mib": shard_mib,
                  "limit_gib": limit_gib, "threads": asked.threads, "topics": topics, "num_probes": num_probes},
        results=results,
    )  # fmt: skip


def write_vectors(file: Path, *, items: int, width: int, topics: int = 0) -> None:
    """Random vectors, a block at a time: the file is never in memory."""
    generator = np.random.default_rng(0)
    centres = draw_centres(topics, width)
    entry = {"dtype": "F32", "shape": [items, width], "data_offsets": [0, items * width * FLOAT_BYTES]}
    head = json.dumps({NAME: entry}).encode()
    head += b" " * (-len(head) % 8)
    with file.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        for lo in range(0, items, BLOCK_ROWS):
            rows = min(BLOCK_ROWS, items - lo)
            stream.write(draw_around(centres, rows, generator).tobytes())


def draw_centres(topics: int, width: int) -> Floats:
    """The same for items and users; without topics everything lies around 0."""
    if not topics:
        return np.zeros((1, width), dtype=np.float32)
    return np.random.default_rng(1).standard_normal((topics, width), dtype=np.float32)


def draw_around(centres: Floats, rows: int, generator: np.random.Generator) -> Floats:
    """Vectors as far from their centre as centres are from 0."""
    noise: Floats = generator.standard_normal((rows, centres.shape[1]), dtype=np.float32)
    noise += centres[generator.integers(len(centres), size=rows)]
    return noise


def in_own_process(asked: Asked, kind: str, shard_bytes: int) -> Found:
    """``search_once`` where nothing else has taken memory."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(search_once, asked, kind, shard_bytes).result()


def search_once(asked: Asked, kind: str, shard_bytes: int) -> Found:
    """Lists of one batch of users; four of them before compile what is compiled, and are not timed."""
    set_up_cpu(asked.threads)
    vectors_at = MappedVectors(asked.file, NAME, shard_bytes=shard_bytes)
    started = time.perf_counter()
    small = compress_table(vectors_at, vectors_at.num_items) if kind == COMPRESSED else NO_ROWS
    cells = None
    if kind == APPROXIMATE:
        build_cells(asked.file.parent, vectors_at, seed=0)
        cells = open_cells(asked.file.parent, vectors_at.num_items)
    prepare_s = time.perf_counter() - started
    generator = torch.Generator().manual_seed(1)
    centres = draw_centres(asked.topics, vectors_at.width)
    queries_BD = torch.from_numpy(draw_around(centres, asked.users, np.random.default_rng(2)))
    rows_S = torch.arange(asked.users).repeat_interleave(asked.seen)
    seen = Ragged(rows_S, torch.randint(vectors_at.num_items, (len(rows_S),), generator=generator))
    search = Search(asked.n, kind=kind, num_probes=asked.num_probes)
    nothing_seen = Ragged(rows_S[:0], rows_S[:0])
    find(search, scores_of(queries_BD[:4], vectors_at, small, cells), vectors_at.num_items, nothing_seen)
    started = time.perf_counter()
    scores = scores_of(queries_BD, vectors_at, small, cells)
    positions_BN, scores_BN = find(search, scores, vectors_at.num_items, seen)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Found(positions_BN, scores_BN, prepare_s, seconds, peak / MIB)


def scores_of(queries_BD: Tensor, vectors_at: MappedVectors, small: Int8Rows, cells: Cells | None) -> BlockScores:
    """What a model that multiplies vectors gives to the search."""
    return BlockScores(
        block=lambda lo, hi: queries_BD @ vectors_at(slice(lo, hi)).T,
        at=lambda rows_P, positions_P: (queries_BD[rows_P] * vectors_at(positions_P)).sum(dim=1),
        is_personal_B=torch.ones(len(queries_BD), dtype=torch.bool),
        probability=None,
        product=Product(queries_BD, vectors_at, lambda: small, cells),
    )


def find(search: Search, scores: BlockScores, num_items: int, seen: Ragged) -> tuple[Tensor, Tensor]:
    """Lists by the search's kind."""
    if search.kind == EXACT:
        return find_exactly(search, scores, num_items, seen)
    positions_BN, scores_BN, holds_B = find_in_pool(search, scores, seen)
    assert bool(holds_B.all()), "someone here has no whole list"
    return positions_BN, scores_BN


def recall(exact: Found, found: Found) -> float:
    """The share of the exact lists that was found."""
    same = exact.positions_BN.unsqueeze(2) == found.positions_BN.unsqueeze(1)
    return float(same.any(dim=2).double().mean())


def check(found: dict[str, Found], *, limit_gib: float) -> None:
    """Shards change no bit, and nobody takes more than the limit.

    Raises:
        CrossRecError: they do.
    """
    whole, shards = found["whole"], found["shards"]
    if not (torch.equal(whole.positions_BN, shards.positions_BN) and torch.equal(whole.scores_BN, shards.scores_BN)):
        row = int((whole.scores_BN != shards.scores_BN).any(dim=1).nonzero()[0])
        raise CrossRecError(
            f"shards: row {row}: {shards.positions_BN[row].tolist()}; without {whole.positions_BN[row].tolist()}"
        )
    for name in [name for name in found if name != "whole"]:
        if found[name].peak_mib > limit_gib * 1024:
            raise CrossRecError(f"{name}: peak of {found[name].peak_mib:,.0f} MiB; expected at most {limit_gib} GiB")


if __name__ == "__main__":
    typer.run(main)
