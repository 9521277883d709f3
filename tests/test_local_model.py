"""A local model says what it would say alone, wears one adapter at a time, and never changes its base."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from agent_memory.config import ModelConfig
from agent_memory.errors import AdapterRefused, InvalidInput, ModelError
from agent_memory.models import chat, forms, loading
from agent_memory.models.adapters import WEIGHTS
from agent_memory.models.arithmetic import fast_float32
from agent_memory.models.local import LocalModel
from agent_memory.models.lock import FairLock
from agent_memory.models.packing import Form, Span
from agent_memory.testing import tiny_model
from tests.memories import noisy_adapter

QUESTIONS = ["Who?", "Where does Ada live?", "Where does Ada work now?", "Where", "Which of them is older?"]


def messages(question: str, block: str = "") -> list[dict[str, str]]:
    return [{"role": "system", "content": f"Be brief.{block}"}, {"role": "user", "content": question}]


@pytest.fixture
def prompts(model: LocalModel) -> list[list[int]]:
    long = "\n- [2026-01-01, user] Ada lives in Rome.\n- [2026-01-02, user] Bob is older."
    return [model.prompt_ids(messages(q, block)) for block in ("", long) for q in QUESTIONS]


def said(model: LocalModel, prompts: list[list[int]], adapter: Path | None) -> list[list[int]]:
    with model.wearing(adapter):
        return model.generate(prompts, max_new_tokens=10)


def state_of(model: LocalModel) -> dict[str, bytes]:
    """The base's own weights, by bytes."""
    with model.wearing(None) as network:
        return {
            name.replace(".base_layer", ""): tensor.numpy().tobytes()
            for name, tensor in network.state_dict().items() if ".lora_" not in name
        }


# -- generation

def test_batches_with_shared_prefixes_answer_as_each_prompt_alone(
    model: LocalModel, prompts: list[list[int]]
) -> None:
    with model.wearing(None) as network:
        together = model.generate(prompts, max_new_tokens=10)
        for prompt, answer in zip(prompts, together, strict=True):
            alone = network.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False)
            assert answer == alone[0, len(prompt) :].tolist()


def test_answers_end_with_the_end_token_or_are_full(model: LocalModel, prompts: list[list[int]]) -> None:
    for answer in said(model, prompts, None):
        assert len(answer) == 10 or answer[-1] in model.end_ids
        assert not set(answer[:-1]) & model.end_ids


def test_a_sampled_answer_depends_on_its_seed_and_place_and_not_on_its_batch(
    base: Path, prompts: list[list[int]]
) -> None:
    answers = []
    for size in (1, 3, 64):
        model = LocalModel.open(base, config=ModelConfig(batch_size=size))
        with model.wearing(None):
            answers.append(model.generate(prompts, max_new_tokens=8, temperature=1.0, top_p=0.9, seed=5))
            other = model.generate(prompts, max_new_tokens=8, temperature=1.0, top_p=0.9, seed=6)
        assert other != answers[-1]
    assert answers[0] == answers[1] == answers[2]


def test_sampling_keeps_to_the_most_probable_tokens(model: LocalModel, prompts: list[list[int]]) -> None:
    with model.wearing(None):
        greedy = model.generate(prompts, max_new_tokens=6)
        assert model.generate(prompts, max_new_tokens=6, temperature=1.0, top_p=1e-6, seed=1) == greedy


def test_a_prompt_that_leaves_no_room_is_refused(model: LocalModel) -> None:
    with model.wearing(None), pytest.raises(InvalidInput, match="window of 1024"):
        model.generate([[5] * 1020], max_new_tokens=10)
    with model.wearing(None), pytest.raises(InvalidInput):
        model.generate([[]], max_new_tokens=10)
    with model.wearing(None):
        assert model.generate([], max_new_tokens=10) == []


# -- scoring

@pytest.mark.parametrize("form", ["ragged", "packed", "padded"])
def test_scores_are_those_of_each_sequence_alone(
    model: LocalModel, prompts: list[list[int]], form: Form
) -> None:
    model.form = form
    answers = said(model, prompts, None)
    with model.wearing(None) as network:
        scores = model.log_probs(prompts, answers)
        for prompt, answer, score in zip(prompts, answers, scores, strict=True):
            logits = network(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
            alone = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(score), alone, atol=1e-4, rtol=1e-4)


def test_a_model_that_mixes_packed_rows_is_found_out_and_padded(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "base", layer_types=["full_attention", "full_attention"])
    model = LocalModel.open(folder)
    assert model.form == "ragged"
    assert model.notes == ()
    sliding = tiny_mistral(tmp_path / "sliding", folder)
    model = LocalModel.open(sliding)
    assert model.form == "packed"
    assert model.notes == ("packing: the packed form is used for this model",)
    ids = [model.prompt_ids(messages(q)) for q in QUESTIONS]
    with model.wearing(None) as network:
        for prompt, answer in zip(ids, model.generate(ids, max_new_tokens=6), strict=True):
            alone = network.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)
            assert answer == alone[0, len(prompt) :].tolist()


def tiny_mistral(folder: Path, tokenizer: Path) -> Path:
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=261, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=8, initializer_range=0.2, bos_token_id=256, eos_token_id=257,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def test_a_form_that_goes_wrong_on_long_texts_only_is_found_out_when_it_is_tried_on_them(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = forms._through

    def through(model: LocalModel, spans: Any, *, form: Form) -> torch.Tensor:
        wrong = form == "ragged" and any(len(span.ids) > 40 for span in spans)
        return real(model, spans, form=form) + wrong

    monkeypatch.setattr(forms, "_through", through)
    model.form = "ragged"
    sequences = [[5 + n, *range(20, 60 + n)] for n in range(3)]
    assert model.try_form([ids[:30] for ids in sequences]) == ()
    assert model.form == "ragged"
    assert model.try_form(sequences) == ("packing: the packed form is used for this model",)
    assert model.form == "packed"
    monkeypatch.setattr(forms, "_agrees", lambda *_, **__: False)
    model.try_form(sequences)
    assert model.form == "padded", "the last resort"


def test_a_head_with_a_soft_cap_is_computed_as_the_model_does(tmp_path: Path, base: Path) -> None:
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=261, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=8, final_logit_softcapping=3.0,
        initializer_range=0.5, bos_token_id=256, eos_token_id=257,
    )
    Gemma2ForCausalLM(config).save_pretrained(tmp_path / "gemma")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "gemma")
    model = LocalModel.open(tmp_path / "gemma")  # it compares with the whole model, or raises
    assert model.form in ("packed", "padded")


@pytest.mark.parametrize("form", ["ragged", "packed", "padded"])
def test_gradients_are_those_of_each_sequence_alone(
    model: LocalModel, prompts: list[list[int]], form: Form
) -> None:
    spans = [Span(tuple(prompt), 5) for prompt in prompts]
    gradients = []
    for chosen, groups in ((form, [spans]), ("padded", [[span] for span in spans])):
        model.form = chosen  # type: ignore[assignment]
        draft = model.worn.fresh(rank=2, alpha=2.0, targets="all-linear", seed=0)
        with model.wearing(draft, training=True):
            parameters = model.worn.parameters(draft)
            for group in groups:
                for batch in model.batches(group):
                    model.head(model.hidden(batch)).logsumexp(-1).sum().backward()  # type: ignore[no-untyped-call]
            gradients.append([p.grad for name, p in parameters.items() if "lora_B" in name])
    for together, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(together, alone, atol=2e-3, rtol=2e-3)


def test_the_fused_module_computes_what_peft_computes(
    model: LocalModel, prompts: list[list[int]], tmp_path: Path
) -> None:
    adapter = noisy_adapter(model, tmp_path / "a", seed=1)
    spans = [Span(tuple(prompt), 5) for prompt in prompts]

    def gradients() -> list[torch.Tensor]:
        draft = model.worn.continued(adapter, seed=0)
        with model.wearing(draft, training=True):
            for batch in model.batches(spans):
                model.head(model.hidden(batch)).logsumexp(-1).sum().backward()  # type: ignore[no-untyped-call]
            found = [p.grad for p in model.worn.parameters(draft).values()]
        assert all(gradient is not None for gradient in found)
        return [gradient for gradient in found if gradient is not None]

    fused = gradients()
    with model.wearing(adapter) as network:
        for module in network.modules():
            vars(module).pop("forward", None)  # PEFT's own again
    for ours, theirs in zip(fused, gradients(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_fast_products_are_as_exact_as_float32() -> None:
    a, b = torch.randn(300, 500), torch.randn(500, 200)
    with fast_float32():
        torch.testing.assert_close((a @ b).double(), a.double() @ b.double(), atol=1e-3, rtol=1e-4)


# -- what is worn

def test_an_adapter_changes_what_is_said_and_the_base_comes_back(
    model: LocalModel, prompts: list[list[int]], tmp_path: Path
) -> None:
    before, weights = said(model, prompts, None), state_of(model)
    first = noisy_adapter(model, tmp_path / "a", seed=1)
    second = noisy_adapter(model, tmp_path / "b", seed=2, targets="q_v")
    third = noisy_adapter(model, tmp_path / "c", seed=3, targets="down_proj")
    answers = {adapter: said(model, prompts, adapter) for adapter in (None, first, second, third)}
    assert len({str(answer) for answer in answers.values()}) == 4
    for adapter in (first, None, third, second, first, second, None, third):
        assert said(model, prompts, adapter) == answers[adapter]
    assert answers[None] == before
    assert state_of(model) == weights


def test_an_inner_wearing_gives_back_what_the_outer_one_wore(
    model: LocalModel, prompts: list[list[int]], tmp_path: Path
) -> None:
    adapter = noisy_adapter(model, tmp_path / "a", seed=1)
    worn = said(model, prompts, adapter)
    with model.wearing(adapter):
        with pytest.raises(KeyError), model.wearing(None):
            raise KeyError
        assert model.generate(prompts, max_new_tokens=10) == worn


def test_a_saved_adapter_says_the_same_in_another_process_of_the_same_base(
    base: Path, model: LocalModel, prompts: list[list[int]], tmp_path: Path
) -> None:
    adapter = noisy_adapter(model, tmp_path / "a", seed=1)
    assert said(LocalModel.open(base), prompts, adapter) == said(model, prompts, adapter)


def test_an_altered_adapter_is_never_worn(
    model: LocalModel, prompts: list[list[int]], tmp_path: Path
) -> None:
    before = said(model, prompts, None)
    adapter = noisy_adapter(model, tmp_path / "a", seed=1)
    data = bytearray((adapter / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (adapter / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(AdapterRefused), model.wearing(adapter):
        pytest.fail("worn")
    assert said(model, prompts, None) == before


def test_an_adapter_of_another_base_is_refused(model: LocalModel, tmp_path: Path) -> None:
    other = LocalModel.open(tiny_model(tmp_path / "other", seed=4))
    adapter = noisy_adapter(other, tmp_path / "a", seed=1)
    with pytest.raises(AdapterRefused, match="another base"), model.wearing(adapter):
        pytest.fail("worn")


def test_it_answers_only_inside_wearing(model: LocalModel, prompts: list[list[int]]) -> None:
    with pytest.raises(ModelError, match="wearing"):
        model.generate(prompts, max_new_tokens=4)
    with pytest.raises(ModelError, match="wearing"):
        model.log_probs(prompts, prompts)


def test_gradients_flow_in_training_only_and_to_the_draft_only(
    model: LocalModel, prompts: list[list[int]]
) -> None:
    draft = model.worn.fresh(rank=2, alpha=2.0, targets="all-linear", seed=0)
    (batch,) = model.batches([Span(tuple(prompts[0]), 3)])
    with model.wearing(draft):
        assert not model.hidden(batch).requires_grad
    with model.wearing(draft, training=True) as network:
        model.hidden(batch).sum().backward()
        parameters = model.worn.parameters(draft)
        assert all(parameter.grad is not None for parameter in parameters.values())
        assert all(".lora_" in name for name, p in network.named_parameters() if p.grad is not None)
        assert not network.training


def test_the_lock_goes_to_who_asked_first() -> None:
    lock, order = FairLock(), []
    entered = threading.Event()

    def ask() -> None:
        entered.set()
        with lock:
            order.append("asker")

    with lock:
        thread = threading.Thread(target=ask)
        thread.start()
        entered.wait()
        while not lock.waiting:  # until the other thread stands in the queue
            pass
    with lock, lock:
        order.append("trainer")
    thread.join()
    assert order == ["asker", "trainer"]
    assert not lock.held


# -- chat templates

def test_without_a_system_role_its_text_opens_the_first_user_message(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}<assistant>"
    )
    model = LocalModel.open(tiny_model(tmp_path / "m", template=template))
    assert model.notes == (chat.NO_SYSTEM,)
    ids = model.prompt_ids(messages("Who?", " Now."))
    assert model._tokenizer.decode(ids) == "<user>Be brief. Now.\n\nWho?<end><assistant>"


def test_without_a_template_plain_lines_are_used_and_the_report_can_say_so(tmp_path: Path) -> None:
    model = LocalModel.open(tiny_model(tmp_path / "m", template=None))
    assert model.notes == (chat.NO_TEMPLATE,)
    text = model._tokenizer.decode(model.prompt_ids(messages("Who?")))
    assert text.endswith("Be brief.\n\nUser: Who?\n\nAssistant:")
    assert {model.token_ids("\n")[0], model._tokenizer.eos_token_id} <= model.end_ids


def test_text_and_tokens_round_trip(model: LocalModel) -> None:
    for text in ("Ada, 44 7 9", "naïve – 漢字 🙂", "a  b\tc"):
        assert model.text(model.token_ids(text)) == text


# -- opening

def test_the_fingerprint_follows_the_weights_and_nothing_else(tmp_path: Path, base: Path) -> None:
    first = LocalModel.open(base).fingerprint
    copy = shutil.copytree(base, tmp_path / "elsewhere")
    (copy / "README.md").write_text("A note.")
    assert LocalModel.open(copy).fingerprint == first
    assert LocalModel.open(tiny_model(tmp_path / "other", seed=9)).fingerprint != first


def test_a_model_on_the_cpu_computes_in_float32(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m", dtype="bfloat16")
    with LocalModel.open(folder, device="cpu").wearing(None) as network:
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./not-here", "someone/never-downloaded-this"])
def test_a_model_that_is_not_there_is_one_clear_error(name: str) -> None:
    with pytest.raises(ModelError, match=r"no model folder|hf download"):
        LocalModel.open(name)


def test_weights_in_several_files_are_those_of_one(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").is_file()
    assert state_of(LocalModel.open(folder)) == state_of(LocalModel.open(base))


def test_no_file_of_weights_is_mapped_while_its_tensors_are_read(base: Path) -> None:
    """A mapped file stays in memory beside what is made of it."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the system does not tell what is mapped")
    tensors = loading._tensors(base)
    read = [one[:] for one in tensors.values()]
    assert read
    assert str(base / "model.safetensors") not in maps.read_text()
    with safe_open(base / "model.safetensors", framework="pt") as file:  # the twin, as transformers reads
        (name, *_) = file.keys()
        mapped = file.get_tensor(name)
        assert mapped.numel()
        assert str(base / "model.safetensors") in maps.read_text()


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        LocalModel.open(folder)


def test_damaged_weights_are_one_clear_error(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="cannot be loaded"):
        LocalModel.open(folder)


@pytest.mark.parametrize("harm", ["altered", "missing"])
def test_a_folder_that_lists_its_hashes_names_the_file_that_is_wrong(tmp_path: Path, harm: str) -> None:
    folder = tiny_model(tmp_path / "m")
    loading.list_hashes(folder)
    LocalModel.open(folder)
    if harm == "altered":
        (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes() + b" ")
    else:
        (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        LocalModel.open(folder)


def test_the_bundled_reader_lists_its_hashes(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(loading.READER, folder)
    assert loading.fingerprint(folder) == loading.fingerprint(loading.READER)
    (folder / "generation_config.json").unlink()
    with pytest.raises(ModelError, match="incomplete"):
        loading.fingerprint(folder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_one_clear_error(base: Path) -> None:
    with pytest.raises(ModelError, match="CUDA"):
        LocalModel.open(base, device="cuda")
