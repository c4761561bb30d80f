#!/usr/bin/env bash
# fdtoverlay 1.6.1 (Debian 12): an overlay that puts a label on a node of the base takes the node's phandle away.
#
# An overlay may say `gic: interrupt-controller@8000000 { }` of a node that the base has, to refer to it without
# asking the base for symbols. dtc gives the label a phandle of the overlay's own.
#
# Expected: the node keeps the phandle that the base refers to it by, and the overlay's references are changed to that.
# Seen:     the node gets a new one, 0x08. The root's `interrupt-parent = <0x07>` is left as it is: it leads nowhere, and
#           no device of the base has an interrupt controller any more. Exit code 0, no word.
# libfdt 1.7.2 keeps the phandle.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT

apt-get download -q device-tree-compiler=1.6.1-4+b1 libfdt1=1.6.1-4+b1 > log 2>&1 || { cat log; exit 2; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export PATH="$PWD/usr/bin:$PATH" LD_LIBRARY_PATH="$PWD/usr/lib/$(uname -m)-linux-gnu"
cat > base.dts <<'EOF'
/dts-v1/;

/ {
	#address-cells = <2>;
	#size-cells = <2>;
	interrupt-parent = <&gic>;

	gic: interrupt-controller@8000000 {
		compatible = "arm,gic-v3";
		reg = <0 0x8000000 0 0x10000>;
		interrupt-controller;
		#interrupt-cells = <3>;
		#address-cells = <0>;
		phandle = <7>;
	};
};
EOF
cat > overlay.dts <<'EOF'
/dts-v1/;
/plugin/;

&{/} {
	gic: interrupt-controller@8000000 { };
	timer { compatible = "arm,armv8-timer"; interrupt-parent = <&gic>; interrupts = <1 13 4>; };
};
EOF
dtc -q -O dtb -o base.dtb base.dts
dtc -q -O dtb -o overlay.dtbo overlay.dts
fdtoverlay -i base.dtb -o merged.dtb overlay.dtbo
node=$(fdtget -t x merged.dtb /interrupt-controller@8000000 phandle)
root=$(fdtget -t x merged.dtb / interrupt-parent)
timer=$(fdtget -t x merged.dtb /timer interrupt-parent)
echo "phandle of the interrupt controller: $node; the root refers to $root, the overlay's timer to $timer"
[ "$node $root $timer" = '8 7 8' ]
