"""`python -m service`: serve until SIGTERM or Ctrl-C."""

import gc
import os
import sys
import tempfile
from contextlib import suppress


def main() -> int:
    """Start the service; returns the exit status."""
    gc.disable()  # what is imported now stays: no search among it makes the start, or a request, wait
    # Read when onnxruntime and numpy are imported, so before the imports below; nothing here needs numpy's own threads.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pydantic import ValidationError

    from service.app import create_app
    from service.inference.device import DeviceUnavailable
    from service.logs import configure
    from service.memory import return_freed_memory
    from service.server import DrainingServer, raise_file_limit
    from service.settings import Settings

    gc.freeze()
    gc.enable()
    return_freed_memory()
    raise_file_limit()
    try:
        settings = Settings()
        tempfile.gettempdir()  # for uploads
        configure(settings.log_format)
        app = create_app(settings)
    except (ValidationError, DeviceUnavailable, FileNotFoundError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 2
    with suppress(KeyboardInterrupt):  # which Uvicorn raises again after it has stopped
        DrainingServer(app, settings.host, settings.port).run()
    if not app.state.close():
        os._exit(1)  # Python would take the floor from under the thread that still works
    return 0


if __name__ == "__main__":
    sys.exit(main())
