"""What holds on to the base during training: a term that joins the loss of every step."""

from collections.abc import Callable
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from pliant.modifications.ground import Ground
from pliant.modifications.regularise.divergence import divergence_from, frozen
from pliant.modifications.regularise.method import Anchor, Divergence, ElasticWeights, Regulariser, Replay
from pliant.modifications.regularise.quadratic import half_squares
from pliant.modifications.regularise.replay import in_parts, text_batch, text_loss
from pliant.records.identity import Json
from pliant.training.loop import Batch

Term = Callable[[int], Float[Tensor, ""]]
"""What is held small, at the weights of a step, in nats where it is a loss."""


@final
class Hold:
    """Minimises kept x loss + amount x term(step), and knows the last term."""

    def __init__(self, term: Term, amount: float, *, named: str, kept: float = 1.0) -> None:
        self._term, self._amount, self._kept = term, amount, kept
        self._named = named
        self._last: Tensor | None = None

    def objective(self, loss: Float[Tensor, ""], step: int) -> Float[Tensor, ""]:
        term = self._term(step)
        self._last = term.detach()
        return self._kept * loss + self._amount * term

    @property
    def details(self) -> dict[str, Json]:
        """The term at the last step, before its update and not multiplied by the amount."""
        return {} if self._last is None else {f"{self._named}_last": self._last.item()}


def hold(settings: Regulariser | None, model: Any, ground: Ground, *, rows: int, part: int, seed: int) -> Hold | None:
    """What `settings` adds to every step; None for what acts before or after training. `model` holds the base.

    Text comes in the order of `seed`, `rows` windows a step, of which `part` go through the model at a time. The anchor
    and EWC hold the base's weights in memory and EWC one more number a parameter; the divergence a copy of the model.
    """
    forward, device = ground.forward, next(model.parameters()).device
    if isinstance(settings, Anchor):
        base = dict(ground.base)
        return Hold(lambda step: half_squares(model, base), settings.amount, named="half_squared_distance")
    if isinstance(settings, ElasticWeights):
        base, fisher = dict(ground.base), ground.fisher(model, settings.tokens)
        return Hold(lambda step: half_squares(model, base, fisher), settings.amount, named="fisher_distance_nats")
    if not isinstance(settings, (Replay, Divergence)):
        return None
    source = ground.text(seed)

    def on_text(loss: Callable[[Batch], Tensor]) -> Term:
        return lambda step: in_parts(loss, text_batch(source, rows, step, device), part)

    if isinstance(settings, Replay):
        replayed = on_text(lambda batch: text_loss(model, batch, forward=forward))
        return Hold(replayed, settings.amount, named="replay_loss_nats", kept=1 - settings.amount)
    held = frozen(model)
    moved = on_text(lambda batch: divergence_from(held, model, batch.inputs, forward=forward))
    return Hold(moved, settings.amount, named="divergence_nats")
