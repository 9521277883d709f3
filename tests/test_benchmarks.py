"""What the benchmarks of consolidation ask, and that they ask it as the product does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agent_memory import models
from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import content
from agent_memory.prompt import ABSTENTION
from benchmarks import facts
from benchmarks.arms import Examined, as_shipped
from tests.memories import NAMES, fact, memory, reader


def test_the_arms_are_answered_in_batches_as_ask_answers_them_one_by_one(tmp_path: Path) -> None:
    """With a block that answers, with one that does not, and with none; about known and unknown names."""
    with memory(tmp_path / "m", reader(tmp_path / "model"), facts=[fact(n) for n in range(4)]) as alice:
        alice.consolidate(progress=False)
        examined = Examined.of(alice)
        assert examined.version is not None
        asked = [f"What is the code of {name}?" for name in (*NAMES[:4], "Zorblax")]
        for retrieval in ("all", "none"):
            answers = [alice.ask(question, retrieval=retrieval) for question in asked]  # type: ignore[arg-type]
            blocks = [
                alice.context(question, retrieval=retrieval).text if answer.episodes else ""  # type: ignore[arg-type]
                for question, answer in zip(asked, answers, strict=True)
            ]
            assert examined.served(asked, blocks) == [answer.text for answer in answers]


def test_lean_blocks_are_made_in_batches_as_ask_makes_them_one_by_one(tmp_path: Path) -> None:
    """Of what the version is certain of, of a name that it never heard, and of what was said since."""
    with memory(tmp_path / "m", reader(tmp_path / "model"), facts=[fact(n) for n in range(3)]) as alice:
        alice.consolidate(progress=False)
        alice.add("The code of Vela is Omega9.")
        asked = [f"What is the code of {name}?" for name in (*NAMES[:3], "Zorblax")]
        answers = [alice.ask(question, retrieval="lean") for question in asked]
        said, blocks = Examined.of(alice).lean(asked, [alice.search(question, k=10) for question in asked])
        assert said == [answer.text for answer in answers] == ["Omega9", "Kappa1", "Kappa2", ABSTENTION]
        assert [bool(block) for block in blocks] == [bool(answer.episodes) for answer in answers]
        assert [bool(block) for block in blocks] == [True, False, False, True]
        (known,) = Examined.of(alice).known(asked[1:2])
        assert known.tokens == answers[1].prompt_tokens, "the version is asked in the same words"


def test_ask_as_shipped_is_told_the_question_alone_and_counted_by_kind(tmp_path: Path) -> None:
    with memory(tmp_path / "m", reader(tmp_path / "model"), facts=[fact(n) for n in range(3)]) as alice:
        alice.consolidate(progress=False)
        right = [
            facts.Asked(n, 0, f"What is the code of {NAMES[n]}?", f"Kappa{n}", "value", "seen")
            for n in range(3)
        ]
        wrong = facts.Asked(0, 0, "The code of Vela, please?", "Omega", "value", "held")
        reversed_ = facts.Asked(1, 0, "Whose code is Kappa1?", NAMES[1], "reversed", "seen")
        found = as_shipped(alice, [*right, wrong, reversed_], seed=0)
        shares = {kind: (found[kind]["share"], found[kind]["n"]) for kind in ("value", "held", "reversed")}
        assert shares == {"value": (1.0, 3), "held": (0.0, 1), "reversed": (1.0, 1)}
        answers = [alice.ask(q.text) for q in (*right, wrong, reversed_)]
        assert found["tokens"] == sum(answer.prompt_tokens for answer in answers) / 5
        assert as_shipped(alice, right, seed=0, most=2)["n"] == 2


def test_names_that_are_called_unknown_are_in_no_episode() -> None:
    told = facts.memory(30, seed=3)
    known = [fact for one in told for fact in one.facts]
    asked = facts.unknown(told, 60, seed=3)
    assert len(asked) == 60
    assert not [question for question in asked if any(facts.frames_of(question, one) for one in known)]
    brought = Phrasings.of(Path(models.__file__).parent / "reader")
    names = [found.name for question in asked if (found := brought.placed([question]))]
    assert len(names) > 10
    assert not [name for name in names if any(content(name) <= content(one.subject) for one in known)]


def test_examined_questions_are_asked_in_frames_that_were_not_studied() -> None:
    told = facts.memory(3, seed=4)
    first = facts.questions(told, [[], [], []], seed=4)
    studied = [[q.text for q in first if q.episode == n] for n in range(3)]
    second = facts.questions(told, studied, seed=4)
    assert second
    for question in second:
        fact_ = told[question.episode].facts[question.fact]
        own = {frame for text in studied[question.episode] for frame in facts.frames_of(text, fact_)}
        assert not facts.frames_of(question.text, fact_) & own


def test_questions_that_choose_are_others_than_those_that_judge_and_even_over_the_episodes() -> None:
    told = facts.memory(20, seed=5)
    first = facts.questions(told, [[] for _ in told], seed=6, per_fact=1, held=0)
    studied = [[q.text for q in first if q.episode == n] for n in range(20)]
    asked = facts.questions(told, studied, seed=5)
    chosen_on = facts.others(told, studied, asked, seed=5, most=50)
    assert not {question.text for question in asked} & {question.text for question in chosen_on}
    assert not {*framed(told, asked), *framed(told, first)} & {*framed(told, chosen_on)}
    counts = Counter(question.episode for question in chosen_on)
    assert len(chosen_on) == counts.total() == 50
    assert set(counts.values()) == {2, 3}
    assert len(counts) == 20
    assert chosen_on == facts.others(told, studied, asked, seed=5, most=50)


def framed(told: Sequence[facts.Told], asked: Sequence[facts.Asked]) -> list[tuple[int, int, str]]:
    """Each fact with the frames in which it is asked for."""
    return [
        (q.episode, q.fact, frame)
        for q in asked
        for frame in facts.frames_of(q.text, told[q.episode].facts[q.fact])
    ]
