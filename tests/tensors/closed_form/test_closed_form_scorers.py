"""Weights of events by action; the scorers themselves are tested through ``tests/tensors/scoring/test_scorer.py``."""

import torch

from crossrec_core.tensors.closed_form.closed_form_scorers import _look_up


def test_events_of_actions_and_domains_that_are_newer_than_the_model_count_once() -> None:
    table_DA = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 5.0]])
    domains_BL, actions_BL = torch.tensor([[1, 1, 1, 2, 0]]), torch.tensor([[1, 2, 3, 1, 0]])
    assert _look_up(table_DA, domains_BL, actions_BL).tolist() == [[2.0, 5.0, 1.0, 1.0, 0.0]]
