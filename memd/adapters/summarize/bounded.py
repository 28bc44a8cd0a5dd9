"""What a hosted model gets to read is bounded: more than a model's window it would refuse, and every token is paid for."""

from __future__ import annotations

from memd.limits import SUMMARIZER_INPUT_TOKENS
from memd.ports import Summarizer, Summary, SummaryRequest


class BoundedInput:
    """Asks ``model``; of more than SUMMARIZER_INPUT_TOKENS it is given what ``extractive`` makes of them."""

    def __init__(self, model: Summarizer, extractive: Summarizer) -> None:
        self._model = model
        self._extractive = extractive

    async def summarize(self, request: SummaryRequest) -> Summary:
        if sum(event.tokens for event in request.events) > SUMMARIZER_INPUT_TOKENS:
            extract = await self._extractive.summarize(
                SummaryRequest(request.events, SUMMARIZER_INPUT_TOKENS, request.earlier)
            )
            request = SummaryRequest((), request.max_tokens, extract.text)
        return await self._model.summarize(request)

    async def close(self) -> None:
        await self._model.close()
