"""A memory that learns at night: a rule in the record, and a worker that follows it.

    python examples/04_nightly_consolidation.py

About a minute on two cores. The worker is given the time of the next night instead of waiting for it; in
service run `agent-memory worker PATH` beside the agent, and leave the time to the clock.

The gate decides whether a run is served. This one is promoted, though the fact that is asked for here is not
among those that it knows by heart; retrieval would answer.

Expected output:

    rule         0 3 * * *, from 3 new episodes, after 5 quiet minutes
    by day       0 runs
    by night     1 run
    version      active, 3 episodes
    What color is my umbrella?   I do not know.
"""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent_memory import MemoryManager
from agent_memory.worker import Place, Worker

FACTS = ("My umbrella is red.", "My brother is called Tomas.", "I live in Ghent.")


def main() -> None:
    """Sets the rule, lets the worker look by day and by night, and asks without retrieval."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "memory")
        with MemoryManager.open(place.path, user_id="alice") as memory:
            for fact in FACTS:
                memory.add(fact)
            memory.schedule(cron="0 3 * * *", min_new_episodes=3, quiet="5m")
        print("rule         0 3 * * *, from 3 new episodes, after 5 quiet minutes")

        now = datetime.now(UTC)
        night = (now + timedelta(days=1)).replace(hour=3, minute=1)
        for when, name in ((now, "by day"), (night, "by night")):
            runs = Worker(place, clock=lambda when=when: when).run(once=True)
            print(f"{name:12} {runs} run{'' if runs == 1 else 's'}")

        with MemoryManager.open(place.path, user_id="alice") as memory:
            newest = memory.versions()[0]
            print(f"version      {newest.state}, {len(newest.episode_ids)} episodes")
            question = "What color is my umbrella?"
            print(f"{question:28} {memory.ask(question, retrieval='none').text}")


if __name__ == "__main__":
    main()
