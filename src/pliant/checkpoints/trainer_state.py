"""What the Hugging Face Trainer wrote beside a checkpoint: `trainer_state.json`."""

from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError
from pliant.records.outside import parse_json
from pliant.records.units import MOST_TOKENS

TRAINER_FILE = "trainer_state.json"


def read_trainer_state(folder: Path) -> About:
    """Step, epochs, learning rate of the last logged update, and tokens where the Trainer was told to count them.

    `num_input_tokens_seen` stays 0 without `include_num_input_tokens_seen`: that is unknown, not zero.

    Raises:
        CheckpointError: the file is there and is not what the Trainer writes.
    """
    path = folder / TRAINER_FILE
    if not path.is_file():
        return About()
    try:
        state = parse_json(path.read_bytes())
        rates = [entry["learning_rate"] for entry in state.get("log_history", ()) if "learning_rate" in entry]
        return About(
            step=int(_number(state["global_step"])),
            tokens=int(_number(state.get("num_input_tokens_seen") or 0)) or None,
            epochs=None if state.get("epoch") is None else _number(state["epoch"]),
            learning_rate=_number(rates[-1]) if rates else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); mend it, or delete it to go without") from error


def _number(value: str | float) -> float:
    """
    Raises:
        ValueError: no number, or none that a count or rate can be.
    """
    number = value if isinstance(value, int) else float(value)
    if not 0 <= number < MOST_TOKENS:
        raise ValueError(f"{number} is out of range")
    return number
