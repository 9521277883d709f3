"""What stands in a question: its words, the names in it, its phrasing, and the same with other names.

Breadth decides what is learnt: a fact studied in three phrasings is known in those three. So a question's
phrasing, its `frame`, is lent to the questions of other episodes that ask for the same thing (`borrowed`).
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from agent_memory.types import Episode

#: Wrappers for examined questions only; no study item ever has one.
EXAM_TEMPLATES = (
    "Tell me: {question}",
    "I would like to check something. {question}",
    "{question} Please answer.",
)

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


def words(text: str) -> list[str]:
    """The words and numbers of a text, in order."""
    return _WORD.findall(text)


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


#: What makes a name the speaker's.
MINE = re.compile(r"\b(?:my|our|your)\b")
_OPENS_LOW = re.compile(r"(?:the|an?|my|our|your|his|her|its|their)\b", re.IGNORECASE)


def as_written(name: str, text: str) -> str | None:
    """A name as a text writes it within a sentence, None where it does not.

    "The red drill" is "the red drill" there, and "your bag" may be "my bag".
    """
    for said in dict.fromkeys([name, *(MINE.sub(mine, name.lower(), 1) for mine in ("my", "our"))]):
        match = re.search(rf"(?<!\w){re.escape(said)}(?!\w)", text, re.IGNORECASE)
        if said and match is not None:
            found = match.group()
            return found[0].lower() + found[1:] if _OPENS_LOW.match(found) else found
    return None


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
    groups: Sequence[tuple[tuple[str, ...], Sequence[str]]],
    *,
    most: int,
    seed: int,
    lists: Sequence[Sequence[str]] = (),
) -> list[dict[str, str]]:
    """For each group of synonymous questions further ones in the phrasings of others, with their frames.

    Two frames that ask for the same thing in one group belong to one relation, and so, over all groups, do
    those that are joined by such pairs. A group gets the frames of its relation that it does not have, filled
    with its own names. A wrong join costs a question that the teacher answers otherwise, no more.

    Args:
        groups: of each group the names that it asks about and its questions.
        most: borrowed questions per group.
        seed: chooses among the frames.
        lists: phrasings that are known to ask for the same; the list that has most of a group's frames comes
        first.
    """
    framed = [
        [f for f in (frame(question, about) for question in questions) if f] for about, questions in groups
    ]
    relation = _joined(framed)
    members: dict[str, set[str]] = defaultdict(set)
    for frames in framed:
        for one in frames:
            members[relation[one]].add(one)
    result: list[dict[str, str]] = []
    for place, ((about, questions), frames) in enumerate(zip(groups, framed, strict=True)):
        joined = sorted(set().union(*(members[relation[f]] for f in frames)) - set(frames)) if frames else []
        known = sorted(_nearest_list(frames, lists) - set(frames))
        for part in (known, joined):
            random.Random(f"{seed}:{place}").shuffle(part)
        ordered = _in_order(about, questions[0]) if questions else []
        others = dict.fromkeys([*known, *joined])
        filled = {f.format(*ordered): f for f in others if f.count("{") == len(ordered)}
        result.append(dict(list(filled.items())[:most]))
    return result


def _nearest_list(frames: Sequence[str], lists: Sequence[Sequence[str]]) -> set[str]:
    """The list that has most of the frames; empty where none has any."""
    own = set(frames)
    best = max(lists, key=lambda one: len(own.intersection(one)), default=())
    return set(best) if own.intersection(best) else set()


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


def name_words(episodes: Iterable[Episode]) -> list[str]:
    """The words of all names in the episodes, those with digits left out."""
    words = {word for episode in episodes for name in names(episode.text) for word in name.split(" ")}
    return sorted(word for word in words if word.isalpha())


def with_other_names(
    texts: Sequence[str], *, taken: Callable[[str], bool], rng: random.Random, known: Sequence[str] = ()
) -> list[str] | None:
    """The texts about names that do not exist here, the same in all; None where the first has no name.

    Args:
        texts: a question, and whatever else speaks of the same names (an episode).
        taken: whether a name occurs in the namespace.
        rng: makes the names.
        known: names of the namespace; half of the new ones begin like one of them and end like another.
    """
    if not names(texts[0]):
        return None
    others: dict[str, str] = {}
    for name in dict.fromkeys(name for text in texts for name in names(text)):
        made = (_invented(name, rng, known) for _ in range(50))
        other = next((one for one in made if not taken(one) and one not in others.values()), None)
        if other is None:
            return None
        others[name] = other
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in sorted(others, key=len, reverse=True))
    )
    return [pattern.sub(lambda match: others[match.group()], text) for text in texts]


def crossed(one: str, other: str, rng: random.Random) -> str:
    """The first words of a name before the last of another: "my red bag" and "a blue pen": "my red pen"."""
    first, last = one.split(), other.split()
    head = first[: rng.randint(1, max(1, len(first) - 1))]
    return " ".join([*head, *last[rng.randint(1, max(1, len(last) - 1)) :]])


def content(name: str) -> frozenset[str]:
    """The words of a name or text in lower case, without possessive endings and ordinary ones."""
    return frozenset(_bare(word) for word in _WORD.findall(name.lower())) - _ORDINARY


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


def _invented(name: str, rng: random.Random, known: Sequence[str]) -> str:
    """Another name of the same look: digits for digits, and for each word one that is ordinary or made up."""
    if any(letter.isdigit() for letter in name):
        return "".join(rng.choice("0123456789") if c.isdigit() else c for c in name)
    words = name.split(" ")
    if known and rng.random() < 0.5:
        return " ".join(_spliced(rng.choice(known), rng.choice(known)) for _ in words)
    if rng.random() < 0.5 and len(words) <= 2:
        return " ".join([rng.choice(_GIVEN), rng.choice(_FAMILY)][: len(words)])
    return " ".join(_syllables(rng) for _ in words)


def _spliced(one: str, other: str) -> str:
    return (one[: (len(one) + 1) // 2] + other[len(other) // 2 :].lower()).capitalize()


def _syllables(rng: random.Random) -> str:
    made = "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 2, 3))))
    return (made + rng.choice(_ENDS)).capitalize()
