"""Distil: the student learns to say without the episode what the teacher says with it.

The teacher's distribution is cached (`targets.py`), so training is: choose items (`plan.py`), run the
student over them in packed rows and step (`student.py`), now and then keep a checkpoint (`checkpoint.py`).
Anchors, whose target is the base's own distribution on unrelated text and unknown names (and scenes, if any),
are in every step.

SELF-PARAM (arXiv 2410.00487) minimises the same forward KL with unrelated text as a regulariser, one pair
at a time, with the teacher run at every step over the whole vocabulary; Doc-to-LoRA's baseline caches
top-16. Ours differs in the tail bucket, in packing, in resting what is learnt, and in that a killed
training ends in the same bytes.

Not known here: questions, exams, SQL. `train` gets items and their targets and leaves one candidate adapter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from agent_memory.config import DistillConfig
from agent_memory.consolidation import checkpoint as checkpoints
from agent_memory.consolidation.checkpoint import Checkpoint
from agent_memory.consolidation.plan import Deck, Plan, passes, peak_rate
from agent_memory.consolidation.student import OnDevice, Student
from agent_memory.consolidation.targets import Item, Targets
from agent_memory.durable import write_file
from agent_memory.errors import InvalidInput, RunFailed
from agent_memory.models.adapters import check
from agent_memory.models.local import LocalModel
from agent_memory.models.worn import Draft

ADAPTER = "adapter"
CHECKPOINT = "checkpoint.safetensors"
DONE = "trained.json"


@dataclass(frozen=True, slots=True)
class Trained:
    """What one training left: the candidate adapter's folder and how it went.

    `tokens` counts what the student read, padding included.
    """

    adapter: Path
    steps: int
    tokens: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is trained on: study items, anchors (unknown names, texts) and scenes of them, with their targets.

    `anchor_targets` are those of texts and scenes, too.
    """

    items: Sequence[Item]
    targets: Targets
    anchors: Sequence[Item]
    anchor_targets: Targets
    texts: Sequence[Item] = ()
    scenes: Sequence[Sequence[Item]] = ()

    @property
    def all_anchors(self) -> list[Item]:
        """The anchors that stand alone, the texts, and those of the scenes."""
        return [*self.anchors, *self.texts, *(item for scene in self.scenes for item in scene)]

    def decks(self, config: DistillConfig) -> tuple[Deck, ...]:
        """Cards of one anchor each, of one text each, and of one scene each."""
        first, last = len(self.anchors), len(self.anchors) + len(self.texts)
        ends = list(accumulate((len(scene) for scene in self.scenes), initial=last))
        return (
            Deck(tuple((n,) for n in range(first)), config.batch_anchors),
            Deck(tuple((n,) for n in range(first, last)), config.batch_texts),
            Deck(tuple(tuple(range(*pair)) for pair in pairwise(ends)), config.batch_scenes),
        )


def train(
    model: LocalModel,
    lessons: Lessons,
    *,
    parent: Path | None,
    config: DistillConfig,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Trained:
    """Trains one adapter on the lessons and leaves it, with its manifest, in `folder / "adapter"`.

    An unfinished training leaves a checkpoint in `folder`, which must be there; a call with the same
    arguments goes on from it and ends in the same bytes, and after the end it returns at once. `parent` is
    the adapter to start from, with its rank and modules, in smaller steps (`DistillConfig.continued`); None
    starts from zero. The model lock is taken per optimiser step. `progress(done, most)` is called after each
    step; `cancelled()` is asked before each.

    Raises:
        InvalidInput: there is no item, or one is longer than the window.
        RunFailed: out of memory even with one sequence; the loss is not finite; or `cancelled()` said so.
        OSError: `folder` is gone, or the disk is full.
        AdapterRefused: the parent failed its checks.
    """
    if not lessons.items:
        raise InvalidInput("nothing to train: no study item")
    identity = _identity(model, lessons, parent=parent, config=config, seed=seed)
    rate = peak_rate(len(lessons.items), config, continued=parent is not None)
    config = config.model_copy(update={"learning_rate": rate})
    if (done := _finished(folder, identity, base=model.fingerprint)) is not None:
        return done
    with model.wearing(None):
        draft = (
            model.worn.continued(parent, seed=seed)
            if parent is not None
            else model.worn.fresh(rank=config.rank, alpha=config.alpha, targets=config.targets, seed=seed)
        )
    try:
        return _run(
            model,
            draft,
            lessons,
            config=config,
            seed=seed,
            folder=folder,
            identity=identity,
            progress=progress or (lambda *_: None),
            cancelled=cancelled or (lambda: False),
        )
    finally:
        with model.wearing(None):
            model.worn.discard(draft)


def _run(
    model: LocalModel,
    draft: Draft,
    lessons: Lessons,
    *,
    config: DistillConfig,
    seed: int,
    folder: Path,
    identity: str,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Trained:
    """The loop, from the checkpoint or from the start, to the adapter on disk."""
    student = Student(
        model,
        draft,
        config=config,
        forward_tokens=model.forward_tokens,
        items=OnDevice.of(lessons.items, lessons.targets, device=model.device),
        anchors=OnDevice.of(lessons.all_anchors, lessons.anchor_targets, device=model.device),
    )
    plan = Plan(
        len(lessons.items),
        decks=lessons.decks(config),
        epochs=passes(len(lessons.items), config),
        batch_items=config.batch_items,
        seed=seed,
    )
    steps = tokens = 0
    if (before := checkpoints.restore(folder / CHECKPOINT, student, identity=identity)) is not None:
        steps, tokens = before.steps, before.tokens
        plan.restore(before.plan)
    while (step := plan.next()) is not None:
        if cancelled():
            raise RunFailed("cancelled while training")
        outcome = student.step(step)
        for item, learnt in zip(step.items, outcome.learnt, strict=True):
            plan.note(item, learnt=learnt)
        steps, tokens = steps + 1, tokens + outcome.tokens
        progress(steps, plan.most_steps())
        if steps % config.checkpoint_steps == 0:
            state = Checkpoint(steps, tokens, plan.state())
            checkpoints.save(folder / CHECKPOINT, student, state, identity=identity)
    with model.wearing(draft):
        model.worn.save(draft, folder / ADAPTER)
    trained = Trained(folder / ADAPTER, steps, tokens, _notes(model, student))
    done = {"identity": identity, **asdict(trained), "adapter": ADAPTER}
    write_file(folder / DONE, json.dumps(done).encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return trained


def _notes(model: LocalModel, student: Student) -> tuple[str, ...]:
    if student.forward_tokens == model.forward_tokens:
        return ()
    return (f"memory ran out: passes of {student.forward_tokens} tokens were used",)


def _identity(
    model: LocalModel, lessons: Lessons, *, parent: Path | None, config: DistillConfig, seed: int
) -> str:
    """A hash over all that decides the outcome."""
    return checkpoints.identity(
        model.fingerprint,
        config.model_dump(),
        seed,
        None if parent is None else check(parent, base=model.fingerprint),
        [asdict(item) for item in (*lessons.items, *lessons.all_anchors)],
        [len(lessons.items), len(lessons.anchors), len(lessons.texts), *map(len, lessons.scenes)],
        *(
            tensor
            for part in (lessons.targets, lessons.anchor_targets)
            for tensor in (part.offsets, part.indices, part.log_probs)
        ),
    )


def _finished(folder: Path, identity: str, *, base: str) -> Trained | None:
    """What a finished training of this identity left, None if there is none."""
    if not (folder / DONE).is_file():
        return None
    done = json.loads((folder / DONE).read_text())
    if done.pop("identity") != identity:
        return None
    check(folder / ADAPTER, base=base)
    return Trained(folder / ADAPTER, done["steps"], done["tokens"], tuple(done["notes"]))
