"""One small suite for each of the most used plugins of pytest: what it is for, and the files that it writes.

In the order of their downloads. Each has clean tests, and one that keeps something with every run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

KEEPS = """
KEEP = []
class Kept: pass
def keep(): KEEP.append(Kept())
"""
LEAKY = KEEPS + "def test_leaky(): keep()\n"


@dataclass(frozen=True)
class Suite:
    """The same tests with and without leak checks, then a test that leaks."""

    package: str
    """As PyPI calls it."""
    plugins: str
    """What ``-p`` names, since nothing else is loaded; several in the order of loading."""
    clean: str
    """A test file, all of whose tests pass and leak nothing."""
    leaky: str = LEAKY
    """A test file in which ``test_leaky`` leaks and nothing else does."""
    options: str = ""
    settings: str = ""
    """Lines of the ini file."""
    files: dict[str, str] = field(default_factory=dict)
    opaque: tuple[str, ...] = ()
    """Names of files whose bytes say nothing, such as a database with times in it: only whether they are there counts."""
    unsettled: str = ""
    """A regular expression of what differs between two runs without us as well."""
    not_checked: str = ""
    """Why its tests cannot be repeated, where that is so: they keep their results and are said to be unchecked."""
    is_quick: bool = False
    """One of those that say most; `make test` runs them, `make test-all` the others as well."""


PLAIN = """
import pytest
@pytest.fixture
def own(): yield [1]
def branches(n):
    if n > 1:
        return "two"
    return "one"
SEEN = []
def test_covers(own):
    assert branches(1) == "one"
    if len(SEEN) > 1: branches(2)
    SEEN[:] = SEEN[:2] + [1]
@pytest.mark.parametrize("n", [1, 2])
def test_numbers(n, tmp_path, record_property): record_property("n", n); (tmp_path / "x").write_text("1")
class TestClass:
    def test_method(self, capsys): print("out"); assert capsys.readouterr().out
def test_prints(): print("printed")
"""

BDD_FEATURE = """
Feature: orders
  Scenario: an order is made
    Given a shop
    When I order 3 pears
    Then 3 pears are ordered
"""
BDD = """
from pytest_bdd import given, when, then, scenario, parsers
@scenario("orders.feature", "an order is made")
def test_order(): pass
@given("a shop", target_fixture="shop")
def _(): return {"orders": []}
@when(parsers.parse("I order {count:d} pears"), target_fixture="order")
def _(shop, count): shop["orders"].append(count); return count
@then(parsers.parse("{count:d} pears are ordered"))
def _(shop, order, count): assert shop["orders"] == [count] == [order]
"""
BDD_LEAKY = (
    """
from pytest_bdd import given, when, then, scenario, parsers
"""
    + KEEPS
    + """
@scenario("orders.feature", "an order is made")
def test_leaky(): pass
@given("a shop", target_fixture="shop")
def _(): return {"orders": []}
@when(parsers.parse("I order {count:d} pears"), target_fixture="order")
def _(shop, count): keep(); return count
@then(parsers.parse("{count:d} pears are ordered"))
def _(order, count): assert order == count
"""
)
DJANGO_FILES = {
    "shop/__init__.py": "",
    "shop/models.py": "from django.db import models\nclass Order(models.Model):\n    name = models.CharField(max_length=20)\n",
    "shop/settings.py": "SECRET_KEY='x'\nINSTALLED_APPS=['shop']\nUSE_TZ=True\nDEFAULT_AUTO_FIELD='django.db.models.AutoField'\n"
    "DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n",
}
DJANGO = """
import pytest
from django.test import TestCase
from shop.models import Order
@pytest.mark.django_db
def test_orders():
    Order.objects.create(name="pear")
    for _ in range(60):  # sqlite3 forgets cursors that are gone after every 200
        assert Order.objects.count() == 1
class TestOrders(TestCase):
    @classmethod
    def setUpTestData(cls): Order.objects.create(name="apple")
    def test_one(self):
        Order.objects.create(name="pear")
        for _ in range(60): self.assertEqual(Order.objects.count(), 2)
    def test_two(self):
        for _ in range(60): self.assertEqual(Order.objects.count(), 1)
def test_client(client): assert client.get("/nothing") if False else client
def test_settings(settings): settings.DEBUG = True
"""
DJANGO_LEAKY = """
import pytest
from shop.models import Order
KEEP = []
@pytest.mark.django_db
def test_leaky():
    KEEP.append(Order.objects.create(name="pear"))
"""
ALLURE = """
import allure, pytest
@allure.title("adds")
@allure.feature("sums")
def test_adds():
    with allure.step("one"):
        allure.attach("body", name="text", attachment_type=allure.attachment_type.TEXT)
    with allure.step("two"): assert 1 + 1 == 2
@pytest.mark.parametrize("n", [1, 2])
def test_numbers(n): allure.dynamic.title(f"number {n}"); allure.attach(str(n))
@pytest.fixture
def made(): allure.attach("fixture"); yield 1
def test_fixture(made): pass
"""
SERVER = """
import threading, http.server, urllib.request, pytest
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *a): pass
"""

SUITES = (
    Suite(
        "pytest-cov",
        "pytest_cov",
        PLAIN,
        options="--cov=. --cov-branch --cov-report=json",
        opaque=(".coverage",),
        is_quick=True,
    ),
    Suite(
        "pytest-asyncio",
        "pytest_asyncio.plugin",
        "import asyncio, pytest_asyncio\n@pytest_asyncio.fixture\nasync def value(): yield 3\n"
        "async def test_waits(value): await asyncio.sleep(0); assert value == 3\n"
        "async def test_tasks(): await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))\n",
        KEEPS + "import asyncio\nasync def test_leaky(): await asyncio.sleep(0); keep()\n",
        options="--asyncio-mode=auto",
        settings="asyncio_default_fixture_loop_scope = function",
    ),
    Suite(
        "pytest-json-ctrf",
        "ctrf.main",
        PLAIN,
        options="--ctrf=ctrf.json",
        unsettled=r'"(start|stop|duration|timestamp|reportId)": "?[^,]*',
    ),
    Suite(
        "pytest-xdist", "xdist.plugin xdist.looponfail", PLAIN, options="-n1 --junitxml=junit.xml"
    ),
    Suite(
        "pytest-mock",
        "pytest_mock",
        "import os\ndef test_patch(mocker): mocker.patch('os.getcwd', return_value='x'); assert os.getcwd() == 'x'\n"
        "def test_spy(mocker):\n    spy = mocker.spy(os.path, 'join'); os.path.join('a', 'b'); spy.assert_called_once()\n",
        KEEPS + "def test_leaky(mocker): mocker.patch('os.getcwd'); keep()\n",
    ),
    Suite("pytest-timeout", "pytest_timeout", PLAIN, options="--timeout=20"),
    Suite(
        "pytest-rerunfailures",
        "pytest_rerunfailures",
        PLAIN,
        options="--reruns=1 --junitxml=junit.xml",
    ),
    Suite(
        "pytest-metadata",
        "pytest_metadata.plugin",
        "def test_metadata(metadata): assert metadata['Python']\n",
        options="--junitxml=junit.xml",
    ),
    Suite(
        "pytest-html",
        "pytest_metadata.plugin pytest_html.plugin pytest_html.fixtures",
        PLAIN
        + "def test_extras(extras): import pytest_html; extras.append(pytest_html.extras.text('note'))\n",
        options="--html=report.html --self-contained-html",
        unsettled=r"took [^.]*|\d\d:\d\d:\d\d|\d+ ms|on [\w-]+ at",
        is_quick=True,
    ),
    Suite(
        "pytest-env",
        "pytest_env.plugin",
        "import os\ndef test_env(): assert os.environ['SHOP'] == 'open'\n",
        settings="env =\n    SHOP=open",
    ),
    Suite(
        "pytest-django",
        "pytest_django.plugin",
        DJANGO,
        DJANGO_LEAKY,
        files=DJANGO_FILES,
        settings="DJANGO_SETTINGS_MODULE = shop.settings\npythonpath = .",
        is_quick=True,
    ),
    Suite(
        "pytest-split",
        "pytest_split.plugin",
        PLAIN,
        options="--splits=1 --group=1 --store-durations",
        unsettled=r"[\d.e-]+,?\n",
    ),
    Suite(
        "pytest-benchmark",
        "pytest_benchmark.plugin",
        "def test_sum(benchmark): assert benchmark(sum, [1, 2]) == 3\n"
        "def test_pedantic(benchmark): benchmark.pedantic(sum, args=([1],), rounds=3, iterations=2)\ndef test_plain(): pass\n",
        KEEPS + "def test_leaky(benchmark): benchmark.pedantic(keep, rounds=2)\n",
        options="--benchmark-json=bench.json --benchmark-max-time=0.05",
        unsettled=r'"[\w]+": -?[\d.e+-]+,?|"datetime": .*|"ops.*|"outliers": .*|"time": .*|\s+[\d.e-]+,?\n|"(hz_.*|brand_raw|cpu|id|commit_info)".*',
        is_quick=True,
    ),
    Suite(
        "pytest-json-report",
        "pytest_metadata.plugin pytest_jsonreport.plugin",
        PLAIN + "def test_meta(json_metadata): json_metadata['a'] = 1\n",
        options="--json-report --json-report-file=report.json",
        unsettled=r'"(created|duration)": [^,}]*',
        is_quick=True,
    ),
    Suite("pytest-repeat", "pytest_repeat", PLAIN, options="--count=2"),
    Suite(
        "pytest-socket",
        "pytest_socket",
        "import socket, pytest, pytest_socket\ndef test_blocked():\n    with pytest.raises(pytest_socket.SocketBlockedError): socket.socket()\n"
        "@pytest.mark.enable_socket\ndef test_allowed(): socket.socket().close()\n",
        KEEPS
        + "import socket\n@__import__('pytest').mark.enable_socket\ndef test_leaky(): socket.socket().close(); keep()\n",
        options="--disable-socket",
    ),
    Suite(
        "pytest-unordered",
        "pytest_unordered",
        "from pytest_unordered import unordered\ndef test_any(): assert [1, 2] == unordered(2, 1)\n",
    ),
    Suite(
        "syrupy",
        "syrupy",
        "def test_snapshot(snapshot): assert {'a': [1, 2]} == snapshot\ndef test_two(snapshot):\n    assert 1 == snapshot\n    assert 2 == snapshot(name='two')\n",
        KEEPS + "def test_leaky(snapshot): keep(); assert 1 == snapshot\n",
        options="--snapshot-update",
        is_quick=True,
    ),
    Suite(
        "pytest-base-url",
        "pytest_base_url.plugin",
        "def test_url(base_url): assert base_url == 'http://localhost'\n",
        options="--base-url=http://localhost",
    ),
    Suite(
        "pytest-custom-exit-code",
        "pytest_custom_exit_code",
        PLAIN,
        options="--suppress-no-test-exit-code",
    ),
    Suite("pytest-icdiff", "pytest_icdiff", PLAIN),
    Suite(
        "pytest-order",
        "pytest_order.plugin",
        "import pytest\nRAN = []\n@pytest.mark.order(2)\ndef test_late(): assert RAN\n@pytest.mark.order(1)\ndef test_early(): RAN[:] = [1]\n",
    ),
    Suite(
        "pytest-httpx",
        "anyio.pytest_plugin pytest_httpx",
        "import httpx\ndef test_get(httpx_mock):\n    httpx_mock.add_response(json={'a': 1})\n    assert httpx.get('http://localhost/a').json() == {'a': 1}\n",
        KEEPS
        + "import httpx\ndef test_leaky(httpx_mock):\n    httpx_mock.add_response()\n    httpx.get('http://localhost/a'); keep()\n",
    ),
    Suite("pytest-instafail", "pytest_instafail", PLAIN, options="--instafail"),
    Suite(
        "allure-pytest",
        "allure_pytest.plugin",
        ALLURE,
        KEEPS
        + "import allure\ndef test_leaky():\n    with allure.step('a'): allure.attach('x'); keep()\n",
        options="--alluredir=allure",
        unsettled=r'"(start|stop)": \d+|[0-9a-f]{8}-[0-9a-f-]{27}|"value": "\d+-MainThread"',
        is_quick=True,
    ),
    Suite(
        "pytest-forked",
        "pytest_forked",
        PLAIN,
        options="--forked --junitxml=junit.xml",
        unsettled=r"pytest-\d+",
        not_checked="beside pytest 9.2 it fails every test, with us and without",
    ),
    Suite(
        "pytest-randomly",
        "pytest_randomly",
        "import random\nSEEN = {}\ndef test_same(): assert SEEN.setdefault('a', random.random()) == random.random() or SEEN\n",
        options="--randomly-seed=7",
    ),
    Suite("pytest-sugar", "pytest_sugar", PLAIN, options="--force-sugar"),
    Suite(
        "pytest-recording",
        "pytest_recording.plugin",
        "import pytest\n"
        + SERVER
        + "@pytest.fixture(scope='module')\ndef url():\n    server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
        "    thread = threading.Thread(target=server.serve_forever); thread.start()\n    yield f'http://127.0.0.1:{server.server_port}/'\n"
        "    server.shutdown(); thread.join(); server.server_close()\n"
        "@pytest.mark.vcr\ndef test_recorded(url): assert urllib.request.urlopen(url).read() == b'hello'\n",
        options="--record-mode=once",
        unsettled=r"127.0.0.1:\d+|\d\d:\d\d:\d\d|- \w+, \d+ \w+ \d+",
    ),
    Suite(
        "pytest-aiohttp",
        "pytest_asyncio.plugin pytest_aiohttp.plugin",
        "from aiohttp import web\nasync def hello(request): return web.Response(text='hello')\n"
        "async def test_hello(aiohttp_client):\n    app = web.Application(); app.router.add_get('/', hello)\n"
        "    client = await aiohttp_client(app)\n    assert await (await client.get('/')).text() == 'hello'\n",
        KEEPS + "async def test_leaky(): keep()\n",
        options="--asyncio-mode=auto",
        settings="asyncio_default_fixture_loop_scope = function",
    ),
    Suite(
        "pytest-dotenv",
        "pytest_dotenv.plugin",
        "import os\ndef test_env(): assert os.environ['SHOP'] == 'open'\n",
        files={".env": "SHOP=open\n"},
    ),
    Suite(
        "pytest-subtests",
        "",
        "def test_parts(subtests):\n    for n in range(3):\n        with subtests.test(n=n): assert n < 3\n",
        KEEPS + "def test_leaky(subtests):\n    with subtests.test('a'): keep()\n",
        options="--junitxml=junit.xml",
    ),
    Suite(
        "pytest-ordering",
        "pytest_ordering",
        "import pytest\nRAN = []\n@pytest.mark.run(order=2)\ndef test_late(): assert RAN\n@pytest.mark.run(order=1)\ndef test_early(): RAN[:] = [1]\n",
    ),
    Suite(
        "flaky",
        "flaky.flaky_pytest_plugin",
        "from flaky import flaky\ndef test_plain(): pass\nRUNS = []\n@flaky\ndef test_second():\n    RUNS.append(1)\n    assert len(RUNS) > 1\n",
        not_checked="run by its own protocol",
    ),
    Suite(
        "pytest-check",
        "pytest_check.plugin",
        "from pytest_check import check\ndef test_soft():\n    with check: assert 1 == 1\n    check.equal(1, 1)\n",
        KEEPS + "from pytest_check import check\ndef test_leaky(): check.equal(1, 1); keep()\n",
        is_quick=True,
    ),
    Suite(
        "pytest-httpserver",
        "pytest_httpserver.pytest_plugin",
        "import urllib.request\ndef test_get(httpserver):\n    httpserver.expect_request('/a').respond_with_data('x')\n"
        "    assert urllib.request.urlopen(httpserver.url_for('/a')).read() == b'x'\n    httpserver.check_assertions()\n",
        KEEPS + "def test_leaky(httpserver): httpserver.url_for('/a'); keep()\n",
    ),
    Suite(
        "pytest-testmon",
        "testmon.pytest_testmon",
        PLAIN,
        options="--testmon",
        opaque=(".testmondata", ".testmondata-shm", ".testmondata-wal"),
    ),
    Suite(
        "pytest-github-actions-annotate-failures",
        "pytest_github_actions_annotate_failures.plugin",
        PLAIN,
    ),
    Suite(
        "pytest-bdd",
        "pytest_bdd.plugin",
        BDD,
        BDD_LEAKY,
        options="--cucumberjson=cucumber.json --gherkin-terminal-reporter",
        files={"orders.feature": BDD_FEATURE},
        unsettled=r'"duration": \d+',
        is_quick=True,
    ),
    Suite(
        "pytest-test-groups",
        "pytest_test_groups",
        PLAIN,
        options="--test-group-count=1 --test-group=1",
    ),
    Suite(
        "pytest-memray",
        "pytest_memray.plugin",
        PLAIN,
        options="--memray --memray-bin-path=bins",
        opaque=("*.bin",),
        unsettled="[0-9a-f]{32}",
    ),
    Suite(
        "pytest-random-order",
        "random_order.plugin",
        PLAIN,
        options="--random-order --random-order-seed=3",
    ),
    Suite(
        "pytest-retry",
        "pytest_retry.retry_plugin",
        PLAIN,
        options="--retries=1 --junitxml=junit.xml",
    ),
    Suite(
        "pytest-factoryboy",
        "pytest_factoryboy.plugin",
        "import factory\nfrom pytest_factoryboy import register\nclass Order:\n    def __init__(self, name): self.name = name\n"
        "@register\nclass OrderFactory(factory.Factory):\n    class Meta: model = Order\n    name = 'pear'\n"
        "def test_order(order): assert order.name == 'pear'\ndef test_factory(order_factory): assert order_factory(name='a').name == 'a'\n",
    ),
    Suite(
        "pytest-snapshot",
        "pytest_snapshot.plugin",
        "def test_text(snapshot): snapshot.assert_match('text', 'a.txt')\n",
        options="--snapshot-update",
        files={"snapshots/test_suite/test_text/a.txt": "text"},
    ),
    Suite(
        "pytest-vcr",
        "pytest_vcr",
        "import pytest\n"
        + SERVER
        + "@pytest.fixture(scope='module')\ndef url():\n    server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
        "    thread = threading.Thread(target=server.serve_forever); thread.start()\n    yield f'http://127.0.0.1:{server.server_port}/'\n"
        "    server.shutdown(); thread.join(); server.server_close()\n"
        "@pytest.mark.vcr\ndef test_recorded(url): assert urllib.request.urlopen(url).read() == b'hello'\n",
        unsettled=r"127.0.0.1:\d+|\d\d:\d\d:\d\d|- \w+, \d+ \w+ \d+",
    ),
    Suite(
        "pytest-dependency",
        "pytest_dependency",
        "import pytest\n@pytest.mark.dependency\ndef test_first(): pass\n@pytest.mark.dependency(depends=['test_first'])\ndef test_second(): pass\n",
    ),
    Suite(
        "pytest-lazy-fixtures",
        "pytest_lazy_fixtures.plugin",
        "import pytest\nfrom pytest_lazy_fixtures import lf\n@pytest.fixture\ndef one(): return 1\n@pytest.mark.parametrize('n', [lf('one'), 2])\ndef test_n(n): assert n in (1, 2)\n",
    ),
    Suite("pytest-profiling", "pytest_profiling", PLAIN, options="--profile", opaque=("*.prof",)),
    Suite(
        "pytest-freezer",
        "pytest_freezer",
        "import datetime, pytest\ndef test_frozen(freezer):\n    freezer.move_to('2020-01-01'); assert datetime.date.today().year == 2020\n"
        "@pytest.mark.freeze_time('2019-05-05')\ndef test_marked(): assert datetime.date.today().year == 2019\n",
        KEEPS + "def test_leaky(freezer): freezer.tick(); keep()\n",
        is_quick=True,
    ),
    Suite(
        "pytest-freezegun",
        "pytest_freezegun",
        "import datetime, pytest\n@pytest.mark.freeze_time('2019-05-05')\ndef test_marked(): assert datetime.date.today().year == 2019\n",
    ),
    Suite(
        "pytest-datadir",
        "pytest_datadir.plugin",
        "def test_data(datadir): assert (datadir / 'a.txt').read_text() == 'a'\n",
        files={"test_suite/a.txt": "a"},
    ),
    Suite(
        "pytest-flask",
        "pytest_flask.plugin",
        "import flask, pytest\n@pytest.fixture\ndef app():\n    app = flask.Flask('shop')\n    app.add_url_rule('/', 'index', lambda: 'hello')\n    return app\n"
        "def test_index(client): assert client.get('/').data == b'hello'\n",
    ),
    Suite(
        "pytest-assume",
        "pytest_assume.plugin",
        "import pytest\ndef test_soft(): pytest.assume(1 == 1)\n",
    ),
    Suite(
        "pytest-flakefinder", "pytest_flakefinder", PLAIN, options="--flake-finder --flake-runs=2"
    ),
    Suite(
        "snapshottest",
        "snapshottest.pytest",
        "def test_snapshot(snapshot): snapshot.assert_match({'a': 1})\n",
        options="--snapshot-update",
    ),
    Suite("pytest-pretty", "pytest_pretty", PLAIN),
    Suite(
        "pytest-regressions",
        "pytest_datadir.plugin pytest_regressions.plugin",
        "def test_data(data_regression): data_regression.check({'a': 1})\n",
        files={"test_suite/test_data.yml": "a: 1\n"},
    ),
    Suite("pytest-durations", "pytest_durations", PLAIN, options="--pytest-durations=5"),
    Suite(
        "anyio",
        "anyio.pytest_plugin",
        "import anyio, pytest\n@pytest.mark.anyio\nasync def test_waits(): await anyio.sleep(0)\n@pytest.fixture\nasync def value(): yield 3\n@pytest.mark.anyio\nasync def test_value(value): assert value == 3\n",
        KEEPS
        + "import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n@pytest.mark.anyio\nasync def test_leaky(): keep()\n",
    ),
    Suite(
        "hypothesis",
        "_hypothesis_pytestplugin",
        "import pytest\nfrom hypothesis import given, strategies as st\n@pytest.mark.parametrize('n', [1, 2])\n@given(st.integers())\ndef test_numbers(n, number): assert number == number\n"
        "@given(st.lists(st.text()))\ndef test_lists(texts): assert sorted(texts) is not None\n",
        KEEPS
        + "import pytest\nfrom hypothesis import given, strategies as st\n@pytest.mark.parametrize('n', [1])\n@given(st.integers())\ndef test_leaky(n, number): keep()\n",
        opaque=(".hypothesis/*",),
        is_quick=True,
        unsettled=r"[0-9a-f]{16,}",
    ),
    Suite(
        "pytest-shard", "pytest_shard.pytest_shard", PLAIN, options="--num-shards=1 --shard-id=0"
    ),
    Suite(
        "pytest-harvest",
        "xdist.plugin pytest_harvest.plugin",
        "def test_bag(results_bag): results_bag.score = 3\ndef test_all(module_results_dct): assert len(module_results_dct) >= 1\n",
        not_checked="its fixtures refuse a second run of the same test",
    ),
    Suite(
        "pytest-reportlog",
        "pytest_reportlog.plugin",
        PLAIN,
        options="--report-log=log.jsonl",
        unsettled=r'"(duration|start|stop)": [\d.e-]+',
    ),
    Suite(
        "pytest-trio",
        "pytest_trio.plugin",
        "import trio, pytest\n@pytest.mark.trio\nasync def test_waits(): await trio.sleep(0)\n",
        KEEPS + "import pytest\n@pytest.mark.trio\nasync def test_leaky(): keep()\n",
    ),
    Suite("pytest-picked", "pytest_picked.plugin", PLAIN),
    Suite(
        "pytest-codspeed",
        "pytest_codspeed.plugin",
        "import pytest\n@pytest.mark.benchmark\ndef test_sum(): sum([1])\n",
        KEEPS + "import pytest\n@pytest.mark.benchmark\ndef test_leaky(): keep()\n",
        options="--codspeed",
        opaque=(".codspeed/*",),
        unsettled=r"\d{10,}",
    ),
    Suite(
        "pyfakefs",
        "pyfakefs.pytest_plugin",
        "def test_files(fs):\n    fs.create_file('/a/b.txt', contents='x')\n    with open('/a/b.txt') as file: assert file.read() == 'x'\n",
        KEEPS + "def test_leaky(fs): fs.create_file('/a.txt'); keep()\n",
        is_quick=True,
    ),
    Suite(
        "time-machine",
        "time_machine",
        "import time, datetime as dt\ndef test_travels(time_machine):\n    time_machine.move_to(dt.datetime(2020, 1, 1)); assert time.gmtime().tm_year in (2019, 2020)\n",
        KEEPS
        + "import datetime as dt\ndef test_leaky(time_machine): time_machine.move_to(dt.datetime(2020, 1, 1)); keep()\n",
        is_quick=True,
    ),
)
