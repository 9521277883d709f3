"""The reader's own ways to ask, gathered after `training/reader.py` has made it.

    python training/phrasings.py [--facts N] [--seed S]     some ten minutes on one core

The reader writes questions about single facts of its world (the half that it was trained on), and answers
them with the fact in view. What it answers rightly is kept as a frame, with a slot for the name it asks from,
in the list of the fact's relation, one for questions about the value and one for questions back. The lists
lie beside the weights in `phrasings.json`, by relation; consolidation lends them to questions that ask for
the same, so that a small memory is studied in as many phrasings as a large one, and asks back what was asked
from one side only (`agent_memory/consolidation/phrasings.py`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent_memory.config import StudyConfig
from agent_memory.consolidation.asking import Asker, same
from agent_memory.consolidation.questions import frame
from agent_memory.consolidation.writers import OwnWriter
from agent_memory.models.local import LocalModel
from agent_memory.types import Episode
from benchmarks.facts import frames_of
from training.frames import INDEX, Fact, held_out
from training.frames import frames_of as frames_of_a_part
from training.relations import RELATIONS
from training.world import World

#: Facts that must have been asked about in a frame for it to be kept, and most frames of a list (chosen).
SEEN, MOST = 3, 24
CHUNK = 64


def told(world: World, rng: random.Random, count: int) -> list[tuple[Episode, Fact]]:
    """`count` facts of each relation, one to an episode."""
    made = []
    for relation in RELATIONS:
        for _ in range(count):
            subject = world.pools.subject(rng, relation.subject)
            fact = Fact(relation, subject, world.pools.value(rng, relation.value))
            made.append((episode(world.statement(rng, fact), len(made)), fact))
    return made


def episode(text: str, number: int) -> Episode:
    """A text as an episode; everything else about it is of no account here."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Episode(id=str(number), text=text, role="user", session_id=None, source="user", trust="trusted",
                   occurred_at=now, created_at=now, revision=1, metadata={})  # fmt: skip


def harvest(
    model: LocalModel, memories: list[tuple[Episode, Fact]], *, seed: int
) -> list[dict[str, list[str]]]:
    """The lists of frames of each relation, most frequent first; lists with a single frame are left empty."""
    config = StudyConfig()
    writer, asker = OwnWriter(model, config=config), Asker(model, max_answer_tokens=config.max_answer_tokens)
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for start in range(0, len(memories), CHUNK):
        part = memories[start : start + CHUNK]
        written = writer.write([one for one, _ in part], seed=seed + start)
        asked = [(one, fact, q) for (one, fact), own in zip(part, written, strict=True) for q in own]
        said = asker.answers([asker.prompt(question, [one]) for one, _, question in asked])
        for (_, fact, question), answer in zip(asked, said, strict=True):
            ends = (("value", fact.subject, fact.answer), ("back", fact.value, fact.subject_answer))
            for kind, about, right in ends:
                one = frame(question, [about]) if same(answer.text, right) else None
                if one is not None and one.count("{") == 1:
                    counts[fact.relation.name, kind][one] += 1
        print(f"\r{start + len(part)} of {len(memories)} facts", end="", file=sys.stderr, flush=True)
    relations = [
        {kind: _usual(counts[name, kind], INDEX[name]) for kind in ("value", "back")}
        for name in sorted({name for name, _ in counts})
    ]
    return [one for one in relations if any(one.values())]


def _usual(found: Counter[str], relation: int) -> list[str]:
    kept = [one for one, n in found.most_common(MOST) if n >= SEEN and not is_held_out(one, relation)]
    return kept if len(kept) > 1 else []


def is_held_out(frame: str, relation: int) -> bool:
    """Whether a frame that the reader found by itself is one that its training never held."""
    world, own = World("train"), RELATIONS[relation]
    rng = random.Random(frame)
    for _ in range(2):
        fact = Fact(own, world.pools.subject(rng, own.subject), world.pools.value(rng, own.value))
        nouns = (frames_of_a_part(relation, part, "held") for part in ("ask_noun", "know_noun"))
        held = {one for name, part, one in held_out() if name == own.name and part != "says"}.union(*nouns)
        for name in (fact.subject, fact.value):
            found = frames_of(frame.format(name), fact)
            if found and found <= held:
                return True
    return False


def main() -> None:
    """Reads the command line, harvests, and writes `phrasings.json` beside the reader's weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", type=int, default=40, help="per relation")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = LocalModel.open()
    memories = told(World("train"), random.Random(options.seed), options.facts)
    relations = harvest(model, memories, seed=options.seed)
    place = model.folder / "phrasings.json"
    place.write_text(json.dumps(relations, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    frames = [one for relation in relations for part in relation.values() for one in part]
    print(f"\n{len(relations)} relations, {len(frames)} frames in {place}")


if __name__ == "__main__":
    main()
