"""Whatever botocore signs is verified, and whatever is changed after it is not."""

import string

from hypothesis import given
from hypothesis import strategies as st

from aws.helpers import ACCESS_KEY_ID, NOW, SECRET, changed, signature_of, signed
from hsmkms.server.aws import sigv4
from hsmkms.server.aws.errors import SignatureError

NAMES = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12).filter(
    lambda name: name.lower() not in {
        "host", "date", "authorization", "expect", "user-agent", "x-amzn-trace-id", "transfer-encoding", "connection",
        "content-length", "x-amz-content-sha256", "x-amz-date",
    }
)  # fmt: skip
VALUES = st.text(string.printable.translate({ord(c): None for c in "\r\n\t\x0b\x0c"}), max_size=30)
SEGMENTS = st.lists(st.sampled_from(["a", "b%20c", "..", ".", "", "~_-", "%C3%A9", "d+e"]), max_size=5)
QUERIES = st.lists(st.tuples(st.sampled_from(["A", "b", "A%2F", "c-_.~"]), st.sampled_from(["", "1", "%20", "x%3Dy"])))
BODIES = st.binary(max_size=200)


def verified(request, secret=SECRET):
    try:
        found = sigv4.parse(request)
    except SignatureError:
        return False
    return sigv4.matches(found, sigv4.signing_key(secret.encode(), found.scope))


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    segments=SEGMENTS,
    query=QUERIES,
    headers=st.dictionaries(NAMES, VALUES, max_size=5),
    body=BODIES,
    secret=st.text(string.ascii_letters + string.digits + "+/", min_size=1, max_size=40),
)
def test_what_botocore_signs_is_verified(method, segments, query, headers, body, secret):
    unique = {name.lower(): value for name, value in headers.items()}
    url = "https://kms.example.test/" + "/".join(segments)
    if query:
        url += "?" + "&".join(f"{name}={value}" for name, value in query)
    request = signed(method=method, url=url, headers=unique, body=body, secret=secret)
    found = sigv4.parse(request)
    assert found.scope.access_key_id == ACCESS_KEY_ID
    assert found.time == NOW
    assert found.signature == signature_of(found, secret)
    assert verified(request, secret)
    assert not verified(request, secret + "x")


@given(st.data())
def test_what_was_changed_after_it_is_not(data):
    request = signed(url="https://kms.example.test/?a=1")
    kind = data.draw(st.sampled_from(["method", "path", "query", "header", "body", "signature", "scope"]))
    values = {name: getattr(request, name) for name in ("method", "path", "query", "headers", "body")}
    if kind == "method":
        values["method"] = data.draw(st.sampled_from(["GET", "PUT", "post"]))
    elif kind == "path":
        values["path"] = data.draw(st.sampled_from([b"/x", b"//x", b"/%2e", b"/ "]))
    elif kind == "query":
        values["query"] = data.draw(st.sampled_from([b"", b"a=2", b"a=1&b=", b"A=1", b"a=%31x"]))
    elif kind == "body":
        values["body"] = data.draw(BODIES.filter(lambda body: body != request.body))
    elif kind == "header":
        name = data.draw(st.sampled_from(["host", "content-type", "x-amz-date", "x-amz-target"]))
        text = request.header(name) or ""
        place = data.draw(st.integers(0, len(text)))
        values["headers"] = changed(request, **{name.replace("-", "_"): text[:place] + "x" + text[place:]}).headers
    else:
        text = request.header("authorization") or ""
        start = text.index("Signature=") + 10 if kind == "signature" else text.index("/2026")
        place = data.draw(st.integers(start, len(text) - 1 if kind == "signature" else text.index(",") - 1))
        other = data.draw(st.sampled_from("0123456789abcdefgA/").filter(lambda c: c != text[place]))
        values["headers"] = changed(request, authorization=text[:place] + other + text[place + 1 :]).headers
    assert not verified(sigv4.HttpRequest(**values))
