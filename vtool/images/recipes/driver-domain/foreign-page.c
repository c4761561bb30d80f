/*
 * foreign-page DOMAIN FRAME: ask Xen to map one page of another domain's memory, without a grant, and say what it
 * answered. The real thing: the request that a device model in dom0 makes (IOCTL_PRIVCMD_MMAPBATCH_V2 of Linux
 * include/uapi/xen/privcmd.h; XENMEM_add_to_physmap_batch of Xen public/memory.h below it).
 * Exit code: 0 mapped, 1 refused, 2 not asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

struct mmapbatch_v2 {
    uint32_t count;
    uint16_t domain;
    uint64_t address;
    const uint64_t *frames;
    int *errors;
};

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    int node = open("/dev/xen/privcmd", O_RDWR);
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, node, 0);
    if (node < 0 || page == MAP_FAILED) {
        printf("not asked: %s\n", strerror(errno));
        return 2;
    }
    uint64_t frame = strtoull(words[2], NULL, 0);
    int error = 0;
    struct mmapbatch_v2 batch = {1, (uint16_t)strtoul(words[1], NULL, 0), (uintptr_t)page, &frame, &error};
    if (ioctl(node, _IOC(_IOC_NONE, 'P', 4, sizeof batch), &batch) != 0)
        error = -errno;
    if (error != 0) {
        printf("refused: %s\n", strerror(-error));
        return 1;
    }
    printf("mapped, first byte %#x\n", *(volatile unsigned char *)page);
    return 0;
}
