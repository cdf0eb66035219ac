"""All heads on one night's pretrained model: the same users at every size, values as meta_train's own judging gives."""

from dataclasses import replace
from datetime import date

import pytest

from benchmarks.fewshot_suite.in_time import METHODS, judge_heads, with_events
from crossrec_core import columns as c
from crossrec_core.lake import Lake
from crossrec_core.tensors.meta_learning.learning_curves import split_users
from crossrec_core.tensors.meta_learning.meta_validation import in_context, judge
from jobs import pretrain
from jobs.ground import read_ground
from jobs.heads import on_device, read_model, to_asking
from jobs.steps import Night
from tests.jobs.test_training import FIT, read_settings, write_world

pytestmark = pytest.mark.spark

# With the rate of FIT the model ranks every truth first, and values that are all one would hide a wrong user order.
SLOW_FIT = {**FIT, "learning_rate": 1e-3}
META = {"method": "bayes", "batch_size": 32, "max_epochs": 1, "width": 8, "hidden": 8, "support_sizes": [0, 1, 3]}


@pytest.fixture(scope="module")
def judged(spark, tmp_path_factory):
    settings = read_settings(tmp_path_factory.mktemp("in_time"), pretrain=SLOW_FIT)
    settings = replace(settings, meta=replace(settings.meta, **META))
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_world(night.lake)
    pretrain.run(settings, night, spark)
    ground = read_ground(settings, night, spark, c.VALIDATE)
    return settings, ground, judge_heads(settings, ground, sizes=(0, 2), seed=7)


def test_every_head_and_every_control_answers_at_every_size_for_the_same_users(judged):
    _, ground, values = judged
    _, judging = split_users(ground.held_out["thin"])
    users = {str(number) for number in judging.user_nums_R.tolist()}
    assert set(values[c.MODEL]) == {*METHODS, "in_context", "pooled", "fine_tuned"}
    for _, own in values.groupby([c.MODEL, c.SEGMENT]):
        assert set(own[c.USER_ID]) == users
    assert set(values[c.SEGMENT]) == {"k=0", "k=2"}
    assert values["value"].between(0, 1).all()


def test_the_model_as_it_is_has_the_values_that_meta_train_would_report(judged):
    settings, ground, values = judged
    settings = replace(settings, train=replace(settings.train, seed=7))
    _, judging = split_users(ground.held_out["thin"])
    asking, answers = vars(to_asking(settings)), {"as_it_is": in_context}
    wanted = judge(read_model(ground), answers, judging, on_device(ground), num_kept=2, **asking)["as_it_is"].ndcg_R
    own = values[(values[c.MODEL] == "in_context") & (values[c.SEGMENT] == "k=2")]
    assert own["value"].tolist() == pytest.approx(wanted.tolist())
    assert 0 < own["value"].mean() < 1


def test_users_with_fewer_events_than_the_largest_size_are_left_out(judged):
    _, ground, _ = judged
    users = ground.held_out["thin"]
    assert len(with_events(users, 2).truth_RT) == len(users.truth_RT)
    assert len(with_events(users, 3).truth_RT) == 0
