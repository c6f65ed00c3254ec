"""`python -m service`: serve until SIGTERM or Ctrl-C."""

import gc
import logging
import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress


def main() -> int:
    """Run the service until it is stopped; returns the exit status."""
    if sys.argv[1:]:
        return _explain(sys.argv[1:])

    def end_at_once(number: int, frame: object) -> None:
        # Not by an exception: imports run callbacks of weak references, where Python only prints it.
        os._exit(128 + number)

    interrupt = signal.signal(signal.SIGINT, end_at_once)
    is_first = os.getpid() == 1  # as in a container: the kernel delivers to process 1 only signals that have a handler
    if is_first:
        signal.signal(signal.SIGTERM, end_at_once)
    gc.disable()  # imported objects live as long as the process: once frozen below, they are never scanned by the collector
    # onnxruntime and numpy read these variables when they are imported below. The service does not need numpy's threads.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import onnxruntime as ort
    from pydantic import ValidationError

    from service.inference.models.repository import load_models
    from service.inference.sessions.device import FATAL, DeviceUnavailable, may_use_cuda
    from service.logs import configure
    from service.process import raise_file_limit, return_freed_memory
    from service.settings import Settings, fault_lines, variables

    return_freed_memory()
    raise_file_limit()
    try:
        settings = Settings()
        tempfile.gettempdir()  # raises FileNotFoundError where uploads have no folder
        configure(settings.log_format)
        # Only ONNX Runtime's own log says why CUDA does not start, so that log stays on where CUDA may be tried. Elsewhere it
        # is off: every error in it is raised as well, and then logged in the service's own format.
        if not may_use_cuda(settings.device):
            ort.set_default_logger_severity(FATAL)
        if unknown := sorted(name for name in os.environ if name.startswith("SEGMENT_") and name not in variables()):
            logging.getLogger(__name__).warning("not a setting, ignored: %s", ", ".join(unknown))
        # Mostly native code loads the models, so another core can do that beside the imports for HTTP, a third of the start.
        loader = ThreadPoolExecutor(1, "loader")
        loading = loader.submit(load_models, settings)
        loader.shutdown(wait=False)
        from service.app import create_app
        from service.http.lifecycle import Lifecycle
        from service.server import DrainingServer

        gc.freeze()
        gc.enable()
        app = create_app(settings, loading.result())
    except (ValidationError, DeviceUnavailable, FileNotFoundError) as error:
        reasons = fault_lines(error) if isinstance(error, ValidationError) else [str(error)]
        print(*(f"cannot start: {reason}" for reason in reasons), sep="\n", file=sys.stderr)
        return 2
    server = DrainingServer(app, settings.host, settings.port)
    # Uvicorn replaces these handlers while it runs, then restores them and raises the signal again.
    signal.signal(signal.SIGINT, interrupt)
    if is_first:
        signal.signal(signal.SIGTERM, server.handle_exit)
    with suppress(KeyboardInterrupt):  # Uvicorn raises it again after it has stopped
        server.run()
    # A thread may still be in native code, such as a worker that hangs, or one that tries out a model file: an ordinary exit
    # would destroy the interpreter that it uses.
    os._exit(0 if Lifecycle.of(app).close() else 1)  # again, in case the application's lifespan was not run to its end


def _explain(arguments: list[str]) -> int:
    """Print the usage and all settings, which are environment variables; returns the exit status, 0 if help was asked for."""
    from service.settings import variables

    asked = arguments in (["-h"], ["--help"])
    lines = ["usage: python -m service", "", "Serves until SIGTERM or Ctrl-C. Settings are environment variables:", ""]
    lines += [f"  {name:<34}{field.description} [{field.get_default() or ''}]" for name, field in variables().items()]
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
