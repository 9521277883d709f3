"""The memory's own model behind LangChain's interface: LangChain's suites, and what they do not ask.

The model is a tiny one of random weights, so what it says means nothing; how it says it is what counts. Like
the bundled reader it declares tool calling and structured output unsupported, since its chat template has no
tools; `test_langchain_tool_calling.py` has a model that calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_agent_memory import AgentMemoryMiddleware, ChatAgentMemory, calls
from langchain_agent_memory.turns import to_turns
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import Field, ValidationError

from agent_memory import Config, MemoryManager, prompt
from agent_memory.config import PromptConfig
from agent_memory.consolidation import asking
from agent_memory.errors import AdapterRefused, InvalidInput, NotFound, ScopeError
from agent_memory.models.local import LocalModel
from agent_memory.testing import tiny_model
from tests.integrations.agents import ALICE, Chat, weather
from tests.memories import fact, reader
from tests.memories import memory as memory_of_codes


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel.open(tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def memory(
    _empty: Path, tmp_path: Path, tiny: LocalModel, request: pytest.FixtureRequest
) -> Iterator[MemoryManager]:
    """A memory of the tiny model; the parameter, if any, is who reads in it (`PromptConfig.reader`)."""
    import shutil

    shutil.copytree(_empty, tmp_path / "memory")
    config = Config(prompt=PromptConfig(reader=getattr(request, "param", "base")))
    with MemoryManager.open(tmp_path / "memory", model=tiny, config=config) as opened:
        yield opened


#: The version reads, so that whatever is in view it is worn.
version_reads = pytest.mark.parametrize("memory", ["version"], indirect=True)


class TestChatModelUnit(Chat, ChatModelUnitTests):
    pass


class TestChatModel(Chat, ChatModelIntegrationTests):
    pass


def chat(memory: MemoryManager, **settings: Any) -> ChatAgentMemory:
    return ChatAgentMemory(memory=memory, **{**ALICE, "max_tokens": 24, **settings})


# ---------------------------------------------------------------------- answering


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


# ---------------------------------------------------------------------- versions


def with_version(memory: Any, tiny: LocalModel, name: str, *, seed: int, state: str = "active") -> None:
    """Puts a version of random matrices in the record, as a consolidation would."""
    import torch
    from sqlalchemy import insert

    from agent_memory.consolidation import versions
    from agent_memory.store import tables

    folder = versions.folder(memory.database.path, name)
    folder.parent.mkdir(exist_ok=True)
    draft = tiny.worn.fresh(rank=2, alpha=64, targets="all-linear", seed=seed)
    with tiny.wearing(draft), torch.no_grad():
        for parameter in tiny.worn.parameters(draft).values():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
        tiny.worn.save(draft, folder)
    tiny.worn.discard(draft)
    learnt = memory.add(f"Something about {name}.", **ALICE)
    with memory.database.write() as connection:
        owner = memory.store.namespace_id(connection, memory._scope("alice", None))
        connection.execute(
            insert(tables.versions).values(
                id=name,
                namespace_id=owner,
                state=state,
                base=tiny.fingerprint,
                created_at=memory.database.now(),
                scores={},
                reasons=[],
            )
        )
        connection.execute(
            insert(tables.version_episodes).values(
                version_id=name, namespace_id=owner, episode_id=learnt.id, revision=1, part="learnt"
            )
        )


def test_it_wears_what_is_active_and_each_call_can_choose(memory, tiny):
    bare = chat(memory).invoke("Hello.")
    with_version(memory, tiny, "v-one", seed=1)
    with_version(memory, tiny, "v-two", seed=2, state="retired")
    worn = chat(memory).invoke("Hello.")
    other = chat(memory).invoke("Hello.", adapter="v-two")
    assert (bare.response_metadata["adapter"], worn.response_metadata["adapter"]) == (None, "v-one")
    assert len({bare.text, worn.text, other.text}) == 3
    assert chat(memory, adapter="base").invoke("Hello.").text == bare.text
    assert chat(memory).bind(adapter="base").invoke("Hello.").text == bare.text
    assert chat(memory, user_id="bob").invoke("Hello.").text == bare.text
    with pytest.raises(NotFound):
        chat(memory, adapter="v-none").invoke("Hello.")
    with pytest.raises(ScopeError):
        ChatAgentMemory(memory=memory).invoke("Hello.")


def test_versions_are_swapped_between_calls_and_never_within_one(memory, tiny):
    with_version(memory, tiny, "v-one", seed=1)
    with_version(memory, tiny, "v-two", seed=2, state="retired")
    adapters = ("base", "v-one", "v-two")
    alone = {name: chat(memory, adapter=name).invoke("Hello.").text for name in adapters}
    wrong: list[str] = []

    def ask(name: str) -> None:
        for n in range(6):
            model = chat(memory, adapter=name)
            said = model.invoke("Hello.").text if n % 2 else "".join(p.text for p in model.stream("Hello."))
            if said.strip() != alone[name]:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in adapters * 2]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []


@pytest.fixture
def cat(memory, tiny):
    """A version of Alice's that knows what her cat is called, and not where it sleeps."""
    from sqlalchemy import insert

    from agent_memory.store import items, tables

    known = memory.add("My cat is called Zorro.", **ALICE)
    memory.add("My cat sleeps in the kitchen.", **ALICE)
    with_version(memory, tiny, "v-one", seed=1)
    with memory.database.write() as connection:
        namespace = memory._scope("alice", None)
        row = {
            "version_id": "v-one",
            "item_pk": 1,
            "namespace_id": memory.store.namespace_id(connection, namespace),
            "episode_pk": items.episode_pk(connection, namespace, known.id),
            "revision": 1,
            "correct": True,
            "covered": True,
        }
        connection.execute(insert(tables.exam_results).values(row))


class Watched(ChatAgentMemory):
    """Keeps the system texts that it is given."""

    seen: list[str] = Field(default_factory=list)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(messages[0].text if messages[0].type == "system" else "")
        return super()._generate(messages, *args, **kwargs)


def asked(
    memory: Any, *middleware: Any, question: str = "What about my cat Zorro?", **settings: Any
) -> tuple[str, str | None]:
    """What an agent's model is shown when it is asked, and the version that it wears then."""
    model = Watched(memory=memory, **{"max_tokens": 4, **settings})
    agent = create_agent(model, middleware=middleware)
    who = {"configurable": {"name": "alice"}}
    state = agent.invoke({"messages": [("user", question)]}, who)
    return model.seen[0], state["messages"][-1].response_metadata["adapter"]


def recall(memory: Any, **settings: Any) -> AgentMemoryMiddleware:
    return AgentMemoryMiddleware(memory, tools=(), record=False, **{"user_id": "{name}", **settings})


@version_reads
@pytest.mark.usefixtures("cat")
def test_in_an_agent_the_middleware_gives_the_scope_and_leaves_out_what_the_version_knows(memory):
    for retrieval in ("all", "lean"):
        for adapter, version in (("active", "v-one"), ("base", None)):
            text, worn = asked(memory, recall(memory, retrieval=retrieval), adapter=adapter)
            lean = retrieval == "lean" and adapter == "active"
            assert ("called Zorro" in text) is not lean
            assert worn == version


def test_in_an_agent_a_version_that_is_certain_is_shown_episodes_only_if_there_is_news(tmp_path):
    made = memory_of_codes(tmp_path / "memory", reader(tmp_path / "model"), facts=[fact(0), fact(1)])
    with made as memory:
        memory.consolidate(progress=False)
        ours = recall(memory, user_id="alice", retrieval="lean")
        question = "What is the code of Vela?"
        text, _ = asked(memory, ours, question=question, max_tokens=16)
        assert "Kappa" not in text
        memory.add("The code of Vela is Omega9.")
        text, _ = asked(memory, ours, question=question, max_tokens=16)
        assert "Omega9" in text
        assert "Kappa0" in text
        text, _ = asked(memory, ours, question="What is the code of Zorblax?", max_tokens=16)
        assert "Kappa0" in text


@pytest.mark.usefixtures("cat")
def test_a_version_that_another_middleware_chose_is_worn_and_the_base_gets_the_whole_block(memory):
    class Chooser(AgentMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(model_settings={"adapter": "base"}))

    text, worn = asked(memory, Chooser(), recall(memory, retrieval="lean"))
    assert "called Zorro" in text
    assert worn is None


@version_reads
@pytest.mark.usefixtures("cat")
def test_of_two_memories_in_one_agent_the_models_version_is_the_firsts(memory, tiny):
    memory.add("The office cat is called Tom.", user_id="office")
    office = {"user_id": "office", "name": "office", "retrieval": "lean"}
    text, worn = asked(memory, recall(memory, retrieval="lean"), recall(memory, **office))
    assert worn == "v-one"
    assert "called Zorro" not in text
    assert "called Tom" in text
    text, worn = asked(memory, recall(memory, **office), recall(memory, retrieval="lean"))
    assert worn is None
    assert "called Zorro" in text
    assert "called Tom" in text


def test_an_agent_wears_what_is_promoted_between_two_of_its_turns(memory, tiny):
    from sqlalchemy import update

    from agent_memory.store import tables

    by_heart = recall(memory, user_id="alice", retrieval="none")
    agent = create_agent(ChatAgentMemory(memory=memory, max_tokens=4), middleware=[by_heart])

    def adapter() -> str | None:
        state = agent.invoke({"messages": [("user", "Hello.")]}, {"configurable": ALICE})
        return state["messages"][-1].response_metadata["adapter"]

    assert adapter() is None
    with_version(memory, tiny, "v-one", seed=1)
    assert adapter() == "v-one"
    with memory.database.write() as connection:
        connection.execute(update(tables.versions).values(state="tainted"))
    assert adapter() is None
    with_version(memory, tiny, "v-two", seed=2)
    assert adapter() == "v-two"


# ---------------------------------------------------------------------- reading and recalling

BLOCK = prompt.block_of_lines([prompt.line("My sister is called Nora.", date="2026-03-01", source="user")])
SISTER, BROTHER = "What is my sister called?", "What is my brother called?"


@pytest.fixture(scope="module")
def bundled() -> LocalModel:
    return LocalModel.open()


@pytest.fixture
def boxed(
    _empty: Path, tmp_path: Path, bundled: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MemoryManager]:
    """A memory of the bundled reader with a version that answers everything, if not sensibly, believed."""
    import shutil

    monkeypatch.setattr(asking, "SURE", 1e-30)
    shutil.copytree(_empty, tmp_path / "memory")
    with MemoryManager.open(tmp_path / "memory", model=bundled) as opened:
        with_version(opened, bundled, "v-one", seed=1)
        yield opened


def in_view(question: str) -> list[Any]:
    return [SystemMessage(f"{prompt.ASK_SYSTEM}\n\n{BLOCK}"), HumanMessage(question)]


def alone(question: str) -> list[Any]:
    return [SystemMessage(prompt.ASK_SYSTEM), HumanMessage(question)]


def streamed(model: ChatAgentMemory, messages: list[Any]) -> tuple[str, AIMessage]:
    """What a stream shows, and what it adds up to."""
    pieces = list(model.stream(messages))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return "".join(piece.text for piece in pieces), whole


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


def test_a_model_without_tools_in_its_template_refuses_them(memory):
    with pytest.raises(InvalidInput, match="no tools"):
        chat(memory).bind_tools([weather])
    with pytest.raises(InvalidInput, match="no tools"):
        chat(memory).with_structured_output({"title": "Place", "type": "object", "properties": {}})


# ---------------------------------------------------------------------- what is forgotten meanwhile


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


def invoked(model: ChatAgentMemory, messages: list[Any]) -> tuple[str, AIMessage]:
    message = model.invoke(messages)
    return message.text, message


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


@pytest.fixture
def taking_tools(_empty: Path, tmp_path: Path) -> Iterator[MemoryManager]:
    """A memory of another base than the bundled reader, which takes tools, with a version."""
    import shutil

    template = "<bos>{% if tools %}{{ tools | tojson }}{% endif %}{{ messages[-1].content }}<assistant>"
    other = LocalModel.open(tiny_model(tmp_path / "model", template=template))
    shutil.copytree(_empty, tmp_path / "memory")
    with MemoryManager.open(tmp_path / "memory", model=other) as opened:
        with_version(opened, other, "v-one", seed=1)
        yield opened


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


# ---------------------------------------------------------------------- turns


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
