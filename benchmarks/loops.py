"""The loops that ours is compared with, each as its authors published it, on the same items."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from agent_memory.consolidation.targets import Item

#: LoRA of both loops: the same modules, rank and scale as ours.
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}


def published(
    network: Any,
    items: Sequence[Item],
    anchors: Sequence[Item],
    *,
    rate: float,
    steps: int,
    stop: Callable[[int, Any], bool],
) -> Any:
    """SELF-PARAM's loop: batch 1, a second copy of the model, full-vocabulary KL recomputed at every step.

    One item and then one text to stay close on, each with its own optimiser step (their third, on the
    continuation of the context, is left out). AdamW at a constant rate. `stop(step, student)` is asked after
    each pair. Returns the student.
    """
    from peft import LoraConfig, get_peft_model

    device = next(network.parameters()).device
    teacher = copy.deepcopy(network).eval()
    student = get_peft_model(network, LoraConfig(task_type="CAUSAL_LM", **LORA))
    optimiser = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=rate)
    order = torch.Generator().manual_seed(0)
    for step in range(steps):
        for pool in (items, anchors):
            item = pool[int(torch.randint(len(pool), (), generator=order))]
            count = len(item.answer)
            with torch.no_grad():
                wanted = teacher(input_ids=torch.tensor([[*item.teacher, *item.answer]], device=device)).logits
            found = student(input_ids=torch.tensor([[*item.student, *item.answer]], device=device)).logits
            log_q = found[0, -count - 1 : -1].log_softmax(-1)
            p = wanted[0, -count - 1 : -1].softmax(-1)
            loss = torch.nn.functional.kl_div(log_q, p, reduction="batchmean")
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        if stop(step + 1, student):
            break
    return student


def trl(
    network: Any,
    tokenizer: Any,
    items: Sequence[Item],
    *,
    rate: float,
    epochs: int,
    folder: str,
    stop: Callable[[int, Any], bool],
) -> float:
    """TRL's self-distillation trainer with top-k and the base as teacher; returns its seconds of generation.

    Prompts are the same token sequences as text. TRL has no cached targets and no anchors; answers are
    sampled from the teacher's prompt anew for every batch, one per prompt.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    class Watch(TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, control: Any, **given: Any) -> Any:
            control.should_training_stop = stop(state.global_step, given["model"])
            return control

    class Timed(SDFTTrainer):
        generating = 0.0

        def _generate_transformers(self, *given: Any) -> Any:
            start = time.monotonic()
            try:
                return super()._generate_transformers(*given)
            finally:
                self.generating += time.monotonic() - start

    rows = [
        {"prompt": tokenizer.decode(item.student), "privileged_context": tokenizer.decode(item.teacher)}
        for item in items
    ]
    settings = SDFTConfig(
        output_dir=folder, learning_rate=rate, num_train_epochs=epochs, per_device_train_batch_size=48,
        num_generations=1, max_prompt_length=None, max_completion_length=20, generate_from_teacher=True,
        teacher_prompt_template="{privileged_context}", teacher_model_kind="base", distillation_topk=20,
        distillation_mode="topk_logits", distillation_add_tail=True, distillation_alpha=0.0,
        use_cpu=next(network.parameters()).device.type == "cpu",
        bf16=False, report_to=[], save_strategy="no", logging_strategy="no", lr_scheduler_type="linear",
        gradient_checkpointing=False, disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = Timed(
        model=network, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA), callbacks=[Watch()],
    )  # fmt: skip
    trainer.train()
    return trainer.generating
