"""Matching against a second implementation, written from the text of PS3.4 C.2.2.2 with regular expressions and Python's own dates."""

import re
from datetime import date, time

from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.matching import matches, parse_match

ACCENTS = str.maketrans("äöüéèñçåøÄÖÜÉÈÑÇÅ", "aoueencaøaoueenca")
LETTERS = "abzABZäöüéñÄÉ山田太郎김희やま"


def plain(text: str) -> str:
    """Without case and accents, by a table of the letters that are drawn here."""
    return text.translate(ACCENTS).lower()


def fits(pattern: str, text: str) -> bool:
    expression = "".join(".*" if each == "*" else "." if each == "?" else re.escape(each) for each in pattern)
    return bool(text) and re.fullmatch(expression, text, re.DOTALL) is not None


def components(group: str) -> str:
    return plain(group).rstrip("^")


def name_fits(pattern: str, name: str) -> bool:
    groups = [*map(components, name.split("=")), "", "", ""][:3]
    wanted = [components(group) for group in pattern.split("=")]
    if not "".join(wanted).strip("*"):
        return True
    if len(wanted) == 1:
        return any(fits(wanted[0], group) for group in groups)
    return all(not each.strip("*") or fits(each, group) for each, group in zip(wanted, groups, strict=False))


part = st.text(LETTERS, max_size=3)
group = st.lists(part, max_size=3).map("^".join)
names = st.lists(group, min_size=1, max_size=3).map("=".join)
patterns = st.lists(st.text(LETTERS + "*?^", max_size=5), min_size=1, max_size=3).map("=".join)


@given(names, patterns)
def test_person_names(name: str, pattern: str) -> None:
    assert matches("PatientName", parse_match("PatientName", pattern), name) == name_fits(pattern, name)


@given(names, st.data())
def test_person_names_by_what_they_begin_with(name: str, data: st.DataObject) -> None:
    pattern = "=".join(each[: data.draw(st.integers(0, len(each)))] + "*" for each in name.split("="))
    assert matches("PatientName", parse_match("PatientName", pattern), name) == name_fits(pattern, name)


@given(st.text("ab%_?*[]é", max_size=6), st.text("ab%_[]é", max_size=6))
def test_text(pattern: str, value: str) -> None:
    expected = True if not pattern.strip("*") else fits(pattern, value)
    assert matches("StudyDescription", parse_match("StudyDescription", pattern), value) == expected


dates = st.dates(date(2019, 12, 30), date(2020, 1, 3))


@given(st.none() | dates, st.none() | dates, dates)
def test_ranges_of_dates(low: date | None, high: date | None, at: date) -> None:
    if low is None and high is None:
        return
    key = f"{low:%Y%m%d}-" if high is None else f"-{high:%Y%m%d}" if low is None else f"{low:%Y%m%d}-{high:%Y%m%d}"
    assert matches("StudyDate", parse_match("StudyDate", key), f"{at:%Y%m%d}") == ((low or at) <= at <= (high or at))


minutes = st.times().map(lambda each: time(each.hour, each.minute))


@given(minutes, minutes, st.times())
def test_ranges_of_times_given_in_minutes(low: time, high: time, at: time) -> None:
    expected = low <= at and (at.hour, at.minute) <= (high.hour, high.minute)
    assert matches("StudyTime", parse_match("StudyTime", f"{low:%H%M}-{high:%H%M}"), f"{at:%H%M%S.%f}") == expected


@given(st.lists(st.sampled_from(["1.2", "1.2.3", "1.20"]), min_size=1), st.sampled_from(["1.2", "1.2.3", "1.20", "1.2.30"]))
def test_lists_of_uids(uids: list[str], uid: str) -> None:
    assert matches("StudyInstanceUID", parse_match("StudyInstanceUID", "\\".join(uids)), uid) == (uid in uids)
