"""Settings from the environment, prefix `SEGMENT_`. Every default is safe: loopback, no CORS, limits on."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PILLOW_MAX_PIXELS = 178_956_970  # Pillow itself refuses larger images: twice its Image.MAX_IMAGE_PIXELS
Device = Literal["auto", "cpu", "cuda"]
LogFormat = Literal["text", "json"]
# As browsers send it, or `*` for any: in lower case, without user, path or wildcard.
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?")
_UNSENDABLE = re.compile(r"[^!-~]")  # in an API key: other characters are not sent, or by each client in an encoding of its own
CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """The settings that an operator can choose."""

    model_config = SettingsConfigDict(env_prefix="SEGMENT_", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0: all")
    port: int = Field(8000, ge=0, le=65535, description="0: any that is free")
    models_dir: Path = Field(Path("models"), description="folder of model files, and all folders below")
    reload_s: float = Field(2, ge=0, le=86_400, description="seconds between looks at the models folder; 0: only at the start")
    default_model: str = Field("animals-fcn8s-lite0", description="answers where a request names none")
    device: Device = Field("auto", description="auto, cpu, or cuda, which does not start where CUDA is not in use")
    gpu_memory_bytes: int | None = Field(None, ge=1, description="most that a session allocates: a model's, or a tiled part's")
    max_upload_bytes: int = Field(33_554_432, ge=1, description="of the whole body, chunked included")
    max_pixels: int = Field(67_108_864, ge=1, le=PILLOW_MAX_PIXELS, description="width x height, read from the image's header")
    deadline_s: float = Field(30, gt=0, description="seconds from the end of the upload to the answer")
    deadline_s_per_megapixel: float = Field(4, ge=0, description="seconds more for each megapixel of working size")
    queue_megapixels: float = Field(64, gt=0, description="working size of all accepted requests together")
    log_format: LogFormat = Field("text", description="text or json")
    api_keys: CommaSeparated = Field((), description="comma-separated, sent as X-API-Key or Authorization: Bearer; none: open")
    cors_origins: CommaSeparated = Field(
        (), description="comma-separated, as https://host; none: no other site's pages may ask"
    )

    @field_validator("host")
    @classmethod
    def _can_be_looked_up(cls, value: str) -> str:
        value.encode("idna")  # as the socket will; raises UnicodeError, a ValueError, for a label of more than 63 characters
        return value

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        value.encode()  # raises UnicodeEncodeError, a ValueError, for bytes that are not UTF-8
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if value and not parts:  # keys were intended, but without any the service would be open
            raise ValueError("nothing but commas and spaces")
        return parts

    @field_validator("api_keys")
    @classmethod
    def _as_every_client_sends_them(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for number, key in enumerate(keys, 1):  # the message must not repeat the key
            if wrong := _UNSENDABLE.search(key):
                kind = "a space or a control character" if wrong[0].isascii() else "a character outside ASCII"
                raise ValueError(f"key {number} holds {kind}: use letters, digits and punctuation marks of ASCII")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):  # it would never match
                raise ValueError(f"{origin!r} is no origin: scheme://host or scheme://host:port, with nothing after it")
        return origins

    @field_validator("models_dir", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if value == "":  # as a path it is the working directory, and all folders below would be searched
            raise ValueError("no folder is named")
        return value


def variables() -> dict[str, FieldInfo]:
    """The setting of each environment variable, by the variable's name."""
    return {f"SEGMENT_{name.upper()}": field for name, field in Settings.model_fields.items()}


def fault_lines(error: ValidationError) -> list[str]:
    """A line for each setting that was refused, named by its variable; without the error's copy of the value, maybe a key."""
    return [f"SEGMENT_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors()]


if __name__ == "__main__":  # for programs that do not import the service: the trainer asks where it will listen
    try:
        print(Settings().model_dump_json(include={"host", "port", "models_dir"}))
    except ValidationError as error:
        sys.exit("; ".join(fault_lines(error)))
