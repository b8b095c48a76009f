"""Cookies and forms are read as they were written, and nothing else is read as one."""

import string
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from leadglass.errors import BadInput
from leadglass.wire.pages import forms
from leadglass.wire.pages.visit import FORM, LANGUAGE, SESSION

SIGNS = string.ascii_letters + string.digits + "-_"
VALUES = st.text(SIGNS, min_size=1, max_size=128)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def shown(*fields: str) -> Headers:
    return Headers(raw=[(b"cookie", field.encode("latin-1")) for field in fields])


@given(st.sampled_from([SESSION, FORM, LANGUAGE]), VALUES, st.booleans())
def test_a_cookie_comes_back_as_it_was_given_and_goes_to_nobody_else(name: str, value: str, lasting: bool) -> None:
    pair, *attributes = forms.cookie(name, value, lasting=lasting).split("; ")
    # RFC 6265bis 4.1.3.2: the prefix has browsers refuse it from another host, another path and a connection without TLS.
    assert pair == f"__Host-{name}={value}"
    assert [each for each in attributes if not each.startswith("Max-Age")] == ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"]
    assert forms.cookie_of(shown(f"theirs=1; {pair};other"), name) == value
    assert forms.cookie_of(shown("theirs=1", pair), name) == value
    # Two of a name are an attempt to slip one in.
    assert forms.cookie_of(shown(f"{pair}; {pair}"), name) is None
    assert forms.cookie_of(shown(pair, pair), name) is None


@given(st.text(st.characters(max_codepoint=255), max_size=140))
def test_what_none_of_ours_looks_like_is_none(value: str) -> None:
    found = forms.cookie_of(shown(f"__Host-{SESSION}={value}"), SESSION)
    assert found is None or (found == value.partition(";")[0].strip() and 0 < len(found) <= 128 and set(found) <= set(SIGNS))


@given(st.dictionaries(TEXTS, TEXTS, max_size=forms.MAX_FIELDS))
def test_a_form_is_read_as_it_was_sent(fields: dict[str, str]) -> None:
    assert forms.read_pairs(urlencode(fields)) == fields


@given(st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=5), st.data())
def test_a_field_that_is_given_twice_and_a_field_too_many_are_refused(fields: dict[str, str], data: st.DataObject) -> None:
    twice = data.draw(st.sampled_from(sorted(fields)))
    with pytest.raises(BadInput):
        forms.read_pairs(urlencode([*fields.items(), (twice, "x")]))
    with pytest.raises(BadInput):
        forms.read_pairs("&".join(f"{number}=" for number in range(forms.MAX_FIELDS + 1)))


@given(VALUES, VALUES, VALUES)
def test_a_token_is_that_of_one_session_under_one_key(key: str, one: str, other: str) -> None:
    token = forms.token_for(key.encode(), one)
    assert len(token) == 64
    assert (token == forms.token_for(key.encode(), other)) == (one == other)
    assert token != forms.token_for(key.encode() + b"x", one)
