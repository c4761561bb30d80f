/* vtool-ring: a network link and a block export over a region of memory that two machines share.
 *
 * Format and arithmetic are in ring.h. Here: arguments, the region, waiting, and what the records carry. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <linux/nbd.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ring.h"

enum { DATA_WRONG = 1, USAGE = 2, SYSTEM = 3 };
enum { TAG_FRAME = 1, TAG_REQUEST, TAG_REPLY, TAG_PATTERN };
enum { OP_INFO = 1, OP_READ, OP_WRITE, OP_FLUSH };
enum { DONE, OUTSIDE, READ_ONLY, IO_FAILED, NOT_UNDERSTOOD };
enum { CHUNK_MAX = 65536, FRAME_MIN = 14, IN_FLIGHT = 32, SPINS = 2000, PAUSE_MAX_NS = 1000000 };
/* After so long without a record a virtual machine has better to do than to be woken a thousand times a second. */
enum { QUIET_AFTER_NS = 1000000000, QUIET_PAUSE_NS = 10000000 };

/* Of a request `value` is where; of a reply to OP_INFO it is how large. Data follow a write and the reply to a read. */
struct block_message {
    uint64_t id;
    uint32_t operation, status; /* status: of a reply; of one to OP_INFO, READ_ONLY when it is */
    uint64_t value;
    uint32_t length, zero;
};

static struct ring ring;
static uint64_t record[RING_PAYLOAD_MAX / 8]; /* what was received last: the only place bytes of the region go to */
static const char *region_name = "", *waits_for = "the other side to start";
static char side_name, other_name;
static uint64_t region_offset, timeout_s, sent, received, refused, restarts;
static uint64_t idle_tries, idle_since; /* since the last record */
static volatile sig_atomic_t stopped;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("vtool-ring: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

__attribute__((noreturn)) static void leave(int code)
{
    if (ring.mine)
        ring_leave(&ring);
    exit(fflush(stdout) == 0 ? code : SYSTEM);
}

#define END(code, ...) (note(__VA_ARGS__), leave(code))

static void on_stop(int number)
{
    (void)number;
    stopped = 1;
}

/* The region went away under us: a file was cut short, a device was removed. Nothing of it may be touched now. */
static void on_bus_error(int number)
{
    static const char text[] = "vtool-ring: the region is gone (SIGBUS)\n";
    (void)number;
    if (write(2, text, sizeof text - 1) < 0) {
        /* nobody reads it, and there is nothing else to do */
    }
    _exit(SYSTEM);
}

static void end_if_stopped(void)
{
    if (stopped) /* net and export have no other end: 0 */
        END(ring.service <= RING_EXPORT ? 0 : 128 + SIGTERM, "stopped; records: %" PRIu64 " sent, %" PRIu64
            " received, %" PRIu64 " refused", sent, received, refused);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Wait a little, longer each time, or until `fd` (if any) has bytes; end when the other side is silent for too long. */
static void wait_a_little(int fd)
{
    end_if_stopped();
    if (idle_tries++ < SPINS) {
        if (idle_tries % 16 == 0)
            sched_yield();
        return;
    }
    uint64_t now = now_ns(), longer = (idle_tries - SPINS) / 4;
    idle_since = idle_since ? idle_since : now;
    if (timeout_s && (now - idle_since) / 1000000000u >= timeout_s)
        END(SYSTEM, "%s: side %c gave no sign for %" PRIu64 " s while side %c waited for %s", region_name, other_name,
            timeout_s, side_name, waits_for);
    struct pollfd wake = {.fd = fd, .events = POLLIN};
    long pause = longer > 10 ? PAUSE_MAX_NS : 1000l << longer;
    pause = now - idle_since > QUIET_AFTER_NS ? QUIET_PAUSE_NS : pause < PAUSE_MAX_NS ? pause : PAUSE_MAX_NS;
    ppoll(&wake, 1, &(struct timespec){.tv_nsec = pause}, NULL);
}

static enum ring_state judged(enum ring_state state, uint64_t *count)
{
    end_if_stopped();
    if (state == RING_CORRUPT)
        END(DATA_WRONG, "%s+0x%" PRIx64 ": side %c: %s (0x%" PRIx64 "); side %c stops", region_name, ring.at,
            other_name, ring.what, ring.value, side_name);
    if (state == RING_OK) {
        ++*count;
        idle_tries = idle_since = 0;
    }
    return state;
}

static enum ring_state put(uint32_t tag, const void *first, uint32_t first_bytes, const void *second, uint32_t bytes)
{
    return judged(ring_send(&ring, tag, first, first_bytes, second, bytes), &sent);
}

static enum ring_state take(uint32_t *length, uint32_t *tag)
{
    return judged(ring_receive(&ring, record, length, tag), &received);
}

/* Wait for the other side, which has to run `service`. */
static void connect_to(uint64_t service)
{
    idle_tries = idle_since = 0;
    while (ring_connect(&ring) != RING_OK)
        wait_a_little(-1);
    uint64_t theirs = ring_acquire(&ring.peer->service);
    if (theirs != service)
        END(DATA_WRONG, "%s: side %c runs service %" PRIu64 ", side %c wants %" PRIu64
            " (1 net, 2 export, 3 attach, 4 check)", region_name, other_name, theirs, side_name, service);
}

/* The other side left or started anew: tell it (a hostile one cannot fill a log: the 1st, 2nd, 4th, 8th time). */
static void connect_again(uint64_t service, const char *lost)
{
    restarts++;
    if ((restarts & (restarts - 1)) == 0)
        note("%s: side %c left or started anew (time %" PRIu64 "): %s", region_name, other_name, restarts, lost);
    connect_to(service);
}

static uint64_t number(const char *text, const char *what)
{
    char *rest;
    errno = 0;
    uint64_t value = strtoull(text, &rest, 0);
    if (errno || rest == text || *rest || text[0] == '-')
        END(USAGE, "%s: '%s' is not a number", what, text);
    return value;
}

/* -- the region: PATH or PATH:OFFSET+SIZE */

static void *map_region(char *text, uint64_t *size, int *fd)
{
    uint64_t wanted = 0;
    char *colon = strrchr(text, ':'), *plus = colon ? strchr(colon, '+') : NULL;
    struct stat status;
    region_name = strdup(text);
    if (plus) { /* the names of PCI devices have colons, too, but no sum behind them */
        *colon = *plus = 0;
        region_offset = number(colon + 1, "the region's offset");
        wanted = number(plus + 1, "the region's size");
    }
    *fd = open(text, O_RDWR | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &status) < 0)
        END(SYSTEM, "%s: %s", text, strerror(errno));
    uint64_t there = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    if (!there && !wanted)
        END(USAGE, "%s: its size is not known: write %s:OFFSET+SIZE", text, text);
    if (there && (region_offset > there || wanted > there - region_offset))
        END(USAGE, "%s: it has 0x%" PRIx64 " bytes, less than 0x%" PRIx64 "+0x%" PRIx64, text, there,
            region_offset, wanted);
    *size = wanted ? wanted : there - region_offset;
    if (*size < RING_PAGES * RING_PAGE || *size > SIZE_MAX / 2 || region_offset % (uint64_t)sysconf(_SC_PAGESIZE))
        END(USAGE, "%s: the region has to start at a page and be larger than %u bytes", text, RING_PAGES * RING_PAGE);
    void *region = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, (off_t)region_offset);
    if (region == MAP_FAILED)
        END(SYSTEM, "%s: cannot be mapped: %s", region_name, strerror(errno));
    return region;
}

static void open_side(char *region_text, uint64_t service)
{
    uint64_t size;
    int fd;
    void *region = map_region(region_text, &size, &fd);
    uint64_t page = region_offset + (side_name == 'a' ? RING_PAGE : 2 * RING_PAGE);
    struct flock lock = {.l_type = F_WRLCK, .l_start = (off_t)page, .l_len = 1};
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0 && errno == EAGAIN)
        END(SYSTEM, "%s: side %c is served by another process here", region_name, side_name);
    const char *wrong = ring_open(&ring, region, size, side_name, service);
    if (wrong) {
        ring.mine = NULL;
        END(DATA_WRONG, "%s: %s", region_name, wrong);
    }
}

/* -- net: Ethernet frames of a TAP interface */

static int open_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (strlen(name) >= IFNAMSIZ)
        END(USAGE, "--tap: '%s' is longer than %d letters", name, IFNAMSIZ - 1);
    memcpy(request.ifr_name, name, strlen(name));
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0)
        END(SYSTEM, "/dev/net/tun, interface '%s': %s", name, strerror(errno));
    return tap;
}

static void set_carrier(int tap, int carrier)
{
    ioctl(tap, TUNSETCARRIER, &carrier); /* for people and routing; the link works without */
}

__attribute__((noreturn)) static void run_net(const char *tap_name)
{
    static char frame[RING_PAYLOAD_MAX]; /* read of the TAP, and perhaps waiting for room */
    uint32_t waiting = 0, length, tag;
    int tap = open_tap(tap_name);
    set_carrier(tap, 0);
    connect_to(RING_NET);
    set_carrier(tap, 1);
    note("%s: %s is linked to side %c", region_name, tap_name, other_name);
    for (;;) {
        enum ring_state out = RING_OK, in = RING_OK;
        ssize_t got = 1;
        for (int i = 0; i < IN_FLIGHT && out == RING_OK; i++) {
            if (!waiting && (got = read(tap, frame, sizeof frame)) <= 0)
                break;
            waiting = waiting ? waiting : (uint32_t)got;
            if (waiting > ring_payload_max(ring.size))
                refused++;
            else
                out = put(TAG_FRAME, NULL, 0, frame, waiting);
            waiting = out == RING_OK ? 0 : waiting;
        }
        /* What is no frame is not for the interface; what the kernel refuses is lost, as on a cable. */
        for (int i = 0; i < IN_FLIGHT && (in = take(&length, &tag)) == RING_OK; i++)
            refused += tag != TAG_FRAME || length < FRAME_MIN || write(tap, record, length) < 0;
        if (out == RING_RESTARTED || in == RING_RESTARTED) {
            set_carrier(tap, 0);
            connect_again(RING_NET, "frames under way are lost, the link goes on when it is there");
            set_carrier(tap, 1);
            waiting = 0;
        } else if (in == RING_WAIT && (out == RING_WAIT || got <= 0))
            wait_a_little(waiting ? -1 : tap);
    }
}

/* -- export: a file or block device */

static uint32_t chunk_bytes(void)
{
    uint32_t most = ring_payload_max(ring.size) - (uint32_t)sizeof(struct block_message);
    return most < CHUNK_MAX ? most & ~511u : CHUNK_MAX;
}

static bool moved_all(int fd, char *bytes, uint32_t length, uint64_t at, bool writing)
{
    while (length) {
        ssize_t done = writing ? pwrite(fd, bytes, length, (off_t)at) : pread(fd, bytes, length, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes += done;
        at += (uint64_t)done;
        length -= (uint32_t)done;
    }
    return true;
}

/* Answer the request in `record`, which is ours and does not change. Return the bytes of data of the reply. */
static uint32_t serve(int fd, uint64_t size, bool read_only, uint32_t length, uint32_t tag, struct block_message *reply,
                      char *data)
{
    struct block_message asked;
    char *written = (char *)record + sizeof asked;
    memset(reply, 0, sizeof *reply);
    reply->status = NOT_UNDERSTOOD;
    if (tag != TAG_REQUEST || length < sizeof asked)
        return 0;
    memcpy(&asked, record, sizeof asked);
    reply->id = asked.id;
    reply->operation = asked.operation;
    uint32_t carried = length - (uint32_t)sizeof asked;
    bool inside = asked.value <= size && asked.length <= size - asked.value;
    if (asked.operation == OP_INFO && carried == 0) {
        reply->status = read_only ? READ_ONLY : DONE;
        reply->value = size;
    } else if (asked.operation == OP_FLUSH && carried == 0)
        reply->status = fdatasync(fd) == 0 || errno == EINVAL ? DONE : IO_FAILED;
    else if ((asked.operation == OP_READ && carried == 0 && asked.length <= chunk_bytes()) ||
             (asked.operation == OP_WRITE && carried == asked.length)) {
        bool write_it = asked.operation == OP_WRITE;
        if (write_it && read_only)
            reply->status = READ_ONLY;
        else if (!inside)
            reply->status = OUTSIDE;
        else
            reply->status = moved_all(fd, write_it ? written : data, asked.length, asked.value, write_it) ? DONE
                                                                                                          : IO_FAILED;
        reply->length = reply->status == DONE && !write_it ? asked.length : 0;
    }
    return reply->length;
}

__attribute__((noreturn)) static void run_export(const char *file, bool read_only)
{
    static char data[CHUNK_MAX];
    struct block_message reply;
    uint32_t length, tag;
    int fd = open(file, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < 0)
        END(SYSTEM, "%s: %s", file, strerror(errno));
    connect_to(RING_ATTACH);
    for (;;) {
        enum ring_state state = take(&length, &tag);
        if (state == RING_OK) {
            uint32_t bytes = serve(fd, (uint64_t)size, read_only, length, tag, &reply, data);
            while ((state = put(TAG_REPLY, &reply, sizeof reply, data, bytes)) == RING_WAIT)
                wait_a_little(-1);
        }
        if (state == RING_RESTARTED)
            connect_again(RING_ATTACH, "the export waits for it");
        else if (state == RING_WAIT)
            wait_a_little(-1);
    }
}

/* -- attach: its client */

static uint64_t next_id, disk_bytes;
static bool disk_read_only;

static const char *status_text(uint32_t status)
{
    static const char *texts[] = {"success", "that is outside of what is exported", "it is exported read-only",
                                  "its file cannot be read or written", "the request was not understood"};
    return status < sizeof texts / sizeof *texts ? texts[status] : "a status that this version does not know";
}

/* Move `length` bytes, several requests under way; of 0 bytes (info, flush) one. Return a status of the format.
 * A server that starts anew is asked again for all it did not answer: the same bytes twice do no harm. */
static uint32_t transfer(uint32_t operation, uint64_t at, char *bytes, uint64_t length)
{
    uint64_t most = chunk_bytes(), requests = length ? (length + most - 1) / most : 1;
    uint64_t first = next_id, asked = 0, answered = 0; /* requests; an id is first + which */
    uint32_t failed = DONE, got, tag;
    struct block_message message;
    while (answered < (failed ? asked : requests)) {
        enum ring_state state = RING_OK;
        while (state == RING_OK && !failed && asked < requests && asked - answered < IN_FLIGHT) {
            uint64_t from = asked * most, part = length - from < most ? length - from : most;
            message = (struct block_message){
                .id = first + asked, .operation = operation, .value = at + from, .length = (uint32_t)part};
            bool carries = operation == OP_WRITE;
            state = put(TAG_REQUEST, &message, sizeof message, carries ? bytes + from : NULL,
                        carries ? (uint32_t)part : 0);
            asked += state == RING_OK;
        }
        if (state == RING_OK || state == RING_WAIT)
            state = take(&got, &tag);
        if (state == RING_RESTARTED) {
            connect_again(RING_EXPORT, "what it did not answer is asked again");
            asked = answered;
        }
        if (state != RING_OK) {
            wait_a_little(-1);
            continue;
        }
        uint64_t from = answered * most, part = length - from < most ? length - from : most;
        memcpy(&message, record, sizeof message);
        if (tag != TAG_REPLY || got < sizeof message || answered == asked || message.id != first + answered)
            END(DATA_WRONG, "%s: side %c: a record that answers no request", region_name, other_name);
        answered++;
        uint32_t carried = operation == OP_READ && message.status == DONE ? (uint32_t)part : 0;
        if (got != sizeof message + carried || message.length != carried || message.operation != operation)
            END(DATA_WRONG, "%s: side %c: a reply of %u bytes where %u belong", region_name, other_name,
                got - (uint32_t)sizeof message, carried);
        if (operation == OP_INFO) {
            disk_bytes = message.value;
            disk_read_only = message.status == READ_ONLY;
        } else if (message.status != DONE && !failed)
            failed = message.status;
        if (carried)
            memcpy(bytes + from, (char *)record + sizeof message, carried);
    }
    next_id = first + asked;
    return failed;
}

static void all_bytes(int fd, char *bytes, uint64_t length, bool writing, const char *what)
{
    while (length) {
        ssize_t done = writing ? write(fd, bytes, length) : read(fd, bytes, length);
        if (done < 0 && errno == EINTR && !stopped)
            continue;
        if (done <= 0)
            END(SYSTEM, "%s: %s", what, done < 0 ? strerror(errno) : "ends early");
        bytes += done;
        length -= (uint64_t)done;
    }
}

static char *new_buffer(void)
{
    char *buffer = malloc(32u << 20); /* the most that Linux puts into one request of an NBD device */
    if (!buffer)
        END(SYSTEM, "no memory");
    return buffer;
}

static void copy_out(uint64_t at, uint64_t length, int fd, const char *name)
{
    char *buffer = new_buffer();
    for (uint64_t part; length; at += part, length -= part) {
        part = length < 1u << 20 ? length : 1u << 20;
        uint32_t status = transfer(OP_READ, at, buffer, part);
        if (status)
            END(DATA_WRONG, "%s: read at %" PRIu64 ": %s", region_name, at, status_text(status));
        all_bytes(fd, buffer, part, true, name);
    }
    free(buffer);
}

static void copy_in(uint64_t at)
{
    char *buffer = new_buffer();
    uint32_t status = DONE;
    for (;;) {
        uint64_t filled = 0;
        ssize_t got = 1;
        while (filled < 1u << 20 && (got = read(0, buffer + filled, (1u << 20) - filled)) > 0)
            filled += (uint64_t)got;
        if (got < 0)
            END(SYSTEM, "standard input: %s", strerror(errno));
        if (filled)
            status = transfer(OP_WRITE, at, buffer, filled);
        if (status)
            END(DATA_WRONG, "%s: write at %" PRIu64 ": %s", region_name, at, status_text(status));
        if (got == 0)
            break;
        at += filled;
    }
    free(buffer);
    status = transfer(OP_FLUSH, 0, NULL, 0);
    if (status)
        END(DATA_WRONG, "%s: flush: %s", region_name, status_text(status));
}

/* Serve NBD's transmission phase (the protocol of linux/nbd.h, big endian) until it is told to disconnect. */
static void serve_nbd(int fd)
{
    static const uint32_t errors[] = {0, EINVAL, EPERM, EIO, EINVAL};
    char *buffer = new_buffer();
    for (;;) {
        struct nbd_request request;
        struct nbd_reply reply = {.magic = __builtin_bswap32(NBD_REPLY_MAGIC)};
        all_bytes(fd, (char *)&request, sizeof request, false, "NBD");
        uint32_t type = __builtin_bswap32(request.type) & 0xffff, length = __builtin_bswap32(request.len);
        if (request.magic != __builtin_bswap32(NBD_REQUEST_MAGIC) || length > 32u << 20)
            END(SYSTEM, "NBD: a request that is none");
        if (type == NBD_CMD_DISC)
            break;
        if (type == NBD_CMD_WRITE)
            all_bytes(fd, buffer, length, false, "NBD");
        uint32_t status = NOT_UNDERSTOOD;
        if (type == NBD_CMD_FLUSH)
            status = transfer(OP_FLUSH, 0, NULL, 0);
        else if ((type == NBD_CMD_READ || type == NBD_CMD_WRITE) && length)
            status = transfer(type == NBD_CMD_READ ? OP_READ : OP_WRITE, __builtin_bswap64(request.from), buffer,
                              length);
        reply.error = __builtin_bswap32(status < sizeof errors / sizeof *errors ? errors[status] : EIO);
        memcpy(&reply.handle, &request.handle, sizeof reply.handle);
        all_bytes(fd, (char *)&reply, sizeof reply, true, "NBD");
        if (type == NBD_CMD_READ && status == DONE)
            all_bytes(fd, buffer, length, true, "NBD");
    }
    free(buffer);
}

/* "fd:N" is a connected socket that was handed over; anything else a device of the kernel's NBD driver. */
static void run_nbd(const char *name)
{
    if (strncmp(name, "fd:", 3) == 0) {
        serve_nbd((int)number(name + 3, "--nbd"));
        return;
    }
    int ends[2], device = open(name, O_RDWR | O_CLOEXEC);
    unsigned long flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | (disk_read_only ? NBD_FLAG_READ_ONLY : 0);
    if (device < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ||
        ioctl(device, NBD_SET_BLKSIZE, 512ul) < 0 || ioctl(device, NBD_SET_SIZE_BLOCKS, disk_bytes / 512) < 0 ||
        ioctl(device, NBD_SET_SOCK, ends[0]) < 0 || ioctl(device, NBD_SET_FLAGS, flags) < 0)
        END(SYSTEM, "%s: %s", name, strerror(errno));
    pid_t child = fork();
    if (child < 0)
        END(SYSTEM, "fork: %s", strerror(errno));
    if (child == 0) { /* the kernel runs the device in this call, until the socket ends */
        close(ends[1]);
        ioctl(device, NBD_DO_IT);
        ioctl(device, NBD_CLEAR_SOCK);
        _exit(0);
    }
    close(ends[0]);
    note("%s: %" PRIu64 " bytes", name, disk_bytes);
    serve_nbd(ends[1]);
}

/* -- check: a pattern both ways */

static uint64_t mixed(uint64_t x) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Bytes [from, from + length) of the pattern that a side sends. */
static void pattern(char *bytes, uint32_t length, uint64_t from, uint64_t seed, char side)
{
    uint64_t base = mixed(seed * 2 + (side == 'b'));
    for (uint32_t i = 0; i < length;) {
        uint64_t word = mixed(base + (from + i) / 8), skip = (from + i) % 8, n = 8 - skip;
        n = n < length - i ? n : length - i;
        memcpy(bytes + i, (char *)&word + skip, n);
        i += (uint32_t)n;
    }
}

static void run_check(uint64_t bytes, uint64_t seed)
{
    static char expected[RING_PAYLOAD_MAX], ours[RING_PAYLOAD_MAX];
    uint64_t out = 0, in = 0, digest = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */
    uint32_t length, tag, pending = 0;
    connect_to(RING_CHECK);
    uint64_t began = now_ns();
    while (out < bytes || in < bytes) {
        enum ring_state sending = RING_WAIT, taking = RING_WAIT;
        if (out < bytes) {
            if (pending == 0) { /* of all lengths: where they wrap differs each time round */
                pending = 1 + (uint32_t)(mixed(seed ^ mixed(out)) % ring_payload_max(ring.size));
                pending = pending < bytes - out ? pending : (uint32_t)(bytes - out);
                pattern(ours, pending, out, seed, side_name);
            }
            sending = put(TAG_PATTERN, NULL, 0, ours, pending);
            out += sending == RING_OK ? pending : 0;
            pending = sending == RING_OK ? 0 : pending;
        }
        if (in < bytes && (taking = take(&length, &tag)) == RING_OK) {
            if (tag != TAG_PATTERN || length > bytes - in)
                END(DATA_WRONG, "%s: side %c: at byte %" PRIu64 " a record that is not of the check", region_name,
                    other_name, in);
            pattern(expected, length, in, seed, other_name);
            for (uint32_t i = 0; i < length; i++, in++) {
                unsigned char found = ((unsigned char *)record)[i];
                if (found != (unsigned char)expected[i])
                    END(DATA_WRONG, "%s: side %c: byte %" PRIu64 " is 0x%02x, not 0x%02x", region_name, other_name, in,
                        found, (unsigned char)expected[i]);
                digest = (digest ^ found) * 0x100000001b3u;
            }
        }
        if (sending == RING_RESTARTED || taking == RING_RESTARTED)
            END(DATA_WRONG, "%s: side %c left or started anew after %" PRIu64 " of %" PRIu64 " bytes", region_name,
                other_name, in, bytes);
        if (sending == RING_WAIT && taking == RING_WAIT)
            wait_a_little(-1);
    }
    printf("{\"side\": \"%c\", \"sent\": %" PRIu64 ", \"received\": %" PRIu64 ", \"records\": %" PRIu64
           ", \"fnv1a64\": \"%016" PRIx64 "\", \"nanoseconds\": %" PRIu64 "}\n",
           side_name, out, in, received, digest, now_ns() - began);
}

/* -- the command line */

static const char usage[] =
    "vtool-ring COMMAND --region PATH[:OFFSET+SIZE] ...\n"
    "  init    [--ring-size BYTES]                   make an empty ring; once, before both sides\n"
    "          [--if-needed | --force]               leave one that fits as it is; make it anew\n"
    "  net     --side a|b --tap NAME                 a network link\n"
    "  export  [--side a] --file PATH [--read-only]  a block device, served\n"
    "  attach  [--side b] with one of                its client\n"
    "          --info | --read OFFSET LENGTH | --write OFFSET | --copy PATH | --nbd /dev/nbdN\n"
    "  check   --side a|b --bytes N [--seed N]       a pattern both ways, verified\n"
    "attach and check end when the other side gives no sign for --timeout SECONDS (10; 0: never).\n"
    "vtool-ring --version tells the format's version.\n"
    "Exit codes: 0 success, 1 the other side or its data are wrong, 2 usage, 3 the system.\n";

/* Tell whether the region holds a ring of this version and size: whoever starts may then go on with it. */
static bool holds_such_a_ring(const struct ring_header *header, uint64_t size)
{
    return ring_acquire(&header->magic) == RING_MAGIC && ring_load(&header->features) == 0 &&
           ring_load(&header->version_and_size) == (RING_VERSION | size << 32);
}

static void run_init(char *region_text, uint64_t size, bool if_needed, bool force)
{
    uint64_t region_bytes;
    int fd;
    struct ring_header *header = map_region(region_text, &region_bytes, &fd);
    size = size ? size : ring_size_for(region_bytes);
    if (!ring_sizes_fit(size, region_bytes))
        END(USAGE, "%s: a ring is a power of two of bytes from %u on, and two have to fit beside %u bytes",
            region_name, RING_SIZE_MIN, RING_PAGES * RING_PAGE);
    if (if_needed && holds_such_a_ring(header, size))
        return;
    if (ring_acquire(&header->magic) == RING_MAGIC && !if_needed && !force)
        END(SYSTEM, "%s: it holds a ring already; --force makes it anew (end both sides before)", region_name);
    ring_init(header, (uint32_t)size);
    printf("{\"version\": %u, \"ring_bytes\": %" PRIu64 ", \"record_bytes\": %u}\n", RING_VERSION, size,
           ring_payload_max((uint32_t)size));
}

enum { REGION = 1, SIDE, TAP, EXPORTED, RO, NBD, READ, WRITE, COPY, INFO, BYTES, SEED, SIZE, NEEDED, FORCE, TIMEOUT, HELP };
static const struct option options[] = {
    {"region", 1, 0, REGION}, {"side", 1, 0, SIDE},   {"tap", 1, 0, TAP},     {"file", 1, 0, EXPORTED},
    {"read-only", 0, 0, RO},  {"nbd", 1, 0, NBD},     {"read", 1, 0, READ},   {"write", 1, 0, WRITE},
    {"copy", 1, 0, COPY},     {"info", 0, 0, INFO},   {"bytes", 1, 0, BYTES}, {"seed", 1, 0, SEED},
    {"ring-size", 1, 0, SIZE}, {"if-needed", 0, 0, NEEDED}, {"force", 0, 0, FORCE}, {"timeout", 1, 0, TIMEOUT}, {"help", 0, 0, HELP}, {0}};

static void run_attach(char **given, const char *length)
{
    connect_to(RING_EXPORT);
    waits_for = "an answer";
    if (transfer(OP_INFO, 0, NULL, 0) != DONE)
        END(DATA_WRONG, "%s: side %c does not say what it exports", region_name, other_name);
    if (given[INFO])
        printf("{\"bytes\": %" PRIu64 ", \"read_only\": %s}\n", disk_bytes, disk_read_only ? "true" : "false");
    else if (given[READ])
        copy_out(number(given[READ], "--read"), number(length, "--read"), 1, "standard output");
    else if (given[WRITE])
        copy_in(number(given[WRITE], "--write"));
    else if (given[NBD])
        run_nbd(given[NBD]);
    else {
        int fd = open(given[COPY], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0)
            END(SYSTEM, "%s: %s", given[COPY], strerror(errno));
        copy_out(0, disk_bytes, fd, given[COPY]);
    }
}

int main(int argc, char **argv)
{
    static const char *const commands[] = {"init", "net", "export", "attach", "check", NULL};
    const char *command = argc > 1 ? argv[1] : "--help";
    char *given[HELP + 1] = {0};
    uint64_t service = 0; /* 0: init; else enum ring_service */
    setvbuf(stderr, NULL, _IOLBF, 0); /* a message is one write: a log takes it for one line */
    if (strcmp(command, "--version") == 0) {
        printf("%u\n", RING_VERSION);
        return 0;
    }
    if (strcmp(command, "--help") != 0)
        for (int option; (option = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1;) {
            if (option == '?')
                return USAGE;
            given[option] = optarg ? optarg : "";
        }
    if (given[HELP] || strcmp(command, "--help") == 0) {
        fputs(usage, stdout);
        return argc > 1 ? 0 : USAGE;
    }
    const char *length = given[READ] && optind < argc - 1 ? argv[1 + optind++] : NULL;
    while (commands[service] && strcmp(command, commands[service]) != 0)
        service++;
    if (!commands[service] || optind < argc - 1)
        END(USAGE, "'%s' is no command (vtool-ring --help)", commands[service] ? argv[1 + optind] : command);
    int actions = !!given[NBD] + !!given[READ] + !!given[WRITE] + !!given[COPY] + !!given[INFO];
    if (!given[REGION] || (service == RING_NET && !given[TAP]) || (service == RING_EXPORT && !given[EXPORTED]) ||
        (service == RING_CHECK && !given[BYTES]) || (service == RING_ATTACH && actions != 1) ||
        (given[READ] && !length))
        END(USAGE, "%s lacks an option (vtool-ring --help)", command);
    uint64_t bytes = given[BYTES] ? number(given[BYTES], "--bytes") : 0;
    uint64_t seed = given[SEED] ? number(given[SEED], "--seed") : 1;
    if (service == RING_CHECK && bytes == 0)
        END(USAGE, "--bytes is 1 or more");
    timeout_s = given[TIMEOUT] ? number(given[TIMEOUT], "--timeout") : 10;
    timeout_s = service <= RING_EXPORT ? 0 : timeout_s; /* a link and an export wait for as long as it takes */
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_stop}, NULL);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_stop}, NULL);
    sigaction(SIGBUS, &(struct sigaction){.sa_handler = on_bus_error}, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (service == 0) {
        run_init(given[REGION], given[SIZE] ? number(given[SIZE], "--ring-size") : 0, given[NEEDED] != NULL,
                 given[FORCE] != NULL);
        leave(0);
    }
    const char *side = given[SIDE] ? given[SIDE] : service == RING_EXPORT ? "a" : service == RING_ATTACH ? "b" : "";
    if (strcmp(side, "a") != 0 && strcmp(side, "b") != 0)
        END(USAGE, "--side is a or b");
    side_name = side[0];
    other_name = side_name == 'a' ? 'b' : 'a';
    open_side(given[REGION], service);
    if (service == RING_NET)
        run_net(given[TAP]);
    if (service == RING_EXPORT)
        run_export(given[EXPORTED], given[RO] != NULL);
    waits_for = service == RING_CHECK ? "the pattern" : waits_for;
    if (service == RING_CHECK)
        run_check(bytes, seed);
    else
        run_attach(given, length);
    leave(0);
}
