"""Text into the requests of the scorer, cut between context and continuation as lm-eval cuts it."""

from pliant.data.tokenizers import Tokenizer
from pliant.evaluation.scorer import Request, Tokens


def request_of(tokenizer: Tokenizer, context: str, continuation: str) -> Request:
    """`continuation` after `context`: both are tokenised in one piece, and split after the context's own tokens.

    Blanks that end the context go to the continuation, where tokenizers have them. Special tokens are those that the
    tokenizer adds by itself; an empty context is the start token alone.

    Raises:
        ValueError: the continuation is empty, or melts into the context's last token.
    """
    blanks = len(context) - len(context.rstrip())
    context, continuation = context[: len(context) - blanks], context[len(context) - blanks :] + continuation
    if not context:
        found = tuple(tokenizer.backend.encode(continuation, add_special_tokens=False))
        start = start_token(tokenizer)
        before, after = (found[:1], found[1:]) if found[:1] == (start,) else ((start,), found)
    else:
        before = tuple(tokenizer.backend.encode(context))
        after = tuple(tokenizer.backend.encode(context + continuation))[len(before) :]
    if not after:
        raise ValueError(f"{continuation!r} after {context[-20:]!r} is no token of {tokenizer.name} of its own")
    return Request(context=before, continuation=after)


def document_tokens(tokenizer: Tokenizer, text: str) -> Tokens:
    """A document's tokens, with the special tokens that the tokenizer adds by itself."""
    return tuple(tokenizer.backend.encode(text))


def start_token(tokenizer: Tokenizer) -> int:
    """What stands before a document: the tokenizer's BOS, else its EOS, else the end of the separator."""
    for token in (tokenizer.backend.bos_token_id, tokenizer.backend.eos_token_id, *tokenizer.separator[-1:]):
        if token is not None:
            return int(token)
    raise ValueError(f"the tokenizer {tokenizer.name} has no token to begin a document with; give every item a context")
