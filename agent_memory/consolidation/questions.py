"""Questions about episodes: who writes them, and what is done to their text.

Breadth decides what is learnt: a fact studied in three phrasings is known in those three. So an episode gets
questions from several conversations with the writer (one greedy, the others sampled), each of two rounds, the
second for what was not asked yet; and it borrows phrasings from other episodes with the names replaced
(`borrowed`). What a question is worth is not decided here: the teacher answers it with the episode in view,
and `study.py` drops what it cannot answer.

A writer is the base model itself (`OwnWriter`), a LangChain chat model that the user names (`ChatWriter`), or
a handful of templates (`TemplateWriter`). None of them sees more than one episode at a time.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from agent_memory import prompt
from agent_memory.config import StudyConfig
from agent_memory.errors import RunFailed
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel

#: Words a question may have; a list item outside is not a question (chosen).
SHORTEST, LONGEST = 2, 60

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

#: Wrappers for examined questions only; no study item ever has one.
EXAM_TEMPLATES = (
    "Tell me: {question}",
    "I would like to check something. {question}",
    "{question} Please answer.",
)

_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):]|Q\d*[.:])\s*")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*", re.UNICODE)
_NAME = r"[^\W\d_a-z][\w'’-]*|\d[\w-]*|[\w-]*\d[\w-]*"
_NAMES = re.compile(rf"(?<![\w'’-])(?:{_NAME})(?:[ ](?:{_NAME}))*", re.UNICODE)
_POSSESSIVE = re.compile(r"['’]s?$")


def _words(text: str) -> tuple[str, ...]:
    """A word list, written as a person writes one."""
    return tuple(text.split())


#: Capitalised for opening a sentence or by habit, never for being a name.
_ORDINARY = frozenset(
    _words("""
    a about according after all also an and any are as ask at be been before between but by can could
    describe did do does during each every explain find for from give had has have he her here his how i
    if in into is it its just kindly list may me might my name no not now of on one or our out over
    please quick recall remind say she should since so state such tell than that the their them then
    there these they this those to under until up was we were what whatever when where whether which
    while who whom whose why will with would yes you your
""")
)


class QuestionWriter(Protocol):
    """Writes questions about episodes; a list that may be empty for each."""

    name: str

    def write(self, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:
        """The questions about each episode, in the order of the episodes."""


class OwnWriter:
    """The base model writes its own questions: `samples` conversations of `rounds` turns for each episode."""

    name = "own"

    def __init__(self, model: LocalModel, *, config: StudyConfig, trained_to_ask: bool = True) -> None:
        self._model = model
        self._config = config
        self._requests = (
            (prompt.QUESTION_REQUEST, prompt.QUESTION_REQUEST_AGAIN)
            if trained_to_ask
            else (LONG_REQUEST, LONG_REQUEST_AGAIN)
        )

    def write(self, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:
        """The questions about each episode, without repetitions."""
        written: list[list[str]] = [[] for _ in episodes]
        greedy = self._converse(episodes, seed=seed, temperature=0.0)
        again = [episode for episode in episodes for _ in range(self._config.samples - 1)]
        sampled = self._converse(again, seed=seed, temperature=self._config.temperature)
        for place, text in enumerate(greedy):
            written[place] += parse(text)
        for place, text in enumerate(sampled):
            written[place // (self._config.samples - 1)] += parse(text)
        return [unique(questions)[: self._config.max_questions] for questions in written]

    def _converse(self, episodes: Sequence[Episode], *, seed: int, temperature: float) -> list[str]:
        """All that one conversation about each episode wrote; an episode may be there more than once."""
        talks: list[list[dict[str, str]]] = [[] for _ in episodes]
        for turn in range(self._config.rounds if episodes else 0):
            for talk in talks:
                talk.append({"role": "user", "content": self._requests[min(turn, 1)]})
            prompts = [
                self._model.prompt_ids(prompt.compose(talk, block=prompt.context_block([episode])))
                for talk, episode in zip(talks, episodes, strict=True)
            ]
            with self._model.wearing(None):
                said = self._model.generate(
                    prompts,
                    max_new_tokens=self._config.max_question_tokens,
                    temperature=temperature,
                    seed=seed * self._config.rounds + turn,
                )
            for talk, ids in zip(talks, said, strict=True):
                talk.append({"role": "assistant", "content": self._model.text(ids)})
        return ["\n".join(m["content"] for m in talk if m["role"] == "assistant") for talk in talks]


class ChatWriter:
    """A LangChain chat model writes: whatever the user passes; the episodes leave the process with it."""

    def __init__(self, chat: Any, *, config: StudyConfig) -> None:
        self._chat = chat
        self._config = config
        self.name = f"chat:{type(chat).__name__}"

    def write(self, episodes: Sequence[Episode], *, seed: int) -> list[list[str]]:  # noqa: ARG002 (not ours to seed)
        """The questions about each episode, without repetitions.

        Raises:
            RunFailed: where the chat model raises or does not return a message.
        """
        return [self._about(episode) for episode in episodes]

    def _about(self, episode: Episode) -> list[str]:
        talk: list[dict[str, str]] = []
        questions: list[str] = []
        for turn in range(self._config.rounds):
            talk.append({"role": "user", "content": (LONG_REQUEST, LONG_REQUEST_AGAIN)[min(turn, 1)]})
            messages = prompt.compose(talk, block=prompt.context_block([episode]))
            try:
                said = str(self._chat.invoke([(m["role"], m["content"]) for m in messages]).text)
            except Exception as error:
                raise RunFailed(
                    f"the question writer {self.name} raised {type(error).__name__}; see its cause"
                ) from error
            talk.append({"role": "assistant", "content": said})
            questions += parse(said)
        return unique(questions)[: self._config.max_questions]


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
    return [line for line in lines if SHORTEST <= len(_WORD.findall(line)) <= LONGEST]


def normalise(text: str) -> str:
    """A text for comparison: its words in lower case, without articles and punctuation."""
    words = (word.replace("’", "'") for word in _WORD.findall(text.lower()))
    return " ".join(word for word in words if word not in {"a", "an", "the"})


def unique(questions: Iterable[str]) -> list[str]:
    """The questions without repetitions, in order; case and punctuation do not count."""
    seen: dict[str, str] = {}
    for question in questions:
        seen.setdefault(normalise(question), question)
    return [question for key, question in seen.items() if key]


def names(text: str) -> list[str]:
    """The names, codes and numbers in a text, in order: runs of capitalised words and words with digits.

    Ordinary words do not count where they open a sentence; this knows English capitals and nothing else.
    """
    found: list[str] = []
    for match in _NAMES.finditer(text):
        words = match.group().split(" ")
        while words and _ordinary(words[0]):
            words.pop(0)
        while words and _ordinary(words[-1]):
            words.pop()
        if words:
            found.append(_bare(" ".join(words)))
    return list(dict.fromkeys(found))


def _ordinary(word: str) -> bool:
    """Whether the word, or what stands before its apostrophe, is no name."""
    return re.split("['’]", word)[0].lower() in _ORDINARY


def _bare(word: str) -> str:
    return _POSSESSIVE.sub("", word)


def asked_about(question: str, episode_text: str) -> tuple[str, ...]:
    """The names of a question that the episode holds too, sorted: what the question is asked from."""
    text = episode_text.lower()
    return tuple(sorted(name for name in names(question) if name.lower() in text))


def common_subject(questions: Sequence[str], episode_text: str) -> tuple[str, ...]:
    """What questions without names ask about: the longest run of words of the episode that all of them hold.

    For subjects in lower case: "When can I visit the garden center?" and "When does the garden center open?"
    have `garden center` in common. One question alone cannot tell its subject from its other words.
    """
    held = [set(_WORD.findall(question.lower())) - _ORDINARY for question in questions]
    if len(held) < 2 or not (shared := set.intersection(*held)):
        return ()
    runs: list[list[str]] = [[]]
    for word in _WORD.findall(episode_text.lower()):
        if word in shared:
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    longest = max(runs, key=len)
    best = " ".join(longest)
    return (best,) if best and all(best in question.lower() for question in questions) else ()


def frame(question: str, about: Sequence[str]) -> str | None:
    """The question with slots `{0}`, `{1}` for its names; None where a name is missing or it has braces."""
    if not about or "{" in question or "}" in question:
        return None
    for slot, name in enumerate(_in_order(about, question)):
        question, found = re.subn(re.escape(name), f"{{{slot}}}", question, flags=re.IGNORECASE)
        if not found:
            return None
    return question


def _in_order(about: Sequence[str], question: str) -> list[str]:
    """The names in the order in which the question names them."""
    return sorted(about, key=lambda name: question.lower().find(name.lower()))


def borrowed(
    groups: Sequence[tuple[tuple[str, ...], Sequence[str]]], *, most: int, seed: int
) -> list[list[str]]:
    """For each group of synonymous questions, further ones in the phrasings of other groups.

    Two frames that ask for the same thing in one group belong to one relation, and so, over all groups, do
    those that are joined by such pairs. A group gets the frames of its relation that it does not have, filled
    with its own names. A wrong join costs a question that the teacher answers otherwise, no more.

    Args:
        groups: of each group the names that it asks about and its questions.
        most: borrowed questions per group.
        seed: chooses among the frames.
    """
    framed = [
        [f for f in (frame(question, about) for question in questions) if f] for about, questions in groups
    ]
    relation = _joined(framed)
    members: dict[str, set[str]] = defaultdict(set)
    for frames in framed:
        for one in frames:
            members[relation[one]].add(one)
    result: list[list[str]] = []
    for place, ((about, questions), frames) in enumerate(zip(groups, framed, strict=True)):
        others = sorted(set().union(*(members[relation[f]] for f in frames)) - set(frames)) if frames else []
        random.Random(f"{seed}:{place}").shuffle(others)
        ordered = _in_order(about, questions[0]) if questions else []
        filled = [f.format(*ordered) for f in others if f.count("{") == len(ordered)]
        result.append(filled[:most])
    return result


def _joined(framed: Sequence[Sequence[str]]) -> dict[str, str]:
    """A representative for each frame, equal for those that are joined (union-find)."""
    parent: dict[str, str] = {}

    def root(one: str) -> str:
        parent.setdefault(one, one)
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for frames in framed:
        for other in frames:
            parent[root(other)] = root(frames[0])
    return {one: root(one) for one in list(parent)}


def is_wrapped(question: str) -> bool:
    """Whether a question stands in one of the wrappings that are for the exam alone."""
    return any(
        question.startswith(head) and question.endswith(tail)
        for head, tail in (template.split("{question}") for template in EXAM_TEMPLATES)
    )


def with_other_names(
    texts: Sequence[str], *, taken: Callable[[str], bool], rng: random.Random
) -> list[str] | None:
    """The texts about names that do not exist here, the same in all; None where the first has no name.

    Args:
        texts: a question, and whatever else speaks of the same names (an episode).
        taken: whether a name occurs in the namespace.
        rng: makes the names.
    """
    if not names(texts[0]):
        return None
    others: dict[str, str] = {}
    for name in dict.fromkeys(name for text in texts for name in names(text)):
        made = (_invented(name, rng) for _ in range(50))
        other = next((one for one in made if not taken(one) and one not in others.values()), None)
        if other is None:
            return None
        others[name] = other
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in sorted(others, key=len, reverse=True))
    )
    return [pattern.sub(lambda match: others[match.group()], text) for text in texts]


_GIVEN = _words("""
    Adele Amir Beatrix Bruno Carmen Cedric Dalia Dimitri Edith Emil Farah Felix Greta Gustav Hannah Hugo
    Ingrid Ivan Jasmin Jonas Kira Konrad Leila Lorenzo Magda Milan Nadia Nils Olga Oscar Petra Quentin
    Rosa Ruben Selma Stefan Tamara Tobias Ursula Viktor Wanda Xenia Yusuf Zelda Agnes Anton Bettina
    Boris Celia Darius Elena Fabian
""")
_FAMILY = _words("""
    Abbott Brandt Castell Dvorak Ekman Fontaine Grieg Holm Ibarra Jansen Keller Lindt Moreau Novak Orlov
""")
_STARTS = _words("""
    b br d dr f fl g gr h k kl l m n p pl qu r s st t tr v w z sh th
""")
_VOWELS = _words("""
    a e i o u ai ea io ou
""")
_ENDS = ("", "", "n", "r", "s", "l", "x", "th", "nd")


def _invented(name: str, rng: random.Random) -> str:
    """Another name of the same look: digits for digits, an ordinary or invented name for each word."""
    if any(letter.isdigit() for letter in name):
        return "".join(rng.choice("0123456789") if c.isdigit() else c for c in name)
    words = name.split(" ")
    if rng.random() < 0.5 and len(words) <= 2:
        return " ".join([rng.choice(_GIVEN), rng.choice(_FAMILY)][: len(words)])
    return " ".join(_syllables(rng) for _ in words)


def _syllables(rng: random.Random) -> str:
    made = "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 2, 3))))
    return (made + rng.choice(_ENDS)).capitalize()
