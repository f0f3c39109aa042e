"""Depthwise 3D convolution that trains: one operator, several backends (docs/depthwise.md)."""

from vidnas.nn.depthwise.backends import Backend, describe_backend
from vidnas.nn.depthwise.module import DepthwiseConv3d, replace_depthwise
from vidnas.nn.depthwise.op import depthwise_conv3d

__all__ = ["Backend", "DepthwiseConv3d", "depthwise_conv3d", "describe_backend", "replace_depthwise"]
