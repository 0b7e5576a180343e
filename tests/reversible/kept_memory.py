"""What tests of memory share: how much autograd keeps."""

import torch


def kept_bytes(loss, net, *inputs):
    """Bytes that autograd keeps for the backward pass of ``loss(net, *inputs)``, which is run too.

    Each storage counts once; those of the parameters of ``net`` do not.
    """
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(net, *inputs)
    value.backward()
    return sum(kept.values())
