"""Prints what a report says in one line per leak: python summary.py REPORT.json"""

import json
import sys


def main(path):
    with open(path, encoding="utf-8") as stream:
        report = json.load(stream)
    counts = report["summary"]
    print(f"{'leak':<18} {'bytes':>9} {'blocks':>7}  {'state':<9} where, and in which check")
    for finding in sorted(
        report["findings"].values(), key=lambda one: (one["status"], -one["size_bytes"])
    ):
        site = finding["sites"][0].rpartition("sample_apps/")[2] if finding["sites"] else "?"
        kind = finding["kind"].replace("_", " ")
        checks = ", ".join(check.rpartition("::")[2] for check in finding["checks"][:2])
        size = f"{finding['size_bytes']:>9,} {finding['blocks']:>7,}"
        print(f"{kind:<18} {size}  {finding['status']:<9} {site}  ({checks})")
    for check in report["checks"]:
        if check["outcome"] == "inconclusive":
            print(f"inconclusive: {check['id']}: {'; '.join(check['reasons'])}")
    print()
    print(
        f"{counts['clean']} programs are clean (every fixed twin should be), {counts['leak']} leak."
    )
    accepted = [one for one in report["findings"].values() if one["status"] == "known"]
    for finding in accepted:
        print(f"accepted and not failing: {finding['size_bytes']:,} bytes: {finding['reason']}")


if __name__ == "__main__":
    main(sys.argv[1])
