"""How an image may arrive as a multipart form, and what is refused."""

import encodings

import pytest
from fastapi.testclient import TestClient

from service.http.query import SegmentQuery
from service.http.uploads import FIELD
from tests.service.helpers.answers import assert_problem
from tests.service.helpers.pictures import encoded, flag

IMAGE = encoded(flag())
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def part(*parameters: str, content: bytes = IMAGE) -> bytes:
    """One part of a form."""
    disposition = "; ".join(["form-data", *parameters]).encode()
    return b"--x\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + content + b"\r\n"


FILE = part('name="file"', 'filename="a.png"')
END = b"--x--\r\n"


MALFORMED = {
    "no part": (END, 422),
    "nothing": (b"", 400),
    "cut in the image": (FILE[:-40], 400),
    "cut in the header": (FILE[:30], 400),
    "no end": (FILE, 400),
    "another field": (part('name="image"', 'filename="a.png"') + END, 422),
    "a text": (part('name="file"') + END, 422),
    "a text after the file": (FILE + part('name="file"', content=b"text") + END, 422),
    "other fields beside it": (part('name="a"', content=b"1") + FILE + END, 200),
    "two files": (FILE + FILE + END, 400),
    "two files of two names": (FILE + part('name="b"', 'filename="b.png"') + END, 400),
    "no name": (part('filename="a.png"') + END, 400),
    "no disposition": (b"--x\r\n\r\n" + IMAGE + b"\r\n" + END, 400),
    "another boundary": (FILE.replace(b"--x", b"--y") + END, 400),
    "no boundary": (IMAGE, 400),
    "a header that is none": (b"--x\r\n\xff\xfe\r\n\r\n" + IMAGE + b"\r\n" + END, 400),
    "a text of two megabytes": (part('name="a"', content=bytes(2_000_000)) + FILE + END, 400),
    "100,000 fields": (part('name="a"', content=b"") * 100_000 + FILE + END, 400),
    "a header of two megabytes": (b"--x\r\nX: " + b"y" * 2_000_000 + b"\r\n\r\n" + IMAGE + END, 400),
    "100,000 headers": (b"--x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n" + IMAGE + END, 400),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_form_is_taken_or_refused_with_a_problem(name: str, colors: TestClient) -> None:
    content, status = MALFORMED[name]
    response = colors.post("/segment", content=content, headers=FORM)
    if status == 200:
        assert response.status_code == 200
    else:
        assert_problem(response, status, "form", limit=response.json().get("limit"))


@pytest.mark.parametrize("parameters", ["", "; boundary=", "; boundary=\x80", "; charset=utf-8", "; boundary=" + "x" * 9000])
def test_a_form_without_a_usable_boundary_is_refused(parameters: str, colors: TestClient) -> None:
    kind = ("multipart/form-data" + parameters).encode("latin-1")
    assert_problem(colors.post("/segment", content=FILE + END, headers={"Content-Type": kind}), 400, "malformed form")


@pytest.mark.parametrize("boundary", ["x", "ab-", "-"])
@pytest.mark.parametrize(("rest", "status"), [(b"", 422), (b"\r\nafter the end, as RFC 2046 allows" * 9, 422), (None, 400)])
def test_a_form_is_whole_once_its_last_boundary_has_come(
    boundary: str, rest: bytes | None, status: int, colors: TestClient
) -> None:
    text = part('name="a"', content=b"1" * 4000).replace(b"--x", b"--" + boundary.encode())
    pieces = [text, *([] if rest is None else [f"--{boundary}-".encode(), b"-\r\n" + rest])]
    answer = colors.post(
        "/segment", content=iter(pieces), headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )
    assert_problem(answer, status, "cut short" if rest is None else "no file")


@pytest.mark.parametrize("name", SegmentQuery.model_fields)
def test_a_parameter_in_the_form_is_refused_and_told_where_it_belongs(name: str, colors: TestClient) -> None:
    answer = colors.post("/segment", files={FIELD: IMAGE}, data={name: "x"})
    assert_problem(answer, 422, f"/segment?{name}=")


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"iso-8859-1"', "us-ascii"])
def test_a_form_may_be_in_one_of_the_usual_charsets(charset: str, colors: TestClient) -> None:
    kind = f"{FORM['Content-Type']}; charset={charset}"
    assert colors.post("/segment", content=FILE + END, headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize("charset", ["", "klingon", "undefined", "punycode", "utf_7", "\x80", "z" * 60_000])
def test_any_other_charset_of_a_form_is_refused_and_not_kept(charset: str, colors: TestClient) -> None:
    """Python keeps every name of a codec that it does not find; some codecs raise, or take seconds for a megabyte."""
    known = set(encodings._cache)
    kind = f"{FORM['Content-Type']}; Charset={charset}".encode("latin-1")
    answer = colors.post("/segment", content=FILE + END, headers={"Content-Type": kind})
    assert_problem(answer, 400, "malformed form", "charset")
    assert set(encodings._cache) == known


def test_a_charset_of_one_part_of_a_form_is_not_looked_for(colors: TestClient) -> None:
    known = set(encodings._cache)
    field = part('name="a"', "filename*=klingon''b").replace(
        b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=romulan\r\n\r\n", 1
    )
    assert colors.post("/segment", content=field + FILE + END, headers=FORM).status_code == 200
    assert set(encodings._cache) == known


def test_an_image_in_a_form_needs_a_file_name_and_that_is_told(colors: TestClient) -> None:
    """As curl sends it for `file=<cat.jpg`."""
    for content, status in ((IMAGE[:3000], 422), (IMAGE + bytes(4096), 400)):
        answer = colors.post("/segment", content=part(f'name="{FIELD}"', content=content) + END, headers=FORM)
        assert_problem(answer, status, "file name", limit=4096 if status == 400 else None)


@pytest.mark.parametrize(("kind", "limit"), [('name="a"; filename="a"', 1), ('name="a"', 16)], ids=["files", "fields"])
def test_the_most_parts_of_a_form_are_told(kind: str, limit: int, colors: TestClient) -> None:
    answer = colors.post("/segment", content=part(kind, content=b"") * (limit + 1) + END, headers=FORM)
    assert_problem(answer, 400, "Too many", limit=limit)


@pytest.mark.parametrize("missing", [4, 5, 20, 100])
def test_a_form_that_is_cut_short_is_400(missing: int, colors: TestClient) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    content = head + IMAGE + b"\r\n--x--\r\n"
    assert colors.post("/segment", content=content, headers=FORM).status_code == 200
    assert_problem(colors.post("/segment", content=content[:-missing], headers=FORM), 400, "cut short")
