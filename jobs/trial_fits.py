"""Settings and folds in, validation NDCG by fold out: what one trial of jobs/tune.py does. Nothing of it is kept."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch

from crossrec_core import columns as c
from crossrec_core.lake import model_location
from crossrec_core.settings import FitSettings, ModelSettings, Settings
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.inputs.batches import drop_without_targets
from crossrec_core.tensors.network.checkpoint import About, load_checkpoint, save_checkpoint
from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.training.finetune import as_read_by, pick_rows
from crossrec_core.tensors.training.fit import EpochReport
from jobs.fitted import KIND
from jobs.folds import Fold, judged_domains
from jobs.ground import Ground
from jobs.networks import stage_of
from jobs.training import Columns, Trained, new_model, train

Report = Callable[[int, float], None]


def fit_folds(settings: Settings, folds: Sequence[Fold], report: Report) -> list[float]:
    """Validation NDCG@10 by fold: of the pretrained model, or the mean over the judged domains' own models.

    ``report`` hears, after each epoch, the mean of the parts done and the best so far of the present one.
    """
    model, stage = settings.tune.model, tuned_stage(settings)
    domains = [c.ALL_DOMAINS] if model == c.PRETRAINED else judged_domains(settings)
    parts = [(fold, domain) for fold in folds for domain in domains]
    values: list[float] = []
    for place, (fold, domain) in enumerate(parts):
        best = [0.0]

        def hear(epoch: EpochReport, place: int = place, best: list[float] = best) -> None:
            best[0] = max(best[0], epoch.metrics["valid_ndcg"])
            report(place * (stage.max_epochs + 1) + epoch.epoch, (sum(values) + best[0]) / (len(values) + 1))

        trained = _fit(settings, fold, domain, hear)
        assert trained.valid_ndcg is not None, "make_folds refuses folds that judge nothing"
        values.append(trained.valid_ndcg)
    each = len(domains)
    return [sum(values[start : start + each]) / each for start in range(0, len(values), each)]


def _fit(settings: Settings, fold: Fold, domain: str, on_epoch: Callable[[EpochReport], None]) -> Trained:
    """Fit one model on one fold; nothing is written."""
    name, ground = settings.tune.model, _reshaped(settings, fold.ground)
    if name == c.PRETRAINED:
        judged = {key: ground.held_out[key] for key in judged_domains(settings)}
        return _pretrain(settings, replace(ground, held_out=judged), on_epoch)[1]
    held_out = {domain: as_read_by(ground.held_out[domain], model_name=name)}
    number = ground.candidates.domains[domain]
    strategy = c.TARGET_ONLY if name == c.TARGET_ONLY else c.PARAMETER
    return train(
        settings, replace(ground, held_out=held_out), _start(settings, fold, ground), tuned_stage(settings),
        label=f"{name} {domain}", domains=[domain], epochs=None, on_epoch=on_epoch,
        strategy=strategy, target=domain,
        pick_rows=lambda columns: pick_rows(columns, strategy=strategy, domain_num=number),
    )  # fmt: skip


def _pretrain(
    settings: Settings, ground: Ground, on_epoch: Callable[[EpochReport], None]
) -> tuple[SequenceModel, Trained]:
    sources = [name for name in settings.sources if name in ground.candidates.domains]
    numbers = torch.tensor([ground.candidates.domains[name] for name in sources])
    model = new_model(settings, ground)

    def keep(columns: Columns) -> Columns:
        return drop_without_targets(columns, numbers)

    trained = train(
        settings, ground, model, settings.train.pretrain, label="pretrain", domains=sources, pick_rows=keep,
        epochs=None, on_epoch=on_epoch,
    )  # fmt: skip
    return model, trained


def pretrain_folds(settings: Settings, folds: Sequence[Fold]) -> None:
    """A pretrained model for every fold but the last, whose own the run has: the run's knows what they must foresee."""
    for fold in folds:
        path = _pretrained_path(fold)
        if fold.back == 0 or has_file(path, "model.json"):
            continue
        model, _ = _pretrain(settings, fold.ground, lambda report: None)
        about = About(KIND, c.PRETRAINED, c.ALL_DOMAINS, 0, fold.ground.candidates.id_fingerprint, {})
        save_checkpoint(path, model, about)


def _pretrained_path(fold: Fold) -> str:
    if fold.back:
        return f"{fold.folder}/pretrained"
    night = fold.ground.night
    return night.lake.at(model_location(night.run_id, c.VALIDATE, c.PRETRAINED, c.ALL_DOMAINS))


def _start(settings: Settings, fold: Fold, ground: Ground) -> SequenceModel:
    """Fresh weights; for ``transferred`` overwritten by the pretrained ones of the same fold."""
    model = new_model(settings, ground)
    if settings.tune.model == c.TRANSFERRED:
        path = _pretrained_path(fold)
        found = load_checkpoint(
            path, id_fingerprint=ground.candidates.id_fingerprint, num_items=ground.config.num_items
        )
        model.load_state_dict(found.model.state_dict())
    return model


def _reshaped(settings: Settings, ground: Ground) -> Ground:
    """The ground with the model's shape as a trial's settings have it."""
    shaped = {entry.name for entry in fields(ModelConfig)} & {entry.name for entry in fields(ModelSettings)}
    return replace(ground, config=replace(ground.config, **{key: getattr(settings.model, key) for key in shaped}))


def tuned_stage(settings: Settings) -> FitSettings:
    """The stage of training that ``tune.model`` names."""
    return settings.train.pretrain if settings.tune.model == c.PRETRAINED else stage_of(settings, settings.tune.model)
