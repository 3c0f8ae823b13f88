"""A task as a study file writes it: a name, or a mapping with `path` or `dataset`."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from pliant.data.task_setting import TaskDataset, TaskFiles


def _kind(value: Any) -> str:
    if isinstance(value, (dict, TaskDataset)):
        return "dataset" if isinstance(value, TaskDataset) or "dataset" in value else "path"
    return "path" if isinstance(value, TaskFiles) else "name"


TaskChoice = Annotated[
    Annotated[str, Tag("name")] | Annotated[TaskFiles, Tag("path")] | Annotated[TaskDataset, Tag("dataset")],
    Discriminator(_kind),
]
