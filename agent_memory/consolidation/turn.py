"""Turn: a fact that is asked from one side only is asked from the other, too.

Weights that learnt "Whose neighbour is Mardia?" - Flora do not know who Flora's neighbour is (the reversal
curse, Berglund et al. 2023), and a writer may ask one way round only. Where a base brings its phrasings
(`phrasings.py`), a new group without a converse is put in those that ask back. The teacher must answer with
the name that the group asks from, as steadily as any other question. What would have two answers is not
asked: who lives in Lisbon, where two people do. Groups of earlier runs stay as they are.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from agent_memory.config import StudyConfig
from agent_memory.consolidation import study_items, versions
from agent_memory.consolidation.complete import Group, groups_of
from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import MINE, as_written, normalise
from agent_memory.consolidation.study import (
    Answered,
    View,
    consistent,
    crowds_of,
    row,
    views_of,
    with_targets,
)
from agent_memory.consolidation.work import Work, load_episodes
from agent_memory.durable import write_file

#: The artefact of the stage, in the run's folder: what each episode is asked, and what it must answer.
TURNED = "turned.json"
#: Phrasings in which a fact is asked back; where the teacher answers one, the rest is lent (chosen).
MOST = 8


def turn(work: Work, *, config: StudyConfig) -> None:
    """Leaves further study items for episodes whose facts are asked from one side only."""
    asked = _decided(work)
    revisions = {one.episode_pk: one.revision for one in work.selected()}
    for mark, pks in work.chunks("turn"):
        views = [
            view
            for view in views_of(work, [pk for pk in pks if str(pk) in asked], config=config)
            if view.episode.revision == revisions[view.pk]  # else it was edited meanwhile, and waits
        ]
        wanted = [{q: one for one in asked[str(view.pk)] for q in one["questions"]} for view in views]
        found = consistent(work, views, [list(own) for own in wanted], crowds_of(work, views))
        kept = [
            [one for one in own if _told(one.said.text) == right[one.question]["answer"]]
            for own, right in zip(found, wanted, strict=True)
        ]
        made = [
            _rows(work, view, own, right, top_k=config.top_k)
            for view, own, right in zip(views, kept, wanted, strict=True)
        ]
        with work.transaction(done=mark) as connection:
            for view, items in zip(views, made, strict=True):
                study_items.save(
                    connection, items, namespace_id=work.namespace_id, run_id=work.run_id, base=work.base,
                    context=[pk for pk, _ in view.beside],
                )  # fmt: skip


def _rows(
    work: Work, view: View, kept: Sequence[Answered], wanted: dict[str, dict[str, Any]], *, top_k: int
) -> list[dict[str, Any]]:
    targets = with_targets(work, kept, top_k=top_k) if kept else []
    rows = [
        row(view, one, group=wanted[one.question]["group"], kind="study", origin="turned") for one in kept
    ]
    return [{**one, "targets": blob} for one, blob in zip(rows, targets, strict=True)]


def _decided(work: Work) -> dict[str, list[dict[str, Any]]]:
    """What each episode is asked: decided once and kept, for what a run adds are groups later."""
    kept = versions.run_folder(work.database.path, work.run_id) / TURNED
    if not kept.exists():
        brought = Phrasings.of(work.model.folder)
        by_episode = groups_of(work)
        with work.database.read() as connection:
            episodes = load_episodes(connection, list(by_episode))
        turned = {pk: turned_groups(own, episodes[pk].text, brought) for pk, own in by_episode.items()}
        told = [
            (item.question, item.answer) for own in by_episode.values() for g in own for item in g.items
        ] + [(q, one["answer"]) for own in turned.values() for one in own for q in one["questions"]]
        two = ambiguous(told)
        for own in turned.values():
            for one in own:
                one["questions"] = [q for q in one["questions"] if normalise(q) not in two]
        write_file(kept, json.dumps({str(pk): own for pk, own in turned.items() if own}).encode())
    decided: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text(encoding="utf-8"))
    return decided


def ambiguous(told: Iterable[tuple[str, str]]) -> set[str]:
    """The questions, normalised, that have more than one answer in a run."""
    answers: dict[str, set[str]] = defaultdict(set)
    for question, answer in told:
        answers[normalise(question)].add(_told(answer))
    return {question for question, own in answers.items() if len(own) > 1}


def turned_groups(groups: Sequence[Group], text: str, brought: Phrasings) -> list[dict[str, Any]]:
    """The converses that are missing among an episode's new groups: number, questions, answer to be given."""
    found: list[dict[str, Any]] = []
    number = 1 + max((group.number for group in groups), default=-1)
    for group in groups:
        placed = brought.placed(item.question for item in group.items)
        subject = as_written(group.items[0].answer.strip(" ."), text)
        if placed is None or subject is None or any(item.known is not None for item in group.items):
            continue
        answer = _told(placed.name)
        if any(_told(other.items[0].answer) == answer and _asks(other, subject) for other in groups):
            continue
        questions = [frame.replace("{0}", subject) for frame in placed.back[:MOST]]
        if questions:
            found.append({"group": number + len(found), "questions": questions, "answer": answer})
    return found


def _asks(group: Group, subject: str) -> bool:
    """Whether a group asks from this name."""
    return any(f" {normalise(subject)} " in f" {_plain(item.question)} " for item in group.items)


def _plain(question: str) -> str:
    return re.sub(r"['’]s\b", "", normalise(question))


def _told(name: str) -> str:
    """A name for comparison, whoever says it: "my aunt" is told as "your aunt"."""
    return MINE.sub("your", normalise(name))
