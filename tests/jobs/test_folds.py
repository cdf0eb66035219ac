"""Folds of the training window, held against an oracle that walks over every user's events."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.config import read_config
from crossrec_core.errors import ConfigError
from crossrec_core.frames.prepared.splits import DAY_US
from crossrec_core.lake import Lake
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.feed import read_batches
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut
from jobs.folds import make_folds
from jobs.ground import Ground
from jobs.steps import Night
from tests.tensors.worlds import config

DOMAINS = {"rich": 1, "thin": 2}
LENGTH, DAYS, VALID_DAYS = 12, 60, 10
SETTINGS = '[domains.rich]\npath = "rich.csv"\n[domains.thin]\npath = "thin.csv"\nexclude_seen = false\n'


def write_users(folder: Path) -> dict[str, torch.Tensor]:
    """Eighty users with up to twelve events over sixty days; the first six come for one item in either block."""
    generator = torch.Generator().manual_seed(3)
    is_event = torch.arange(LENGTH) < torch.randint(1, LENGTH + 1, (80, 1), generator=generator)
    days = torch.randint(0, DAYS, (80, LENGTH), generator=generator).sort(dim=1).values
    domains = torch.randint(1, 3, (80, LENGTH), generator=generator)
    items = torch.randint(1, 11, (80, LENGTH), generator=generator) + 10 * (domains - 1)
    items[items == 10] = 9  # item 10 is first met in the last block, by the first three users
    is_event[:6, 1:], domains[:6], items[:6], days[:3], days[3:6] = False, 1, 1, DAYS - 5, DAYS - 15
    items[:3] = 10
    events = {
        "item_nums": items, "domain_nums": domains, "action_nums": torch.ones_like(items),
        "gap_buckets": torch.ones_like(items), c.EVENT_ORDERS: days * DAY_US,
    }  # fmt: skip
    rows = {name: values * is_event for name, values in events.items()} | {c.USER_NUM: torch.arange(1, 81)}
    table = pa.table({name: values.tolist() for name, values in rows.items()})
    pq.write_table(table, folder / "users.parquet", row_group_size=30)
    return rows


def ground_of(folder: Path, rows: dict[str, torch.Tensor]) -> Ground:
    items = {1: torch.arange(1, 11), 2: torch.arange(11, 21)}
    candidates = Candidates(
        items,
        {number: torch.full((10,), 0.1) for number in items},
        {number: torch.full((5, 10), 0.1) for number in items},
        DOMAINS,
        "f",
    )
    events = {name: rows[name] for name in SEQUENCE_COLUMNS}
    users = {
        name: HeldOut(events, torch.ones(80, 1, dtype=torch.int64), rows[c.USER_NUM], number, True)
        for name, number in DOMAINS.items()
    }
    night = Night("r1", date(2024, 1, 1), Lake(str(folder)))
    files = (str(folder / "users.parquet"),)
    return Ground(night, c.VALIDATE, files, candidates, config(), None, None, users, torch.device("cpu"))


def make(folder: Path, protocol: str = "time", folds: int = 3, **split):
    (folder / "x.toml").write_text(SETTINGS)
    rules = {"split": {"protocol": protocol, "valid_days": VALID_DAYS, **split}, "tune": {"folds": folds}}
    settings, rows = read_config(folder / "x.toml", overrides=rules), write_users(folder)
    ground = ground_of(folder, rows)
    return rows, ground, make_folds(settings, ground, str(folder / "tune"))


def known_rows(fold) -> set[tuple[tuple[int, ...], ...]]:
    chunks = read_batches(fold.ground.files, columns=SEQUENCE_COLUMNS, batch_size=500, seed=0, epoch=0, shuffle=False)
    return {tuple(filter(None, row)) for chunk in chunks for row in chunk["item_nums"].tolist()}


def by_hand(rows, back):
    """Per user: known items, and held-out (domain, item) in order, by a walk over the events."""
    last = max(int(rows[c.EVENT_ORDERS].max()), 0)
    start, end = last + 1 - back * VALID_DAYS * DAY_US, last + 1 - (back - 1) * VALID_DAYS * DAY_US
    users = {}
    for user, items, domains, orders in zip(
        *(rows[n].tolist() for n in (c.USER_NUM, "item_nums", "domain_nums", c.EVENT_ORDERS)), strict=True
    ):
        events = [event for event in zip(items, domains, orders, strict=True) if event[0]]
        known = [(item, domain) for item, domain, order in events if order < start]
        held = [(item, domain) for item, domain, order in events if start <= order < end]
        users[user] = known, held
    return users


@pytest.mark.parametrize("back", [1, 2])
def test_a_fold_knows_what_lies_before_its_block_and_foresees_the_block(tmp_path, back):
    rows, _, folds = make(tmp_path)
    fold, users = folds[2 - back], by_hand(rows, back)
    assert fold.back == back
    assert known_rows(fold) == {tuple(item for item, _ in known) for known, _ in users.values() if known}
    known_items = {event for known, _ in users.values() for event in known}
    for domain, number in DOMAINS.items():
        listed = {item for item, own in known_items if own == number}
        assert fold.ground.candidates.items[number].tolist() == sorted(listed)
        expected = {}
        for user, (known, held) in users.items():
            had = {item for item, _ in known} if domain == "rich" else set()  # thin may recommend items again
            truth = list(dict.fromkeys(item for item, own in held if own == number and item in listed - had))
            if truth and known:
                expected[user] = truth
        held_out = fold.ground.held_out[domain]
        found = {user: [item for item in truth if item] for user, truth
                 in zip(held_out.user_nums_R.tolist(), held_out.truth_RT.tolist(), strict=True)}  # fmt: skip
        assert found == expected
        assert len(found) > 3
        seen = {user: [item for item in items if item] for user, items
                in zip(held_out.user_nums_R.tolist(), held_out.columns["item_nums"].tolist(), strict=True)}  # fmt: skip
        assert seen == {user: [item for item, _ in users[user][0]] for user in expected}


def test_the_last_fold_is_the_runs_own_validation_and_the_others_lie_before_it(tmp_path):
    _, ground, folds = make(tmp_path)
    assert [fold.back for fold in folds] == [2, 1, 0]
    assert folds[-1].ground is ground
    lengths = [sum(map(len, known_rows(fold))) for fold in folds]
    assert lengths[0] < lengths[1] < lengths[2]


def test_no_more_users_than_validation_takes_and_the_same_every_time(tmp_path):
    picked = []
    for _ in range(2):
        _, _, folds = make(tmp_path, max_validation_users=5)
        picked.append(folds[0].ground.held_out["rich"].user_nums_R.tolist())
    assert picked[0] == picked[1]
    assert len(picked[0]) == 5


def test_leave_one_out_goes_back_one_event_per_user_and_domain(tmp_path):
    rows, _, folds = make(tmp_path, protocol="leave_one_out", folds=2)
    truth = dict(zip(folds[0].ground.held_out["rich"].user_nums_R.tolist(),
                     folds[0].ground.held_out["rich"].truth_RT[:, 0].tolist(), strict=True))  # fmt: skip
    own = {user: [item for item, domain in zip(items, domains, strict=True) if domain == 1] for user, items, domains
           in zip(*(rows[n].tolist() for n in (c.USER_NUM, "item_nums", "domain_nums")), strict=True)}  # fmt: skip
    listed = set(folds[0].ground.candidates.items[1].tolist())
    assert truth == {user: items[-1] for user, items in own.items() if len(items) >= 3 and items[-1] in listed}


def test_a_block_that_judges_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="block 7 before validation"):
        make(tmp_path, folds=8)
