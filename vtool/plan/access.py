"""How a proof gets into a guest: the domain's `access`, with everything that was left out decided."""

from __future__ import annotations

from vtool.model.access import ProofKind
from vtool.model.lookup import address_of
from vtool.model.topology import Domain
from vtool.plan.scope import BoardScope
from vtool.plan.types import GuestAccess


def plan_access(scope: BoardScope, name: str, domain: Domain) -> GuestAccess:
    """Decide it."""
    way, said = domain.way_into, domain.access
    place = scope.document.span(("domains", name, "access")) if said is not None else None
    if said is not None and said.login is not None:
        login = said.login
        return GuestAccess(
            way,
            user=login.user,
            password_file=login.password_file,
            password_env=login.password_env,
            prompt=login.prompt,
            password_prompt=login.password_prompt,
            place=place,
        )
    if said is not None and said.ssh is not None:
        ssh = said.ssh
        address = ssh.address or address_of(scope.devices_of(name))
        assert address is not None, "ssh has an address (VT482)"
        return GuestAccess(
            way,
            user=ssh.user,
            address=address,
            port=ssh.port,
            key_file=ssh.key_file,
            host_key=ssh.host_key,
            place=place,
        )
    return GuestAccess(way)


def plan_required(domain: Domain) -> tuple[ProofKind, ...]:
    """Return the kinds of rows that must be shown, each once."""
    return tuple(dict.fromkeys(domain.proof.require)) if domain.proof else ()
