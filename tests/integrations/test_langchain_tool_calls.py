"""Tool calls as the families of open models write them (forms of their model cards), and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_agent_memory.tool_calls import parse

ARGUMENTS = '{"city": "Paris", "unit": "celsius"}'
AS_JSON = f'{{"name": "get_weather", "arguments": {ARGUMENTS}}}'
AS_LLAMA = f'{{"name": "get_weather", "parameters": {ARGUMENTS}}}'
WEATHER = ("get_weather", {"city": "Paris", "unit": "celsius"})
TIME = ("get_time", {"zone": "UTC"})
OFFERED = {"get_weather", "get_time"}

ONE = {
    "qwen": f"<tool_call>\n{AS_JSON}\n</tool_call>",
    "qwen, cut at the end": f"<tool_call>\n{AS_JSON}",
    "qwen coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
                  "<parameter=unit>\ncelsius\n</parameter>\n</function>\n</tool_call>",
    "mistral": f"[TOOL_CALLS][{AS_JSON}]",
    "mistral, newer": f"[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}",
    "mistral, with id": f"[TOOL_CALLS]get_weather[CALL_ID]a1b2c3[ARGS]{ARGUMENTS}",
    "llama 3": f"<|python_tag|>{AS_LLAMA}<|eom_id|>",
    "llama 3, unmarked": AS_LLAMA,
    "llama 4": '[get_weather(city="Paris", unit="celsius")]',
    "gemma": '```tool_code\nget_weather(city="Paris", unit="celsius")\n```',
    "fenced": f"```json\n{AS_JSON}\n```",
    "phi": f"<|tool_call|>[{AS_JSON}]<|/tool_call|>",
    "granite": f"<|tool_call|>[{AS_JSON}]",
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
                f"{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek 3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
                    f"{ARGUMENTS}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "as openai": '<tool_call>{"type": "function", "function": {"name": "get_weather", "arguments": '
                 '"{\\"city\\": \\"Paris\\", \\"unit\\": \\"celsius\\"}"}}</tool_call>',
}

SECOND = '{"name": "get_time", "arguments": {"zone": "UTC"}}'
TWO = {
    "qwen": f"<tool_call>{AS_JSON}</tool_call>\n<tool_call>{SECOND}</tool_call>",
    "mistral": f"[TOOL_CALLS][{AS_JSON}, {SECOND}]",
    "mistral, newer": f'[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}[TOOL_CALLS]get_time[ARGS]{{"zone": "UTC"}}',
    "llama 3": f'<|python_tag|>{AS_LLAMA}; {{"name": "get_time", "parameters": {{"zone": "UTC"}}}}',
    "llama 4": '[get_weather(city="Paris", unit="celsius"), get_time(zone="UTC")]',
}


def calls(written: str) -> list[tuple[str, dict[str, object]]]:
    parsed = parse(written, offered=OFFERED)
    assert parsed.invalid == []
    return [(call["name"], call["args"]) for call in parsed.calls]


@pytest.mark.parametrize("family", ONE)
def test_a_call_is_read_in_the_form_of(family):
    assert calls(ONE[family]) == [WEATHER]
    assert parse(ONE[family], offered=OFFERED).text == ""


@pytest.mark.parametrize("family", TWO)
def test_two_calls_are_read_in_the_form_of(family):
    assert calls(TWO[family]) == [WEATHER, TIME]
    ids = [call["id"] for call in parse(TWO[family], offered=OFFERED).calls]
    assert len(set(ids)) == 2


def test_words_before_a_call_are_kept():
    parsed = parse("I look it up.\n" + ONE["qwen"], offered=OFFERED)
    assert parsed.text == "I look it up."
    assert len(parsed.calls) == 1


def test_a_call_without_arguments_and_one_with_unicode_are_read():
    assert calls('<tool_call>{"name": "get_time"}</tool_call>') == [("get_time", {})]
    assert calls('<tool_call>{"name": "get_time", "arguments": {"zone": "東京 🎈"}}</tool_call>') == [
        ("get_time", {"zone": "東京 🎈"})]


@pytest.mark.parametrize("written", [
    "It is sunny.", '{"answer": 42}', '{"name": "Zorro", "parameters": {"colour": "black"}}', "[1, 2]", "[",
    "", "print(x)", '__import__("os").system("x")', "[get_weather(city=open('f'))]", "`[TOOL_CALL]`",
])
def test_an_answer_that_is_no_call_stays_an_answer(written):
    parsed = parse(written, offered=OFFERED)
    assert (parsed.text, parsed.calls, parsed.invalid) == (written.strip(), [], [])


@pytest.mark.parametrize("region", ['{"name": "get_weather", "arguments": {"city":', '{"arguments": {}}',
                                    '{"name": "get_weather", "arguments": [1]}', "[1]", "null", "!", ""])
def test_a_marked_call_that_cannot_be_read_is_told_as_invalid(region):
    parsed = parse(f"<tool_call>{region}</tool_call>", offered=OFFERED)
    assert parsed.calls == []
    assert [call["args"] for call in parsed.invalid] == ([region] if region else [])


@given(st.text(alphabet='<tool_call>/{}[]":,nameargumets|TOL_CALS()=\n｜▁ 1', max_size=120))
def test_nothing_that_a_model_writes_raises(written):
    parse(written, offered=OFFERED)
