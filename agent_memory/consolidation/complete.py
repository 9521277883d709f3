"""Complete: groups get their exam, borrow phrasings, and are marked where the base knows them already.

Of a group with three or more different questions the one least like the others is examined; a smaller group
is examined in a wrapping that no study item ever has. Phrasings are borrowed from other episodes
(`questions.borrowed`) and kept only where the teacher, with the episode in view, gives the group's own
answer greedily, token by token. A phrasing that the base does not bring tells of the episode about which it
was written first, and goes with it. An item that the bare base answers without the episode is examined but
not trained (surprise gate).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, update

from agent_memory.config import StudyConfig
from agent_memory.consolidation import study_items, versions
from agent_memory.consolidation.asking import Said, same
from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import (
    EXAM_TEMPLATES,
    as_written,
    asked_about,
    borrowed,
    common_subject,
    frame,
    is_wrapped,
    normalise,
)
from agent_memory.consolidation.study import Answered, View, row, views_of
from agent_memory.consolidation.work import Work
from agent_memory.durable import write_file
from agent_memory.store import tables

#: The artefact of the stage, in the run's folder: what each group may borrow.
LOANS = "loans.json"
#: Fewest different questions of a group that can spare one for the exam (fixed by the issue).
SPARES_ONE = 3


@dataclass
class Group:
    """The questions of an episode that ask for the same.

    `loans` are what it may borrow, each with the key of the episode that lends it (None: the base does).
    """

    number: int
    items: list[study_items.StudyItem]
    about: tuple[str, ...]
    loans: dict[str, int | None]

    @property
    def answer(self) -> tuple[int, ...]:
        """The ids with which the teacher answers most often."""
        ids = Counter(study_items.answer_ids(item.targets or b"") for item in self.items)
        return ids.most_common(1)[0][0]


@dataclass(frozen=True, slots=True)
class Made:
    """A new item: its columns, the answer's ids, and the keys of other episodes that it tells of."""

    row: dict[str, Any]
    answer: tuple[int, ...]
    lenders: tuple[int, ...] = ()


def complete(work: Work, *, config: StudyConfig) -> None:
    """Gives each answered group its exam, borrowed questions, their targets and the surprise gate's mark."""
    by_episode = groups_of(work)
    _lend(work, by_episode, config=config)
    for mark, pks in work.chunks("complete"):
        asked = [pk for pk in pks if any(i.known is None for g in by_episode.get(pk, ()) for i in g.items)]
        views = {
            view.pk: view
            for view in views_of(work, asked, config=config)
            if view.episode.revision == by_episode[view.pk][0].items[0].revision  # else edited, and waits
        }
        made = {
            pk: _lent(work, view, by_episode[pk], config=config) + _wrapped(work, view, by_episode[pk])
            for pk, view in views.items()
        }
        known = _known(work, [item for pk in views for g in by_episode[pk] for item in g.items], made)
        with work.transaction(done=mark) as connection:
            _write_known(connection, known)
            for pk, view in views.items():
                _examine_one_each(connection, by_episode[pk])
                beside = [other for other, _ in view.beside]
                for one in made[pk]:
                    study_items.save(
                        connection, [one.row], namespace_id=work.namespace_id, run_id=work.run_id,
                        base=work.base, context=[*beside, *one.lenders],
                    )  # fmt: skip


def groups_of(work: Work) -> dict[int, list[Group]]:
    """All groups of the selected episodes."""
    i = tables.study_items.c
    episodes = work.episodes()
    with work.database.read() as connection:
        found = study_items.load(
            connection,
            and_(
                i.namespace_id == work.namespace_id,
                i.base == work.base,
                i.kind != "draft",
                study_items.not_retired(),
                i.targets.is_not(None),
            ),
        )
    brought = Phrasings.of(work.model.folder)
    gathered: dict[tuple[int, int], list[study_items.StudyItem]] = defaultdict(list)
    for item in found:
        episode = episodes.get(item.episode_pk)
        if episode and episode.revision == item.revision and not is_wrapped(item.question):
            gathered[item.episode_pk, item.answer_group].append(item)
    result: dict[int, list[Group]] = defaultdict(list)
    for (pk, number), members in gathered.items():
        about = _about([item.question for item in members], episodes[pk].text, brought)
        result[pk].append(Group(number, members, about, {}))
    return result


def _about(questions: Sequence[str], text: str, brought: Phrasings) -> tuple[str, ...]:
    """What synonymous questions ask from: what the base's phrasings tell, or the names in most of them."""
    placed = brought.placed(questions)
    if placed is not None and (name := as_written(placed.name, text)) is not None:
        return (name,)
    about = Counter(asked_about(question, text) for question in questions).most_common(1)[0][0]
    return about or common_subject(questions, text)


def _lend(work: Work, by_episode: Mapping[int, Sequence[Group]], *, config: StudyConfig) -> None:
    """Sets the questions that each group may borrow: decided once and kept, for loans are items later.

    A run that was killed among the chunks would else see the loans of the finished ones, and decide
    otherwise.
    """
    kept = versions.run_folder(work.database.path, work.run_id) / LOANS
    groups = {f"{pk}:{group.number}": group for pk, own in by_episode.items() for group in own}
    if not kept.exists():
        lists = Phrasings.of(work.model.folder).lists
        lent = borrowed(
            [(g.about, [i.question for i in g.items]) for g in groups.values()],
            most=2 * config.transfer,
            seed=work.seed,
            lists=lists,
        )
        brought = {one for frames in lists for one in frames}
        lenders = _lenders(by_episode) | dict.fromkeys(brought)
        chosen = [{q: lenders[one] for q, one in own.items() if one in lenders} for own in lent]
        write_file(kept, json.dumps(dict(zip(groups, chosen, strict=True))).encode())
    for key, loans in json.loads(kept.read_text(encoding="utf-8")).items():
        if key in groups:
            groups[key].loans = loans


def _lenders(by_episode: Mapping[int, Sequence[Group]]) -> dict[str, int | None]:
    """Of each frame the first of the episodes about which it was written."""
    lenders: dict[str, int | None] = {}
    for pk in sorted(by_episode):
        for group in by_episode[pk]:
            for item in group.items:
                framed = frame(item.question, group.about) if item.origin == "written" else None
                if framed is not None:
                    lenders.setdefault(framed, pk)
    return lenders


def _lent(work: Work, view: View, found: Sequence[Group], *, config: StudyConfig) -> list[Made]:
    """The borrowed questions that the teacher answers as the group, greedily."""
    from agent_memory.consolidation import targets

    taken = {normalise(item.question) for group in found for item in group.items}
    lent = [
        (g, q, () if lender is None else (lender,))
        for g in found for q, lender in g.loans.items() if normalise(q) not in taken
    ]  # fmt: skip
    prompts = [work.asker.prompt(q, view.seen(q, group.items[0].answer)) for group, q, _ in lent]
    fitting = [(*one, ids) for one, ids in zip(lent, prompts, strict=True) if work.asker.fits(ids)]
    if not fitting:
        return []
    wanted = [
        targets.Item(
            str(n),
            teacher=ids,
            student=work.asker.prompt(question),
            answer=group.answer,
        )
        for n, (group, question, _, ids) in enumerate(fitting)
    ]
    computed = targets.compute(work.model, wanted, top_k=config.top_k)
    kept: list[Made] = []
    per_group: Counter[int] = Counter()
    for (group, question, lenders, _), item in zip(fitting, wanted, strict=True):
        own = computed.pick([item.key])
        greedy = tuple(own.indices[:, 0].tolist()) == item.answer
        if greedy and per_group[group.number] < config.transfer:
            per_group[group.number] += 1
            said = Said(item.answer, group.items[0].answer, complete=True)
            answered = Answered(question, said, item.teacher)
            one = row(view, answered, group=group.number, kind="study", origin="lent")
            columns = {**one, "targets": study_items.pack(item.answer, own), "known": False}
            kept.append(Made(columns, item.answer, lenders))
    return kept


def _wrapped(work: Work, view: View, found: Sequence[Group]) -> list[Made]:
    """The exam items of groups that can spare none, wrapped so that the answer stays."""
    poor = [group for group in found if len(group.items) < SPARES_ONE]
    asked = [(g, t.format(question=g.items[0].question)) for g in poor for t in EXAM_TEMPLATES]
    prompts = [work.asker.prompt(q, view.seen(q, group.items[0].answer)) for group, q in asked]
    fitting = [n for n, ids in enumerate(prompts) if work.asker.fits(ids)]
    said = dict(zip(fitting, work.asker.answers([prompts[n] for n in fitting]), strict=True))
    kept: list[Made] = []
    for place, group in enumerate(poor):
        mine = range(place * len(EXAM_TEMPLATES), (place + 1) * len(EXAM_TEMPLATES))
        right = (n for n in mine if n in said and same(said[n].text, group.items[0].answer))
        good = next(right, mine[0])
        answer = Said(group.answer, group.items[0].answer, complete=True)
        answered = Answered(asked[good][1], answer, ())
        one = row(view, answered, group=group.number, kind="exam", origin="wrapped")
        kept.append(Made({**one, "known": False}, group.answer))
    return kept


def _examine_one_each(connection: Connection, found: Sequence[Group]) -> None:
    """Sets apart, in each group that can spare it, the question least like the others."""
    i = tables.study_items.c
    for group in found:
        if len(group.items) >= SPARES_ONE and all(item.kind == "study" for item in group.items):
            odd = odd_one_out([item.question for item in group.items])
            connection.execute(
                update(tables.study_items).where(i.pk == group.items[odd].pk).values(kind="exam")
            )


def odd_one_out(questions: Sequence[str]) -> int:
    """The place of the question whose words are least like those of the others (mean Jaccard index)."""
    words = [set(normalise(question).split()) for question in questions]

    def likeness(place: int) -> float:
        own = words[place]
        return sum(len(own & w) / max(1, len(own | w)) for n, w in enumerate(words) if n != place)

    return min(range(len(questions)), key=likeness)


def _known(
    work: Work, found: Sequence[study_items.StudyItem], made: Mapping[int, Sequence[Made]]
) -> dict[int, bool]:
    """Of each item, by key, whether the bare base answers it without the episode.

    Of the new ones it is written into their columns; they are asked where an item of their group is known.
    """
    sure = work.asker.sure(
        [work.asker.prompt(item.question) for item in found],
        [study_items.answer_ids(item.targets or b"") for item in found],
    )
    answers = list(zip(found, sure, strict=True))
    known = {(item.episode_pk, item.answer_group) for item, is_known in answers if is_known}
    doubtful = [one for pk, own in made.items() for one in own if (pk, one.row["answer_group"]) in known]
    prompts = [work.asker.prompt(one.row["question"]) for one in doubtful]
    for one, is_known in zip(doubtful, work.asker.sure(prompts, [o.answer for o in doubtful]), strict=True):
        one.row["known"] = is_known
    return {item.pk: is_known for item, is_known in answers}


def _write_known(connection: Connection, known: dict[int, bool]) -> None:
    i = tables.study_items.c
    for pk, value in known.items():
        connection.execute(update(tables.study_items).where(i.pk == pk).values(known=value))
