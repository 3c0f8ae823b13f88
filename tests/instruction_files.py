"""Files of the shapes of Anthropic-HH and TULU, made up."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

COLOURS = ["red", "green", "blue", "grey"]


def talks(count: int) -> list[dict[str, object]]:
    """Dialogues of two turns, and one in twenty whose last response is empty."""
    return [
        {
            "chosen": f"\n\nHuman: Is {n} odd?\n\nAssistant: {'Yes' if n % 2 else 'No'}.\n\nHuman: And {n + 1}?"
            f"\n\nAssistant: {'' if n % 20 == 7 else 'No' if n % 2 else 'Yes'}",
            "rejected": "\n\nHuman: Is it?\n\nAssistant: What?",
        }
        for n in range(count)
    ]


def conversations(count: int) -> list[dict[str, object]]:
    return [
        {
            "dataset": "made",
            "id": str(n),
            "messages": [
                {"role": "user", "content": f"Colour {n}?"},
                {"role": "assistant", "content": COLOURS[n % 4].capitalize()},
            ],
        }
        for n in range(count)
    ]


def parquet(rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=10)
    return sink.getvalue()


def jsonl(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
