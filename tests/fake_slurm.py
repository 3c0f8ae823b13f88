"""Slurm's commands on one machine: sbatch files run here, arrays and requeueing included; state in $FAKE_SLURM.

Only what submitit and pliant call is there, with the arguments they call it with; anything else is an error.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")


def install(folder: Path) -> dict[str, str]:
    """Put the commands into `folder`/bin; the environment that finds them."""
    binaries, state = folder / "bin", folder / "state"
    binaries.mkdir(parents=True)
    state.mkdir()
    for command in COMMANDS:
        script = binaries / command
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" {command} "$@"\n')
        script.chmod(0o755)
    # numbers of jobs are kept by submitit for the life of a process, so every cluster begins with others
    (state / "next").write_text(str(time.time_ns() % 10**9 + 1000))
    return {"PATH": f"{binaries}:{os.environ['PATH']}", "FAKE_SLURM": str(state)}


def state_folder() -> Path:
    return Path(os.environ["FAKE_SLURM"])


def jobs() -> dict[str, str]:
    """Every job, an element of an array each, with its state."""
    return {path.stem: path.read_text() for path in sorted(state_folder().glob("*.state"))}


def step_of(job: str) -> int:
    """The process that srun started for a job."""
    return int((state_folder() / f"{job}.step").read_text())


def fail_node(job: str) -> None:
    """As when a node goes down: the job's processes are gone at once, and Slurm puts it into the queue again."""
    (state_folder() / f"{job}.requeue").touch()
    os.killpg(int((state_folder() / f"{job}.group").read_text()), signal.SIGKILL)


def _set(name: str, text: str) -> None:
    temporary = state_folder() / f"{name}.{os.getpid()}.part"
    temporary.write_text(text)
    temporary.replace(state_folder() / name)


def sbatch(file: str) -> None:
    options = _options(Path(file).read_text())
    if options.get("partition") == "nowhere":
        sys.exit("sbatch: error: invalid partition specified: nowhere")
    number = int((state_folder() / "next").read_text())
    _set("next", str(number + 1))
    count = int(options["array"].split("%")[0].split("-")[1]) + 1 if "array" in options else 0
    for job in [f"{number}_{index}" for index in range(count)] or [str(number)]:
        _set(f"{job}.state", "PENDING")
    subprocess.Popen(
        [sys.executable, "-S", "-E", __file__, "supervise", str(number), str(Path(file).resolve())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print(f"Submitted batch job {number}")


def _options(text: str) -> dict[str, str]:
    words = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("#SBATCH --")]
    return {name.removeprefix("--"): value for name, _, value in (word.partition("=") for word in words)}


def supervise(number: str, file: str) -> None:
    """Run the elements of one job, as many at once as its array allows, until each has ended for good."""
    options = _options(Path(file).read_text())
    waiting = [job for job in jobs() if job.split("_")[0] == number]
    at_once = int(options["array"].split("%")[1]) if "array" in options else 1
    running: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            job = waiting.pop(0)
            if jobs()[job] == "PENDING":
                running[job] = _launch(job, file, options)
        for job in [job for job, process in running.items() if process.poll() is not None]:
            code = running.pop(job).returncode
            requeued, cancelled = (state_folder() / f"{job}.{what}" for what in ("requeue", "cancelled"))
            if requeued.exists() and not cancelled.exists():
                requeued.unlink()
                _set(f"{job}.state", "PENDING")
                waiting.append(job)
            else:
                _set(f"{job}.state", "CANCELLED" if cancelled.exists() else "FAILED" if code else "COMPLETED")
        time.sleep(0.02)


def _launch(job: str, file: str, options: dict[str, str]) -> "subprocess.Popen[bytes]":
    number, _, index = job.partition("_")
    ours = {"SLURM_JOB_ID": f"{number}{index}", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0"}
    if index:
        ours |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    else:
        ours["SLURM_JOB_ID"] = number
    with open(_named(options["output"], job), "ab") as out, open(_named(options["error"], job), "ab") as err:
        process = subprocess.Popen(
            ["bash", file], stdout=out, stderr=err, env=os.environ | ours, start_new_session=True
        )
    _set(f"{job}.group", str(process.pid))
    _set(f"{job}.state", "RUNNING")
    return process


def _named(pattern: str, job: str) -> str:
    number, _, index = job.partition("_")
    for sign, value in {"%A": number, "%a": index, "%j": job, "%t": "0"}.items():
        pattern = pattern.replace(sign, value)
    return pattern


def srun(unbuffered: str, out: str, out_file: str, err: str, err_file: str, *command: str) -> None:
    assert (unbuffered, out, err) == ("--unbuffered", "--output", "--error")
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    job = os.environ["SLURM_JOB_ID"] if index is None else f"{os.environ['SLURM_ARRAY_JOB_ID']}_{index}"
    for number, pattern in ((1, out_file), (2, err_file)):
        os.dup2(os.open(_named(pattern, job), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    _set(f"{job}.step", str(os.getpid()))
    os.execvp(command[0], command)


def squeue(*arguments: str) -> None:
    assert arguments == ("--me", "--noheader", "--array", "--format=%i"), arguments
    print("\n".join(job for job, state in jobs().items() if state in ("PENDING", "RUNNING")))


def sacct(*arguments: str) -> None:
    assert arguments[:4] == ("--noheader", "--parsable2", "--allocations", "--format=State"), arguments
    print(jobs()[arguments[4].removeprefix("--jobs=")])


def scancel(*arguments: str) -> None:
    """With --signal to the job's steps alone, else to all its processes, and no more of it."""
    if "--signal" in arguments:
        job, _, name = arguments
        os.kill(step_of(job), signal.Signals[f"SIG{name.removeprefix('SIG')}"])
        return
    for job in arguments:
        state = jobs()[job]
        if state == "PENDING":
            _set(f"{job}.state", "CANCELLED")
        elif state == "RUNNING":
            (state_folder() / f"{job}.cancelled").touch()
            os.killpg(int((state_folder() / f"{job}.group").read_text()), signal.SIGKILL)


def scontrol(what: str, job: str) -> None:
    assert what == "requeue", what
    assert job in jobs(), job
    (state_folder() / f"{job}.requeue").touch()


if __name__ == "__main__":
    called = {"sbatch": sbatch, "supervise": supervise, "srun": srun, "squeue": squeue}
    called |= {"sacct": sacct, "scancel": scancel, "scontrol": scontrol}
    called[sys.argv[1]](*sys.argv[2:])
