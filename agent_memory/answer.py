"""Answering: from a question to a context block, and to what the served version says.

    all     the best search results, as many as the budget holds
    lean    the same without the episodes that the served version knows
    none    no block

What a version knows, it is asked: where it is certain of its answer to the question alone
(`asking.by_heart`) and nothing that was found may be news to it (`taught.settled`), the block is empty; else
it is whole. After earlier turns it is whole as well, since "and Vela's?" is no question alone. A version of
another base than the bundled reader cannot say how certain it is: it knows the episodes that it passed its
exam on (`slow`), and only they are left out, and what scores below the best of them: where the weights hold
the best match, weaker ones would only distract. Where nobody can answer then, the base reads all of them
after all.

Reading is the base's: a block, and earlier turns, it reads as well as it ever did. Where it declines, the
served version is asked the question alone, as it was taught (`attempts`); what it is not sure of, and what
names somebody it was never taught about, the base answers after all (`asking.doubted`, `taught.py`). So what
is in view is never read by weights that were trained to answer without it, and what is not in view is still
known.

Only where a version is served is a block lean; the bare base, or another version, gets all (`served.py`).
Neither `ask` nor `chat` records anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_memory import prompt
from agent_memory.config import PromptConfig, SearchConfig
from agent_memory.consolidation.asking import abstains, by_heart, heard
from agent_memory.errors import InvalidInput
from agent_memory.served import Served
from agent_memory.types import Answer, Context, Episode, Reader, Retrieval, SearchResult

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel

#: From a query and a number to results, best first.
Search = Callable[[str, int], Sequence[SearchResult]]

#: Characters per token where no model is at hand to count; on the safe side for English (chosen).
CHARACTERS_PER_TOKEN = 3

#: Share of the best match's score from which on an episode counts as news about what was asked (chosen:
#: scores are standardised, so what has nothing to do with the question has about 0 or less).
NEWS = 0.5

#: Results that a block may use where the bundled reader reads it, and where another does.
FEW, MANY = 2, 10

#: Results that a search may be asked for, unless told.
LARGEST = SearchConfig().max_k

#: Tokens that joining a block to a system text may cost beside its own (chosen, on the safe side).
SEAM_TOKENS = 8

#: Times as many results are asked for as a block may use, since some repeat the query or each other (chosen).
SPARE = 4


@dataclass(frozen=True, slots=True)
class Known:
    """What a version knows of a question: ids of episodes; or its answer, if certain, and what is settled.

    `tokens` counts what it read to tell.
    """

    episodes: frozenset[str] = frozenset()
    answer: str | None = None
    settled: Callable[[Sequence[Episode]], frozenset[str]] = lambda _episodes: frozenset()
    tokens: int = 0


UNKNOWN = Known()


# ---------------------------------------------------------------------- context


def context(
    search: Search,
    query: str,
    *,
    budget_tokens: int,
    retrieval: Retrieval,
    known: Known | None = None,
    count: Callable[[str], int] | None = None,
    most: int = MANY,
    largest: int = LARGEST,
) -> Context:
    """The block for a query within a budget.

    Args:
        search: finds episodes in the namespace.
        query: what is asked.
        budget_tokens: most tokens of the block; at least one line must fit, or there is none.
        retrieval: which results are used.
        known: what a lean block leaves out.
        count: tokens of a text; without it they are estimated by its length.
        most: results that the block may use.
        largest: results that a search may be asked for (`SearchConfig.max_k`).

    Raises:
        InvalidInput: `retrieval` is none of the three, the query no text, or the budget not positive.
    """
    if retrieval not in ("all", "lean", "none"):
        raise InvalidInput(f"retrieval is 'all', 'lean' or 'none', not {retrieval!r:.40}")
    if not isinstance(query, str):
        raise InvalidInput(f"a query is text, not {type(query).__name__}")
    if not isinstance(budget_tokens, int) or budget_tokens < 1:
        raise InvalidInput("budget_tokens must be a whole number from 1")
    if retrieval == "none" or not query.strip():
        return Context("", (), 0)
    count = count or (lambda text: -(-len(text) // CHARACTERS_PER_TOKEN))
    results = telling_results(search, query, most, largest=largest)
    kept: list[Episode] = []
    block, tokens = "", 0
    for result in lean(results, known or UNKNOWN) if retrieval == "lean" else results:
        longer = prompt.context_block([*kept, result.episode])
        needed = count(longer)
        if needed <= budget_tokens:
            kept.append(result.episode)
            block, tokens = longer, needed
    return Context(block, tuple(kept), tokens)


def telling_results(search: Search, query: str, most: int, *, largest: int) -> list[SearchResult]:
    """At most `most` results that tell something, asked for until there are as many or no more.

    Args:
        search: finds episodes in the namespace.
        query: what is asked.
        most: how many at most.
        largest: results that a search may be asked for (`SearchConfig.max_k`).
    """
    wanted = min(SPARE * most, largest)
    while True:
        results = search(query, wanted)
        found = telling(results, query)
        if len(found) >= most or len(results) < wanted or wanted >= largest:
            return found[:most]
        wanted = min(SPARE * wanted, largest)


def telling(results: Sequence[SearchResult], query: str) -> list[SearchResult]:
    """The results that tell something: none that only repeats the query, and of equal texts the newest.

    A question that is asked again and again is recorded each time, and matches itself best; without this
    its copies would crowd out what answers it.
    """
    newest: dict[str, SearchResult] = {}
    for result in results:
        text = _bare(result.episode.text)
        if text not in newest or result.episode.occurred_at > newest[text].episode.occurred_at:
            newest[text] = result  # at the place of the best of its equals
    newest.pop(_bare(query), None)
    return list(newest.values())


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())


def lean(results: Sequence[SearchResult], known: Known) -> list[SearchResult]:
    """What is left of the results for a version that knows this.

    Where it is certain, nothing; or all, if one of them may be news and matches about as well as the best.
    Else those that it does not know and that score no less than the best one that it does.
    """
    if known.answer is not None:
        settled = known.settled([result.episode for result in results])
        best = max((result.score for result in results), default=0.0)
        least = best - (1 - NEWS) * abs(best)  # all scores may be negative
        news = any(r.score >= least for r in results if r.episode.id not in settled)
        return list(results) if news else []
    best = max((r.score for r in results if r.episode.id in known.episodes), default=float("-inf"))
    return [r for r in results if r.episode.id not in known.episodes and r.score >= best]


# ---------------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at an answer: what is said to the model, and which version it wears (None: the bare base)."""

    version: str | None
    adapter: Path | None
    messages: tuple[dict[str, Any], ...]


def attempts(
    messages: Sequence[Mapping[str, Any]],
    what: Served,
    *,
    reader: Reader,
    guarded: bool = False,
) -> tuple[Attempt, ...]:
    """The tries at an answer, in order; the next one is made where one abstains (`asking.abstains`).

    The second hears the question alone under the system text of `ask`, as it was taught: neither earlier
    turns nor the developer's system text.

    Complementary learning systems, in the terms of this package: the fast memory is read, and what it does
    not hold is recalled by the slow one. A question alone goes to the served version at once; where
    `guarded`, none that names what it was not taught about.
    """
    turns = tuple(dict(message) for message in messages)
    if what.adapter is None or reader == "version":
        return (Attempt(what.version, what.adapter, turns),)
    base = Attempt(None, None, turns)
    if not any(turn["role"] == "user" for turn in turns):
        return (base,)
    alone = tuple(prompt.closed_book(turns))
    if guarded and not what.heard_of(alone[-1]["content"]):
        return (base,)
    if not prompt.holds_more_than_a_question(turns):
        return (Attempt(what.version, what.adapter, turns),)
    return base, Attempt(what.version, what.adapter, alone)


def known(
    model: LocalModel,
    messages: Sequence[Mapping[str, Any]],
    what: Served,
    *,
    reader: Reader,
    max_new_tokens: int,
) -> Known:
    """What a lean block leaves out, for messages that hold no block yet; see above.

    Raises:
        AdapterRefused: the version failed its checks.
    """
    if what.adapter is None or reader == "version" or not model.made_here:
        return Known(what.slow)
    if prompt.holds_more_than_a_question(messages) or not what.heard_of(messages[-1]["content"]):
        return UNKNOWN
    ids = model.prompt_ids(messages)
    if len(ids) + max_new_tokens > model.window:
        return UNKNOWN
    (said,) = by_heart(model, [ids], what.adapter, max_new_tokens=max_new_tokens)
    if said is None:
        return Known(tokens=len(ids))
    return Known(answer=model.text(said), settled=what.settled, tokens=len(ids))


@dataclass(frozen=True, slots=True)
class _Recall:
    """A conversation, and what its last question recalls: composed with a block of that in place.

    `room` is how many tokens of the window the conversation and the answer leave.
    """

    model: LocalModel
    search: Search
    messages: Sequence[Mapping[str, str]]
    question: str
    settings: PromptConfig
    system: str
    room: int
    largest: int

    def composed(self, block: str = "") -> list[dict[str, Any]]:
        """The conversation as it is said to the model, with a block in place or without one."""
        return prompt.compose(
            self.messages, block=block, system=self.system, placement=self.settings.placement
        )

    def context(self, how: Retrieval, known: Known = UNKNOWN) -> Context:
        """The block for the question, as far as there is room."""
        return context(
            self.search,
            self.question,
            budget_tokens=max(1, min(self.settings.budget_tokens, self.room - SEAM_TOKENS)),
            retrieval=how if self.room > SEAM_TOKENS else "none",
            known=known,
            count=lambda text: len(self.model.token_ids(text)),
            most=self.settings.most_episodes or (FEW if self.model.made_here else MANY),
            largest=self.largest,
        )


def respond(
    model: LocalModel,
    messages: Sequence[Mapping[str, str]],
    *,
    search: Search,
    what: Served,
    retrieval: Retrieval,
    settings: PromptConfig,
    system: str = "",
    max_new_tokens: int,
    largest: int = LARGEST,
) -> Answer:
    """What is answered to the messages with the recalled block in place: by the base, the version, or both.

    Where a lean block leaves nobody able to answer, the base reads all that is found.

    Raises:
        InvalidInput: there is no user message, or the conversation does not fit the model's window.
        AdapterRefused: the version failed its checks; `rollback()` serves an earlier one.
    """
    asked = [message["content"] for message in messages if message["role"] == "user"]
    if not asked:
        raise InvalidInput("there is no user message to answer")
    bare = prompt.compose(messages, system=system, placement=settings.placement)
    length = len(model.prompt_ids(bare))
    room = model.window - length - max_new_tokens
    if room < 0:
        raise InvalidInput(
            f"the messages have {length} tokens and leave no room in the window of {model.window}"
        )
    recall = _Recall(model, search, messages, asked[-1], settings, system, room, largest)
    if retrieval != "lean" or what.adapter is None:
        how: Retrieval = "all" if retrieval == "lean" else retrieval
        return _read(recall, how, what, max_new_tokens=max_new_tokens)
    sure = known(model, bare, what, reader=settings.reader, max_new_tokens=max_new_tokens)
    said = _read(recall, "lean", what, sure, max_new_tokens=max_new_tokens)
    if abstains(said.text):
        every = recall.context("all")
        if every.episodes != said.episodes:
            last = Attempt(None, None, tuple(recall.composed(every.text)))
            text, tokens, version = _said(model, [last], max_new_tokens=max_new_tokens)
            return Answer(text, said.prompt_tokens + tokens, every.episodes, version)
    return said


def _read(
    recall: _Recall, how: Retrieval, what: Served, sure: Known = UNKNOWN, *, max_new_tokens: int
) -> Answer:
    """What is answered with this block in view; of what the version is sure, without one, at once."""
    found = recall.context(how, sure)
    if sure.answer is not None and not found.episodes:
        return Answer(sure.answer, sure.tokens, (), what.version)
    tries = attempts(
        recall.composed(found.text), what, reader=recall.settings.reader, guarded=recall.model.made_here
    )
    text, tokens, version = _said(recall.model, tries, max_new_tokens=max_new_tokens)
    return Answer(text, sure.tokens + tokens, found.episodes, version)


def _said(model: LocalModel, tries: Sequence[Attempt], *, max_new_tokens: int) -> tuple[str, int, str | None]:
    """The first answer that does not abstain, or the last; the tokens of all prompts; whose words it is."""
    said, tokens, version = "", 0, None
    for one in tries:
        ids = model.prompt_ids(one.messages)
        if tokens and len(ids) + max_new_tokens > model.window:
            break  # as `ask` puts it, the question alone may be longer; then the base has the last word
        ((made, doubt),) = heard(model, [ids], one.adapter, max_new_tokens=max_new_tokens)
        tokens, version = tokens + (1 + doubt) * len(ids), None if doubt else one.version
        said = model.text(made)
        if not abstains(said):
            break
    return said, tokens, version
