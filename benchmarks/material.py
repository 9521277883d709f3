"""What the speed comparison trains on: the same items for everybody, made from the reader's world."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agent_memory import prompt
from agent_memory.consolidation.targets import Item
from agent_memory.models.local import LocalModel
from benchmarks import facts
from training.world import World

STUDIED = 6  # questions per fact
ANSWER_TOKENS = 20


@dataclass(frozen=True)
class Material:
    """Study and anchor prompts (teacher, student), exam prompts, and the right answers of the exam."""

    study: list[tuple[tuple[int, ...], tuple[int, ...]]]
    anchors: list[tuple[int, ...]]
    exam: list[tuple[int, ...]]
    exam_in_context: list[tuple[int, ...]]
    right: list[str]


def material(model: LocalModel, *, episodes: int, seed: int) -> Material:
    """Questions about each fact, exam questions in other frames, and questions about unknown names."""
    told = facts.memory(episodes, seed=seed)
    rng, world = random.Random(f"speed {seed}"), World("eval")
    blocks = [
        prompt.block_of_lines([prompt.line(one.text, date="2026-01-01", source="user")]) for one in told
    ]
    studied = [
        list(dict.fromkeys(world.question(rng, fact) for fact in one.facts for _ in range(STUDIED)))
        for one in told
    ]
    asked = facts.questions(told, studied, seed=seed, per_fact=2, held=0)
    asked = [question for question in asked if question.kind == "value"]
    return Material(
        [
            (ids(model, text, blocks[number]), ids(model, text))
            for number, texts in enumerate(studied) for text in texts
        ],
        [ids(model, text) for text in facts.unknown(told, 10 * episodes, seed=seed)],
        [ids(model, question.text) for question in asked],
        [ids(model, question.text, blocks[question.episode]) for question in asked],
        [question.answer for question in asked],
    )  # fmt: skip


def ids(model: LocalModel, question: str, block: str = "") -> tuple[int, ...]:
    """The prompt of a question as `ask` composes it."""
    asked = [{"role": "user", "content": question}]
    return tuple(model.prompt_ids(prompt.compose(asked, block=block, system=prompt.ASK_SYSTEM)))


def answered(model: LocalModel, some: Material) -> tuple[list[Item], list[Item]]:
    """Study items and anchors with the base's own answers; the base must be worn."""
    answers = model.generate([teacher for teacher, _ in some.study], max_new_tokens=ANSWER_TOKENS)
    items = [
        Item(f"study {i}", teacher, student, tuple(answer))
        for i, ((teacher, student), answer) in enumerate(zip(some.study, answers, strict=True))
    ]
    answers = model.generate(some.anchors, max_new_tokens=ANSWER_TOKENS)
    anchors = [
        Item(f"anchor {i}", own, own, tuple(answer))
        for i, (own, answer) in enumerate(zip(some.anchors, answers, strict=True))
    ]
    return items, anchors


def score(model: LocalModel, prompts: list[tuple[int, ...]], right: list[str]) -> float:
    """Share of exam answers that are right, as the model is worn."""
    answers = model.generate(prompts, max_new_tokens=ANSWER_TOKENS)
    hits = [model.text(answer) == wanted for answer, wanted in zip(answers, right, strict=True)]
    return sum(hits) / len(hits)
