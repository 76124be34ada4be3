"""Disks as the io controller names them."""

from __future__ import annotations

import os

import pytest

from kit.cgroups import disks
from kit.cgroups.errors import CgroupError


@pytest.mark.needs("root", "losetup")
def test_a_disk_is_known_by_its_device_file_and_its_number(disk):
    number = disks.number("io.max", disk)
    assert disks.number("io.max", number) == number
    assert number in [one.number for one in disks.disks()]
    one = next(one for one in disks.disks() if one.number == number)
    assert one.path == disk and one.size == 16 << 20 and str(one) == f"{disk} ({number})"


def test_the_disk_below_a_file_is_a_whole_one_or_none():
    below = disks.below(os.getcwd())
    assert below is None or below.number in [one.number for one in disks.disks()]
    assert disks.below("/proc") is None


def test_a_scratch_directory_lies_on_the_disk_named_and_goes_away():
    try:
        with disks.scratch() as (directory, disk):
            assert disks.below(str(directory)) == disk and directory.is_dir()
    except CgroupError as none:
        pytest.skip(str(none))
    assert not directory.exists()
