"""A trained teacher and a narrower student in, the student's training step out (Hinton et al. 2015).

loss = alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy of the next item. The divergence looks at the
teacher's best candidates only, both sides softened by the temperature T.

P positions with a target, V candidates of a domain, M the teacher's best among them, D width.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from crossrec_core.tensors.inputs.batches import Batch, is_candidate
from crossrec_core.tensors.inputs.masking import mask_batch
from crossrec_core.tensors.network.encoder import BERT, ModelConfig, SequenceModel
from crossrec_core.tensors.network.items import pick_hidden_ids
from crossrec_core.tensors.training.losses import full_softmax, mix_domains, sampled_softmax
from crossrec_core.tensors.training.negatives import draw_negatives


def student_config(config: ModelConfig, *, width: int) -> ModelConfig:
    """The teacher's shape at another width.

    Raises:
        ValueError: the heads do not divide the width.
    """
    if width % config.heads:
        raise ValueError(f"width {width}: {config.heads} heads do not divide it")
    return replace(config, width=width)


def soft_loss(student_PV: Tensor, teacher_PV: Tensor, *, num_top: int, temperature: float) -> Tensor:
    """T^2 * mean KL(teacher || student) over the teacher's ``num_top`` best candidates; 0 where both agree.

    T^2 keeps the gradient's size the same for every temperature.
    """
    best_PM, places_PM = teacher_PV.topk(min(num_top, teacher_PV.shape[1]), dim=1)
    wanted_PM = (best_PM / temperature).log_softmax(dim=1)
    given_PM = (student_PV.gather(1, places_PM) / temperature).log_softmax(dim=1)
    return F.kl_div(given_PM, wanted_PM, log_target=True, reduction="batchmean") * temperature**2


def make_distil_step(
    student: SequenceModel,
    teacher: SequenceModel,
    candidates: Mapping[int, Tensor],
    *,
    full_softmax_items: int,
    num_negatives: int,
    domain_temperature: float,
    num_top: int,
    temperature: float,
    alpha: float,
    generator: Generator,
    sizes: Mapping[int, int] | None = None,
) -> Callable[[Batch], Tensor | None]:
    """Build the step of distillation; as ``pretrain.make_step``, with the teacher's view beside the next item.

    Above ``full_softmax_items`` candidates the teacher is asked about the batch's negatives alone; ``sizes`` are as in
    ``pretrain.make_step``. The teacher is put into evaluation mode and never changes.
    """
    teacher.eval().requires_grad_(False)
    domain_nums = torch.tensor(sorted(candidates), device=generator.device)

    def step(batch: Batch) -> Tensor | None:
        hidden_I = pick_hidden_ids(student.config.num_items, student.config.id_dropout, generator)
        if student.config.encoder == BERT:
            batch = mask_batch(
                batch, domain_nums, mask_share=student.config.mask_share,
                mask_last_share=student.config.mask_last_share, generator=generator,
            )  # fmt: skip
        events = (batch.items_BL, batch.domains_BL, batch.actions_BL, batch.gaps_BL, batch.orders_BL)
        own_BLD = student(*events, wanted_domains_BL=batch.target_domains_BL, hidden_I=hidden_I, sparse=True)
        teacher_BLD = teacher(*events, wanted_domains_BL=batch.target_domains_BL)
        losses, counts = {}, {}
        for domain, nums_V in candidates.items():
            taken_BL = (batch.target_domains_BL == domain) & is_candidate(batch.target_items_BL, nums_V)
            targets_P = batch.target_items_BL[taken_BL]
            if len(targets_P) == 0:
                continue
            counts[domain], domains_P = len(targets_P), torch.full_like(targets_P, domain)
            queries_PD = student.query(own_BLD[taken_BL], domains_P)
            is_full = (sizes or {}).get(domain, len(nums_V)) <= full_softmax_items
            asked_V = nums_V if is_full else draw_negatives(nums_V, num_negatives, generator)
            vectors_VD = student.item_vectors(asked_V, hidden_I, sparse=True)
            if is_full:
                hard = full_softmax(queries_PD, vectors_VD, torch.searchsorted(nums_V, targets_P))
            else:
                targets_PD = student.item_vectors(targets_P, hidden_I, sparse=True)
                hard = sampled_softmax(queries_PD, targets_PD, vectors_VD, targets_P, asked_V)
            teacher_PV = teacher.query(teacher_BLD[taken_BL], domains_P) @ teacher.item_vectors(asked_V).T
            soft = soft_loss(queries_PD @ vectors_VD.T, teacher_PV, num_top=num_top, temperature=temperature)
            losses[domain] = alpha * soft + (1 - alpha) * hard
        return mix_domains(losses, counts, temperature=domain_temperature) if losses else None

    return step
