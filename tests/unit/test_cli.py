"""The command line: what it imports, how it ends, what bad input looks like from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from vtool.diagnostics.codes import every_code

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "topology" / "examples" / "kvm-pool.yaml"


def vtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vtool.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_help_imports_nothing_heavy() -> None:
    line = (
        "import sys, vtool.cli.main as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    for heavy in ("pydantic", "jinja2", "yaml", "ansible", "fabric", "paramiko", "libfdt"):
        assert f"'{heavy}'" not in done.stdout, heavy
    assert "exit codes: 0 success" in done.stdout


def test_every_verb_has_help() -> None:
    from vtool.cli.main import VERBS

    for verb in VERBS:
        assert vtool(verb, "--help").returncode == 0, verb


def test_usage_errors_are_2() -> None:
    assert vtool().returncode == 2
    assert vtool("no-such-verb").returncode == 2
    assert vtool("validate").returncode == 2


def test_a_wrong_topology_is_1_with_a_place(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(EXAMPLE.read_text().replace("backend: host", "backend: hots"))
    done = vtool("validate", path)
    assert done.returncode == 1 and done.stdout == ""
    assert f"{path}:31:14: error[VT301]: domain 'hots' does not exist" in done.stderr
    assert "did you mean 'host'?" in done.stderr
    data = json.loads(vtool("validate", path, "--format", "json").stdout)
    assert data["diagnostics"][0]["place"]["line"] == 31


def test_a_kernel_file_that_is_none_is_located(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(EXAMPLE.read_text().replace("    memory: 256MiB", "    memory: 256MiB\n    kernel: no-such-file"))
    done = vtool("plan", path)
    assert done.returncode == 1 and "VT505" in done.stderr and "t.yaml:18:13" in done.stderr
    (tmp_path / "no-such-file").write_bytes(b"not a kernel")
    assert "it is text, not an arm64 kernel" in vtool("plan", path).stderr


def test_a_kernel_without_the_option_is_refused_before_the_board(tmp_path: Path) -> None:
    import gzip

    config = b"CONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_BLK=m\n# CONFIG_DMA_RESTRICTED_POOL is not set\n"
    image = b"\0" * 56 + b"ARM\x64" + b"IKCFG_ST" + gzip.compress(config) + b"IKCFG_ED"
    (tmp_path / "Image").write_bytes(image)
    path = tmp_path / "t.yaml"
    path.write_text(EXAMPLE.read_text().replace("    memory: 256MiB", "    memory: 256MiB\n    kernel: Image"))
    done = vtool("deploy", path)
    assert done.returncode == 1
    assert "VT510" in done.stderr and "CONFIG_DMA_RESTRICTED_POOL" in done.stderr
    assert "VT511" in done.stderr and "CONFIG_VIRTIO_BLK as a module" in done.stderr


def test_a_value_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(EXAMPLE.read_text().replace("    role: control", "    role: control\n    bootargs: it's"))
    done = vtool("render", path, "-o", tmp_path / "out")
    assert done.returncode == 1 and "VT420" in done.stderr


def test_explain_knows_every_code_and_says_so() -> None:
    assert "why:" in vtool("explain", "vt401").stdout
    assert vtool("explain", "VT999").returncode == 2
    page = vtool("explain").stdout
    assert page.count("\n## VT") == len(every_code()) and "\n## VT401: a region overlaps something\n" in page


def test_render_writes_the_files(tmp_path: Path) -> None:
    assert vtool("render", EXAMPLE, "-o", tmp_path).returncode == 0
    assert (tmp_path / "board0/generation/units/vtool-domain-fe0.service").is_file()
    assert "boot/Image: vtool:linux" in (tmp_path / "board0/images.txt").read_text()


def test_every_verb_with_a_topology_reads_its_options(tmp_path: Path) -> None:
    for path in (ROOT / "vtool" / "cli").glob("*_verb.py"):
        text = path.read_text()
        declares = re.search(r"\badd_(topology|view\()|\"--topology\"", text) is not None
        assert declares == ("prepare_arguments(arguments" in text), path
        assert '"--topology"' not in text or "add_changes(" in text, path
        assert "prepare(" not in text, path
    done = vtool("plan", EXAMPLE, "--set", "domains.fe0.memory=128MiB")
    assert "128MiB private" in done.stdout
    overlay = tmp_path / "o.yaml"
    overlay.write_text("domains: {fe0: {memory: 192MiB}}\n")
    assert "192MiB private" in vtool("plan", EXAMPLE, "--overlay", overlay).stdout


def test_schema_prints_or_writes(tmp_path: Path) -> None:
    printed = vtool("schema").stdout
    assert json.loads(printed)["properties"]["include"]
    assert vtool("schema", "-o", tmp_path / "s.json").returncode == 0
    assert (tmp_path / "s.json").read_text() == printed == (ROOT / "topology" / "schema.json").read_text()
    assert vtool("schema", "-o", tmp_path).returncode == 1
