"""Baselines and one domain's held-out users in, what every set of options reaches out: trials that write nothing."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.floors.transitions import keep_most_counted
from crossrec_core.tensors.blending.list_validation import mean_list_ndcg
from crossrec_core.tensors.closed_form.artifacts import save_artifact
from crossrec_core.tensors.closed_form.pair_weights import (
    PairSums,
    read_pair_sums,
    to_tensors,
    weigh_neighbours,
    weigh_transitions,
)
from crossrec_core.tensors.network.checkpoint import About
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from crossrec_core.tensors.scoring.scorer import LOADERS
from crossrec_core.tensors.training.validation import HeldOut
from jobs.baseline_settings import KINDS, MARKOV, Options, at_fit
from jobs.known import Known

# What bounds the driver's memory: a trial sees this many times max_neighbours of an item's pairs, those counted most,
# and fewer where the items of the validation users are so many that they would have more than this together (512 MB)
PAIRS_PER_NEIGHBOUR, MAX_PAIRS = 4, 8_000_000

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class BestTrial:
    """What the trials of a model on a domain came to."""

    options: Options
    ndcg: float | None  # None where there is no one to validate on
    tensors: Tensors  # of the best, as fitted for the trial
    seconds: float  # of that fit
    values: Sequence[float]  # by trial


def try_all(
    known: Known, model: str, tried: Sequence[Options], users: HeldOut | None,
    fit: Callable[[Options], Tensors],
) -> BestTrial:  # fmt: skip
    """Try every set of options on the domain's held-out users; the first of the best wins.

    Neighbouring sets that differ at scoring only share one ``fit``. Without held-out users the first set is fitted.
    """
    values: list[float] = []
    best: BestTrial | None = None
    tensors: Tensors = {}
    seconds, fitted = 0.0, None
    for options in tried if users else tried[:1]:
        if at_fit(options) != fitted:
            started = monotonic()
            tensors, fitted = fit(options), at_fit(options)
            seconds = monotonic() - started
        if users:
            values.append(judge(known, model, options, tensors, users))
        if best is None or (best.ndcg is not None and values[-1] > best.ndcg):
            best = BestTrial(options, values[-1] if values else None, tensors, seconds, values)
    assert best is not None
    return best


def judge(known: Known, model: str, options: Options, tensors: Tensors, users: HeldOut) -> float:
    """NDCG@10 on the held-out users by the model's own scorer."""
    candidates = candidates_of(known.candidates, users.domain_num)
    about = About(KINDS[model], model, "", users.domain_num, known.candidates.id_fingerprint, dict(options))
    with tempfile.TemporaryDirectory() as folder:
        save_artifact(f"{folder}/trial", about, tensors)
        return mean_list_ndcg(
            LOADERS[KINDS[model]](Path(folder, "trial"), dict(options), candidates), users, candidates
        )


def read_trial_sums(
    known: Known, sums: Mapping[float, DataFrame], domain: str, max_neighbours: int
) -> dict[float, PairSums]:
    """The pairs of a domain from items that its validation users have, by pair_decay: others cannot change a trial."""
    sequences = known.store.read(t.VALIDATION_SEQUENCES).where(F.col(c.DOMAIN) == domain)
    items = sequences.select(F.explode(c.ITEM_NUMS).alias(c.ITEM_NUM)).distinct()
    per_item = min(PAIRS_PER_NEIGHBOUR * max_neighbours, MAX_PAIRS // max(items.count(), 1))
    found = {}
    for decay, frame in sums.items():
        few = frame.where(F.col(c.DOMAIN) == domain).join(F.broadcast(items), on=c.ITEM_NUM, how="left_semi")
        kept = keep_most_counted(few, max_pairs=per_item)
        found[decay] = read_pair_sums(kept.toArrow().to_batches())
    return found


def weigh(model: str, sums: Mapping[float, PairSums], options: Options, candidates_V: Tensor) -> dict[str, Tensor]:
    """Weights of the pairs under some options, as an artifact holds them."""
    pairs = sums[options.get("pair_decay", 1.0)]
    if model == MARKOV:
        weights_E = weigh_transitions(
            pairs, backward=options["backward"], alpha=options["alpha"], cross_domain=options["cross_domain"]
        )
    else:
        weights_E = weigh_neighbours(pairs, shrink=options["shrink"], cross_domain=options["cross_domain"])
    return to_tensors(pairs, weights_E, candidates_V, max_neighbours=options["max_neighbours"])
