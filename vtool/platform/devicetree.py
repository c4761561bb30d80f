"""A flattened device tree as data: nodes, properties, cells, memory reservations.

Owns the decoding of properties (cells, strings, ``reg``, phandles). Knows nothing of files and
processes (``vtool.board.dts`` reads those) nor of what is right or wrong in a tree (``vtool.lint``).
Format: Devicetree Specification v0.4, chapters 2 and 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vtool.base.units import AddressRange
from vtool.diagnostics import Span

DEFAULT_ADDRESS_CELLS = 2
DEFAULT_SIZE_CELLS = 1
_HEADER = struct.Struct(">10I")
_HEADER_BYTES = _HEADER.size
_MAGIC = 0xD00DFEED
_VERSION = 17
UNRESOLVED = 0xFFFF_FFFF
"""The phandle that dtc leaves where a label leads nowhere."""
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
_DEEPEST = 64


class Property(NamedTuple):
    """A name and its bytes; ``place`` is known for trees read from source."""

    name: str
    value: bytes
    place: Span | None = None

    @property
    def cells(self) -> tuple[int, ...]:
        """Return the value as `numbers`."""
        return numbers(self.value)

    @property
    def strings(self) -> tuple[str, ...]:
        """Return the value as a list of NUL-terminated strings."""
        return _strings(self.value)

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


class Node:
    """A node; ``path`` is absolute, ``children`` are in the order of the tree. Two are equal when they are one.

    ``values`` are the bytes of its properties, which is all that most questions need.
    """

    __slots__ = ("_properties", "children", "name", "parent", "path", "place", "values")

    def __init__(self, name: str, path: str, parent: Node | None) -> None:
        self.name = name
        self.path = path
        self.parent = parent
        self.place: Span | None = None
        self.values: dict[str, bytes] = {}
        self.children: dict[str, Node] = {}
        self._properties: dict[str, Property] | None = None

    def __repr__(self) -> str:
        return f"Node({self.path!r})"

    @property
    def properties(self) -> dict[str, Property]:
        """Return the properties with the places that are known; made when asked for, of so many objects it is slow."""
        if self._properties is None:
            self._properties = {name: Property(name, value) for name, value in self.values.items()}
        return self._properties

    def walk(self) -> Iterator[Node]:
        """Yield this node and everything below it, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children.values()))

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
        """Whether ``status`` lets an operating system use the node."""
        return self.string("status", "okay") in ("okay", "ok")

    @property
    def failed(self) -> bool:
        """Whether ``status`` says that the node is out of order (``fail``, ``fail-sss``)."""
        return self.string("status").startswith("fail")

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
        values = self.values
        if "phandle" not in values and "linux,phandle" not in values:
            return None
        return self.number("phandle", self.number("linux,phandle")) or None

    def number(self, name: str, default: int = 0) -> int:
        """Return the first cell of a property."""
        value = self.values.get(name, b"")
        return int.from_bytes(value[:4], "big") if len(value) >= 4 else default

    def cells(self, name: str) -> tuple[int, ...]:
        """Return the 32-bit numbers of a property, none when it is not there."""
        return numbers(self.values.get(name, b""))

    def string(self, name: str, default: str = "") -> str:
        """Return the first string of a property."""
        value = self.values.get(name)
        return default if value is None else next(iter(_strings(value)), "")

    def strings(self, name: str) -> tuple[str, ...]:
        """Return the strings of a property, none when it is not there."""
        return _strings(self.values.get(name, b""))

    def reg(self) -> list[tuple[int, int]]:
        """Return ``reg`` as (address, size) pairs in the parent's bus addresses. ValueError on a wrong length."""
        if "reg" not in self.values or self.parent is None:
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
            if "ranges" not in bus.values:
                return None
            if bus.values["ranges"]:
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
    """A whole tree and its memory reservation block.

    ``unresolved`` are references in its source to labels that nothing has: path of the node, property and label. A blob
    does not tell them from the number -1.
    """

    root: Node
    memory_reservations: tuple[AddressRange, ...] = ()
    unresolved: tuple[tuple[str, str, str], ...] = ()

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
            if (phandle := node.phandle) is not None:
                found.setdefault(phandle, node)
        return found

    def compatible(self, *names: str) -> list[Node]:
        """Return the nodes that are compatible with one of the names, in the order of the tree."""
        wanted = {name.encode() for name in names}
        return [
            node
            for node in self.root.walk()
            if "compatible" in node.values and not wanted.isdisjoint(node.values["compatible"].split(b"\0")[:-1])
        ]


def cpu_nodes(tree: Tree) -> list[Node]:
    """Return the CPUs that can be used, in the order in which Linux numbers them: that of the tree.

    They are told by name or type; what failed is left out, what is disabled can be started
    (Linux drivers/of/base.c of_get_next_cpu_node).
    """
    return [node for node in _cpu_children(tree) if not node.failed]


def odd_cpu_nodes(tree: Tree) -> Iterator[tuple[Node, str]]:
    """Yield the CPUs that Linux and Xen do not count alike, and how.

    Xen xen/arch/arm/smpboot.c dt_smp_init_cpus: it asks for the type and looks at no status.
    """
    for node in _cpu_children(tree):
        if node.failed:
            yield node, f'has failed (status = "{node.string("status")}"): Linux leaves it out, Xen tries to start it'
        elif node.string("device_type") != "cpu":
            yield node, 'has no device_type = "cpu": Linux counts it, Xen does not'


def _cpu_children(tree: Tree) -> list[Node]:
    cpus = tree.root.children.get("cpus")
    children = cpus.children.values() if cpus else ()
    return [node for node in children if node.base_name == "cpu" or node.string("device_type") == "cpu"]


def describes_nothing(tree: Tree) -> bool:
    """Whether a tree has no hardware in it, nothing but what a boot loader says in /chosen."""
    return "compatible" not in tree.root.values and set(tree.root.children) <= {"chosen"}


def booted_by_uefi(tree: Tree) -> bool:
    """Whether Linux's EFI stub has prepared a tree (drivers/firmware/efi/libstub/fdt.c).

    It removes every /memreserve/ and leaves RAM to UEFI's own map, which is in no tree.
    """
    chosen = tree.root.children.get("chosen")
    return chosen is not None and "linux,uefi-mmap-start" in chosen.values


def misread_by_linux(root: Node, node: Node) -> Iterator[tuple[str, str]]:
    """Yield what Linux cannot read of a region that it is to place, and skips then, each with the bytes it would be.

    The cells are the root's, of an alignment those of an address (Linux drivers/of/of_reserved_mem.c
    __reserved_mem_alloc_size).
    """
    address, size = 4 * root.address_cells, 4 * root.size_cells
    for name, length in (("size", size), ("alignment", address)):
        if name in node.values and len(node.values[name]) != length:
            yield name, f"{length}"
    row, ranges = address + size, node.values.get("alloc-ranges")
    if ranges is not None and (not ranges or not row or len(ranges) % row):
        yield "alloc-ranges", f"{row} for each range"


def read_blob(blob: bytes) -> Tree:
    """Decode a flattened device tree (Devicetree Specification v0.4, chapter 5).

    Of nodes and properties of the same name the first counts, as for libfdt and Linux. ValueError when it is not one.
    """
    if len(blob) < _HEADER_BYTES:
        raise ValueError(f"it has {len(blob)} bytes, less than a header")
    magic, size, structure, strings, reservations, version, compatible, _, strings_size, structure_size = (
        _HEADER.unpack_from(blob)
    )
    if magic != _MAGIC:
        raise ValueError("its first bytes are not those of a flattened device tree")
    if size > len(blob):
        raise ValueError(f"it has {len(blob)} bytes, its header says {size}")
    if version < _VERSION or compatible > _VERSION:
        raise ValueError(f"its format is version {version}, compatible with {compatible}, not {_VERSION}")
    if max(structure + structure_size, strings + strings_size, reservations) > size:
        raise ValueError("its header points beyond its end")
    root = _read_structure(blob[structure : structure + structure_size], blob[strings : strings + strings_size])
    return Tree(root, tuple(_read_reservations(blob[reservations:size])))


def _read_reservations(block: bytes) -> Iterator[AddressRange]:
    for at in range(0, len(block) - 15, 16):
        start, size = int.from_bytes(block[at : at + 8], "big"), int.from_bytes(block[at + 8 : at + 16], "big")
        if not start and not size:
            return
        if size:
            yield AddressRange.of_size(start, size)
    raise ValueError("its memory reservations have no end")


def _read_structure(block: bytes, strings: bytes) -> Node:
    """Read nodes and properties; ``above`` is the path of open nodes from the root down.

    What reads or merges a tree spends most of its time here: numbers are decoded at once, names where first met.
    """
    words, names = numbers(block), dict[int, str]()
    end = len(words)
    root: Node | None = None
    above: list[Node] = []
    values = dict[str, bytes]()  # of the innermost open node
    at = 0
    while at < end:
        token = words[at]
        at += 1
        if token == _PROPERTY and above and at + 2 <= end:
            length, name_at, start = words[at], words[at + 1], at * 4 + 8
            if start + length > len(block):
                raise ValueError(f"a property of '{above[-1].path}' ends beyond the tree")
            name = names.get(name_at)
            if name is None:
                name = names[name_at] = _text(strings, name_at)
            if name not in values:
                values[name] = block[start : start + length]
            at += 2 + (length + 3) // 4
        elif token == _BEGIN_NODE and (root is None or above):
            name = _text(block, at * 4)
            at = (block.index(b"\0", at * 4) + 4) // 4
            node = _begin(name, above)
            root, values = root or node, node.values
        elif token == _END_NODE and above:
            above.pop()
            values = above[-1].values if above else {}
        elif token == _END and root is not None and not above:
            return root
        elif token != _NOP:
            raise ValueError(f"its structure is broken at byte {at * 4 - 4}")
    raise ValueError("its structure has no end")


def numbers(block: bytes) -> tuple[int, ...]:
    """Return bytes as 32-bit big-endian numbers; a rest shorter than four is left out."""
    return struct.unpack_from(f">{len(block) // 4}I", block)


def _strings(value: bytes) -> tuple[str, ...]:
    return tuple(value.decode("utf-8", "replace").split("\0")[:-1])


def _begin(name: str, above: list[Node]) -> Node:
    if len(above) >= _DEEPEST:
        raise ValueError(f"nodes are nested deeper than {_DEEPEST}")
    if not above:
        node = Node(name, "/", None)
    else:
        parent = above[-1]
        node = Node(name, f"{parent.path}/{name}" if len(above) > 1 else f"/{name}", parent)
        parent.children.setdefault(name, node)
    above.append(node)
    return node


def _text(block: bytes, at: int) -> str:
    """Return the NUL-terminated text at a place; what is not UTF-8 is shown as escapes."""
    end = block.find(b"\0", at)
    if at > len(block) or end < 0:
        raise ValueError("a name has no end")
    return block[at:end].decode("utf-8", "backslashreplace")
