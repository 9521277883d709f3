"""The fast half on the command line: add, search, list, show, approve, forget."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from agent_memory.cli.command import Setting, command, mapping
from agent_memory.cli.printing import busy, note, pairs, say, table
from agent_memory.errors import InvalidInput
from agent_memory.types import Episode

Filter = Annotated[
    str | None, typer.Option("--filter", help='JSON object of conditions, such as \'{"source": "user"}\'.')
]


def register(app: typer.Typer) -> None:
    """Puts these commands under `app`."""
    app.command("add")(add)
    app.command("search")(search)
    app.command("list")(list_)
    app.command("show")(show)
    app.command("approve")(approve)
    app.command("forget")(forget)


@command
def add(
    setting: Setting,
    text: Annotated[str, typer.Argument(help="What happened, in words; '-' reads it from stdin.")],
    source: Annotated[
        str, typer.Option(help="Who said so: user, operator, tool:NAME, web:HOST, ...")
    ] = "user",
    trust: Annotated[
        str | None, typer.Option(help="trusted or untrusted; by default the source decides.")
    ] = None,
    occurred_at: Annotated[
        str | None, typer.Option(help="When, as in 2026-03-01T10:00; now by default.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="The conversation that it belongs to.")] = None,
    metadata: Annotated[str | None, typer.Option(help="JSON object to keep with it.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it is forgotten by itself.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: a second add with it changes nothing.")
    ] = None,
) -> None:
    """Store one episode.

    Example: agent-memory add "My bicycle is in the cellar." --user ada
    """
    if text == "-":
        text = sys.stdin.read().strip()
    with setting.opened(make=True) as memory:
        added = memory.add(
            text,
            source=source,
            trust=trust,  # type: ignore[arg-type]  # checked by the store, which names the two values
            occurred_at=occurred_at,
            session_id=session,
            metadata=mapping(metadata, option="--metadata"),
            expires_at=expires_at,
            idempotency_key=key,
        )
    setting.show(added, lambda: say(f"{added.event} {added.id}"))


@command
def search(
    setting: Setting,
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    k: Annotated[int, typer.Option("-k", help="Most results.")] = 10,
    filter_: Filter = None,
    as_of: Annotated[str | None, typer.Option(help="Only what was stored by then.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each result is there.")] = False,
) -> None:
    """Find the episodes that fit a query best.

    Example: agent-memory search "Where is the bicycle?" --user ada
    """
    with setting.opened() as memory, busy("searching"):
        found = memory.search(
            query, k=k, filters=mapping(filter_, option="--filter"), as_of=as_of, explain=explain
        )

    def human() -> None:
        rows = [
            [f"{one.score:.3f}", one.episode.id, *_short(one.episode), *([one.why] if explain else [])]
            for one in found
        ]
        table(["score", "id", "occurred", "source", "text", *(["why"] if explain else [])], rows)

    setting.show(found, human)


@command
def list_(
    setting: Setting,
    limit: Annotated[int, typer.Option(help="Most episodes.")] = 20,
    filter_: Filter = None,
) -> None:
    """List episodes, the newest first.

    Example: agent-memory list --limit 5 --user ada
    """
    with setting.opened() as memory:
        found = memory.list(filters=mapping(filter_, option="--filter"), limit=limit)
    rows = [[episode.id, *_short(episode)] for episode in found]
    if not found:
        note("no episodes")
    setting.show(found, lambda: table(["id", "occurred", "source", "text"], rows))


@command
def show(setting: Setting, id_: Annotated[str, typer.Argument(metavar="ID", help="Of an episode.")]) -> None:
    """Show one episode and what became of it.

    Example: agent-memory show 01JABC --user ada
    """
    with setting.opened() as memory:
        episode, history = memory.get(id_), memory.history(id_)

    def human() -> None:
        pairs({name: getattr(episode, name) for name in Episode.__slots__})
        columns = list(dict.fromkeys(name for event in history for name in event))
        table(columns, [[event.get(name) for name in columns] for event in history], title="history")

    setting.show({"episode": episode, "history": history}, human)


@command
def approve(
    setting: Setting, ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Of episodes.")]
) -> None:
    """Make episodes trusted, so that they may be learnt.

    Example: agent-memory approve 01JABC 01JABD --user ada
    """
    with setting.opened() as memory:
        approved = memory.approve(ids)
    setting.show(approved, lambda: say(f"{len(approved)} approved"))


@command
def forget(
    setting: Setting,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Of episodes.")] = None,
    filter_: Filter = None,
    everything: Annotated[bool, typer.Option("--everything", help="All of this user and agent.")] = False,
    reason: Annotated[str | None, typer.Option(help="Kept with the erasure.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before --everything or --filter.")
    ] = False,
) -> None:
    """Forget episodes for good: record, index, study items, and the weights that learnt them.

    Example: agent-memory forget 01JABC --reason "asked by the user" --user ada
    """
    with setting.opened() as memory:
        if (everything or filter_ is not None) and not yes:
            if not _can_ask():
                raise InvalidInput("this may forget many episodes: add --yes to confirm")
            typer.confirm("This cannot be undone. Forget them?", abort=True, err=True)
        with busy("forgetting"):
            receipt = memory.forget(
                ids or None,
                filters=mapping(filter_, option="--filter"),
                everything=everything,
                reason=reason,
            )

    def human() -> None:
        if not receipt.ids:
            say("nothing matched, and nothing was forgotten")
            return
        pairs(
            {
                "episodes": len(receipt.ids),
                "unserved at": receipt.unserved_at,
                "erased at": receipt.erased_at
                or "pending: another process still reads; retried by the next writer",
                "versions tainted": ", ".join(receipt.versions_tainted) or None,
                **{f"deleted {name}": number for name, number in receipt.counts.items()},
                "not covered": ", ".join(receipt.not_covered) or None,
            }
        )

    setting.show(receipt, human)


def _can_ask() -> bool:
    """Whether somebody sits at a terminal and can answer."""
    return sys.stdin.isatty()


def _short(episode: Episode) -> tuple[str, str, str]:
    return episode.occurred_at.strftime("%Y-%m-%d %H:%M"), episode.source, episode.text
