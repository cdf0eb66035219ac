import copy

import pytest
import torch

from crossrec_core.tensors.training.distil import make_distil_step, soft_loss, student_config
from crossrec_core.tensors.training.finetune import build_model
from crossrec_core.tensors.training.fit import fit
from crossrec_core.tensors.training.pretrain import make_step
from tests.tensors.training.test_fit import CANDIDATES, CPU, PLAN, parity_batches, run_fit
from tests.tensors.worlds import config, tiny_model


def step_of(student, teacher, *, alpha, full_softmax_items=100, num_top=256):
    return make_distil_step(
        student, teacher, CANDIDATES, full_softmax_items=full_softmax_items, num_negatives=40, domain_temperature=1.0,
        num_top=num_top, temperature=2.0, alpha=alpha, generator=torch.Generator().manual_seed(1),
    )  # fmt: skip


def test_the_soft_loss_is_the_divergence_over_the_teachers_best():
    teacher_PV, student_PV = torch.tensor([[4.0, 0.0, 2.0, -9.0]]), torch.tensor([[1.0, 5.0, 3.0, 8.0]])
    wanted, given = torch.tensor([4.0, 2.0]) / 2, torch.tensor([1.0, 3.0]) / 2  # the two best: places 0 and 2
    p, q = wanted.softmax(0), given.softmax(0)
    expected = 2.0**2 * (p * (p / q).log()).sum()
    torch.testing.assert_close(soft_loss(student_PV, teacher_PV, num_top=2, temperature=2.0), expected)


@pytest.mark.parametrize("full_softmax_items", [100, 0])
def test_a_student_that_equals_its_teacher_has_no_soft_loss(full_softmax_items):
    teacher = tiny_model()
    batch = parity_batches(1)[0]
    same = step_of(copy.deepcopy(teacher), teacher, alpha=1.0, full_softmax_items=full_softmax_items)(batch)
    other = step_of(tiny_model(seed=1), teacher, alpha=1.0, full_softmax_items=full_softmax_items)(batch)
    assert float(same.detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(other.detach()) > 1e-4


def test_without_the_teachers_part_the_loss_is_pretrainings():
    student, batch = tiny_model(), parity_batches(1)[0]
    plain = make_step(
        student, CANDIDATES, full_softmax_items=100, num_negatives=40, domain_temperature=1.0,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    torch.testing.assert_close(step_of(student, tiny_model(seed=3), alpha=0.0)(batch), plain(batch))


def test_a_narrow_student_learns_from_the_teacher_alone():
    teacher = tiny_model()
    run_fit(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = build_model(student_config(config(), width=8), seed=4, text_vectors_IK=None)
    reports = []
    fit(student, parity_batches, step_of(student, teacher, alpha=1.0), plan=PLAN, seed=0, device=CPU,
        on_epoch=reports.append)  # fmt: skip
    losses = [report.metrics["loss"] for report in reports]
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(teacher.state_dict()[name], before[name]) for name in before)
    batch = parity_batches(99)[0]
    hidden = student(batch.items_BL, batch.domains_BL, batch.actions_BL, batch.gaps_BL, batch.orders_BL)
    scores_BV = student.query(hidden[:, -1], torch.ones(32, dtype=torch.long)) @ student.item_vectors(CANDIDATES[1]).T
    assert ((scores_BV.argmax(dim=1) + 1) % 2 == torch.arange(32) % 2).float().mean() > 0.9


def test_heads_must_divide_the_students_width():
    with pytest.raises(ValueError, match="heads"):
        student_config(config(heads=2), width=7)
