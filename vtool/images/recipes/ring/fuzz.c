/* Breaks ring.h on purpose: fuzz RUNS [SEED]. Built with the address and undefined-behaviour sanitizers; beside the
 * region and behind the buffer lie pages that may not be touched. Ends with 0, or says which run failed and aborts. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ring.h"

enum { AHEAD = 4096, STEPS = 200 };
static uint64_t state, run;

static uint64_t any(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state * 0x2545f4914f6cdd1du >> 11) % below;
}

#define EXPECT(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "fuzz: run %llu: not so: %s (line %d)\n", (unsigned long long)run, #what, __LINE__); \
            abort(); \
        } \
    } while (0)

/* Return `bytes` (whole pages) between two pages that trap. */
static char *guarded(size_t bytes)
{
    char *all = mmap(NULL, bytes + 2 * RING_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(all != MAP_FAILED && mprotect(all + RING_PAGE, bytes, PROT_READ | PROT_WRITE) == 0);
    return all + RING_PAGE;
}

/* What a hostile side writes: small, near a counter or a limit, or anything. */
static uint64_t nasty(const struct ring *victim)
{
    const uint64_t near[] = {0, victim->head, victim->tail, victim->size, 1ull << 32, 1ull << 63, UINT64_MAX,
                             ring_payload_max(victim->size), victim->epoch, victim->peer_epoch};
    uint64_t value = near[any(sizeof near / sizeof *near)];
    return any(4) ? value + any(33) - 16 : any(UINT64_MAX);
}

/* What has to come of the words as they stand, told another way than ring.h does. `needed`: bytes of the record that
 * is to be sent; 0: one is to be received, and its length in the ring is put there. */
static enum ring_state verdict(const struct ring *ring, uint32_t *needed)
{
    bool sending = *needed != 0, here = ring->peer->epoch == ring->peer_epoch;
    __int128 distance = sending ? (__int128)(ring->head - ring->peer->tail) : (__int128)(ring->peer->head - ring->tail);
    enum ring_state idle = here ? RING_WAIT : RING_RESTARTED, bad = here ? RING_CORRUPT : RING_RESTARTED;
    if (distance > ring->size || (distance & 7) != 0)
        return bad;
    if (sending)
        return distance + *needed > ring->size ? idle : RING_OK;
    if (distance == 0)
        return idle;
    __int128 length = (uint32_t)ring->in[ring->tail % ring->size / 8], whole = 8 + (length + 7) / 8 * 8;
    *needed = (uint32_t)whole;
    return length > ring->size / 2 - 8 || length > RING_PAYLOAD_MAX || whole > distance ? bad : RING_OK;
}

int main(int argc, char **argv)
{
    uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    size_t buffer_bytes = (RING_PAYLOAD_MAX + RING_PAGE - 1) / RING_PAGE * RING_PAGE;
    char *end_of_buffer = guarded(buffer_bytes) + buffer_bytes;
    uint64_t *buffer = (uint64_t *)(end_of_buffer - RING_PAYLOAD_MAX), counts[4] = {0}, scribbled = 0;
    static unsigned char source[RING_PAYLOAD_MAX];
    static uint32_t lengths[2][AHEAD], firsts[2][AHEAD];
    const uint32_t sizes[] = {RING_SIZE_MIN, 8192, 65536, 262144};
    char *regions[4];
    for (int i = 0; i < 4; i++)
        regions[i] = guarded(RING_PAGES * RING_PAGE + 2 * sizes[i]);
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (unsigned char)(i * 31 + i / 256);

    for (run = 0; run < runs; run++) {
        state = (seed << 32) + run * 2654435761u + 88172645463325252u;
        int which = (int)any(4);
        uint32_t size = sizes[which], length, tag;
        uint64_t bytes = RING_PAGES * RING_PAGE + 2 * size, pushed[2] = {0}, popped[2] = {0};
        uint64_t *words = (uint64_t *)regions[which];
        bool hostile = run % 2;
        struct ring side[2];
        ring_init(words, size);
        if (hostile && any(2)) { /* a header of anything: refused, or its rings lie in the region */
            uint64_t lie = any(2) ? 1ull << any(34) : nasty(&(struct ring){.size = size}), there = bytes - any(2) * 8;
            if (any(2))
                words[1] = RING_VERSION | lie << 32;
            else
                words[any(3)] = lie;
            bool fits = false;
            for (uint64_t good = RING_SIZE_MIN; good <= RING_SIZE_MAX; good *= 2)
                fits |= words[1] >> 32 == good && there >= 2 * good + 3 * 4096;
            fits &= words[0] == RING_MAGIC && (uint32_t)words[1] == 1 && words[2] == 0;
            EXPECT((ring_open(&side[0], words, there, 'a', 1) == NULL) == fits);
            ring_init(words, size);
        }
        for (int i = 0; i < 2; i++)
            EXPECT(ring_open(&side[i], words, bytes, (char)('a' + i), 1) == NULL);
        for (int i = 0; i < 4; i++) /* each sees the other once, then that it was seen */
            EXPECT(ring_connect(&side[i % 2]) == (i < 2 ? RING_WAIT : RING_OK));
        if (!hostile) /* counters wrap at 2^64, too */
            for (int i = 0; i < 2; i++) {
                uint64_t from = any(2) ? 0 - 8 * any(size) : 0;
                side[i].head = side[!i].tail = from;
                ring_release(&side[i].mine->head, from);
                ring_release(&side[!i].mine->tail, from);
            }
        for (int step = 0; step < STEPS; step++) {
            int i = (int)any(2);
            if (hostile) { /* side b writes where it may, and a is the victim; or anywhere at all */
                i = 0;
                uint64_t *fields[] = {&side[0].peer->epoch, &side[0].peer->accepted, &side[0].peer->head,
                                      &side[0].peer->tail, &side[0].peer->starts,
                                      ring_word(side[0].in, side[0].tail, size), &words[any(bytes / 8)]};
                *fields[any(7)] = nasty(&side[0]);
                if (any(4) == 0) { /* a head and a record that fit each other, so that copying is reached */
                    uint32_t lie = (uint32_t)any(ring_payload_max(size) + 16u);
                    *ring_word(side[0].in, side[0].tail, size) = lie;
                    side[0].peer->head = side[0].tail + ring_record_bytes(lie);
                }
                scribbled++;
            }
            enum ring_state got, want;
            uint64_t head = side[i].head, tail = side[i].tail;
            uint32_t needed = 0;
            if (any(2)) {
                uint32_t most = ring_payload_max(size), first = 8 * (uint32_t)any(4);
                uint32_t second = (uint32_t)(any(4) ? any(200) : any(most - first + 1));
                needed = 8 + (first + second + 7) / 8 * 8;
                want = verdict(&side[i], &needed);
                got = ring_send(&side[i], first, source, first, source + first, second);
                head += got == RING_OK ? needed : 0;
                if (got == RING_OK && !hostile) {
                    lengths[i][pushed[i] % AHEAD] = first + second;
                    firsts[i][pushed[i]++ % AHEAD] = first;
                    EXPECT(pushed[i] - popped[i] <= AHEAD);
                }
            } else {
                want = verdict(&side[i], &needed);
                got = ring_receive(&side[i], buffer, &length, &tag);
                if (got == RING_OK) {
                    tail += needed;
                    EXPECT(length <= ring_payload_max(size));
                    if (!hostile) { /* in order, complete, byte for byte, padded with zeros */
                        EXPECT(popped[!i] < pushed[!i]);
                        EXPECT(length == lengths[!i][popped[!i] % AHEAD] && tag == firsts[!i][popped[!i] % AHEAD]);
                        EXPECT(memcmp(buffer, source, length) == 0);
                        popped[!i]++;
                        for (uint32_t at = length; at % 8; at++)
                            EXPECT(((char *)buffer)[at] == 0);
                    }
                } else if (!hostile)
                    EXPECT(got == RING_WAIT && popped[!i] == pushed[!i]);
            }
            counts[got]++;
            EXPECT(got == want && (hostile || got <= RING_WAIT));
            EXPECT(side[i].size == size && side[i].head == head && side[i].tail == tail);
            if (got == RING_RESTARTED)
                ring_connect(&side[i]);
            if (got == RING_CORRUPT)
                EXPECT(side[i].at < bytes && side[i].what);
        }
    }
    printf("fuzz: %llu runs from seed %llu: %llu words scribbled; %llu records moved, %llu waits, %llu restarts, "
           "%llu corrupt and refused\n",
           (unsigned long long)runs, (unsigned long long)seed, (unsigned long long)scribbled,
           (unsigned long long)counts[0], (unsigned long long)counts[1], (unsigned long long)counts[2],
           (unsigned long long)counts[3]);
    return 0;
}
