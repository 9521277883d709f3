"""Makes the bundled reader from nothing.

    python training/reader.py --out agent_memory/models/reader --minutes 90 --seed 0

World, tokenizer, training, export, with one seed. On a CPU one process trains on each core: a worker packs
its own batches, runs one thread, and meets the others twice a step, when gradients are summed in shared
memory and when each has updated its share of the weights. (One process with two threads meets at every
operation instead, which a loaded machine turns into waiting.) The learning rate warms up, stays, and falls
to zero over three quarters of `--minutes`, so a run always ends finished; hence runs of one seed see the
same data, yet end where the machine's speed puts them. Checkpoints go to `runs/reader/`, and `--resume`
continues from the last, on whichever device. `kill -USR1` exports at once.

With `--device cuda` one process trains on a larger batch, with weights, gradients and the optimiser's state
on the device and PyTorch's own attention. No CUDA device was at hand: that path shares all its code but the
attention with the CPU's, a test runs a step of it on the "meta" device, and CUDA itself was never run.

What it does not know: what is true in the world (world.py), and how good the reader is
(benchmarks/reader.py).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script, this file's own folder comes first
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 the path comes first, here and below
from tokenizers import Tokenizer  # noqa: E402
from torch import multiprocessing  # noqa: E402

from training.network import Size  # noqa: E402
from training.tokenizer import train_tokenizer  # noqa: E402
from training.worker import Plan, Shared, Worker, load_world  # noqa: E402

GATHER = 20_000  # conversations that the tokenizer sees
#: The defaults that differ on CUDA; the batch is chosen, not measured.
ON_CUDA = {"workers": 1, "tokens": 8192}


def plan_of(given: dict[str, Any]) -> Plan:
    """The settings given, over the defaults of their device.

    Raises:
        ValueError: several workers on CUDA, or no CUDA device there.
    """
    device = given.get("device", Plan.device)
    plan = Plan(**({} if device == "cpu" else ON_CUDA) | given)
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"torch sees no CUDA device for --device {device}")
    return plan


def prepare(plan: Plan) -> Tokenizer:
    """Trains the tokenizer on the world's text and keeps it with the checkpoints."""
    world = load_world(plan.world, split="train")
    tokenizer = train_tokenizer(itertools.islice(world.tokenizer_texts(GATHER), GATHER))
    Path(plan.folder).mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(Path(plan.folder) / "tokenizer.json"))
    return tokenizer


def work(rank: int, shared: Shared, size: Size, plan: Plan, resume: bool) -> None:
    """What a process beside the first does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        Worker(rank, shared, size, plan, resume=resume).run()
    except BaseException:
        shared.barrier.abort()  # the others stop waiting for this one
        raise


def train(plan: Plan, out: Path, *, layers: int, width: int, hidden: int, resume: bool = False) -> Worker:
    """A whole run, exported to `out`; returns the first worker, for its record."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    last = Path(plan.folder) / "last"
    resume = resume and last.exists()
    tokenizer = Tokenizer.from_file(str(last.with_name("tokenizer.json"))) if resume else prepare(plan)
    size = Size(vocabulary=tokenizer.get_vocab_size(), layers=layers, width=width, hidden=hidden)
    if resume:
        place = last.with_name(last.read_text())
        size = Size(**json.loads((place / "state.json").read_text())["size"])
    shared = Shared.make(size, plan)
    if resume:
        kept = torch.load(place / "state.pt", weights_only=True, map_location="cpu")
        for name, tensor in kept.items():
            getattr(shared, name).copy_(tensor)
        shared.control[0] = json.loads((place / "state.json").read_text())["progress"]
    torch.set_num_threads(1)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=work, args=(rank, shared, size, plan, resume), daemon=True)
        for rank in range(1, plan.workers)
    ]
    for process in others:
        process.start()
    first = Worker(0, shared, size, plan, resume=resume)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(first, "asked_to_export", True))
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: setattr(first, "asked_to_stop", True))
    print(f"{size.parameters() / 1e6:.2f} M parameters, {size}", flush=True)
    first.run()
    for process in others:
        process.join(timeout=60)
    first.export(out)
    return first


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the bundled reader from nothing.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the folder")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--hidden", type=int, default=512)
    for name, value in asdict(Plan()).items():
        if name != "compiled":
            special = f"; {ON_CUDA[name]} on CUDA" if name in ON_CUDA else ""
            parser.add_argument(f"--{name}", type=type(value), help=f"{value} unless given{special}")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    options = vars(parser.parse_args())
    given = {name: options.pop(name) for name in asdict(Plan()) if name in options}
    try:
        plan = plan_of(
            {name: value for name, value in given.items() if value is not None}
            | {"compiled": not options.pop("eager")}
        )
    except ValueError as error:
        parser.error(str(error))
    with contextlib.suppress(AttributeError):
        multiprocessing.set_sharing_strategy("file_system")
    train(plan, options.pop("out"), **options)


if __name__ == "__main__":
    main()
