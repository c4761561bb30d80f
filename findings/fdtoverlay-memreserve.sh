#!/usr/bin/env bash
# fdtoverlay 1.6.1 (Debian 12): what an overlay reserves with `/memreserve/` is lost.
#
# `/memreserve/` may stand at the head of every source file (dtc Documentation/dts-format.txt), and dtc writes it into a
# compiled overlay as it does into a tree.
#
# Expected: the merged tree reserves both ranges; or dtc or fdtoverlay says that an overlay cannot reserve memory.
# Seen:     the merged tree has the base's range alone. Exit code 0, no word. Linux takes the memory of the other one,
#           in which firmware or a coprocessor may be at work.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT

apt-get download -q device-tree-compiler=1.6.1-4+b1 libfdt1=1.6.1-4+b1 > log 2>&1 || { cat log; exit 2; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export PATH="$PWD/usr/bin:$PATH" LD_LIBRARY_PATH="$PWD/usr/lib/$(uname -m)-linux-gnu"
cat > base.dts <<'EOF'
/dts-v1/;

/memreserve/ 0x40000000 0x1000;

/ {
	#address-cells = <1>;
	#size-cells = <1>;
};
EOF
cat > overlay.dts <<'EOF'
/dts-v1/;
/plugin/;

/memreserve/ 0x50000000 0x100000;

&{/} {
	coprocessor { compatible = "vendor,coprocessor"; };
};
EOF
dtc -O dtb -o base.dtb base.dts
dtc -O dtb -o overlay.dtbo overlay.dts 2> said
fdtoverlay -i base.dtb -o merged.dtb overlay.dtbo 2>> said
count() { dtc -q -I dtb -O dts "$1" | grep -c '^/memreserve/' || true; }
echo "said: $(wc -c < said) bytes; ranges of the base: $(count base.dtb), of the overlay: $(count overlay.dtbo)," \
    "of the merged tree: $(count merged.dtb)"
[ ! -s said ] && [ "$(count base.dtb) $(count overlay.dtbo) $(count merged.dtb)" = '1 1 1' ]
