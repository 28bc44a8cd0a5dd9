"""Texts to word pieces, and long texts to overlapping windows of them."""

from __future__ import annotations

from tokenizers import Tokenizer

from memd.adapters.embed_onnx.weights import MAX_PIECES
from memd.domain.errors import InvalidArgument, ModelUnavailable
from memd.limits import EMBED_WINDOW_OVERLAP_PIECES, MAX_WINDOWS

_SPECIAL_PIECES = 2
_CONTENT_PIECES = MAX_PIECES - _SPECIAL_PIECES
_STRIDE = _CONTENT_PIECES - EMBED_WINDOW_OVERLAP_PIECES


class WordPieces:
    """The model's tokenizer without the truncation and padding its file asks for. Safe from any thread."""

    def __init__(self, tokenizer_json: bytes) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer_json.decode())
        except ValueError as exc:
            raise ModelUnavailable("tokenizer.json cannot be read; run `memd model install`") from exc
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def windows(self, text: str) -> list[list[int]]:
        """The ids of each window, special pieces included: one for up to 256 pieces, at most MAX_WINDOWS.

        Neighbouring windows share EMBED_WINDOW_OVERLAP_PIECES pieces. The first one is what the reference
        implementation, which cuts, would have embedded. InvalidArgument when the text needs more windows.
        """
        ids: list[int] = self._tokenizer.encode(text).ids
        if len(ids) <= MAX_PIECES:
            return [ids]
        first, content, last = ids[0], ids[1:-1], ids[-1]
        starts = range(0, len(content) - EMBED_WINDOW_OVERLAP_PIECES, _STRIDE)
        if len(starts) > MAX_WINDOWS:
            longest = _CONTENT_PIECES + (MAX_WINDOWS - 1) * _STRIDE
            raise InvalidArgument(
                f"the text has {len(content)} word pieces; the embedding model takes at most {longest}: split it",
                field="query",
            )
        return [[first, *content[start : start + _CONTENT_PIECES], last] for start in starts]
