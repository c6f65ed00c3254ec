"""Which answer an Accept header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.negotiation import preferred_format


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("image/png", "mask"),
        ("IMAGE/PNG", "mask"),
        ("image/*", "mask"),
        ("application/*", "json"),
        ("text/html", "json"),
        ("image/webp", "json"),
        ("image/png, application/json", "json"),
        ("image/png;q=0.9, application/json;q=0.8", "mask"),
        ("image/png;q=0.8, application/json;q=0.9", "json"),
        ("image/png, */*;q=0.1", "mask"),
        ("application/json;q=0.1, */*", "mask"),
        ("image/png;q=0, image/*", "json"),
        ("image/png;q=0, */*;q=0.1", "json"),
        ("image/png;q=0", "json"),
        ("application/json;q=0", "json"),
        ("image/png ; q=0.5 , application/json ; q=0.4", "mask"),
        ("image/png;Q=0.5, application/json;q=0.4", "mask"),
        ("image/png;level=1", "mask"),
        ("image/png;q=nonsense", "json"),
        ("image/png;q=nan", "json"),
        ("image/png;q=", "json"),
        (",,;;,q=1,", "json"),
        ("," * 4000 + "image/png", "mask"),
        ("," * 5000 + "image/png", "json"),  # only the first 4,096 characters are read
        ("image/avif,image/webp,image/png,*/*;q=0.8", "mask"),  # an <img> of a browser
    ],
)
def test_the_format_preferred(accept: str, form: str) -> None:
    assert preferred_format(accept) == form


@given(st.text() | st.text(alphabet="image/pngjso*,;q=0.19 "))
def test_every_header_has_an_answer(accept: str) -> None:
    assert preferred_format(accept) in {"json", "mask"}
