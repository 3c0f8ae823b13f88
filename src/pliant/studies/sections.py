"""What all sections of a study share: frozen, nothing unknown, and the kinds of values they hold."""

from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from pliant.records.units import parse_tokens


def different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values as they are.

    Raises:
        ValueError: one of them is there twice.
    """
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!r} is there twice; each counts once")
    return values


TokenCount = Annotated[int, BeforeValidator(parse_tokens)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(different)]


class Section(BaseModel):
    """A part of a study: read once, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True, populate_by_name=True)


class ChoiceSection(Section):
    """A part in which one setting decides whether others have an effect."""

    def idle(self) -> dict[str, str]:
        """The settings that have no effect beside the others, each with what takes its effect: "criterion: wanda"."""
        return {}

    @model_validator(mode="after")
    def _no_idle_setting(self) -> Self:
        for name, reason in self.idle().items():
            if name in self.model_fields_set:
                raise ValueError(f"{name} has no effect with {reason}; leave {name} out")
        return self

    @model_serializer(mode="wrap")
    def _without_idle(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is written is read again, so it says nothing that has no effect."""
        return {name: value for name, value in write(self).items() if name not in self.idle()}
