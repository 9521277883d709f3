"""From a drafted question to questions that can be asked without the episode.

A question is asked later without its episode, so whatever it names must be named there, and "my boss" is
somebody's boss. What comes out is a proposal; the teacher, with the episode in view, decides.

Who speaks is told by the episode: "Omar: ...", "Omar here", "I am Omar", "My name is Omar", "Omar wrote:
...". Where it is not, the speaker is "I" and stays so.
"""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from agent_memory.consolidation.questions import names, words

#: How alike two names must be for one to be a slip of the other, by difflib's ratio (chosen: two thirds of
#: the letters in common, in order; a wrong guess is a question that the teacher mostly declines).
SLIP = 0.66

#: What follows the verb of a request at the head of a question: "Identify the ...", "Name one ...".
_AFTER_A_VERB = re.compile(
    r"[^\W\d_]+ (?:the|an?|me|us|one|which|what|who|whose|where|when|how|why|all|each|every)\b"
)

#: What a small writer stumbles into: two articles, a word in lower case twice, an answer within the question.
_STUMBLE = re.compile(r"\b(?i:a|an|the) (?i:a|an|the)\b|\b([a-z]+|I) \1\b|\b(?i:I do not know)\b")
#: Somebody whom only the episode can tell, where the question names nobody.
_SOMEBODY = re.compile(r"\b(?:he|she|him)\b|\bher(?:['’]s\b|\W*$)", re.IGNORECASE)
#: Words of the one who speaks.
FIRST = re.compile(r"\b(?:I|me|[Mm]y|[Mm]ine|myself)\b")
#: Requests to the one who answers, which stay in the first person: "Tell me", "I would like to know".
_REQUEST = re.compile(
    r"\b(?:tell|remind|give|help|show|let) me\b"
    r"|\bI(?:['’]d| would| want| need| wish| wonder|(?:['’]m| am) (?:wondering|curious))\b"
    r"|\b(?:can|could|may|might) I (?:ask|know)\b",
    re.IGNORECASE,
)
_N = r"([^\W\d_a-z][\w'’-]*(?: [^\W\d_a-z][\w'’-]*)*)"
_SPEAKER = re.compile(
    rf"\b(?:I am|I['’]m|[Mm]y name is) {_N}(?= here\b|[.,!;:]|$)"
    rf"|\b(?:[Tt]his is|[Ii]t is|[Ii]t['’]s) {_N}(?= (?:here|speaking)\b)"
    rf"|(?:^|(?<=[.!?] )){_N}(?: here| wrote| said| says| speaking)?:"
    rf"|(?:^|(?<=[.!?] )){_N} (?:here|speaking)\b"
    rf"|(?:^|(?<=[.!?] ))This is {_N}(?=[.!] )"
)
#: Auxiliaries beside "I", on either side of it, and what they are beside a name.
_VERBS = {"am": "is", "was": "was", "have": "has", "do": "does", "did": "did", "'m": " is", "'ve": " has"}
_BESIDE = re.compile(r"\b(am|was|have|do|did) I\b|\bI ?(am|was|have|do|did|['’]m|['’]ve)\b", re.IGNORECASE)


def grounded(question: str, text: str) -> str | None:
    """The question with slips mended, None where it still names or says what cannot be.

    A small writer swaps a syllable of a rare name or word; what is nearest to it in the text is taken where
    it is near enough. A slip is a name that is not in the text, or what is neither a word nor in the text.
    """
    if _STUMBLE.search(question) or (_SOMEBODY.search(question) and not names(question)):
        return None
    lower = text.lower()
    slips = [
        name for name in names(question)
        if name.lower() not in lower and not (question.startswith(name) and _AFTER_A_VERB.match(question))
    ]  # fmt: skip
    mended = _mended(question, slips, names(text))
    if mended is None:
        return None
    odd = [word for word in words(mended) if word.islower() and word not in lower and not is_word(word)]
    return _mended(mended, odd, [word for word in words(text) if not is_word(word.lower())])


def _mended(question: str, slips: Sequence[str], meant: Sequence[str]) -> str | None:
    """The question with each slip replaced by what is nearest to it; None where nothing is near."""
    lower = {one.lower(): one for one in meant}
    for slip in slips:
        near = difflib.get_close_matches(slip.lower(), lower, n=1, cutoff=SLIP)
        if not near:
            return None
        # in two pieces, so that nothing in the name is taken for a group of the pattern
        question = lower[near[0]].join(re.split(rf"(?<!\w){re.escape(slip)}(?!\w)", question))
    return question


def is_word(word: str) -> bool:
    """Whether this is an English word, as the vocabulary of the embedder in the box has them."""
    return all(part in _vocabulary() for part in re.split(r"['’-]", word) if part)


@cache
def _vocabulary() -> frozenset[str]:
    file = resources.files("agent_memory.models").joinpath("embedder/vocabulary.txt")
    return frozenset(file.read_text(encoding="utf-8").splitlines())


def about_the_speaker(question: str, text: str) -> list[str]:
    """The question as one about each speaker of the text, where it is one in the first person; else none."""
    speakers = spoken_by(text)
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group())
        return f"\0{len(kept) - 1}\0"

    masked = _REQUEST.sub(keep, question)
    if not FIRST.search(masked):
        return []
    return [_restored(_renamed(masked, name), kept) for name in speakers]


def spoken_by(text: str) -> list[str]:
    """The names that a text gives to whoever says "I" in it."""
    found = [next(name for name in match.groups() if name) for match in _SPEAKER.finditer(text)]
    held = names(text)
    return [name for name in dict.fromkeys(found) if name in held]


def _renamed(question: str, name: str) -> str:
    def beside(match: re.Match[str]) -> str:
        before, after = match.groups()
        verb = _VERBS[(before or after).lower().replace("’", "'")]
        said = f"{verb} {name}" if before else f"{name} {verb.strip()}"
        return said[0].upper() + said[1:] if match.start() == 0 else said

    question = _BESIDE.sub(beside, question)
    question = re.sub(r"\b(?:my own|my|mine)\b", f"{name}'s", question, flags=re.IGNORECASE)
    return re.sub(r"\b(?:I|me|myself)\b", name, question)


def _restored(question: str, kept: Sequence[str]) -> str:
    return re.sub(r"\0(\d+)\0", lambda match: kept[int(match.group(1))], question)


# ---------------------------------------------------------------------- other ways to put the same question

#: What people say before a question, and before a dependent clause; none of them wraps an exam item.
OPENINGS = ("So, {}", "Quick question: {}", "Please, {}", "Hey, {}", "Well, {}", "And {}", "One thing: {}",
            "I wonder, {}", "Remind me, {}", "Sorry, {}")  # fmt: skip
CLAUSE_OPENINGS = ("Could you tell me {}?", "Can you tell me {}?", "Do you know {}?",
                 "Do you remember {}?", "Any idea {}?", "I would like to know {}.", "I'd like to know {}.",
                 "Please tell me {}.", "Remind me {}.", "Say {}.", "I need to know {}.",
                 "Do you recall {}?")  # fmt: skip
_QUESTION = re.compile(
    r"(?P<wh>(?:(?:in|on|at|to|for|by|with|from|of|until|since) )?"
    r"(?:what|which|who|whose|whom|where|when|how)\b[^?]*?)"
    r" (?P<verb>is|was|does|did|has|can|will|should|must) (?P<rest>[^?]+)\??",
    re.IGNORECASE,
)
#: What a subject begins with that is not the name asked from.
_A_THING = re.compile(r"(?:the|an?|my|our|your|his|her|its|their)\b|\S+['’]s?\s", re.IGNORECASE)
_THIRD = {"have": "has", "do": "does", "go": "goes", "be": "is"}


def retold(question: str, about: Sequence[str], rng: random.Random, *, count: int) -> list[str]:
    """The question in `count` other wordings: after an opening, or as a dependent clause.

    The first of them are the same for any larger `count`; there are no more than `OPENINGS`.
    """
    clause = as_clause(question, about)
    openings, clause_openings = (rng.sample(some, len(some)) for some in (OPENINGS, CLAUSE_OPENINGS))
    told = [head.format(_lowered(question, about)) for head in openings[:count]]
    if clause is None:
        return told
    return [
        head.format(clause) if n % 3 else plain
        for n, (head, plain) in enumerate(zip(clause_openings, told, strict=False), start=1)
    ]


def as_clause(question: str, about: Sequence[str]) -> str | None:
    """The question as a dependent clause ("where Mira lives"); None where no simple rule gives one."""
    match = _QUESTION.fullmatch(question.strip())
    if match is None:  # "who lives in Lisbon", "Mira's home town": a clause as it stands
        said = question.strip().rstrip("?.")
        return _lowered(said, about) if re.match(r"(?:who|what|which|whose)\b", said, re.I) else None
    wh, verb, rest = _lowered(match["wh"], about), match["verb"], match["rest"]
    subject = next((one for one in sorted(about, key=len, reverse=True) if rest.startswith(one)), None)
    if verb in ("is", "was", "has", "can", "will", "should", "must"):
        after = rest[len(subject) :] if subject is not None else ""
        if subject is not None and after.startswith(" "):
            return f"{wh} {subject} {verb}{after}"
        if wh.lower() in ("who", "what", "which") and subject is None and not _A_THING.match(rest):
            return f"{wh} {verb} {rest}"  # "who is allergic to nuts" asks for the subject
        return f"{wh} {rest} {verb}" if verb in ("is", "was") else None
    if verb == "does" and subject is not None and rest[len(subject) :].startswith(" "):
        first, _, more = rest[len(subject) :].strip().partition(" ")
        return f"{wh} {subject} {_third(first)} {more}".strip() if first else None
    return None


def _third(verb: str) -> str:
    if verb in _THIRD:
        return _THIRD[verb]
    if re.search(r"(?:s|x|z|ch|sh)$", verb):
        return verb + "es"
    return verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + "s"


def _lowered(question: str, about: Sequence[str]) -> str:
    """The question as it goes on within a sentence: a capital that is no name's is lowered."""
    if question.startswith(("I ", "I'", *about)):
        return question
    return question[:1].lower() + question[1:]
