"""What a text encoder can read of a prompt: words that it knows, and so many tokens."""

from __future__ import annotations

import json
from typing import Any

CLOSED = 1000  # a vocabulary smaller than this knows whole words only


def words(tokenizer: Any) -> set[str]:
    """The words of a closed vocabulary: tokens that end a word and no longer token; else none."""
    if len(tokenizer) >= CLOSED:
        return set()
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    ends = {right for _, right in merges}
    return {v[:-4] for v in tokenizer.get_vocab() if v.endswith("</w>") and v not in ends}


def require_known(given: str, known: set[str], tokenizer: Any, name: str) -> None:
    """Refuse words that a closed vocabulary does not have, nor a textual inversion has added."""
    added = tokenizer.get_added_vocab()
    asked = {word for word in given.split() if word not in added}
    unknown = sorted({word.lower() for word in asked} - known) if known else []
    if unknown:
        raise ValueError(
            f"prompt {given!r} has words that {name!r} has never seen: "
            f"{', '.join(unknown)}; it knows {', '.join(sorted(known))}"
        )


def require_whole(given: str, pipeline: Any, tokenizer: Any, longest: int) -> None:
    """Refuse a prompt that a text encoder would see cut.

    A textual inversion of several vectors is several tokens.
    """
    convert = getattr(pipeline, "maybe_convert_prompt", lambda text, _: text)
    pieces = tokenizer.tokenize(convert(given, tokenizer))
    if len(pieces) > longest:
        cut = "".join(pieces[longest:]).replace("</w>", " ").replace("▁", " ").strip()
        raise ValueError(
            f"prompt {given!r} has {len(pieces)} tokens, and the text encoder reads "
            f"{longest}: shorten it; {cut!r} would be cut off"
        )
