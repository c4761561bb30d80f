#!/usr/bin/env bash
# Lopper 1.6.0 (PyPI): a string of digits becomes a number in a .dtb.
#
# `serial-number` of the root node is a string (Devicetree Specification 0.4, section 3.2), and serial numbers are often
# digits alone. Lopper is given a tree that has one and asked for the same tree, in both forms. It calls the machine's dtc.
#
# Expected: the same string in both: serial-number = "12345678".
# Seen:     the .dts has the string; the .dtb has one cell, 0xbc614e, which is the number 12345678.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT

python3 -m venv venv
venv/bin/pip install --quiet --quiet 'lopper[yaml,dt]==1.6.0' || exit 2
cat > board.dts <<'EOF'
/dts-v1/;

/ {
	compatible = "vendor,board";
	model = "Board";
	serial-number = "12345678";
};
EOF
PATH="$PWD/venv/bin:$PATH"
lopper -f board.dts out.dts > log
lopper -f board.dts out.dtb >> log
text=$(grep -o 'serial-number = .*' out.dts)
blob=$(dtc -q -I dtb -O dts out.dtb | grep -o 'serial-number = .*')
echo "in the .dts: $text"
echo "in the .dtb: $blob"
[ "$text" = 'serial-number = "12345678";' ] && [ "$blob" = 'serial-number = <0xbc614e>;' ]
