"""Every knob, by section, with unit, range and why this default.

Where no reason is given, the default was chosen: it works in our benchmarks, and others were not compared. A
part of the memory receives its own section and never the whole. Sections are frozen; make a changed one
with `Config(search=SearchConfig(recency_half_life_days=30))`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from agent_memory.types import Placement, Reader, Retrieval


class Section(BaseModel):
    """A frozen group of settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SelectConfig(Section):
    """Which episodes a run takes up."""

    max_episodes: int = Field(default=500, ge=1)
    """Most new episodes of one run, oldest first; the rest waits for the next."""
    max_per_source: int = Field(default=200, ge=1)
    """Most new episodes of one run from one source that is not trusted by default: a guard against floods."""
    rehearsal_items: int = Field(default=1200, ge=0)
    """Most study items of earlier episodes trained again; caps the time of the twentieth run. In a trial
    (that of `DistillConfig.continued`, at the whole rate) 600 took a third less time, and kept 77 % of what
    was asked about earlier episodes, not 86."""
    rebuild_every: int = Field(default=0, ge=0)
    """A run from zero over cached items after so many runs that continued; 0 never."""
    dry_run_episodes: int = Field(default=20, ge=1)
    """Episodes that a dry run samples; fixed by the issue of consolidation at 20."""


class StudyConfig(Section):
    """How questions about episodes are written, answered and split."""

    rounds: int = Field(default=2, ge=1)
    """Turns of a writing conversation: each after the first asks for questions that were not written yet."""
    samples: int = Field(default=4, ge=1)
    """Conversations after the same first turn: one greedy, the others sampled, for breadth of phrasing."""
    temperature: float = Field(default=0.8, gt=0, le=2)
    """Of the sampled turns."""
    max_questions: int = Field(default=48, ge=1)
    """Most distinct questions kept per episode, before the teacher answers them."""
    max_question_tokens: int = Field(default=160, ge=8)
    """Longest list of questions that the writer may return in one turn."""
    max_answer_tokens: int = Field(default=32, ge=1)
    """Longest answer of the teacher; a longer one is cut and the item dropped."""
    top_k: int = Field(default=20, ge=1)
    """Log-probabilities kept per answer token; 16-20 lose nothing against all of them (Tinker, SDFT). A
    change holds for new items; a run trains all with as many as the fewest of its items have."""
    transfer: int = Field(default=10, ge=0)
    """Questions per group borrowed from other episodes, names replaced; the teacher must answer them."""
    nearest: int = Field(default=3, ge=0)
    """Earlier episodes per new one whose questions are asked again, to find facts that changed."""
    neighbours: int = Field(default=2, ge=0)
    """Messages before and after in the same session that the teacher sees beside an episode."""


class DistillConfig(Section):
    """How the student is trained."""

    rank: int = Field(default=16, ge=1)
    """Of the LoRA matrices."""
    targets: Literal["all-linear", "mlp", "down_proj", "q_v", "gate_up"] = "all-linear"
    """Modules that carry LoRA; see the ablation in `benchmarks/consolidation.py`."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Peak, for Muon on LoRA of the bundled reader, in AdamW's terms; 1.5e-2 broke it. Larger want less."""
    whole_rate_steps: int = Field(default=120, ge=1)
    """Optimiser steps of a pass up to which that rate is taken; beyond, it falls with the root of their
    number (`plan.peak_rate`). 100 episodes make 240 steps a pass: in trials on one set of them (not recorded
    benchmarks) 1, 0.7 and 0.5 of the rate gave 91.2, 93.7 and 92.7 % right, the second in fewer steps than
    the first. With 500, which make 1,330, the whole rate taught nothing in an hour
    (`benchmarks/consolidation.py run --episodes 500` at b30959f: rejected)."""
    continued: float = Field(default=0.3, gt=0, le=1)
    """The share of that with which a run goes on from a version. In a trial (5 episodes after 45, not a
    recorded benchmark) the whole rate lost 14 points of what was known, this share 2, and it learnt more."""
    epochs: int = Field(default=5, ge=1)
    """Passes over the study items that every run may make."""
    more_steps: int = Field(default=110, ge=0)
    """Optimiser steps that a run may take beyond those, in whole passes, up to `plan.MOST_PASSES` in all:
    what few items need."""
    batch_items: int = Field(default=48, ge=1)
    """Study items per optimiser step; passes are halved when memory runs out. In trials (100 episodes, not
    recorded benchmarks) half as many, in steps of less rate, taught less in the same time."""
    batch_anchors: int = Field(default=32, ge=0)
    """Unknown-name questions per optimiser step."""
    batch_texts: int = Field(default=4, ge=0)
    """Unrelated conversations per optimiser step."""
    batch_scenes: int = Field(default=0, ge=0)
    """Blocks with questions about them per optimiser step, for versions that are to read (see
    `PromptConfig.reader`); each has some 500 tokens, so two take about as long as all else."""
    alpha: float = Field(default=32.0, gt=0)
    """LoRA's scale, alpha / rank, with the rank above: 2 (chosen)."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """Share of the run over which the learning rate rises; it then falls to zero in a straight line."""
    max_gradient: float = Field(default=1.0, gt=0)
    """Norm at which gradients are clipped."""
    anchor_weight: float = Field(default=3.0, ge=0)
    """Of the mean loss per anchor, against the mean loss per answer token."""
    learnt: float = Field(default=0.9, gt=0, lt=1)
    """An item is learnt where each answer token has at least this share of the teacher's probability."""
    sentences: int = Field(default=12, ge=0)
    """In how many sentences a fact is trained: the questions of a group, and as many further wordings of them
    around the same words as are missing: three of each at most, and at least half as many as there are
    questions. 0: the questions alone. English, so for the bundled reader alone."""
    checkpoint_steps: int = Field(default=50, ge=1)
    """Optimiser steps between checkpoints: what a kill costs."""
    unknown_items: int = Field(default=2000, ge=0)
    """Anchors about names that never occurred; without many the student answers anything (measured)."""
    scenes: int = Field(default=200, ge=0)
    """Blocks, with some ten questions about each, by which reading is kept; of use with `batch_scenes`."""
    text_items: int = Field(default=120, ge=0)
    """Anchors that are unrelated conversations, half written by us, half sampled by the base."""


class ExamConfig(Section):
    """How much a version is examined."""

    earlier_items: int = Field(default=1000, ge=0)
    """Most exam items of earlier episodes; sampled beyond."""
    scenes: int = Field(default=15, ge=1)
    """Blocks, with some seven questions about each, to see that reading is kept."""
    unknown_items: int = Field(default=200, ge=1)
    """Questions about names that never occurred, to see that the model still abstains."""
    anchor_items: int = Field(default=64, ge=1)
    """Unrelated texts on which perplexity and KL to the base are measured."""


class GateConfig(Section):
    """What a candidate must keep to be promoted. Shares in points of 0 to 1."""

    max_reading_lost: float = Field(default=0.03, ge=0, le=1)
    """Share of reading items right under the base and wrong under the candidate, net of the reverse; held
    against a candidate that is to read (`PromptConfig.reader`)."""
    max_perplexity_rise: float = Field(default=0.03, ge=0)
    """Relative rise of perplexity on examined anchors."""
    min_abstention: float = Field(default=0.9, ge=0, le=1)
    """Share of the unknown-name questions that the base leaves unanswered; the candidate must as well."""
    max_retention_lost: float = Field(default=0.05, ge=0, le=1)
    """Share of earlier episodes' exam items lost against the parent version, net of the reverse, beyond what
    chance explains in an exam of that size."""
    min_gain: float = Field(default=0.1, ge=0, le=1)
    """Share of the new exam items that the base cannot answer which the candidate must, but for chance: a
    training that collapsed under too high a learning rate answers none, and loses nothing else. By default
    none right is too few from 25 items on."""


class ConsolidationConfig(Section):
    """The slow half, stage by stage."""

    select: SelectConfig = SelectConfig()
    study: StudyConfig = StudyConfig()
    distill: DistillConfig = DistillConfig()
    exam: ExamConfig = ExamConfig()
    gate: GateConfig = GateConfig()


class IndexConfig(Section):
    """The vector index beside the record."""

    index_from: int = Field(default=3000, ge=1)
    """Episodes of a namespace from which it has a Chroma index; below, all vectors are compared, which is
    exact and needs no upkeep. At 3,000 both take as long (`benchmarks/search.py`, table "ways")."""
    batch: int = Field(default=1000, ge=1, le=5000)
    """Vectors written to the index at once; Chroma takes 5,461 at most."""
    drain_from: int = Field(default=500, ge=1)
    """Waiting vectors at which they are written; fewer are compared exactly with each query."""
    reopen_from: int = Field(default=2000, ge=1)
    """Vectors that an open index has not seen, at which it is closed and opened anew."""
    max_open: int = Field(default=8, ge=1)
    """Indexes that are open at once; the one unused longest is closed."""
    close_seconds: float = Field(default=5.0, ge=0)
    """Longest time that `close()` waits for waiting vectors to be written."""


class ModelConfig(Section):
    """The base model, and how it is run."""

    name: str | None = None
    """A folder, or a name in the local Hugging Face cache; None is the bundled reader."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Auto takes CUDA for a named model where there is one; the bundled reader stays on the CPU."""
    allow_download: bool = False
    """Whether a name that is not in the local cache may be fetched from the Hugging Face hub."""
    batch_size: int = Field(default=64, ge=1)
    """Prompts decoded at once."""
    forward_tokens: int | None = Field(default=None, ge=64)
    """Most tokens of one forward pass over packed rows; None follows from the model's size."""


class PromptConfig(Section):
    """How recalled episodes reach the model."""

    placement: Placement = "system"
    """End of the system message, or before the last user message (for models that ignore system text)."""
    reader: Reader = "base"
    """Who reads a block and earlier turns. "base": the bare base, as well as it ever did; where it declines,
    the served version is asked the question alone. "version": the served version, for bases that keep their
    reading (train with `DistillConfig.batch_scenes`; the gate then rejects what lost it)."""
    budget_tokens: int = Field(default=700, ge=16)
    """Most tokens of a context block in `ask` and `chat`; leaves a third of the bundled reader's window."""
    retrieval: Retrieval | None = None
    """What `ask` and `chat` recall unless told. None is what `benchmarks/consolidation.py` shows to be best:
    lean where a version can tell how certain it is (the bundled reader's, unless it reads by itself), else
    all."""
    most_episodes: int | None = Field(default=None, ge=1)
    """Search results that a block may use, within its budget. None: ten; two where the bundled reader reads
    it, which loses its place among more (right by number of results: `benchmarks/consolidation.py`) and needs
    two to see that something has changed."""
    max_answer_tokens: int = Field(default=64, ge=1)
    """Longest answer of `ask` and `chat`."""


class SearchConfig(Section):
    """How episodes are found and ranked; weights were chosen on LoCoMo (`benchmarks/retrieval.py`)."""

    candidates: int = Field(default=200, ge=10, le=5000)
    """Best episodes taken from the words and from the vectors each; a larger `k` raises it."""
    vector_weight: float = Field(default=1.0, ge=0)
    """Weight of the standardised vector score beside the lexical one; 0 leaves the words alone."""
    neighbour_share: float = Field(default=0.4, ge=0, le=1)
    """Share of its score that a found message gives to the next and the one before in its session."""
    neighbour_decay: float = Field(default=0.5, ge=0, le=1)
    """What is left of that share with each step further."""
    neighbour_reach: int = Field(default=3, ge=0, le=10)
    """Furthest step; 0 turns neighbours off."""
    neighbour_givers: int = Field(default=60, ge=1)
    """Found messages, the best, that give a share; more changed no recall by more than 0.3 points."""
    recency_weight: float = Field(default=0.0, ge=0)
    """Points for an episode of now, in standard deviations of the scores; 0: time does not count, which is
    best where questions reach back over the whole history."""
    recency_half_life_days: float = Field(default=30.0, gt=0)
    """Age at which half of those points is left (chosen)."""
    bm25_k1: float = Field(default=0.9, ge=0)
    """How much repetition of a term counts."""
    bm25_b: float = Field(default=0.4, ge=0, le=1)
    """How much long texts are discounted."""
    postings: int = Field(default=30_000, ge=100)
    """Most postings read for one query; terms beyond are counted for candidates only. Bounds the latency."""
    query_terms: int = Field(default=48, ge=1)
    """Most distinct terms of a query that are looked up."""
    max_k: int = Field(default=1000, ge=1)
    """Largest `k`."""


class StoreConfig(Section):
    """The record: its limits, and how long it waits."""

    max_text_bytes: int = Field(default=1_000_000, ge=1)
    """Longest text of an episode in UTF-8 bytes; some 700 pages: what is longer is a document to be split."""
    max_metadata_bytes: int = Field(default=65_536, ge=2)
    """Largest metadata of an episode, as JSON."""
    max_metadata_depth: int = Field(default=8, ge=1)
    """Deepest nesting of metadata."""
    max_name_characters: int = Field(default=512, ge=1)
    """Longest id of a user, agent or session, source, role or idempotency key."""
    max_batch: int = Field(default=100_000, ge=1)
    """Most items of one `add_many`, which is one transaction."""
    duplicate_window_seconds: float = Field(default=3600.0, ge=0)
    """How long the same content in the same session, role and source counts as a repetition; 0 never.
    An hour covers a client that retries, and not a user who says the same thing on another day (chosen)."""
    busy_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long SQLite waits for a lock that a process outside our queue of writers holds."""
    page_cache_mib: int = Field(default=16, ge=1)
    """Page cache of one SQLite connection in MiB."""


class TrustConfig(Section):
    """Whose words may be learnt."""

    trusted_sources: tuple[str, ...] = ("user", "operator")
    """Sources trusted by default; everything else is untrusted until approved."""


class Config(Section):
    """All sections."""

    consolidation: ConsolidationConfig = ConsolidationConfig()
    index: IndexConfig = IndexConfig()
    model: ModelConfig = ModelConfig()
    prompt: PromptConfig = PromptConfig()
    search: SearchConfig = SearchConfig()
    store: StoreConfig = StoreConfig()
    trust: TrustConfig = TrustConfig()
