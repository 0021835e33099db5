/* Reassembles packets in a growing buffer. When growing is refused, the result NULL overwrites
 * the only pointer to the old buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS = 3, CHUNK = 1024, QUOTA = 4096 };

struct packet {
    char *bytes;
    size_t size;
};

/* Like realloc: returns NULL and leaves the old block alone when there is no room. */
static __attribute__((noinline)) void *resize_within_quota(void *old, size_t size)
{
    if (size > QUOTA)
        return NULL;
    void *resized = realloc(old, size);
    return resized;
}

static __attribute__((noinline)) int append_chunk(struct packet *packet, const char *chunk)
{
    /* BUG: on failure the old buffer is neither kept nor freed */
    packet->bytes = resize_within_quota(packet->bytes, packet->size + CHUNK);
    if (packet->bytes == NULL)
        return -1;
    memcpy(packet->bytes + packet->size, chunk, CHUNK);
    packet->size += CHUNK;
    return 0;
}

static __attribute__((noinline)) size_t receive_packet(int connection)
{
    char chunk[CHUNK];
    memset(chunk, 'a' + connection, sizeof chunk);
    struct packet packet = {NULL, 0};
    while (append_chunk(&packet, chunk) == 0)
        ;
    size_t received = packet.size;
    free(packet.bytes);
    return received;
}

/* Overwrites what finished calls left on the stack, so that no stale pointer hides a leak. */
static __attribute__((noinline, no_sanitize_address)) void scrub_stack(void)
{
    volatile char old_frames[16 * 1024];
    for (size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main(void)
{
    size_t received = 0;
    for (int i = 0; i < CONNECTIONS; i++)
        received += receive_packet(i);
    scrub_stack();
    printf("received %zu bytes, then over quota\n", received);
    return 0;
}
