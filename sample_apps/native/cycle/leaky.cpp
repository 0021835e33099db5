// Departments and their managers own each other through shared_ptr, so neither count reaches zero.
#include <cstddef>
#include <cstdio>
#include <memory>

struct Employee;

struct Department {
    std::shared_ptr<Employee> manager;
    long budget = 0;
};

struct Employee {
    std::shared_ptr<Department> department; // BUG: an owning pointer back; should be weak_ptr
    long salary[3] = {};
};

static __attribute__((noinline)) std::shared_ptr<Department> open_department(long budget)
{
    auto department = std::make_shared<Department>();
    auto manager = std::make_shared<Employee>();
    department->budget = budget;
    department->manager = manager;
    manager->department = department;
    manager->salary[0] = budget / 10;
    return department;
}

static __attribute__((noinline)) long plan_year(int departments)
{
    long salaries = 0;
    for (int i = 1; i <= departments; i++) {
        auto department = open_department(100000L * i);
        salaries += department->manager->salary[0];
    }
    return salaries;
}

// Overwrites what finished calls left on the stack, so that no stale pointer hides a leak.
static __attribute__((noinline, no_sanitize_address)) void scrub_stack()
{
    volatile char old_frames[16 * 1024];
    for (std::size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main()
{
    long salaries = plan_year(2);
    scrub_stack();
    std::printf("salaries %ld\n", salaries);
    return 0;
}
