"""The model in memory as lm-eval sees it: log-probabilities by our scorer, generation as lm-eval does it.

Importing this module imports lm-eval, which takes seconds: import it where benchmarks run.
"""

from typing import Any

from lm_eval.models.huggingface import HFLM

from pliant.evaluation.rolling import document_log_probabilities
from pliant.evaluation.scorer import Request, score


class ResidentLM(HFLM):  # type: ignore[misc]  # lm-eval is not typed
    """lm-eval's Hugging Face model around the one in memory; text becomes tokens as lm-eval makes them."""

    def __init__(self, model: Any, tokenizer: Any, *, start: int, batch_tokens: int) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, prefix_token_id=start)
        self.batch_tokens = batch_tokens
        self.batch_size_per_gpu = max(1, batch_tokens // self.max_length)

    @property
    def eot_token_id(self) -> int:
        """The tokenizer's EOS, else what stands before a document."""
        found = self.tokenizer.eos_token_id
        return int(self.prefix_token_id if found is None else found)

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        wanted = [Request(context=tuple(before), continuation=tuple(after)) for _, before, after in requests]
        found = score(self.model, wanted, batch_tokens=self.batch_tokens, longest=self.max_length)
        return [(one.log_probability, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        return document_log_probabilities(
            self.model,
            [tuple(self.tok_encode(request.args[0])) for request in requests],
            start=self.prefix_token_id,
            batch_tokens=self.batch_tokens,
            longest=self.max_length,
        )
