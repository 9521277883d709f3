"""Through a memory: what is read, by whom, and what a version that reads must keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_memory.config import GateConfig, PromptConfig, SearchConfig
from tests.answering.asked import QUESTION
from tests.memories import fact, memory, reader, small


def test_a_memory_answers_from_its_episodes_by_the_base_and_by_heart_by_the_version(tmp_path: Path) -> None:
    model = reader(tmp_path / "model")
    with memory(tmp_path / "memory", model, facts=[fact(0), fact(1)]) as alice:
        version = alice.consolidate(progress=False).version_id
        by_heart = alice.ask(QUESTION, retrieval="none")
        assert (by_heart.text, by_heart.version) == ("Kappa0", version)
        read = alice.ask(QUESTION, retrieval="all")
        assert (read.text, read.version) == ("Kappa0", None)
        lean = alice.ask(QUESTION, retrieval="lean")
        assert (lean.text, lean.version) == ("Kappa0", version)
        told = [{"role": "user", "content": "The code of Zizu is Omega9."},
                {"role": "assistant", "content": "Noted."}]  # fmt: skip
        for question, said, by in (("Zizu", "Omega9", None), ("Vela", "Kappa0", version)):
            messages = [*told, {"role": "user", "content": f"What is the code of {question}?"}]
            found = alice.chat(messages, retrieval="none")
            assert (found.text, found.version) == (said, by)
        assert alice.ask(QUESTION, retrieval="all", adapter="base").version is None


def test_the_bundled_reader_reads_two_results_unless_told_and_asks_for_no_more_than_may_be_asked_for(
    tmp_path: Path,
) -> None:
    model = reader(tmp_path / "model")
    told = [f"The code of Vela is Kappa{n}." for n in range(6)]
    for most, shown in ((None, 2), (3, 3)):
        config = small()
        changed = {"prompt": PromptConfig(most_episodes=most), "search": SearchConfig(max_k=5)}
        config = config.model_copy(update=changed)
        with memory(tmp_path / f"memory-{most}", model, facts=told, config=config) as alice:
            assert len(alice.ask("What is the code of Vela?").episodes) == shown
            assert len(alice.context("What is the code of Vela?").episodes) == (most or 5)


def test_a_memory_whose_versions_read_answers_by_the_version_alone(tmp_path: Path) -> None:
    model = reader(tmp_path / "model")
    config = small().model_copy(update={"prompt": PromptConfig(reader="version")})
    with memory(tmp_path / "memory", model, facts=[fact(0)], config=config) as alice:
        version = alice.consolidate(progress=False).version_id
        read = alice.ask(QUESTION, retrieval="all")
        assert (read.text, read.version) == ("Kappa0", version)
        assert read.episodes


def test_a_version_that_lost_its_reading_is_rejected_where_it_is_to_read_and_else_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent_memory.consolidation import examine

    real = examine.kept
    lost = {"reading": 0.0, "reading_base": 1.0}
    monkeypatch.setattr(examine, "kept", lambda *args, **given: real(*args, **given) | lost)
    strict = small(gate=GateConfig(max_perplexity_rise=1e9, min_abstention=0, max_retention_lost=1))
    outcomes: dict[str, tuple[str, str]] = {}
    for how in ("base", "version"):
        config = strict.model_copy(update={"prompt": PromptConfig.model_validate({"reader": how})})
        model = reader(tmp_path / f"{how}-model")
        with memory(tmp_path / how, model, facts=[fact(0)], config=config) as alice:
            report = alice.consolidate(progress=False)
            outcomes[how] = (report.outcome, " ".join(report.reasons))
    assert outcomes["base"] == ("promoted", "")
    assert outcomes["version"][0] == "rejected"
    assert outcomes["version"][1].startswith("reading")
