"""The same leak in C, Node and Java: each is told with its line, in the same run.

pytest --leakguard sample_apps/services/test_runtimes.py
"""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not here")


@needs("gcc")
def test_server_in_c_does_not_grow(leakguard, tmp_path):
    server = tmp_path / "server"
    subprocess.run(["gcc", "-g", "-O2", "-o", str(server), str(HERE / "server.c")], check=True)
    with leakguard.serve([str(server), "{port}", "leak"]) as service:
        service.loop(["GET /orders/7"])


@needs("node")
def test_server_in_node_does_not_grow(leakguard):
    with leakguard.serve(["node", "server.js", "{port}", "leak"], cwd=HERE) as service:
        service.loop(["GET /orders/7"], 2000)


@needs("jcmd")
def test_server_in_java_does_not_grow(leakguard):
    with leakguard.serve(["java", "Server.java", "{port}", "leak"], cwd=HERE) as service:
        service.loop(["GET /orders/7"], 2000)
