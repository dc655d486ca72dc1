import torch
from torch.utils import _pytree as pytree

from models.networks import ClassifierOutput


def test_exported_outputs_come_logits_first_then_one_map_for_each_layer():
    output = ClassifierOutput(torch.zeros(1), (torch.ones(1), torch.full((1,), 2.0)))
    assert [leaf.item() for leaf in pytree.tree_leaves(output)] == [0.0, 1.0, 2.0]
