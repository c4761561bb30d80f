"""What a file is: said at the key that names it, in place of what is wanted. The files are made here, not kept."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from vtool.cli.common import examine
from vtool.cli.main import main
from vtool.diagnostics import Diagnostic, Severity, format_diagnostic
from vtool.files.boot_files import look_at
from vtool.files.kinds import Kind, kind_of
from vtool.images import KERNEL_BYTES, RAMDISKS
from vtool.images.build import cached
from vtool.images.named_files import files_of, why_unfit
from vtool.model.validate import validate
from vtool.reading.source import load

ROOT = Path(__file__).resolve().parents[2]
IMAGE = b"MZ" + bytes(6) + struct.pack("<QQ", 0, 40 << 20) + bytes(32) + b"ARM\x64" + bytes(4) + b"Linux version 6.12"
XEN = IMAGE.replace(b"Linux version 6.12", b"Xen version %d.%d%s (%s)")
CPIO = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=b"README.md", capture_output=True, cwd=ROOT).stdout


def at(offset: int, magic: bytes, size: int = 1024) -> bytes:
    data = bytearray(b"\xee" * size)
    data[offset : offset + len(magic)] = magic
    return bytes(data)


def elf(machine: int) -> bytes:
    return b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def pe(machine: int) -> bytes:
    return b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + struct.pack("<H", machine) + bytes(100)


def of_sections(start: int, size: int) -> bytes:
    """Make an image with the header of an EFI program (CONFIG_EFI), whose one section ends with it."""
    section = b".data\0\0\0" + bytes(8) + struct.pack("<II", size, start) + bytes(16)
    program = b"PE\0\0" + struct.pack("<HH12xHH", 0xAA64, 1, 8, 0) + bytes(8) + section
    begin = b"MZ" + IMAGE[2:60] + struct.pack("<I", 64) + program
    return begin.ljust(start + size, b"\x01")


def tree(source: str) -> bytes:
    dtc = ["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-"]
    return subprocess.run(dtc, input=source.encode(), capture_output=True, check=True).stdout


TREE = tree("/dts-v1/; / { a = <1>; };")
FIT = tree("/dts-v1/; / { images { k { }; }; configurations { default = 'k'; }; };".replace("'", '"'))
OVERLAY = tree('/dts-v1/; /plugin/; &{/} { a = "b"; };')
U_IMAGE = b"\x27\x05\x19\x56" + bytes(26) + b"\3" + bytes(33)
KINDS = {
    "an empty file": b"",
    "an arm64 kernel": IMAGE,
    "an arm64 kernel, packed by gzip": gzip.compress(IMAGE),
    "an arm64 kernel, packed by xz": lzma.compress(IMAGE),
    "an arm64 kernel, packed by lzma": lzma.compress(IMAGE, lzma.FORMAT_ALONE),
    "an arm64 kernel, packed by bzip2": bz2.compress(IMAGE),
    "a file packed by zstd": at(0, b"\x28\xb5\x2f\xfd"),
    "a file packed by lz4": at(0, b"\x02\x21\x4c\x18"),
    "a file packed by lz4 in its frame format, which Linux does not unpack": at(0, b"\x04\x22\x4d\x18"),
    "a Xen hypervisor": XEN,
    "a Xen hypervisor, packed by gzip": gzip.compress(XEN),
    "a ramdisk (cpio archive)": CPIO,
    "a ramdisk (cpio archive), packed by gzip": gzip.compress(CPIO),
    "a ramdisk (cpio archive), packed by xz": lzma.compress(CPIO),
    "a cpio archive of the old format, where Linux unpacks 'newc' alone": at(0, b"070707"),
    "a kernel for x86 (bzImage)": at(514, b"HdrS"),
    "a kernel for 32-bit arm (zImage)": at(36, b"\x18\x28\x6f\x01"),
    "a kernel for RISC-V": at(48, b"RISCV\0\0\0"),
    "an EFI program that unpacks a kernel (zboot, zstd)": b"MZ\0\0zimg" + bytes(16) + b"zstd\0" + bytes(99),
    "an EFI program for arm64": pe(0xAA64),
    "an EFI program for x86-64": pe(0x8664),
    "an ELF file for arm64": elf(183),
    "an ELF file for x86-64": elf(62),
    "an ELF file for arm (32 bit)": elf(40),
    "a device tree": TREE,
    f"a device tree that is cut short: 60 of {len(TREE)} bytes": TREE[:60],
    "a device-tree overlay": OVERLAY,
    "device-tree source": b"/dts-v1/;\n/ { };\n",
    "a FIT image of U-Boot": FIT,
    "a U-Boot image (uImage, ramdisk)": U_IMAGE,
    "a disk image (MBR)": at(510, b"\x55\xaa"),
    "a disk image (GPT)": at(512, b"EFI PART"),
    "a disk image (qcow2)": at(0, b"QFI\xfb"),
    "a file system image (ext2, ext3 or ext4)": at(1080, b"\x53\xef", 4096),
    "a file system image (squashfs)": at(0, b"hsqs"),
    "a tar archive": at(257, b"ustar"),
    "an ar archive, such as a Debian package": at(0, b"!<arch>\n"),
    "a Git LFS pointer: the file itself was not fetched": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a .config file of Linux/arm64 6.12.1": b"#\n# Linux/arm64 6.12.1 Kernel Configuration\n#\nCONFIG_XEN=y\n",
    "a .config file": b"CONFIG_XEN=y\n",
    "a web page, as of a download that failed": b"\n<!DOCTYPE html><html>404</html>",
    "a script": b"#!/bin/sh\n",
    "text": "äöü\n".encode() * 2000,
    "nothing but zeros at its beginning": bytes(4096),
    "a file of no kind that vtool knows": b"\x01\x02\x03\x80" * 100,
    "an arm64 image that is cut short: 8191 of 8192 bytes": of_sections(4096, 4096)[:-1],
    "a gzip file that is cut short": gzip.compress(IMAGE)[:-9],
    "a damaged gzip file": b"\x1f\x8b\x08" + b"\xff" * 50,
}


@pytest.mark.parametrize("words", KINDS)
def test_a_file_says_what_it_is(words: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(KINDS[words])
    assert look_at(path).what.words == words


def test_a_ramdisk_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(CPIO)[:-9])
    found = look_at(path)
    assert (found.kind, found.what.words) == (Kind.OTHER, "a gzip file that is cut short")


def entry(name: bytes, content: bytes) -> bytes:
    numbers = [0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def test_an_archive_is_followed_to_its_end(tmp_path: Path) -> None:
    whole = entry(b"init", b"#!/bin/sh\n") + entry(b"TRAILER!!!", b"") + bytes(512) + entry(b"a", b"b") + bytes(7)
    path = tmp_path / "file"
    for data in (whole, entry(b"init", b"x"), entry(b"init", b"x")[:-3], whole + gzip.compress(whole)):
        path.write_bytes(data)
        assert look_at(path).kind is Kind.RAMDISK
    path.write_bytes(entry(b"init", b"x" * 400)[:-1])
    assert look_at(path).what.words == "a ramdisk (cpio archive) that is cut short: 515 bytes, an entry ends at 516"


def test_what_never_ends_is_looked_at_in_part(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(IMAGE[:-20])
    with (tmp_path / "kernel").open("r+b") as stream:
        stream.truncate(1 << 40)
    begin = time.monotonic()
    found = look_at(tmp_path / "kernel")
    assert (found.kind, found.options, found.size_bytes) == (Kind.KERNEL, None, 1 << 40)
    packer = zlib.compressobj(1, wbits=31)
    with (tmp_path / "ramdisk").open("wb") as stream:
        stream.write(packer.compress(CPIO))
        for _ in range(512):
            stream.write(packer.compress(bytes(1 << 20)))
        stream.write(packer.flush())
    unpacked_bytes = look_at(tmp_path / "ramdisk").unpacked_bytes
    assert unpacked_bytes is not None and 256 << 20 <= unpacked_bytes < 258 << 20
    assert time.monotonic() - begin < 60


def test_sizes_of_a_ramdisk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(CPIO))
    found = look_at(path)
    assert (found.size_bytes, found.unpacked_bytes) == (path.stat().st_size, len(CPIO))


def test_a_few_bytes_of_anything_are_something() -> None:
    for data in KINDS.values():
        for length in range(0, min(len(data), 600), 7):
            assert kind_of(data[:length], length).words


FIT_FOR = {
    "kernel": {"an arm64 kernel", "an arm64 kernel, packed by gzip", "an ELF file for arm64"},  # see VT488
    "image": {"a Xen hypervisor", "a Xen hypervisor, packed by gzip"},
    "device_tree": {"a device tree"},
    "config": {"a .config file"},
    "qemu_image": {"an ELF file for arm64"},
    "ramdisk": {
        "a file packed by zstd",
        "a file packed by lz4",
        "a ramdisk (cpio archive)",
        "a ramdisk (cpio archive), packed by gzip",
        "a ramdisk (cpio archive), packed by xz",
        "a file system image (ext2, ext3 or ext4)",
        "a file system image (squashfs)",
        # Warned of: VT426.
        "nothing but zeros at its beginning",
        "a file of no kind that vtool knows",
    },
}


@pytest.mark.parametrize("key", FIT_FOR)
def test_each_key_takes_its_own_kinds_alone(key: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    fit = set()
    for words, data in KINDS.items():
        path.write_bytes(data)
        if why_unfit(key, look_at(path)) is None:
            fit.add(words)
    assert fit == FIT_FOR[key]


def found_in(folder: Path, **files: bytes) -> list[Diagnostic]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    lines = "".join(f"    {key}: {key}\n" for key in files)
    (folder / "t.yaml").write_text(
        "version: 1\nname: t\nboards: {b: {facts: qemu-virt, hypervisor: {kind: xen}}}\n"
        f"domains:\n  dom0: {{role: control, memory: 1GiB}}\n  fe0:\n    memory: 256MiB\n{lines}"
    )
    document = load(folder / "t.yaml")
    return files_of(document, validate(document))[1]


def test_the_whole_message(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path, kernel=gzip.compress(CPIO))
    assert format_diagnostic(found).replace(str(tmp_path), "") == (
        "/t.yaml:8:13: error[VT505]: kernel 'kernel' of domain 'fe0' cannot be used: it is a ramdisk (cpio archive), "
        "packed by gzip, not an arm64 kernel, as it is or packed by gzip\n"
        "     8 |     kernel: kernel\n"
        "       |             ^^^^^^"
    )


def test_what_to_do_is_said_where_it_is_known(tmp_path: Path) -> None:
    for kernel, hint in (
        (KINDS["a file packed by zstd"], "unpack it: unzstd"),
        (lzma.compress(IMAGE), "unpack it: unxz"),
    ):
        (found,) = found_in(tmp_path, kernel=kernel)
        assert found.hints == (hint,)
    (found,) = found_in(tmp_path, device_tree=b"/dts-v1/;\n/ {};")
    assert found.hints == ("compile it: dtc -I dts -O dtb -o TREE.dtb FILE.dts",)


def test_what_does_not_lead_to_what_is_wanted_is_not_advised(tmp_path: Path) -> None:
    u_boot = b"\x27\x05\x19\x56" + bytes(26)
    of_kernel, of_ramdisk = (u_boot + bytes([kind]) + bytes(64) for kind in (2, 3))
    for keys, hinted in (
        ({"ramdisk": lzma.compress(IMAGE)}, False),
        ({"kernel": lzma.compress(b"070701" + bytes(200))}, False),
        ({"kernel": of_kernel}, True),
        ({"kernel": of_ramdisk}, False),
        ({"ramdisk": of_kernel}, False),
        ({"ramdisk": of_ramdisk}, True),
        ({"ramdisk": KINDS["an ELF file for arm64"]}, False),
    ):
        (found,) = found_in(tmp_path, **keys)
        assert bool(found.hints) == hinted, found


def test_a_file_that_two_keys_name_is_judged_for_each(tmp_path: Path) -> None:
    found = found_in(tmp_path, kernel=IMAGE, ramdisk=IMAGE, device_tree=b"text\n")
    assert [d.message.split(" cannot be used: ")[1] for d in found] == [
        "it is an arm64 kernel, not a ramdisk",
        "it is text, not a compiled device tree",
    ]


def test_what_is_known_of_own_images_holds_for_those_that_are_built() -> None:
    built = {name: image for name, image in cached().items() if image is not None}
    for name, (size, image_size) in KERNEL_BYTES.items():
        if name in built:
            file = look_at(built[name].path)
            assert file.size_bytes is not None and file.image_size is not None
            assert size <= file.size_bytes < size * 1.2 and image_size <= file.image_size < image_size * 1.2
    for name, sizes in RAMDISKS.items():
        if name in built:
            file = look_at(built[name].path)
            for least, seen in zip(sizes, (file.size_bytes, file.unpacked_bytes), strict=True):
                assert seen is not None and least <= seen < least * 1.2


@pytest.mark.parametrize(("data", "words"), [(OVERLAY, "it is an overlay"), (FIT, "it is a FIT image of U-Boot")])
def test_a_piece_of_a_tree_is_no_board(
    data: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "piece.dtb").write_bytes(data)
    example = ROOT / "topology" / "examples" / "xen-pv.yaml"
    for command in (
        ["board", "import", tmp_path / "piece.dtb", "-o", tmp_path / "facts.yaml"],
        ["dt", example, "--base", tmp_path / "piece.dtb"],
        ["render", example, "-o", tmp_path / "out", "--base-tree", tmp_path / "piece.dtb"],
    ):
        assert main([str(word) for word in command]) == 1
        assert (
            f"error[VT801]: '{tmp_path}/piece.dtb' cannot be read as a device tree: {words}" in capsys.readouterr().err
        )


def test_what_is_no_tree_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Image").write_bytes(IMAGE)
    assert main(["lint", str(tmp_path / "Image")]) == 1
    assert "cannot be read as a device tree: it is an arm64 kernel" in capsys.readouterr().err
    (tmp_path / "fit").write_bytes(FIT)
    assert main(["lint", str(tmp_path / "fit")]) == 1
    assert "it is a FIT image of U-Boot" in capsys.readouterr().err
    (tmp_path / "board.dts").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert main(["lint", str(tmp_path / "board.dts")]) == 1
    said = capsys.readouterr().err
    assert "it is a Git LFS pointer" in said and "hint: git lfs pull" in said


def test_source_may_be_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "board.dts"
    path.write_bytes('/* für ein Brett */ /dts-v1/;\n/ { model = "x"; };\n'.encode("latin-1"))
    assert main(["lint", str(path)]) == 0


def test_a_kernel_that_lacks_the_unpacker_of_its_ramdisk_is_an_error(tmp_path: Path) -> None:
    found_in(tmp_path, ramdisk=lzma.compress(CPIO))
    (error,) = [d for d in examine(tmp_path / "t.yaml").findings if d.severity is Severity.ERROR]
    assert (error.code, "CONFIG_RD_XZ" in error.message) == ("VT510", True)
