"""What a checkpoint's config.json says, and what it must not ask for: files elsewhere, foreign code, absurd sizes."""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.weights import StoredTensor
from pliant.records.identity import Json
from pliant.records.outside import clipped, parse_json

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def read_config(folder: Path) -> dict[str, Json]:
    """`config.json` of a folder.

    Raises:
        CheckpointError: it is missing, or no JSON object.
    """
    file = folder / "config.json"
    try:
        config = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); fetch it again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} holds a {type(config).__name__}, expected an object; fetch it again")
    return config


def check_config(folder: Path, tensors: Mapping[str, StoredTensor], *, trust_remote_code: bool) -> None:
    """What transformers would do with a folder because its configuration says so, and a checkpoint must not ask for.

    `tensors` are what it stores, {} where that is not known.

    Raises:
        CheckpointError: adapters of another model; other weights than those that are fingerprinted; attention code
            of a Hub repository without `trust_remote_code`; a model much larger than its tensors.
    """
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder} holds adapters (adapter_config.json) of a model that lies elsewhere; "
            "merge them into that model (peft's merge_and_unload) and give the folder of the result"
        )
    config = read_config(folder)
    if config.get("transformers_weights") is not None:
        raise CheckpointError(
            f"{folder}: its config.json names other weights, {clipped(config['transformers_weights'])}, than "
            "model.safetensors; take transformers_weights out of it"
        )
    foreign = next((value for value in _implementations(config) if "/" in value), None)
    if foreign is not None and not trust_remote_code:
        raise CheckpointError(
            f"{folder}: its config.json names code of the Hub repository {clipped(foreign)}, which runs when it is "
            "opened; take it out, or set trust_remote_code: true if you trust its source"
        )
    if tensors and (reason := _too_large(config, tensors)):
        raise CheckpointError(f"{folder}: config.json and the tensors disagree ({reason}); fetch it again")


def _implementations(value: Json, named: bool = False) -> Iterator[str]:
    """Every text below a key such as attn_implementation, at any depth."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _implementations(inside, named or "_implementation" in key)
    elif isinstance(value, list):
        for inside in value:
            yield from _implementations(inside, named)
    elif named and isinstance(value, str):
        yield value


def _too_large(config: Mapping[str, Json], tensors: Mapping[str, StoredTensor]) -> str | None:
    """Why the model would take memory and time that no stored tensor stands for; None where it would not."""
    stored = sum(prod(tensor.shape) for tensor in tensors.values())
    for key in _LAYERS:
        if isinstance(layers := config.get(key), int) and layers > len(tensors):
            return f"{layers:,} layers and {len(tensors):,} tensors"
    for key in ("vocab_size", "hidden_size", "intermediate_size"):
        if isinstance(size := config.get(key), int) and size > stored:
            return f"{key} {size:,} and {stored:,} stored numbers"
    vocabulary, width = config.get("vocab_size"), config.get("hidden_size")
    if isinstance(vocabulary, int) and isinstance(width, int) and vocabulary * width > stored:
        return f"{vocabulary:,} x {width:,} embeddings and {stored:,} stored numbers"
    return None
