"""Limits of settings: found in the types, in words, and kept."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field

from vidnas.base.errors import VidnasError
from vidnas.base.limits import AboveZero, Natural, Positive, Share, check_limits, limits_in_words


@dataclass(frozen=True)
class Settings:
    number: Positive = 1
    rate: AboveZero | None = None
    share: Share = 0.0
    part: Annotated[float, Field(gt=0, le=1)] = 1.0
    name: str = ""


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Natural, "at least 0"),
        (AboveZero | None, "above 0, or null"),
        (Share, "at least 0 and below 1"),
        (str, ""),
        (int | None, ""),
    ],
)
def test_limits_are_words(hint: object, words: str) -> None:
    assert limits_in_words(hint) == words


def test_what_lies_within_is_let_through() -> None:
    check_limits(Settings(), "group")
    check_limits(Settings(number=7, rate=1e-9, share=0.999, part=1e-9), "group")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(number=0), "group.number: must be at least 1 (got 0)"),
        (Settings(rate=0.0), "group.rate: must be above 0, or null (got 0.0)"),
        (Settings(rate=float("nan")), "group.rate: must be above 0, or null (got nan)"),
        (Settings(share=1.0), "group.share: must be at least 0 and below 1 (got 1.0)"),
        (Settings(part=1.5), "group.part: must be above 0 and at most 1 (got 1.5)"),
    ],
)
def test_what_lies_outside_is_refused(settings: Settings, message: str) -> None:
    with pytest.raises(VidnasError) as caught:
        check_limits(settings, "group")
    assert str(caught.value) == message
