"""A pretrained model, frozen, in; heads trained over its features out, and what they are held against.

What meta_train does for a night and benchmarks do for all heads at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from crossrec_core.settings import Settings
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.feed import read_batches
from crossrec_core.tensors.meta_learning.learning_curves import Asking
from crossrec_core.tensors.meta_learning.meta import FittedHead, TaskPlan, make_tasks, train_heads
from crossrec_core.tensors.meta_learning.meta_heads import POOLED, GradientHead, HeadConfig, build_head
from crossrec_core.tensors.meta_learning.meta_validation import Answer, in_context, judge
from crossrec_core.tensors.meta_learning.task_features import Tasks, count_features
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut, mean_over_domains
from jobs.ground import Ground
from jobs.refits import load_pretrained

IN_CONTEXT, FINE_TUNED = "in_context", "fine_tuned"


def read_model(ground: Ground) -> SequenceModel:
    """The purpose's pretrained model, frozen."""
    return load_pretrained(ground).to(ground.device).requires_grad_(False).eval()


def on_device(ground: Ground) -> Candidates:
    """The candidates where the model lives."""
    items = {number: nums.to(ground.device) for number, nums in ground.candidates.items.items()}
    popularity = {number: share.to(ground.device) for number, share in ground.candidates.popularity.items()}
    return replace(ground.candidates, items=items, popularity=popularity)


def new_head(settings: Settings, ground: Ground, method: str) -> nn.Module:
    """A fresh head over the pretrained model's features."""
    return build_head(head_config(settings, ground, method), seed=settings.train.seed).to(ground.device)


def head_config(settings: Settings, ground: Ground, method: str) -> HeadConfig:
    """The shape of a head."""
    meta = settings.meta
    return HeadConfig(
        method=method, num_features=count_features(ground.config.width), num_domains=ground.config.num_domains,
        width=meta.width, hidden=meta.hidden, inner_steps=meta.inner_steps, inner_lr=meta.inner_lr,
    )  # fmt: skip


def judged_domains(settings: Settings, ground: Ground) -> dict[str, HeldOut]:
    """The held-out users of the target domains."""
    return {domain: ground.held_out[domain] for domain in settings.targets if domain in ground.held_out}


def train(
    settings: Settings, ground: Ground, model: SequenceModel, heads: Mapping[str, nn.Module],
    tuning: Mapping[str, HeldOut], num_epochs: Mapping[str, int],
) -> dict[str, FittedHead]:  # fmt: skip
    """Train the heads side by side; with tuning users each keeps its best epoch by their mean NDCG@10."""
    candidates, asking = on_device(ground), to_asking(settings)

    def validate(trained: Mapping[str, nn.Module]) -> dict[str, float]:
        found = [judge(model, trained, users, candidates, num_kept=None, **vars(asking)) for users in tuning.values()]
        num_users = [len(users.truth_RT) for users in tuning.values()]
        return {
            name: mean_over_domains([float(judged[name].ndcg_R.mean()) for judged in found], num_users)
            for name in trained
        }

    return train_heads(
        heads, lambda epoch: batches(settings, ground, model, candidates, epoch),
        num_epochs=num_epochs, learning_rate=settings.meta.learning_rate,
        domain_temperature=settings.train.domain_temperature,
        generator=torch.Generator(ground.device).manual_seed(settings.train.seed),
        validate=validate if tuning else None,
    )  # fmt: skip


def batches(
    settings: Settings, ground: Ground, model: SequenceModel, candidates: Candidates, epoch: int
) -> Iterator[dict[int, Tasks]]:
    """The tasks of one epoch, by source domain: each user with events of a domain is cut once."""
    sources = [candidates.domains[name] for name in settings.sources if name in candidates.domains]
    generator = torch.Generator(ground.device).manual_seed(settings.train.seed * 1_000_003 + epoch)
    meta = settings.meta
    plan = TaskPlan(meta.support_sizes, meta.num_query, meta.num_negatives, meta.num_ranked)
    rows = read_batches(
        ground.files, columns=SEQUENCE_COLUMNS, batch_size=settings.meta.batch_size, seed=settings.train.seed,
        epoch=epoch, reader_threads=settings.train.reader_threads,
    )  # fmt: skip
    for columns in rows:
        moved = {name: values.to(ground.device) for name, values in columns.items()}
        cut = {num: make_tasks(model, moved, num, candidates, plan=plan, generator=generator) for num in sources}
        tasks = {num: of_domain for num, of_domain in cut.items() if of_domain is not None}
        if tasks:
            yield tasks


def to_answers(heads: Mapping[str, nn.Module], method: str, inner_steps: int) -> dict[str, Answer]:
    """What is compared: the model as it is, the pooled head before and after steps on the support, and the head."""
    pooled = heads[POOLED]
    assert isinstance(pooled, GradientHead)

    def fine_tuned(tasks: Tasks) -> Tensor:
        return pooled.after(tasks, num_steps=inner_steps)

    return {IN_CONTEXT: in_context, POOLED: pooled, FINE_TUNED: fine_tuned, method: heads[method]}


def to_pairs(method: str) -> list[tuple[str, str]]:
    """Model and baseline of every comparison."""
    return [
        (method, IN_CONTEXT), (method, POOLED), (method, FINE_TUNED), (POOLED, IN_CONTEXT), (FINE_TUNED, POOLED),
    ]  # fmt: skip


def to_asking(settings: Settings) -> Asking:
    """How held-out users are asked: the support is the largest that a task of training has."""
    meta = settings.meta
    return Asking(max(meta.support_sizes), meta.num_negatives, meta.num_ranked, settings.train.seed)
