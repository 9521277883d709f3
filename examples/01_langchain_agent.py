"""A LangChain agent that remembers, learns what it was told, and forgets on request.

    python examples/01_langchain_agent.py

About a minute on two cores, nearly all of it the consolidation. Its model is the bundled reader; it
is told things in one thread and asked in others.

The gate decides whether a run is served. This one is promoted, and knows both facts by heart that are asked
for here.

Expected output:

    told        I live in Porto.
    told        My cat is called Miso.
    told        My favorite drink is green tea.
    recalled    Where do I live?            Porto
    recalled    What is my cat called?      Miso
    consolidated: promoted
    by heart    Where do I live?            Porto
    by heart    What is my cat called?      Miso
    forgotten   My cat is called Miso.
    by heart    What is my cat called?      I do not know.
    recalled    What is my cat called?      I do not know.
"""

import tempfile

from langchain.agents import create_agent
from langchain_agent_memory import AgentMemoryMiddleware, ChatAgentMemory
from langgraph.checkpoint.memory import InMemorySaver

from agent_memory import MemoryManager
from agent_memory.prompt import ASK_SYSTEM

FACTS = ("I live in Porto.", "My cat is called Miso.", "My favorite drink is green tea.")
CAT, HOME = "What is my cat called?", "Where do I live?"


def main() -> None:
    """Tells, asks, consolidates, asks again without retrieval, forgets, and asks once more."""
    with tempfile.TemporaryDirectory() as folder, MemoryManager.open(folder) as memory:
        model = ChatAgentMemory(memory=memory)

        # Two agents with one model and one memory: one recalls and records, one must know by heart.
        def agent_with(retrieval: str):
            remember = AgentMemoryMiddleware(memory, retrieval=retrieval, record=retrieval == "all", tools=())
            return create_agent(
                model, middleware=[remember], system_prompt=ASK_SYSTEM, checkpointer=InMemorySaver()
            )

        agents = {"recalled": agent_with("all"), "by heart": agent_with("none")}

        def say(how: str, text: str, thread: str) -> str:
            config = {"configurable": {"thread_id": thread, "user_id": "alice"}}
            return agents[how].invoke({"messages": [("user", text)]}, config)["messages"][-1].text

        def ask(how: str, question: str, thread: str) -> None:
            print(f"{how:12}{question:28}{say(how, question, thread)}")

        for fact in FACTS:
            say("recalled", fact, "monday")
            print(f"told        {fact}")
        ask("recalled", HOME, "tuesday")
        ask("recalled", CAT, "wednesday")

        report = memory.consolidate(user_id="alice", progress=False)
        print(f"consolidated: {report.outcome}")
        ask("by heart", HOME, "thursday")
        ask("by heart", CAT, "friday")

        # The agent's own answers are episodes, too; what mentions the cat goes with what was said of it.
        cat = [episode.id for episode in memory.list(user_id="alice") if "Miso" in episode.text]
        memory.forget(cat, user_id="alice", reason="the user asked")
        print(f"forgotten   {FACTS[1]}")
        ask("by heart", CAT, "saturday")
        ask("recalled", CAT, "sunday")


if __name__ == "__main__":
    main()
