"""Several processes train one model; a killed one is started again, and what a rank refuses is told in one line."""

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.delta import write_rows
from crossrec_core.errors import CrossRecError
from crossrec_core.lake import Lake, model_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.tables import SEQUENCES, TRAINING_LOG
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.network.checkpoint import load_checkpoint
from crossrec_core.tensors.training.ranks import sum_over_ranks, this_rank
from jobs import pretrain
from jobs.distributed import count_ranks, train_on_ranks
from jobs.ground import read_ground
from jobs.steps import Night
from jobs.training import Trained, new_model
from tests.jobs.test_training import NUM_USERS, read_settings, sequence_row, write_world

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    settings = read_settings(folder, num_processes=2)
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_world(night.lake)
    more = [sequence_row(user, c.VALIDATE) for user in range(NUM_USERS + 1, 2 * NUM_USERS + 1)]
    write_rows(night.lake, SEQUENCES, more, append=True)  # a second file: each rank reads its own
    return settings, night, read_ground(settings, night, spark, c.VALIDATE)


def die_once(settings, ground, marker):
    """The second rank is killed the first time; then both agree on a weight."""
    if this_rank().rank == 1 and not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    model = new_model(settings, ground)
    with torch.no_grad():
        model.items.ids.fill_(sum_over_ranks([1.0], ground.device)[0])
    return model, Trained(16, 1, 0.5, 0.1, ())


def refuse(settings, ground):
    raise CrossRecError("training: the loss is nan")


def always_die(settings, ground):
    os._exit(9)


def test_there_are_no_more_ranks_than_files(world):
    settings, _, ground = world
    assert len(ground.files) == count_ranks(settings, ground) == 2
    assert count_ranks(settings, replace(ground, files=ground.files[:1])) == 1


def test_a_killed_process_is_started_again(world, spark, tmp_path, capfd):
    settings, _, ground = world
    model = new_model(settings, ground)
    trained = train_on_ranks(die_once, settings, ground, model, str(tmp_path / "marker"))

    assert trained == Trained(16, 1, 0.5, 0.1, ())
    assert torch.equal(model.items.ids, torch.full_like(model.items.ids, 2.0))
    printed = capfd.readouterr()
    assert "starting again from the last epoch" in printed.err
    assert "torch" not in printed.out


def test_what_a_rank_refuses_is_told_as_it_is(world, spark):
    settings, _, ground = world
    with pytest.raises(CrossRecError, match=r"^training: the loss is nan$"):
        train_on_ranks(refuse, settings, ground, new_model(settings, ground))


def test_processes_that_always_die_end_in_one_line(world, spark):
    settings, _, ground = world
    with pytest.raises(CrossRecError, match=r"train\.num_processes = 2: the processes ended 3 times") as caught:
        train_on_ranks(always_die, settings, ground, new_model(settings, ground))
    assert "\n" not in str(caught.value)


def test_two_processes_pretrain_the_model_of_the_night(world, spark, capfd):
    settings, night, ground = world
    alone = replace(settings, train=replace(settings.train, num_processes=1))
    found = {}
    for each in (alone, settings):
        pretrain.fit_pretrained(each, ground)
        path = night.lake.at(model_location("r1", c.VALIDATE, c.PRETRAINED, c.ALL_DOMAINS))
        rows = read_rows(night.lake, TRAINING_LOG, where={c.MODEL: c.PRETRAINED})
        losses = [row["value"] for row in sorted(rows, key=lambda row: row["epoch"]) if row[c.METRIC] == "loss"]
        steps = sorted({row["step"] for row in rows})
        found[each.train.num_processes] = load_checkpoint(path).about.settings, losses, steps
    (about, losses, steps), (shared_about, shared_losses, shared_steps) = found[1], found[2]

    assert about["batch_size"] == shared_about["batch_size"] == 16
    assert steps == shared_steps  # the same number of optimiser steps, of half a batch each
    assert shared_losses == pytest.approx(losses, rel=0.1)
    assert shared_losses[-1] < shared_losses[0]
    assert not has_file(night.lake.at(model_location("r1", c.VALIDATE, pretrain.IN_PROGRESS, "all")), "state.json")
    assert "crossrec: pretrain: epoch 2 of 2, NDCG@10" in capfd.readouterr().err
