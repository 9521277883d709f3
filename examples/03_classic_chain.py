"""The memory in a classic `ConversationChain`, for code that still has one.

    python examples/03_classic_chain.py

About a minute on two cores, nearly all of it the consolidation.

The gate decides whether a run is served; this one is promoted.

Expected output:

    told        My sister is called Nora.
    told        I work at the harbour.
    told        My bicycle is green.
    recalled    What is my sister called?   Nora
    consolidated: promoted
    by heart    What is my sister called?   Nora
    by heart    Where do I work?            the harbour
    cleared
    by heart    What is my sister called?   I do not know.
"""

import tempfile
import warnings

from langchain_agent_memory import ChatAgentMemory, ConsolidatingMemory
from langchain_agent_memory.classic import conversation_prompt

from agent_memory import MemoryManager
from agent_memory.prompt import ASK_SYSTEM

FACTS = ("My sister is called Nora.", "I work at the harbour.", "My bicycle is green.")
SISTER, WORK = "What is my sister called?", "Where do I work?"


def main() -> None:
    """Tells, asks, consolidates, asks again without retrieval, clears, and asks once more."""
    warnings.simplefilter("ignore")  # the chain is deprecated, by its makers
    from langchain_classic.chains import ConversationChain

    with tempfile.TemporaryDirectory() as folder, MemoryManager.open(folder, user_id="alice") as memory:

        def chain(retrieval: str) -> ConversationChain:
            recall = ConsolidatingMemory(memory=memory, retrieval=retrieval)
            prompt = conversation_prompt(ASK_SYSTEM)
            return ConversationChain(llm=ChatAgentMemory(memory=memory), memory=recall, prompt=prompt)

        def ask(how: str, question: str) -> None:
            said = chain({"recalled": "all", "by heart": "none"}[how]).invoke({"input": question})["response"]
            print(f"{how:12}{question:28}{said}")

        for fact in FACTS:
            chain("all").invoke({"input": fact})
            print(f"told        {fact}")
        ask("recalled", SISTER)
        print(f"consolidated: {memory.consolidate(progress=False).outcome}")
        ask("by heart", SISTER)
        ask("by heart", WORK)
        ConsolidatingMemory(memory=memory).clear()
        print("cleared")
        ask("by heart", SISTER)


if __name__ == "__main__":
    main()
