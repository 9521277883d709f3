"""What the memory holds, asked in SQL: its tables and views are a public interface.

    python examples/05_inspect_with_sql.py

About five seconds; no language model is needed. Expected output:

    who said what to whom
      alice  -          user          My locker is number 12.
      alice  -          web:shop.example  The shop closes at six.
      bob    assistant  user          My locker is number 40.
    what may be learnt, by source
      user              trusted    2
      web:shop.example  untrusted  1
    forgotten
      bob    1 episode, erased: yes
"""

import tempfile

from agent_memory import MemoryManager


def main() -> None:
    """Adds three episodes, forgets one afterwards, and looks at both with SELECT."""
    with tempfile.TemporaryDirectory() as folder, MemoryManager.open(folder) as memory:
        memory.add("My locker is number 12.", user_id="alice")
        memory.add("The shop closes at six.", user_id="alice", source="web:shop.example")
        memory.add("My locker is number 40.", user_id="bob", agent_id="assistant")

        print("who said what to whom")
        for row in memory.sql("SELECT user_id, agent_id, source, text FROM episode_overview ORDER BY id"):
            print(f"  {row['user_id']:7}{row['agent_id'] or '-':11}{row['source']:12}  {row['text']}")

        print("what may be learnt, by source")
        counts = "SELECT source, trust, count(*) AS n FROM episodes GROUP BY source, trust ORDER BY source"
        for row in memory.sql(counts):
            print(f"  {row['source']:18}{row['trust']:11}{row['n']}")

        memory.forget(everything=True, user_id="bob", agent_id="assistant", reason="bob left")
        print("forgotten")
        for row in memory.sql("SELECT user_id, episodes, erased_at FROM forget_overview"):
            erased = "yes" if row["erased_at"] else "pending"
            print(f"  {row['user_id']:7}{row['episodes']} episode, erased: {erased}")


if __name__ == "__main__":
    main()
