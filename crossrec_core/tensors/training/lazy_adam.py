"""A table with a sparse gradient in, its touched rows changed: Adam that leaves all other rows alone.

torch's SparseAdam does the same by a dozen sparse tensors per step. Here the touched rows and their moments are
gathered, changed by one fused kernel and put back.

I rows of the table, R touched rows, D width.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam


class LazyAdam(Optimizer):
    """Adam (Kingma & Ba 2015) over the rows that have a gradient; a row's moments rest while it has none.

    Gradients must be sparse in their first dimension. The correction for the moments' start counts the steps of the
    table, not of the row, as in torch's SparseAdam.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        # By "fused" torch knows that a stored number of steps goes where the table is
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change the touched rows of every table in place."""
        assert closure is None, "a step that evaluates the loss again is not needed here"
        for group in self.param_groups:
            for table_ID in group["params"]:
                if table_ID.grad is not None:
                    self._change(table_ID, table_ID.grad.coalesce(), group)

    def _change(self, table_ID: Tensor, gradient_ID: Tensor, group: dict[str, Any]) -> None:
        rows_R, gradient_RD = gradient_ID.indices()[0], gradient_ID.values()
        if not len(rows_R):
            return
        state = self.state[table_ID]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=table_ID.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table_ID), torch.zeros_like(table_ID)
        tables = (table_ID, state["exp_avg"], state["exp_avg_sq"])
        values_RD, mean_RD, square_RD = (table.index_select(0, rows_R) for table in tables)
        beta1, beta2 = group["betas"]
        adam(
            [values_RD], [gradient_RD], [mean_RD], [square_RD], [], [state["step"]], fused=True, amsgrad=False,
            beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=0.0, eps=group["eps"], maximize=False,
        )  # fmt: skip
        for table, changed_RD in zip(tables, (values_RD, mean_RD, square_RD), strict=True):
            table.index_copy_(0, rows_R, changed_RD)
