/* The lossless ring of fabric/rings.py, word for word, for the comparison of throughput: single producer, single consumer,
 * slots of 16 words (word 0 the sequence, 15 of payload), the producer's cached copy of the consumer's count, the last
 * eighth reserved, a release store of the cursor per record, batches of records on the other side.
 *
 * spsc_produce waits for the consumer's count to be no longer negative and publishes 1..times; spsc_consume sets it to 0,
 * copies the records out, adds up word 1 and answers with the ns that took. Both give up after polls_max polls in a row.
 * The copies are unrolled, as LLVM unrolls ours: without that the C code is slower per record.
 */
#include <stdint.h>
#include <time.h>

#ifndef SLOT_WORDS
#define SLOT_WORDS 16
#endif

static inline int64_t load_relaxed(const int64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline int64_t load_acquire(const int64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void store_relaxed(int64_t *p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline void store_release(int64_t *p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

static inline void cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int publish(int64_t *cursor, int64_t *ring, int64_t slots, const int64_t *consumed, int64_t *cached, const int64_t *record) {
    int64_t sequence = load_relaxed(cursor) + 1, room = slots - slots / 8;
    if (sequence - *cached > room) {
        *cached = load_acquire(consumed);
        if (sequence - *cached > room)
            return 1;
    }
    int64_t *slot = ring + (sequence & (slots - 1)) * SLOT_WORDS;
    store_relaxed(slot, sequence);
#pragma GCC unroll 16
    for (int word = 1; word < SLOT_WORDS; word++)
        store_relaxed(slot + word, record[word]);
    store_release(cursor, sequence);
    return 0;
}

int64_t spsc_produce(int64_t *cursor, int64_t *ring, int64_t slots, int64_t *consumed, int64_t *cached, int64_t *record,
                     int64_t times, int64_t polls_max) {
    for (int64_t polls = 0; polls < polls_max && load_acquire(consumed) < 0; polls++)
        ;
    for (int64_t k = 0; k < times; k++) {
        int64_t polls = 0;
        record[1] = k + 1;
        while (publish(cursor, ring, slots, consumed, cached, record)) {
            if (++polls > polls_max)
                return k;
            cpu_pause();
        }
    }
    return times;
}

static int64_t drain(const int64_t *cursor, const int64_t *ring, int64_t slots, int64_t sequence, int64_t *out, int64_t rows) {
    int64_t available = load_acquire(cursor) - sequence + 1;
    int64_t count = available < 0 ? 0 : available < rows ? available : rows;
    for (int64_t k = 0; k < count; k++) {
        const int64_t *slot = ring + ((sequence + k) & (slots - 1)) * SLOT_WORDS;
#pragma GCC unroll 16
        for (int word = 0; word < SLOT_WORDS; word++)
            out[k * SLOT_WORDS + word] = load_relaxed(slot + word);
    }
    return count;
}

int64_t spsc_consume(const int64_t *cursor, const int64_t *ring, int64_t slots, int64_t *consumed, int64_t *out, int64_t rows,
                     int64_t times, int64_t polls_max, int64_t *total) {
    int64_t done = 0, polls = 0, started = now_ns();
    store_release(consumed, 0);
    while (done < times && polls <= polls_max) {
        int64_t count = drain(cursor, ring, slots, done + 1, out, rows);
        if (count == 0) {
            polls++;
            cpu_pause();
            continue;
        }
        polls = 0;
        for (int64_t k = 0; k < count; k++)
            *total += out[k * SLOT_WORDS + 1];
        done += count;
        store_release(consumed, done);
    }
    return now_ns() - started;
}
