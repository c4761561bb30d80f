"""What making an image, or using one that a user names, can fail on: the codes."""

from __future__ import annotations

from vtool.diagnostics.codes import declare

declare(
    "VT502",
    what="a step of building an image failed",
    why="The end of the log shows what the tool said.",
    example="a full disk while compiling the kernel",
    fix="Read the log; building again resumes.",
)
declare(
    "VT503",
    what="Debian's package archive does not answer",
    why="The first build reads the archive's state.",
    example="no network",
    fix="Try again, or set VTOOL_DEBIAN_MIRROR.",
)
declare(
    "VT504",
    what="an option of a kernel or of Xen was dropped by Kconfig",
    why="A dependency of it is not set, so it would silently be missing.",
    example="an option whose parent is off",
    fix="Set the option it depends on.",
)
declare(
    "VT505",
    what="an image that a topology names cannot be used",
    why="The file is missing, is not what its key needs, or is not one of those that vtool builds.",
    example="kernel: rd.gz, which is a ramdisk",
    fix="Name a file of the right kind; the message says what this one is.",
)
declare(
    "VT506",
    what="a source of Debian's has become another release",
    why="Checks and patches are made for one release of Xen and of QEMU; another's would be taken on trust.",
    example="Debian's trixie with Xen 4.21",
    fix="Use a newer vtool, or name an image and its version of your own.",
)
