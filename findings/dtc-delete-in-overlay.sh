#!/usr/bin/env bash
# dtc 1.6.1 (Debian 12): what an overlay deletes stays.
#
# `/delete-property/` and `/delete-node/` are part of the language. An overlay cannot hold them: its compiled form has no
# word for what is to be removed.
#
# Expected: dtc refuses them in a file with `/plugin/` where they delete nothing of the same file, or warns at least.
# Seen:     dtc says nothing, exit code 0; fdtoverlay says nothing; the merged tree has the property and the node.
#           A device that was to lose `dma-coherent` keeps it, and Linux leaves its caches unflushed.
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

	virtio@a000000 {
		compatible = "virtio,mmio";
		reg = <0xa000000 0x200>;
		dma-coherent;
	};

	virtio@a000200 {
		compatible = "virtio,mmio";
		reg = <0xa000200 0x200>;
	};
};
EOF
cat > overlay.dts <<'EOF'
/dts-v1/;
/plugin/;

&{/virtio@a000000} {
	/delete-property/ dma-coherent;
	status = "okay";
};

&{/} {
	/delete-node/ virtio@a000200;
};
EOF
dtc -O dtb -o base.dtb base.dts
dtc -O dtb -o overlay.dtbo overlay.dts 2> said
fdtoverlay -i base.dtb -o merged.dtb overlay.dtbo 2>> said
coherent=$(fdtget -p merged.dtb /virtio@a000000 | grep -c dma-coherent || true)
nodes=$(fdtget -l merged.dtb / | grep -c virtio@a000200 || true)
echo "said: $(wc -c < said) bytes; dma-coherent is there: $coherent; virtio@a000200 is there: $nodes"
[ ! -s said ] && [ "$coherent" = 1 ] && [ "$nodes" = 1 ]
