"""YAML and JSON text as plain data, and the lines on which its fields stand."""

import json
from typing import Any

import yaml

from vidnas.base.errors import VidnasError
from vidnas.base.mistakes import FieldPath


class _Compact(yaml.SafeDumper):
    """A dumper that sets lists off from their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def parse_json(text: str, source: str) -> Any:
    """Data of a JSON text.

    Raises:
        VidnasError: not JSON, or a field that is given twice; the message names the line.
    """
    twice = False

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        known = dict(pairs)
        twice |= len(known) < len(pairs)
        return known

    try:
        data = json.loads(text, object_pairs_hook=fields)
    except json.JSONDecodeError as error:
        raise VidnasError(f"{source}, line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise VidnasError(f"{source}: not JSON ({error})") from error
    if twice:
        _check(_compose(text, source), source, [], set())
    return data


def parse_yaml(text: str, source: str) -> Any:
    """Data of a YAML text, which JSON is too.

    Raises:
        VidnasError: not YAML, a key that is given twice, or anything but lists, mappings and plain values; the message
            names the line.
    """
    try:
        # What YAML 1.1 reads otherwise in a JSON text (tabs, 1e-05) is right this way.
        return parse_json(text, source)
    except VidnasError:
        root = _compose(text, source)
    if root is None:
        return None
    _check(root, source, [], set())
    return _plain(root, yaml.SafeLoader(""), source, {})


def to_yaml(data: Any) -> str:
    """Block style, innermost lists and mappings in one line."""
    return yaml.dump(data, Dumper=_Compact, sort_keys=False, default_flow_style=None, width=120)


def lines_of(text: str, path: FieldPath) -> list[int]:
    """The lines (from 1) of a field and of those it stands in, outermost first, as far as the text has them."""
    try:
        node = _compose(text, "")
    except VidnasError:
        return []
    lines: list[int] = []
    for part in path:
        if isinstance(node, yaml.MappingNode) and isinstance(part, str):
            yaml.SafeLoader("").flatten_mapping(node)  # `<<: *group` stands for the fields of that group
            entry = next(((key, value) for key, value in reversed(node.value) if key.value == part), None)
            if entry is None:
                break
            lines.append(entry[0].start_mark.line + 1)
            node = entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            lines.append(node.start_mark.line + 1)
        elif not (isinstance(part, int) and isinstance(node, yaml.MappingNode)):
            break  # a single mapping stands for a list of one
    return lines


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        # In JSON a tab is a space; in YAML one that indents is an error whatever else is right.
        node: yaml.Node | None = yaml.compose(_without_tabs(text), Loader=yaml.SafeLoader)
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        what = " ".join((error.problem or error.context or "cannot be read").split())
        tab = "a tab; indent with spaces" if "\\t" in what else f"not YAML ({what})"
        raise VidnasError(f"{source}{line}: {tab}") from error
    except yaml.reader.ReaderError as error:
        line = f", line {text.count(chr(10), 0, error.position) + 1}"
        raise VidnasError(f"{source}{line}: not YAML (a character that no text has)") from error
    except RecursionError as error:
        raise VidnasError(f"{source}: not YAML (nested too deeply)") from error


def _without_tabs(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def _check(node: yaml.Node | None, source: str, around: list[yaml.Node], seen: set[int]) -> None:
    """Refuse keys that are given twice or are no words, anchors inside themselves, and tags."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    line = node.start_mark.line + 1
    if any(node is outer for outer in around):
        raise VidnasError(f"{source}, line {line}: an anchor that holds itself; write it out")
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        raise VidnasError(f"{source}, line {line}: the tag {node.tag} is not known here; leave it out")
    if isinstance(node, yaml.MappingNode):
        keys: dict[str, int] = {}
        for key, _ in node.value:
            place = f"{source}, line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise VidnasError(f"{place}: a list or mapping as a key; write `key: value`")
            if key.value in keys:
                raise VidnasError(f"{place}: {key.value} is given twice, first in line {keys[key.value]}; keep one")
            keys[key.value] = key.start_mark.line + 1
    children = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else node.value
    for child in children:
        _check(child, source, [*around, node], seen)


def _plain(node: yaml.Node, loader: yaml.SafeLoader, source: str, known: dict[int, Any]) -> Any:
    """The data of a checked node; what an anchor names is made once."""
    if id(node) in known:
        return known[id(node)]
    data: Any
    try:
        if isinstance(node, yaml.MappingNode):
            loader.flatten_mapping(node)
            data = {key.value: _plain(value, loader, source, known) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            data = [_plain(child, loader, source, known) for child in node.value]
        else:
            data = loader.construct_object(node)
    except (ValueError, yaml.constructor.ConstructorError) as error:  # a month 13, a tag such as !!python/name
        what = getattr(error, "problem", None) or str(error)
        raise VidnasError(f"{source}, line {node.start_mark.line + 1}: not a plain value ({what})") from error
    known[id(node)] = data
    return data
