"""Every error that the package raises on purpose, in one tree.

    AgentMemoryError
    ├── InvalidInput (ValueError)        what a caller passed cannot be used
    │   ├── ScopeError                   no scope, a malformed one, or one that the handle does not own
    │   ├── FilterError                  an unknown operator, column or value in a filter
    │   └── TextTooLarge                 more bytes than the configured limit
    ├── NotFound (LookupError)           no episode, version, run or model by that name in this namespace
    ├── StoreError (RuntimeError)        the record cannot be read or written
    │   ├── StoreReadOnly                the directory or database refuses writes
    │   ├── StoreFull                    no space left; nothing was half-written
    │   ├── StoreCorrupt                 the record is missing or damaged; never opened as if empty
    │   ├── StoreClosed                  the handle was closed
    │   └── EmbedderMismatch             another embedder made the stored vectors; names `rebuild_index`
    ├── EmbeddingError (ValueError)      an embedder returned NaN, a wrong shape, or raised
    ├── ModelError (RuntimeError)        a model folder is missing, altered or unsupported
    │   └── AdapterRefused               an adapter failed its checks before PEFT saw it
    └── ConsolidationError (RuntimeError)
        ├── RunBusy                      another run holds the namespace; says which
        ├── RunFailed                    a stage failed; the active version is untouched
        ├── RunInterrupted               a run was asked to stop between two steps; it goes on next time
        └── LeaseLost                    a worker that stood still too long; its result was refused

To add one: derive from the nearest parent, say in the docstring when it is raised, and draw it above.
Messages hold ids, counts and names of settings, never the text of an episode.
"""


class AgentMemoryError(Exception):
    """Base class of every error that this package raises on purpose."""


class InvalidInput(AgentMemoryError, ValueError):
    """A caller passed something that cannot be used."""


class ScopeError(InvalidInput):
    """The scope is absent, malformed, or not the one that this handle was opened with."""


class FilterError(InvalidInput):
    """A filter names an unknown operator or column, or compares with an unusable value."""


class TextTooLarge(InvalidInput):
    """The text exceeds the configured limit."""


class NotFound(AgentMemoryError, LookupError):
    """Nothing by that id or name exists in this namespace."""


class StoreError(AgentMemoryError, RuntimeError):
    """The record cannot be read or written."""


class StoreReadOnly(StoreError):
    """The directory or the database refuses writes."""


class StoreFull(StoreError):
    """No space is left on the device; nothing was half-written."""


class StoreCorrupt(StoreError):
    """The record is missing or damaged."""


class StoreClosed(StoreError):
    """The memory was used after `close()`."""


class EmbedderMismatch(StoreError):
    """The stored vectors were made by another embedder; `rebuild_index()` makes them anew."""


class EmbeddingError(AgentMemoryError, ValueError):
    """An embedder raised, or returned something that is not a finite vector of its dimension."""


class ModelError(AgentMemoryError, RuntimeError):
    """A model cannot be loaded: missing, altered, or of an unsupported kind."""


class AdapterRefused(ModelError):
    """An adapter failed the checks that precede loading."""


class ConsolidationError(AgentMemoryError, RuntimeError):
    """A consolidation could not be carried out; the active version is untouched."""


class RunBusy(ConsolidationError):
    """Another run holds this namespace."""


class RunFailed(ConsolidationError):
    """A stage of the run failed."""


class RunInterrupted(ConsolidationError):
    """A run was asked to stop and did, between two steps; the next run goes on from there."""


class LeaseLost(ConsolidationError):
    """The job is held by another worker now; what this one did was refused."""
