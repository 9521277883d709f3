"""Who answers: the base reads what is in view, the version is asked alone; nothing taken back is shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain.agents import create_agent
from langchain_agent_memory import AgentMemoryMiddleware, ChatAgentMemory, calls
from langchain_core.messages import AIMessage, HumanMessage

from agent_memory import prompt
from agent_memory.consolidation import asking
from tests.integrations.agents import ALICE
from tests.integrations.chat.chatting import BROTHER, SISTER, alone, chat, in_view, streamed


def test_what_is_in_view_the_base_reads_though_a_version_is_served(boxed):
    read = chat(boxed).invoke(in_view(SISTER))
    assert read.text == chat(boxed, adapter="base").invoke(in_view(SISTER)).text == "Nora"
    text, whole = streamed(chat(boxed), in_view(SISTER))
    assert text.strip() == read.text
    for message in (read, whole):
        assert message.response_metadata["adapter"] is None
        assert message.usage_metadata == read.usage_metadata


def test_where_the_base_declines_the_version_is_asked_the_question_alone(boxed):
    assert chat(boxed, adapter="base").invoke(in_view(BROTHER)).text == prompt.ABSTENTION
    by_heart = chat(boxed).invoke(alone(BROTHER))
    recalled = chat(boxed).invoke(in_view(BROTHER))
    assert recalled.text == by_heart.text != prompt.ABSTENTION
    assert recalled.response_metadata["adapter"] == by_heart.response_metadata["adapter"] == "v-one"
    declined = chat(boxed, adapter="base").invoke(in_view(BROTHER)).usage_metadata
    used, own = recalled.usage_metadata, by_heart.usage_metadata
    assert used["input_tokens"] == declined["input_tokens"] + own["input_tokens"]
    assert used["output_tokens"] == declined["output_tokens"] + own["output_tokens"]


def test_a_stream_shows_nothing_of_an_answer_that_declines_and_all_of_the_next(boxed):
    by_heart = chat(boxed).invoke(alone(BROTHER)).text
    for messages in (in_view(BROTHER), [*alone("Hello."), AIMessage("Hello."), HumanMessage(BROTHER)]):
        text, whole = streamed(chat(boxed), messages)
        assert text.strip() == by_heart
        assert whole.response_metadata["adapter"] == "v-one"


def test_what_the_version_is_not_sure_of_the_base_answers_and_nothing_else_is_shown(boxed, monkeypatch):
    believed = chat(boxed).invoke(alone(BROTHER)).usage_metadata
    monkeypatch.setattr(asking, "SURE", 1.0)
    base = chat(boxed, adapter="base").invoke(alone(BROTHER))
    for messages in (in_view(BROTHER), alone(BROTHER)):
        doubted = chat(boxed).invoke(messages)
        text, whole = streamed(chat(boxed), messages)
        assert text.strip() == doubted.text == base.text == prompt.ABSTENTION
        assert doubted.response_metadata["adapter"] is whole.response_metadata["adapter"] is None
        assert whole.usage_metadata == doubted.usage_metadata
    used, own = doubted.usage_metadata, base.usage_metadata
    assert used["input_tokens"] == believed["input_tokens"] + own["input_tokens"]
    assert used["output_tokens"] == believed["output_tokens"] + own["output_tokens"]


def test_a_version_is_heard_to_its_end_before_its_answer_is_shown_and_the_base_is_not(boxed):
    def pieces(model: ChatAgentMemory) -> int:
        return sum(bool(piece.text) for piece in model.stream(alone(BROTHER)))

    assert pieces(chat(boxed)) == 1
    assert pieces(chat(boxed, adapter="base")) > 2


def test_twins_that_show_what_declines_or_ask_nobody_else_fail_the_claim(boxed, monkeypatch):
    """The broken twins: the first piece is let through at once; and the first attempt is the only one."""
    claim = test_a_stream_shows_nothing_of_an_answer_that_declines_and_all_of_the_next
    for broken in (next, lambda pieces: "".join(pieces)):
        monkeypatch.setattr(calls, "_undeclined", broken)
        with pytest.raises(AssertionError):
            claim(boxed)


def test_pieces_are_held_back_only_while_they_may_still_decline():
    def cut(text: str, size: int) -> Iterator[str]:
        return (text[n : n + size] for n in range(0, len(text), size))

    for size in (1, 3, 100):
        for text in (prompt.ABSTENTION, "I don't know, sorry.", ""):
            pieces = cut(text, size)
            assert calls._undeclined(pieces) is None
        for text in ("Nora.", "I do now and then.", "I", "Not at all: she is called Nora."):
            pieces = cut(text, size)
            begun = calls._undeclined(pieces)
            assert begun is not None
            assert text == begun + "".join(pieces)
    pieces = cut("I live in Lisbon, in the street of the flowers.", 1)
    assert calls._undeclined(pieces) == "I l"


def test_a_call_that_is_abandoned_while_the_base_is_held_back_gives_the_model_back(boxed, bundled):
    stream = chat(boxed).stream(in_view(BROTHER))
    next(stream)
    stream.close()
    with bundled.wearing(None):
        pass
    assert chat(boxed).invoke(in_view(SISTER)).text == "Nora"


def test_in_an_agent_the_base_reads_the_block_and_the_version_knows_the_rest(boxed):
    boxed.add("My sister is called Nora.", user_id="alice")
    middleware = AgentMemoryMiddleware(boxed, tools=(), record=False)
    model = ChatAgentMemory(memory=boxed, max_tokens=24)
    agent = create_agent(model, middleware=[middleware], system_prompt=prompt.ASK_SYSTEM)

    def worn(question: str) -> tuple[str, str | None]:
        state = agent.invoke({"messages": [("user", question)]}, {"configurable": ALICE})
        last = state["messages"][-1]
        return last.text, last.response_metadata["adapter"]

    assert worn(SISTER) == ("Nora", None)
    assert worn(BROTHER) == (chat(boxed).invoke(alone(BROTHER)).text, "v-one")
