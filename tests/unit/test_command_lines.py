"""Command lines are read as Xen and Linux read them, and vtool's own words win."""

from __future__ import annotations

import pytest

from tests.errors.test_errors import HERE, found_in
from vtool.base.units import GIB, MIB
from vtool.diagnostics import Severity
from vtool.platform.command_lines import dom0_memory, last, linux_words, number_of, xen_words


def test_xen_splits_at_spaces_and_names_are_exact() -> None:
    words = xen_words('  dom0_mem=1G dom0-mem=2G  iommu="a b"')
    assert [(word.name, word.value, word.offset) for word in words] == [
        ("dom0_mem", "1G", 2),
        ("dom0-mem", "2G", 14),
        ("iommu", '"a', 27),
        ('b"', "", 36),
    ]


def test_linux_keeps_quoted_spaces_takes_either_dash_and_stops() -> None:
    words = linux_words('root=/dev/vda dyndbg="file a +p" "x y"=1 kvm-arm.mode=none -- mem=1M')
    assert [(word.name, word.value) for word in words] == [
        ("root", "/dev/vda"),
        ("dyndbg", "file a +p"),
        ("x y", "1"),
        ("kvm_arm.mode", "none"),
    ]
    assert words[1].text == 'dyndbg="file a +p"' and words[1].offset == 14
    assert [word.text for word in linux_words('a "unclosed b')] == ["a", '"unclosed b']


@pytest.mark.parametrize(
    ("value", "shift", "number"),
    [
        ("64M", 0, 64 * MIB),
        ("64m@0x80000000", 0, 64 * MIB),
        ("0x10", 0, 16),
        ("010", 0, 8),
        ("089", 0, 89),
        ("1", 10, 1024),
        ("1b", 10, 1),
        ("2T", 10, 2048 * GIB),
        ("1G,max:2G", 10, GIB),
        ("nopentium", 0, None),
        ("", 0, None),
    ],
)
def test_numbers(value: str, shift: int, number: int | None) -> None:
    assert number_of(value, shift) == number


def test_the_last_dom0_mem_counts() -> None:
    assert dom0_memory("dom0_mem=512M console=dtuart dom0_mem=2G dom0-mem=1M xdom0_mem=1M") == 2 * GIB
    assert dom0_memory("dom0_mem=1048576") == GIB
    assert dom0_memory("console=dtuart") is None
    assert last(linux_words("mem=1 quiet mem=2"), "mem").value == "2"  # type: ignore[union-attr]


def _said(case: str) -> list[tuple[str, str, int]]:
    path = HERE / f"{case}.yaml"
    lines = path.read_text().splitlines()
    return [
        (d.message.split("`")[1], d.severity.value, d.span.column)
        for d in found_in(path)
        if d.span and lines[d.span.line - 1][d.span.column - 1 : d.span.end_column - 1] == d.message.split("`")[1]
    ]


def test_every_word_is_found_where_it_stands() -> None:
    assert [(word, severity) for word, severity, _ in _said("VT355-words-that-vtool-writes")] == [
        ("dom0_mem=8G", "error"),
        ("dom0_max_vcpus=1", "error"),
        ("console=vga", "error"),
        ("console=tty0", "error"),
        ("root=/dev/sda1", "error"),
        ("ro", "error"),
        ("panic=0", "error"),
        ("console=ttyAMA0", "error"),
    ]
    assert [(word, severity) for word, severity, _ in _said("VT355-in-other-spellings")] == [
        ("dom0_mem=1024M", "warning"),
        ("rootwait", "warning"),
        ("systemd.watchdog-sec=5", "error"),
        ("vtool.ip=192.0.2.9/24", "error"),
    ]


def test_what_costs_memory_or_cpus_alone_is_a_warning() -> None:
    severities = {word: severity for word, severity, _ in _said("VT356-what-kvm-needs") + _said("VT356-under-xen")}
    assert severities == {
        "maxcpus=1": "error",
        "kvm-arm.mode=none": "error",
        "acpi=force": "error",
        "nr_cpus=1": "warning",
        "memmap=64M": "warning",
        "swiotlb=65536,noforce": "warning",
        "noinitrd": "error",
        "noreboot": "warning",
        "mem=512M": "warning",
        "nosmp": "warning",
        "swiotlb=noforce": "warning",
        "mem=128M": "warning",
    }


def test_what_linux_takes_for_no_limit_is_no_error() -> None:
    severities = {word: severity for word, severity, _ in _said("VT356-no-size") + _said("VT356-what-is-to-start")}
    assert severities == {
        "mem=": "warning",
        "mem=all": "warning",
        "mem=256": "warning",
        "mem=2M": "error",
        "hugepages=4": "warning",
        "init=/bin/bash": "error",
        "init=/sbin/overlay": "warning",
        "single": "error",
        "systemd.unit=emergency.target": "error",
        "rdinit=/bin/sh": "error",
    }


def test_the_whole_message_of_a_host_with_too_little() -> None:
    (found,) = found_in(HERE / "VT356-less-than-the-host-needs.yaml")
    assert found.message == (
        "`mem=406M` leaves 'host' 406MiB of the RAM, and board 'board0' needs 256.0MiB for its guests and regions, "
        "6.3MiB for Linux's table of pages, 128.0MiB for the host's system, 16.0MiB for QEMU (1 guest)"
    )


def test_the_whole_message_of_memory_below_a_pool() -> None:
    (found,) = found_in(HERE / "VT356-half-of-the-pool.yaml")
    assert found.severity is Severity.ERROR
    assert found.message == (
        "`mem=0x10400000` cuts the memory of 'fe0' at 260MiB; its region 'pool0' lies behind 256MiB"
    )
