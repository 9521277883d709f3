"""Whose memory a call is about, taken from the developer's side of the runtime and never from the model.

A part of the scope may be given as a literal ("alice"), as a template ("{user_id}", "tenant-{org}"), or left
out. Templates are filled from `runtime.context` (dataclass, pydantic model or mapping), else from
`config["configurable"]`. A part left out is looked for under its own name in the same places; where it is
absent, the manager's own fixed scope holds, and a manager without one raises `ScopeError`.

Knows nothing of messages or of what is done in the scope.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_memory.errors import ScopeError

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Scope:
    """A resolved scope; None means that the manager's fixed one holds."""

    user_id: str | None
    agent_id: str | None
    session_id: str | None = None

    @property
    def owner(self) -> dict[str, str | None]:
        """The namespace as keyword arguments of `MemoryManager`."""
        return {"user_id": self.user_id, "agent_id": self.agent_id}


@dataclass(frozen=True, slots=True)
class ScopeTemplate:
    """Where the parts of a scope come from; see the module."""

    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None

    def resolve(self, *, context: Any = None, configurable: Mapping[str, Any] | None = None) -> Scope:
        """The scope of one call.

        Args:
            context: `runtime.context`, or None outside an agent.
            configurable: `config["configurable"]`, or None outside a run.

        Raises:
            ScopeError: A template names something that neither place holds.
        """
        places = (context, configurable)
        return Scope(
            user_id=_part(self.user_id, "user_id", places),
            agent_id=_part(self.agent_id, "agent_id", places),
            session_id=_part(self.session_id, "thread_id", places),
        )


def _part(template: str | None, name: str, places: tuple[Any, ...]) -> Any:
    """A literal, a filled template, or what the places hold under `name`; the manager judges the value."""
    if template is None:
        return _look_up(name, places)
    return _FIELD.sub(lambda found: _required(found[1], template, places), template)


def _required(name: str, template: str, places: tuple[Any, ...]) -> str:
    value = _look_up(name, places)
    if not isinstance(value, str) or not value:
        raise ScopeError(
            f"the template {template!r} needs a non-empty string {name!r}; "
            f"give it in the context or in config['configurable']"
        )
    return value


def _look_up(name: str, places: tuple[Any, ...]) -> Any:
    for place in places:
        value = place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)
        if value is not None:
            return value
    return None
