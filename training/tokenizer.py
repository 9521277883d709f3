"""The reader's tokenizer: byte-level BPE, trained on the text of its world, with a chat template.

Three choices serve copying, which is what a reader does:
- every segment begins with a space of its own (`Prepend`, taken off again by the decoder), so that a name
  is the same tokens at the start of an answer as in the middle of a sentence;
- digits stand in groups of at most two, so that numbers and codes are copied piece by piece;
- the fixed fragments that `agent_memory.prompt` prints around each line are cut as a whole, so that the
  merges make single tokens of them; no token is added for them, hence decoding gives back the text exactly.

A conversation is `<|role|>text<|end|>` for each message, with nothing between; generation stops at
`<|end|>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END = "<|pad|>", "<|end|>"
ROLES = {role: f"<|{role}|>" for role in ("system", "user", "assistant")}
SPECIAL = [PAD, END, *ROLES.values()]
VOCABULARY = 3072  # chosen: what the frames need; names and values are pieces in any case
CUTS = "|".join(
    [
        r"\n- \[",  # the start of a line of the block
        r", (?:user|assistant|operator)\]",
        r", (?:tool|web|document):",
        r" ?</?memory>",
        r"-\p{N}{2}(?!\p{N})",  # month and day
        r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})",
        r" ?\p{L}+",
        r" ?\p{N}{1,2}",
        r" ?[^\s\p{L}\p{N}]",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterator[str], *, vocabulary: int = VOCABULARY) -> Tokenizer:
    """A tokenizer of at most `vocabulary` tokens, the special ones included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUTS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def for_transformers(tokenizer: Tokenizer, *, longest: int) -> PreTrainedTokenizerFast:
    """The same as `AutoTokenizer` loads it, chat template included."""
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES.values()),
        model_max_length=longest,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped
