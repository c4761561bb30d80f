"""The table of codes: what each diagnostic means, why the rule is there, an example, the fix.

Codes are permanent: one is never given another meaning. VT1xx reading YAML, VT2xx shape, VT3xx
references and combinations, VT4xx memory and placement, VT5xx images and kernels, VT6xx boards and
reaching them, VT7xx deploying, VT8xx verifying. Read by ``vtool explain`` and the reference page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One line of the table; ``example`` is what sets it off."""

    code: str
    what: str
    why: str
    example: str
    fix: str


_READING = (
    Code(
        "VT100",
        "the file cannot be read",
        "It is missing, a directory, not permitted, or far larger than any topology.",
        "vtool check no-such-file.yaml",
        "Correct the path.",
    ),
    Code(
        "VT101",
        "the file is not YAML that vtool reads",
        "Broken syntax, not UTF-8, several documents, or nested or unfolding beyond all reason.",
        "boards: {board0: ",
        "Go to the place shown; indent with spaces and close what is open.",
    ),
    Code(
        "VT102",
        "the file is empty",
        "There is no document in it, only comments or nothing.",
        "# nothing here",
        "Start from topology/examples.",
    ),
    Code(
        "VT103",
        "a key is repeated",
        "YAML would silently keep the last one.",
        "memory: 1GiB, and memory: 2GiB below it",
        "Keep one of them.",
    ),
    Code(
        "VT104",
        "a key is not a plain word",
        "Merge keys and lists or mappings as keys make a line mean what is written elsewhere.",
        "<<: *defaults",
        "Write the keys out.",
    ),
    Code(
        "VT105",
        "an unknown tag",
        "vtool never builds objects from a file.",
        "name: !thing x",
        "Leave out the tag.",
    ),
)

_SHAPE = (
    Code(
        "VT200",
        "the file is not a mapping",
        "A topology is keys and values at its top level.",
        "- version: 1",
        "Start from topology/examples.",
    ),
    Code(
        "VT201",
        "an unknown key",
        "A mistyped key would otherwise do nothing.",
        "memry: 256MiB",
        "Use one of the keys listed.",
    ),
    Code(
        "VT202",
        "a key is missing",
        "There is no default that would be right for everybody.",
        "a device without `backend`",
        "Add the key.",
    ),
    Code(
        "VT203",
        "a value of the wrong kind or form",
        "The key takes a number, a size, a name, a list or one of a few words.",
        "memory: 256MB",
        "Write what the message asks for.",
    ),
    Code(
        "VT204",
        "not a name",
        "Names become unit names, device-tree labels and xl names.",
        "domains: {Guest_1: ...}",
        "Use lower-case letters, digits and '-', a letter first, at most 31 characters.",
    ),
)

_REFERENCES = (
    Code(
        "VT301",
        "an unknown board",
        "A domain is on a board of the same topology.",
        "board: bord0",
        "Use a name under `boards`.",
    ),
    Code(
        "VT302",
        "an unknown domain",
        "Frontends, backends, owners and borrowers are domains of the same topology.",
        "backend: hots",
        "Use a name under `domains`.",
    ),
    Code(
        "VT303",
        "an unknown region",
        "A device's region is one of the same topology.",
        "region: pol0",
        "Use a name under `regions`.",
    ),
    Code(
        "VT304",
        "an unknown kind of board",
        "Facts are read from topology/boards.",
        "facts: qemu-vrit",
        "Use one of the kinds listed, or add a facts file.",
    ),
    Code(
        "VT305",
        "a domain without its board",
        "With several boards there is no obvious one.",
        "two boards, and a domain without `board`",
        "Add `board`.",
    ),
    Code(
        "VT306",
        "not exactly one control domain on a board",
        "One domain owns the hardware: the KVM host, or dom0.",
        "two domains with `role: control`",
        "Give one domain of each board `role: control`.",
    ),
    Code(
        "VT310",
        "a domain serves itself",
        "Frontend and backend share memory across a boundary; here there is none.",
        "frontend: fe0, backend: fe0",
        "Name another backend.",
    ),
    Code(
        "VT311",
        "frontend and backend on different boards",
        "They share the memory of one board.",
        "frontend on board0, backend on board1",
        "Put both on one board.",
    ),
    Code(
        "VT312",
        "the control domain as frontend",
        "Only guests get devices from vtool now.",
        "frontend: host",
        "Name a guest.",
    ),
    Code(
        "VT313",
        "a guest as backend",
        "Driver domains are not supported now.",
        "backend: fe1",
        "Name the board's control domain.",
    ),
    Code(
        "VT314",
        "means that do not work together",
        "Data path, transport and program must be a set proven under the hypervisor.",
        "data_path: pool under xen",
        "Use one of the sets listed.",
    ),
    Code(
        "VT315",
        "a pool device without a region",
        "The pool is the only memory that the backend reaches.",
        "data_path: pool, and no `region`",
        "Add `region`.",
    ),
    Code(
        "VT316",
        "a region that the data path does not use",
        "The device would work, and bypass the region silently.",
        "data_path: pv, region: pool0",
        "Leave out `region`.",
    ),
    Code(
        "VT317",
        "a pool that the frontend does not own",
        "The frontend's domain pays, so that many frontends cannot starve one backend.",
        "owner: fe1 for a device of fe0",
        "Make the frontend the owner.",
    ),
    Code(
        "VT318",
        "a pool that the backend does not borrow",
        "A backend sees only what it is lent.",
        "borrowers: [] for a pool served by host",
        "Add the backend to `borrowers`.",
    ),
    Code(
        "VT319",
        "a device's region is not a pool",
        "Only a restricted-dma-pool makes the guest keep its buffers inside.",
        "use: shared-memory",
        "Say `use: restricted-dma-pool`.",
    ),
    Code(
        "VT320",
        "a pool that no device uses (warning)",
        "It takes memory all the same.",
        "a region that no device names",
        "Leave it out, or name it in a device.",
    ),
    Code(
        "VT321",
        "a region lent to its owner",
        "The owner sees it anyway; the list is who else does.",
        "owner: fe0, borrowers: [fe0]",
        "Leave the owner out.",
    ),
    Code(
        "VT322",
        "a use that is not supported for this owner",
        "Pools work for KVM guests, shared memory for control domains. Xen pools need STATIC_SHM.",
        "use: restricted-dma-pool under xen",
        "Change the use or the owner, or leave the region out.",
    ),
    Code(
        "VT323",
        "a borrower that cannot be served",
        "Only the control domain of the owner's board can be lent memory now.",
        "borrowers: [fe1]",
        "Lend it to the control domain only.",
    ),
    Code(
        "VT324",
        "more devices than the machine has places for",
        "QEMU virt has 32 virtio-mmio slots; Xen PV disks are xvda to xvdz.",
        "33 disks of one KVM guest",
        "Spread the devices over more guests.",
    ),
    Code(
        "VT330",
        "one file behind two disks",
        "Two guests writing one file destroy it.",
        "file: disk.img twice on a board",
        "Give each device its own file.",
    ),
    Code(
        "VT331",
        "a disk that is not whole sectors",
        "A block device counts in 512 bytes.",
        "size: 1000",
        "Use a multiple of 512.",
    ),
    Code(
        "VT332",
        "a disk too small to verify by writing",
        "Verify writes to the last 8MiB, and leaves at least as much alone.",
        "size: 8MiB, verify: write",
        "Make it at least 16MiB, or say `verify: read`.",
    ),
    Code(
        "VT340",
        "a MAC address used twice",
        "Bridges forget which port is meant.",
        "mac: 52:54:00:00:00:01 twice",
        "Leave out `mac`, and vtool derives one from the names.",
    ),
    Code(
        "VT341",
        "a multicast MAC address",
        "An odd first byte means a group of stations (IEEE 802.3).",
        "mac: 53:54:00:00:00:01",
        "Start with an even byte.",
    ),
    Code(
        "VT342",
        "not an IPv4 address with a prefix length",
        "Both ends are configured with it.",
        "frontend_address: 192.0.2.2",
        "Write it as 192.0.2.2/24.",
    ),
    Code(
        "VT343",
        "two ends in different networks",
        "They would not reach each other.",
        "192.0.2.2/24 and 198.51.100.1/24",
        "Use one network.",
    ),
    Code(
        "VT344",
        "two ends with one address",
        "Neither would reach the other.",
        "192.0.2.1/24 twice",
        "Change one.",
    ),
    Code(
        "VT345",
        "an address that no host can have",
        "It is the network's own, its broadcast, or a special one.",
        "192.0.2.255/24",
        "Use an address between.",
    ),
    Code(
        "VT346",
        "a bridge with two addresses",
        "vtool gives a bridge one address.",
        "bridge: br0 with 192.0.2.1/24 and 192.0.2.9/24",
        "Repeat the address, or name another bridge.",
    ),
    Code(
        "VT347",
        "two frontends with one address",
        "They are on one bridge.",
        "frontend_address: 192.0.2.2/24 twice",
        "Change one.",
    ),
)

_MEMORY = (
    Code(
        "VT401",
        "a region overlaps something",
        "The bytes belong to a carve-out or to another region.",
        "address: 0x4000_0000 where the boot loader is",
        "Leave out `address`.",
    ),
    Code(
        "VT402",
        "a region outside RAM",
        "There is no memory at that address; Xen aborts on it.",
        "address: 0x1000",
        "Leave out `address`.",
    ),
    Code(
        "VT403",
        "a region that is not aligned",
        "Memory is mapped in pages, and a pool is divided into segments of 256KiB.",
        "size: 5000000",
        "Use a multiple of 2MiB.",
    ),
    Code(
        "VT404",
        "a pool that cannot be at its address",
        "QEMU puts a guest's pools right after its private RAM.",
        "address: 0x4000_0000",
        "Leave out `address`.",
    ),
    Code(
        "VT405",
        "a pool that is too small",
        "One that is too small makes I/O hang instead of failing.",
        "size: 2MiB with one disk",
        "Have 4MiB for each disk.",
    ),
    Code(
        "VT406",
        "a domain without memory",
        "Guests and dom0 are given theirs; only a KVM host has what is left.",
        "a guest without `memory`",
        "Add `memory`.",
    ),
    Code(
        "VT407",
        "more memory asked for than there is",
        "Domains and regions share the RAM of their board.",
        "memory: 8GiB on a board of 3GiB",
        "Ask for less.",
    ),
    Code(
        "VT408",
        "memory that is not whole MiB",
        "Hypervisors count it in MiB.",
        "memory: 1000KiB",
        "Use a multiple of 1MiB.",
    ),
    Code(
        "VT409",
        "more processors than the board has (warning)",
        "They take turns, and latency suffers.",
        "cpus: 8 on a board of 2",
        "Ask for fewer.",
    ),
)

_IMAGES = (
    Code(
        "VT501",
        "a kernel lacks an option",
        "Without it the guest often boots with the data path silently bypassed.",
        "a kernel without DMA_RESTRICTED_POOL",
        "Build it with the options listed, or use vtool:linux.",
    ),
    Code(
        "VT502",
        "an option is only a module (warning)",
        "Something has to load it before the device works.",
        "CONFIG_VIRTIO_BLK=m",
        "Build it in, or carry the module in the ramdisk.",
    ),
)

CODES: Mapping[str, Code] = {code.code: code for code in (*_READING, *_SHAPE, *_REFERENCES, *_MEMORY, *_IMAGES)}
