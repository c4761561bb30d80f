"""What a rule finds: data with a node; the edge turns it into a diagnostic."""

from __future__ import annotations

from dataclasses import dataclass

from vtool.diagnostics import Diagnostic, Label, Severity, Span
from vtool.platform.devicetree import Node


def printable(text: str) -> str:
    """Return text that any terminal takes: what does not print (a blob's names hold anything) is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


@dataclass(frozen=True, eq=False)
class Finding:
    """One finding: the node, the property of it that is meant (if any), nodes on the other side of a clash."""

    code: str
    node: Node
    message: str
    name: str | None = None
    others: tuple[Node, ...] = ()
    hints: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR

    def diagnostic(self) -> Diagnostic:
        """Return it with its place, which trees read from source have; the node's path leads the message."""
        labels = (Label(place, f"'{printable(o.path)}' is here") for o in self.others if (place := _place(o, None)))
        return Diagnostic(
            self.code,
            printable(f"{self.node.path}: {self.message}"),
            _place(self.node, self.name),
            tuple(labels),
            tuple(printable(hint) for hint in self.hints),
            severity=self.severity,
        )


def _place(node: Node, name: str | None) -> Span | None:
    found = node.properties.get(name) if name else None
    return found.place if found and found.place else node.place
