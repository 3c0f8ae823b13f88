"""Training the output head alone before everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pliant.data.tasks import EncodedTask, TaskError


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


@contextmanager
def head_alone(model: Any) -> Iterator[Any]:
    """The output head of `model`, the only part of it that takes gradients meanwhile."""
    head = model.get_output_embeddings()
    mine = {id(parameter) for parameter in head.parameters()}
    others = [p for p in model.parameters() if id(p) not in mine]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield head
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
