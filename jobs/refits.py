"""A purpose of a run in, whether and with what its networks are trained anew out; the run's own networks, loaded (IO).

What is chosen is chosen at validate. Other purposes train anew with what was found there, or take the model as it is.
"""

from collections.abc import Mapping
from typing import Any

from crossrec_core import columns as c
from crossrec_core.lake import model_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.network.checkpoint import load_about, load_checkpoint
from crossrec_core.tensors.network.encoder import SequenceModel
from jobs.ground import Ground, find_purposes
from jobs.steps import Night


def purposes_to_fit(settings: Settings, night: Night) -> list[str]:
    """Those of ``train.purposes`` that prepare made; jobs/serve.py fits serve, for the winners only."""
    return [purpose for purpose in find_purposes(night.lake, night.run_id) if purpose in settings.train.purposes]


def refits(settings: Settings, purpose: str) -> bool:
    """Whether a purpose's models are trained anew, or are the validated ones."""
    return {c.BACKTEST: settings.train.refit_for_backtest, c.SERVE: settings.train.refit_for_serve}.get(purpose, True)


def settings_found(ground: Ground, model: str, domain: str) -> Mapping[str, Any] | None:
    """What the validated model of the same run was fitted with; None at validate, or where nothing was validated."""
    path = ground.night.lake.at(model_location(ground.night.run_id, c.VALIDATE, model, domain))
    if ground.purpose == c.VALIDATE or not has_file(path, "model.json"):
        return None
    return load_about(path).settings


def load_validated(ground: Ground, model: str, domain: str) -> SequenceModel:
    """The validated model of the same run; its ids are this run's, since prepare gave them all."""
    return load_model(ground, model_location(ground.night.run_id, c.VALIDATE, model, domain))


def load_pretrained(ground: Ground) -> SequenceModel:
    """The purpose's pretrained model."""
    return load_model(ground, model_location(ground.night.run_id, ground.purpose, c.PRETRAINED, c.ALL_DOMAINS))


def load_model(ground: Ground, location: str) -> SequenceModel:
    """A model of this run, refused if it was trained on other ids."""
    path = ground.night.lake.at(location)
    about = ground.candidates.id_fingerprint
    return load_checkpoint(path, id_fingerprint=about, num_items=ground.config.num_items).model
