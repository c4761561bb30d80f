// A guest without an operating system, as an RTOS is one to a proof: it says a line on its console, and waits for
// interrupts that never come. Its header is that of Linux Documentation/arch/arm64/booting.rst, which QEMU and Xen load.
//
// Under QEMU `virt` the console is a PL011 at UART (hw/arm/virt.c); Xen's vpl011 has the same registers at another place.
#ifndef UART
#define UART 0x09000000
#endif
#ifndef LINE
#define LINE "bare: ready"
#endif
        .text
        .global _start
_start: b       begin
        .word   0
        .quad   0                       // text_offset
        .quad   end - _start            // image_size
        .quad   0xa                     // little-endian, 4 KiB pages, anywhere
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .word   0
begin:  ldr     x1, =UART
        adr     x2, line
1:      ldrb    w3, [x2], #1
        cbz     w3, 3f
2:      ldr     w4, [x1, #0x18]         // UARTFR
        tbnz    w4, #5, 2b              // TXFF
        str     w3, [x1]                // UARTDR
        b       1b
3:      wfi
        b       3b
        .ltorg
line:   .asciz  LINE "\r\n"
        .balign 4096
end:
