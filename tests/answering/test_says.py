"""Whether a model would write a text greedily is seen in one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_memory.consolidation.asking import Asker
from agent_memory.models.local import LocalModel
from tests.answering.asked import ASKED
from tests.memories import noisy_adapter


@pytest.mark.parametrize("base", ["tiny", "bundled"])
def test_a_model_says_what_it_would_write_greedily_and_nothing_else(
    base: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model: LocalModel = request.getfixturevalue(base)
    asker = Asker(model, max_answer_tokens=12)
    prompts = [asker.prompt(question, view) for question, view in ASKED]
    for adapter in (None, noisy_adapter(model, tmp_path / "adapter")):
        with model.wearing(adapter):
            greedy = model.generate(prompts, max_new_tokens=12)
            other = [[*ids[:-1], (ids[-1] + 1) % 200] for ids in greedy]
            shifted = greedy[1:] + greedy[:1]
            assert model.says(prompts, greedy) == [True] * len(prompts)
            assert model.says(prompts, other) == [False] * len(prompts)
            expected = [one == two for one, two in zip(greedy, shifted, strict=True)]
            assert model.says(prompts, shifted) == expected
            assert model.says([], []) == []


def test_an_asker_asks_the_bare_base_whether_it_says_so(tiny: LocalModel, tmp_path: Path) -> None:
    asker = Asker(tiny, max_answer_tokens=12)
    prompts = [asker.prompt(question, view) for question, view in ASKED]
    noisy = noisy_adapter(tiny, tmp_path / "adapter")
    base, worn = (asker.answers(prompts, adapter) for adapter in (None, noisy))
    assert asker.says(prompts, [one.ids for one in base]) == [True] * len(prompts)
    same = [one.ids == two.ids for one, two in zip(base, worn, strict=True)]
    assert asker.says(prompts, [one.ids for one in worn]) == same
    assert not all(same)


def test_a_scripted_reader_says_what_its_script_writes(scripted: Any) -> None:
    asker = Asker(scripted, max_answer_tokens=16)
    prompts = [asker.prompt(question, view) for question, view in ASKED]
    said = [one.ids for one in asker.answers(prompts)]
    assert asker.says(prompts, said) == [True] * len(prompts)
    assert asker.says(prompts, [ids[1:] for ids in said]) == [False] * len(prompts)
