"""Which kind of value each label of a table's rows has, in a plan that may come from elsewhere."""

from collections.abc import Callable, Mapping

from pliant.records.outside import is_shown_name, is_text

LARGEST = 1e100
"""Beyond any token budget, rate or strength; small enough to compute with."""


def is_plain_label(value: object) -> bool:
    """Nothing, yes or no, a number within range, or a line of text (an empty one included)."""
    return value is None or isinstance(value, bool) or _is_number(value) or is_text(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _is_positive(value: object) -> bool:
    return value is None or (_is_number(value) and value >= 0)  # type: ignore[operator]


def _is_whole(value: object) -> bool:
    return value is None or type(value) is int


def _is_flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_text(value: object) -> bool:
    return value is None or is_text(value)


LABELS: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("trajectory", "checkpoint", "modification", "label", "evaluation"), is_shown_name),
    **dict.fromkeys(("task", "scaling", "line", "method", "source", "commit"), _is_text),
    **dict.fromkeys(("annealed", "embeddings"), _is_flag),
    **dict.fromkeys(("seed", "pretraining_seed"), _is_whole),
    **dict.fromkeys(("tokens", "parameters", "tokens_per_parameter", "epochs", "bytes_per_token"), _is_positive),
    **dict.fromkeys(("pretraining_learning_rate", "steps", "amount", "task_epochs", "strength"), _is_positive),
}
"""What must hold of the labels that statistics and pages compute with; others are any plain value."""
