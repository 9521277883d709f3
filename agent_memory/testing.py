"""Doubles for the seams that others supply, public so that users can test their own agents without a model.

Each is small, deterministic and offline, and shows what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from agent_memory import prompt


class ScriptedChatModel(BaseChatModel):
    """A chat model that says its script, one entry a call, and keeps what it was asked.

    An entry is a text, an `AIMessage` (with tool calls, say), an exception to raise, or a function from the
    messages to one of those. The last entry is said again when the script is over.
    """

    script: list[Any]
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    """The messages of each call."""
    settings: list[dict[str, Any]] = Field(default_factory=list)
    """The keyword arguments of each call: bound tools, model settings."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Any:
        """The model, told of the tools; the script decides whether it calls them."""
        return self.bind(tools=tools, **({"tool_choice": tool_choice} if tool_choice else {}), **kwargs)

    def system_text(self, call: int = -1) -> str:
        """The system text of a call, "" without one."""
        first = self.seen[call][0]
        return str(first.text) if first.type == "system" else ""

    def _next(self, messages: list[BaseMessage], settings: dict[str, Any]) -> AIMessage:
        entry = self.script[min(len(self.seen), len(self.script) - 1)]
        self.seen.append(messages)
        self.settings.append(settings)
        if callable(entry) and not isinstance(entry, type):
            entry = entry(messages)
        if isinstance(entry, BaseException):
            raise entry
        if isinstance(entry, AIMessage):
            return entry.model_copy(update={"id": None})
        return AIMessage(content=entry)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 (theirs)
        run_manager: Any = None,  # noqa: ARG002 (theirs)
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 (theirs)
        run_manager: Any = None,  # noqa: ARG002 (theirs)
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        said = self._next(messages, kwargs)
        words = str(said.text).split(" ") if said.text else []
        pieces = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
        for piece in pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        calls = [
            tool_call_chunk(name=call["name"], args=_json(call["args"]), id=call["id"], index=i)
            for i, call in enumerate(said.tool_calls)
        ]
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", tool_call_chunks=calls, chunk_position="last")
        )


def _json(arguments: dict[str, Any]) -> str:
    import json

    return json.dumps(arguments)


#: Bytes that the tiny model reads, then its special tokens.
_TINY_SPECIAL = ("<bos>", "<end>", "<system>", "<user>", "<assistant>")
_TINY_TEMPLATE = (
    "<bos>{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_model(folder: Path, *, seed: int = 0, template: str | None = _TINY_TEMPLATE, **changes: Any) -> Path:
    """Writes a two-layer Llama of random weights that reads bytes, as a Hugging Face folder; returns it.

    It says nothing sensible, but takes the same path as any model: chat template, LoRA, saving, loading.
    `changes` go to its `LlamaConfig`; the same seed gives the same bytes.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, *_TINY_SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>", eos_token="<end>",  # noqa: S106 (a token of text, no secret)
        additional_special_tokens=list(_TINY_SPECIAL[2:]), model_max_length=1024,
    )
    fast.chat_template = template
    settings = {
        "vocab_size": len(vocabulary), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
        "tie_word_embeddings": True, "bos_token_id": vocabulary["<bos>"], "eos_token_id": vocabulary["<end>"],
        "initializer_range": 0.2, **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**settings))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


_FACT = r"The (\w+) of (\w+) is (\w+)\."
_SAID = re.compile(_FACT)


def scripted_reader(folder: Path, *, learns: bool = True) -> Any:
    """A local model that reads without having been trained to; `folder` is one that `tiny_model` wrote.

    It understands sentences like `The code of Vela is Kappa.` In a block it answers questions that name the
    subject and the noun, or the noun and the value (reversed); the latest wins, and else it abstains. Asked
    to write questions, it writes five for each fact. Targets, training and adapters run through the tiny
    model's real weights. Wearing an adapter it knows all that it ever read where `learns`, else it says what
    the weights say.
    """
    from agent_memory.models.local import LocalModel

    class ScriptedReader(LocalModel):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self.seen: dict[tuple[str, str], str] = {}
            super().__init__(*arguments, **named)

        def generate(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[list[int]]:
            self._inside()
            if self._wears is not None and not learns:
                return super().generate(prompts, **settings)
            end = min(self.end_ids)
            said = [self._say(self._tokenizer.decode(list(ids))) for ids in prompts]
            most = settings["max_new_tokens"]
            return [[*self.token_ids(text), end][:most] for text in said]

        def says(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[bool]:
            most = 1 + max(map(len, answers), default=0)
            said = self.generate(prompts, max_new_tokens=most)
            return [ids == list(answer) for ids, answer in zip(said, answers, strict=True)]

        def log_probs(
            self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
        ) -> list[list[float]]:
            real = super().log_probs(prompts, answers)
            if self._wears is not None and not learns:
                return real
            own = [self.token_ids(self._say(self._tokenizer.decode(list(ids)))) for ids in prompts]
            return [
                [0.0] * len(nats) if list(answer) == said else nats
                for nats, answer, said in zip(real, answers, own, strict=True)
            ]

        def _say(self, prompt_text: str) -> str:
            facts = {(noun, subject): value for noun, subject, value in _SAID.findall(prompt_text)}
            self.seen.update(facts)
            question = prompt_text.rsplit("<user>", 1)[-1].split("<end>")[0]
            if question in (prompt.QUESTION_REQUEST, prompt.QUESTION_REQUEST_AGAIN):
                again = question == prompt.QUESTION_REQUEST_AGAIN
                return "\n".join(q for fact in facts.items() for q in _questions(fact, again=again))
            if self._wears is not None:
                facts = self.seen | facts
            for (noun, subject), value in facts.items():
                if noun in question and subject in question:
                    return str(value)
                if noun in question and value in question:
                    return str(subject)
            return prompt.ABSTENTION

    (folder / "training.json").write_text("{}")  # what says that a base knows our requests for questions
    return ScriptedReader.open(folder, device="cpu")


def _questions(fact: tuple[tuple[str, str], str], *, again: bool) -> list[str]:
    """The questions that a scripted reader writes about a fact, in its first and its second turn."""
    (noun, subject), value = fact
    if again:
        return [f"Do you know the {noun} of {subject}?", f"The {noun} of {subject}, please?"]
    return [f"What is the {noun} of {subject}?", f"Tell me {subject}'s {noun}.", f"Whose {noun} is {value}?"]


class ScriptedWriter:
    """A question writer with a script: a list of questions for every episode, or an exception to raise."""

    name = "scripted"

    def __init__(self, script: Sequence[str] | Exception) -> None:
        self._script = script

    def write(self, episodes: Sequence[Any], *, seed: int) -> list[list[str]]:  # noqa: ARG002 (nothing random)
        """The script, for each episode."""
        if isinstance(self._script, Exception):
            raise self._script
        return [list(self._script) for _ in episodes]
