"""The service's log: one line for each request and event, with the request's id, and no content of any image."""

import ctypes
import json
import logging
import time
import warnings
from contextvars import ContextVar

import PIL._imaging

from service.settings import LogFormat

request_id: ContextVar[str] = ContextVar("request_id", default="-")  # of the request being processed
_FIELDS = "fields"  # attribute of a log record: the named values that are logged with its message


def configure(log_format: LogFormat) -> None:
    """Write the log and Python's warnings to standard error, as text for people or as JSON for machines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    # Pillow warns of what is wrong with an image, for some files once for each of their tags, and Python would keep every text.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it also logs some faults as errors
    _silence_libtiff()
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings quote bytes of the uploaded form


def _silence_libtiff() -> None:
    """Stop libtiff's own lines on standard error, unless it is a part of Pillow's module and so cannot be reached."""
    library = ctypes.CDLL(PIL._imaging.__file__)  # a name is looked up in the libraries that the module needs, too
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if (set_handler := getattr(library, name, None)) is not None:
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)


def event(logger: logging.Logger, message: str, **fields: str | int | float) -> None:
    """Log a message with named values."""
    logger.info(message, extra={_FIELDS: fields})


def _entries(record: logging.LogRecord) -> dict[str, object]:
    return {"request_id": request_id.get(), **getattr(record, _FIELDS, {})}


class TextFormatter(logging.Formatter):
    """Lines for people; a traceback follows its line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        entries = " ".join(f"{name}={value}" for name, value in _entries(record).items() if value != "-")
        line, *more = super().format(record).split("\n")
        return "\n".join([f"{line} {entries}".rstrip(), *more])


class JsonFormatter(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        entries = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_entries(record),
        }
        if record.exc_info:
            entries["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entries)
