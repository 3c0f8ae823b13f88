"""Training the output head alone before everything."""

from typing import Any

from pliant.data.tasks import EncodedTask, TaskError
from pliant.modifications.variant import Variant


def check_probe(model: Any, task: EncodedTask) -> None:
    """Stop where the head cannot be trained alone, or there is nothing to classify.

    Raises:
        TaskError: `task` has no labels, or the output head of `model` is its token embeddings.
    """
    check_labels(task)
    if model.get_output_embeddings().weight is model.get_input_embeddings().weight:
        raise TaskError(
            "probe_first trains the output head alone, and in this model the head is the token embeddings (tied); "
            "take another way of regularising"
        )


def check_labels(task: EncodedTask) -> None:
    """Stop where there is nothing to classify.

    Raises:
        TaskError: `task` has no labels.
    """
    if not task.label_tokens:
        raise TaskError(f"probe_first is for classification, and task {task.name} has no labels; take another task")


def after(first: Variant, second: Variant) -> Variant:
    """The two parts of a training as one: its losses from the first step of the first part on."""
    told = {**(second.details or {}), "probe_steps": len(first.losses)}
    if "diverged_at_step" in told:
        told["diverged_at_step"] = len(first.losses) + len(second.losses)
    else:
        told["train_loss_first"] = first.losses[0]
    return Variant(diverged=second.diverged, details=told, losses=first.losses + second.losses)
