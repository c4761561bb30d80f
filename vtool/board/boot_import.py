"""The section ``boot`` of a facts file, from the board that runs: what it tells, and what has to be said by hand.

Enter at ``boot_of``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vtool.base.units import MIB, AddressRange
from vtool.board.installation import Installation
from vtool.model.board_facts import BoardFacts, Boot, BootState, CarveOut, LoadAddresses, SystemdBoot, UBoot
from vtool.model.facts_import import one_line
from vtool.model.validate import known_facts, load_facts

_TOLD = ("partition_mount", "root_device", "root_filesystem", "console", "xen_console")
_RAMDISK_BYTES = 128 * MIB
_HYPERVISOR_BYTES = 8 * MIB
"""Room that is kept from where U-Boot puts a ramdisk, and for Xen."""


@dataclass(frozen=True)
class BootImport:
    """Facts with as much of ``boot`` as was found; ``say`` names what was not, ``seen`` is what else was seen."""

    facts: BoardFacts
    say: tuple[str, ...]
    seen: tuple[tuple[str, str], ...]


def boot_of(facts: BoardFacts, found: Installation) -> BootImport:
    """Fill in how a board boots. Without load addresses there is no section for U-Boot, and all of it is asked for."""
    seen = tuple(_seen(found).items())
    loader = "systemd-boot" if "efi" in found.words and found.boot_mounts("systemd-boot") else "u-boot"
    told: dict[str, Any] = found.told(loader)
    if console := _console(facts, found):
        told["console"] = console
    if facts.stdout:
        told["xen_console"] = facts.stdout.path
    say = [f"boot.{key}" for key in _TOLD if key not in told]
    named = {"console", "xen_console"} <= {*told}
    boot: Boot | None = None
    if loader == "systemd-boot":
        boot = SystemdBoot(loader="systemd-boot", **told) if named else None
    else:
        like = _shipped_like(facts)
        load, why = _loads(found, like)
        if load is None:
            say.append(f"boot.load ({why})")
        elif named:
            state, unclear = _state(found, told.get("partition_mount"), like)
            say += unclear
            lacks = like.lacks if like else ()
            boot = UBoot(loader="u-boot", load=load, state=state, lacks=lacks, source=why, **told)
    made = facts.model_copy(update={"boot": boot})
    if made.load is not None:
        made, crowded = _with_room(made, made.load)
        say += crowded
    return BootImport(made, tuple(say), seen)


def _seen(found: Installation) -> dict[str, str]:
    rows = {"u-boot": found.u_boot, "kernel": found.words.get("cmdline", "")}
    rows["boot files"] = ", ".join(f"{m.target}: {' '.join(m.files)}" for m in found.mounts if m.files)
    rows["watchdogs"] = ", ".join(found.all("watchdog"))
    rows["xen"] = ", ".join((*found.all("xen-image"), *found.all("xl")))
    return {key: one_line(value) for key, value in rows.items() if value}


def _console(facts: BoardFacts, found: Installation) -> str | None:
    said = found.command_line("console")
    serial = said.startswith("tty") and not said[3:].split(",")[0].isdigit()
    return said if serial else facts.stdout.console if facts.stdout else None


def _shipped_like(facts: BoardFacts) -> UBoot | None:
    """Return how a board that vtool has facts of boots, where this is one."""
    for name in known_facts():
        shipped = load_facts(name).facts
        if shipped.compatible and shipped.compatible == facts.compatible and isinstance(shipped.boot, UBoot):
            return shipped.boot
    return None


def _loads(found: Installation, like: UBoot | None) -> tuple[LoadAddresses | None, str]:
    """Return load addresses and where they are from; of none, what is missing."""
    names = {"kernel": "kernel_addr_r", "device_tree": "fdt_addr_r", "ramdisk": "ramdisk_addr_r"}
    said = _numbers(found.environment)
    if all(name in said for name in names.values()):
        load = {key: said[name] for key, name in names.items()}
        others = [said[name] for name in ("kernel_comp_addr_r", "pxefile_addr_r", "loadaddr") if name in said]
        free = [a for a in others if all(b >= a + _HYPERVISOR_BYTES or b + 64 * MIB <= a for b in load.values())]
        if free:
            return LoadAddresses(hypervisor=free[0], **load), f"its own environment, of U-Boot {found.u_boot or '?'}"
    if like is not None:
        return like.load, like.source or "facts that vtool ships"
    why = "nothing in U-Boot's environment tells" if found.environment else "fw_printenv is not there, or tells nothing"
    return None, f"{why}: `printenv` in U-Boot"


def _numbers(environment: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for name, text in environment.items():
        try:
            found[name] = int(text, 16)
        except ValueError:
            continue
    return found


def _state(found: Installation, target: str | None, like: UBoot | None) -> tuple[Any, list[str]]:
    """Return where the boot state can be, and what of that has to be looked at by a person."""
    mount = found.mount_at(target) if target else None
    if like is not None and like.state == "environment":
        missing = "fw-setenv" not in found.words or not found.all("fw-env-config")
        return "environment", ["libubootenv-tool and /etc/fw_env.config on the board"] if missing else []
    if mount is None or mount.kind == "vfat":
        return "file", []
    disk = found.disk_of(mount)
    sector = found.free_sectors(disk) if disk else None
    if disk.startswith("mmcblk") and sector is not None:
        number = disk.removeprefix("mmcblk")
        state = BootState(device=f"/dev/{disk}", sector=sector, read_command="mmc read", write_command="mmc write")
        return state, [f"whether sector {sector} of /dev/{disk} is free, and whether U-Boot calls it mmc {number}"]
    return "file", [f"boot.state: {mount.target} is {mount.kind}, and a file for it has to be on FAT"]


def _with_room(facts: BoardFacts, load: LoadAddresses) -> tuple[BoardFacts, list[str]]:
    """Return facts with a carve-out around the load addresses, as far as RAM and other carve-outs leave it."""
    bases = sorted(load.model_dump().values())
    bank = next((bank.range for bank in facts.ram if bank.range.base <= bases[0] < bank.range.end), None)
    end = bases[-1] + _RAMDISK_BYTES
    ends = [carve.range.base for carve in facts.carve_outs if bases[-1] < carve.range.base]
    end = min([end, *ends, *([bank.end] if bank else [])])
    where = AddressRange(bases[0], end)
    met = [carve.name for carve in facts.carve_outs if carve.range.overlaps(where)]
    if bank is None or not bank.contains(where):
        return facts, [f"a carve-out around the load addresses: {where} is not all in one bank of RAM"]
    reason = "U-Boot loads the hypervisor, kernel, ramdisk and device tree here"
    own = CarveOut(name="boot-loads", base=where.base, size=where.size_bytes, reason=reason)
    note = [f"boot.load: {', '.join(met)} is between the load addresses"] if met else []
    return facts.model_copy(update={"carve_outs": (own, *facts.carve_outs)}), note
