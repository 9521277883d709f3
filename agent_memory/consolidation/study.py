"""Study: from episodes to questions that the teacher answers, with its targets.

Steps, each of which leaves its results in SQL, a few episodes at a time, so that a killed run goes on:

    write      questions about each episode, as drafts
    answer     drafts that name what is not in view are mended or dropped, and those in the first person are
               put about the speaker, too (`wording.py`). The teacher answers with the episode in view (and
               its neighbours of the session; the bundled reader with the part that is asked about, see
               `parts.py`), and again with unrelated episodes beside it; where it declines, slips in a word or
               most of the answers differ, the draft is dropped; what is left gets its targets
    turn       what is asked from one side only is asked from the other: `turn.py`
    complete   exam, borrowed phrasings, surprise gate: `complete.py`
    change     what later episodes have made stale: `change.py`

A group holds the questions of an episode with the same normalised answer that ask from a common name. (The
answer alone would put "Who lives in Lisbon?" and "Who keeps the key?" together when both are Alice.)

The loop of D2L's context-distillation baseline (SakanaAI) samples questions in rounds and lets the bare
teacher answer once; ours adds the second answer and the groups.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, select

from agent_memory.config import StudyConfig
from agent_memory.consolidation import study_items
from agent_memory.consolidation.asking import Said
from agent_memory.consolidation.parts import part_about
from agent_memory.consolidation.questions import (
    asked_about,
    content,
    normalise,
    unique,
)
from agent_memory.consolidation.wording import about_the_speaker, grounded
from agent_memory.consolidation.work import CHUNK, Work, load_episodes, load_neighbours
from agent_memory.consolidation.writers import QuestionWriter, TemplateWriter, written_by
from agent_memory.store import tables
from agent_memory.types import Episode

#: Times that an answer is asked for again, with an unrelated episode beside its own (chosen: of 24 such
#: episodes some confused the bundled reader in a trial, and one alone would take whole episodes out of
#: study).
CROWDS = 3


#: Answers that need not stand in the text, normalised.
_PLAIN = {"yes", "no", "you", "yours", "yourself"}


@dataclass(frozen=True, slots=True)
class View:
    """An episode under study, and the other episodes that the teacher sees beside it."""

    pk: int
    episode: Episode
    beside: tuple[tuple[int, Episode], ...]
    small_reader: bool = False
    """Whether the teacher reads one part of the episode better than the whole, and may slip in a word."""

    @property
    def all(self) -> list[Episode]:
        """What stands in the teacher's block."""
        return [self.episode, *(episode for _, episode in self.beside)]

    def seen(self, question: str, answer: str = "") -> list[Episode]:
        """What stands in the teacher's block for a question: the part that it is about, or all.

        Where the answer is known, a part without its words will not do.
        """
        part = part_about(question, self.episode.text) if self.small_reader and not self.beside else None
        if part is None or not content(answer) <= content(part):
            return self.all
        return [replace(self.episode, text=part)]

    @property
    def text(self) -> str:
        """All that is said in the teacher's view."""
        return "\n".join(episode.text for episode in self.all)

    @property
    def untrusted(self) -> frozenset[str]:
        """The words that only neighbours say which are not trusted."""
        trusted = [one.text for one in self.all if one is self.episode or one.trust == "trusted"]
        return content(self.text) - content("\n".join(trusted))


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with the teacher's answer to it, and the episodes that it had in view."""

    question: str
    said: Said
    prompt: tuple[int, ...]
    seen: Sequence[Episode] = ()


# ---------------------------------------------------------------------- write


def write(work: Work, writer: QuestionWriter, *, config: StudyConfig) -> None:
    """Leaves drafts for every selected episode that has no items of this base and revision yet."""
    silent = 0
    for mark, pks in work.chunks("write"):
        with work.database.read() as connection:
            found = load_episodes(connection, [pk for pk in pks if not _has_items(connection, work, pk)])
        readable = {pk: episode for pk, episode in found.items() if _fits(work, episode, config=config)}
        written = written_by(writer, list(readable.values()), seed=work.seed + pks[0]) if readable else []
        spare = TemplateWriter().write(list(readable.values()), seed=0)
        with work.transaction(done=mark) as connection:
            for (pk, episode), questions, templates in zip(readable.items(), written, spare, strict=True):
                silent += not questions
                kept = unique(questions or templates)[: config.max_questions]
                _save_drafts(work, connection, pk, episode, kept)
    if silent:
        work.notes.append(f"the writer {writer.name} gave nothing for {silent} episodes; templates stood in")


def _has_items(connection: Connection, work: Work, pk: int) -> bool:
    i, e = tables.study_items.c, tables.episodes.c
    present = exists().where(i.episode_pk == e.pk, i.revision == e.revision, i.base == work.base)
    return bool(connection.execute(select(present).where(e.pk == pk)).scalar())


def _fits(work: Work, episode: Episode, *, config: StudyConfig) -> bool:
    """Whether the episode leaves room for questions about it in the model's window."""
    room = work.model.window - len(work.asker.prompt("?", [episode]))
    if room >= 2 * config.max_question_tokens or room >= work.model.window // 3:
        return True
    work.notes.append(f"episode {episode.id} is longer than the model's window and stays fast")
    return False


def _save_drafts(
    work: Work, connection: Connection, pk: int, episode: Episode, questions: Sequence[str]
) -> None:
    drafts = [
        {
            "episode_pk": pk,
            "revision": episode.revision,
            "kind": "draft",
            "origin": "written",
            "answer_group": 0,
            "question": question,
            "answer": "",
        }
        for question in questions
    ]
    study_items.save(connection, drafts, namespace_id=work.namespace_id, run_id=work.run_id, base=work.base)


# ---------------------------------------------------------------------- answer


def answer(work: Work, *, config: StudyConfig) -> None:
    """Replaces drafts by items with the teacher's answer and its targets."""
    for mark, pks in work.chunks("answer"):
        views = views_of(work, pks, config=config)
        crowds = crowds_of(work, views)
        kept = consistent(work, views, [_asked(work, view) for view in views], crowds)
        kept = [[*own, *named] for own, named in zip(kept, _named(work, views, kept, crowds), strict=True)]
        flat = [one for of_one in kept for one in of_one]
        blobs = dict(
            zip(map(id, flat), with_targets(work, flat, top_k=config.top_k) if flat else [], strict=True)
        )
        with work.transaction(done=mark) as connection:
            for view, answered in zip(views, kept, strict=True):
                _replace_drafts(work, connection, view, answered, blobs)


def _asked(work: Work, view: View) -> list[str]:
    """The drafts about an episode; of the small English writer only those that name what is in view.

    What any other base asks, in whatever language, the teacher alone judges.
    """
    revision = view.episode.revision  # of an edit after its writing the next run writes
    drafts = [d.question for d in items_of(work, view.pk, kind="draft") if d.revision == revision]
    if not work.model.made_here:
        return unique(drafts)
    mended = (grounded(draft, view.text) for draft in drafts)
    return unique(question for question in mended if question is not None)


def _named(
    work: Work,
    views: Sequence[View],
    kept: Sequence[Sequence[Answered]],
    crowds: Sequence[Sequence[Episode]],
) -> list[list[Answered]]:
    """The questions in the first person by the speaker's name, where the teacher answers the same."""
    asked: list[dict[str, str]] = []
    for view, own in zip(views, kept, strict=True):
        taken = {normalise(one.question) for one in own}
        answers = {
            q: normalise(one.said.text)
            for one in own
            for q in about_the_speaker(one.question, view.episode.text)
        }
        asked.append({q: answer for q, answer in answers.items() if normalise(q) not in taken})
    found = consistent(work, views, [list(own) for own in asked], crowds)
    return [
        [one for one in of_one if normalise(one.said.text) == right[one.question]]
        for of_one, right in zip(found, asked, strict=True)
    ]


def items_of(work: Work, pk: int, *, kind: str) -> list[study_items.StudyItem]:
    """The items of an episode of one kind and of the run's base."""
    i = tables.study_items.c
    with work.database.read() as connection:
        return study_items.load(connection, and_(i.episode_pk == pk, i.base == work.base, i.kind == kind))


def views_of(work: Work, pks: Sequence[int], *, config: StudyConfig) -> list[View]:
    """Each episode with the neighbours that the teacher sees; without them where they do not fit."""
    views: list[View] = []
    with work.database.read() as connection:
        found = load_episodes(connection, pks)
        for pk in pks:
            near = load_neighbours(connection, pk, reach=config.neighbours)
            view = View(
                pk, found[pk], tuple(load_episodes(connection, near).items()), work.model.made_here
            )
            fits = work.asker.fits(work.asker.prompt("?" * 64, view.all))
            views.append(view if fits else replace(view, beside=()))
    return views


def crowds_of(work: Work, views: Sequence[View]) -> list[list[Episode]]:
    """For each view `CROWDS` of the run's other episodes, to be put beside it one at a time."""
    if not views:
        return []
    selected = [one.episode_pk for one in work.selected()]
    drawn = random.Random(work.seed + views[0].pk).sample(selected, min(CHUNK, len(selected)))
    with work.database.read() as connection:
        others = load_episodes(connection, drawn)
    return [_crowd(view, others, seed=work.seed) for view in views]


def _crowd(view: View, others: Mapping[int, Episode], *, seed: int) -> list[Episode]:
    own = {view.pk, *(pk for pk, _ in view.beside)}
    free = [episode for pk, episode in others.items() if pk not in own]
    return random.Random(f"{seed}:{view.pk}").sample(free, min(CROWDS, len(free)))


def consistent(
    work: Work,
    views: Sequence[View],
    questions: Sequence[Sequence[str]],
    crowds: Sequence[Sequence[Episode]],
) -> list[list[Answered]]:
    """Per view the questions that the teacher answers, and answers the same beside most of the crowd."""
    every = [(n, question) for n, asked in enumerate(questions) for question in asked]
    answered = _read(work, views, [(n, question, views[n].seen(question)) for n, question in every])
    found = {(n, one.question) for n, one in answered}
    left = [(n, q) for n, q in every if (n, q) not in found and views[n].seen(q) != views[n].all]
    answered += _read(work, views, [(n, question, views[n].all) for n, question in left])
    asked = [(at, ids) for at, (n, one) in enumerate(answered) for ids in _crowded(work, one, crowds[n])]
    agreed = work.asker.says([ids for _, ids in asked], [answered[at][1].said.ids for at, _ in asked])
    votes = Counter(at for (at, _), same_again in zip(asked, agreed, strict=True) if same_again)
    tried = Counter(at for at, _ in asked)
    kept: list[list[Answered]] = [[] for _ in views]
    for at, (n, one) in enumerate(answered):
        if 2 * votes[at] > tried[at]:
            kept[n].append(one)
    return kept


def _read(
    work: Work, views: Sequence[View], asked: Sequence[tuple[int, str, Sequence[Episode]]]
) -> list[tuple[int, Answered]]:
    """The number of the view and the answer, for each question that is answered with these in view."""
    prompts = [work.asker.prompt(question, seen) for _, question, seen in asked]
    fitting = [(*one, ids) for one, ids in zip(asked, prompts, strict=True) if work.asker.fits(ids)]
    said = work.asker.answers([ids for *_, ids in fitting])
    return [
        (n, Answered(question, one, ids, seen))
        for (n, question, seen, ids), one in zip(fitting, said, strict=True)
        if one.complete and not one.declines and _is_an_answer(views[n], one.text)
    ]


def _is_an_answer(view: View, said: str) -> bool:
    """Whether this may be learnt: nothing that only an untrusted neighbour says, and no slip in a word.

    What a small reader says has no word but those of its view.
    """
    told = content(said)
    if told & view.untrusted:
        return False
    if not view.small_reader or normalise(said) in _PLAIN:
        return True
    return bool(told) and told <= content(view.text)


def _crowded(work: Work, one: Answered, crowd: Sequence[Episode]) -> list[tuple[int, ...]]:
    """The question beside each of the crowd that fits the window; alone where none does."""
    prompts = [work.asker.prompt(one.question, [*one.seen, other]) for other in crowd]
    return [ids for ids in prompts if work.asker.fits(ids)] or [one.prompt]


def with_targets(work: Work, answered: Sequence[Answered], *, top_k: int) -> list[bytes]:
    """The packed targets of each answer."""
    from agent_memory.consolidation import targets

    made = [
        targets.Item(str(n), teacher=one.prompt, student=work.asker.prompt(one.question), answer=one.said.ids)
        for n, one in enumerate(answered)
    ]
    found = targets.compute(work.model, made, top_k=top_k)
    return [study_items.pack(item.answer, found.pick([item.key])) for item in made]


def _replace_drafts(
    work: Work, connection: Connection, view: View, answered: Sequence[Answered], blobs: dict[int, bytes]
) -> None:
    i = tables.study_items.c
    connection.execute(
        delete(tables.study_items).where(
            i.episode_pk == view.pk,
            i.base == work.base,
            i.kind == "draft",
        )
    )
    made = [
        {**row(view, one, group=number, kind="study", origin="written"), "targets": blobs[id(one)]}
        for number, group in enumerate(groups(answered, view.episode.text))
        for one in group
    ]
    beside = [pk for pk, _ in view.beside]
    study_items.save(
        connection, made, namespace_id=work.namespace_id, run_id=work.run_id, base=work.base, context=beside
    )


def row(view: View, one: Answered, *, group: int, kind: str, origin: str) -> dict[str, Any]:
    """An item's columns but for those that every item of a run has."""
    return {
        "episode_pk": view.pk,
        "revision": view.episode.revision,
        "kind": kind,
        "origin": origin,
        "answer_group": group,
        "question": one.question,
        "answer": one.said.text,
    }


def groups(answered: Sequence[Answered], text: str) -> list[list[Answered]]:
    """The questions that ask for the same: equal answers, and asked from a common name (or from none)."""
    found: list[tuple[str, set[str], list[Answered]]] = []
    for one in answered:
        key, about = normalise(one.said.text), set(asked_about(one.question, text))
        for answer, names, members in found:
            if answer == key and (names & about or not (names or about)):
                names |= about
                members.append(one)
                break
        else:
            found.append((key, about, [one]))
    return [members for _, _, members in found]
