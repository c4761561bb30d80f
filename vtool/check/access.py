"""Rules on how a proof gets into a guest, and on what of its proof must be shown."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic
from vtool.diagnostics.codes import rule
from vtool.model.access import OneWay, ProofKind, Way
from vtool.model.devices import Device
from vtool.model.lookup import address_of
from vtool.model.topology import Domain, Role, Start
from vtool.reading.source import KeyPath


@rule(
    "VT480",
    what="a guest has not one way in",
    why="A proof gets into a guest by one way: a shell on its console, a login there, ssh, or none.",
    example="access: {login: {}, ssh: {key_file: id_ed25519}}",
    fix="Leave one of them.",
)
def access_is_one_way(context: Context) -> Iterator[Diagnostic]:
    """Of the four ways one is written."""
    for path, _, access in _written(context):
        if len(access.ways) != 1:
            ways = " and ".join(f"`{way.value}`" for way in access.ways) or "nothing"
            yield context.find("VT480", f"`access` is one of shell, login, ssh and none; here it is {ways}", path)


@rule(
    "VT481",
    what="a password stands in a topology",
    why="A topology is read by others, and travels in bundles; vtool reads a password when it needs it and keeps none.",
    example="access: {login: {password: secret}}",
    fix="Write it into a file that is yours alone, named in password_file; or use password_env.",
)
@rule("VT482")
def no_password_is_written(context: Context) -> Iterator[Diagnostic]:
    """A password is somewhere else, and in one place."""
    for path, _, access in _written(context):
        login = access.login
        if login is None:
            continue
        if "password" in login.model_fields_set:
            message = "a topology holds no password"
            hint = "name where it is: `password_file`, or `password_env` for a variable of vtool's environment"
            yield context.find("VT481", message, (*path, "login", "password"), key=True, hints=(hint,))
        if login.password_file is not None and login.password_env is not None:
            message = "the password is in a file or in a variable, not in both"
            yield context.find("VT482", message, (*path, "login", "password_env"), key=True)


@rule(
    "VT482",
    what="a guest cannot be got into in the way that is written",
    why="What Xen builds at boot has its console in Xen's log, where nobody types; ssh needs an address.",
    example="access: login of a domain with start: dom0less",
    fix="Use ssh with an address, or none.",
)
def the_way_leads_into_the_guest(context: Context) -> Iterator[Diagnostic]:
    """A console is typed at where there is one, and ssh has an address."""
    for path, name, access in _written(context):
        domain = context.topology.domains[name]
        at_boot = domain.start is Start.DOM0LESS
        if at_boot and (access.login or access.shell):
            message = f"nobody can type at the console of '{name}', which Xen builds at boot: it is in Xen's log"
            yield context.find("VT482", message, path, hints=("use `ssh`, or `none`",))
        if access.ssh and not access.ssh.address and address_of(_own_devices(context, name)) is None:
            message = f"no network of '{name}' says an address to reach it at by ssh"
            yield context.find("VT482", message, (*path, "ssh"), key=True, hints=("write `address`",))


@rule(
    "VT483",
    what="a proof requires what cannot be shown",
    why="A guest of whose devices nothing is shown, or that nobody gets into, would be taken back every time.",
    example="proof: {require: [data]} of a guest with access: none",
    fix="Leave the kind out, or give the guest a device, an access or a `ready` text.",
)
def what_is_required_can_be_shown(context: Context) -> Iterator[Diagnostic]:
    """Every kind that is required has a row that can be proven."""
    for name, domain in context.topology.domains.items():
        if domain.role is not Role.GUEST or domain.proof is None:
            continue
        for index, kind in enumerate(domain.proof.require):
            why = _why_not(context, name, domain, kind)
            if why is not None:
                path = ("domains", name, "proof", "require", index)
                yield context.find("VT483", f"'{kind.value}' is required of '{name}', {why}", path)


def _why_not(context: Context, name: str, domain: Domain, kind: ProofKind) -> str | None:
    devices = [device.data_path.traits for device in _own_devices(context, name).values()]
    from_inside = kind in (ProofKind.DATA, ProofKind.REACH)
    if kind is ProofKind.CONSOLE:
        if domain.start is Start.DOM0LESS and not domain.under_xen.uart:
            return "which has no console"
        says = domain.says_when_ready or domain.way_into is not Way.NONE
        return None if says else "of whose console nothing is known: it has no `ready`"
    if kind is ProofKind.FEATURES and not any(traits.virtio for traits in devices):
        return "which has no virtio device"
    if from_inside and not devices:
        return "which has no device"
    if from_inside and domain.way_into is Way.NONE:
        return "and is shown from the inside alone, which nobody gets into: its `access` is none"
    return None


def _written(context: Context) -> Iterator[tuple[KeyPath, str, OneWay]]:
    """Yield what is written of guests: where, of which, and what."""
    for name, domain in context.topology.domains.items():
        if domain.role is Role.GUEST and domain.access is not None:
            yield ("domains", name, "access"), name, domain.access


def _own_devices(context: Context, name: str) -> dict[str, Device]:
    return {n: device for n, device in context.lookup.devices_of[name].items() if device.frontend == name}
