"""The trainer's command line: `python -m training --help` lists the commands."""

import argparse
import io
import os
import sys
from types import ModuleType

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported, which the commands do
try:
    from training.commands import check_data, download, evaluate, export, memory, overfit, presets, report, train
    from training.errors import GateError, InputError
    from training.machine import is_out_of_memory
except ModuleNotFoundError as error:  # an installation of the service alone lacks the trainer's packages
    sys.exit(f"python -m training: {error}; `make train` installs what it needs")

USER_ERROR, GATE_REFUSED, INTERRUPTED = 2, 1, 130  # exit codes

COMMANDS: dict[str, ModuleType] = {
    "presets": presets,
    "download": download,
    "check-data": check_data,
    "memory": memory,
    "overfit": overfit,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "report": report,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code. An error that the user can correct becomes one line on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name can hold what it cannot encode
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except InputError as error:
        return _fail(str(error), USER_ERROR)
    except OSError as error:
        return _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error), USER_ERROR)
    except GateError as error:
        return _fail(str(error), GATE_REFUSED)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).splitlines() or ["nothing more is known"]
        return _fail(f"out of memory: {said[-1]}", USER_ERROR)
    except KeyboardInterrupt:
        goes_on = ": the same command goes on where the run was last saved" if arguments.run is train.run else ""
        return _fail(f"interrupted{goes_on}", INTERRUPTED)
    return code


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and their options."""
    top = argparse.ArgumentParser(prog="python -m training", description="Train, measure and export segmentation models.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        described = str(command.__doc__)
        added = commands.add_parser(name, help=described.splitlines()[0].rstrip("."), description=described)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return top


def _fail(message: str, code: int) -> int:
    print(f"python -m training: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
