"""Rules on the user's own words for Xen and for kernels: they say nothing against what is planned.

vtool's words stand first, and of most words Xen and Linux take the last: a word of the user's wins without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vtool.base.units import format_cpu_list
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model import command_lines
from vtool.model.topology import DRIVER_DOMAIN_RAMDISK, OWN_RAMDISKS, Kvm, Role, Xen
from vtool.platform.command_lines import Word, keeps_iommus_off, last, linux_words, number_of, xen_words
from vtool.platform.xen_properties import PROPERTIES
from vtool.reading.source import KeyPath

_FACTS = "the facts of the board say it, under `boot`"
_GUESTS_CONSOLE = "vtool looks there for the domain's `ready` text, and the last console is the one that gets it"
_COMES_FROM = {
    "dom0_mem": "`memory` of the control domain says it",
    "dom0_max_vcpus": "`cpus` of the control domain says it",
    **{row.words.partition("=")[0]: f"`{row.field}` of a guest switches it on" for row in PROPERTIES if row.words},
    "xsm": "`xsm_policy`, or `seclabel` of a guest, switches FLASK on",
    "panic": "a system that panicked has to restart, or the board stays with what failed",
}
_SYSTEMD = (
    "/init",
    *(f"{usr}{rest}" for usr in ("", "/usr") for rest in ("/sbin/init", "/bin/init", "/lib/systemd/systemd")),
)
_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "busybox")
_RUN_LEVELS = {
    **dict.fromkeys(("emergency", "_b"), "emergency.target"),
    **dict.fromkeys(("rescue", "single", "s", "S", "1", "_s"), "rescue.target"),
    **dict.fromkeys(("2", "3", "4"), "multi-user.target"),
    "5": "graphical.target",
}
"""What systemd makes of other words (man kernel-command-line, systemd 252); `-` is read as `_` here."""
_WITHOUT_UNITS = (
    *(f"{name}.target" for name in ("emergency", "rescue", "basic", "sysinit", "poweroff", "halt", "reboot", "kexec")),
    *(f"{name}.service" for name in ("emergency", "rescue")),
)
"""Targets that do not come to multi-user.target, which wants vtool's own."""
_OPPOSITE = {"ro": "rw", "rw": "rw"}


@rule(
    "VT355",
    what="a word of bootargs is vtool's to write",
    why="Xen and Linux take the last of most words, which is yours: the plan's number would be wrong.",
    example="bootargs: dom0_mem=8G for a Xen whose dom0 has memory: 1GiB",
    fix="Leave the word out, and write the key that it comes from.",
)
def words_are_said_once(context: Context) -> Iterator[Diagnostic]:
    """What vtool writes on a command line is not written again, which would win."""
    for board, declared in context.topology.boards.items():
        loaded, hypervisor = context.facts.get(board), declared.hypervisor
        path: KeyPath = ("boards", board, "hypervisor", "bootargs")
        if isinstance(hypervisor, Xen):
            written: Iterable[str] = written_for_xen(context, board, hypervisor)
            yield from _said_twice(context, path, xen_words(hypervisor.bootargs), written)
        for name, domain in context.domains_on(board):
            is_xen = isinstance(hypervisor, Xen)
            if domain.role is Role.GUEST:
                written = command_lines.of_guest(domain, is_xen=is_xen)
            elif loaded is not None:
                watchdog = loaded.facts.watchdog if declared.watchdog else None
                written = command_lines.of_control_domain(loaded.facts, watchdog, is_xen=is_xen)
            else:
                continue
            path = ("domains", name, "bootargs")
            yield from _said_twice(context, path, linux_words(domain.bootargs), written)


def written_for_xen(context: Context, board: str, hypervisor: Xen) -> Iterator[str]:
    """Yield what vtool itself writes on Xen's command line; nothing where the board or its dom0 is not known."""
    loaded, domains = context.facts.get(board), dict(context.domains_on(board)).values()
    control = next((domain for domain in domains if domain.role is Role.CONTROL), None)
    if loaded is not None and control is not None:
        guests = (domain for domain in domains if domain.role is Role.GUEST)
        yield from command_lines.of_xen(loaded.facts, hypervisor, control, guests)


def _said_twice(
    context: Context, path: KeyPath, words: tuple[Word, ...], written: Iterable[str]
) -> Iterator[Diagnostic]:
    linux = path[0] == "domains"
    read = linux_words if linux else xen_words
    own = {word.name: word for text in written for word in read(text)}
    for word in words:
        if linux and word.name.startswith(command_lines.OWN_PREFIX):
            message = f"`{word.text}`: words that begin with `{command_lines.OWN_PREFIX}` are vtool's own"
            yield at_word(context, "VT355", message, path, word, hints=("leave it out: vtool writes what it needs",))
    # The last one counts. Of consoles Linux uses all, and the last one as its own.
    for name, word in {word.name: word for word in words}.items():
        ours = own.get(_OPPOSITE.get(name, name))
        if ours is None:
            continue
        guest = linux and context.topology.domains[str(path[1])].role is Role.GUEST
        hint = f"leave it out: {_GUESTS_CONSOLE if guest else _COMES_FROM.get(name, _FACTS)}"
        if (name, word.value) != (ours.name, ours.value):
            message = f"`{word.text}` takes the place of `{ours.text}`, which vtool writes itself"
            yield at_word(context, "VT355", message, path, word, hints=(hint,))
        elif not linux or name != "console" or sum(one.name == name for one in words) == 1:
            message = f"`{word.text}` is written twice: vtool writes it itself"
            yield at_word(context, "VT355", message, path, word, hints=(hint,), severity=Severity.WARNING)


@rule("VT356")
def cpus_stay_on(context: Context) -> Iterator[Diagnostic]:
    """Neither Xen nor a kernel leaves CPUs off that something is planned for."""
    for board, declared in context.topology.boards.items():
        if isinstance(declared.hypervisor, Xen):
            word = last(xen_words(declared.hypervisor.bootargs), "maxcpus")
            most = number_of(word.value) if word else None
            if word is not None and most:
                path: KeyPath = ("boards", board, "hypervisor", "bootargs")
                yield from _off(context, board, most, path, word)
    for name, domain in context.topology.domains.items():
        word = last(linux_words(domain.bootargs), "maxcpus", "nr_cpus", "nosmp")
        if word is None or name not in context.board_of:
            continue
        most = number_of(word.value) or 1
        path = ("domains", name, "bootargs")
        if domain.role is Role.CONTROL and isinstance(context.hypervisor_of(name), Kvm):
            yield from _off(context, context.board_of[name], most, path, word)
        elif most < domain.cpus:
            message = f"`{word.text}` leaves {domain.cpus - most} of the {domain.cpus} CPUs of '{name}' off"
            yield at_word(context, "VT356", message, path, word, hints=("write `cpus`",), severity=Severity.WARNING)


def _off(context: Context, board: str, most: int, path: KeyPath, word: Word) -> Iterator[Diagnostic]:
    """Say what is planned for CPUs from ``most`` on; a warning when nothing is."""
    hypervisor = context.topology.boards[board].hypervisor
    pools = hypervisor.cpupools if isinstance(hypervisor, Xen) else {}
    users = [(f"pool '{name}' has", pool.cpus) for name, pool in pools.items()]
    users += [(f"'{n}' is kept on", c) for n, domain in context.domains_on(board) for c in domain.pins.values()]
    users += [(f"'{n}' is served on", d.backend_cpus) for n, d in context.lookup.devices_on[board].items()]
    for who, cpus in users:
        if off := [cpu for cpu in cpus if cpu >= most]:
            message = f"`{word.text}` leaves CPUs off that {who}: {format_cpu_list(off)}"
            yield at_word(context, "VT356", message, path, word)
            return
    if board in context.facts and most < context.facts[board].facts.cpus:
        message = f"`{word.text}` leaves {context.facts[board].facts.cpus - most} CPUs of board '{board}' off"
        yield at_word(context, "VT356", message, path, word, severity=Severity.WARNING)


@rule(
    "VT356",
    what="a word of bootargs takes away what the plan relies on",
    why=(
        "A kernel that uses less memory or fewer CPUs, goes past an IOMMU, or starts another init boots and says "
        "nothing."
    ),
    example="bootargs: mem=64M for a guest whose pool lies behind 256 MiB",
    fix="Leave the word out.",
)
def confinement_stays_on(context: Context) -> Iterator[Diagnostic]:
    """What confines a device, or bounces its buffers, is not switched off."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        given = next((name for name, domain in context.domains_on(board) if domain.passthrough), None)
        word = keeps_iommus_off(xen_words(declared.hypervisor.bootargs))
        if word is not None and given is not None:
            message = f"`{word.text}`: then Xen drives no IOMMU, which the nodes passed through to '{given}' need"
            yield at_word(context, "VT356", message, ("boards", board, "hypervisor", "bootargs"), word)
    for name, domain in context.topology.domains.items():
        words, path = linux_words(domain.bootargs), ("domains", name, "bootargs")
        own = {n: d for n, d in context.lookup.devices_of[name].items() if d.frontend == name}
        behind = next((n for n, device in own.items() if device.data_path.traits.translated), None)
        word = last(words, "iommu.passthrough")
        if word is not None and behind is not None and not word.is_off:
            message = f"`{word.text}` goes past the IOMMU, which alone confines device '{behind}' of '{name}'"
            yield at_word(context, "VT356", message, path, word)
        word = last(words, "swiotlb")
        if word is None or word.value.split(",")[-1] != "noforce":
            continue
        if domain.role is Role.CONTROL and isinstance(context.hypervisor_of(name), Xen):
            message = f"`{word.text}`: a device of dom0 that is not coherent then has no way to reach guests' pages"
            yield at_word(context, "VT356", message, path, word, severity=Severity.WARNING)
        elif any(device.data_path.traits.pooled for device in own.values()):
            message = f"`{word.text}` leaves '{name}' no bounce buffers but its pools"
            yield at_word(context, "VT356", message, path, word, severity=Severity.WARNING)


@rule("VT356")
def boot_is_as_planned(context: Context) -> Iterator[Diagnostic]:
    """A kernel takes the ramdisk, device tree and hypervisor that it is started with, and Xen restarts."""
    for board, declared in context.topology.boards.items():
        if isinstance(declared.hypervisor, Xen):
            word = last(xen_words(declared.hypervisor.bootargs), "noreboot")
            if word is not None and not word.is_off:
                message = f"`{word.text}`: a Xen that panicked stays so, and the board does not fall back"
                path: KeyPath = ("boards", board, "hypervisor", "bootargs")
                yield at_word(context, "VT356", message, path, word, severity=Severity.WARNING)
    for name, domain in context.topology.domains.items():
        hypervisor, words = context.hypervisor_of(name), linux_words(domain.bootargs)
        path = ("domains", name, "bootargs")
        word = last(words, "noinitrd", "initrd", "initrdmem")
        if word is not None and domain.ramdisk is not None:
            message = f"`{word.text}`: then the kernel of '{name}' does not find its ramdisk"
            yield at_word(context, "VT356", message, path, word)
        if domain.role is Role.GUEST or not isinstance(hypervisor, Kvm):
            continue
        word = last(words, "kvm_arm.mode")
        if word is not None and word.value == "none":
            yield at_word(context, "VT356", f"`{word.text}`: then the board has no KVM", path, word)
        word = last(words, "acpi")
        if word is not None and word.value in ("force", "on"):
            message = f"`{word.text}`: with ACPI Linux reads no device tree, in which vtool's regions are"
            yield at_word(context, "VT356", message, path, word)


@rule("VT356")
def systems_start(context: Context) -> Iterator[Diagnostic]:
    """What is to start, and to say that a domain is ready, is started: vtool's own init, a board's systemd.

    Nothing is known of the init of a ramdisk or disk of the user's own.
    """
    for name, domain in context.topology.domains.items():
        words, path = linux_words(domain.bootargs), ("domains", name, "bootargs")
        if domain.role is Role.GUEST:
            word = last(words, "rdinit")
            if word is not None and word.value != "/init" and domain.ramdisk in (*OWN_RAMDISKS, DRIVER_DOMAIN_RAMDISK):
                message = (
                    f"`{word.text}`: then the /init of '{domain.ramdisk}' does not run, which sets up '{name}' and "
                    "says that it is ready"
                )
                yield at_word(context, "VT356", message, path, word, hints=("leave it out",))
            continue
        word = last(words, "init")
        if word is not None and word.value.startswith("/") and word.value not in _SYSTEMD:
            message = f"`{word.text}` takes the place of the board's systemd, which starts sshd and vtool's units"
            severity = Severity.ERROR if word.value.rpartition("/")[2] in _SHELLS else Severity.WARNING
            hints = ("leave it out",) if severity is Severity.ERROR else ("this works only if it starts systemd",)
            yield at_word(context, "VT356", message, path, word, hints=hints, severity=severity)
            continue
        # The last one counts (systemd 252 src/core/main.c parse_proc_cmdline_item).
        chosen = [(word, _target_of(word)) for word in words]
        word, target = next(((word, unit) for word, unit in reversed(chosen) if unit), (None, None))
        if word is not None and target in _WITHOUT_UNITS:
            message = (
                f"`{word.text}`: the board then goes to {target}, where neither sshd nor a unit of vtool is started"
            )
            yield at_word(context, "VT356", message, path, word, hints=("leave it out",))


def _target_of(word: Word) -> str | None:
    """Return the unit that a word makes systemd start, None when it says nothing of that."""
    if word.name == "systemd.unit":
        return word.value or None
    return None if "=" in word.text else _RUN_LEVELS.get(word.name)


def at_word(
    context: Context,
    code: str,
    message: str,
    path: KeyPath,
    word: Word,
    *,
    labels: tuple[Label, ...] = (),
    hints: tuple[str, ...] = (),
    severity: Severity = Severity.ERROR,
) -> Diagnostic:
    """Make a finding at one word of a value that stands on one line as it is, else at the whole value."""
    found = context.find(code, message, path, labels=labels, hints=hints, severity=severity)
    span, value = found.span, context.value(path)
    if span is None or span.line != span.end_line or not isinstance(value, str):
        return found
    quotes = span.end_column - span.column - len(value)
    if quotes not in (0, 2):
        return found
    start = span.column + quotes // 2 + word.offset
    return replace(found, span=replace(span, column=start, end_column=start + len(word.text)))
