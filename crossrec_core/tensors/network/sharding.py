"""A model in, the same model with its parameters spread over the ranks of a mesh out."""

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from crossrec_core.tensors.network.encoder import SequenceModel


def shard(model: SequenceModel, mesh: DeviceMesh) -> SequenceModel:
    """Spread every parameter over the ranks by its first dimension, in place (FSDP2; Zhao et al. 2023).

    A rank holds 1/n of every block and of the item table, with its gradients and moments; the whole of one block is
    gathered only while that block runs. Works on a model on the meta device, so that no rank ever holds all of it.
    Gradients are reduced as dense tensors: look items up with ``sparse=False``.
    """
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for method in ("query", "item_vectors", "last_query"):  # they too need the whole parameters
        register_fsdp_forward_method(model, method)
    return model
