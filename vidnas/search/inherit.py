"""Weights from one step of a progressive search to the next (Auto-TSNet sec. 4.2)."""

from vidnas.nn.one_stream import as_first_stream, is_one_stream
from vidnas.search.space.progressive import attention_before
from vidnas.search.space.space import Choice
from vidnas.search.supernet import Supernet, insert


def inherit(supernet: Supernet, before: Supernet, found: Choice) -> None:
    """Give a supernet the weights of the network that the step before has found, which all of its networks contain.

    What is new stays as it was: attention starts as the identity, fusions by concatenation are silent; of a new stream
    the classifier takes no notice at first. So all networks compute what was found, unless a fusion adds.

    Args:
        supernet: of the next step (`vidnas.search.space.progressive`), freshly initialised.
        before: of the step before.
        found: the choice of `before` that the next step is built on.
    """
    given = {name: tensor.detach() for name, tensor in before.network_state(found).items()}
    space = supernet.space
    start = tuple(
        attention_before(space.options(variable)) if variable.kind == "attention" else option
        for variable, option in zip(space.variables, space.smallest(), strict=True)
    )
    spec = space.decode(start)
    if is_one_stream(spec, given):
        own = {name: tensor.detach() for name, tensor in supernet.network_state(start).items()}
        given = as_first_stream(spec, own, given).tensors
    insert(supernet, start, given)
