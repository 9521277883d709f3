"""What only declines is told from what tells something, as it is written and once it is."""

from __future__ import annotations

import pytest

from agent_memory.consolidation.asking import abstains, declines, may_abstain
from agent_memory.prompt import ABSTENTION

DECLINING = [ABSTENTION, "I don't know that.", "I’m not sure, sorry.", "Unknown", "I am not sure.",
             "I'm sorry, I cannot say.", "Not mentioned in the memory.", "There is no answer.",
             "I don’t have that information."]  # fmt: skip
TELLING = ["Lisbon", "I do.", "I know: Lisbon.", "Not today.", "There are two.", "KX-4471", "I'm in Lisbon."]


@pytest.mark.parametrize("text", DECLINING)
def test_study_and_exam_count_as_declining_whatever_only_declines(text: str) -> None:
    assert declines(text)


@pytest.mark.parametrize("text", [ABSTENTION, "I don't know that.", "I don’t have that information."])
def test_every_beginning_of_an_answer_that_abstains_may_still_abstain(text: str) -> None:
    assert abstains(text)
    assert all(may_abstain(text[:end]) for end in range(len(text) + 1))


@pytest.mark.parametrize("text", TELLING)
def test_an_answer_that_tells_something_is_known_to_at_its_end_at_the_latest(text: str) -> None:
    assert not abstains(text)
    seen = [may_abstain(text[:end]) for end in range(len(text) + 1)]
    assert seen[0], "nothing is said yet"
    assert seen == sorted(seen, reverse=True), "once it cannot abstain it never may again"


@pytest.mark.parametrize("text", [
    "I'm sorry to hear that. Oksana lives in Lisbon.", "There is no train on Sunday.", "Unknown Pleasures.",
    "I do not know about the rest of them, but Oksana has lived in Salamanca since May.",
])  # fmt: skip
def test_an_answer_that_tells_something_is_never_thrown_away(text: str) -> None:
    assert not abstains(text)
    assert not may_abstain(text)


@pytest.mark.parametrize("text", ["There is now a cafe.", "There is nobody but Ada.", "Unknownville"])
def test_a_word_that_only_begins_like_a_declining_one_does_not_decline(text: str) -> None:
    assert not declines(text)
