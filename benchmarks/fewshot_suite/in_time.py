"""A night's pretrained model and held-out users in, every head's NDCG@10 at every support size out: in time, ranking.

The product's own machinery (jobs/heads.py): the support is a user's latest k events of the domain, all strictly
before the query, and the query is what the user did next, ranked among the candidates. Half of the held-out users stop
the training, the other half judge. What meta_report says of one method is said here of all, for the same users at every
size and with a value for each user.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from torch import nn

from benchmarks.fewshot_suite.one_split import segment_of
from crossrec_core import columns as c
from crossrec_core.settings import Settings
from crossrec_core.tensors.meta_learning.learning_curves import split_users
from crossrec_core.tensors.meta_learning.meta_heads import POOLED
from crossrec_core.tensors.meta_learning.meta_validation import LIST_LENGTH, Answer, Judged, judge
from crossrec_core.tensors.training.validation import HeldOut, take_held_out
from jobs.ground import Ground
from jobs.heads import judged_domains, new_head, on_device, read_model, to_answers, to_asking, train

METHODS = ("bayes", "maml", "fomaml", "anil", "reptile", "prototypes", "neural_process")


def judge_heads(settings: Settings, ground: Ground, *, sizes: Sequence[int], seed: int) -> pd.DataFrame:
    """Train all heads side by side and ask each about every judging user that has as many events as the largest size.

    Returns table, cut, seed, model, domain, user_id, segment, metric, n and value.
    """
    settings = replace(settings, train=replace(settings.train, seed=seed))
    model, candidates = read_model(ground), on_device(ground)
    heads = {name: new_head(settings, ground, name) for name in (*METHODS, POOLED)}
    split = {domain: split_users(held_out) for domain, held_out in judged_domains(settings, ground).items()}
    tuning = {domain: users for domain, (users, _) in split.items() if len(users.truth_RT)}
    train(settings, ground, model, heads, tuning, dict.fromkeys(heads, settings.meta.max_epochs))
    asking, frames = vars(to_asking(settings)), []
    for domain, (_, judging) in split.items():
        users = with_events(judging, max(sizes))
        for size in sizes if len(users.truth_RT) else ():
            answers = all_answers(heads, settings.meta.inner_steps)
            judged = judge(model, answers, users, candidates, num_kept=size, **asking)
            frames.append(to_values(judged, users).assign(**{c.DOMAIN: domain, c.SEGMENT: segment_of(size)}))
    same = {"table": "", "cut": "", "seed": seed, c.METRIC: "ndcg", c.N: LIST_LENGTH}
    return pd.concat(frames, ignore_index=True).assign(**same)


def all_answers(heads: Mapping[str, nn.Module], inner_steps: int) -> dict[str, Answer]:
    """The model as it is, the pooled head, that head after steps on the support, and every head."""
    return {**to_answers(heads, METHODS[0], inner_steps), **{name: heads[name] for name in METHODS}}


def with_events(users: HeldOut, num_events: int) -> HeldOut:
    """Keep the users with at least so many events of the domain."""
    num_own_R = (users.columns["domain_nums"] == users.domain_num).sum(dim=1)
    return take_held_out(users, num_own_R >= num_events)


def to_values(judged: Mapping[str, Judged], users: HeldOut) -> pd.DataFrame:
    """model, user_id, value."""
    ids = [str(number) for number in users.user_nums_R.tolist()]
    frames = [
        pd.DataFrame({c.USER_ID: ids, "value": found.ndcg_R.numpy()}).assign(**{c.MODEL: name})
        for name, found in judged.items()
    ]
    return pd.concat(frames, ignore_index=True)
