"""The attention units that may follow a block (AutoX3D sec. 3.4, Auto-TSNet sec. 3.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.arch.units import GloRePlan, NonLocalPlan
from vidnas.nn.depthwise import Backend
from vidnas.nn.initialise import UnitModule
from vidnas.nn.norm_act import norm_act


class Attention(UnitModule):
    """A unit that relates all positions: x + norm(extend(mixed(x))). (N, C, T, H, W) -> the same.

    Its norm starts at zero, so an inserted unit starts as the identity.

    Attributes:
        extend: layer from the features that are mixed to channels.
        norm: last norm of the branch.
        backend: `stock` uses PyTorch's norm.
    """

    extend: nn.Linear
    norm: nn.BatchNorm3d
    backend: Backend = "auto"

    def start(self, *, zero_init_residual: bool) -> None:
        nn.init.zeros_(self.norm.weight)

    def mixed(self, rows: Tensor) -> Tensor:
        """(N, P, C) -> (N, P, inputs of `extend`), with P = T * H * W positions."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, h, w = x.shape
        rows = x.permute(0, 2, 3, 4, 1).reshape(n, t * h * w, c)
        branch = self.extend(self.mixed(rows)).reshape(n, t, h, w, c).permute(0, 4, 1, 2, 3)
        return norm_act(self.norm, branch, other=x, backend=self.backend)


class GloRe(Attention):
    """Global reasoning unit: project positions to graph nodes, reason over the graph, project back, add.

    States (N, P, s) and projection (N, P, n) give node features (N, s, n); a graph convolution mixes nodes (with
    residual) and states; the projection takes them back to positions.

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

    def mixed(self, rows: Tensor) -> Tensor:
        projection = self.projection(rows)
        nodes = self.state(rows).transpose(1, 2) @ projection / rows.shape[1]
        nodes = torch.relu(self.over_nodes(nodes) + nodes)
        mixed: Tensor = projection @ self.over_states(nodes.transpose(1, 2))
        return mixed


class NonLocal(Attention):
    """Non-local unit, the embedded Gaussian (Wang et al., arXiv 1711.07971, sec. 3).

    Every position takes the mean of g over all positions, weighted by the softmax of theta . phi.

    Deviation: theta . phi is divided by the root of the inner channels, as in the authors' code but not in the paper;
    phi and g are not pooled, and no layer has a bias (docs/discrepancies.md).
    """

    def __init__(self, plan: NonLocalPlan) -> None:
        super().__init__()
        channels, inner = plan.in_channels, plan.inner
        self.theta = nn.Linear(channels, inner, bias=False)
        self.phi = nn.Linear(channels, inner, bias=False)
        self.g = nn.Linear(channels, inner, bias=False)
        self.extend = nn.Linear(inner, channels, bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def mixed(self, rows: Tensor) -> Tensor:
        theta, phi, g = self.theta(rows), self.phi(rows), self.g(rows)
        if torch.is_grad_enabled():
            # On a GPU the gradients of the fused operator are summed in any order: no two trainings would be alike.
            weights = (theta * theta.shape[-1] ** -0.5 @ phi.transpose(1, 2)).softmax(-1)
            return weights @ g
        # It never holds the weights, P x P numbers, which large test crops have no memory for.
        return F.scaled_dot_product_attention(theta[:, None], phi[:, None], g[:, None])[:, 0]
