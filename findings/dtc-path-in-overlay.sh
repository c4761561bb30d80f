#!/usr/bin/env bash
# dtc 1.6.1 (Debian 12): an alias that an overlay makes for a node of its own leads nowhere.
#
# Outside of < > a reference to a label is the node's full path (dtc Documentation/dts-format.txt), which is how aliases
# are written. Of a label in the overlay itself, dtc takes the path that the node has in the overlay's own tree.
#
# Expected: the merged tree has serial1 = "/soc/serial@9010000", as its __symbols__ say of the same label; or dtc refuses
#           the reference, as it does one to a label of the base.
# Seen:     serial1 = "/fragment@0/__overlay__/serial@9010000", a path that no merged tree has. Exit code 0, no word.
#           Linux passes over such an alias (drivers/of/base.c of_alias_scan), and the port gets another number.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT

apt-get download -q device-tree-compiler=1.6.1-4+b1 libfdt1=1.6.1-4+b1 > log 2>&1 || { cat log; exit 2; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export PATH="$PWD/usr/bin:$PATH" LD_LIBRARY_PATH="$PWD/usr/lib/$(uname -m)-linux-gnu"
cat > base.dts <<'EOF'
/dts-v1/;

/ {
	#address-cells = <1>;
	#size-cells = <1>;

	aliases {
	};

	soc {
		compatible = "simple-bus";
		#address-cells = <1>;
		#size-cells = <1>;
		ranges;
	};
};
EOF
cat > overlay.dts <<'EOF'
/dts-v1/;
/plugin/;

&{/soc} {
	#address-cells = <1>;
	#size-cells = <1>;

	uart1: serial@9010000 {
		compatible = "arm,pl011";
		reg = <0x9010000 0x1000>;
	};
};

&{/aliases} {
	serial1 = &uart1;
};
EOF
dtc -@ -O dtb -o base.dtb base.dts
dtc -@ -O dtb -o overlay.dtbo overlay.dts 2> said
fdtoverlay -i base.dtb -o merged.dtb overlay.dtbo 2>> said
alias=$(fdtget merged.dtb /aliases serial1)
symbol=$(fdtget merged.dtb /__symbols__ uart1)
echo "said: $(wc -c < said) bytes; the alias is $alias, the symbol $symbol"
[ ! -s said ] && [ "$alias" = /fragment@0/__overlay__/serial@9010000 ] && [ "$symbol" = /soc/serial@9010000 ]
