"""What opening checkpoints costs: each built by itself, or all read into one resident model.

    python -m loading --width 256 --layers 8 --vocabulary 8000     (in benchmarks/, or with it on PYTHONPATH)

Eight checkpoints of one Llama shape are opened in one run of each way, interleaved; each way is a process of its own,
so that its peak memory is its own. Times are of a warm page cache and of the whole of `open_checkpoint`: hashing the
file, reading it, looking for NaN. Memory is the peak of each opening above what was in use before the first checkpoint
(Linux), so 1 model is the model itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

COUNT = 8
WAYS = ("built", "resident")


def make(folder: Path, width: int, layers: int, vocabulary: int, dtype: str) -> int:
    """Write the checkpoints; returns the number of parameters of each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
    )
    model = LlamaForCausalLM(shape).to(getattr(torch, dtype))
    for number in range(COUNT):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.01)
        model.save_pretrained(folder / str(number))
    return sum(parameter.numel() for parameter in model.parameters())


def serve(folder: Path, way: str) -> None:
    """Open the checkpoint named on each line of standard input; answer with seconds and peak bytes."""
    import torch

    from pliant.checkpoints.folder import open_checkpoint
    from pliant.checkpoints.resident import Resident

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as warm:
        make(Path(warm), 64, 1, 64, "float32")
        open_checkpoint(Path(warm) / "0")
    resident = Resident() if way == "resident" else None
    opened, base = None, _peak_since_reset()
    for line in sys.stdin:
        opened = None  # both ways: the one before is not needed any more
        _peak_since_reset()
        started = time.perf_counter()
        opened = open_checkpoint(folder / line.strip(), into=resident)
        seconds = time.perf_counter() - started
        print(json.dumps([seconds, _peak() - base]), flush=True)
    del opened


def _peak() -> int:
    # not getrusage: a process begins with its parent's peak there
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _peak_since_reset() -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is in use now; see proc(5)
    return _peak()


def compare(folder: Path) -> dict[str, list[list[float]]]:
    """Seconds and peak bytes of each opening by each way, the two ways taking turns."""
    command = [sys.executable, "-m", "loading", "--folder", str(folder), "--serve"]
    workers = {way: subprocess.Popen([*command, way], stdin=-1, stdout=-1, text=True) for way in WAYS}
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for number in range(COUNT):
        for way, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(f"{number}\n")
            worker.stdin.flush()
            found[way].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.folder, options.serve)
        return
    print("| parameters | stored in | built, s | resident, s | built / resident | peak built | peak resident |")
    print("|---|---|---|---|---|---|---|")
    for dtype in ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as folder:
            parameters = make(Path(folder), options.width, options.layers, options.vocabulary, dtype)
            found = compare(Path(folder))
        seconds = {way: median(time for time, _ in found[way][1:]) for way in WAYS}
        peaks = {way: max(peak for _, peak in found[way]) / (4 * parameters) for way in WAYS}
        print(
            f"| {parameters / 1e6:.1f}M | {dtype} | {seconds['built']:.3f} | {seconds['resident']:.3f} "
            f"| {seconds['built'] / seconds['resident']:.2f} "
            f"| {peaks['built']:.2f} models | {peaks['resident']:.2f} models |",
            flush=True,
        )


if __name__ == "__main__":
    main()
