/*
 * take-page grant DOMAIN REFERENCE | take-page foreign DOMAIN FRAME
 *
 * Asks Xen to map one page of another domain, and says what came of it: by a grant (Linux include/uapi/xen/gntdev.h),
 * as a backend does, or without one (IOCTL_PRIVCMD_MMAPBATCH_V2 of include/uapi/xen/privcmd.h), as a device model in
 * dom0 does. For proofs: what was not granted has to be refused.
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

#define PAGE_BYTES 4096

struct map_grant {
    uint32_t count, pad;
    uint64_t index;
    uint32_t domain, reference;
};

struct map_batch_v2 {
    uint32_t count;
    uint16_t domain;
    uint64_t address;
    const uint64_t *frames;
    int *errors;
};

/* Both return 0 or an error number. */
static int map_grant(int node, uint32_t domain, uint32_t reference)
{
    struct map_grant request = {1, 0, 0, domain, reference};
    if (ioctl(node, _IOC(_IOC_NONE, 'G', 0, sizeof request), &request) != 0)
        return errno;
    /* The hypercall is made here. */
    if (mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, node, (off_t)request.index) == MAP_FAILED)
        return errno;
    return 0;
}

static int map_foreign(int node, uint16_t domain, uint64_t frame)
{
    int error = 0;
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, node, 0);
    if (page == MAP_FAILED)
        return errno;
    struct map_batch_v2 request = {1, domain, (uintptr_t)page, &frame, &error};
    if (ioctl(node, _IOC(_IOC_NONE, 'P', 4, sizeof request), &request) != 0)
        return errno;
    return -error;
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    int by_grant = strcmp(words[1], "grant") == 0;
    int node = open(by_grant ? "/dev/xen/gntdev" : "/dev/xen/privcmd", O_RDWR);
    if (node < 0) {
        printf("not asked (%s)\n", strerror(errno));
        return 2;
    }
    unsigned long domain = strtoul(words[2], NULL, 0);
    unsigned long long page = strtoull(words[3], NULL, 0);
    int error = by_grant ? map_grant(node, (uint32_t)domain, (uint32_t)page) : map_foreign(node, (uint16_t)domain, page);
    if (error != 0) {
        printf("refused (%s)\n", strerror(error));
        return 1;
    }
    printf("mapped\n");
    return 0;
}
