"""A tiny world to score: two target domains, four models of the closed-form kinds, users of every sort.

Domain 1 (films) holds items 1..12, domain 2 (books) items 9..20: four items are in both. All weights are small powers
of two, so that sums are exact in any order.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.lake import Lake, candidates_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.retrieval.candidates import save_candidates
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring.scorer import LoadModels, LoadScorer, ModelFolder

FINGERPRINT = "0123abcd-20"
MAX_LEN = 4
DECAY = 0.5
DOMAINS = {"films": 1, "books": 2}
ITEMS = {1: list(range(1, 13)), 2: list(range(9, 21))}
WEIGHTS_OF_POPULARITY = {1: [8, 1, 1, 4, 0, 0, 2, 4, 1, 1, 8, 2], 2: [1, 2, 4, 4, 8, 1, 0, 0, 4, 4, 2, 2]}
POPULARITY = {d: {item: w / 32 for item, w in zip(ITEMS[d], WEIGHTS_OF_POPULARITY[d], strict=True)} for d in ITEMS}
# History item -> candidate -> weight: films lead to films and books, books to books alone; item 5 leads nowhere.
TRANSITIONS: dict[int, dict[int, dict[int, float]]] = {
    1: {1: {2: 1.0, 3: 1.0, 4: 0.5}, 2: {1: 1.0, 3: 2.0}, 7: {8: 0.25, 9: 0.25, 10: 0.25, 11: 0.25}},
    2: {1: {9: 0.5, 13: 0.5}, 9: {10: 1.0, 11: 1.0, 20: 0.125}, 13: {14: 1.0}},
}
SCORES = {d: {item: float(item % 3) for item in ITEMS[d]} for d in ITEMS}
# user: (events of the sequence as (item, domain), seen films, seen books)
USERS: dict[str, tuple[list[tuple[int, int]], list[int], list[int]]] = {
    "films only": ([(2, 1), (1, 1)], [1, 2], []),
    "books only": ([(9, 2), (13, 2)], [], [9, 13]),
    "both": ([(7, 1), (9, 2), (1, 1), (13, 2)], [1, 7], [9, 13]),
    "no evidence": ([(5, 1)], [5], []),
    "nothing": ([], [], []),
    "has nearly all": ([(1, 1)], list(range(1, 11)), []),
}


def write_world(root: Path) -> LoadModels:
    """Write the candidates and the models popularity (index 0) and markov (1) for both domains."""
    save_candidates(
        str(root / "candidates"),
        items={d: torch.tensor(items) for d, items in ITEMS.items()},
        popularity={d: torch.tensor(list(POPULARITY[d].values())) for d in ITEMS},
        trends={d: torch.tensor([list(POPULARITY[d].values())]) for d in ITEMS},
        domains=DOMAINS,
        id_fingerprint=FINGERPRINT,
        events={d: torch.tensor(list(POPULARITY[d].values())) for d in ITEMS},
    )
    models = []
    for d in ITEMS:
        scores_V = torch.tensor([SCORES[d][item] for item in ITEMS[d]])
        write_model(root / f"popularity/{d}", "item_scores", "popularity", d, {"scores_V": scores_V})
        weights = to_csr(TRANSITIONS[d], ITEMS[d])
        write_model(root / f"markov/{d}", "transitions", "markov", d, weights, {"history_decay": DECAY})
        models += [ModelFolder(0, str(root / f"popularity/{d}")), ModelFolder(1, str(root / f"markov/{d}"))]
    return LoadModels(str(root / "candidates"), tuple(models), threads=1, workers_per_host=1)


def load_scorer(root: Path, *, n: int, block_items: int = 5) -> LoadScorer:
    return LoadScorer(write_world(root), Search(n=n, block_items=block_items))


def write_model(
    folder: Path, kind: str, model: str, domain_num: int, tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any] | None = None, *, fingerprint: str = FINGERPRINT,
) -> None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    names = {number: name for name, number in DOMAINS.items()}
    about = {
        "kind": kind, "model": model, "domain": names[domain_num], "domain_num": domain_num,
        "id_fingerprint": fingerprint, "settings": dict(settings or {}),
    }  # fmt: skip
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "weights.safetensors")
    (folder / "model.json").write_text(json.dumps(about))


def to_csr(weights: Mapping[int, Mapping[int, float]], items: Sequence[int]) -> dict[str, Tensor]:
    indptr, positions, values = [0], [], []
    for item in range(max(max(weights), max(items)) + 1):
        for candidate, weight in sorted(weights.get(item, {}).items()):
            positions.append(items.index(candidate))
            values.append(weight)
        indptr.append(len(positions))
    return {
        "indptr": torch.tensor(indptr), "positions": torch.tensor(positions, dtype=torch.int32),
        "weights": torch.tensor(values),
    }  # fmt: skip


def padded(values: Sequence[int], length: int = MAX_LEN) -> list[int]:
    return [*values, *[0] * (length - len(values))]


def write_lake(lake: Lake, *, run_id: str, purpose: str) -> None:
    """The tables of one purpose and its artifacts, as the steps before scoring leave them.

    "films only" and "books only" have held-out books, "nothing" is new and has a held-out film.
    """
    root = Path(lake.at(candidates_location(run_id, purpose))).parent
    write_world(root)
    run = {c.RUN_ID: run_id, c.PURPOSE: purpose}
    sequences, histories = [], []
    for number, (events, films, books) in enumerate(USERS.values(), start=1):
        items, domains = padded([item for item, _ in events]), padded([domain for _, domain in events])
        ones = padded([1] * len(events))
        lists = dict(zip([column.name for column in t.SEQUENCE_LISTS], [items, domains, *[ones] * 4], strict=True))
        if events:
            sequences.append({**run, c.CLOCK: "time", c.USER_NUM: number, c.LENGTH: len(events), **lists})
        for domain, seen in (("films", films), ("books", books)):
            counts = {c.NUM_EVENTS: len(seen), c.LAST_EVENT_ORDER: 0}
            if seen:
                histories.append({**run, c.DOMAIN: domain, c.USER_NUM: number, c.ITEM_NUMS: seen, **counts})
    held_out = [("films only", "books", 10, c.COLD_IN_DOMAIN), ("books only", "books", 14, c.WARM)]
    rows: dict[t.Table, list[dict[str, Any]]] = {
        t.SEQUENCES: sequences,
        t.HISTORIES: histories,
        t.TRUTH: [_truth(run, *row) for row in [*held_out, ("nothing", "films", 1, c.NEW)]],
        t.LABELLED_PAIRS: [_pair(run, user, domain, item) for user, domain, item, _ in held_out],
        t.MODELS: [
            {
                **run, c.MODEL: model, c.DOMAIN: domain, c.KIND: kind, "settings": "{}", "valid_ndcg": None,
                "location": f"checkpoints/{run_id}/{purpose}/{model}/{number}", "seconds": 0.0,
            }
            for model, kind in (("popularity", "item_scores"), ("markov", "transitions"))
            for domain, number in DOMAINS.items()
        ],
    }  # fmt: skip
    for table, table_rows in rows.items():
        write_rows(lake, table, table_rows, replace=run)


def write_ids(lake: Lake, *, run_id: str) -> None:
    """The id tables: user and item numbers of the world."""
    labels = [{c.RUN_ID: run_id, c.KIND: "domain", c.LABEL_NAME: d, c.LABEL_NUM: num} for d, num in DOMAINS.items()]
    users = [
        {c.RUN_ID: run_id, c.USER_SPACE: "shared", c.USER_ID: user, c.USER_NUM: number}
        for number, user in enumerate(USERS, start=1)
    ]
    items = [{c.RUN_ID: run_id, c.ITEM_SPACE: "all", c.ITEM_ID: f"i{num}", c.ITEM_NUM: num} for num in range(1, 21)]
    write_rows(lake, t.LABEL_IDS, labels, append=True)
    write_rows(lake, t.USER_IDS, users, append=True)
    write_rows(lake, t.ITEM_IDS, items, append=True)


def read_world_settings(folder: Path, **overrides: Any) -> Settings:
    """Settings of the two domains, with short lists; nothing here reads their logs."""
    config = folder / "world.toml"
    config.write_text('[domains.films]\npath = "f.csv"\n[domains.books]\npath = "b.csv"\n', encoding="ascii")
    short = {
        "sequences": {"max_len": MAX_LEN}, "score": {"n": 5}, "evaluate": {"n": [5], "guard_n": 5},
        "spark": {"shuffle_partitions": 2},
    }  # fmt: skip
    return read_config(config, overrides={**short, **overrides})


def _truth(run: Mapping[str, str], user: str, domain: str, item: int, segment: str) -> dict[str, Any]:
    known = {c.SEGMENT: segment, c.IS_KNOWN_ITEM: True, c.IS_HEAD: False}
    return {**run, **_user_and_item(user, domain, item), **known}


def _pair(run: Mapping[str, str], user: str, domain: str, item: int) -> dict[str, Any]:
    return {**run, **_user_and_item(user, domain, item), c.LABEL: 1}


def _user_and_item(user: str, domain: str, item: int) -> dict[str, Any]:
    number = list(USERS).index(user) + 1
    return {c.DOMAIN: domain, c.USER_ID: user, c.ITEM_ID: f"i{item}", c.USER_NUM: number, c.ITEM_NUM: item}
