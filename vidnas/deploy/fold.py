"""Fold norms into the layers before them, for networks that will only be used."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from vidnas.nn.attention import Attention
from vidnas.nn.blocks import FinalConv, MBConv3D, Stem
from vidnas.nn.fusion import TimeStridedConv

Network = TypeVar("Network", bound=nn.Module)

# Layer and norm by name: a norm acts directly on the output of its layer.
_PAIRS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    Stem: (("temporal", "norm"),),
    MBConv3D: (
        ("expand", "expand_norm"),
        ("middle", "middle_norm"),
        ("project", "project_norm"),
        ("shortcut", "shortcut_norm"),
    ),
    FinalConv: (("conv", "norm"),),
    Attention: (("extend", "norm"),),
    TimeStridedConv: (("conv", "norm"),),
}


def fold_norms(network: Network) -> Network:
    """A copy of a network, in evaluation mode, that computes the same without norms.

    In evaluation a norm is an affine map per channel: its scale goes into the weight of the convolution or linear
    layer before it, its shift into that layer's bias.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        for layer_name, norm_name in _pairs(module):
            layer, norm = getattr(module, layer_name), getattr(module, norm_name)
            if isinstance(norm, nn.BatchNorm3d):
                fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
                setattr(module, layer_name, fuse(layer, norm))
                setattr(module, norm_name, nn.Identity())
    return folded


def _pairs(module: nn.Module) -> tuple[tuple[str, str], ...]:
    return next((pairs for kind, pairs in _PAIRS.items() if isinstance(module, kind)), ())
