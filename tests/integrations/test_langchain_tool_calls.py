"""Tool calls as the families of open models write them, and what is none.

The forms are those of the families' own documentation and of the parsers that vLLM and Transformers have for
them, each written out by hand for the same question about the weather. No model was run.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_agent_memory.tool_calls import parse

ARGUMENTS = '{"city": "Paris", "unit": "celsius"}'
AS_JSON = f'{{"name": "get_weather", "arguments": {ARGUMENTS}}}'
AS_LLAMA = f'{{"name": "get_weather", "parameters": {ARGUMENTS}}}'
AS_PYTHON = 'get_weather(city="Paris", unit="celsius")'
WEATHER = ("get_weather", {"city": "Paris", "unit": "celsius"})
TIME = ("get_time", {"zone": "UTC"})
OFFERED = {"get_weather", "get_time"}

#: Family and form -> one call in it. README names the families.
ONE = {
    "hermes": f"<tool_call>\n{AS_JSON}\n</tool_call>",
    "hermes, arguments first": f'<tool_call>{{"arguments": {ARGUMENTS}, "name": "get_weather"}}</tool_call>',
    "qwen, cut at the end": f"<tool_call>\n{AS_JSON}",
    "qwen coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
    "<parameter=unit>\ncelsius\n</parameter>\n</function>\n</tool_call>",
    "llama 3": AS_LLAMA,
    "llama 3, with its type": f'{{"type": "function", {AS_LLAMA[1:]}',
    "llama 3, marked": f"<|python_tag|>{AS_LLAMA}<|eom_id|>",
    "llama 3.1, in tags": f"<function=get_weather>{ARGUMENTS}</function>",
    "llama 3.1, built in": '<|python_tag|>get_weather.call(city="Paris", unit="celsius")<|eom_id|>',
    "llama 3.2": f"[{AS_PYTHON}]",
    "llama 4": f"<|python_start|>[{AS_PYTHON}]<|python_end|>",
    "mistral": f"[TOOL_CALLS][{AS_JSON}]",
    "mistral, with an id": f'[TOOL_CALLS] [{AS_JSON[:-1]}, "id": "D681PevKs"}}]',
    "mistral 11": f"[TOOL_CALLS]get_weather{ARGUMENTS}",
    "mistral 11, with an id": f"[TOOL_CALLS]get_weather[CALL_ID]a1b2c3[ARGS]{ARGUMENTS}",
    "mistral 13": f"[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}",
    "gemma 3": f"[{AS_PYTHON}]",
    "gemma 3, in a fence": f"```tool_code\n{AS_PYTHON}\n```",
    "functiongemma": "<start_function_call>call:get_weather{city:<escape>Paris<escape>,"
    "unit:<escape>celsius<escape>}<end_function_call><start_function_response>",
    "gemma 4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,unit:<|"|>celsius<|"|>}<tool_call|>'
    "<|tool_response>",
    "phi": f"<|tool_call|>[{AS_JSON}]<|/tool_call|>",
    "granite": f"<|tool_call|>[{AS_JSON}]",
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
    f"{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek 3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
    f"{ARGUMENTS}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "in a fence": f"```json\n{AS_JSON}\n```",
    "as openai": '<tool_call>{"type": "function", "function": {"name": "get_weather", "arguments": '
    '"{\\"city\\": \\"Paris\\", \\"unit\\": \\"celsius\\"}"}}</tool_call>',
}

SECOND = '{"name": "get_time", "arguments": {"zone": "UTC"}}'
TWO = {
    "hermes": f"<tool_call>{AS_JSON}</tool_call>\n<tool_call>{SECOND}</tool_call>",
    "llama 3": f'<|python_tag|>{AS_LLAMA}; {{"name": "get_time", "parameters": {{"zone": "UTC"}}}}',
    "llama 3.2": f'[{AS_PYTHON}, get_time(zone="UTC")]',
    "mistral": f"[TOOL_CALLS][{AS_JSON}, {SECOND}]",
    "mistral 11": f'[TOOL_CALLS]get_weather{ARGUMENTS}[TOOL_CALLS]get_time{{"zone": "UTC"}}',
    "mistral 13": f'[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}[TOOL_CALLS]get_time[ARGS]{{"zone": "UTC"}}',
    "gemma 4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,unit:<|"|>celsius<|"|>}<tool_call|>'
    '<|tool_call>call:get_time{zone:<|"|>UTC<|"|>}<tool_call|>',
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
    parsed = parse("I look it up.\n" + ONE["hermes"], offered=OFFERED)
    assert parsed.text == "I look it up."
    assert len(parsed.calls) == 1


def test_a_call_without_arguments_and_one_with_unicode_are_read():
    assert calls('<tool_call>{"name": "get_time"}</tool_call>') == [("get_time", {})]
    assert calls("<|tool_call>call:get_time{}<tool_call|>") == [("get_time", {})]
    assert calls("[TOOL_CALLS]get_time{}") == [("get_time", {})]
    assert calls('<tool_call>{"name": "get_time", "arguments": {"zone": "東京 🎈"}}</tool_call>') == [
        ("get_time", {"zone": "東京 🎈"})
    ]


def test_gemmas_notation_keeps_types_nests_and_whatever_stands_in_its_strings():
    string = 'a, b:{"c"}\n[d]'
    for mark, (begin, end) in {
        '<|"|>': ("<|tool_call>", "<tool_call|>"),
        "<escape>": ("<start_function_call>", "<end_function_call>"),
    }.items():
        written = (
            f"{begin}call:get_time{{n:-1.5,yes:true,none:null,list:[{mark}x{mark},2,{{deep:{mark}{mark}}}],"
            f"text:{mark}{string}{mark}}}{end}"
        )
        arguments = {"n": -1.5, "yes": True, "none": None, "list": ["x", 2, {"deep": ""}], "text": string}
        assert calls(written) == [("get_time", arguments)]


def test_what_a_model_only_thinks_calls_nothing_and_is_kept():
    thought = f"<think>\nI could say {ONE['hermes']}\n</think>"
    parsed = parse(f"{thought}\n\nIt is sunny.", offered=OFFERED)
    assert (parsed.text, parsed.calls) == (f"{thought}\n\nIt is sunny.", [])
    assert calls(f"{thought}\n\n{ONE['hermes']}") == [WEATHER]


def test_a_result_that_a_model_makes_up_for_itself_is_no_part_of_its_answer():
    parsed = parse(ONE["gemma 4"] + 'response:get_weather{sky:<|"|>clear<|"|>}', offered=OFFERED)
    assert (parsed.text, len(parsed.calls)) == ("", 1)


@pytest.mark.parametrize(
    "written",
    [
        "It is sunny.",
        '{"answer": 42}',
        '{"name": "Zorro", "parameters": {"colour": "black"}}',
        "[1, 2]",
        "[",
        "",
        "print(x)",
        '__import__("os").system("x")',
        "[get_weather(city=open('f'))]",
        "`[TOOL_CALL]`",
        'get_weather.delete(city="Paris")',
        'get_weather("Paris")',
    ],
)
def test_an_answer_that_is_no_call_stays_an_answer(written):
    parsed = parse(written, offered=OFFERED)
    assert (parsed.text, parsed.calls, parsed.invalid) == (written.strip(), [], [])


@pytest.mark.parametrize(
    "region",
    [
        '{"name": "get_weather", "arguments": {"city":',
        '{"arguments": {}}',
        '{"name": "get_weather", "arguments": [1]}',
        "call:get_weather{city:Paris}",
        "call:get_weather{city",
        "import os",
        "[1]",
        "null",
        "!",
        "",
    ],
)
def test_a_marked_call_that_cannot_be_read_is_told_as_invalid(region):
    parsed = parse(f"<tool_call>{region}</tool_call>", offered=OFFERED)
    assert parsed.calls == []
    assert [call["args"] for call in parsed.invalid] == ([region] if region else [])


@given(st.text(alphabet='<tool_call>/{}[]":,nameargumets|TOL_CALS()=\n｜▁ 1', max_size=120))
def test_nothing_that_a_model_writes_raises(written):
    parse(written, offered=OFFERED)
