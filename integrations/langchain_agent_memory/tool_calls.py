"""From what a model wrote to the tool calls in it, for the common families of open models.

Families differ in how they mark a call, and agree on little else:

    Hermes, Qwen      <tool_call>{"name": ..., "arguments": {...}}</tool_call>
    Qwen Coder        <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>
    Llama 3           {"name": ..., "parameters": {...}}, after <|python_tag|> or without it
    Llama 3.1         <function=NAME>{...}</function>   or   <|python_tag|>NAME.call(key="value")
    Llama 3.2, 4      [NAME(key="value")], Llama 4 between <|python_start|> and <|python_end|>
    Mistral           [TOOL_CALLS][{"name": ..., "arguments": {...}}]
    Mistral, newer    [TOOL_CALLS]NAME{...}   or   [TOOL_CALLS]NAME[ARGS]{...}
    Gemma 3           [NAME(key="value")], or NAME(key="value") in a fence
    FunctionGemma     <start_function_call>call:NAME{key:<escape>value<escape>}<end_function_call>
    Gemma 4           <|tool_call>call:NAME{key:<|"|>value<|"|>}<tool_call|>
    Phi, Granite      <|tool_call|>[{"name": ..., "arguments": {...}}]
    DeepSeek          <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}, or an older form with a fence

A marked call that cannot be read is kept as an invalid call, so that an agent can tell the model. Text
without a mark is taken for a call only where it names a tool that was offered: a model may well answer in
JSON. What a model only thinks, before </think>, calls nothing. Nothing is executed or evaluated; Python
syntax is read as literals.
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
    re.compile(r"(<function=[^>]+>.*?(?:</function>|\Z))", re.DOTALL),
    re.compile(r"<\|tool_call>(.*?)(?:<tool_call\|>|\Z)", re.DOTALL),
    re.compile(r"<start_function_call>(.*?)(?:<end_function_call>|\Z)", re.DOTALL),
    re.compile(r"<\|tool_call\|>(.*?)(?:<\|/tool_call\|>|\Z)", re.DOTALL),
    re.compile(r"<\|python_tag\|>(.*?)(?:<\|eo[mt]_id\|>|\Z)", re.DOTALL),
    re.compile(r"<\|python_start\|>(.*?)(?:<\|python_end\|>|\Z)", re.DOTALL),
    re.compile(r"\[TOOL_CALLS\](.*?)(?=\[TOOL_CALLS\]|\Z)", re.DOTALL),
    re.compile(r"<｜tool▁call▁begin｜>(.*?)(?:<｜tool▁call▁end｜>|\Z)", re.DOTALL),
)
_AROUND = re.compile(r"</?(?:｜tool▁calls▁(?:begin|end)｜|tool_calls|\|tool_calls?_(?:begin|end)\|)>")
#: Where a model goes on with the result that it expects; that is not its to write.
_RESULT = re.compile(r"(?:<\|tool_response>|<start_function_response>).*", re.DOTALL)
_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([^>]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_DEEPSEEK = re.compile(
    r"(?:function\s*<｜tool▁sep｜>)?\s*([\w.-]+)\s*(?:<｜tool▁sep｜>)?\s*(?:```json)?(.*?)(?:```)?", re.DOTALL
)
_FENCE = re.compile(r"\A```(?:json|tool_code|python)?\s*\n(.*?)\n?```\Z", re.DOTALL)
_GEMMA = re.compile(r"call:([\w.-]+)(\{.*\})", re.DOTALL)
_GEMMA_STRING = re.compile(r"""<\|"\|>|<escape>""")
_GEMMA_KEY = re.compile(r"([{,]\s*)([^\s{}\[\],:\"]+)(\s*:)")
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
    thought = found.group() if (found := _THOUGHT.match(written)) else ""
    parsed = Parsed(text=_RESULT.sub("", written[len(thought) :]))
    for mark in _MARKED:
        for region in mark.findall(parsed.text):
            _read(region, parsed)
        parsed.text = mark.sub("", parsed.text)
    parsed.text = _AROUND.sub("", parsed.text).strip()
    if not (parsed.calls or parsed.invalid):
        unmarked = list(_unmarked(parsed.text))
        if unmarked and all(name in offered for name, _ in unmarked):
            parsed.calls = [_call(name, arguments) for name, arguments in unmarked]
            parsed.text = ""
    parsed.text = (thought + parsed.text).strip()
    return parsed


def _read(region: str, into: Parsed) -> None:
    """Adds the calls of one marked region, or the region as an invalid call."""
    try:
        found = list(_xml(region)) or list(_named(region)) or list(_json_or_python(region))
    except _UNREADABLE as error:
        into.invalid.append(
            InvalidToolCall(
                type="invalid_tool_call",
                id=_new_id(),
                name=None,
                args=region.strip(),
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
    """Calls in tags: Llama's with an object, Qwen Coder's, where a value that is no JSON is text."""
    for name, body in _FUNCTION.findall(region):
        if body.strip().startswith("{"):
            yield name.strip(), _object(body)
        else:
            yield name.strip(), {key.strip(): _value(text) for key, text in _PARAMETER.findall(body)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named(region: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls that put the name before the arguments: Gemma's own, Mistral's newer ones, and DeepSeek's."""
    stripped = region.strip()
    if found := _GEMMA.fullmatch(stripped):
        yield found[1], _object(_as_json(found[2]))
        return
    form = _MISTRAL if "[ARGS]" in stripped else _DEEPSEEK if stripped[:1] not in "{[" else None
    found = form.fullmatch(stripped) if form else None
    if found and found[2].strip().startswith("{"):
        yield found[1], _object(found[2])


def _as_json(text: str) -> str:
    """Gemma's notation as JSON: its keys stand without quotes, its strings between marks of their own."""
    pieces = _GEMMA_STRING.split(text)  # every other one is a string
    return "".join(
        json.dumps(piece) if n % 2 else _GEMMA_KEY.sub(r'\1"\2"\3', piece) for n, piece in enumerate(pieces)
    )


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("arguments are no object")
    return value


def _unmarked(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls without a mark, as JSON or as a Python list of calls; nothing where it is neither."""
    with suppress(*_UNREADABLE):  # then it is an answer
        yield from _json_or_python(_FENCE.sub(r"\1", text).strip())


def _json_or_python(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Calls in JSON, or else in Python."""
    try:
        return list(_json(text))
    except json.JSONDecodeError:
        return list(_python(text.strip()))


def _python(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls written as Python, one or a list of them, with keywords and literals only."""
    tree = ast.parse(text, mode="eval").body
    for node in tree.elts if isinstance(tree, ast.List) else [tree]:
        if not isinstance(node, ast.Call) or node.args:
            raise ValueError("not a call by keywords")
        target = node.func
        if isinstance(target, ast.Attribute) and target.attr == "call":
            target = target.value
        if not isinstance(target, ast.Name):
            raise ValueError("not a call by name")
        yield target.id, {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}


def _call(name: str, arguments: dict[str, Any]) -> ToolCall:
    return ToolCall(type="tool_call", id=_new_id(), name=name, args=arguments)


def _new_id() -> str:
    return f"call_{uuid4().hex[:24]}"
