/* Loads a filter plugin, uses it and unloads it without shutting it down. The plugin's table is
 * lost with the plugin's own variables, and at exit nobody can name the plugin's code any more. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef int apply_function(int sample);

/* The plugin lies beside this program. */
static int find_plugin(char *path, size_t size)
{
    static const char name[] = "/plugin.so";
    ssize_t length = readlink("/proc/self/exe", path, size - sizeof name);
    if (length < 0)
        return -1;
    path[length] = '\0';
    strcpy(strrchr(path, '/'), name);
    return 0;
}

static __attribute__((noinline)) int run_filter(void *plugin, int samples)
{
    apply_function *apply;
    *(void **)&apply = dlsym(plugin, "filter_apply");
    if (apply == NULL)
        return -1;
    int sum = 0;
    for (int i = 0; i < samples; i++)
        sum += apply(i);
    return sum;
}

static __attribute__((noinline)) int process_track(const char *path)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
    int sum = run_filter(plugin, 100);
    /* BUG: filter_shutdown is never called */
    dlclose(plugin);
    return sum;
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
    char path[4096];
    if (find_plugin(path, sizeof path) != 0)
        return 1;
    int sum = process_track(path);
    scrub_stack();
    printf("track processed: %d\n", sum);
    return sum < 0;
}
