"""How reaching a board fails: the room's codes, and the failures that callers ask for by class."""

from __future__ import annotations

from vtool.diagnostics import VtoolError
from vtool.diagnostics.codes import declare

declare(
    "VT601",
    what="the inventory does not fit the topology",
    why="The board is of another kind there, or its facts are not known.",
    example="facts: rpi4, in the inventory qemu-virt",
    fix="Correct topology or inventory.",
)


class BoardIsOff(
    VtoolError,
    code="VT602",
    what="a board is off or not made",
    why="Nothing is there to answer.",
    example="vtool status while the board is off",
    fix="vtool board up",
):
    """A board that is off, or was never made."""


class NoAnswer(
    VtoolError,
    code="VT603",
    what="a board does not answer in time",
    why="It hangs, boots something else, or its network is down; the console's tail says more.",
    example="a kernel that panics",
    fix=("vtool board console, then vtool board power cycle; boot.timeout_s in its facts for one that is slow to boot"),
):
    """A board that does not answer, or whose connection ends, before a deadline."""


class WrongHostKey(
    VtoolError,
    code="VT604",
    what="a board shows another host key than the pinned one",
    why="Another machine may be answering; nothing is sent to it.",
    example="a board that was installed again",
    fix=(
        "Find out why; then replace the key where the message says it is pinned: in the inventory, or in its "
        "known_hosts_file."
    ),
):
    """Something else than the board may be answering: nothing is sent to it, and nobody tries again."""


declare(
    "VT605",
    what="another vtool, or another user of the lab, has the board",
    why="Two deploys at once would leave neither of them complete.",
    example="two deploys to board0",
    fix="Wait for it; wait_s in the inventory waits for a lab's place.",
)
declare(
    "VT611",
    what="QEMU does not start",
    why="Its own words are shown.",
    example="QEMU is not installed",
    fix="Run make setup.",
)
declare(
    "VT612",
    what="QEMU does not end",
    why="The process survived being killed.",
    example="a process in uninterruptible sleep",
    fix="Look at the machine.",
)
declare(
    "VT613",
    what="an emulated board could not be made",
    why="A tool that writes its disk or keys failed.",
    example="a full disk on this machine",
    fix="Free space and try again.",
)
declare(
    "VT614",
    what="the inventory does not give a board what is asked for",
    why="Not every board has power control, a console that can be joined, or a place in a lab.",
    example="vtool board power off for a board without `power`",
    fix="Say in the inventory how it is done, or do it by hand.",
)
declare(
    "VT615",
    what="exactly one of two keys of the inventory is needed",
    why="Without either something is unknown, with both one would be ignored.",
    example="neither host_key nor known_hosts_file",
    fix="Write one of them.",
)
declare(
    "VT616",
    what="a host key in the inventory is not one",
    why="A key that cannot match would only be noticed when the board is refused.",
    example="ssh-ed25519 before the text of an RSA key",
    fix="Copy type and key from /etc/ssh/ssh_host_ed25519_key.pub of the board.",
)
declare(
    "VT617",
    what="a file that the inventory names cannot be read",
    why="Keys and device trees are read when they are needed, which is too late for a typing error.",
    example="an identity_file that is not there",
    fix="Correct the path: it starts at the inventory's folder.",
)
declare(
    "VT618",
    what="the known-hosts file has no key of the board",
    why="vtool never takes a key on trust at the first contact.",
    example="a file with the key for another port",
    fix="Add the key, obtained in a way that you trust.",
)
declare(
    "VT619",
    what="power or console of a board failed",
    why="The command of the inventory, or labgrid's driver, ended with an error.",
    example="a power switch that does not answer",
    fix="Read its words; try the command by hand.",
)
declare(
    "VT620",
    what="a board's base device tree cannot be read from it",
    why="The tree of a system that vtool or a hypervisor started is not the firmware's.",
    example="the first deploy from this machine to a board that another machine deployed to",
    fix="Name the firmware's tree as device_tree in the inventory.",
)
declare(
    "VT621",
    what="labgrid is not installed",
    why="It is optional: only boards in a lab need it.",
    example="driver: labgrid after a plain installation",
    fix="pip install 'vtool[lab]'",
)
declare(
    "VT622",
    what="labgrid's coordinator does not answer",
    why="It alone knows who holds which place.",
    example="a wrong address, or a machine that is off",
    fix="Start it, or correct coordinator in the inventory.",
)
declare(
    "VT623",
    what="there is no such place in the lab",
    why="The coordinator knows no place of this name, or none with all of these tags.",
    example="tags: {board: rpi6}",
    fix="Use a name or tags that the hint lists.",
)
declare(
    "VT624",
    what="a place of the lab lacks something, or has it twice",
    why="vtool needs one NetworkService to reach sshd, and at most one supply and one serial port.",
    example="a place without NetworkService",
    fix="Correct what the exporter exports, or the place's matches.",
)
declare(
    "VT625",
    what="labgrid refuses",
    why="The coordinator's own words are shown.",
    example="a place whose exporter is off",
    fix="Read the words; see labgrid-client.",
)
declare(
    "VT626",
    what="a user may not become root on the board for what vtool has to do",
    why="sudo refused or wants a password, which vtool neither has nor sends.",
    example="user: vtool without a line in sudoers",
    fix="Add the line of docs/how-to/reach-boards.md.",
)
declare(
    "VT627",
    what="a boot medium cannot be written",
    why="A board that runs would go on writing to it; half an image boots nothing.",
    example="vtool board write disk.img while the board is on",
    fix="Switch the board off; give an image, not compressed, that fits the medium.",
)
declare(
    "VT630",
    what="an emulated board has another clock than its inventory says",
    why="A board's clock is chosen when it is switched on; numbers of one would be taken for those of the other.",
    example="vtool bench with `clock: instructions`, while the board runs without",
    fix="Switch it off and on: vtool board power cycle BOARD --inventory FILE.",
)
declare(
    "VT801",
    what="a file cannot be read as a device tree",
    why="It is neither a flattened tree nor source that dtc takes; dtc's words are shown.",
    example="vtool lint of a text file",
    fix="Give a .dtb, or a .dts that dtc compiles.",
)
declare(
    "VT816",
    what="a board's device tree cannot be read over ssh",
    why="ssh does not connect, or the user may not read it there; ssh's own words are shown.",
    example="--ssh as another user than root",
    fix="Check that ssh -o BatchMode=yes root@HOST true works without asking anything.",
)
declare(
    "VT631",
    what="vtool emulates no such board",
    why="An emulated board is a machine of QEMU's, and there is none like these facts.",
    example="facts: rpi4 for a board that no inventory names",
    fix="Say in an inventory how the real one is reached, or use facts of a board that can be emulated.",
)
