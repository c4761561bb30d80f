"""A flattened device tree as data: nodes, properties, cells, memory reservations.

Owns the decoding of properties (cells, strings, ``reg``, phandles). Knows nothing of files and
processes (``vtool.board.dts`` reads those) nor of what is right or wrong in a tree (``vtool.lint``).
Format: Devicetree Specification v0.4, chapters 2 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vtool.diagnostics import Span
from vtool.units import AddressRange

DEFAULT_ADDRESS_CELLS = 2
DEFAULT_SIZE_CELLS = 1
_HEADER_BYTES = 40
_DEEPEST = 64
_QUIET = (1,)  # libfdt.NOTFOUND: end of the list, not an error


@dataclass(frozen=True)
class Property:
    """A name and its bytes; ``place`` is known for trees read from source."""

    name: str
    value: bytes
    place: Span | None = None

    @property
    def cells(self) -> tuple[int, ...]:
        """Return the value as 32-bit big-endian numbers; a rest shorter than four bytes is left out."""
        whole = len(self.value) // 4 * 4
        return tuple(int.from_bytes(self.value[at : at + 4], "big") for at in range(0, whole, 4))

    @property
    def strings(self) -> tuple[str, ...]:
        """Return the value as a list of NUL-terminated strings."""
        return tuple(part.decode("utf-8", "replace") for part in self.value.split(b"\0")[:-1])

    @property
    def string(self) -> str:
        """Return the first string, or the empty one."""
        return next(iter(self.strings), "")

    def tuples(self, *widths: int) -> list[tuple[int, ...]]:
        """Return the value as tuples of numbers of so many cells each; ValueError when it does not divide."""
        cells, step = self.cells, sum(widths)
        if len(self.value) % 4 or not step or len(cells) % step:
            raise ValueError(f"'{self.name}' has {len(self.value)} bytes, not a multiple of {step} cells")
        found = []
        for start in range(0, len(cells), step):
            numbers, at = [], start
            for width in widths:
                number = 0
                for cell in cells[at : at + width]:
                    number = number << 32 | cell
                numbers.append(number)
                at += width
            found.append(tuple(numbers))
        return found


@dataclass
class Node:
    """A node; ``path`` is absolute, ``children`` are in the order of the tree."""

    name: str
    path: str
    parent: Node | None = field(repr=False)
    place: Span | None = None
    properties: dict[str, Property] = field(default_factory=dict, repr=False)
    children: dict[str, Node] = field(default_factory=dict, repr=False)

    def walk(self) -> Iterator[Node]:
        """Yield this node and everything below it, parents first."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    @property
    def base_name(self) -> str:
        """Return the name without its unit address."""
        return self.name.partition("@")[0]

    @property
    def compatible(self) -> tuple[str, ...]:
        """Return the compatible strings."""
        return self.strings("compatible")

    @property
    def available(self) -> bool:
        """Tell whether ``status`` lets an operating system use the node."""
        return self.string("status", "okay") in ("okay", "ok")

    @property
    def address_cells(self) -> int:
        """Return the cells of an address in the children's ``reg`` (2 when not said)."""
        return self.number("#address-cells", DEFAULT_ADDRESS_CELLS)

    @property
    def size_cells(self) -> int:
        """Return the cells of a size in the children's ``reg`` (1 when not said)."""
        return self.number("#size-cells", DEFAULT_SIZE_CELLS)

    @property
    def phandle(self) -> int | None:
        """Return the node's phandle, None when it has none."""
        return self.number("phandle", self.number("linux,phandle", 0)) or None

    def number(self, name: str, default: int = 0) -> int:
        """Return the first cell of a property."""
        cells = self.properties[name].cells if name in self.properties else ()
        return cells[0] if cells else default

    def string(self, name: str, default: str = "") -> str:
        """Return the first string of a property."""
        return self.properties[name].string if name in self.properties else default

    def strings(self, name: str) -> tuple[str, ...]:
        """Return the strings of a property, none when it is not there."""
        return self.properties[name].strings if name in self.properties else ()

    def reg(self) -> list[tuple[int, int]]:
        """Return ``reg`` as (address, size) pairs in the parent's bus addresses. ValueError on a wrong length."""
        if "reg" not in self.properties or self.parent is None:
            return []
        pairs = self.properties["reg"].tuples(self.parent.address_cells, self.parent.size_cells)
        return [(address, size) for address, size in pairs]

    def ranges(self) -> list[AddressRange]:
        """Return ``reg`` as CPU-physical ranges, empty ones left out. ValueError on a wrong length."""
        found = []
        for address, size in self.reg():
            physical = self.translated(address)
            if size and physical is not None:
                found.append(AddressRange.of_size(physical, size))
        return found

    def translated(self, address: int) -> int | None:
        """Return an address of the parent's bus as the CPU sees it, None when ``ranges`` does not lead there."""
        bus = self.parent
        while bus is not None and bus.parent is not None:
            if "ranges" not in bus.properties:
                return None
            if bus.properties["ranges"].value:
                widths = (bus.address_cells, bus.parent.address_cells, bus.size_cells)
                for child, parent, size in bus.properties["ranges"].tuples(*widths):
                    if child <= address < child + size:
                        address += parent - child
                        break
                else:
                    return None
            bus = bus.parent
        return address


@dataclass
class Tree:
    """A whole tree and its memory reservation block."""

    root: Node
    memory_reservations: tuple[AddressRange, ...] = ()

    def node(self, path: str) -> Node | None:
        """Return the node at an absolute path or an alias, None when there is none."""
        node: Node | None = self.root
        if not path.startswith("/"):
            alias, _, rest = path.partition("/")
            aliases = self.root.children.get("aliases")
            path = (aliases.string(alias) if aliases else "") + (f"/{rest}" if rest else "")
            if not path.startswith("/"):
                return None
        for name in path.strip("/").split("/"):
            if name and node is not None:
                node = node.children.get(name) or next(
                    (child for child in node.children.values() if child.base_name == name), None
                )
        return node

    def by_phandle(self) -> Mapping[int, Node]:
        """Return every node that has a phandle; the first one when two have the same."""
        found: dict[int, Node] = {}
        for node in self.root.walk():
            if node.phandle is not None:
                found.setdefault(node.phandle, node)
        return found

    def compatible(self, *names: str) -> list[Node]:
        """Return the nodes that are compatible with one of the names, in the order of the tree."""
        return [node for node in self.root.walk() if set(names) & set(node.compatible)]


def read_blob(blob: bytes) -> Tree:
    """Decode a flattened device tree. ValueError, with libfdt's own word for it, when it is not one."""
    import libfdt  # noqa: PLC0415 - compiled code, needed by few verbs

    size = int.from_bytes(blob[4:8], "big")
    if len(blob) < _HEADER_BYTES or size > len(blob):
        raise ValueError(f"it has {len(blob)} bytes, its header says {size}")
    try:
        fdt = libfdt.FdtRo(blob)
        count = fdt.num_mem_rsv()
        reserved = [(start, size) for start, size in (fdt.get_mem_rsv(i)[:2] for i in range(count)) if size]
        root = _read_node(fdt, 0, None)
    except libfdt.FdtException as error:
        raise ValueError(str(error)) from None
    return Tree(root, tuple(AddressRange.of_size(start, size) for start, size in reserved))


def _read_node(fdt: Any, offset: int, parent: Node | None, depth: int = 0) -> Node:
    if depth > _DEEPEST:
        raise ValueError(f"nodes are nested deeper than {_DEEPEST}")
    name = fdt.get_name(offset)
    path = "/" if parent is None else f"{parent.path.rstrip('/')}/{name}"
    node = Node(name, path, parent)
    at = fdt.first_property_offset(offset, _QUIET)
    while at >= 0:
        found = fdt.get_property_by_offset(at)
        node.properties[found.name] = Property(found.name, bytes(found))
        at = fdt.next_property_offset(at, _QUIET)
    child = fdt.first_subnode(offset, _QUIET)
    while child >= 0:
        below = _read_node(fdt, child, node, depth + 1)
        node.children[below.name] = below
        child = fdt.next_subnode(child, _QUIET)
    return node
