"""leadglass.toml: what is unknown or wrong is refused with what would be right."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.config import Settings, parse_address, parse_settings
from leadglass.errors import ConfigurationError


def test_an_empty_file_is_all_defaults_and_nothing_is_weakened() -> None:
    assert parse_settings("") == Settings()
    assert parse_settings("").weakened() == []


def test_the_doors_are_on_loopback_unless_said_otherwise() -> None:
    settings = Settings()
    assert parse_address(settings.dimse.listen).host == parse_address(settings.web.listen).host == "127.0.0.1"
    assert settings.dimse.unsafe_plaintext_listen is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[dimse]\nlisten_on = '0.0.0.0:104'",
            "dimse.listen_on: unknown key 'listen_on'; known here: additional_storage_classes, artim_timeout_seconds",
        ),
        ("[dicom]\nport = 104", "dicom: unknown key 'dicom'; known here: archive, dimse, keys, pages, pixels, storage, web"),
        ("[dimse]\nlisten = 'everywhere'", "is not HOST:PORT, as in 127.0.0.1:2762"),
        ("[dimse]\nmax_associations = 0", "dimse.max_associations: Input should be greater than or equal to 1"),
        ("[dimse]\nmax_associations = '7'", "dimse.max_associations: Input should be a valid integer"),
        ("[archive]\naet = 'SEVENTEEN LETTERS'", "archive.aet"),
        ("[archive]\naet = 'A\\\\B'", "archive.aet"),
        ("[archive", "is not TOML"),
    ],
)
def test_a_fault_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_settings(text)
    assert says in str(refused.value)


def test_what_weakens_a_default_is_told() -> None:
    text = "[keys]\nunsafe_key_beside_data = true\n[dimse]\nunsafe_plaintext_listen = '127.0.0.1:104'"
    assert [line.split(":")[0] for line in parse_settings(text).weakened()] == [
        "keys.unsafe_key_beside_data",
        "dimse.unsafe_plaintext_listen",
    ]


def test_every_setting_that_weakens_is_named_unsafe_and_told() -> None:
    """A setting named unsafe that `weakened` forgets would be silent at every start."""
    unsafe = [
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        for key in field.default.__class__.model_fields
        if key.startswith("unsafe")
    ]
    text = "[keys]\nunsafe_key_beside_data = true\n[dimse]\nunsafe_plaintext_listen = '127.0.0.1:104'"
    assert sorted(unsafe) == sorted(line.split(":")[0] for line in parse_settings(text).weakened())


@pytest.mark.parametrize("key", ["idle_minutes", "longest_hours"])
@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", "1e300", "481"])
def test_no_session_is_made_to_last(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        parse_settings(f"[pages]\n{key} = {value}")


@given(st.text())
def test_any_text_is_settings_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        parse_settings(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_reads_as_it_is_written(host: object, port: int) -> None:
    text = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    assert str(parse_address(text)) == text
