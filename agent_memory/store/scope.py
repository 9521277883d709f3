"""From what a caller names to a namespace, or an error; never to "everything".

A scope is a user, an agent, or both, as text. What is compared is the exact text: `A` and `a` are two
users. Text that two people would read as the same and a machine would not (other Unicode forms, blanks at
the ends, control characters) is refused rather than repaired, so that no two systems disagree about whose
memory it is.
"""

from __future__ import annotations

import unicodedata

from agent_memory.errors import ScopeError
from agent_memory.types import Namespace

_MAX_CHARACTERS = 512  # chosen: longer than any id that we know of, shorter than an index page
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, surrogate, line and paragraph separator


def resolve(fixed: Namespace | None, *, user_id: object = None, agent_id: object = None) -> Namespace:
    """The namespace of a call: the one fixed at open, or the one that the call names.

    Raises:
        ScopeError: neither names one, a name is malformed, or the call names another than the fixed one.
    """
    named = None if user_id is None and agent_id is None else namespace(user_id=user_id, agent_id=agent_id)
    if fixed is None:
        if named is None:
            raise ScopeError("no scope: pass user_id= and/or agent_id=, here or at open()")
        return named
    for kind, given, own in (("user_id", user_id, fixed.user_id), ("agent_id", agent_id, fixed.agent_id)):
        if given is not None and given != own:
            raise ScopeError(
                f"this memory was opened for one scope, and {kind}= names another: open that one"
            )
    return fixed


def namespace(*, user_id: object = None, agent_id: object = None) -> Namespace:
    """The pair, checked.

    Raises:
        ScopeError: both are None, or one is malformed.
    """
    if user_id is None and agent_id is None:
        raise ScopeError("no scope: pass user_id= and/or agent_id=")
    return Namespace(user_id=_name("user_id", user_id), agent_id=_name("agent_id", agent_id))


def _name(kind: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ScopeError(f"{kind} must be text, not {type(value).__name__}")
    if not value or value != value.strip():
        raise ScopeError(f"{kind} must not be empty, nor begin or end with a blank")
    if len(value) > _MAX_CHARACTERS:
        raise ScopeError(f"{kind} has {len(value)} characters; at most {_MAX_CHARACTERS} are allowed")
    if any(unicodedata.category(character) in _REFUSED for character in value):
        raise ScopeError(f"{kind} holds a control character, a line separator or half a surrogate pair")
    if unicodedata.normalize("NFC", value) != value:
        raise ScopeError(f"{kind} is not in Unicode normal form C; pass unicodedata.normalize('NFC', {kind})")
    return value
