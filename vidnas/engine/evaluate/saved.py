"""Which kind of result a head has, and results from their folders."""

from collections.abc import Mapping
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json
from vidnas.engine.evaluate.classification_result import ClassificationResult
from vidnas.engine.evaluate.multi_label_result import MultiLabelResult
from vidnas.engine.evaluate.results import TestResult

# By the kind of the head.
RESULTS: Mapping[str, type[TestResult]] = {result.kind: result for result in (ClassificationResult, MultiLabelResult)}


def load_result(folder: Path) -> TestResult:
    """What `TestResult.save` wrote, to the bit.

    Raises:
        VidnasError: a file is missing, or not as `save` writes it.
    """
    file = folder / "result.json"
    kind = read_json(file).get("task")
    if kind not in RESULTS:
        raise VidnasError(f"{file}: no task {kind!r}, only {', '.join(RESULTS)}; remove the folder and test anew")
    return RESULTS[kind].load(folder)
