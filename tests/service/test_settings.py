"""Settings: the documented defaults, and the environment above them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "models_dir": Path("models"),
    "reload_s": 2,
    "default_model": "animals-fcn8s-lite0",
    "device": "auto",
    "gpu_memory_bytes": None,
    "max_upload_bytes": 33_554_432,
    "max_pixels": 67_108_864,
    "deadline_s": 30,
    "deadline_s_per_megapixel": 4,
    "queue_megapixels": 64,
    "log_format": "text",
    "api_keys": (),
    "cors_origins": (),
}


def test_the_defaults_are_those_of_the_design() -> None:
    assert Settings().model_dump() == DEFAULTS


def test_each_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: value for name, value in DEFAULTS.items() if value != ()} | {
        "port": 9000,
        "device": "cpu",
        "gpu_memory_bytes": 1 << 30,
        "deadline_s": 0.5,
    }
    for name, value in given.items():
        monkeypatch.setenv(f"SEGMENT_{name.upper()}", str(value))
    assert Settings().model_dump().items() >= given.items()


def test_keys_and_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENT_API_KEYS", " one, two ,,")
    origins = ("https://a.example", "http://127.0.0.1:3000", "http://[::1]:3000", "moz-extension://1f-2e", "null", "*")
    monkeypatch.setenv("SEGMENT_CORS_ORIGINS", ",".join(origins))
    assert Settings().api_keys == ("one", "two")
    assert Settings().cors_origins == origins


@pytest.mark.parametrize(("key", "kind"), [("se cret", "a space"), ("se\x7fcret", "a control"), ("“secret”", "outside ASCII")])
def test_a_key_that_not_every_client_can_send_is_refused_without_repeating_it(
    key: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENT_API_KEYS", f"fine!~,{key}")
    with pytest.raises(ValidationError) as refused:
        Settings()
    [fault] = refused.value.errors()
    assert kind in fault["msg"] and "key 2" in fault["msg"] and "cret" not in fault["msg"]


def test_an_empty_list_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENT_API_KEYS", "")
    assert Settings().api_keys == ()


def test_variables_without_the_prefix_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("DEVICE", "cuda")
    assert (Settings().port, Settings().device) == (8000, "auto")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("DEVICE", "gpu"),
        ("DEVICE", "CUDA"),
        ("MAX_UPLOAD_BYTES", "0"),
        ("MAX_UPLOAD_BYTES", "1MB"),
        ("MAX_PIXELS", "0"),
        ("MAX_PIXELS", "178956971"),
        ("DEADLINE_S", "0"),
        ("DEADLINE_S", "nan"),
        ("DEADLINE_S_PER_MEGAPIXEL", "-1"),
        ("QUEUE_MEGAPIXELS", "0"),
        ("QUEUE_MEGAPIXELS", "nan"),
        ("HOST", ""),
        ("MODELS_DIR", ""),
        ("API_KEYS", " , "),
        ("API_KEYS", "\udcff,abc"),
        ("API_KEYS", "Schlüssel"),
        ("API_KEYS", "a,two words"),
        ("API_KEYS", "tab\tbed"),
        ("API_KEYS", "zero\u200bwidth"),
        ("CORS_ORIGINS", "https://a.example/"),
        ("CORS_ORIGINS", "https://a.example,b.example"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "https://A.example"),
        ("CORS_ORIGINS", "https://user@a.example"),
        ("CORS_ORIGINS", "https://a.example:"),
        ("RELOAD_S", "inf"),
        ("RELOAD_S", "1e12"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"SEGMENT_{name}", value)
    with pytest.raises(ValidationError, match=f"(?i){name}"):
        Settings()
