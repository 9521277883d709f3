"""From what a model wrote to the tool calls in it, for the common families of open models.

Families differ in how they mark a call, and agree on little else:

    Qwen, Hermes      <tool_call>{"name": ..., "arguments": {...}}</tool_call>
    Qwen Coder        <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>
    Mistral           [TOOL_CALLS][{"name": ..., "arguments": {...}}]   or   [TOOL_CALLS]NAME[ARGS]{...}
    Llama 3           <|python_tag|>{"name": ..., "parameters": {...}}, or without the mark
    Llama 4, Gemma    [name(key="value")]
    Phi, Granite      <|tool_call|>[{"name": ..., "arguments": {...}}]
    DeepSeek          <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}, or an older form with a fence

A marked call that cannot be read is kept as an invalid call, so that an agent can tell the model. Text
without a mark is taken for a call only where it names a tool that was offered: a model may well answer in
JSON. Nothing is executed or evaluated; Python syntax is read as literals.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.messages import InvalidToolCall, ToolCall

_MARKED = (
    re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL),
    re.compile(r"<\|tool_call\|>(.*?)(?:<\|/tool_call\|>|\Z)", re.DOTALL),
    re.compile(r"<\|python_tag\|>(.*?)(?:<\|eo[mt]_id\|>|\Z)", re.DOTALL),
    re.compile(r"\[TOOL_CALLS\](.*?)(?=\[TOOL_CALLS\]|\Z)", re.DOTALL),
    re.compile(r"<｜tool▁call▁begin｜>(.*?)(?:<｜tool▁call▁end｜>|\Z)", re.DOTALL),
)
_AROUND = re.compile(r"</?(?:｜tool▁calls▁(?:begin|end)｜|tool_calls|\|tool_calls?_(?:begin|end)\|)>")
_FUNCTION = re.compile(r"<function=([^>]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_DEEPSEEK = re.compile(
    r"(?:function\s*<｜tool▁sep｜>)?\s*([\w.-]+)\s*(?:<｜tool▁sep｜>)?\s*(?:```json)?(.*?)(?:```)?", re.DOTALL
)
_FENCE = re.compile(r"\A```(?:json|tool_code|python)?\s*\n(.*?)\n?```\Z", re.DOTALL)
_MISTRAL = re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\]\w+)?\[ARGS\](.*)", re.DOTALL)

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, SyntaxError, RecursionError, MemoryError)


@dataclass(slots=True)
class Parsed:
    """What a model wrote: its words, the calls in it, and what looked like a call and is none."""

    text: str
    calls: list[ToolCall] = field(default_factory=list)
    invalid: list[InvalidToolCall] = field(default_factory=list)


def parse(written: str, *, offered: Collection[str]) -> Parsed:
    """The words and the tool calls of an answer.

    Args:
        written: The answer with its special tokens, but for the end of turn.
        offered: Names of the tools that the model was given.
    """
    parsed = Parsed(text=written)
    for mark in _MARKED:
        for region in mark.findall(parsed.text):
            _read(region, parsed)
        parsed.text = mark.sub("", parsed.text)
    parsed.text = _AROUND.sub("", parsed.text).strip()
    if not (parsed.calls or parsed.invalid):
        found = list(_unmarked(parsed.text))
        if found and all(name in offered for name, _ in found):
            parsed.calls = [_call(name, arguments) for name, arguments in found]
            parsed.text = ""
    return parsed


def _read(region: str, into: Parsed) -> None:
    """Adds the calls of one marked region, or the region as an invalid call."""
    try:
        found = list(_xml(region)) or list(_named(region)) or list(_json(region))
    except _UNREADABLE as error:
        into.invalid.append(
            InvalidToolCall(
                type="invalid_tool_call", id=_new_id(), name=None, args=region.strip(),
                error=f"not a tool call that can be read: {type(error).__name__}",
            )
        )
        return
    into.calls += [_call(name, arguments) for name, arguments in found]


def _json(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls written as one JSON object, a list of them, or several separated by ";" or new lines.

    Raises:
        ValueError: It is not JSON.
        KeyError: An object names no tool.
        TypeError: The arguments are no object.
    """
    decoder, place, text = json.JSONDecoder(), 0, text.strip()
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        for one in value if isinstance(value, list) else [value]:
            yield _from_object(one)
        while place < len(text) and text[place] in " \r\n\t;,":
            place += 1


def _from_object(one: Any) -> tuple[str, dict[str, Any]]:
    inner = one.get("function", one) if isinstance(one, dict) else one
    if not isinstance(inner, dict):
        inner = one
    arguments = inner["arguments"] if "arguments" in inner else inner.get("parameters", {})
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(inner["name"], str) or not isinstance(arguments or {}, dict):
        raise TypeError("name and arguments are not text and object")
    return inner["name"], arguments or {}


def _xml(region: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls in Qwen Coder's tags; a value that is JSON is read as such, any other is text."""
    for name, body in _FUNCTION.findall(region):
        yield name.strip(), {key.strip(): _value(text) for key, text in _PARAMETER.findall(body)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named(region: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls that put the name before the arguments: Mistral's newer form, and DeepSeek's."""
    stripped = region.strip()
    form = _MISTRAL if "[ARGS]" in stripped else _DEEPSEEK if stripped[:1] not in "{[" else None
    found = form.fullmatch(stripped) if form else None
    if found:
        arguments = json.loads(found[2])
        if not isinstance(arguments, dict):
            raise TypeError("arguments are no object")
        yield found[1], arguments


def _unmarked(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls without a mark, as JSON or as a Python list of calls; nothing where it is neither."""
    body = _FENCE.sub(r"\1", text).strip()
    for read in (_json, _python):
        with suppress(*_UNREADABLE):  # what raises is an answer, or written in the other way
            yield from list(read(body))
            return


def _python(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls written as Python, one or a list of them, with keywords and literals only."""
    tree = ast.parse(text, mode="eval").body
    for node in tree.elts if isinstance(tree, ast.List) else [tree]:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError("not a call by keywords")
        yield node.func.id, {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}


def _call(name: str, arguments: dict[str, Any]) -> ToolCall:
    return ToolCall(type="tool_call", id=_new_id(), name=name, args=arguments)


def _new_id() -> str:
    return f"call_{uuid4().hex[:24]}"
