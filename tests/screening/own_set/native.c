/* Leaky and clean functions of a C library; built by build.py with -g, without Python's headers. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct _object PyObject;
extern PyObject *PyBytes_FromStringAndSize(const char *, ssize_t);
extern void *PyMem_Malloc(size_t);

static void *slots[64];
static size_t next_slot;
static void *pool[100];
static size_t pooled;
static char *journal;
static size_t journal_size;
static char *scratch;
static size_t scratch_size, scratch_used;

void keep_block(size_t size) {
  char *block = malloc(size);
  memset(block, 1, size);
}

void keep_copy_of_name(const char *name) {
  strdup(name);
}

void keep_aligned_block(size_t size) {
  void *block;
  if (posix_memalign(&block, 64, size) == 0) memset(block, 1, size);
}

void keep_pages(size_t size) {
  char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pages[0] = 1;
}

void grow_journal(size_t size) {
  journal = realloc(journal, journal_size + size);
  memset(journal + journal_size, 1, size);
  journal_size += size;
}

static void *worker(void *size) {
  char *block = malloc((size_t)size);
  memset(block, 1, (size_t)size);
  return NULL;
}

void keep_block_of_a_worker(size_t size) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, worker, (void *)size) == 0) pthread_join(thread, NULL);
}

void *open_handle(size_t size) { return memset(malloc(size), 1, size); }

void close_handle(void *handle) { free(handle); }

PyObject *lose_a_reference(size_t size) {
  /* a new reference that nobody gives back */
  PyBytes_FromStringAndSize(NULL, (ssize_t)size);
  return PyBytes_FromStringAndSize("", 0);
}

void lose_memory_of_python(size_t size) {
  char *block = PyMem_Malloc(size);
  memset(block, 1, size);
}

/* clean: at most 64 blocks, of any size */
void keep_in_slot(size_t size) {
  free(slots[next_slot]);
  slots[next_slot] = memset(malloc(size), 1, size);
  next_slot = (next_slot + 1) % 64;
}

/* clean: one block in use more in each call until there are 100, then all of them are given back */
void keep_in_pool(size_t size) {
  if (pooled == 100)
    while (pooled > 0) free(pool[--pooled]);
  pool[pooled++] = memset(malloc(size), 1, size);
}

/* clean: a buffer that doubles up to 64 KiB and is then reused */
void write_scratch(size_t size) {
  if (scratch_used + size > (1 << 16)) scratch_used = 0;
  if (scratch_used + size > scratch_size) {
    scratch_size = scratch_size ? scratch_size * 2 : 256;
    scratch = realloc(scratch, scratch_size);
  }
  memset(scratch + scratch_used, 1, size);
  scratch_used += size;
}
