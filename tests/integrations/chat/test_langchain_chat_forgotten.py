"""A version that goes while the memory's own model speaks leaves the word to the base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_memory import MemoryManager, prompt
from agent_memory.errors import AdapterRefused
from agent_memory.models.local import LocalModel
from tests.integrations.agents import ALICE, weather
from tests.integrations.chat.chatting import BROTHER, alone, chat, in_view, invoked, streamed


def forget(memory: MemoryManager) -> None:
    memory.forget([episode.id for episode in memory.list(**ALICE)], **ALICE)


def roll_back(memory: MemoryManager) -> None:
    memory.rollback(**ALICE)


def once_in(model: LocalModel, name: str, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Does something at the first call of a method that has to do with a version."""
    real, left = getattr(model, name), [act]

    def acting(what: Any, **settings: Any) -> Any:
        if left and (model._wears or isinstance(what, Path)):
            left.pop()()
        return real(what, **settings)

    monkeypatch.setattr(model, name, acting)


@pytest.mark.parametrize("answered", [invoked, streamed])
@pytest.mark.parametrize("asked", [alone, in_view])
@pytest.mark.parametrize(("act", "adapter"), [(forget, "active"), (forget, "v-one"), (roll_back, "active")])
def test_a_version_that_is_forgotten_or_rolled_back_while_it_speaks_leaves_the_word_to_the_base(
    boxed, bundled, monkeypatch, answered, asked, act, adapter
):
    once_in(bundled, "text", lambda: act(boxed), monkeypatch)
    text, whole = answered(chat(boxed, adapter=adapter), asked(BROTHER))
    assert (text, whole.response_metadata["adapter"]) == (prompt.ABSTENTION, None)
    declined = chat(boxed, adapter="base").invoke(asked(BROTHER)).usage_metadata
    assert whole.usage_metadata["output_tokens"] > declined["output_tokens"], "all that was said counts"


def test_a_version_that_was_asked_for_by_its_id_speaks_though_it_is_rolled_back(boxed, bundled, monkeypatch):
    said = chat(boxed).invoke(alone(BROTHER)).text
    once_in(bundled, "text", lambda: boxed.rollback(**ALICE), monkeypatch)
    named = chat(boxed, adapter="v-one").invoke(alone(BROTHER))
    assert (named.text, named.response_metadata["adapter"]) == (said, "v-one")
    assert chat(boxed).invoke(alone(BROTHER)).response_metadata["adapter"] is None


@pytest.mark.parametrize("act", [forget, roll_back])
@pytest.mark.parametrize("answered", [invoked, streamed])
@pytest.mark.parametrize("tools", [(), (weather,)])
def test_of_another_base_only_a_stream_of_words_that_has_begun_goes_on(
    taking_tools, monkeypatch, act, answered, tools
):
    memory, model = taking_tools, taking_tools.weights.model
    ours = chat(memory).bind_tools(list(tools)) if tools else chat(memory)
    base, version = ours.invoke("Hello.", adapter="base").text, ours.invoke("Hello.").text
    assert base != version
    once_in(model, "text", lambda: act(memory), monkeypatch)
    text, whole = answered(ours, "Hello.")
    goes_on = answered is streamed and not tools
    assert text.strip() == (version if goes_on else base)
    assert whole.response_metadata["adapter"] == ("v-one" if goes_on else None)


@pytest.mark.parametrize("act", [forget, roll_back])
@pytest.mark.parametrize("answered", [invoked, streamed])
def test_a_version_that_goes_while_the_model_is_waited_for_says_nothing(
    taking_tools, monkeypatch, act, answered
):
    """Even where its folder went with it."""
    base = chat(taking_tools).invoke("Hello.", adapter="base").text
    once_in(taking_tools.weights.model, "wearing", lambda: act(taking_tools), monkeypatch)
    text, whole = answered(chat(taking_tools), "Hello.")
    assert (text.strip(), whole.response_metadata["adapter"]) == (base, None)


@pytest.mark.parametrize("act", [forget, roll_back])
def test_a_version_that_a_model_is_pinned_to_says_nothing_once_it_is_gone(taking_tools, act):
    base = chat(taking_tools).invoke("Hello.", adapter="base").text
    pinned = chat(taking_tools).pinned()
    assert pinned.invoke("Hello.").response_metadata["adapter"] == "v-one"
    act(taking_tools)
    said = pinned.invoke("Hello.")
    assert (said.text, said.response_metadata["adapter"]) == (base, None)


def test_a_version_that_is_served_and_harmed_is_refused(taking_tools, tmp_path):
    (tmp_path / "memory" / "versions" / "v-one" / "adapter_model.safetensors").write_bytes(b"harmed")
    with pytest.raises(AdapterRefused):
        chat(taking_tools).invoke("Hello.")
