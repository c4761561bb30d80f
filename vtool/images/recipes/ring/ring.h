/* The ring format, version 1 (docs/reference/ring-format.md), and all arithmetic on it. No file, process or clock.
 *
 * The other side is not trusted. It may write any word of the region at any time, also between two reads of ours.
 * What keeps it out of our memory:
 *
 *   I1  `size` is private, a power of two, RING_SIZE_MIN <= size <= RING_SIZE_MAX, and both data areas of `size`
 *       bytes lie in the mapping (ring_sizes_fit). It is read from the region once and never again.
 *   I2  `head` (what we produced) and `tail` (what we consumed) are private, multiples of 8, and only grow by the
 *       length of a whole record. What stands in the region under these names on our side is for the other to read.
 *   I3  A word is at byte (position & (size - 1)) of an area. position is a multiple of 8 by I2, size one by I1: so
 *       the byte is <= size - 8, and the word lies in the area, whatever position is. Records wrap between words.
 *   I4  The other's counter c is taken once into a local and is good only when our distance to it, d (modulo 2^64:
 *       `c - tail` to read, `head - c` to write), is d <= size and a multiple of 8. A bad c moves nothing.
 *   I5  A record's first word (length and tag) is taken once into a local. It is good only when length <= the most
 *       a record carries, ring_payload_max(size), and the whole record lies in the d bytes of I4. As
 *       ring_payload_max(size) <= RING_PAYLOAD_MAX, the size of the reader's buffer, the copy stays in the buffer.
 *   I6  Nothing looks at a record's bytes before all of them are in the buffer; then the other cannot change them.
 *
 * The region may be device memory (a PCI BAR, /dev/mem of memory that Linux does not own). There arm64 traps on an
 * access that is not aligned, and on DC ZVA, which a library's memset or memcpy may use. So all accesses are aligned,
 * of 4 or 8 bytes, one at a time, by ring_load, ring_store and their kin, never by memcpy. */
#ifndef VTOOL_RING_H
#define VTOOL_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the format is little endian, and so has to be the machine"
#endif

#define RING_MAGIC 0x31474e4952545600u /* "\0VTRING1" */
#define RING_VERSION 1u
#define RING_PAGE 4096u
#define RING_PAGES 3u /* header, side a, side b; then the data of a, then that of b */
#define RING_SIZE_MIN 4096u
#define RING_SIZE_MAX (1u << 30)
#define RING_PAYLOAD_MAX (65536u + 64u)

/* The first page. Written by `init` only. */
struct ring_header {
    uint64_t magic; /* written last */
    uint64_t version_and_size; /* u32 version, then u32 bytes of one ring's data */
    uint64_t features; /* 0 in version 1 */
};

/* The second page (side a) and the third (side b): written by that side only, so it could be read-only to the other.
 * A counter has a cache line of its own. */
struct ring_side {
    uint64_t epoch; /* this life of the side; 0: not there */
    uint64_t starts; /* lives so far: the next epoch is one more */
    uint64_t accepted; /* the other's epoch that head and tail are counted from */
    uint64_t service; /* what it does: enum ring_service */
    uint64_t doorbell; /* 0 in version 1: it polls. Room for a port or vector that wakes it */
    uint64_t pad0[3];
    uint64_t head; /* bytes that it produced into its own ring */
    uint64_t pad1[7];
    uint64_t tail; /* bytes that it consumed of the other's ring */
};

enum ring_service { RING_NET = 1, RING_EXPORT, RING_ATTACH, RING_CHECK };
enum ring_state { RING_OK, RING_WAIT, RING_RESTARTED, RING_CORRUPT };

/* One side's view, in its private memory. */
struct ring {
    struct ring_side *mine, *peer;
    uint64_t *out, *in;
    uint32_t size;
    uint64_t head, tail;
    uint64_t epoch, peer_epoch, service;
    const char *what; /* after RING_CORRUPT: what is wrong, its value, and where in the region */
    uint64_t value, at;
};

static inline uint64_t ring_load(const uint64_t *word)
{
    return __atomic_load_n((const volatile uint64_t *)word, __ATOMIC_RELAXED);
}

static inline void ring_store(uint64_t *word, uint64_t value)
{
    __atomic_store_n((volatile uint64_t *)word, value, __ATOMIC_RELAXED);
}

/* What the other published: nothing after it is read before it. */
static inline uint64_t ring_acquire(const uint64_t *word)
{
    return __atomic_load_n((const volatile uint64_t *)word, __ATOMIC_ACQUIRE);
}

/* Publish: everything before it is in the region when the other sees it. */
static inline void ring_release(uint64_t *word, uint64_t value)
{
    __atomic_store_n((volatile uint64_t *)word, value, __ATOMIC_RELEASE);
}

/* Return the most bytes a record carries: two always fit, so that neither side waits for the other's last byte. */
static inline uint32_t ring_payload_max(uint32_t size)
{
    uint32_t half = size / 2 - 8;
    return half < RING_PAYLOAD_MAX ? half : RING_PAYLOAD_MAX;
}

/* Return the bytes of a record in the ring. length <= RING_PAYLOAD_MAX, so this does not overflow. */
static inline uint32_t ring_record_bytes(uint32_t length)
{
    return 8 + ((length + 7) & ~7u);
}

static inline bool ring_sizes_fit(uint64_t size, uint64_t region)
{
    return size >= RING_SIZE_MIN && size <= RING_SIZE_MAX && (size & (size - 1)) == 0 &&
           RING_PAGES * RING_PAGE + 2 * size <= region;
}

/* Return the largest size of both rings that fit into a region, 0 when it is too small. */
static inline uint32_t ring_size_for(uint64_t region)
{
    uint32_t size = RING_SIZE_MAX;
    while (size >= RING_SIZE_MIN && !ring_sizes_fit(size, region))
        size /= 2;
    return size >= RING_SIZE_MIN ? size : 0;
}

/* I4. `from` to `to` modulo 2^64. */
static inline bool ring_distance(uint64_t from, uint64_t to, uint32_t size, uint64_t *distance)
{
    *distance = to - from;
    return *distance <= size && *distance % 8 == 0;
}

/* I3. */
static inline uint64_t *ring_word(uint64_t *area, uint64_t position, uint32_t size)
{
    return area + (position & (size - 1)) / 8;
}

static inline uint64_t ring_offset(const struct ring *ring, const void *word)
{
    const char *header = (const char *)(ring->mine < ring->peer ? ring->mine : ring->peer) - RING_PAGE;
    return (uint64_t)((const char *)word - header);
}

/* Say what is wrong, unless the other side has meanwhile left or started anew: then its counters were. */
static inline enum ring_state ring_wrong(struct ring *ring, const char *what, uint64_t value, const void *word)
{
    if (ring_acquire(&ring->peer->epoch) != ring->peer_epoch)
        return RING_RESTARTED;
    ring->what = what;
    ring->value = value;
    ring->at = ring_offset(ring, word);
    return RING_CORRUPT;
}

/* Nothing to read or no room: has the other side left or started anew? */
static inline enum ring_state ring_idle(const struct ring *ring)
{
    return ring_acquire(&ring->peer->epoch) == ring->peer_epoch ? RING_WAIT : RING_RESTARTED;
}

static inline void ring_put(struct ring *ring, uint64_t *position, const void *bytes, uint32_t length)
{
    const char *from = bytes;
    uint64_t word, last = 0; /* what pads a record is zero, never what happened to be in memory */
    for (const char *end = from + length / 8 * 8; from != end; from += 8, *position += 8) {
        memcpy(&word, from, 8);
        ring_store(ring_word(ring->out, *position, ring->size), word);
    }
    if (length % 8) {
        memcpy(&last, from, length % 8);
        ring_store(ring_word(ring->out, *position, ring->size), last);
        *position += 8;
    }
}

/* Append one record: `first` (a multiple of 8 bytes) then `second`. RING_WAIT: no room. first + second is at most
 * ring_payload_max; more is a bug of the caller and refused as RING_CORRUPT. */
static inline enum ring_state ring_send(struct ring *ring, uint32_t tag, const void *first, uint32_t first_bytes,
                                        const void *second, uint32_t second_bytes)
{
    uint64_t used, peer = ring_acquire(&ring->peer->tail);
    uint32_t most = ring_payload_max(ring->size);
    if (first_bytes % 8 || first_bytes > most || second_bytes > most - first_bytes) {
        ring->what = "a record to send is too long";
        ring->value = (uint64_t)first_bytes + second_bytes;
        return RING_CORRUPT;
    }
    if (!ring_distance(peer, ring->head, ring->size, &used))
        return ring_wrong(ring, "tail is not in what was produced", peer, &ring->peer->tail);
    if (ring->size - used < ring_record_bytes(first_bytes + second_bytes))
        return ring_idle(ring);
    uint64_t position = ring->head, word = (first_bytes + second_bytes) | (uint64_t)tag << 32;
    ring_put(ring, &position, &word, 8);
    ring_put(ring, &position, first, first_bytes);
    ring_put(ring, &position, second, second_bytes);
    ring->head = position;
    ring_release(&ring->mine->head, position);
    return RING_OK;
}

/* Take one record. `buffer` has RING_PAYLOAD_MAX bytes. RING_WAIT: there is none. */
static inline enum ring_state ring_receive(struct ring *ring, uint64_t *buffer, uint32_t *length, uint32_t *tag)
{
    uint64_t ready, peer = ring_acquire(&ring->peer->head);
    if (!ring_distance(ring->tail, peer, ring->size, &ready))
        return ring_wrong(ring, "head is not in what fits", peer, &ring->peer->head);
    if (ready == 0)
        return ring_idle(ring);
    uint64_t *at = ring_word(ring->in, ring->tail, ring->size);
    uint64_t word = ring_load(at);
    uint32_t bytes = (uint32_t)word;
    if (bytes > ring_payload_max(ring->size))
        return ring_wrong(ring, "a record's length is more than one carries", bytes, at);
    if (ring_record_bytes(bytes) > ready)
        return ring_wrong(ring, "a record is longer than what was produced", bytes, at);
    uint64_t end = ring->tail + ring_record_bytes(bytes);
    for (uint64_t position = ring->tail + 8; position != end; position += 8)
        *buffer++ = ring_load(ring_word(ring->in, position, ring->size));
    *length = bytes;
    *tag = (uint32_t)(word >> 32);
    ring->tail = end;
    ring_release(&ring->mine->tail, end);
    return RING_OK;
}

/* Write the header and empty sides. The magic goes last: a region is whole or none. */
static inline void ring_init(void *region, uint32_t size)
{
    struct ring_header *header = region;
    ring_release(&header->magic, 0);
    for (uint32_t at = 8; at < RING_PAGES * RING_PAGE; at += 8)
        ring_store((uint64_t *)((char *)region + at), 0);
    ring_store(&header->version_and_size, RING_VERSION | (uint64_t)size << 32);
    ring_release(&header->magic, RING_MAGIC);
}

/* Take the header once and set up a side ('a' or 'b'). Return NULL, or what is wrong. */
static inline const char *ring_open(struct ring *ring, void *region, uint64_t region_bytes, char side, uint64_t service)
{
    struct ring_header *header = region;
    memset(ring, 0, sizeof *ring);
    if (region_bytes < RING_PAGES * RING_PAGE + 2 * RING_SIZE_MIN)
        return "it is too small";
    if (ring_acquire(&header->magic) != RING_MAGIC)
        return "it holds no ring (vtool-ring init makes one)";
    uint64_t word = ring_load(&header->version_and_size);
    if ((uint32_t)word != RING_VERSION || ring_load(&header->features) != 0)
        return "its format is of another version";
    if (!ring_sizes_fit(word >> 32, region_bytes))
        return "its rings do not fit into it";
    ring->size = (uint32_t)(word >> 32);
    ring->service = service;
    char *base = region, *data = base + RING_PAGES * RING_PAGE;
    struct ring_side *sides[] = {(struct ring_side *)(base + RING_PAGE), (struct ring_side *)(base + 2 * RING_PAGE)};
    bool b = side == 'b';
    ring->mine = sides[b];
    ring->peer = sides[!b];
    ring->out = (uint64_t *)(data + (b ? ring->size : 0));
    ring->in = (uint64_t *)(data + (b ? 0 : ring->size));
    /* Every control word is stored with release, in this order: who sees a later one sees the earlier ones. */
    ring_release(&ring->mine->epoch, 0);
    ring_release(&ring->mine->accepted, 0);
    ring->epoch = ring_load(&ring->mine->starts) + 1;
    ring->epoch += ring->epoch == 0;
    ring_release(&ring->mine->starts, ring->epoch);
    return NULL;
}

/* One try to agree with the other side that both rings are empty and counted from 0; RING_WAIT: not yet.
 *
 * A side counts from 0 before it accepts, and produces only once it is accepted: so what the other finds in a ring
 * was counted from the 0 that it accepted. What was in the rings before is lost, and the caller knows. */
static inline enum ring_state ring_connect(struct ring *ring)
{
    uint64_t other = ring_acquire(&ring->peer->epoch);
    ring->head = ring->tail = 0;
    if (ring->peer_epoch != other)
        ring_release(&ring->mine->accepted, 0);
    ring->peer_epoch = other;
    ring_release(&ring->mine->head, 0);
    ring_release(&ring->mine->tail, 0);
    ring_release(&ring->mine->service, ring->service);
    ring_release(&ring->mine->doorbell, 0);
    ring_release(&ring->mine->accepted, other);
    ring_release(&ring->mine->epoch, ring->epoch);
    if (other == 0 || ring_acquire(&ring->peer->accepted) != ring->epoch)
        return RING_WAIT;
    return ring_acquire(&ring->peer->epoch) == other ? RING_OK : RING_WAIT;
}

static inline void ring_leave(struct ring *ring)
{
    ring_release(&ring->mine->epoch, 0);
}

#endif
