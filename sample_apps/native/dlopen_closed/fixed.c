/* Loads a filter plugin, uses it, shuts it down and unloads it. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef int apply_function(int sample);
typedef void shutdown_function(void);

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

static void shut_filter_down(void *plugin)
{
    shutdown_function *shutdown;
    *(void **)&shutdown = dlsym(plugin, "filter_shutdown");
    if (shutdown != NULL)
        shutdown();
}

static __attribute__((noinline)) int process_track(const char *path)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
    int sum = run_filter(plugin, 100);
    shut_filter_down(plugin);
    dlclose(plugin);
    return sum;
}

int main(void)
{
    char path[4096];
    if (find_plugin(path, sizeof path) != 0)
        return 1;
    int sum = process_track(path);
    printf("track processed: %d\n", sum);
    return sum < 0;
}
