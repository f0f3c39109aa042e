"""How parameters start: by He's rule, and what a unit says of its own."""

from torch import nn


class UnitModule(nn.Module):
    """Base of the modules of units, which may start some of their parameters otherwise than by He's rule."""

    def start(self, *, zero_init_residual: bool) -> None:
        """Set those parameters; called once He's rule has set all.

        Args:
            zero_init_residual: see `initialise`.
        """


def initialise(network: nn.Module, *, zero_init_residual: bool = True) -> None:
    """(Re-)initialise in place, from torch's current random state: He's rule, biases at zero.

    Args:
        network: any module made of ours.
        zero_init_residual: start the last norm of every residual branch at zero (X3D A.3). Attention always does.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm3d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, UnitModule):
            module.start(zero_init_residual=zero_init_residual)
