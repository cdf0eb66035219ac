"""item_popularity in, the candidate items of every domain out: what all models of a purpose score (IO).

V candidates of one domain, ascending by item number: a candidate's index in that order is its position.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake, candidates_location
from crossrec_core.lake_reader import read_arrow
from crossrec_core.tables import ITEM_LIKES, ITEM_POPULARITY, LABEL_IDS
from crossrec_core.tensors.folders import open_folder, read_json, read_tensors, replace_folder, write_json


@dataclass(frozen=True)
class Candidates:
    """The candidate items of each domain, by domain number."""

    items: Mapping[int, Tensor]  # int64 [V], ascending item numbers
    popularity: Mapping[int, Tensor]  # float32 [V], share of the domain's recent event weight; sums to 1
    trends: Mapping[int, Tensor]  # float32 [H, V], the same for each half-life of the blend
    domains: Mapping[str, int]  # name -> domain number
    id_fingerprint: str
    # float32 [V], share of the domain's known events, undecayed: what popular negatives are drawn by; 0 is cold
    events: Mapping[int, Tensor] = field(default_factory=dict)
    # Of rated domains: int64 [V, 2], num_likes and num_rated, and what shares of them are shrunk by
    likes: Mapping[int, Tensor] = field(default_factory=dict)
    like_strengths: Mapping[int, float] = field(default_factory=dict)

    def is_touched(self, number: int) -> Tensor:
        """Which candidates of a domain have known events, bool [V]; all where nothing is said of events."""
        if number not in self.events:
            return torch.ones(len(self.items[number]), dtype=torch.bool)
        return self.events[number] > 0


def save_candidates(
    folder: str,
    *,
    items: Mapping[int, Tensor],
    popularity: Mapping[int, Tensor],
    trends: Mapping[int, Tensor],
    domains: Mapping[str, int],
    id_fingerprint: str,
    events: Mapping[int, Tensor],
    likes: Mapping[int, Tensor] | None = None,
    like_strengths: Mapping[int, float] | None = None,
) -> None:
    """Write ``candidates.safetensors`` and ``candidates.json`` into ``folder`` (a path or URL), all or nothing."""
    tensors = {f"items_{number}": values.contiguous() for number, values in items.items()}
    tensors |= {f"popularity_{number}": values.contiguous() for number, values in popularity.items()}
    tensors |= {f"trends_{number}": values.contiguous() for number, values in trends.items()}
    tensors |= {f"events_{number}": values.contiguous() for number, values in events.items()}
    tensors |= {f"likes_{number}": values.contiguous() for number, values in (likes or {}).items()}
    strengths = {str(number): strength for number, strength in (like_strengths or {}).items()}
    about = {"domains": dict(domains), "id_fingerprint": id_fingerprint, "like_strengths": strengths}
    with replace_folder(folder) as staging:
        save_file(tensors, staging / "candidates.safetensors")
        write_json(staging / "candidates.json", about)


def load_candidates(folder: str) -> Candidates:
    """Memory-map what ``save_candidates`` wrote. Raises CheckpointError when it is missing or broken."""
    with open_folder(folder) as local:
        about = read_json(local / "candidates.json")
        tensors = read_tensors(local / "candidates.safetensors")
    numbers = sorted(about["domains"].values())
    return Candidates(
        items={number: tensors[f"items_{number}"] for number in numbers},
        popularity={number: tensors[f"popularity_{number}"] for number in numbers},
        trends={number: tensors[f"trends_{number}"] for number in numbers},
        domains=about["domains"],
        id_fingerprint=about["id_fingerprint"],
        events={number: tensors[f"events_{number}"] for number in numbers if f"events_{number}" in tensors},
        likes={number: tensors[f"likes_{number}"] for number in numbers if f"likes_{number}" in tensors},
        # Those of an earlier release know of no likes
        like_strengths={int(number): strength for number, strength in about.get("like_strengths", {}).items()},
    )


def read_candidates(
    lake: Lake, run_id: str, purpose: str, *, id_fingerprint: str, like_strengths: Mapping[str, float] | None = None
) -> Candidates:
    """Read the candidates of all domains from item_popularity, four columns of one domain at a time.

    ``like_strengths`` names the rated domains, whose likes are read too: that a domain is rated is a setting, lest a
    probability fitted for one purpose meet other features in the next.

    Raises LakeError when the run has none for the purpose.
    """
    items, popularity, trends, events, domains, likes, strengths = {}, {}, {}, {}, {}, {}, {}
    names = [c.ITEM_NUM, c.RECENT_WEIGHT, c.TREND_WEIGHTS, c.NUM_EVENTS]
    for name, number in read_label_nums(lake, "domain").items():
        where = {c.RUN_ID: run_id, c.PURPOSE: purpose, c.DOMAIN: name}
        rows = read_arrow(lake, ITEM_POPULARITY, where=where, columns=names)
        if rows.num_rows:
            domains[name] = number
            items[number], popularity[number], trends[number], events[number] = _to_candidates(rows)
            if like_strengths and name in like_strengths:
                likes[number], strengths[number] = _read_likes(lake, where, items[number]), like_strengths[name]
    if not domains:
        raise LakeError(f"item_popularity: run {run_id} has no candidates for {purpose}; run jobs/prepare.py first")
    return Candidates(items, popularity, trends, domains, id_fingerprint, events, likes, strengths)


def write_candidates(
    lake: Lake, run_id: str, purpose: str, *, id_fingerprint: str, like_strengths: Mapping[str, float] | None = None
) -> Candidates:
    """Write the candidate artifact of a purpose where every model's scorer looks for it, and return it."""
    found = read_candidates(
        lake, run_id, purpose, id_fingerprint=id_fingerprint, like_strengths=like_strengths
    )  # fmt: skip
    save_candidates(lake.at(candidates_location(run_id, purpose)), **vars(found))
    return found


def read_label_nums(lake: Lake, kind: str) -> dict[str, int]:
    """Name -> number of all domains (``kind`` domain) or actions (``kind`` action), by number."""
    rows = read_arrow(lake, LABEL_IDS, where={}, columns=[c.KIND, c.LABEL_NAME, c.LABEL_NUM]).to_pylist()
    named = {row[c.LABEL_NAME]: int(row[c.LABEL_NUM]) for row in rows if row[c.KIND] == kind}
    return dict(sorted(named.items(), key=lambda entry: entry[1]))


def _to_candidates(rows: pa.Table) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of one domain's items -> item numbers, ascending, and their shares: [V], [V], [H, V] and [V]."""
    nums_V = torch.from_numpy(rows[c.ITEM_NUM].to_numpy().astype("int64"))
    recent_V = torch.from_numpy(rows[c.RECENT_WEIGHT].to_numpy().astype("float64"))
    flat = torch.from_numpy(pc.list_flatten(rows[c.TREND_WEIGHTS]).to_numpy().astype("float64"))
    nums_V, order_V = nums_V.sort()
    trends_HV = flat.view(len(nums_V), -1)[order_V].T
    counts_V = torch.from_numpy(rows[c.NUM_EVENTS].to_numpy().astype("float64"))[order_V]
    events_V = counts_V / counts_V.sum().clamp(min=1)
    return nums_V, _to_shares(recent_V[order_V]).float(), _to_shares(trends_HV).float(), events_V.float()


def _read_likes(lake: Lake, where: Mapping[str, str], items_V: Tensor) -> Tensor:
    """num_likes and num_rated of each candidate, int64 [V, 2]: zeros for those without a rating."""
    rows = read_arrow(lake, ITEM_LIKES, where=where, columns=[c.ITEM_NUM, c.NUM_LIKES, c.NUM_RATED])
    nums_N, likes_N, rated_N = (torch.from_numpy(column.to_numpy().astype("int64")) for column in rows.columns)
    likes_V2 = torch.zeros(len(items_V), 2, dtype=torch.int64)
    likes_V2[torch.searchsorted(items_V, nums_N)] = torch.stack((likes_N, rated_N), dim=1)
    return likes_V2


def _to_shares(weights: Tensor) -> Tensor:
    """Weights [..., V] as shares that sum to 1; equal ones where nothing is known."""
    total = weights.sum(dim=-1, keepdim=True)
    equal = torch.full_like(weights, 1 / weights.shape[-1])
    return torch.where(total > 0, weights / total.clamp(min=torch.finfo(weights.dtype).tiny), equal)
