"""The pieces that pages are put together from."""

from collections.abc import Iterable, Sequence

from vidnas.report.picture import clean
from vidnas.report.style import POLICY, STYLE


def document(title: str, sections: Iterable[str]) -> str:
    """A whole page; empty sections are left out."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{clean(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            *(part for part in sections if part),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def heading(title: str, about: str, verdict: str, cards: Iterable[tuple[str, str, str]], note: str = "") -> str:
    """The top of a page.

    Args:
        title: of the page.
        about: a line below it.
        verdict: what came out, in a sentence.
        cards: value, what it is, and its colour or none.
        note: what should be known of the verdict.
    """
    boxes = "".join(
        f'<div class="card"><b{f" style=color:{colour}" if colour else ""}>{clean(value)}</b>'
        f"<span>{clean(name)}</span></div>"
        for value, name, colour in cards
    )
    below = f'<p class="muted">{clean(note)}</p>' if note else ""
    return (
        f'<h1>{clean(title)}</h1><p class="muted">{clean(about)}</p><p class="verdict">{clean(verdict)}</p>{below}'
        f'<div class="cards">{boxes}</div>'
    )


def section(title: str, text: str, *parts: str) -> str:
    """A box with a heading, a line of text and parts, which are HTML."""
    intro = f'<p class="muted">{clean(text)}</p>' if text else ""
    return f"<section><h2>{clean(title)}</h2>{intro}{''.join(parts)}</section>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Rows of cells; columns of `numbers` stand to the right."""
    right = set(numbers)

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = [' class="number"' if column in right else "" for column in range(len(cells))]
        return "".join(f"<{tag}{mark}>{clean(cell)}</{tag}>" for cell, mark in zip(cells, marks, strict=True))

    lines = ([line("th", header)] if header else []) + [line("td", row) for row in rows]
    return "<table>" + "".join(f"<tr>{cells}</tr>" for cells in lines) + "</table>"


def count(number: int) -> str:
    """A number of architectures, of any size."""
    return f"{number:,}" if number < 1_000_000 else f"{number:.2e}"


def plural(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """As a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
