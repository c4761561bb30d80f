"""What the reading of files refuses: its codes, and the failures that callers ask for by class."""

from __future__ import annotations

from vtool.diagnostics import VtoolError
from vtool.diagnostics.codes import declare

declare(
    "VT100",
    what="the file cannot be read or written",
    why="It is missing, a folder, not permitted, or far larger than any topology.",
    example="vtool validate no-such-file.yaml",
    fix="Correct the path.",
)
declare(
    "VT101",
    what="the file is not YAML that vtool reads",
    why="Broken syntax, not UTF-8, control characters, several documents, or nested too deeply.",
    example="boards: {board0:",
    fix="Go to the place shown; indent with spaces and close what is open.",
)


class EmptyFile(
    VtoolError,
    code="VT102",
    what="the file is empty",
    why="There is no document in it, only comments or nothing.",
    example="# nothing here",
    fix="Start from topology/examples.",
):
    """A file, or text, without a document in it."""


declare(
    "VT103",
    what="a key is repeated",
    why="YAML would silently keep the last one.",
    example="memory: 1GiB, and memory: 2GiB below it",
    fix="Keep one of them.",
)
declare(
    "VT104",
    what="a key is not a plain word",
    why="Keys are names. A merge key makes a line mean what stands elsewhere; a number, list or mapping is no name.",
    example="<<: *defaults",
    fix="Write the keys out as words.",
)
declare(
    "VT105",
    what="a value or key has a tag",
    why="Tags make a YAML reader build something other than what is written; a topology needs none.",
    example="name: !!binary a3Zt",
    fix="Remove the tag; put quotes around what is meant as text.",
)
declare(
    "VT106",
    what="an included file cannot be used",
    why=(
        "It is missing, not a regular file, or named by an absolute path, which would be another file on another "
        "machine."
    ),
    example="include: [no-such-file.yaml]",
    fix="Write the file's path as seen from the folder of the file that includes it.",
)
declare(
    "VT107",
    what="files include each other in a circle",
    why="There is no order in which to merge them.",
    example="a.yaml includes b.yaml, which includes a.yaml",
    fix="Remove one include of the chain shown; put what both need into a third file.",
)
declare(
    "VT108",
    what="include is not a list of files",
    why="Files are merged in the order of the list.",
    example="include: base.yaml",
    fix="Write include: [base.yaml].",
)
declare(
    "VT109",
    what="a --set option cannot be read",
    why="It has to say which key gets which value.",
    example="--set domains.fe0.cpus",
    fix="Write --set path.to.key=value.",
)
declare(
    "VT110",
    what="a variable is not defined",
    why="The text ${name} would reach the board as it stands.",
    example="memory: ${guest_memry}",
    fix="Correct the name, or add it to variables; write $${ for the text ${.",
)
declare(
    "VT111",
    what="variables use each other in a circle",
    why="None of them has a value.",
    example="a: ${b}, and b: ${a} below it",
    fix="Give one of them a value.",
)
declare(
    "VT112",
    what="a variable is not used (warning)",
    why="Changing it would change nothing, which is seldom what was meant.",
    example="variables: {cpus: 2}, and no ${cpus} anywhere",
    fix="Use it or remove it.",
)
declare(
    "VT113",
    what="a variable is not written correctly",
    why="Only ${name} is replaced, and the resulting text may have at most 4096 characters.",
    example="bootargs: root=${root",
    fix="Close the brace and write a variable's name in it; write $${ for the text ${.",
)
declare(
    "VT114",
    what="a variable's name or value is not allowed",
    why="Variables stand for single values and are named where they are used.",
    example="variables: {Memory: [1GiB]}",
    fix="Use lower-case letters, digits, _ and - for the name, and text, a whole number, true or false for the value.",
)
declare(
    "VT205",
    what="the file has a version that this vtool does not read",
    why="The same keys may mean something else in another version.",
    example="version: 2",
    fix="Use a vtool that reads it, or write the file for the version in the message.",
)
