"""Change: what later episodes have made stale.

For each new episode the questions of its nearest earlier episodes are asked again with both in the
teacher's view, in time order. Where a group's answer changes, its items are retired (`superseded_by`), and
the same questions with the new answer become items of the new episode. A group is decided as a whole, by
most of its questions, so that one slip of the teacher retires nothing; those that the teacher still answers
otherwise are retired with it, and not taught anew. It is asked again only where the new episode speaks of
what most of them ask from. That the teacher no longer finds the answer among more
episodes is no change, nor is (in English) an answer that the new episode alone does not give; and a question
that asks back is left alone, for several may live in Lisbon; and so is one in the first person where the new
episode names another speaker. With a group goes its converse, which the new episode need not name: who moved
from Lisbon to Porto is no answer to who lives in Lisbon.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, update

from agent_memory.config import StudyConfig
from agent_memory.consolidation import study_items
from agent_memory.consolidation.asking import Said, same
from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import (
    as_written,
    asked_about,
    common_subject,
    content,
    names,
    normalise,
    words,
)
from agent_memory.consolidation.study import Answered, View, row, with_targets
from agent_memory.consolidation.wording import about_the_speaker, spoken_by
from agent_memory.consolidation.work import Nearest, Work, load_episodes
from agent_memory.store import tables
from agent_memory.types import Episode

#: Times as many episodes are looked up as are asked about, since some are later or not trusted (chosen).
SPARE = 4


#: A thing in lower case that a name says the place of.
_PLACED = re.compile(
    r"\b(?:the|my|our|your|an?) ((?:(?!(?:the|my|our|your|an?|of|in|at) )[a-z'’-]+ )+)(?=(?:in|at) [A-Z])"
)


@dataclass(frozen=True, slots=True)
class Again:
    """An item of an earlier episode, and what the teacher says to it now."""

    item: study_items.StudyItem
    prompt: tuple[int, ...]
    said: Said


@dataclass(frozen=True, slots=True)
class Changed:
    """What of an earlier episode has another answer now, and what only has none any more."""

    again: list[Again]
    stale: list[study_items.StudyItem]


def change(work: Work, nearest: Nearest, *, config: StudyConfig) -> None:
    """Retires what new episodes have changed, and leaves the new answers as items."""
    brought = Phrasings.of(work.model.folder)
    with work.database.read() as connection:
        new = load_episodes(connection, [one.episode_pk for one in work.selected("new")])
    in_time = sorted(new, key=lambda pk: _when(new[pk]))
    for mark, pks in work.chunks("change", in_time):
        for pk in pks:
            _take_up_changes(work, pk, new[pk], nearest, brought, config=config)
        with work.transaction(done=mark):
            pass


def _take_up_changes(
    work: Work, pk: int, new: Episode, nearest: Nearest, brought: Phrasings, *, config: StudyConfig
) -> None:
    """What one new episode has changed, written before the next is looked at, which may change it again.

    Done once more, after a kill, it changes nothing: what is retired is not asked about again.
    """
    found = _earlier(work, new, nearest, most=config.nearest)
    changed = [
        (View(pk, new, ((old_pk, old),)), _changed(work, new, old_pk, old, brought))
        for old_pk, old in found.items()
    ]
    columns = [_columns(work, one.again, top_k=config.top_k) for _, one in changed]
    with work.transaction() as connection:
        for (view, one), own in zip(changed, columns, strict=True):
            _retire(connection, work, view, one, own)


def _earlier(work: Work, new: Episode, nearest: Nearest, *, most: int) -> dict[int, Episode]:
    """The nearest of the trusted episodes that happened before the new one, by key."""
    pks = nearest(new, SPARE * most)
    with work.database.read() as connection:
        found = load_episodes(connection, pks)
    before = {
        pk: found[pk]
        for pk in pks
        if pk in found and found[pk].trust == "trusted" and _when(found[pk]) < _when(new)
    }
    return dict(list(before.items())[:most])


def _when(episode: Episode) -> tuple[Any, ...]:
    """What episodes are ordered by in time."""
    return (episode.occurred_at, episode.created_at, episode.id)


def _changed(work: Work, new: Episode, old_pk: int, old: Episode, brought: Phrasings) -> Changed:
    """The items of the earlier episode whose group is answered otherwise with both in view."""
    i = tables.study_items.c
    with work.database.read() as connection:
        found = study_items.load(
            connection,
            and_(
                i.episode_pk == old_pk,
                i.revision == old.revision,
                i.base == work.base,
                i.kind != "draft",
                study_items.not_retired(),
            ),
        )
    groups: dict[int, list[study_items.StudyItem]] = defaultdict(list)
    for item in found:
        groups[item.answer_group].append(item)
    english = work.model.made_here  # what other bases ask, in whatever language, the teacher alone judges
    asked = [
        item
        for group in groups.values()
        if not asks_back(brought, [one.question for one in group], old.text)
        and speaks_of(new.text, [one.question for one in group], old.text, english=english)
        for item in group
        if not another_speaks(item.question, old.text, new.text)
    ]
    prompts = [work.asker.prompt(item.question, [old, new]) for item in asked]
    fitting = [(item, ids) for item, ids in zip(asked, prompts, strict=True) if work.asker.fits(ids)]
    said = work.asker.answers([ids for _, ids in fitting])
    again: dict[int, list[Again]] = defaultdict(list)
    for (item, ids), one in zip(fitting, said, strict=True):
        if one.complete and one.text:
            again[item.answer_group].append(Again(item, ids, one))
    verdicts = [
        verdict
        for group in again.values()
        if (verdict := _verdict(group)) and (not english or _is_news(work, verdict, new, old))
    ]
    moved = [one for verdict in verdicts for one in verdict]
    decided = {one.item.answer_group for one in moved}
    taught = {one.item.pk for one in moved}
    converses = [
        item
        for number, group in groups.items()
        if number not in decided
        and any(is_converse(group, [one.item for one in verdict]) for verdict in verdicts)
        for item in group
    ]
    others = [item for item in asked if item.answer_group in decided and item.pk not in taught]
    return Changed(moved, [*others, *converses])


def is_converse(group: Sequence[study_items.StudyItem], other: Sequence[study_items.StudyItem]) -> bool:
    """Whether a group asks from the other's answer, and is answered with what the other asks from."""
    return _in_most(other[0].answer, group) and _in_most(group[0].answer, other)


def _in_most(name: str, group: Sequence[study_items.StudyItem]) -> bool:
    """Whether most questions of a group have a name in them."""
    wanted = content(name)
    return bool(wanted) and 2 * sum(wanted <= content(item.question) for item in group) > len(group)


def speaks_of(text: str, questions: Sequence[str], episode_text: str, *, english: bool) -> bool:
    """Whether a text speaks of what most of an episode's synonymous questions ask from.

    That is the names in them, or in English, where they have none, the words that they have in common
    ("the spare key"), and what a name only places ("the butcher in Tunis"). What a name of its own tells
    apart is another thing: the Egan town hall is not the town hall. Elsewhere a question without names may be
    about anything.
    """
    named = [(question, about) for question in questions if (about := asked_about(question, episode_text))]
    if named:
        spoken = [
            all(name.lower() in text.lower() for name in about)
            and (not english or content(" ".join(_PLACED.findall(question))) <= content(text))
            for question, about in named
        ]
        return 2 * sum(spoken) > len(spoken)
    if not english:
        return True
    subject = common_subject(questions, episode_text) or tuple(questions)
    shared = content(subject[0]) & content(episode_text)
    return shared <= _not_named(text, known=names(episode_text))


def _not_named(text: str, *, known: Sequence[str]) -> set[str]:
    """The words of a text, without those that belong to a name which is not among the known ones.

    They are the ones behind it up to the next ordinary word or mark: of "the Egan town hall is open" town and
    hall. What opens a sentence may be any word, and is no name here.
    """
    found: set[str] = set()
    for sentence in re.split(r"[.!?:;,]", text):
        named = False
        for place, word in enumerate(words(sentence)):
            own = names(word) if place else []
            if own or not content(word):  # an article, or the like, begins something else
                named = bool(own) and own[0] not in known
            if own or not named:
                found |= content(word)
    return found


def asks_back(brought: Phrasings, questions: Sequence[str], episode_text: str) -> bool:
    """Whether questions ask back, for what may be several: Bo's move to Porto says nothing of Ada there."""
    placed = brought.placed(questions)
    return placed is not None and placed.asks_back and as_written(placed.name, episode_text) is not None


def another_speaks(question: str, episode_text: str, text: str) -> bool:
    """Whether a question is in the first person, and a text names a speaker that its episode does not."""
    others = set(spoken_by(text)) - set(spoken_by(episode_text))
    return bool(others) and bool(about_the_speaker(question, text))


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
    if not again:
        return []
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
            made = {**row(view, answered, group=number, kind=one.item.kind), **own_columns}
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


def numbers_in(text: str, own: Sequence[study_items.StudyItem], again: Sequence[Again]) -> dict[int, int]:
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
