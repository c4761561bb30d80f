"""What PID 1 of vtool's reference guest does with devices that come, go, and come again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

INIT = Path(__file__).resolve().parents[2] / "vtool/images/recipes/guest/init"
# The interface's number in each second, 0 while there is none; its name is that of before.
VIF = """\
ls() { [ "${number:-$first}" = 0 ] || echo eth0; }
cat() { [ "${number:-$first}" = 0 ] || echo "${number:-$first}"; }
link_with() { echo "$1 on $2, $(cat)"; }
echo_port() { :; }
first=0
seconds="7 7 0 9 9"
sleep() {
    [ "$seconds" ] || exit 0
    number=${seconds%% *}
    seconds=${seconds#"$number"}
    seconds=${seconds# }
}
echo_vif 0:192.0.2.2/24
"""


def function(name: str) -> str:
    found = re.search(rf"^{name}\(\) \{{\n.*?^\}}\n", INIT.read_text(), re.M | re.S)
    assert found
    return found[0]


def test_an_interface_that_is_attached_again_gets_its_address_again() -> None:
    done = subprocess.run(["sh", "-c", function("echo_vif") + VIF], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["192.0.2.2/24 on eth0, 7", "192.0.2.2/24 on eth0, 9"], done.stderr


def test_a_disk_that_is_gone_is_not_made_a_file(tmp_path: Path) -> None:
    gone, copied = tmp_path / "xvda", tmp_path / "echo"
    copied.write_bytes(bytes(4096))
    echo = function("echo_block").replace("/tmp/echo", str(copied)).replace("direct", "sync")
    script = f"{echo}\nsleep() {{ exit 0; }}\necho_block {gone} 0 1 xvda\n"
    subprocess.run(["sh", "-c", script.replace("/dev/console", str(tmp_path / "console"))], timeout=60, check=True)
    assert not gone.exists()
