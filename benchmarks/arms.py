"""How a consolidated memory is asked: the arms, the oracle, and what must not have been lost.

    none        the base, no block
    retrieval   the base, the k best episodes
    weights     as `ask` serves it without retrieval: the active version, and the base in its place where the
                version is in doubt, or never heard of a name that is asked about
    both        as `ask` serves it with the k best episodes: the base reads the block, and where it declines,
                the active version is asked the question alone
    lean        the same with the lean block: nothing where the version is certain of its answer and nothing
                found may be news to it, else the k best
    oracle      the base, the fact's own episode and nothing else

All are asked the same questions. What `ask` does one at a time is done in batches here; that both give
the same answers is a test. The number k is chosen for the arms, on other questions; what a user gets, with the
settings that ship, `as_shipped` asks through `ask` itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_memory import answer, prompt, served
from agent_memory.consolidation import taught, versions
from agent_memory.consolidation.asking import Asker, abstains, declines, same
from agent_memory.consolidation.lessons import MOST_WORDINGS, in_wordings
from agent_memory.manager import MemoryManager
from agent_memory.types import Namespace, SearchResult
from benchmarks import facts
from benchmarks.intervals import paired, wilson

#: Numbers of episodes that the block of retrieval is tried with.
TRIED_K = (1, 2, 3, 5, 10)
MAX_ANSWER_TOKENS = 32
#: Most questions that are put to `ask` one at a time, as a user does (chosen: it bounds the time).
MOST_SHIPPED = 400


def share(right: Sequence[bool]) -> dict[str, Any]:
    """A share with its Wilson interval."""
    return {
        "share": sum(right) / max(1, len(right)),
        "n": len(right),
        "interval": wilson(sum(right), len(right)),
    }


@dataclass(frozen=True)
class Examined:
    """A memory as the benchmark asks it: its model, and the folder of the active version."""

    memory: MemoryManager
    asker: Asker
    adapter: Path | None
    version: str | None

    @classmethod
    def of(cls, memory: MemoryManager) -> Examined:
        """The memory with what it serves now."""
        model = memory.weights.model
        active = next((version for version in memory.versions() if version.state == "active"), None)
        folder = versions.folder(memory.database.path, active.id) if active else None
        return cls(
            memory, Asker(model, max_answer_tokens=MAX_ANSWER_TOKENS), folder, active.id if active else None
        )

    def said(self, prompts: Sequence[Sequence[int]], adapter: Path | None) -> list[str]:
        """The answers to the prompts."""
        return [one.text for one in self.asker.answers(prompts, adapter)]

    def right(
        self, asked: Sequence[facts.Asked], prompts: Sequence[Sequence[int]], adapter: Path | None
    ) -> list[bool]:
        """Which questions are answered rightly."""
        return [same(text, q.answer) for text, q in zip(self.said(prompts, adapter), asked, strict=True)]

    def alone(self, questions: Sequence[str]) -> list[str]:
        """What is served to questions alone."""
        return [one.text for one in self.asker.alone(questions, self.adapter, self.heard_of)]

    def right_alone(self, asked: Sequence[facts.Asked]) -> list[bool]:
        """Which questions the weights answer rightly: as served, without retrieval."""
        return [same(s, q.answer) for s, q in zip(self.alone([q.text for q in asked]), asked, strict=True)]

    def by_the_version(self, questions: Sequence[str]) -> list[str]:
        """What the active version itself says to questions alone: it is asked about every name.

        What it is not sure of the base answers here, too.
        """
        return self.said([self.asker.prompt(text) for text in questions], self.adapter)

    def heard_of(self, question: str) -> bool:
        """Whether the version was taught about the names in a question."""
        with self.memory.database.read() as connection:
            return self.version is None or taught.heard_of(connection, self.version, question)

    def served(self, questions: Sequence[str], blocks: Sequence[str]) -> list[str]:
        """What `ask` answers with these blocks in view ("" for none); see `answer.attempts`."""
        read = [n for n, block in enumerate(blocks) if block] if self.adapter else list(range(len(blocks)))
        prompts = [self.asker.in_block(questions[n], blocks[n]) for n in read]
        said = dict(zip(read, self.said(prompts, None), strict=True))
        left = [n for n in range(len(questions)) if n not in said or (self.adapter and abstains(said[n]))]
        alone = self.alone([questions[n] for n in left])
        return [text for _, text in sorted((said | dict(zip(left, alone, strict=True))).items())]

    def lean(
        self, questions: Sequence[str], found: Sequence[Sequence[SearchResult]]
    ) -> tuple[list[str], list[str]]:
        """What `ask` answers where these episodes are found and lean blocks made of them, and the blocks.

        Where it read all of them after all, the block has their text once more.
        """
        known = self.known(questions)
        left = [answer.lean(results, one) for results, one in zip(found, known, strict=True)]
        blocks = [prompt.context_block([r.episode for r in results]) for results in left]
        said = self.served(questions, blocks)
        for n, text in enumerate(said):
            if self.adapter and abstains(text) and len(left[n]) < len(found[n]):
                whole = prompt.context_block([r.episode for r in found[n]])
                said[n] = self.said([self.asker.in_block(questions[n], whole)], None)[0]
                blocks[n] += whole
        return said, blocks

    def known(self, questions: Sequence[str]) -> list[answer.Known]:
        """What the version knows of each question alone; see `answer.known`."""
        owner = self.memory.weights._owner(self.memory.fixed or Namespace("bench", None))
        what = served.find(self.memory.database, owner)
        messages = [
            prompt.compose([{"role": "user", "content": question}], system=prompt.ASK_SYSTEM)
            for question in questions
        ]
        return [
            answer.known(
                self.asker.model, one, what, reader=self.memory.config.prompt.reader,
                max_new_tokens=MAX_ANSWER_TOKENS,
            ) for one in messages
        ]

    def with_lines(self, question: str, lines: Sequence[str]) -> tuple[int, ...]:
        """The prompt of a question behind lines that are given as text, in time order."""
        block = prompt.block_of_lines([
            prompt.line(text, date=f"2026-01-{day:02}", source="user") for day, text in enumerate(lines, 1)
        ])  # fmt: skip
        return self.asker.in_block(question, block)

    same = staticmethod(same)
    declines = staticmethod(declines)


def texts_of(memory: MemoryManager, count: int) -> list[list[str]]:
    """The questions of all study items in every wording that may be trained, for each of the first episodes."""
    rows = memory.sql(
        "SELECT e.pk AS pk, e.text AS text, i.question AS question, r.seed AS seed FROM episodes e "
        "LEFT JOIN study_items i ON i.episode_pk = e.pk AND i.kind = 'study' "
        "LEFT JOIN runs r ON r.namespace_id = e.namespace_id ORDER BY e.pk"
    )
    by_episode: dict[int, list[str]] = {}
    for row in rows:
        asked = row["question"]
        told = in_wordings(asked, row["text"], count=MOST_WORDINGS, seed=row["seed"] or 0) if asked else []
        by_episode.setdefault(row["pk"], []).extend(told)
    return list(by_episode.values())[:count]


def oracle(memory: MemoryManager, told: Sequence[facts.Told], asked: Sequence[facts.Asked]) -> list[bool]:
    """The bare base with the fact's own episode in view."""
    examined = Examined.of(memory)
    return examined.right(asked, [examined.with_lines(q.text, [told[q.episode].text]) for q in asked], None)


def arms(
    memory: MemoryManager,
    told: Sequence[facts.Told],
    asked: Sequence[facts.Asked],
    chosen_on: Sequence[facts.Asked],
) -> dict[str, Any]:
    """Accuracy and context tokens of every arm; k is chosen on other questions."""
    examined = Examined.of(memory)
    k, by_k = _choose_k(examined, chosen_on)
    found = [memory.search(q.text, k=max(TRIED_K)) for q in asked]
    blocks = {
        "none": [""] * len(asked),
        "all": [prompt.context_block([r.episode for r in results[:k]]) for results in found],
    }
    asks = {name: [examined.asker.in_block(q.text, b) for q, b in zip(asked, blocks[name], strict=True)]
            for name in ("none", "all")}  # fmt: skip
    texts = [q.text for q in asked]
    both = examined.served(texts, blocks["all"])
    lean, blocks["lean"] = examined.lean(texts, [results[:k] for results in found])
    tokens = {name: _tokens(examined, of) / len(asked) for name, of in blocks.items()}
    right = {
        "none": examined.right(asked, asks["none"], None),
        "retrieval": examined.right(asked, asks["all"], None),
        "weights": examined.right_alone(asked),
        "both": [same(said, q.answer) for said, q in zip(both, asked, strict=True)],
        "lean": [same(said, q.answer) for said, q in zip(lean, asked, strict=True)],
        "oracle": oracle(memory, told, asked),
    }
    return {
        "k": k,
        "chosen_on": len(chosen_on),
        "accuracy_by_k": by_k,
        "context_tokens": tokens,
        "prompt_tokens": {name: sum(map(len, of)) / len(asked) for name, of in asks.items()},
        **_compared(asked, right),
        "right": right,
    }


def _tokens(examined: Examined, blocks: Sequence[str]) -> int:
    return sum(len(examined.asker.model.token_ids(block)) for block in blocks)


def _choose_k(examined: Examined, chosen_on: Sequence[facts.Asked]) -> tuple[int, dict[str, float]]:
    found = [examined.memory.search(q.text, k=max(TRIED_K)) for q in chosen_on]
    by_k: dict[str, float] = {}
    for k in TRIED_K:
        blocks = [prompt.context_block([r.episode for r in results[:k]]) for results in found]
        prompts = [examined.asker.in_block(q.text, block) for q, block in zip(chosen_on, blocks, strict=True)]
        by_k[str(k)] = share(examined.right(chosen_on, prompts, None))["share"]
    best = max(by_k.values(), default=0.0)
    return next(k for k in TRIED_K if by_k[str(k)] >= best - 0.01), by_k


def as_shipped(
    memory: MemoryManager, asked: Sequence[facts.Asked], *, seed: int, most: int = MOST_SHIPPED
) -> dict[str, Any]:
    """What `ask` itself answers, told nothing but the question: shares by kind, and tokens of all its prompts.

    Args:
        memory: opened with the settings that ship.
        asked: the questions.
        seed: of the sample, where there are more than `most`.
        most: questions that are asked at most.
    """
    some = random.Random(f"as shipped {seed}").sample(list(asked), min(most, len(asked)))
    answers = [memory.ask(question.text) for question in some]
    right = [same(answer.text, q.answer) for answer, q in zip(answers, some, strict=True)]
    return {
        **{
            kind: share([ok for ok, wanted in zip(right, mask, strict=True) if wanted])
            for kind, mask in _kinds(some).items()
        },
        "tokens": sum(answer.prompt_tokens for answer in answers) / max(1, len(answers)),
        "n": len(some),
    }


def _kinds(asked: Sequence[facts.Asked]) -> dict[str, list[bool]]:
    """Which questions are of each kind."""
    return {
        "value": [q.kind == "value" and q.frames == "seen" for q in asked],
        "held": [q.kind == "value" and q.frames == "held" for q in asked],
        "reversed": [q.kind == "reversed" for q in asked],
    }


def _compared(asked: Sequence[facts.Asked], right: dict[str, list[bool]]) -> dict[str, Any]:
    """Shares by kind of question, and the paired differences that the bars are about."""
    kinds = _kinds(asked)
    rows: dict[str, Any] = {}
    for kind, mask in kinds.items():
        for arm, marks in right.items():
            rows[f"{kind}: {arm}"] = share([ok for ok, wanted in zip(marks, mask, strict=True) if wanted])
        weights, best = rows[f"{kind}: weights"]["share"], rows[f"{kind}: oracle"]["share"]
        rows[f"{kind}: weights to oracle"] = weights / max(1e-9, best)
    direct = [not wanted for wanted in kinds["reversed"]]
    for other in ("none", "retrieval", "weights"):
        for name, mask in (("direct", direct), ("reversed", kinds["reversed"])):
            pairs = [(a, b) for a, b, w in zip(right["both"], right[other], mask, strict=True) if w]
            if pairs:
                rows[f"{name}: both minus {other}"] = paired(
                    [a for a, _ in pairs], [b for _, b in pairs]
                )
    rows["lean minus retrieval"] = paired(right["lean"], right["retrieval"])
    return rows


def kept(memory: MemoryManager, told: Sequence[facts.Told], *, seed: int, count: int = 500) -> dict[str, Any]:
    """Reading of other memories and abstention on unknown names, of the base and of what is served.

    `reading` is as served, where the base reads; `reading_by_the_version` is what an exported adapter keeps of it.
    """
    examined = Examined.of(memory)
    read = facts.reading(count, seed=seed)
    prompts = [examined.asker.in_block(question, block) for block, question, _ in read]
    answers = [right for _, _, right in read]
    before = [same(s, a) for s, a in zip(examined.said(prompts, None), answers, strict=True)]
    after = [
        same(s, a)
        for s, a in zip(examined.served([q for _, q, _ in read], [b for b, _, _ in read]), answers, strict=True)
    ]
    worn = [same(s, a) for s, a in zip(examined.said(prompts, examined.adapter), answers, strict=True)]
    unknown = facts.unknown(told, count, seed=seed)
    prompts = [examined.asker.prompt(text) for text in unknown]
    return {
        "reading_base": share(before),
        "reading": share(after),
        "reading_by_the_version": share(worn),
        "reading_difference": paired(after, before),
        "abstention_base": share([declines(text) for text in examined.said(prompts, None)]),
        "abstention": share([declines(text) for text in examined.alone(unknown)]),
        "abstention_by_the_version": share([declines(text) for text in examined.by_the_version(unknown)]),
    }
