"""Asking a local model: the one form in which study and exam put a question, and what an answer says.

A question is the user's turn under the short system text of `ask`; the block, where there is one, stands
where `prompt.py` puts it. Answers are greedy. What a version is not sure of is left to the base (`doubted`).
The model lock is taken for one batch at a time, so that an `ask` from another thread waits for a batch and
not for a stage. When memory runs out, batches are halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_memory import prompt
from agent_memory.consolidation.halves import in_slices
from agent_memory.consolidation.questions import normalise
from agent_memory.types import Episode, Placement, Reader

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel

#: Prompts that one hold of the model lock answers (chosen: about a second of the bundled reader on two
#: cores; one batch of `ModelConfig.batch_size`).
BATCH = 64

#: Answers that one hold of the lock scores, which takes one pass each (chosen: about half a second likewise).
SCORED = 256

#: A prompt and an answer, as token ids.
Pair = tuple[Sequence[int], Sequence[int]]

#: Above this probability no other token can win, so the token is what is said greedily (MemFT).
GREEDY = 0.5

#: A version of the bundled reader is believed only if every token of its answer has at least this
#: probability. In a trial (100 episodes, one seed, not a recorded benchmark) it raised abstention on unknown
#: names from 85 to 93 % and cost 2 points of the answers; 0.6 gave 95 % and cost 3.
SURE = 0.5

#: The same where an answer is to be believed without a look at the episodes that it was taught from. In a
#: trial (100 episodes, one seed, not a recorded benchmark) 76 % of the questions had such an answer, and 99 %
#: of those were right; at 0.8 it was 70 %, and 99.4 %.
CERTAIN = 0.7

#: How answers that decline begin, normalised: ours, and what instruction-tuned models say instead.
_DECLINES = (
    "i do not know",
    "i don't know",
    "i'm not sure",
    "i am not sure",
    "i'm sorry",
    "i do not have",
    "i don't have",
    "unknown",
    "not mentioned",
    "not stated",
    "there is no",
)


#: How an answer begins that only says that it does not know, and most words beside that (chosen).
_ABSTAINS = [
    words.split() for words in ("i do not know", "i don't know", "i do not have", "i don't have")
]
MOST_BESIDE = 6


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: its ids with the end-of-turn token, its text, and whether it came to an end by itself."""

    ids: tuple[int, ...]
    text: str
    complete: bool

    @property
    def declines(self) -> bool:
        """Whether it says that the answer is not known, or nothing."""
        return declines(self.text)


def declines(text: str) -> bool:
    """Whether an answer says that it is not known, or says nothing."""
    said = normalise(text)
    return not said or any(f"{said} ".startswith(f"{begin} ") for begin in _DECLINES)


def abstains(text: str) -> bool:
    """Whether an answer says that it does not know, and hardly anything else: then the next is asked.

    Narrower than `declines`, by which study and exam are counted: here a whole answer would be thrown away.
    """
    said = normalise(text).split()
    return not text.strip() or any(
        said[: len(begin)] == begin and len(said) <= len(begin) + MOST_BESIDE for begin in _ABSTAINS
    )


def may_abstain(text: str) -> bool:
    """Whether the beginning of an answer may still become one that abstains, or is one."""
    said = normalise(text).split()
    return abstains(text) or bool(said and any(_begins(said, begin) for begin in _ABSTAINS))


def _begins(said: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether words are the first ones of others; the last may be half a word."""
    return (
        len(said) <= len(whole)
        and list(said[:-1]) == list(whole[: len(said) - 1])
        and whole[len(said) - 1].startswith(said[-1])
    )


def same(one: str, other: str) -> bool:
    """Whether two answers are the same but for case, punctuation and articles."""
    return normalise(one) == normalise(other)


def doubted(
    model: LocalModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    least: float | None = None,
) -> list[bool]:
    """Whether a version, worn now, gives a token of its answer less than `least`, by default `SURE`.

    A student asked about a name that it never met mixes what it knows, and shows it. Only the bundled reader
    is doubted, whose answers are a few tokens; in a long answer some token is always unlikely. Answers end
    where they ended, without their end token.
    """
    if not model.made_here:
        return [False] * len(answers)
    words = [[token for token in one if token not in model.end_ids] for one in answers]
    nats = model.log_probs(prompts, words)
    return [min(tokens, default=0.0) < math.log(least or SURE) for tokens in nats]


def heard(
    model: LocalModel, prompts: Sequence[Sequence[int]], adapter: Path | None, *, max_new_tokens: int
) -> list[tuple[list[int], bool]]:
    """The greedy answer to each prompt, and whether the base gave it in place of a version in doubt."""
    with model.wearing(adapter):
        made = model.generate(prompts, max_new_tokens=max_new_tokens)
        doubts = doubted(model, prompts, made) if adapter is not None else [False] * len(made)
        left = [ids for ids, doubt in zip(prompts, doubts, strict=True) if doubt]
        with model.wearing(None):
            instead = iter(model.generate(left, max_new_tokens=max_new_tokens))
    return [(next(instead) if doubt else ids, doubt) for ids, doubt in zip(made, doubts, strict=True)]


def by_heart(
    model: LocalModel, prompts: Sequence[Sequence[int]], adapter: Path, *, max_new_tokens: int
) -> list[list[int] | None]:
    """The greedy answer of a version of the bundled reader to each prompt; None where it is not `CERTAIN`."""
    with model.wearing(adapter):
        made = model.generate(prompts, max_new_tokens=max_new_tokens)
        doubts = doubted(model, prompts, made, least=CERTAIN)
    return [
        None if doubt or abstains(model.text(ids)) else ids for ids, doubt in zip(made, doubts, strict=True)
    ]


class Asker:
    """Puts questions to a local model, with or without episodes in view, wearing an adapter or not."""

    def __init__(
        self,
        model: LocalModel,
        *,
        max_answer_tokens: int,
        placement: Placement = "system",
        reader: Reader = "base",
    ) -> None:
        self.model = model
        self._most = max_answer_tokens
        self._placement = placement
        self._guarded = reader == "base" and model.made_here

    def prompt(self, question: str, episodes: Sequence[Episode] = ()) -> tuple[int, ...]:
        """The ids of the question with the episodes in view."""
        return self.in_block(question, prompt.context_block(episodes))

    def in_block(self, question: str, block: str) -> tuple[int, ...]:
        """The ids of the question behind a block that is text already."""
        messages = prompt.compose(
            [{"role": "user", "content": question}],
            block=block,
            system=prompt.ASK_SYSTEM,
            placement=self._placement,
        )
        return tuple(self.model.prompt_ids(messages))

    def fits(self, ids: Sequence[int]) -> bool:
        """Whether an answer finds room behind the prompt."""
        return len(ids) + self._most <= self.model.window

    def answers(self, prompts: Sequence[Sequence[int]], adapter: Path | None = None) -> list[Said]:
        """What the model says to each prompt, wearing the adapter; see `heard`.

        Raises:
            RunFailed: not even one prompt fits into memory.
        """

        def say(part: Sequence[Sequence[int]]) -> list[Said]:
            made = heard(self.model, part, adapter, max_new_tokens=self._most)
            return [Said(tuple(ids), self.model.text(ids), 0 < len(ids) < self._most) for ids, _ in made]

        return in_slices(say, prompts, most=BATCH)

    def alone(
        self,
        questions: Sequence[str],
        adapter: Path | None,
        heard_of: Callable[[str], bool],
    ) -> list[Said]:
        """What is said to each question alone: by the version where it heard of the names, else by the base.

        As in `answer.attempts`, versions of other bases than the bundled reader are asked everything, and so
        are those that read by themselves.
        """
        guarded = adapter is not None and self._guarded
        strange = [n for n, question in enumerate(questions) if guarded and not heard_of(question)]
        others = sorted(set(range(len(questions))) - set(strange))
        prompts = [self.prompt(question) for question in questions]
        said = dict(zip(others, self.answers([prompts[n] for n in others], adapter), strict=True))
        said |= zip(strange, self.answers([prompts[n] for n in strange]), strict=True)
        return [said[n] for n in range(len(questions))]

    def says(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[bool]:
        """Whether the bare base says each answer to its prompt, greedily: found in one pass, not decoded.

        Where it is not the bundled reader, what is not the same token by token is decoded, and compared as
        text.
        """
        pairs = list(zip(prompts, answers, strict=True))

        def score(part: Sequence[Pair]) -> list[bool]:
            with self.model.wearing(None):
                return self.model.says([asked for asked, _ in part], [said for _, said in part])

        result = in_slices(score, pairs, most=SCORED)
        missed = [] if self.model.made_here else [n for n, right in enumerate(result) if not right]
        for n, said in zip(missed, self.answers([prompts[n] for n in missed]), strict=True):
            result[n] = same(said.text, self.model.text(answers[n]))
        return result

    def least_log_probs(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[float]:
        """The smallest log-probability, in nats, that the bare base gives a token of each answer."""

        def score(part: Sequence[Pair]) -> list[float]:
            with self.model.wearing(None):
                nats = self.model.log_probs([asked for asked, _ in part], [said for _, said in part])
            return [min(tokens, default=-1.0) for tokens in nats]

        return in_slices(score, list(zip(prompts, answers, strict=True)), most=SCORED)

    def sure(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[bool]:
        """Whether the bare base gives every token of an answer more than `GREEDY`."""
        return [nats > math.log(GREEDY) for nats in self.least_log_probs(prompts, answers)]
