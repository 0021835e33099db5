// Departments own their managers; a manager refers back without owning.
#include <cstddef>
#include <cstdio>
#include <memory>

struct Employee;

struct Department {
    std::shared_ptr<Employee> manager;
    long budget = 0;
};

struct Employee {
    std::weak_ptr<Department> department;
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

int main()
{
    long salaries = plan_year(2);
    std::printf("salaries %ld\n", salaries);
    return 0;
}
