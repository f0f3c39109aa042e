"""Stem, MBConv block, and the final convolution of X3D-like networks."""

from torch import Tensor, nn

from vidnas.arch.spec import Kernel
from vidnas.arch.units import BlockPlan, Conv5Plan, StemPlan
from vidnas.nn.chain import Layer, run_chain
from vidnas.nn.depthwise import Backend, DepthwiseConv3d
from vidnas.nn.initialise import UnitModule
from vidnas.nn.norm_act import Act, SqueezeExcite
from vidnas.nn.pointwise import PointwiseConv3d


def conv3d(
    in_channels: int,
    out_channels: int,
    kernel: Kernel = Kernel(t=1, s=1),  # noqa: B008 (frozen)
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Conv3d:
    """A convolution without bias that keeps T and maps S to ceil(S / stride), on the operator that suits it."""
    if kernel == Kernel(t=1, s=1) and groups == 1:
        return PointwiseConv3d(in_channels, out_channels, stride=stride)
    kind = DepthwiseConv3d if groups == in_channels == out_channels else nn.Conv3d
    return kind(
        in_channels,
        out_channels,
        (kernel.t, kernel.s, kernel.s),
        stride=(1, stride, stride),
        padding=(kernel.t // 2, kernel.s // 2, kernel.s // 2),
        groups=groups,
        bias=False,
    )


class Stem(UnitModule):
    """1 x s x s with stride 2, depthwise t x 1 x 1, norm, ReLU: (N, 3, T, S, S) -> (N, C, T, S/2, S/2)."""

    def __init__(self, plan: StemPlan) -> None:
        super().__init__()
        channels, kernel = plan.out_channels, plan.kernel
        self.spatial = conv3d(plan.in_channels, channels, Kernel(t=1, s=kernel.s), stride=plan.stride)
        self.temporal = conv3d(channels, channels, Kernel(t=kernel.t, s=1), groups=channels)
        self.norm = nn.BatchNorm3d(channels)
        self.backend: Backend = "auto"

    def forward(self, x: Tensor) -> Tensor:
        return run_chain(self.spatial(x), [Layer(self.temporal, self.norm, "relu")], backend=self.backend)


class MBConv3D(UnitModule):
    """Expand, middle convolution, squeeze-excitation, project, shortcut (X3D sec. 3.1, A.3).

    1x1x1, norm, ReLU, t x s x s (stride here), norm, SE, swish, 1x1x1, norm, + shortcut, ReLU.
    (N, in_channels, T, S, S) -> (N, out_channels, T, S / stride, S / stride).

    Where fused channels enter a block that would pass its own on, it does so still, and a projection of all is added,
    which says nothing at first (the last norm's scale is 0).
    """

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        hidden, out_channels = plan.hidden, plan.out_channels
        self.expand = conv3d(plan.in_channels, hidden)
        self.expand_norm = nn.BatchNorm3d(hidden)
        groups = hidden if plan.depthwise else 1
        self.middle = conv3d(hidden, hidden, plan.kernel, stride=plan.stride, groups=groups)
        self.middle_norm = nn.BatchNorm3d(hidden)
        self.se = SqueezeExcite(hidden, plan.se_channels) if plan.se_channels else None
        self.activation: Act = "swish" if plan.activation == "swish" else "relu"
        self.project = conv3d(hidden, out_channels)
        self.project_norm = nn.BatchNorm3d(out_channels)
        projects = plan.shortcut != "identity"
        self.shortcut = conv3d(plan.in_channels, out_channels, stride=plan.stride) if projects else None
        self.shortcut_norm = nn.BatchNorm3d(out_channels) if plan.norms_shortcut else None
        self._adds_own = plan.shortcut == "identity_and_projection"
        self.backend: Backend = "auto"

    def forward(self, x: Tensor) -> Tensor:
        layers = [self._expansion(), self._middle(), self._projection()]
        return run_chain(x, layers, other=self.run_shortcut(x), backend=self.backend)

    def start(self, *, zero_init_residual: bool) -> None:
        if zero_init_residual:
            nn.init.zeros_(self.project_norm.weight)
        if self._adds_own:
            assert self.shortcut_norm is not None
            nn.init.zeros_(self.shortcut_norm.weight)

    def run_shortcut(self, x: Tensor) -> Tensor:
        """What the shortcut adds: (N, in_channels, T, S, S) -> (N, out_channels, T, S / stride, S / stride)."""
        if self.shortcut is None:
            return x
        if self.shortcut_norm is None:
            shortcut: Tensor = self.shortcut(x)
            return shortcut
        projected = run_chain(x, [Layer(self.shortcut, self.shortcut_norm)], backend=self.backend)
        return projected + x[:, : projected.shape[1]] if self._adds_own else projected

    def run_expand(self, x: Tensor) -> Tensor:
        """(N, in_channels, T, S, S) -> (N, hidden, T, S, S)."""
        return run_chain(x, [self._expansion()], backend=self.backend)

    def run_middle(self, x: Tensor) -> Tensor:
        """(N, hidden, T, S, S) -> (N, hidden, T, S / stride, S / stride)."""
        return run_chain(x, [self._middle()], backend=self.backend)

    def run_project(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """(N, hidden, T, S / stride, S / stride) -> (N, out_channels, T, S / stride, S / stride)."""
        return run_chain(x, [self._projection()], other=shortcut, backend=self.backend)

    def _expansion(self) -> Layer:
        return Layer(self.expand, self.expand_norm, "relu")

    def _middle(self) -> Layer:
        return Layer(self.middle, self.middle_norm, self.activation, self.se)

    def _projection(self) -> Layer:
        return Layer(self.project, self.project_norm, "relu")


class FinalConv(UnitModule):
    """conv5: 1x1x1, norm, ReLU."""

    def __init__(self, plan: Conv5Plan) -> None:
        super().__init__()
        self.conv = conv3d(plan.in_channels, plan.out_channels)
        self.norm = nn.BatchNorm3d(plan.out_channels)
        self.backend: Backend = "auto"

    def forward(self, x: Tensor) -> Tensor:
        return run_chain(x, [Layer(self.conv, self.norm, "relu")], backend=self.backend)
