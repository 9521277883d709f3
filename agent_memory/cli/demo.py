"""The whole loop within two minutes, as it happens: add, search, consolidate, ask four ways, forget one.

The log is a week of messages of one user, with the assistant's replies and a few things that came from tools;
only what the user said is trusted and learnt. A second run goes on where the first ended: nothing is added
twice, and the weights that the first run's forget took away are rebuilt without what was forgotten.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agent_memory import prompt
from agent_memory.cli.command import Setting, command
from agent_memory.cli.ending import stopping_between_steps
from agent_memory.cli.printing import busy, print_json, say, table
from agent_memory.cli.progress import Live
from agent_memory.consolidation.questions import content
from agent_memory.errors import InvalidInput
from agent_memory.types import Retrieval

if TYPE_CHECKING:
    from agent_memory.manager import MemoryManager

#: Name -> retrieval and adapter of an `ask`. None, retrieval and weights show one thing each; both is a lean
#: block that the base reads, and the version where the base declines.
ARMS: Mapping[str, tuple[Retrieval, str]] = {
    "none": ("none", "base"),
    "retrieval": ("all", "base"),
    "weights": ("none", "active"),
    "both": ("lean", "active"),
}

#: The beginning of the message that the first run forgets in the end, and what is then asked.
FORGOTTEN = "Oksana carries"
ASKED_AFTERWARDS = "Which badge does Oksana have?"

LOOK_INSIDE = "select text, mark, slow_since from episode_overview"


@dataclass(frozen=True, slots=True)
class Row:
    """One question of the table: the mark of its episode, and what each arm answered.

    Where it is answered in `bare_words`, as by the bundled reader, there may be none but those that are
    expected and those of the question.
    """

    question: str
    expected: str
    mark: str | None
    answers: Mapping[str, str]
    context_tokens: Mapping[str, int]
    bare_words: bool = True

    def right(self, arm: str) -> bool:
        """Whether an arm's answer holds the expected words, and no others that it may not."""
        expected, said = content(self.expected), content(self.answers[arm])
        return expected <= said and not (self.bare_words and said - expected - content(self.question))

    def shown(self, arm: str) -> str:
        """An arm's answer as a cell: its sign, and the words where it has any."""
        declines = self.answers[arm] == prompt.ABSTENTION
        sign = "+" if self.right(arm) else "" if declines else "-"
        return f"{sign} {'?' if declines else self.answers[arm]}".strip()


def register(app: typer.Typer) -> None:
    """Puts this command under `app`."""
    app.command("demo")(demo)


@partial(command, path=Path(".demo"))
def demo(setting: Setting) -> None:
    """Add a week of messages, consolidate them, ask four ways, forget one; a second run goes on from there.

    The user is "demo" unless one is named.

    Example: agent-memory demo
    """
    if setting.agent is None and setting.user is None:
        setting = dataclasses.replace(setting, user="demo")
    began = time.monotonic()
    with setting.opened(make=True) as memory:
        out = Steps(memory, quiet=setting.json)
        out.add()
        out.search("Who has the umbrella?")
        out.consolidate()
        out.ask()
        out.forget()
        out.end(time.monotonic() - began)
    if setting.json:
        print_json(out.done)


class Steps:
    """The demo, step by step; `done` collects what `--json` prints."""

    def __init__(self, memory: MemoryManager, *, quiet: bool) -> None:
        self.memory = memory
        self.quiet = quiet
        self.done: dict[str, Any] = {}

    def tell(self, text: str) -> None:
        """One line, unless JSON was asked for."""
        if not self.quiet:
            say(text)

    def add(self) -> None:
        """Stores the log, once."""
        log = lines("log.jsonl")
        there = len(self.memory.list())
        began = time.monotonic()
        added = [] if there else self.memory.add_many(log)
        seconds = time.monotonic() - began
        new = sum(one.event == "ADD" for one in added)
        self.done["added"] = new
        if there:
            self.tell(f"1  {there} episodes are there from an earlier run.")
        else:
            self.tell(
                f"1  {new} messages added, durably, in {seconds:.2f} s; {len(log) - new} was a repetition; "
                "they are found at once."
            )

    def search(self, query: str) -> None:
        """Shows one search."""
        found = self.memory.search(query, k=3)
        self.done["search"] = found
        self.tell(f"2  search: {query}")
        for one in found:
            self.tell(f"     {one.score:5.2f}  {one.episode.text}")

    def consolidate(self) -> None:
        """Teaches the weights what is new, or rebuilds them after a forget."""
        self.tell("3  consolidate: what the user said goes into an adapter, and is examined closed-book.")
        again = "run the demo again and it goes on from there"
        with stopping_between_steps(then=again) as check, Live(check) as live:
            report = self.memory.consolidate(progress=live)
        self.done["report"] = report
        seconds = sum(report.seconds.values())
        self.tell(
            f"     {report.outcome}: {report.episodes} episodes, {report.items} study items, {seconds:.0f} s"
        )
        if report.version_id is not None:
            files = self.memory.database.path / "versions" / report.version_id
            self.tell(
                f"     version {report.version_id}: {len(report.slow)} episodes are slow; its files: {files}"
            )
        for reason in (*report.reasons, *report.notes):
            self.tell(f"     - {reason}")

    def ask(self) -> None:
        """Asks every question in four ways."""
        questions = lines("questions.jsonl")
        marks = self._marks()
        rows = []
        for number, one in enumerate(questions):
            with busy(f"asking {number + 1} of {len(questions)}"):
                rows.append(self._row(one, marks))
        self.done["questions"] = rows
        if self.quiet:
            return
        say("4  ask: by the bare model, by retrieval, by the weights alone, by both (a lean block).")
        say("     + right, - wrong, ? says that it does not know; context tokens of retrieval > both")
        table(
            ["question", "mark", *ARMS, "tokens"],
            [
                [
                    row.question,
                    row.mark,
                    *(row.shown(arm) for arm in ARMS),
                    f"{row.context_tokens['retrieval']} > {row.context_tokens['both']}",
                ]
                for row in rows
            ],
        )
        self._sum_up(rows)

    def forget(self) -> None:
        """Forgets one message, if an earlier run has not, and asks for it again."""
        found = [episode for episode in self.memory.list() if episode.text.startswith(FORGOTTEN)]
        if found:
            with busy("forgetting"):
                receipt = self.memory.forget([episode.id for episode in found], reason="demo")
            self.done["receipt"] = receipt
            self.tell(f"5  forget: '{found[0].text}' is gone from the record and from the index;")
            for version in receipt.versions_tainted:
                self.tell(f"     version {version} had learnt it: tainted, and never served again")
        else:
            self.tell("5  forget: an earlier run did; what was served since was trained without it.")
        before = next(row for row in self.done["questions"] if row.question == ASKED_AFTERWARDS)
        self.done["afterwards"] = {}
        self.tell(f"     {ASKED_AFTERWARDS}")
        for arm in ("retrieval", "weights"):
            retrieval, adapter = ARMS[arm]
            now = self.memory.ask(ASKED_AFTERWARDS, retrieval=retrieval, adapter=adapter)
            self.done["afterwards"][arm] = now
            served = now.version or "bare base"
            self.tell(f"     by {arm:9}  before: {before.answers[arm]}  now: {now.text} ({served})")

    def end(self, seconds: float) -> None:
        """Says where everything is, and what to try next."""
        path, user = self.memory.database.path, self.memory.fixed.user_id if self.memory.fixed else None
        self.done["path"] = path
        self.tell(f"6  {seconds:.0f} s in all. The memory is in {path}; look inside:")
        for line in (
            f"agent-memory sql {LOOK_INSIDE!r} --path {path}",
            f"agent-memory versions --path {path} --user {user}",
            f"agent-memory chat --path {path} --user {user}",
            "agent-memory demo    (again: the weights are rebuilt without what was forgotten)",
        ):
            self.tell(f"     {line}")

    def _row(self, one: Mapping[str, Any], marks: Sequence[tuple[str, str]]) -> Row:
        question = one["question"]
        answers = {
            arm: self.memory.ask(question, retrieval=retrieval, adapter=adapter)
            for arm, (retrieval, adapter) in ARMS.items()
        }
        bare = answers["none"].prompt_tokens
        mark = next((m for text, m in marks if one["about"] and text.startswith(one["about"])), None)
        return Row(
            question,
            one["answer"],
            mark,
            {arm: answer.text for arm, answer in answers.items()},
            {arm: answer.prompt_tokens - bare for arm, answer in answers.items()},
            bare_words=self.memory.weights.model.made_here,
        )

    def _marks(self) -> list[tuple[str, str]]:
        """Text and mark of every episode, by the view that everybody can read."""
        scope = self.memory.fixed
        where = "user_id = :user" if scope and scope.user_id else "agent_id = :agent"
        rows = self.memory.sql(
            f"SELECT text, mark FROM episode_overview WHERE {where}",  # noqa: S608 - one of two constants
            {"user": scope.user_id} if scope and scope.user_id else {"agent": scope and scope.agent_id},
        )
        return [(row["text"], row["mark"]) for row in rows]

    def _sum_up(self, rows: Sequence[Row]) -> None:
        right = ", ".join(f"{arm} {sum(row.right(arm) for row in rows)}" for arm in ARMS)
        tokens = {arm: sum(row.context_tokens[arm] for row in rows) for arm in ("retrieval", "both")}
        say(f"     right of {len(rows)}: {right}")
        say(f"     context tokens: retrieval {tokens['retrieval']}, both {tokens['both']}")


def lines(name: str) -> list[dict[str, Any]]:
    """The entries of a file of `examples/data/`, which the wheel carries beside this module.

    Raises:
        InvalidInput: the package was installed without it.
    """
    here = Path(__file__)
    for folder in (here.with_name("data"), here.parents[2] / "examples" / "data"):
        if (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines()]
    raise InvalidInput(f"the demo's {name} is missing from this installation: install the package again")
