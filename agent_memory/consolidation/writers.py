"""Who writes the study questions: the base model itself, a chat model that the user names, or templates.

What a question is worth is not decided here: the teacher answers it with the episode in view, and `study.py`
drops what it cannot answer. No writer sees more than one episode at a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from agent_memory import prompt
from agent_memory.config import StudyConfig
from agent_memory.consolidation.asking import BATCH
from agent_memory.consolidation.halves import in_slices
from agent_memory.consolidation.parts import parts
from agent_memory.consolidation.questions import is_wrapped, names, unique, words
from agent_memory.errors import AgentMemoryError, RunFailed
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel

#: Words a question may have; a list item outside is not a question (chosen).
SHORTEST, LONGEST = 2, 60

#: Letters, digits or signs that a question has in any script (chosen).
FEWEST_LETTERS = 3

#: What a model that was not trained by us is asked, after the D2L generator (SakanaAI): no reference to the
#: text, no overlap, reversed questions too.
LONG_REQUEST = (
    "Write ten different questions whose answers are stated in the memory, one per line and nothing "
    "else. Each must stand on its own: name the people and things it is about and do not mention the "
    "memory. Ask for every fact, and also the other way round, from the answer back to who or what "
    "it is about."
)
LONG_REQUEST_AGAIN = (
    "Write ten more, one per line, in other words, about what was not asked yet. Do not repeat yourself."
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):]|Q\d*[.:])\s*")


class QuestionWriter(Protocol):
    """Writes questions about episodes; a list that may be empty for each."""

    name: str

    def write(self, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:
        """The questions about each episode, in the order of the episodes."""


def written_by(writer: QuestionWriter, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:
    """The questions about each episode by a writer that may be anybody's; errors of ours pass.

    What has fewer letters than the shortest question is dropped, what stands in a wrapping of the exam, and
    what no database can hold (half a surrogate pair, a NUL).

    Raises:
        RunFailed: it raised another error, or returned anything but a list of texts for each episode.
    """
    try:
        written = writer.write(episodes, seed=seed)
    except AgentMemoryError:
        raise
    except Exception as error:
        raise RunFailed(
            f"the question writer {writer.name} raised {type(error).__name__}; see its cause"
        ) from error
    if wrong := _wrong(written, episodes=len(episodes)):
        raise RunFailed(f"the question writer {writer.name} returned {wrong}")
    return [[one for one in own if _is_a_draft(one)] for own in written]


def _is_a_draft(text: str) -> bool:
    letters = sum(map(str.isalnum, text))
    storable = "\0" not in text and not _SURROGATE.search(text)
    return letters >= FEWEST_LETTERS and storable and not is_wrapped(text)


def _wrong(written: object, *, episodes: int) -> str | None:
    """What came in place of a list of texts for each episode; None where that came."""
    if not isinstance(written, (list, tuple)) or not all(map(_is_list_of_texts, written)):
        return "something that is not a list of texts for each episode"
    return None if len(written) == episodes else f"{len(written)} lists for {episodes} episodes"


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)


class OwnWriter:
    """The base model writes its own questions.

    One greedy list about each part of an episode, and after it `samples` conversations that ask for others,
    the first greedy and the rest sampled. A model that was trained to ask is asked about an episode part by
    part (`parts.py`), since a small one loses its place in a long list; any other about the whole.
    """

    name = "own"

    def __init__(self, model: LocalModel, *, config: StudyConfig, trained_to_ask: bool = True) -> None:
        self._model = model
        self._config = config
        self._parts = parts if trained_to_ask else lambda text: [text]
        self._requests = (
            (prompt.QUESTION_REQUEST, prompt.QUESTION_REQUEST_AGAIN)
            if trained_to_ask
            else (LONG_REQUEST, LONG_REQUEST_AGAIN)
        )

    def write(self, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:
        """The questions about each episode without repetitions, those of the first turn first."""
        config = self._config
        talks = [
            Talk(place, replace(episode, text=part))
            for place, episode in enumerate(episodes)
            for part in self._parts(episode.text)
        ]
        self._continue(talks, temperature=0.0, seed=seed)
        sampled = [talk.copy() for talk in talks for _ in range(config.samples - 1)]
        for turn in range(1, config.rounds):
            self._continue(talks, temperature=0.0, seed=seed)
            self._continue(sampled, temperature=config.temperature, seed=seed * config.rounds + turn)
        written: list[list[str]] = [[] for _ in episodes]
        for turn in range(config.rounds):
            for talk in (*talks, *sampled):
                written[talk.place] += parse(talk.said[turn])
        return [unique(questions)[: config.max_questions] for questions in written]

    def _continue(self, talks: Sequence[Talk], *, temperature: float, seed: int) -> None:
        """One more turn of each conversation; the model lock is taken for `BATCH` of them at a time."""
        most = self._config.max_question_tokens
        prompts = [self._model.prompt_ids(talk.messages(self._requests)) for talk in talks]
        fitting = [n for n, ids in enumerate(prompts) if len(ids) + most <= self._model.window]

        def say(part: Sequence[tuple[int, list[int]]]) -> list[list[int]]:
            with self._model.wearing(None):
                return self._model.generate(
                    [ids for _, ids in part],
                    max_new_tokens=most,
                    temperature=temperature,
                    seed=seed + part[0][0],  # another in each part, or all would draw the same numbers
                )

        said = in_slices(say, [(n, prompts[n]) for n in fitting], most=BATCH)
        found = dict(zip(fitting, said, strict=True))
        for n, talk in enumerate(talks):  # one that has grown too long for the window says nothing more
            talk.said.append(self._model.text(found[n]) if n in found else "")


@dataclass
class Talk:
    """A conversation with the writer about an episode, or a part of one; `place` is the episode's."""

    place: int
    episode: Episode
    said: list[str] = field(default_factory=list)

    def copy(self) -> Talk:
        """The same so far."""
        return replace(self, said=list(self.said))

    def messages(self, requests: tuple[str, str]) -> list[prompt.Message]:
        """The conversation so far and the next request, the first or the one that asks again."""
        turns: list[dict[str, str]] = [{"role": "user", "content": requests[0]}]
        for said in self.said:
            turns.append({"role": "assistant", "content": said})
            turns.append({"role": "user", "content": requests[1]})
        return prompt.compose(turns, block=prompt.context_block([self.episode]))


class ChatWriter:
    """A LangChain chat model writes: whatever the user passes; the episodes leave the process with it."""

    def __init__(self, chat: Any, *, config: StudyConfig) -> None:
        self._chat = chat
        self._config = config
        self.name = f"chat:{type(chat).__name__}"

    def write(self, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:  # noqa: ARG002 (not ours to seed)
        """The questions about each episode, without repetitions."""
        return [self._about(episode) for episode in episodes]

    def _about(self, episode: Episode) -> list[str]:
        talk = Talk(0, episode)
        for _ in range(self._config.rounds):
            messages = talk.messages((LONG_REQUEST, LONG_REQUEST_AGAIN))
            said = self._chat.invoke([(m["role"], m["content"]) for m in messages])
            talk.said.append(str(said.text))
        return unique(parse("\n".join(talk.said)))[: self._config.max_questions]


class TemplateWriter:
    """Questions without a model: about each name, and each sentence with a gap where a name stood."""

    name = "templates"

    def write(self, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:  # noqa: ARG002 (nothing random)
        """The questions about each episode."""
        return [unique(self._about(episode.text)) for episode in episodes]

    @staticmethod
    def _about(text: str) -> list[str]:
        found = names(text)
        asked = [f"What do you know about {name}?" for name in found]
        for sentence in re.split(r"(?<=[.!?])\s+", text.strip()):
            for name in names(sentence):
                gap = sentence.replace(name, "___", 1)
                asked += [f'What belongs in the gap: "{gap}"', f'Complete the sentence: "{gap}"']
        return asked


def parse(text: str) -> list[str]:
    """The questions in a writer's answer, one per line; bullets, numbers and what is no question dropped."""
    lines = (_BULLET.sub("", line).strip().strip('"').strip() for line in text.splitlines())
    return [line for line in lines if _is_long_enough(line) and len(words(line)) <= LONGEST]


def _is_long_enough(line: str) -> bool:
    """Two words, or as many letters in a script that may put no blanks between words."""
    foreign = sum(letter.isalpha() and not letter.isascii() for letter in line)
    return len(words(line)) >= SHORTEST or foreign >= FEWEST_LETTERS
