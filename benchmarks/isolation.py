"""Three tenants with nearly the same episodes: does a call of one ever show or move what is another's?

    python -m benchmarks.isolation                               # at least 20,000 calls
    python -m benchmarks.isolation --calls 500 --broken rows     # or scores: everybody's; must be caught

Hypothesis draws sequences of calls for three tenants, of which one shares the user and one the agent of
another. All tenants hold the same sentences, each with a canary word of its own, so that whatever leaks is
both a good match and recognisable. After every call: what came back belongs to the caller; ids of others do
not exist; counts are one's own; and each tenant's list is what a plain dictionary says. Scores of one
tenant's searches are compared before and after another's writes, and must be identical. Every example
begins with new tenants in the same store, beside all the earlier ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from agent_memory import MemoryManager
from agent_memory.errors import NotFound, ScopeError
from benchmarks.record import record

TENANTS = ("anna", "bert", "carl")
CANARIES = {"anna": "quokkaword", "bert": "zebraword", "carl": "lemurword"}
SENTENCES = (
    "I moved to Lisbon in May.",
    "The spare key is under the blue pot.",
    "My sister is called Mia.",
    "Tea at four, never coffee.",
    "I am allergic to nuts.",
)
QUERIES = (*SENTENCES, "where is the key", *CANARIES.values())
FILTERS = (None, {"source": "user"}, {"tag": "I"}, {"NOT": {"tag": "*"}})
NOBODY = (
    {}, {"user_id": ""}, {"user_id": "*"}, {"user_id": {"$ne": ""}}, {"user_id": "%"}, {"agent_id": ["a"]},
    {"user_id": "u\x00"},
)  # fmt: skip
STEPS = 25  # of one example; with the three lists after each that is some hundred calls

tenants = st.sampled_from(TENANTS)
sentences = st.sampled_from(SENTENCES)


class Tenants(RuleBasedStateMachine):
    """Calls of three tenants on one memory; `memory` and `made` are set by `run`."""

    memory: MemoryManager
    folder: Path
    calls: Counter[str]
    made = 0

    @initialize()
    def begin(self) -> None:
        """Three new tenants; the second shares a user, the third an agent with the first."""
        type(self).made += 1
        n = self.made
        self.scopes: dict[str, dict[str, str]] = {
            "anna": {"user_id": f"u{n}", "agent_id": f"a{n}"},
            "bert": {"user_id": f"u{n}"},
            "carl": {"user_id": f"v{n}", "agent_id": f"a{n}"},
        }
        self.held: dict[str, dict[str, str]] = {name: {} for name in TENANTS}

    def call(self, who: str, method: str, *arguments: Any, **named: Any) -> Any:
        """One call of a tenant, counted."""
        self.calls[method] += 1
        return getattr(self.memory, method)(*arguments, **self.scopes[who], **named)

    def mine(self, who: str, episodes: list[Any]) -> None:
        """These episodes belong to the tenant."""
        for episode in episodes:
            assert episode.id in self.held[who], "an episode of another tenant came back"
            assert episode.text == self.held[who][episode.id]
            assert CANARIES[who] in episode.text
            assert {"user_id": episode.user_id, "agent_id": episode.agent_id} == {
                "user_id": None, "agent_id": None, **self.scopes[who]
            }  # fmt: skip

    @rule(who=tenants, text=sentences, key=st.none() | st.integers(0, 3), session=st.none() | st.just("s"))
    def add(self, who: str, text: str, key: int | None, session: str | None) -> None:
        """The same sentence, key and session as others use."""
        text = f"{text} {CANARIES[who]}"
        added = self.call(who, "add", text, session_id=session, metadata={"tag": text[:1]},
                          idempotency_key=None if key is None else f"key {key}")  # fmt: skip
        if added.event == "ADD":
            assert added.id not in self.held[who]
            self.held[who][added.id] = text
        self.mine(who, [added.episode])

    @rule(who=tenants, texts=st.lists(sentences, max_size=4))
    def add_many(self, who: str, texts: list[str]) -> None:
        """A batch."""
        items = [{"text": f"{text} {CANARIES[who]}", "source": "web:x"} for text in texts]
        for one in self.call(who, "add_many", items):
            self.held[who].setdefault(one.id, one.episode.text)
            self.mine(who, [one.episode])

    @rule(
        who=tenants,
        query=st.sampled_from(QUERIES),
        k=st.sampled_from([1, 5, 100]),
        explain=st.booleans(),
        filters=st.sampled_from(FILTERS),
    )
    def search(self, who: str, query: str, k: int, explain: bool, filters: Any) -> None:
        """Searches, also for another's canary."""
        found = self.call(who, "search", query, k=k, explain=explain, filters=filters)
        self.mine(who, [one.episode for one in found])

    @rule(who=tenants, other=tenants, text=sentences, query=st.sampled_from(QUERIES), erase=st.booleans())
    def scores_stay(self, who: str, other: str, text: str, query: str, erase: bool) -> None:
        """What another writes or forgets moves no score."""
        if who == other:
            return
        before = self.scores(who, query)
        added = self.call(other, "add", f"{text} {text} {CANARIES[other]}")
        self.held[other].setdefault(added.id, added.episode.text)
        if erase:
            self.call(other, "forget", [added.id])
            self.held[other].pop(added.id)
        assert self.scores(who, query) == before, "another tenant's write moved a score"

    def scores(self, who: str, query: str) -> list[Any]:
        """What is found, with its score and its parts: the sum may stay where a part has moved."""
        found = self.call(who, "search", query, k=50, explain=True)
        return [(one.episode.id, one.score, one.why) for one in found]

    @rule(who=tenants, other=tenants, data=st.data())
    def by_id(self, who: str, other: str, data: st.DataObject) -> None:
        """Calls that name an id, mostly one of another tenant."""
        if not self.held[other]:
            return
        key = data.draw(st.sampled_from(sorted(self.held[other])))
        method, named = data.draw(st.sampled_from([
            ("get", {}), ("history", {}), ("update", {"text": "new"}), ("update", {"metadata": {"tag": "T"}}),
            ("approve", {}), ("forget", {}),
        ]))  # fmt: skip
        named = {"text": f"new {CANARIES[who]}"} if "text" in named else named
        argument = [key] if method in ("approve", "forget") else key
        if who != other:
            try:
                self.call(who, method, argument, **named)
            except NotFound:
                return
            raise AssertionError(f"{method} reached the episode of another tenant")
        answer = self.call(who, method, argument, **named)
        if method == "forget":
            self.held[who].pop(key)
        elif method == "update":
            self.held[who][key] = answer.text
            self.mine(who, [answer])
        elif method in ("get", "approve"):
            self.mine(who, answer if isinstance(answer, list) else [answer])

    @rule(
        who=tenants,
        filters=st.sampled_from([{"source": "web:x"}, {"tag": "I"}, {"text": {"icontains": "mia"}}]),
    )
    def forget_by_filter(self, who: str, filters: Any) -> None:
        """A filter reaches one's own episodes only."""
        receipt = self.call(who, "forget", filters=filters)
        for key in receipt.ids:
            self.held[who].pop(key)

    @rule(who=tenants)
    def forget_everything(self, who: str) -> None:
        """Everything means everything of mine."""
        if len(self.held[who]) > 6:
            assert set(self.call(who, "forget", everything=True).ids) == set(self.held[who])
            self.held[who].clear()

    @rule(who=tenants)
    def count(self, who: str) -> None:
        """Counts, checks and exports are one's own."""
        assert self.call(who, "status")["episodes"] == len(self.held[who])
        assert self.call(who, "verify") == []
        assert self.call(who, "export_jsonl", self.folder / "x") == len(self.held[who])
        assert all(CANARIES[who] in line for line in (self.folder / "x").read_text().splitlines())

    @rule(scope=st.sampled_from(NOBODY))
    def nobody(self, scope: Any) -> None:
        """No scope, a pattern or an expression is nobody or an error, never everybody."""
        self.calls["nobody"] += 1
        try:
            assert self.memory.list(**scope) == []
        except ScopeError:
            return

    @invariant()
    def lists_are_as_told(self) -> None:
        """Each tenant's list is what the dictionary says."""
        for who in getattr(self, "held", {}):
            listed = self.call(who, "list")
            self.mine(who, listed)
            assert len(listed) == len(self.held[who])


def run(place: Path, *, calls: int, random_seed: int = 1, shorten: bool = True) -> Counter[str]:
    """Runs examples until so many calls were made; returns how many of each.

    Raises:
        AssertionError: a leak; where it is to `shorten`, with the shortest sequence of calls that it finds.
    """
    phases = [Phase.generate, *([Phase.shrink] if shorten else [])]
    counted: Counter[str] = Counter()
    with MemoryManager.open(place / "memory") as memory:
        machine = type("Tenants", (Tenants,), {"memory": memory, "folder": place, "calls": counted})
        attempt = 0
        while sum(counted.values()) < calls:
            examples = max(8, min(100, calls // (4 * STEPS)))  # the first few of each batch are trivial
            chosen = settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            )
            try:
                run_state_machine_as_test(seed(random_seed + attempt)(machine), settings=chosen)
            except HypothesisException as error:  # a leak that depends on earlier examples cannot be replayed
                raise AssertionError("a call saw or moved what is another's") from error
            attempt += 1
    return counted


@contextmanager
def leaking(what: str) -> Iterator[None]:
    """The twins: a store whose `rows`, or whose `scores`, are everybody's."""
    from sqlalchemy import func, or_, select

    from agent_memory.store import episodes, lexical
    from agent_memory.store.tables import episodes as table
    from agent_memory.store.tables import lexical_statistics as counted

    def everybody(_: int, now: Any) -> Any:
        return or_(table.c.expires_at.is_(None), table.c.expires_at > now)

    module, name, broken = {
        "rows": (episodes, "live", everybody),
        "scores": (lexical, "_STATISTICS", select(func.sum(counted.c.episodes), func.sum(counted.c.terms))),
    }[what]
    sound = getattr(module, name)
    setattr(module, name, broken)
    try:
        yield
    finally:
        setattr(module, name, sound)


def main() -> None:
    """Runs the calls and prints how many of each there were."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broken", choices=["rows", "scores"], help="let it leak; records nothing")
    options = parser.parse_args()
    broken = leaking(options.broken) if options.broken else nullcontext()
    with tempfile.TemporaryDirectory() as place, broken:
        counted = run(Path(place), calls=options.calls, random_seed=options.seed,
                      shorten=not options.broken)  # fmt: skip
    for name, n in counted.most_common():
        print(f"{name:>14}  {n}")
    print(f"{counted.total()} calls, 0 leaks, scores identical")
    if not options.broken:
        record(
            "isolation", {"calls": counted.total(), "by_method": dict(counted), "leaks": 0}, seed=options.seed
        )


if __name__ == "__main__":
    main()
