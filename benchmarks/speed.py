"""How fast and how lean is consolidation, against the loops that people would write or install instead?

    python benchmarks/speed.py time       20 episodes to the same exam score: ours, the published loop, TRL
    python benchmarks/speed.py memory     peak memory at the shape of Qwen2.5-0.5B, ours and the published loop
    python benchmarks/speed.py shapes [--sizes 0.5B 1.5B 7B]   tokens/s on random weights, and how much of a
                                          large matrix product's speed the model's own operations reach

Each measurement runs in a process of its own. `time` gives every loop the same study items, LoRA modules
and anchors (TRL knows none); what it takes to check the score is not counted. Wall time depends on what
else the machine does, so processor seconds of the process stand beside it. `--limit` stops a loop after so
many minutes and says "more than". `--device cuda` measures on a GPU, and its memory there. TRL runs in an
environment that the benchmark makes (`environments.py`); `--rivals published` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent_memory.config import Config, ConsolidationConfig, DistillConfig
from benchmarks import environments
from benchmarks.record import ROOT, peak_mb, portable, record

BASES = ROOT / "runs" / "benchmarks"  # where bases of random weights are made
SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 1000},
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "vocab_size": 151936},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151936},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False},
}  # fmt: skip
TRL = ("trl==1.16.0", "datasets>=4", "accelerate")  # `loops.trl` uses what TRL calls experimental
EPISODE = 20  # study items that stand for an episode in `shapes` (chosen)
TRIED = 5  # matrix products by which a device's speed is measured
CHECK_SECONDS = 15.0  # of work between two looks at the exam score
# Each item once and no more, for `memory` and `shapes`; random weights learn nothing (chosen).
ONE_PASS = DistillConfig(epochs=1, more_steps=0, batch_items=20, batch_anchors=20, learnt=0.999)


class Clock:
    """Wall and processor seconds of work, without what happens while it is stopped.

    On a GPU it waits for what was begun there, whenever it is started or stopped.
    """

    def __init__(self, device: str) -> None:
        self.wall = self.processor = 0.0
        self._device = device
        self.start()

    def start(self) -> None:
        """Goes on."""
        wait_for(self._device)
        self._from = (time.monotonic(), time.process_time())

    def stop(self) -> None:
        """Adds what has passed."""
        wait_for(self._device)
        self.wall += time.monotonic() - self._from[0]
        self.processor += time.process_time() - self._from[1]

    def read(self) -> dict[str, float]:
        """Both, rounded."""
        return {"seconds": round(self.wall, 2), "processor_seconds": round(self.processor, 2)}


def wait_for(device: str) -> None:
    """Until all that was begun on a GPU is done."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def attainable(device: str) -> float:
    """Operations a second in one large matrix product on the device, in the type that training uses there."""
    import torch

    size, dtype = (8192, torch.bfloat16) if device.startswith("cuda") else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b  # the first is slower
    clock = Clock(device)
    for _ in range(TRIED):
        a @ b
    clock.stop()
    return TRIED * 2 * size**3 / clock.wall


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Answers, targets and training of ours, as a run does them."""
    import torch

    from agent_memory.consolidation import distill, targets
    from agent_memory.models.local import LocalModel
    from benchmarks.material import answered, material, score

    torch.set_num_threads(args.threads)
    model = LocalModel.open(args.model, device=args.device)
    some = material(model, episodes=args.episodes, seed=args.seed)
    before = peak_mb(args.device)
    clock, teacher = Clock(args.device), Clock(args.device)
    with model.wearing(None):
        items, anchors = answered(model, some)
    cached = [targets.compute(model, pool) for pool in (items, anchors)]
    teacher.stop()
    with tempfile.TemporaryDirectory() as folder:
        trained = distill.train(
            model, distill.Lessons(items, cached[0], anchors, cached[1]), parent=None,
            config=DistillConfig(), seed=args.seed, folder=Path(folder),
        )  # fmt: skip
        clock.stop()
        peak = peak_mb(args.device)
        with model.wearing(trained.adapter):
            reached = score(model, some.exam, some.right)
        with model.wearing(None):
            oracle = score(model, some.exam_in_context, some.right)
    return {
        **clock.read(), "teacher": teacher.read(), "score": reached, "oracle": oracle, "steps": trained.steps,
        "items": len(items), "exam": len(some.right), "tokens": trained.tokens, "peak_mb": peak - before,
    }  # fmt: skip


def rival(args: argparse.Namespace) -> dict[str, Any]:
    """The published loop or TRL's, until the exam score of ours is reached or the time is over."""
    import torch

    from agent_memory.models.local import LocalModel
    from benchmarks import loops
    from benchmarks.material import answered, material, score

    if args.worker == "trl":  # imports are nobody's work
        import trl.experimental.sdft  # noqa: F401
    torch.set_num_threads(args.threads)
    model = LocalModel.open(args.model, device=args.device)
    some = material(model, episodes=args.episodes, seed=args.seed)
    with model.wearing(None, training=True) as network:
        items, anchors = answered(model, some)
        found: dict[str, Any] = {"score": 0.0}
        clock = Clock(args.device)
        checked = 0.0

        def stop(step: int, student: Any) -> bool:
            nonlocal checked
            clock.stop()
            if clock.wall - checked >= CHECK_SECONDS:
                checked = clock.wall
                was_training = student.training
                student.eval()
                found.update(score=max(found["score"], score(model, some.exam, some.right)), steps=step)
                student.train(was_training)
            over = found["score"] >= args.score or clock.wall > 60 * args.limit
            clock.start()
            return bool(over)

        if args.worker == "published":
            loops.published(network, items, anchors, rate=args.rate, steps=10**7, stop=stop)
        else:
            from importlib.metadata import version

            from transformers import AutoTokenizer

            found["trl"] = version("trl")
            with tempfile.TemporaryDirectory() as folder:
                found["generation_seconds"] = round(loops.trl(
                    network, AutoTokenizer.from_pretrained(model.folder), items, rate=args.rate, epochs=1000,
                    folder=folder, stop=stop,
                ), 2)  # fmt: skip
        clock.stop()
    return {**clock.read(), **found, "reached": found["score"] >= args.score, "rate": args.rate}


def shape(args: argparse.Namespace) -> dict[str, Any]:
    """One pass over items of equal length on random weights: ours, or the published loop."""
    import torch

    from agent_memory.consolidation import distill, targets
    from agent_memory.consolidation.targets import Item
    from agent_memory.models.local import LocalModel
    from benchmarks import loops

    torch.set_num_threads(args.threads)
    folder = _random_base(args.shape)
    imported = peak_mb(args.device)
    model = LocalModel.open(folder, device=args.device)
    draw = torch.Generator().manual_seed(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 900, (count,), generator=draw).tolist())

    items = [Item(f"{i}", ids(256), ids(48), ids(16)) for i in range(args.items)]
    anchors = [Item(f"a{i}", (own := ids(48)), own, ids(16)) for i in range(args.items)]
    clock = Clock(args.device)
    if args.loop == "ours":
        cached = [targets.compute(model, pool) for pool in (items, anchors)]
        with tempfile.TemporaryDirectory() as run:
            distill.train(
                model, distill.Lessons(items, cached[0], anchors, cached[1]), parent=None,
                config=ONE_PASS, seed=0, folder=Path(run),
            )  # fmt: skip
    else:
        with model.wearing(None, training=True) as network:
            loops.published(network, items, anchors, rate=1e-4, steps=len(items), stop=lambda *_: False)
    clock.stop()
    tokens = sum(len(item.student) + len(item.answer) for item in (*items, *anchors))
    parameters = sum(p.numel() for p in model.worn.network.parameters())
    head = model.worn.network.get_output_embeddings().weight
    tied = head is model.worn.network.get_input_embeddings().weight
    body = parameters - head.numel() * (1 if tied else 2)
    predicted = sum(len(item.answer) for item in (*items, *anchors))
    peak = peak_mb(args.device) - imported
    # Forward, and backward to what the adapters need; the head where something is predicted.
    flops = 4 * (body * tokens + head.numel() * predicted) / clock.wall
    return {
        **clock.read(), "student_tokens": tokens, "tokens_per_second": round(tokens / clock.wall, 1),
        "seconds_per_episode": round(clock.wall * EPISODE / len(items), 3),
        "parameters": parameters, "peak_mb": peak, "model_flops_per_second": round(flops),
        "model_flop_utilisation": round(flops / attainable(args.device), 4),
    }  # fmt: skip


def _random_base(name: str) -> Path:
    """A folder with a Qwen2 of this shape and random weights, made once; its tokenizer reads bytes."""
    folder = BASES / f"random-{name}"
    if not (folder / "config.json").exists():
        code = (
            "import sys, torch; from pathlib import Path; from transformers import Qwen2Config, Qwen2ForCausalLM;"
            "from agent_memory.testing import tiny_model; torch.manual_seed(0);"
            f"folder = tiny_model(Path({str(folder)!r}));"
            f"settings = dict({{'tie_word_embeddings': True}}, **{SHAPES[name]!r});"
            "torch.set_default_dtype(torch.bfloat16);"
            "Qwen2ForCausalLM(Qwen2Config(**settings)).save_pretrained(folder)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return folder


def _apart(worker: str, args: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    """One measurement in a fresh process; of TRL, in the environment that has it."""
    given = {**vars(args), **changes, "worker": worker}
    python = environments.python_with("trl", TRL) if worker == "trl" else sys.executable
    done = subprocess.run(
        [str(python), __file__, "worker", "--given", json.dumps(given, default=str)],
        check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(worker, changes, found, flush=True)
    return found


def time_row(args: argparse.Namespace) -> dict[str, Any]:
    """Ours, then each rival to the score that ours reached."""
    if "trl" in args.rivals:
        environments.python_with("trl", TRL)  # what cannot be had is said at once
    mine = _apart("ours", args)
    rows: dict[str, Any] = {"ours": mine}
    for name in args.rivals:
        try:
            rows[name] = _apart(name, args, score=mine["score"])
        except subprocess.CalledProcessError as error:  # what was measured before is worth keeping
            rows[name] = {"failed": error.returncode}
        else:
            for unit in ("seconds", "processor_seconds"):
                rows[name][f"ours_to_this_{unit}"] = round(mine[unit] / rows[name][unit], 4)
            if not rows[name]["reached"]:
                print(f"{name}: more than {rows[name]['seconds']:.0f} s", flush=True)
    return rows


def memory_row(args: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of ours and of the published loop, at one shape."""
    name = args.sizes[0]
    _random_base(name)
    rows = {loop: _apart("shape", args, loop=loop, shape=name) for loop in ("ours", "published")}
    return {**rows, "shape": name, "ratio": round(rows["ours"]["peak_mb"] / rows["published"]["peak_mb"], 3)}


def shapes_row(args: argparse.Namespace) -> dict[str, Any]:
    """Both loops on random weights of several sizes."""
    rows = {}
    for name in args.sizes:
        _random_base(name)
        rows[name] = {loop: _apart("shape", args, loop=loop, shape=name) for loop in ("ours", "published")}
    return rows


ROWS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "time": time_row, "memory": memory_row, "shapes": shapes_row,
}  # fmt: skip
WORKERS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "ours": ours, "published": rival, "trl": rival, "shape": shape,
}  # fmt: skip


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line as read; of this process, unless arguments are passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=[*ROWS, "worker"])
    parser.add_argument("--given", help="the settings of a measurement, as JSON")
    parser.add_argument("--model", help="a base; the bundled reader by default")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=20.0, help="minutes of work after which a rival stops")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of the rivals")
    rivals = ["published", "trl"]
    parser.add_argument("--rivals", nargs="*", choices=rivals, default=rivals)
    parser.add_argument("--sizes", nargs="+", choices=list(SHAPES), default=["0.5B"])
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args(arguments)


def settings_of(row: str) -> Config:
    """The settings that ours is measured with in a row."""
    distill = ONE_PASS if row in ("memory", "shapes") else DistillConfig()
    return Config(consolidation=ConsolidationConfig(distill=distill))


def main() -> None:
    """Runs one row, or one measurement of it."""
    args = options()
    if args.row == "worker":
        given = argparse.Namespace(**json.loads(args.given))
        print(json.dumps(WORKERS[given.worker](given)))
        return
    rows = ROWS[args.row](args)
    given = {k: portable(str(v)) if k == "model" and v else v for k, v in vars(args).items()}
    payload = {"options": given, "rows": rows}
    print(record(f"speed-{args.row}", payload, seed=args.seed, settings=settings_of(args.row)))


if __name__ == "__main__":
    main()
