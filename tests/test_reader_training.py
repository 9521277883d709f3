"""The reader's training: its tokenizer, its kernel, its network and its clock."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training import attention, network
from training.data import MOST_DOCS, Encoder, Packer
from training.optimiser import orthogonal
from training.tokenizer import END, SPECIAL, for_transformers, train_tokenizer

WORDS = [
    "Mara lives in Lisbon.",
    "The code of Tarvel is 4471.",
    "- [2026-03-01, user] Who leads it?",
    "I do not know.",
]


class SmallWorld:
    """A world of one line."""

    def __init__(self, split: str) -> None:
        self.split = split

    def conversation(self, rng: random.Random, *, stage: float) -> list[dict[str, Any]]:
        name, value = rng.choice(["Mara", "Tarvel", "Olin"]), str(rng.randint(0, 9999))
        return [
            {
                "role": "system",
                "content": f"<memory>\n- [2026-03-01, user] The code of {name} is {value}.\n</memory>",
            },
            {"role": "user", "content": f"What is the code of {name}?"},
            {"role": "assistant", "content": f"{value}.", "learn": True, "skill": "read"},
        ] * rng.randint(1, 3)

    def tokenizer_texts(self, n: int) -> Iterator[str]:
        rng = random.Random(0)
        for _ in range(n // 10):
            yield from (m["content"] for m in self.conversation(rng, stage=1.0))
            yield from WORDS


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(SmallWorld("train").tokenizer_texts(400), vocabulary=400)


@settings(deadline=None, max_examples=200)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.sampled_from(WORDS))
def test_any_text_comes_back_from_its_tokens_unchanged(tokenizer, text):
    if not any(token in text for token in SPECIAL):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_digits_stand_in_groups_of_at_most_two(tokenizer):
    for i in range(tokenizer.get_vocab_size()):
        assert sum(c.isdigit() for c in tokenizer.decode([i], skip_special_tokens=False)) <= 2


def test_a_name_is_the_same_tokens_at_the_start_of_an_answer_and_within_a_sentence(tokenizer):
    alone, within = tokenizer.encode("Tarvel").ids, tokenizer.encode("code of Tarvel").ids
    assert within[-len(alone) :] == alone


def test_rows_are_what_the_chat_template_prints(tokenizer):
    messages = SmallWorld("train").conversation(random.Random(1), stage=0.0)
    wrapped = for_transformers(tokenizer, longest=1024)
    plain = [{"role": m["role"], "content": m["content"]} for m in messages]
    row = Encoder(tokenizer).row(messages)
    assert wrapped.apply_chat_template(plain, return_dict=False) == row.ids
    prompt = wrapped.apply_chat_template(plain[:2], add_generation_prompt=True, return_dict=False)
    assert prompt == row.ids[: len(prompt)]
    start, end, skill = row.learn[0]
    assert (start, skill) == (len(prompt), "read")
    assert row.ids[end - 1] == tokenizer.token_to_id(END)
    assert tokenizer.decode(row.ids[start : end - 1]) == plain[2]["content"]


def test_a_packer_restored_goes_on_with_the_very_next_row(tokenizer):
    def packer():
        return Packer(SmallWorld("train"), Encoder(tokenizer), tokens=300, longest=256, seed="0")

    one, two = packer(), packer()
    one.batch(stage=0.0, seen=0)
    two.restore(json.loads(json.dumps(one.state())))
    assert torch.equal(one.batch(stage=0.0, seen=300).ids, two.batch(stage=0.0, seen=300).ids)


def test_targets_are_the_learnt_tokens_that_follow(tokenizer):
    batch = Packer(SmallWorld("train"), Encoder(tokenizer), tokens=300, longest=256, seed="0").batch(
        stage=0, seen=10**9
    )
    assert len(batch.ids) == 300
    assert len(batch.bounds) == MOST_DOCS + 1
    said = [tokenizer.decode(batch.targets[a:b].tolist()) for a, b, _ in batch.spans]
    assert all(text.removesuffix(".").isdigit() for text in said)


@pytest.mark.skipif(attention.kernel() is None, reason="no C++ compiler here")
def test_the_kernel_and_the_masked_formulation_agree_in_value_and_gradient():
    torch.manual_seed(0)
    bounds = torch.tensor([0, 5, 70, 71, 200, 333, 333])
    turns = network.rotation(256)
    qkv = torch.randn(333, 3, 2, 32).bfloat16()
    gradient = torch.randn(333, 2, 32).bfloat16()
    results = []
    for formulation, given_as in (
        (attention.kernel_attention, qkv),
        (attention.masked_attention, qkv.float()),
    ):
        leaf = given_as.clone().requires_grad_()
        out = formulation(leaf, bounds, *turns)
        out.backward(gradient.to(out.dtype))
        results.append((out.float(), leaf.grad.float()))
    for ours, reference in zip(*results, strict=True):
        assert torch.allclose(ours, reference, atol=0.05, rtol=0.02)  # bfloat16 keeps 8 bits


def test_the_network_gives_the_logits_of_the_llama_that_it_is_exported_as():
    size = network.Size(vocabulary=64, layers=2, width=64, hidden=96, longest=64)
    weights = network.initial(size, seed=0)
    made = torch.Generator().manual_seed(1)
    for name in ("o", "down"):  # zero at first, which would hide them
        weights[name].normal_(0, 0.1, generator=made)
    ids = torch.randint(0, 64, (40,), generator=made)
    bounds = torch.tensor([0, 15, 40])
    states = network.trunk(weights, ids, bounds, network.rotation(64), attention.masked_attention)
    ours = states.float() @ weights["embed"].T
    model = network.llama(weights, size, pad=0, end=1)
    with torch.no_grad():
        theirs = torch.cat([model(input_ids=ids[None, a:b]).logits[0] for a, b in ((0, 15), (15, 40))])
    assert torch.allclose(ours, theirs, atol=0.03)  # bfloat16 products against float32


def test_muon_brings_every_singular_value_near_one():
    torch.manual_seed(0)
    for shape in ((3, 32, 32), (2, 64, 32), (2, 32, 64)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
        assert values.min() > 0.3
        assert values.max() < 1.4


def test_a_run_leaves_a_reader_that_transformers_loads_and_a_resume_goes_on(tmp_path: Path, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from training.reader import train
    from training.worker import Plan

    shared = {
        "minutes": 1000.0,
        "workers": 1,
        "tokens": 256,
        "compiled": False,
        "folder": str(tmp_path / "run"),
    }
    shared["world"] = "tests.test_reader_training:SmallWorld"
    train(Plan(steps=2, **shared), tmp_path / "out", layers=1, width=64, hidden=64)
    monkeypatch.setattr("sys.argv", ["training/reader.py", "--steps", "4", "--resume"])
    again = train(Plan(steps=4, **shared), tmp_path / "out", layers=1, width=64, hidden=64, resume=True)
    assert again.step_number == 4
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert told["steps"] == 4
    assert [stage["tokens"] < told["tokens"] for stage in told["stages"]] == [True, False]
    assert told["stages"][1]["command"] == "python training/reader.py --steps 4 --resume"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    read = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = read.apply_chat_template(
        [{"role": "user", "content": "Mara?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    assert model.generate(**prompt, max_new_tokens=3).shape[1] > prompt["input_ids"].shape[1]
