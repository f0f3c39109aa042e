"""GloRe, the attention block of AutoX3D (sec. 3.4)."""

import torch
from torch import Tensor, nn

from vidnas.arch.units import GloRePlan


class GloRe(nn.Module):
    """Global reasoning unit: project positions to graph nodes, reason over the graph, project back, add.

    With P = T * H * W positions: states (N, P, s) and projection (N, P, n) give node features (N, s, n); a graph
    convolution mixes nodes (with residual) and states; the projection takes them back to positions. The last
    norm starts at zero, so an inserted unit starts as the identity. (N, C, T, H, W) -> the same.

    Deviation: node features are means over positions, not sums, so that a test crop larger than the training one
    does not change their scale, and half precision does not overflow.
    """

    def __init__(self, plan: GloRePlan) -> None:
        super().__init__()
        channels, nodes, states = plan.in_channels, plan.nodes, plan.states
        self.state = nn.Linear(channels, states)
        self.projection = nn.Linear(channels, nodes)
        self.over_nodes = nn.Linear(nodes, nodes)
        self.over_states = nn.Linear(states, states, bias=False)
        self.extend = nn.Linear(states, channels, bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, h, w = x.shape
        rows = x.permute(0, 2, 3, 4, 1).reshape(n, t * h * w, c)
        projection = self.projection(rows)
        nodes = self.state(rows).transpose(1, 2) @ projection / (t * h * w)
        nodes = torch.relu(self.over_nodes(nodes) + nodes)
        nodes = self.over_states(nodes.transpose(1, 2))
        mixed = self.extend(projection @ nodes).reshape(n, t, h, w, c).permute(0, 4, 1, 2, 3)
        return x + self.norm(mixed)
