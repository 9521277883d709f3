"""The memory's own model behind LangChain's interface: LangChain's suites, and what they do not ask.

The model is a tiny one of random weights, so what it says means nothing; how it says it is what counts. Like
the bundled reader it declares tool calling and structured output unsupported, since its chat template has no
tools; `test_langchain_tool_calling.py` has a model that calls.
"""

from __future__ import annotations

import asyncio

import pytest
from langchain_agent_memory.turns import to_turns
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import ValidationError

from agent_memory.errors import InvalidInput
from tests.integrations.agents import Chat, weather
from tests.integrations.chat.chatting import chat


class TestChatModelUnit(Chat, ChatModelUnitTests):
    pass


class TestChatModel(Chat, ChatModelIntegrationTests):
    pass


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_stream_says_what_a_whole_answer_says(memory, temperature):
    model = chat(memory, temperature=temperature)
    whole = model.invoke("Hello.")
    pieces = list(model.stream("Hello."))
    assert "".join(piece.text for piece in pieces).strip() == whole.text
    assert len(pieces) > 3
    assert pieces[-1].usage_metadata == whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] <= 24
    assert chat(memory, temperature=temperature, streaming=True).invoke("Hello.").text.strip() == whole.text
    assert len(list(chat(memory, streaming=False).stream("Hello."))) == 1


def test_a_whole_answer_is_the_one_that_the_memorys_model_gives(memory, tiny):
    ids = tiny.prompt_ids([{"role": "user", "content": "Hello."}])
    with tiny.wearing(None):
        expected = tiny.text(tiny.generate([ids], max_new_tokens=24)[0])
    assert chat(memory).invoke("Hello.").text == expected


def test_an_answer_ends_before_its_stop_text_and_a_stream_never_shows_it(memory):
    whole = chat(memory).invoke("Hello.").text
    stop = whole[5:8]
    expected = whole[: whole.find(stop)]
    assert chat(memory).invoke("Hello.", stop=[stop]).text == expected.strip()
    streamed = "".join(piece.text for piece in chat(memory, stop=[stop]).stream("Hello."))
    assert streamed == expected
    assert chat(memory).invoke("Hello.", stop=["never said"]).text == whole


def test_a_prompt_that_fills_the_window_is_refused(memory):
    with pytest.raises(InvalidInput, match="window"):
        chat(memory).invoke("x" * 2000)


def test_a_picture_is_refused_and_not_dropped(memory):
    with pytest.raises(InvalidInput, match="image"):
        chat(memory).invoke([HumanMessage([{"type": "image", "url": "https://example.org/a.png"}])])


def test_a_misspelt_setting_is_refused_by_name(memory):
    with pytest.raises(ValidationError, match="temprature"):
        chat(memory, temprature=1)


def test_an_abandoned_stream_gives_the_model_back(memory, tiny):
    stream = chat(memory, max_tokens=600).stream("Hello.")
    next(stream)
    stream.close()
    with tiny.wearing(None):
        pass
    assert chat(memory).invoke("Hello.").text


def test_async_calls_at_once_each_get_their_own_answer(memory):
    model = chat(memory)
    texts = [f"Say {n}." for n in range(6)]
    alone = [model.invoke(text).text for text in texts]

    async def together() -> list[str]:
        return [answer.text for answer in await asyncio.gather(*(model.ainvoke(text) for text in texts))]

    assert asyncio.run(together()) == alone


def test_a_model_without_tools_in_its_template_refuses_them(memory):
    with pytest.raises(InvalidInput, match="no tools"):
        chat(memory).bind_tools([weather])
    with pytest.raises(InvalidInput, match="no tools"):
        chat(memory).with_structured_output({"title": "Place", "type": "object", "properties": {}})


def test_turns_are_what_a_strict_template_takes():
    turns = to_turns(
        [
            SystemMessage("A."),
            SystemMessage([{"type": "text", "text": "B."}, {"type": "text", "text": "C."}]),
            HumanMessage("One."),
            HumanMessage("Two."),
            AIMessage("Three."),
            ToolMessage("4", tool_call_id="c"),
        ],
        with_tools=False,
    )
    assert turns == [
        {"role": "system", "content": "A.\n\nB.\n\nC."},
        {"role": "user", "content": "One.\n\nTwo."},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "4"},
    ]
    with pytest.raises(InvalidInput, match="remove"):
        to_turns([RemoveMessage(id="x")], with_tools=False)
    assert to_turns([SystemMessage(""), HumanMessage("Hi.")], with_tools=True) == [
        {"role": "user", "content": "Hi."}
    ]
