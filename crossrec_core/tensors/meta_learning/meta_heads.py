"""Tasks in, a logit for every query pair out: the heads that meta-learning can train, behind one call.

T tasks, K support pairs, Q query pairs, N pairs, F raw features, P head features. All heads see a pair through the same
network and start as the in-context model: what they learn is what to change about it. Without any support a head gives
what it has learnt for all tasks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from crossrec_core.tensors.meta_learning import adapt
from crossrec_core.tensors.meta_learning.bayes_head import Prior, Support, moderated_logits, predict
from crossrec_core.tensors.meta_learning.task_features import IN_CONTEXT, Tasks
from crossrec_core.tensors.probability.calibration import Platt, fit_platt

POOLED = "pooled"  # one head for all tasks, never adapted: what meta-learning must beat
UNIT_SOFTPLUS = 0.5413  # softplus of it is 1
SURE_PRECISION = 100.0  # of a prior that a few pairs move by little until training says otherwise
LEAST_SLOPE = 0.1  # a head never starts by turning the in-context order around
NEWTON_STEPS = 3


@dataclass(frozen=True)
class HeadConfig:
    """What shapes a head."""

    method: str
    num_features: int
    num_domains: int
    width: int
    hidden: int
    inner_steps: int
    inner_lr: float


class PairNetwork(nn.Module):
    """Raw features [..., F] -> head features [..., P]: the in-context score, what a network makes of all, and 1."""

    mean_F: Tensor
    scale_F: Tensor

    def __init__(self, num_features: int, width: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(num_features, hidden), nn.SiLU(), nn.Linear(hidden, width - 2))
        self.register_buffer("mean_F", torch.zeros(num_features))
        self.register_buffer("scale_F", torch.ones(num_features))

    def forward(self, x_NF: Tensor) -> Tensor:
        x_NF = (x_NF - self.mean_F) / self.scale_F
        in_context_N1 = x_NF[..., IN_CONTEXT : IN_CONTEXT + 1]
        return torch.cat((in_context_N1, self.body(x_NF), torch.ones_like(in_context_N1)), dim=-1)

    def fit_scale(self, x_NF: Tensor) -> None:
        """Bring the features of some training pairs to mean 0 and deviation 1; a constant one weighs nothing."""
        self.mean_F.copy_(x_NF.mean(dim=0))
        deviation_F = x_NF.std(dim=0)
        self.scale_F.copy_(torch.where(deviation_F > 1e-6, deviation_F, torch.ones_like(deviation_F)))

    def calibrate(self, platt: Platt) -> None:
        """Make the standardised in-context score the logit that ``platt`` maps it to."""
        slope, scale = max(platt.slope, LEAST_SLOPE), self.scale_F[IN_CONTEXT].clone()
        self.scale_F[IN_CONTEXT] = scale / slope
        self.mean_F[IN_CONTEXT] -= platt.offset * scale / slope


class LinearHead(nn.Module):
    """logit = w . phi, with the same w for every task."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.network = PairNetwork(config.num_features, config.width, config.hidden)
        self.weights_P = nn.Parameter(_start(config.width))

    def forward(self, x_NF: Tensor) -> Tensor:
        logits_N: Tensor = self.network(x_NF) @ self.weights_P
        return logits_N


class GradientHead(nn.Module):
    """A linear head that takes gradient steps on each task's support: MAML, its variants, and the pooled head."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = LinearHead(config)

    def forward(self, tasks: Tasks) -> Tensor:
        return self.after(tasks, num_steps=0 if self.config.method == POOLED else self.config.inner_steps)

    def after(self, tasks: Tasks, *, num_steps: int) -> Tensor:
        """The query's logits [T, Q] after so many steps on the support."""
        if num_steps == 0:
            logits_TQ: Tensor = self.linear(tasks.query_TQF)
            return logits_TQ
        inner_lr, params, support = self.config.inner_lr, dict(self.linear.named_parameters()), _support_of(tasks)
        at = (self._predict, params, support, tasks.query_TQF)
        if self.config.method == "maml":
            return adapt.maml(*at, num_steps=num_steps, inner_lr=inner_lr)
        if self.config.method == "anil":
            return adapt.anil(*at, num_steps=num_steps, inner_lr=inner_lr, head=("weights_P",))
        return adapt.first_order_maml(*at, num_steps=num_steps, inner_lr=inner_lr)

    def reptile_loss(self, tasks: Tasks) -> Tensor:
        """What Reptile minimises: it takes a task's pairs as they come, support and query alike."""
        everything = (
            torch.cat((tasks.support_TKF, tasks.query_TQF), dim=1),
            torch.cat((tasks.support_labels_TK, tasks.query_labels_TQ), dim=1),
            torch.cat((tasks.support_mask_TK, tasks.query_mask_TQ), dim=1),
        )
        params = dict(self.linear.named_parameters())
        return adapt.reptile_loss(
            self._predict, params, everything, num_steps=self.config.inner_steps, inner_lr=self.config.inner_lr
        )

    def _predict(self, params: adapt.Params, x_NF: Tensor) -> Tensor:
        logits_N: Tensor = functional_call(self.linear, dict(params), (x_NF,))
        return logits_N


class BayesHead(nn.Module):
    """Every task's weights in closed form, from a learnt prior: w0 = mean + domain.

    The prior starts sure of the in-context model: most features are a network's that has learnt nothing yet, and with
    precision 1 a few pairs drown the score in them.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.network = PairNetwork(config.num_features, config.width, config.hidden)
        self.mean_P = nn.Parameter(_start(config.width))
        self.domain_means = nn.Embedding(config.num_domains + 1, config.width)
        self.precisions = nn.Embedding(config.num_domains + 1, config.width)
        nn.init.zeros_(self.domain_means.weight)
        nn.init.constant_(self.precisions.weight, UNIT_SOFTPLUS)

    def forward(self, tasks: Tasks) -> Tensor:
        phi_TKP = self.network(tasks.support_TKF)
        support = Support(phi_TKP, tasks.support_labels_TK, tasks.support_mask_TK)
        prediction = predict(
            self.prior(tasks.domains_T), support, self.network(tasks.query_TQF), num_steps=NEWTON_STEPS
        )
        return moderated_logits(prediction)

    def prior(self, domains_T: Tensor) -> Prior:
        """The prior of each task: its domain's. What the support says comes in as evidence, and in no other way."""
        mean_TP = self.mean_P + self.domain_means(domains_T)
        return Prior(mean_TP, SURE_PRECISION * F.softplus(self.precisions(domains_T)))


class PrototypeHead(nn.Module):
    """The shared head's logit plus the support's residuals, weighed by attention (Vinyals et al. 2016).

    One place of the attention holds nothing, so that a pair unlike all of the support keeps its logit.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.linear = LinearHead(config)
        self.keys = nn.Linear(config.width, config.width, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, tasks: Tasks) -> Tensor:
        phi_TKP, phi_TQP = self.linear.network(tasks.support_TKF), self.linear.network(tasks.query_TQF)
        residual_TK = tasks.support_labels_TK - torch.sigmoid(phi_TKP @ self.linear.weights_P)
        likeness_TQK = self.keys(phi_TQP) @ self.keys(phi_TKP).transpose(1, 2) * phi_TKP.shape[-1] ** -0.5
        likeness_TQK = likeness_TQK.masked_fill(tasks.support_mask_TK.unsqueeze(1) == 0, -torch.inf)
        weights_TQK = F.pad(likeness_TQK, (0, 1)).softmax(dim=-1)[..., :-1]
        logits_TQ: Tensor = phi_TQP @ self.linear.weights_P
        return logits_TQ + self.gain * (weights_TQK @ residual_TK.unsqueeze(-1)).squeeze(-1)


class NeuralProcessHead(nn.Module):
    """The shared weights plus what the mean code of the support says about this task (Garnelo et al. 2018).

    As in TaNP (Lin et al. 2021) the code changes the weights, it is not one more input; a pair's code is made of its
    features and of the same with the label's sign.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.linear = LinearHead(config)
        self.encode = nn.Sequential(
            nn.Linear(2 * config.width, config.hidden), nn.SiLU(), nn.Linear(config.hidden, config.width)
        )
        self.to_weights = nn.Linear(config.width, config.width, bias=False)
        nn.init.zeros_(self.to_weights.weight)

    def forward(self, tasks: Tasks) -> Tensor:
        phi_TKP, phi_TQP = self.linear.network(tasks.support_TKF), self.linear.network(tasks.query_TQF)
        signs_TK1, mask_TK = (2 * tasks.support_labels_TK - 1).unsqueeze(-1), tasks.support_mask_TK
        codes_TKP = self.encode(torch.cat((phi_TKP, signs_TK1 * phi_TKP), dim=-1))
        code_TP = torch.einsum("tkp,tk->tp", codes_TKP, mask_TK) / mask_TK.sum(dim=1, keepdim=True).clamp(min=1)
        weights_TP = self.linear.weights_P + self.to_weights(code_TP)
        logits_TQ: Tensor = torch.einsum("tqp,tp->tq", phi_TQP, weights_TP)
        return logits_TQ


HEADS: dict[str, Callable[[HeadConfig], nn.Module]] = {
    "bayes": BayesHead,
    "maml": GradientHead,
    "fomaml": GradientHead,
    "anil": GradientHead,
    "reptile": GradientHead,
    "prototypes": PrototypeHead,
    "neural_process": NeuralProcessHead,
    POOLED: GradientHead,
}


def build_head(config: HeadConfig, *, seed: int) -> nn.Module:
    """A fresh head; the seed alone makes its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[config.method](config)


def fit_scale(head: nn.Module, x_NF: Tensor) -> None:
    """Standardise the raw features of a head by some training pairs."""
    for network in _networks_of(head):
        network.fit_scale(x_NF)


def start_calibrated(head: nn.Module, x_NF: Tensor, labels_N: Tensor) -> None:
    """Let a fresh head start as the in-context model calibrated by some training pairs, after ``fit_scale``.

    Otherwise the first thing that all its weights learn together is how sure to be, at the order's cost.
    """
    for network in _networks_of(head):
        scores_N = (x_NF[:, IN_CONTEXT] - network.mean_F[IN_CONTEXT]) / network.scale_F[IN_CONTEXT]
        platt = fit_platt(scores_N.double().cpu(), labels_N.double().cpu())
        if platt is not None:
            network.calibrate(platt)


def _networks_of(head: nn.Module) -> Iterator[PairNetwork]:
    return (module for module in head.modules() if isinstance(module, PairNetwork))


def _start(width: int) -> Tensor:
    """Weights that rank as the in-context model does."""
    weights_P = torch.zeros(width)
    weights_P[IN_CONTEXT] = 1.0
    return weights_P


def _support_of(tasks: Tasks) -> tuple[Tensor, Tensor, Tensor]:
    return tasks.support_TKF, tasks.support_labels_TK, tasks.support_mask_TK
