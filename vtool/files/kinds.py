"""What a file is, by its first bytes: enough to say to a person what was named in place of what is wanted.

Enter at ``kind_of``. Sources: Linux Documentation/arch/ (booting of arm64 and arm, boot image headers of RISC-V, x86),
drivers/firmware/efi/libstub/zboot-header.S, lib/decompress.c; U-Boot include/image.h; the formats' own documents.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from enum import Enum

from vtool.base.records import record
from vtool.files.kernel_image import header_of

HEAD_BYTES = 64 << 10
"""So much of a file's beginning is looked at."""


class Kind(Enum):
    """What a file is to vtool; the value says it in words."""

    KERNEL = "an arm64 kernel"
    XEN = "a Xen hypervisor"
    RAMDISK = "a ramdisk (cpio archive)"
    FILE_SYSTEM = "a file system image"
    DISK = "a disk image"
    DEVICE_TREE = "a device tree"
    CONFIGURATION = "a .config file"
    PROGRAM = "a program for arm64"
    POLICY = "a compiled policy of FLASK"
    PACKED = "a packed file"
    UNKNOWN = "a file of no kind that vtool knows"
    OTHER = "something else"


@record
class Found:
    """A kind, the words that say it, how it is packed (None: not at all), and what to do where it is not wanted.

    ``leads_to`` are the kinds that following the hint gives (None: not known).
    """

    kind: Kind
    words: str
    packer: str | None = None
    hint: str | None = None
    leads_to: tuple[Kind, ...] | None = None

    def hints(self, *wanted: Kind) -> tuple[str, ...]:
        """Return the hint, if following it may give one of the kinds that are wanted."""
        useless = self.hint is None or (self.leads_to is not None and not set(self.leads_to) & set(wanted))
        return () if useless or self.hint is None else (self.hint,)


@record
class Packer:
    """A way to pack: its magic, Linux's option that unpacks a ramdisk so packed, and the command that unpacks it."""

    magic: bytes
    option: str
    command: str


PACKERS: Mapping[str, Packer] = {
    "gzip": Packer(b"\x1f\x8b", "RD_GZIP", "gunzip"),
    "bzip2": Packer(b"BZh", "RD_BZIP2", "bunzip2"),
    "xz": Packer(b"\xfd7zXZ\0", "RD_XZ", "unxz"),
    "lzma": Packer(b"\x5d\0\0", "RD_LZMA", "unlzma"),
    "lzop": Packer(b"\x89LZO", "RD_LZO", "lzop -d"),
    "lz4": Packer(b"\x02\x21\x4c\x18", "RD_LZ4", "lz4 -d"),
    "zstd": Packer(b"\x28\xb5\x2f\xfd", "RD_ZSTD", "unzstd"),
}
_MACHINES = {3: "x86", 40: "arm (32 bit)", 62: "x86-64", 183: "arm64", 243: "RISC-V", 258: "LoongArch"}
"""ELF's e_machine."""
_PE_MACHINES = {0x14C: "x86", 0x1C2: "arm (32 bit)", 0x8664: "x86-64", 0xAA64: "arm64", 0x5064: "RISC-V"}
_U_BOOT_TYPES = {2: "kernel", 3: "ramdisk", 4: "multi-file", 6: "script", 8: "device tree", 14: "kernel"}
_RUNS = (Kind.KERNEL, Kind.XEN)
"""What begins with a kernel's header."""
_IMAGE, _TREE = (Kind.KERNEL,), (Kind.DEVICE_TREE,)
_IN_U_BOOTS: Mapping[str, tuple[Kind, ...]] = {"kernel": _RUNS, "ramdisk": (Kind.RAMDISK,), "device tree": _TREE}
_RAW = "take Linux's arch/arm64/boot/Image or Image.gz"
# Magics at offsets, most telling ones first.
_MAGICS: tuple[tuple[int, bytes, Kind, str], ...] = (
    (0, b"070701", Kind.RAMDISK, Kind.RAMDISK.value),
    (0, b"070702", Kind.RAMDISK, Kind.RAMDISK.value),
    (0, b"070707", Kind.OTHER, "a cpio archive of the old format, where Linux unpacks 'newc' alone"),
    (0, b"\xc7\x71", Kind.OTHER, "a cpio archive of the old format, where Linux unpacks 'newc' alone"),
    (36, b"\x18\x28\x6f\x01", Kind.OTHER, "a kernel for 32-bit arm (zImage)"),
    (514, b"HdrS", Kind.OTHER, "a kernel for x86 (bzImage)"),
    (48, b"RISCV\0", Kind.OTHER, "a kernel for RISC-V"),
    (0, b"ANDROID!", Kind.OTHER, "an Android boot image"),
    (0, b"version https://git-lfs", Kind.OTHER, "a Git LFS pointer: the file itself was not fetched"),
    (0, b"/annex/objects/", Kind.OTHER, "a git-annex pointer: the file itself was not fetched"),
    (0, b"\x04\x22\x4d\x18", Kind.OTHER, "a file packed by lz4 in its frame format, which Linux does not unpack"),
    (0, b"QFI\xfb", Kind.DISK, "a disk image (qcow2)"),
    (0, b"KDMV", Kind.OTHER, "a disk image (VMDK), of which qemu-img convert makes qcow2"),
    (0, b"vhdxfile", Kind.OTHER, "a disk image (VHDX), of which qemu-img convert makes qcow2"),
    (0, b"\x3a\xff\x26\xed", Kind.OTHER, "a sparse Android image, of which simg2img makes a plain one"),
    (512, b"EFI PART", Kind.DISK, "a disk image (GPT)"),
    (32769, b"CD001", Kind.DISK, "a CD image (ISO 9660)"),
    (0, b"hsqs", Kind.FILE_SYSTEM, "a file system image (squashfs)"),
    (0, b"\x45\x3d\xcd\x28", Kind.FILE_SYSTEM, "a file system image (cramfs)"),
    (0, b"-rom1fs-", Kind.FILE_SYSTEM, "a file system image (romfs)"),
    (1080, b"\x53\xef", Kind.FILE_SYSTEM, "a file system image (ext2, ext3 or ext4)"),
    (1024, b"\xe2\xe1\xf5\xe0", Kind.FILE_SYSTEM, "a file system image (erofs)"),
    (54, b"FAT", Kind.DISK, "a file system image (FAT)"),
    (82, b"FAT32", Kind.DISK, "a file system image (FAT)"),
    (3, b"EXFAT   ", Kind.DISK, "a file system image (exFAT)"),
    (3, b"NTFS    ", Kind.DISK, "a file system image (NTFS)"),
    (0, b"XFSB", Kind.DISK, "a file system image (XFS)"),
    (1024, b"\x10\x20\xf5\xf2", Kind.DISK, "a file system image (F2FS)"),
    (65600, b"_BHRfS_M", Kind.DISK, "a file system image (Btrfs)"),
    (0, b"LUKS\xba\xbe", Kind.DISK, "an encrypted disk image (LUKS)"),
    (512, b"LABELONE", Kind.DISK, "a disk image (LVM)"),
    (4086, b"SWAPSPACE2", Kind.DISK, "a disk image (swap space)"),
    (0, b"UBI#", Kind.OTHER, "a UBI image"),
    (257, b"ustar", Kind.OTHER, "a tar archive"),
    (0, b"PK\3\4", Kind.OTHER, "a zip archive"),
    (0, b"!<arch>\n", Kind.OTHER, "an ar archive, such as a Debian package"),
    (0, b"\xed\xab\xee\xdb", Kind.OTHER, "an RPM package"),
    (0, b"#!", Kind.OTHER, "a script"),
    # Xen xen/include/xsm/xsm.h XSM_MAGIC
    (0, b"\x8c\xff\x7c\xf9", Kind.POLICY, Kind.POLICY.value),
)


def kind_of(head: bytes, size_bytes: int) -> Found:
    """Say what a file is that begins so: with all of it, or with its first ``HEAD_BYTES``.

    A kernel by its header alone may still be a Xen; ``vtool.files.boot_files`` looks further.
    """
    if not size_bytes:
        return Found(Kind.OTHER, "an empty file")
    if header_of(head) is not None:
        return Found(Kind.KERNEL, Kind.KERNEL.value)
    for name, packer in PACKERS.items():
        if head.startswith(packer.magic):
            return _packed(head, name, packer)
    for offset, magic, kind, words in _MAGICS:
        if head.startswith(magic, offset):
            return Found(kind, words, hint="git lfs pull" if "LFS" in words else None)
    return _by_header(head, size_bytes) or _text(head) or _rest(head)


_KEPT = (Kind.KERNEL, Kind.RAMDISK, Kind.FILE_SYSTEM, Kind.DISK)
_KIND_OF_PACKED = {kind: kind for kind in _KEPT} | {Kind.UNKNOWN: Kind.PACKED}


def _packed(head: bytes, name: str, packer: Packer) -> Found:
    """Look at what is packed, where Python can."""
    begin = _begin_of(head, name)
    hint = f"unpack it: {packer.command}"
    if begin is None:
        return Found(Kind.PACKED, f"a file packed by {name}", name, hint)
    if not begin:
        return Found(Kind.OTHER, f"a damaged {name} file", name)
    inside = kind_of(begin, len(begin))
    kind = _KIND_OF_PACKED.get(inside.kind, Kind.OTHER)
    leads_to = _RUNS if inside.kind is Kind.KERNEL else (inside.kind,)
    return Found(kind, f"{inside.words}, packed by {name}", name, hint, leads_to)


def _begin_of(head: bytes, name: str) -> bytes | None:
    """Unpack the beginning: nothing when that is damaged, None when this Python cannot unpack that."""
    try:
        if name == "gzip":
            return zlib.decompressobj(31).decompress(head, HEAD_BYTES)
        if name == "bzip2":
            import bz2  # noqa: PLC0415 - seldom met

            # A block of bzip2 is up to 900 kB; what is not whole yet is not known.
            return bz2.BZ2Decompressor().decompress(head, HEAD_BYTES) or None
        if name in ("xz", "lzma"):
            import lzma  # noqa: PLC0415 - seldom met

            return lzma.LZMADecompressor().decompress(head, HEAD_BYTES) or None
    except (zlib.error, OSError, ValueError, EOFError):
        return b""
    except Exception as error:  # LZMAError, which is no OSError
        if type(error).__name__ != "LZMAError":
            raise
        return b""
    return None


def _by_header(head: bytes, size_bytes: int) -> Found | None:
    """Say what a header with numbers in it tells."""
    for magic, least, read in ((b"\x7fELF", 20, _elf), (b"\x27\x05\x19\x56", 64, _of_u_boot), (b"MZ", 64, _of_efi)):
        if head.startswith(magic) and len(head) >= least:
            return read(head)
    if head.startswith(b"\xd0\x0d\xfe\xed") and len(head) >= 8:
        return _tree(head, size_bytes)
    return Found(Kind.DISK, "a disk image (MBR)") if head[510:512] == b"\x55\xaa" else None


def _elf(head: bytes) -> Found:
    machine = _MACHINES.get(int.from_bytes(head[18:20], "little"), "another processor")
    runs = machine == "arm64" and head[16] in (2, 3)  # ET_EXEC, ET_DYN
    return Found(
        Kind.PROGRAM if runs else Kind.OTHER, f"an ELF file for {machine}", hint=f"{_RAW}, not vmlinux", leads_to=_IMAGE
    )


def _of_u_boot(head: bytes) -> Found:
    what = _U_BOOT_TYPES.get(head[30], "")
    hint = "what is in it comes after 64 bytes of header: dd bs=64 skip=1"
    return Found(
        Kind.OTHER,
        f"a U-Boot image (uImage{', ' if what else ''}{what})",
        hint=hint,
        leads_to=_IN_U_BOOTS.get(what, ()),
    )


def _of_efi(head: bytes) -> Found | None:
    if head[4:8] == b"zimg":
        how = head[24:32].split(b"\0")[0].decode("ascii", "replace")
        return Found(Kind.OTHER, f"an EFI program that unpacks a kernel (zboot, {how})", hint=_RAW, leads_to=_IMAGE)
    at = int.from_bytes(head[60:64], "little")
    if head[at : at + 4] != b"PE\0\0":
        return None
    machine = _PE_MACHINES.get(int.from_bytes(head[at + 4 : at + 6], "little"), "another processor")
    return Found(Kind.OTHER, f"an EFI program for {machine}", hint=_RAW, leads_to=_IMAGE)


def _tree(head: bytes, size_bytes: int) -> Found:
    total = int.from_bytes(head[4:8], "big")
    if total > size_bytes:
        return Found(Kind.OTHER, f"a device tree that is cut short: {size_bytes} of {total} bytes")
    if b"\0\0\0\x01images\0" in head and b"\0\0\0\x01configurations\0" in head:
        return Found(Kind.OTHER, "a FIT image of U-Boot", hint="take out what is in it: dumpimage -l FILE")
    if b"\0\0\0\x01__overlay__\0" in head:
        return Found(
            Kind.OTHER,
            "a device-tree overlay",
            hint="merge it first: fdtoverlay -i BASE -o TREE OVERLAY",
            leads_to=_TREE,
        )
    return Found(Kind.DEVICE_TREE, Kind.DEVICE_TREE.value)


def _text(head: bytes) -> Found | None:
    begin = head[:4096]
    try:
        text = begin.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(head) <= 4096 or error.start < 4090:
            return None
        text = begin[: error.start].decode("utf-8")  # a character across the end
    if re.search("[\0-\x08\x0e-\x1a\x1c-\x1f]", text):
        return None
    if re.search(r"^(CONFIG_\w+=|# CONFIG_\w+ is not set)", text, re.MULTILINE):
        title = re.search(r"^# (\S+/\S+ \S+)[^\n]* Configuration", text, re.MULTILINE)
        return Found(Kind.CONFIGURATION, f"{Kind.CONFIGURATION.value} of {title[1]}" if title else "a .config file")
    if "/dts-v1/" in text or "/plugin/" in text:
        return Found(
            Kind.OTHER, "device-tree source", hint="compile it: dtc -I dts -O dtb -o TREE.dtb FILE.dts", leads_to=_TREE
        )
    if re.match(r"\s*<(!doctype html|html)", text, re.IGNORECASE):
        return Found(Kind.OTHER, "a web page, as of a download that failed")
    return Found(Kind.OTHER, "text")


def _rest(head: bytes) -> Found:
    if not head.strip(b"\0"):
        return Found(Kind.UNKNOWN, "nothing but zeros at its beginning")
    return Found(Kind.UNKNOWN, Kind.UNKNOWN.value)
