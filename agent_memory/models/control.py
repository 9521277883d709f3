"""Text that cannot speak as a model's control tokens.

A tokenizer reads the texts of its control tokens (`<|end|>`, `<|im_start|>`, `</s>`) as those tokens wherever
they stand, so that an episode or a question could end its own turn and go on as the system. Hence each such
text in a conversation is broken before a chat template sees it, by one space after its first character: the
model then reads `< |end|>`, which is ordinary words to it and the same to a person.

Guarded are the tokenizer's special tokens, its other tokens of the form `<|...|>`, and what the template
writes in brackets, be it one token or several (Qwen's `<tool_response>`, Llama 2's `[INST]`).

What it does not know: turns that are only a manner of writing (`User:` lines, where a model has no template).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

#: Templates cut these out of what the assistant said before, so there they stay whole.
THINKING = ("<think>", "</think>")

_PIPED = re.compile(r"<[|｜].*[|｜]>")
#: Within a template's source; quotes, braces and white space belong to its code.
_BRACKETED = re.compile(r"<[^\s<>'\"{}]+>|\[/?[A-Z][A-Z_]*\]")


def control_pattern(tokenizer: Any, *, spare: Collection[str] = ()) -> re.Pattern[str]:
    """Matches the first character of every control text of a tokenizer and its chat template but `spare`."""
    added = tokenizer.added_tokens_decoder.values()
    texts = {token.content for token in added if token.special or _PIPED.fullmatch(token.content)}
    texts.update(tokenizer.all_special_tokens)
    templates = tokenizer.chat_template or ""
    for template in templates.values() if isinstance(templates, Mapping) else (templates,):
        texts.update(_BRACKETED.findall(template))
    rests: dict[str, list[str]] = {}
    for text in sorted(texts.difference(spare)):
        if len(text) > 1 and text.strip():  # a single character cannot be broken
            rests.setdefault(text[0], []).append(re.escape(text[1:]))
    heads = [f"{re.escape(head)}(?={'|'.join(tails)})" for head, tails in rests.items()]
    return re.compile("|".join(heads) or r"(?!)")


def disarmed(value: Any, control: re.Pattern[str]) -> Any:
    """The text, or each text in a nest of lists and mappings, with its control texts broken.

    A second time changes nothing, and text that holds none stays as it is.
    """
    if isinstance(value, str):
        return control.sub(r"\g<0> ", value)
    if isinstance(value, Mapping):
        return {disarmed(key, control): disarmed(inner, control) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [disarmed(inner, control) for inner in value]
    return value
