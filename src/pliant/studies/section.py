"""What every part of a study file is: frozen, and strict about keys."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings from outside: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
