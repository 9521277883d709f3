"""Change: what later episodes have made stale.

Compared are each new episode, and each that was studied anew or has lost what had replaced its items: the
questions of its nearest earlier episodes are asked again with both in the teacher's view, in time order. What
is compared may itself be the earlier one, where older history is told late or an old text is mended; then its
own questions are asked with its nearest later episodes.

A group changes as a whole, where more than half of its questions get the same new answer, so that one slip of
the teacher retires nothing. Then

- its items are retired (`superseded_by`), and the same questions with the new answer become items of the
  later episode; those of its questions that were answered otherwise are retired without a replacement;
- its converse is retired with it, which the later episode need not name: who moved from Lisbon to Porto is
  no answer to who lives in Lisbon.

No change is

- what the later episode does not speak of;
- that the teacher no longer finds the answer among more episodes;
- in English, an answer that the later episode alone does not give;
- anything in a question that asks back, for several may live in Lisbon;
- anything in a question in the first person where the later episode names another speaker.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, update

from agent_memory.config import StudyConfig
from agent_memory.consolidation import study_items, versions
from agent_memory.consolidation.asking import Said, same
from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import asked_about, content, normalise
from agent_memory.consolidation.relevance import another_speaks, asks_back, speaks_of
from agent_memory.consolidation.study import Answered, View, row, with_targets
from agent_memory.consolidation.study_items import ERASED, StudyItem
from agent_memory.consolidation.work import Nearest, Work, load_episodes
from agent_memory.durable import write_file
from agent_memory.store import tables
from agent_memory.store.keys import chunks
from agent_memory.types import Episode

#: The artefact of the stage, in the run's folder: the episodes that are compared.
COMPARED = "compared.json"
#: Times as many episodes are looked up as are compared with, since some are not trusted (chosen).
SPARE = 4


@dataclass(frozen=True, slots=True)
class Again:
    """An item of an earlier episode, and what the teacher says to it now."""

    item: StudyItem
    prompt: tuple[int, ...]
    said: Said


@dataclass(frozen=True, slots=True)
class Changed:
    """What of an earlier episode has another answer now, and what only has none any more."""

    again: list[Again]
    stale: list[StudyItem]


def change(work: Work, nearest: Nearest, *, config: StudyConfig) -> None:
    """Retires what later episodes have changed, and leaves the new answers as items of these."""
    brought = Phrasings.of(work.model.folder)
    revisions = {one.episode_pk: one.revision for one in work.selected()}
    compared = _compared(work)
    others = {pk: revisions[pk] for pk in revisions.keys() - set(compared)}
    for mark, pks in work.chunks("change", compared):
        with work.database.read() as connection:
            found = load_episodes(connection, pks)
        for pk in pks:
            if found[pk].revision == revisions[pk]:  # else it was edited meanwhile, and waits
                for view, old_pk, old in _pairs(work, pk, found[pk], nearest, others, most=config.nearest):
                    _compare(work, view, old_pk, old, brought, top_k=config.top_k)
        with work.transaction(done=mark):
            pass
    with work.transaction() as connection:
        _note_compared(connection, work, compared)


def _compared(work: Work) -> list[int]:
    """The keys of the episodes to compare, in order of time.

    Decided once and kept, for what tells them apart changes as the stage goes.
    """
    kept = versions.run_folder(work.database.path, work.run_id) / COMPARED
    if not kept.exists():
        i, s = tables.study_items.c, tables.run_episodes.c
        anew = and_(i.run_id == work.run_id, i.origin == "written")
        own = and_(i.episode_pk == s.episode_pk, i.revision == s.revision, i.base == work.base)
        open_ = exists().where(own, or_(anew, i.superseded_by == ERASED)).correlate(tables.run_episodes)
        wanted = select(s.episode_pk).where(s.run_id == work.run_id, or_(s.part == "new", open_))
        with work.database.read() as connection:
            found = load_episodes(connection, connection.execute(wanted).scalars().all())
        in_time = sorted(found, key=lambda pk: _when(found[pk]))
        write_file(kept, json.dumps(in_time).encode())
    compared: list[int] = json.loads(kept.read_text(encoding="utf-8"))
    return compared


def _note_compared(connection: Connection, work: Work, pks: Sequence[int]) -> None:
    """Items whose successor had been erased have been asked again, and are as any others."""
    i = tables.study_items.c
    for few in chunks(pks):
        again = and_(i.episode_pk.in_(few), i.base == work.base, i.superseded_by == ERASED)
        connection.execute(update(tables.study_items).where(again).values(superseded_by=None))


def _pairs(
    work: Work, pk: int, episode: Episode, nearest: Nearest, others: Mapping[int, int], *, most: int
) -> list[tuple[View, int, Episode]]:
    """Of each pair of an episode with one of its nearest the view, the later first, and the earlier.

    Later ones count if they are, as they are now, among the `others` that the run has selected and does not
    compare by themselves; the last comes first, so that of two changes of a fact it stands.
    """
    pks = nearest(episode, SPARE * most)
    with work.database.read() as connection:
        found = load_episodes(connection, pks)
    near = [(other, found[other]) for other in pks if other in found and found[other].trust == "trusted"]
    before = [one for one in near if _when(one[1]) < _when(episode)][:most]
    after = [
        (other, later)
        for other, later in near
        if _when(later) > _when(episode) and others.get(other) == later.revision
    ][:most]
    after.sort(key=lambda one: _when(one[1]), reverse=True)
    return [
        *((View(other, later, ((pk, episode),)), pk, episode) for other, later in after),
        *((View(pk, episode, ((other, old),)), other, old) for other, old in before),
    ]


def _when(episode: Episode) -> tuple[Any, ...]:
    """What episodes are ordered by in time."""
    return (episode.occurred_at, episode.created_at, episode.id)


def _compare(work: Work, view: View, old_pk: int, old: Episode, brought: Phrasings, *, top_k: int) -> None:
    """What one episode has changed of an earlier one, written before the next pair is looked at.

    Done once more, after a kill, it changes nothing: what is retired is not asked about again.
    """
    changed = _changed(work, view.episode, old_pk, old, brought)
    if changed.again:
        columns = _columns(work, changed.again, top_k=top_k)
        with work.transaction() as connection:
            _retire(connection, work, view, changed, columns)


def _changed(work: Work, new: Episode, old_pk: int, old: Episode, brought: Phrasings) -> Changed:
    """The items of the earlier episode whose group is answered otherwise with both in view."""
    groups = _groups(work, old_pk, old)
    asked = _worth_asking(work, groups, new, old, brought)
    verdicts = [
        verdict
        for group in _asked_again(work, asked, new, old)
        if (verdict := _verdict(group)) and (not work.model.made_here or _is_news(work, verdict, new, old))
    ]
    again = [one for verdict in verdicts for one in verdict]
    moved, taught = {one.item.answer_group for one in again}, {one.item.pk for one in again}
    others = [item for item in asked if item.answer_group in moved and item.pk not in taught]
    converses = [
        item
        for number, group in groups.items()
        if number not in moved
        and any(is_converse(group, [one.item for one in verdict]) for verdict in verdicts)
        for item in group
    ]
    return Changed(again, [*others, *converses])


def _groups(work: Work, pk: int, episode: Episode) -> Mapping[int, list[StudyItem]]:
    """The items of an episode that nothing has retired, by number of the group."""
    i = tables.study_items.c
    mine = and_(i.episode_pk == pk, i.revision == episode.revision, i.base == work.base)
    groups: dict[int, list[StudyItem]] = defaultdict(list)
    with work.database.read() as connection:
        for item in study_items.load(connection, and_(mine, i.kind != "draft", study_items.not_retired())):
            groups[item.answer_group].append(item)
    return groups


def _worth_asking(
    work: Work, groups: Mapping[int, Sequence[StudyItem]], new: Episode, old: Episode, brought: Phrasings
) -> list[StudyItem]:
    """The items that the later episode may have changed, by what it speaks of."""
    english = work.model.made_here  # what other bases ask, in whatever language, the teacher alone judges
    return [
        item
        for group in groups.values()
        if not asks_back(brought, [one.question for one in group], old.text)
        and speaks_of(new.text, [one.question for one in group], old.text, english=english)
        for item in group
        if not another_speaks(item.question, old.text, new.text)
    ]


def _asked_again(
    work: Work, items: Sequence[StudyItem], new: Episode, old: Episode
) -> list[list[Again]]:
    """What the teacher says to the items with both episodes in view, by group; without unfinished answers."""
    prompts = [work.asker.prompt(item.question, [old, new]) for item in items]
    fitting = [(item, ids) for item, ids in zip(items, prompts, strict=True) if work.asker.fits(ids)]
    said = work.asker.answers([ids for _, ids in fitting])
    groups: dict[int, list[Again]] = defaultdict(list)
    for (item, ids), one in zip(fitting, said, strict=True):
        if one.complete and one.text:
            groups[item.answer_group].append(Again(item, ids, one))
    return list(groups.values())


def is_converse(group: Sequence[StudyItem], other: Sequence[StudyItem]) -> bool:
    """Whether a group asks from the other's answer, and is answered with what the other asks from."""
    return _in_most(other[0].answer, group) and _in_most(group[0].answer, other)


def _in_most(name: str, group: Sequence[StudyItem]) -> bool:
    """Whether most questions of a group have a name in them."""
    wanted = content(name)
    return bool(wanted) and 2 * sum(wanted <= content(item.question) for item in group) > len(group)


def _is_news(work: Work, verdict: Sequence[Again], new: Episode, old: Episode) -> bool:
    """Whether the answer comes from the new episode; one that the old one holds may only be misread there.

    Then the teacher must give it with nothing but the new one in view, too, to most of the questions.
    """
    answer = verdict[0].said.text
    if not content(answer) <= content(new.text):
        return False
    if not content(answer) <= content(old.text):
        return True
    said = work.asker.answers([work.asker.prompt(one.item.question, [new]) for one in verdict])
    return 2 * sum(same(one.text, answer) for one in said) > len(said)


def _verdict(group: Sequence[Again]) -> list[Again]:
    """What has the other answer that most of the group agrees on; nothing without one.

    That is what the teacher answers so, for its distribution is learnt, and the exam's questions, where the
    answer is only compared.
    """
    said, votes = Counter(normalise(again.said.text) for again in group).most_common(1)[0]
    agree = [again for again in group if normalise(again.said.text) == said]
    answer = agree[0].said
    if answer.declines or same(said, group[0].item.answer) or 2 * votes <= len(group):
        return []
    examined = [Again(one.item, one.prompt, answer) for one in group if one.item.kind == "exam"]
    return [one for one in agree if one.item.kind == "study"] + examined


def _columns(work: Work, again: Sequence[Again], *, top_k: int) -> list[dict[str, Any]]:
    """Of each new item the targets, and whether the bare base knows the answer without an episode."""
    blobs = with_targets(work, [Answered(a.item.question, a.said, a.prompt) for a in again], top_k=top_k)
    prompts = [work.asker.prompt(one.item.question) for one in again]
    known = work.asker.sure(prompts, [one.said.ids for one in again])
    return [{"targets": blob, "known": sure} for blob, sure in zip(blobs, known, strict=True)]


def _retire(
    connection: Connection, work: Work, view: View, changed: Changed, columns: Sequence[dict[str, Any]]
) -> None:
    """Writes the new items and points the old ones to them; the stale ones to the last of them."""
    i = tables.study_items.c
    own = study_items.load(
        connection, and_(i.episode_pk == view.pk, i.base == work.base, i.revision == view.episode.revision)
    )
    by_question = {normalise(item.question): item.pk for item in own}
    numbers = numbers_in(view.episode.text, own, changed.again)
    successor = None
    for one, own_columns in zip(changed.again, columns, strict=True):
        successor = by_question.get(normalise(one.item.question))
        if successor is None:
            number = numbers[one.item.answer_group]
            answered = Answered(one.item.question, one.said, one.prompt)
            made = {
                **row(view, answered, group=number, kind=one.item.kind, origin="changed"),
                **own_columns,
            }
            (successor,) = study_items.save(
                connection,
                [made],
                namespace_id=work.namespace_id,
                run_id=work.run_id,
                base=work.base,
                context=[pk for pk, _ in view.beside],
            )
            by_question[normalise(one.item.question)] = successor
        connection.execute(
            update(tables.study_items).where(i.pk == one.item.pk).values(superseded_by=successor)
        )
    stale = [item.pk for item in changed.stale]
    connection.execute(update(tables.study_items).where(i.pk.in_(stale)).values(superseded_by=successor))


def numbers_in(text: str, own: Sequence[StudyItem], again: Sequence[Again]) -> dict[int, int]:
    """By number of each group that changed, the number that it has in the new episode of this text.

    That is the number of a group that asks for the same, as in `study.groups`: it has the same answer, and a
    name in common or no name either. Else it is a new one.
    """
    found: dict[int, tuple[str, set[str]]] = {}
    for item in own:
        _, about = found.setdefault(item.answer_group, (normalise(item.answer), set()))
        about.update(asked_about(item.question, text))
    changed: dict[int, list[Again]] = defaultdict(list)
    for one in again:
        changed[one.item.answer_group].append(one)
    numbers: dict[int, int] = {}
    for old, group in changed.items():
        answer = normalise(group[0].said.text)
        names = {name for one in group for name in asked_about(one.item.question, text)}
        alike = (
            number
            for number, (told, about) in found.items()
            if told == answer and (names & about or not (names or about))
        )
        numbers[old] = next(alike, 1 + max(found, default=-1))
        found.setdefault(numbers[old], (answer, set()))[1].update(names)
    return numbers
