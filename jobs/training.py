"""Ground and a fresh or pretrained model in; the model trained, and how it went, out."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import parent_process

import torch
from torch import Tensor
from tqdm import tqdm

from crossrec_core import columns as c
from crossrec_core.config import hash_config
from crossrec_core.settings import FitSettings, Settings
from crossrec_core.tensors.inputs.augment import Augmentation, augment
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, Batch, bucket_by_length, to_batch
from crossrec_core.tensors.inputs.feed import read_batches
from crossrec_core.tensors.inputs.forgetting import Forgetting, forget
from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.training.distil import make_distil_step
from crossrec_core.tensors.training.finetune import build_model, silence_untouched
from crossrec_core.tensors.training.fit import EpochReport, FitPlan, fit
from crossrec_core.tensors.training.fit_state import FitState, load_state, save_state
from crossrec_core.tensors.training.negatives import Draw, draw_by_events
from crossrec_core.tensors.training.pretrain import make_step
from crossrec_core.tensors.training.ranks import mix_seed, sum_over_ranks, this_rank
from crossrec_core.tensors.training.strategies import Step, freeze, joint_mix, learning_rates, with_source_pull
from crossrec_core.tensors.training.validation import HeldOut, mean_ndcg, mean_over_domains, take_held_out
from jobs.forgetting import read_forgetting
from jobs.ground import Ground

CHUNK_BATCHES = 16  # rows are sorted by length inside chunks of this many batches
MIN_BATCH_SIZE = 32
TOLD = "crossrec: "  # begins the lines that a rank prints for people

Columns = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """A stage's outcome."""

    batch_size: int | None  # None where nothing was trained
    epochs: int
    valid_ndcg: float | None
    seconds: float
    reports: tuple[EpochReport, ...]


def new_model(settings: Settings, ground: Ground, config: ModelConfig | None = None) -> SequenceModel:
    """Fresh weights of the ground's shape or another; an item or a domain without a known event adds nothing."""
    model = build_model(
        config or ground.config, seed=settings.train.seed, text_vectors_IK=ground.text_vectors_IK,
        attributes=ground.attributes,
    )  # fmt: skip
    silence_untouched(model, ground.candidates)
    return model


def train(
    settings: Settings,
    ground: Ground,
    model: SequenceModel,
    stage: FitSettings,
    *,
    label: str,
    domains: Sequence[str],
    pick_rows: Callable[[Columns], Columns],
    epochs: int | None,
    strategy: str = c.TARGET_ONLY,
    target: str | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    teacher: SequenceModel | None = None,
    progress: str = "",
) -> Trained:
    """Train ``model`` in place on the targets of ``domains``, in the rows that ``pick_rows`` leaves.

    With ``epochs`` None it stops early on the mean validation NDCG@10 of the domains that can be validated (of
    ``target`` alone, where there is one); where none can, and with a number, it runs that many (None: all) epochs of
    the schedule. ``strategy`` says which parameters learn from which loss (``tensors/training/strategies.py``).
    ``on_epoch`` may stop it by an error. With a ``teacher`` the loss is that of distillation. Validation ranks all
    candidates, but cold ones are no rivals in the loss: it would teach of them that they are never right, and nothing
    else. A small log is read in smaller batches (``train.*.min_steps``).

    In a process group every rank calls it and reads its share of each batch. With ``progress``, a folder (path or URL),
    what an epoch leaves is written there, and a call with the same settings and data goes on from it; the caller
    removes it.
    """
    started = time.monotonic()
    model.to(ground.device)
    numbers = {name: ground.candidates.domains[name] for name in domains if name in ground.candidates.domains}
    ranked = {number: ground.candidates.items[number].to(ground.device) for number in numbers.values()}
    items = {
        number: nums_V[ground.candidates.is_touched(number).to(ground.device)] for number, nums_V in ranked.items()
    }
    items = {number: nums_V for number, nums_V in items.items() if len(nums_V)}
    num_rows = count_rows(settings, ground, stage, pick_rows)
    stage = replace(stage, batch_size=choose_batch_size(stage, num_rows))
    steps_per_epoch = math.ceil(num_rows / stage.batch_size)
    judged = [ground.held_out[name] for name in numbers if name in ground.held_out and target in (None, name)]
    rates = learning_rates(model, strategy=strategy, layer_decay=settings.train.layer_decay)
    freeze(model, rates)
    plan = FitPlan(
        max_epochs=stage.max_epochs, num_epochs=stage.max_epochs if epochs is None else epochs,
        steps_per_epoch=steps_per_epoch, patience=stage.patience, learning_rate=stage.learning_rate,
        weight_decay=0.0 if strategy == c.PARAMETER else stage.weight_decay,  # L2-SP takes its place
        warmup_share=stage.warmup_share, clip_norm=stage.clip_norm, schedule=stage.schedule, ema_decay=stage.ema_decay,
    )  # fmt: skip
    forgetting = read_forgetting(settings, ground)
    reports: list[EpochReport] = []
    generator = torch.Generator(ground.device)
    made_with = _made_with(settings, ground, stage, label, epochs) if progress else ""
    found = load_state(progress, made_with=made_with) if progress else None
    if found is not None:
        reports += [EpochReport(**report) for report in found[1]]

    def batches(epoch: int) -> Iterator[Batch]:
        generator.manual_seed(mix_seed(settings.train.seed, epoch))
        return read_training_batches(settings, ground, stage, pick_rows, epoch, forgetting)

    def note(report: EpochReport) -> None:
        reports.append(report)
        on_epoch(report)
        if this_rank().size > 1 and this_rank().rank == 0:
            _tell(report, label, plan.num_epochs, first=found[0].epoch if found else 0, started=started)

    def keep(state: FitState) -> None:
        if this_rank().rank == 0:
            save_state(progress, state, made_with=made_with, log=[asdict(report) for report in reports])

    # A process beside others leaves the screen to the one that started it
    is_hidden = None if parent_process() is None and this_rank().size == 1 else True
    with tqdm(total=plan.num_epochs * steps_per_epoch, desc=f"{label} ({ground.purpose})", disable=is_hidden,
              initial=found[0].epoch * steps_per_epoch if found else 0) as bar:  # fmt: skip
        fitted = fit(
            model,
            batches,
            _step_of(settings, stage, model, items, generator, plan, strategy, numbers.get(target or ""), teacher,
                     ground.catalogue_sizes, _draws(settings, ground, items)),
            plan=plan, seed=settings.train.seed, device=ground.device, bf16=settings.train.bf16, rates=rates,
            validate=(lambda: _mean_ndcg(model, judged, ranked)) if judged and epochs is None else None,
            on_epoch=note, on_step=lambda: _tick(bar), start=found[0] if found else None,
            on_state=keep if progress else None,
        )  # fmt: skip
    return Trained(
        stage.batch_size, fitted.best_epoch, fitted.best_ndcg, time.monotonic() - started, tuple(reports)
    )  # fmt: skip


def choose_batch_size(stage: FitSettings, num_rows: int) -> int:
    """Sequences per step: ``batch_size``, halved while an epoch of ``num_rows`` has fewer than ``min_steps`` steps.

    A model learns from a log of a few thousand users in as many steps as from a larger one, not in a tenth of them
    (docs/experiments.md).
    """
    size = stage.batch_size
    while size > MIN_BATCH_SIZE and num_rows < stage.min_steps * size:
        size = max(size // 2, MIN_BATCH_SIZE)
    return size


def judge(ground: Ground, model: SequenceModel, domain: str) -> Trained:
    """``train`` for a model that is taken as it is: no epochs, its validation NDCG@10 where the domain has any."""
    started = time.monotonic()
    model.to(ground.device).eval()
    if domain not in ground.held_out:
        return Trained(None, 0, None, time.monotonic() - started, ())
    number = ground.candidates.domains[domain]
    with torch.no_grad():
        found = mean_ndcg(model, ground.held_out[domain], ground.candidates.items[number].to(ground.device))
    return Trained(None, 0, found, time.monotonic() - started, (EpochReport(0, 0, {"valid_ndcg": found}),))


def count_rows(settings: Settings, ground: Ground, stage: FitSettings, pick_rows: Callable[[Columns], Columns]) -> int:
    """Rows that ``pick_rows`` leaves of an epoch: one pass without training, for the learning rate's schedule."""
    chunks = read_batches(
        ground.files + ground.earlier_files, columns=SEQUENCE_COLUMNS, batch_size=stage.batch_size * CHUNK_BATCHES,
        seed=0, epoch=0, shuffle=False, reader_threads=settings.train.reader_threads,
    )  # fmt: skip
    return sum(len(pick_rows(chunk)["item_nums"]) for chunk in chunks)


def read_training_batches(
    settings: Settings, ground: Ground, stage: FitSettings, pick_rows: Callable[[Columns], Columns], epoch: int,
    forgetting: Forgetting | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """This rank's batches of one epoch: shuffled by the feed, bucketed by length, augmented, old targets left out."""
    ranks = this_rank()
    own_size = max(1, stage.batch_size // ranks.size)
    chunks = read_batches(
        ground.files + ground.earlier_files, columns=SEQUENCE_COLUMNS, batch_size=own_size * CHUNK_BATCHES,
        seed=settings.train.seed, epoch=epoch, reader_threads=settings.train.reader_threads, rank=ranks.rank,
        num_ranks=ranks.size,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(mix_seed(settings.train.seed, epoch))
    rows = bucket_by_length((pick_rows(chunk) for chunk in chunks), batch_size=own_size, generator=generator)
    how = Augmentation(**asdict(settings.train.augment))
    timed_nums = torch.tensor([
        number for name, number in ground.candidates.domains.items()
        if name in settings.domains and settings.domains[name].time_unit != "order"
    ], dtype=torch.int64)  # fmt: skip
    batches = (to_batch(augment(columns, how, timed_nums=timed_nums, generator=generator)) for columns in rows)
    return batches if forgetting is None else (forget(batch, forgetting, generator) for batch in batches)


def _step_of(
    settings: Settings, stage: FitSettings, model: SequenceModel, items: Mapping[int, Tensor],
    generator: torch.Generator, plan: FitPlan, strategy: str, target: int | None, teacher: SequenceModel | None,
    sizes: Mapping[int, int], draws: Mapping[int, Draw] | None,
) -> Step:  # fmt: skip
    """The loss of items in the domains of ``items``, or of imitating a teacher, and what the strategy adds to it."""
    train, rules, mix = settings.train, settings.compress, None
    full_softmax_items, num_negatives = settings.model.full_softmax_items, settings.model.num_negatives
    if teacher is not None:
        return make_distil_step(
            model, teacher, items, full_softmax_items=full_softmax_items, num_negatives=num_negatives,
            domain_temperature=train.domain_temperature, num_top=rules.distil_top, temperature=rules.distil_temperature,
            alpha=rules.distil_alpha, generator=generator, sizes=sizes,
        )  # fmt: skip
    if strategy == c.JOINT and target is not None:
        mix = joint_mix(
            target=target, start=train.joint_share, total_batches=plan.max_epochs * plan.steps_per_epoch,
            temperature=train.domain_temperature,
        )  # fmt: skip
    step = make_step(
        model, items, full_softmax_items=full_softmax_items, num_negatives=num_negatives,
        domain_temperature=train.domain_temperature, generator=generator, mix=mix,
        reconstruction=train.text_reconstruction, alignment=train.text_alignment, temperature=train.temperature,
        label_smoothing=stage.label_smoothing, sizes=sizes, draws=draws,
    )  # fmt: skip
    return with_source_pull(step, model, strength=train.source_pull) if strategy == c.PARAMETER else step


def _draws(settings: Settings, ground: Ground, items: Mapping[int, Tensor]) -> dict[int, Draw] | None:
    """How the negatives among ``items`` are drawn, by domain; None takes uniform ones as they are."""
    if not settings.model.log_q:
        return None
    draws = {}
    for number in items:
        is_touched_V = ground.candidates.is_touched(number)
        events_V = ground.candidates.events.get(number, is_touched_V)[is_touched_V]
        draws[number] = draw_by_events(events_V.to(ground.device), power=settings.model.negatives_power)
    return draws


def _mean_ndcg(model: SequenceModel, judged: Sequence[HeldOut], items: Mapping[int, Tensor]) -> float:
    """The mean over domains. Each rank judges its share of the users; all know the mean."""
    ranks, found = this_rank(), []
    num_users = [len(held_out.truth_RT) for held_out in judged]
    for held_out, num in zip(judged, num_users, strict=True):
        own = take_held_out(held_out, torch.arange(ranks.rank, num, ranks.size))
        summed = mean_ndcg(model, own, items[held_out.domain_num]) * len(own.truth_RT)
        found.append(sum_over_ranks([summed], model.items.ids.device)[0] / max(num, 1))
    return mean_over_domains(found, num_users)


def _made_with(settings: Settings, ground: Ground, stage: FitSettings, label: str, epochs: int | None) -> str:
    """What all epochs of a fit share: settings, files and ids."""
    shared = [hash_config(settings), asdict(stage), label, epochs, ground.files, ground.candidates.id_fingerprint]
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()


def _tell(report: EpochReport, label: str, num_epochs: int, *, first: int, started: float) -> None:
    """One line per epoch, with the time left: the ranks have no screen for a bar."""
    each = (time.monotonic() - started) / max(report.epoch - first, 1)
    left = each * (num_epochs - report.epoch) / 60
    ndcg = f", NDCG@10 {report.metrics['valid_ndcg']:.4f}" if "valid_ndcg" in report.metrics else ""
    print(f"{TOLD}{label}: epoch {report.epoch} of {num_epochs}{ndcg}, at most {left:.0f} min left", flush=True)


def _tick(bar: tqdm) -> None:
    bar.update()
