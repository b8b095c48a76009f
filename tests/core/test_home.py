"""HOME: who may own it, and what it must look like."""

import multiprocessing
import os
from pathlib import Path

import pytest

from leadglass.errors import ConfigurationError, HomeInUse, Refused
from leadglass.home import Home


def _try_to_own(path: Path) -> str:
    try:
        with Home(path).owned():
            return "owned"
    except HomeInUse:
        return "in use"


def test_one_process_owns_home(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as other:
        with Home(tmp_path).owned():
            assert other.apply(_try_to_own, (tmp_path,)) == "in use"
        assert other.apply(_try_to_own, (tmp_path,)) == "owned"


def test_owning_leaves_no_file_behind(tmp_path: Path) -> None:
    with Home(tmp_path).owned():
        assert list(tmp_path.iterdir()) == []


def test_a_folder_without_settings_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="leadglass init"):
        Home(tmp_path).require()


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leadglass.toml").touch()
    tmp_path.chmod(0o750)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        Home(tmp_path).require()
    tmp_path.chmod(0o700)
    Home(tmp_path).require()


def test_another_accounts_home_is_not_worked_on(tmp_path: Path) -> None:
    """What root wrote into it, the archive's own account could not read any more."""
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(Refused, match="uid 65534"), Home(tmp_path).owned():
        raise AssertionError
