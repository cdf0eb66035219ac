"""The settings in, which networks every target gets and how each is trained out."""

from crossrec_core import columns as c
from crossrec_core.settings import FitSettings, Settings

NEURAL = (c.TRANSFERRED, c.TARGET_ONLY)


def neural_models(settings: Settings) -> list[str]:
    """The neural models that train.transfer and the epochs of their stages switch on, by name."""
    return [name for name in NEURAL if stage_of(settings, name).max_epochs > 0 and strategies_of(settings, name)]


def stage_of(settings: Settings, model: str) -> FitSettings:
    """How a neural model is trained on its target; no epochs switch it off."""
    return settings.train.finetune if model == c.TRANSFERRED else settings.train.target_only


def strategies_of(settings: Settings, model: str) -> list[str]:
    """The strategies of train.transfer that may become a model, in the order of ``columns.STRATEGIES``."""
    listed = [strategy for strategy in c.STRATEGIES if strategy in settings.train.transfer]
    return [strategy for strategy in listed if (strategy == c.TARGET_ONLY) == (model == c.TARGET_ONLY)]
