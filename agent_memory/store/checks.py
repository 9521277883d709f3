"""From what a caller passes as an episode to a `Draft` that can be stored as it is, or one clear error.

Everything that could fail later fails here, before a transaction begins: text that no database can hold,
metadata that would not come back as it was, times without meaning. Nothing is repaired silently but two
things: a time without a zone is taken as UTC, and a message that is not the user's is not from the source
`user`, whatever the default.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent_memory.config import StoreConfig, TrustConfig
from agent_memory.errors import InvalidInput, TextTooLarge
from agent_memory.types import Trust

ROLES = ("user", "assistant", "system", "tool")
_ROLE_OF_MESSAGE_TYPE = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_ARGUMENTS = frozenset(
    {
        "text",
        "message",
        "role",
        "source",
        "trust",
        "occurred_at",
        "session_id",
        "metadata",
        "expires_at",
        "idempotency_key",
    }
)
_OF_MESSAGES = frozenset({"role", "content", "name", "id", "type", "tool_calls", "tool_call_id"})
_INTEGERS = 2**63  # beyond it SQLite keeps a rounded number


@dataclass(frozen=True, slots=True)
class Draft:
    """An episode as it will be stored, but for its id and keys."""

    text: str
    role: str
    source: str
    trust: Trust
    occurred_at: datetime
    session_id: str | None
    expires_at: datetime | None
    idempotency_key: str | None
    content_hash: str
    metadata: dict[str, Any] = field(default_factory=dict)


def draft(item: object, *, now: datetime, store: StoreConfig, trust: TrustConfig) -> Draft:
    """An item of `add`: text, a message (role and content, or LangChain's), or a mapping of its arguments.

    Raises:
        InvalidInput: something in it cannot be stored.
        TextTooLarge: the text exceeds `StoreConfig.max_text_bytes`.
    """
    arguments = dict(item) if isinstance(item, Mapping) else {"text": item}
    if "content" in arguments:  # a message with its role beside it
        message = arguments
        arguments = {name: value for name, value in arguments.items() if name not in _OF_MESSAGES}
        arguments["message"] = {name: message.get(name) for name in ("role", "content", "name")}
    unknown = sorted(str(name) for name in arguments.keys() - _ARGUMENTS)
    if unknown:
        raise InvalidInput(
            f"an item has no argument {', '.join(unknown)[:200]}; it has {', '.join(sorted(_ARGUMENTS))}"
        )
    text, role, said_by = _content(arguments)
    text = check_text(text, limit=store.max_text_bytes)
    given_source = arguments.get("source")
    source = _short("source", "user" if given_source is None else given_source, store)
    if source == "user" and role != "user":
        source = _short("source", said_by, store)
    given = arguments.get("trust")
    if given not in (None, "trusted", "untrusted"):
        raise InvalidInput("trust must be 'trusted', 'untrusted' or None")
    level: Trust = given or ("trusted" if source in trust.trusted_sources else "untrusted")
    session_id = _optional("session_id", arguments.get("session_id"), store)
    occurred_at = check_time("occurred_at", arguments.get("occurred_at"))
    return Draft(
        text=text,
        role=role,
        source=source,
        trust=level,
        occurred_at=now if occurred_at is None else occurred_at,
        session_id=session_id,
        expires_at=check_time("expires_at", arguments.get("expires_at")),
        idempotency_key=_optional("idempotency_key", arguments.get("idempotency_key"), store),
        content_hash=content_hash(session_id=session_id, role=role, source=source, trust=level, text=text),
        metadata=check_metadata(arguments.get("metadata"), store=store),
    )


def content_hash(*, session_id: str | None, role: str, source: str, trust: str, text: str) -> str:
    """What makes two episodes the same content: 32 hexadecimal digits."""
    parts = json.dumps([session_id, role, source, trust, text])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def _content(arguments: Mapping[str, Any]) -> tuple[object, str, str]:
    """Text, role and default source of an item."""
    given = [name for name in ("text", "message") if arguments.get(name) is not None]
    if len(given) != 1:
        raise InvalidInput("an item needs exactly one of text, message, or role and content")
    body = arguments[given[0]]
    if isinstance(body, Mapping):
        if "content" not in body:
            raise InvalidInput("a message needs role and content")
        role, name, body = body.get("role"), body.get("name"), _joined(body["content"])
    elif hasattr(body, "content") and hasattr(body, "type"):  # LangChain's message
        role, name = _ROLE_OF_MESSAGE_TYPE.get(body.type, body.type), getattr(body, "name", None)
        body = _joined(body.content)
    else:
        role, name = arguments.get("role"), None
    role = "user" if role is None else role
    if role not in ROLES:
        raise InvalidInput(f"role must be one of {', '.join(ROLES)}")
    return body, str(role), f"tool:{name}" if role == "tool" and isinstance(name, str) and name else str(role)


def _joined(content: object) -> object:
    """The text blocks of a message's content; other blocks (images, calls) are not text."""
    if not isinstance(content, list):
        return content
    blocks = [
        block if isinstance(block, str) else block.get("text")
        for block in content
        if isinstance(block, str) or (isinstance(block, Mapping) and block.get("type") == "text")
    ]
    return "\n".join(block for block in blocks if isinstance(block, str))


def check_text(text: object, *, limit: int) -> str:
    """The text, if a database can hold it and give it back.

    Raises:
        InvalidInput: not text, empty, or with NUL or half a surrogate pair.
        TextTooLarge: more than `limit` bytes of UTF-8.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"an episode is text or a message, not {type(text).__name__}")
    if len(text) > limit:
        raise TextTooLarge(
            f"the text has {len(text)} characters; at most {limit} bytes are allowed: split it"
        )
    if not text.strip():
        raise InvalidInput("the text is empty")
    size = len(_encoded("the text", text))
    if size > limit:
        raise TextTooLarge(f"the text has {size} bytes; at most {limit} are allowed: split it")
    return text


def _encoded(what: str, text: str) -> bytes:
    if "\x00" in text:
        raise InvalidInput(f"{what} holds a NUL character, which PostgreSQL cannot store: remove it")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what} holds half a surrogate pair at character {error.start}: decode it anew"
        ) from None


def check_time(name: str, value: object) -> datetime | None:
    """The time in UTC; text in ISO 8601 is read, and a time without a zone is taken as UTC.

    Raises:
        InvalidInput: it is not a time.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInput(f"{name} is not a time in ISO 8601, as 2026-03-01T10:00:00+00:00") from None
    if not isinstance(value, datetime):
        raise InvalidInput(f"{name} must be a datetime or text in ISO 8601, not {type(value).__name__}")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{name} lies outside the years 1 to 9999") from None


def check_ids(ids: object) -> list[str]:
    """The ids without repetitions, in order; one id stands for a list of one.

    Raises:
        InvalidInput: something in it is not an id.
    """
    listed = [ids] if isinstance(ids, str) else ids
    if isinstance(listed, Mapping) or not hasattr(listed, "__iter__"):
        raise InvalidInput("ids must be a list of episode ids")
    found = list(listed)
    if any(not isinstance(one, str) or not _ID.fullmatch(one) for one in found):
        raise InvalidInput("an episode id is text of at most 64 letters, digits, '.', '_', ':' or '-'")
    return list(dict.fromkeys(found))


def check_metadata(metadata: object, *, store: StoreConfig) -> dict[str, Any]:
    """A copy of the metadata, if it survives JSON unchanged and stays within the limits.

    Raises:
        InvalidInput: it is no mapping, too deep, too large, or holds what JSON cannot.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"metadata must be a mapping, not {type(metadata).__name__}")
    copy: dict[str, Any] = _plain(metadata, depth=store.max_metadata_depth)
    size = len(_encoded("the metadata", json.dumps(copy, ensure_ascii=False))) if copy else 2
    if size > store.max_metadata_bytes:
        raise InvalidInput(
            f"the metadata has {size} bytes as JSON; at most {store.max_metadata_bytes} are allowed"
        )
    return copy


def _plain(value: object, *, depth: int) -> Any:
    """The value in plain JSON types."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _encoded("the metadata", value)
        return str(value)
    if isinstance(value, int) and -_INTEGERS <= value < _INTEGERS:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth == 0 and isinstance(value, Mapping | list | tuple):
        raise InvalidInput("the metadata is nested too deeply")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InvalidInput("keys of metadata must be text")
        return {_plain(key, depth=0): _plain(one, depth=depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth=depth - 1) for one in value]
    raise InvalidInput(f"metadata holds a {type(value).__name__} that JSON cannot keep as it is")


def _optional(name: str, value: object, store: StoreConfig) -> str | None:
    return None if value is None else _short(name, value, store)


def _short(name: str, value: object, store: StoreConfig) -> str:
    """A name of bounded length, on one line."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text, not {type(value).__name__}")
    _encoded(name, value)
    if not value.strip() or len(value) > store.max_name_characters or not value.isprintable():
        raise InvalidInput(
            f"{name} must be 1 to {store.max_name_characters} printable characters on one line"
        )
    return value
