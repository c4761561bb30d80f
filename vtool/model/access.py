"""How a proof gets into a guest, and what of it must be shown: `access` and `proof` of a domain.

No password is ever part of a topology: it says where one is. Enter at ``Access`` and ``way_into``.
"""

from enum import Enum
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from vtool.model.host_words import HostKey, HostName, LocalPath, Port, UserName
from vtool.model.types import MayHoldSecrets, Model


class Way(Enum):
    """How commands get into a guest.

    ``PROMPT`` is never written: it is meant where nothing is written of a guest that is not vtool's. Its console is
    asked for the prompt of a root shell, and nothing else is typed where there is none.
    """

    SHELL = "shell"
    LOGIN = "login"
    SSH = "ssh"
    NONE = "none"
    PROMPT = "prompt"


class ProofKind(Enum):
    """Kinds of rows of a proof."""

    UNIT = "unit"
    CONSOLE = "console"
    FEATURES = "features"
    REACH = "reach"
    DATA = "data"


Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^[\x20-\x7e]+$",
        description="the end of what a console says when it waits: 1 to 100 printable ASCII characters",
    ),
]
EnvironmentName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$",
        description="the name of an environment variable: letters, digits and '_'",
    ),
]


class WithoutSettings(Model):
    """A way that there is nothing to say of."""


class Login(Model):
    """Logging in at the console. The password is in a file, or in a variable of vtool's environment.

    Without either the guest asks for none. ``prompt`` and ``password_prompt`` are what the console ends with when it
    waits. ``password`` is refused: what a topology holds is read by others.
    """

    unknown_keys_hold_secrets: ClassVar[bool] = True
    user: UserName = "root"
    password_file: LocalPath | None = None
    password_env: EnvironmentName | None = None
    password: Annotated[str | int | float | bool | None, MayHoldSecrets()] = None
    prompt: Prompt = "login: "
    password_prompt: Prompt = "Password: "  # noqa: S105 - what a console says


class Ssh(Model):
    """Commands by ssh from the board, which needs a client; ``key_file`` is on the controller.

    Without ``address`` it is the ``frontend_address`` of the guest's first network. Without ``host_key`` any key of the
    guest is taken, as nothing but the guest's board is between.
    """

    unknown_keys_hold_secrets: ClassVar[bool] = True
    user: UserName = "root"
    address: HostName | None = None
    port: Port = 22
    key_file: LocalPath
    host_key: HostKey | None = None


def _spelled_out(value: Any) -> Any:
    return {value: {}} if isinstance(value, str) else value


class OneWay(Model):
    """One of the four; a word is one without settings."""

    unknown_keys_hold_secrets: ClassVar[bool] = True
    shell: WithoutSettings | None = None
    login: Login | None = None
    ssh: Ssh | None = None
    none: WithoutSettings | None = None

    @property
    def ways(self) -> tuple[Way, ...]:
        """Return what is written: one, by rule VT480."""
        return tuple(Way(name) for name in OneWay.model_fields if getattr(self, name) is not None)


_Word = Annotated[str, Field(pattern=r"^(shell|login|none)$")]
Access = Annotated[
    OneWay,
    BeforeValidator(_spelled_out, json_schema_input_type=_Word | OneWay),
    Field(description="shell, login, none, or one key with its settings: login or ssh"),
]


class ProofSettings(Model):
    """What must be shown: where a row of one of these kinds was not looked at, the deploy is taken back."""

    require: tuple[ProofKind, ...] = ()


def way_into(access: OneWay | None, *, is_ours: bool, at_boot: bool) -> Way:
    """Return how a proof gets into a guest. ``is_ours``: it has a ramdisk of vtool's; ``at_boot``: Xen builds it.

    What Xen builds at boot has its console in Xen's log, where nobody types.
    """
    if access is not None:
        return access.ways[0]
    if is_ours:
        return Way.SHELL
    return Way.NONE if at_boot else Way.PROMPT
