"""Run the benchmarks of the service, or those that are named, and print one table.

python -m tests.benchmarks [NAME ...]
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import onnxruntime as ort

from service.process import usable_cpus
from tests.benchmarks.table import FAILED, HEADER, line
from tests.service_process import ROOT
from training.machine import current_commit, processor_name

PREFIX = "bench_"
NAMES = sorted(file.stem.removeprefix(PREFIX) for file in Path(__file__).parent.glob(f"{PREFIX}*.py"))
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp")  # that decide how fast fp32 and int8 are


def machine() -> str:
    """Where, and of what, the table was measured."""
    file = Path("/proc/cpuinfo")
    words = file.read_text().split() if file.exists() else []
    flags = " ".join(flag for flag in FLAGS if flag in words) or "no flags that matter"
    return f"{processor_name()}, {usable_cpus()} cores, {flags}; onnxruntime {ort.__version__}; commit {current_commit()}"


def lines(module: str) -> Generator[str, None, None]:
    """What a benchmark prints, and a row of the table where it has printed none or did not end well.

    It runs in a process of its own: what one leaves in memory is no part of the next. And in a session of its own: Ctrl-C
    reaches it once, as the SIGTERM from here, and it stops what it has started.
    """
    command, row = module.rpartition(".")[2], ""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", module], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout
        for text in process.stdout:
            yield text.rstrip("\n")
            row = text if is_row(text, command) else row
        status = process.wait()
    finally:
        process.terminate()
        process.wait()
    if status and FAILED not in row:
        yield line(command, f"{FAILED}ended with status {status}")
    elif not row:
        yield line(command, "printed a table of its own")


def is_row(text: str, command: str) -> bool:
    """Whether a line that a benchmark printed belongs to the table."""
    return text.startswith(f"| `{command}` |")


def main() -> int:
    """Print what each one measures when it has, then the table; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure, and print one table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all but training_*: {', '.join(NAMES)}")
    names = [name.removeprefix(PREFIX) for name in parser.parse_args().names]
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(NAMES)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that what runs is stopped
    title, rows = f"Measured on {machine()}.\n", list[str]()
    try:
        for name in names or [name for name in NAMES if not name.startswith("training_")]:
            with closing(lines(f"{__package__}.{PREFIX}{name}")) as printed:
                for text in printed:
                    print(text, flush=True)
                    rows += [text] if is_row(text, f"{PREFIX}{name}") else []
    finally:
        print("", title, HEADER, *rows, sep="\n", flush=True)
    return int(any(FAILED in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
