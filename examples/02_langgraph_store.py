"""The memory as LangGraph's long-term store, and as episodes of the users whose items they are.

    python examples/02_langgraph_store.py

About five seconds; no language model is needed. Expected output:

    by meaning    espresso without sugar
    by filter     ['espresso without sugar']
    namespaces    [('memories', 'alice'), ('memories', 'bob')]
    alice         ['Alice drinks espresso without sugar.']
    bob           []
    after delete  []
"""

import tempfile

from langchain_agent_memory import AgentMemoryStore

from agent_memory import MemoryManager


def main() -> None:
    """Puts, searches and deletes items; those under ("memories", user) are that user's episodes as well."""
    with tempfile.TemporaryDirectory() as folder, MemoryManager.open(folder) as memory:
        store = AgentMemoryStore(memory, agent_id="barista", scope_from=("memories", "{user_id}"))
        drink = {"drink": "espresso without sugar", "strength": 9,
                 "text": "Alice drinks espresso without sugar."}  # fmt: skip
        store.put(("memories", "alice"), "drink", drink)
        store.put(("memories", "bob"), "table", {"table": "by the window", "strength": 0})

        found = store.search(("memories",), query="which coffee does she drink", limit=1)
        print("by meaning   ", found[0].value["drink"])
        strong = store.search(("memories",), filter={"strength": {"$gte": 5}})
        print("by filter    ", [item.value["drink"] for item in strong])
        print("namespaces   ", store.list_namespaces(prefix=("memories",)))

        # An item with a text is an episode of its user: it is found by the agent's middleware, and learnt.
        for user in ("alice", "bob"):
            episodes = memory.list(user_id=user, agent_id="barista")
            print(f"{user:13}", [episode.text for episode in episodes])
        store.delete(("memories", "alice"), "drink")
        print("after delete ", [episode.text for episode in memory.list(user_id="alice", agent_id="barista")])


if __name__ == "__main__":
    main()
