"""A trained head in, the model ``adapted`` out: folder and row of each domain where the gate let the head through.

The folder says how the head is asked; weights lie with the head and the pretrained model of the same purpose.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from crossrec_core import columns as c
from crossrec_core.lake import model_location
from crossrec_core.tensors.closed_form.artifacts import save_files
from crossrec_core.tensors.folders import has_file, remove_folder
from crossrec_core.tensors.meta_learning.learning_curves import Asking
from crossrec_core.tensors.network.checkpoint import About
from crossrec_core.tensors.scoring.scorer import HEAD
from jobs.fitted import model_row
from jobs.ground import Ground
from jobs.refits import settings_found
from jobs.steps import Night


def adapted_rows(
    ground: Ground, is_on: Mapping[str, bool], ndcg: Mapping[str, float | None], *, asking: Asking, seconds: float
) -> list[dict[str, Any]]:
    """Make the model of each domain where the head is on; their rows of the models table.

    Where it is off, what an earlier attempt of the same run left goes.
    """
    rows = []
    for domain in sorted(is_on):
        if is_on[domain] and domain in ground.candidates.domains:
            rows.append(save_adapted(ground, domain, asking=asking, valid_ndcg=ndcg.get(domain), seconds=seconds))
        else:
            location = model_location(ground.night.run_id, ground.purpose, c.ADAPTED, domain)
            remove_folder(ground.night.lake.at(location))
    return rows


def save_adapted(
    ground: Ground, domain: str, *, asking: Asking, valid_ndcg: float | None, seconds: float
) -> dict[str, Any]:
    """Write the folder of one domain; returns its row of the models table. What validate wrote goes before all else."""
    fitted_with = settings_found(ground, c.ADAPTED, domain) or {**asdict(asking), "valid_ndcg": valid_ndcg}
    location = model_location(ground.night.run_id, ground.purpose, c.ADAPTED, domain)
    number = ground.candidates.domains[domain]
    about = About(HEAD, c.ADAPTED, domain, number, ground.candidates.id_fingerprint, dict(fitted_with))
    save_files(ground.night.lake.at(location), about, lambda folder: None)
    return model_row(
        ground, model=c.ADAPTED, domain=domain, location=location, fitted_with=fitted_with, seconds=seconds, kind=HEAD
    )


def is_adapted(night: Night, domain: str) -> bool:
    """Whether the run has a head that is on in a domain."""
    return has_file(night.lake.at(model_location(night.run_id, c.VALIDATE, c.ADAPTED, domain)), "model.json")
