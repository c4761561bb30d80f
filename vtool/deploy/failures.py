"""What deploying refuses, and what vtool-board reports: the codes, and the failures asked for by class.

vtool-board, which runs on boards without vtool, only names its codes; their words stand here.
"""

from __future__ import annotations

from vtool.diagnostics import VtoolError
from vtool.diagnostics.codes import declare

declare(
    "VT485",
    what="what is inside of a guest was not looked at",
    why="Its `access` says so, its console shows no shell, no password or key was given, or it lacks a tool.",
    example="vtool exec zephyr0 -- true",
    fix="Say with `access` how it is got into; a person can always use `vtool console`.",
)
declare(
    "VT486",
    what="a guest refuses the login",
    why="Its `access` says how to log in at its console, and after that no shell answered.",
    example="another password than the guest's",
    fix="Log in by hand (vtool console), then put `access` right: user, prompts, where the password is.",
)
declare(
    "VT487",
    what="a password or key that gets into a guest cannot be read",
    why="It is read when it is needed, first of all before anything is changed on the board.",
    example="password_file: pw.txt, which is not beside the topology; password_env: a variable that is not set",
    fix="Put it where `access` says.",
)
declare(
    "VT417",
    what="a node to be passed through is not in the board's device tree",
    why="The overlay cannot be merged, and Xen would have nothing to keep from dom0.",
    example="passthrough: [/soc/ethernet] where the board has /soc/ethernet@e6800000",
    fix="Name a node of the board's tree, from its root, with unit addresses.",
)
declare(
    "VT449",
    what="the board has too few huge pages for a guest",
    why="A guest whose memory is made of them starts with all of them, or not at all.",
    example="kvm: {hugepages: 1GiB} on a board that has run for a week",
    fix="Set them aside at boot, with `bootargs: hugepagesz=… hugepages=…` of the host, or use smaller ones.",
)
declare(
    "VT470",
    what="a bridge that is to be there is not",
    why="With existing: true it is another tool's, which vtool neither makes nor waits for.",
    example="bridge: br0, existing: true on a board that has br-lan",
    fix="Name a bridge that the board has, or leave existing out.",
)
declare(
    "VT471",
    what="an interface of the board cannot be given to guests",
    why="It is not there, is wireless, or is in a bridge or a bond already: the board's network would break.",
    example="uplink: eth1 on a board with eth0",
    fix="Name a wired interface that nothing else has; of a bridge that is there, the bridge with existing: true.",
)
declare(
    "VT472",
    what="the board has a bridge of that name that is not vtool's",
    why="vtool would fight another tool for it.",
    example="bridge: virbr0 on a board with libvirt",
    fix="Write existing: true to use it, or give vtool's another name.",
)
declare(
    "VT475",
    what="the board was not reached after its addresses had moved",
    why="It has put them back by itself, or does so within two minutes.",
    example="a switch that lets one MAC address through",
    fix="See what of the network takes the bridge for another machine.",
)
declare(
    "VT477",
    what="nobody knows how to move an interface's addresses",
    why="Who configures it would put them back, or nobody would renew its lease.",
    example="uplink: eth0 where NetworkManager has eth0",
    fix="Have that tool make the bridge, and write existing: true.",
)
declare(
    "VT701",
    what="a device-tree overlay or boot script does not compile",
    why="A tree that does not compile must not reach a board.",
    example="a syntax error in a template",
    fix="This is a bug in vtool's templates; report it.",
)
declare(
    "VT702",
    what="a merged device tree is not what was planned",
    why="An overlay can apply without an error and be read differently.",
    example="a base tree with other cell widths than the facts file says",
    fix="Correct the facts file.",
)
declare(
    "VT703",
    what="the topology is not what is deployed on the board",
    why="There is nothing to look at, or something else.",
    example="vtool verify after vtool down",
    fix="vtool deploy",
)
declare(
    "VT704",
    what="a command on the board failed",
    why="Its own words are shown.",
    example="a unit that does not start",
    fix="Read the words and the unit's journal.",
)
declare(
    "VT705",
    what="the board's disk is full",
    why="Half a deployment is worse than none: nothing was changed.",
    example="a disk with 1 MiB free",
    fix="Free space on the board, or make disks smaller.",
)
declare(
    "VT706",
    what="a disk is there with another size",
    why="vtool never resizes data.",
    example="size: 128MiB for a file of 64MiB",
    fix="Use another file name, or resize it yourself.",
)


declare(
    "VT466",
    what="a device of the board cannot be given to a guest",
    why="Two systems that write to one file system destroy it; the board's own has to stay as it is.",
    example="device: /dev/mmcblk0p2, which the board has mounted",
    fix="Name a partition or logical volume that the board does not use, or take it out of use there first.",
)
declare(
    "VT467",
    what="verify: write would overwrite data",
    why="The last 8 MiB of such a disk are scratch space; what is in them is not vtool's, and nobody else has it.",
    example="verify: write for a partition that a file system fills",
    fix="Leave out verify: write, or make that space zeros if nobody needs it.",
)
declare(
    "VT468",
    what="a disk, or the image that it begins as, is not on the board any more",
    why="A guest would start without what it wrote, or not at all.",
    example="a rollback after somebody removed a file of /var/lib/vtool/disks",
    fix="Deploy the generation's topology again, which makes the disk anew.",
)


class DamagedTransfer(
    VtoolError,
    code="VT707",
    what="an object arrived damaged",
    why="Its content is not what its name says.",
    example="a broken transfer",
    fix="Deploy again.",
):
    """Objects that did not arrive as they were sent: by what differs, or as a whole."""


declare(
    "VT708",
    what="a domain did not become ready",
    why="Its console never said the ready text; the tail says what it said instead.",
    example="a guest that panics",
    fix="Read the tail; see ready and ready_timeout_s in the topology.",
)
declare(
    "VT709",
    what="a domain's console is in use",
    why="Two readers would each get half.",
    example="vtool exec while vtool console is open",
    fix="Close the other one.",
)


class SilentDomain(
    VtoolError,
    code="VT710",
    what="a domain or backend does not run or answer",
    why="There is no process, or its shell says nothing.",
    example="a guest that hangs on its disk",
    fix="vtool logs",
):
    """A domain or backend that does not run, or says nothing where it has to."""


declare(
    "VT711",
    what="no such domain or backend is deployed",
    why="The name is not in what runs on the board.",
    example="vtool exec fe9",
    fix="Use a name from vtool status.",
)
declare(
    "VT712",
    what="Ansible failed",
    why="A task ended with an error that is not vtool-board's.",
    example="a board that lost its power in the middle",
    fix="Read the message and the console's tail.",
)
declare(
    "VT715",
    what="a new generation does not come up",
    why=(
        "The board booted it once, on trial; it did not answer in time or crashed, and the board started its last "
        "good one."
    ),
    example="static shared memory for a Xen that is built without it: Xen stops before it prints a word",
    fix="Look at the console's tail; correct the topology and deploy again. The board runs what it ran before.",
)
declare(
    "VT716",
    what="a board's disk cannot be written to",
    why=(
        "A file system is read-only, the boot partition is not mounted, or vtool's folder is not on the root file "
        "system."
    ),
    example="mount -o remount,ro /",
    fix="Mount it as it should be, or look at why the kernel made it read-only.",
)
declare(
    "VT717",
    what="a generation is not available",
    why="It is not on the board, is damaged, or is not the one that runs.",
    example="vtool rollback topology.yaml --to 0123",
    fix="Choose one that `vtool generations` lists, or deploy its topology.",
)
declare(
    "VT718",
    what="a saved plan no longer fits",
    why="The board runs another generation than when the plan was saved, or the topology makes another one.",
    example="vtool deploy topology.yaml --plan yesterday.json",
    fix="Look at the difference again and save it again.",
)
declare(
    "VT719",
    what="a saved plan cannot be read",
    why="It is not a file that `vtool plan --save` wrote.",
    example="vtool deploy topology.yaml --plan topology.yaml",
    fix="Save it again with `vtool plan TOPOLOGY --against-board --save FILE`.",
)
declare(
    "VT720",
    what="an emulated board has another Debian than the topology says",
    why="Its disk was made once, with the QEMU and the daemons of that Debian.",
    example="suite: trixie-backports for a board0 that was made for another topology",
    fix="vtool board destroy, or another name for the board in the topology.",
)
declare(
    "VT721",
    what="vtool makes no emulated board with that Debian",
    why="There is no root disk of it, and one of another would have other releases than were checked.",
    example="suite: sid without a board of yours in the inventory",
    fix="Use suite: trixie or trixie-backports; or only render the topology.",
)
declare(
    "VT818",
    what="a plan overlaps what the base tree has",
    why="Firmware, a ramdisk, a boot module or a driver has that memory; both would write to it.",
    example="a region at 0x60000000 and a no-map node at 0x60100000",
    fix="Make facts of this very tree (vtool board import) and plan with them, or fix another address.",
)
declare(
    "VT819",
    what="a plan lies outside the RAM of the base tree",
    why="Linux and Xen have no memory there; Xen stops without a clear message.",
    example="a region at 0x60000000, RAM that ends at 0x50000000",
    fix="Plan with facts of this tree; take the running board's own tree when its boot loader writes more RAM into it.",
)
declare(
    "VT820",
    what="a plan leaves no room for what Linux reserves itself in the base tree",
    why="A node with size and alloc-ranges, such as CMA, gets what is left of its ranges; drivers fail without it.",
    example="1200MiB in the only range of a CMA of 576MiB",
    fix="Plan with facts of this tree, a smaller size or another address.",
)
declare(
    "VT823",
    what="the RAM of a base tree is not known (warning)",
    why="Its boot loader fills it in, so that nobody can tell here whether the plan lies in RAM.",
    example="a tree whose /memory has a size of 0",
    fix="Take the running board's own tree: /sys/firmware/fdt there.",
)
