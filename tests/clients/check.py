"""Talks to a running lab with clients that others wrote.

Usage: check.py LAB.JSON. One line for each check; exits with 1 if any fails.
"""

import json
import sys
import traceback
from urllib.parse import urlsplit

import pymssql
import pytds
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from pypsrp.powershell import PowerShell, RunspacePool
from pypsrp.wsman import WSMan

with open(sys.argv[1], encoding="utf-8") as f:
    LAB = json.load(f)

SQL = LAB["dataCenters"]["seattle"]["sqlServer"]
SHELL = LAB["dataCenters"]["seattle"]["managementShell"]
QUERY = "SELECT name, state_desc, CAST(is_in_standby AS int) AS standby FROM sys.databases WHERE name = N'mgc';"
EXPECTED = ("mgc", "RESTORING", 0)


def freetds():
    """pymssql, which is FreeTDS: login, a batch, an error with its number."""
    with pymssql.connect(server=SQL["host"], port=str(SQL["port"]), user=SQL["user"], password=SQL["password"],
                         encryption="require", tds_version="7.3", autocommit=True) as c:
        cursor = c.cursor()
        cursor.execute(QUERY)
        assert cursor.fetchall() == [EXPECTED]
        try:
            cursor.execute("RAISERROR(N'of the test', 16, 1);")
            raise AssertionError("no error came")
        except pymssql.DatabaseError as e:
            assert e.args[0] == 50000, e.args
        try:
            cursor.execute("SELECT * FROM sys.dm_xe_sessions;")
            raise AssertionError("no error came")
        except pymssql.DatabaseError as e:
            assert b"simulator" in e.args[1], e.args


def python_tds():
    """python-tds, pure Python: TLS with the lab's CA checked, parameters by sp_executesql."""
    with pytds.connect(dsn="localhost", port=SQL["port"], user=SQL["user"], password=SQL["password"],
                       cafile=SQL["caFile"], validate_host=True, autocommit=True) as c:
        with c.cursor() as cursor:
            cursor.execute("SELECT name, state_desc, CAST(is_in_standby AS int) AS standby FROM sys.databases WHERE name = %s;", ("mgc",))
            assert cursor.fetchall() == [EXPECTED]
            cursor.execute("SELECT @@SERVERNAME AS name;")
            assert cursor.fetchone()[0].endswith("\\CHAT")


def refused_login():
    """A wrong password is refused with SQL Server's own number."""
    try:
        pytds.connect(dsn="localhost", port=SQL["port"], user=SQL["user"], password="wrong", cafile=SQL["caFile"])
        raise AssertionError("the login was accepted")
    except pytds.Error as e:
        assert "Login failed" in str(e), e


def run(wsman):
    """A cmdlet by name with parameters, its object, and a cmdlet that does not exist."""
    with RunspacePool(wsman, configuration_name=SHELL["configurationName"]) as pool:
        ps = PowerShell(pool)
        ps.add_cmdlet("Get-CsPersistentChatState")
        objects = ps.invoke()
        assert not ps.had_errors, ps.streams.error
        assert len(objects) == 1
        assert str(objects[0].adapted_properties["PoolState"]) == "Normal", objects[0].adapted_properties
        ps = PowerShell(pool)
        ps.add_cmdlet("Get-CsService").add_parameter("PoolFqdn", "chat.litwareinc.com").add_parameter("PersistentChatServer")
        service = ps.invoke()[0]
        assert "sea-cs-1.litwareinc.com" in service.adapted_properties["InactiveServers"], service.adapted_properties
        ps = PowerShell(pool)
        ps.add_cmdlet("Remove-Everything")
        failed = ""
        try:
            ps.invoke()
        except Exception as e:  # pypsrp raises what the pipeline failed with
            failed = str(e)
        failed += " ".join(str(e) for e in ps.streams.error)
        assert "Remove-Everything" in failed, failed


def wsman(url, auth, password, ssl):
    parts = urlsplit(url)
    return WSMan(parts.hostname, port=parts.port, username=SHELL["user"], password=password, auth=auth, ssl=ssl,
                 cert_validation=SHELL["caFile"] if ssl else True, path=parts.path.strip("/"),
                 encryption="auto", operation_timeout=10, read_timeout=20, connection_timeout=10)


def pypsrp_basic():
    """pypsrp over TLS with Basic."""
    run(wsman(SHELL["url"], "basic", SHELL["password"], True))


def pypsrp_ntlm():
    """pypsrp over HTTP with NTLM: pyspnego's sealing against ours."""
    run(wsman(SHELL["negotiateUrl"], "ntlm", SHELL["password"], False))


def pypsrp_channel_binding():
    """NTLM over TLS on a host with CbtHardeningLevel Strict: as pyspnego binds it, and refused if it is not bound."""
    def client(**options):
        parts = urlsplit(SHELL["url"])
        return WSMan(parts.hostname, port=parts.port, username=SHELL["user"], password=SHELL["password"], auth="ntlm", ssl=True,
                     cert_validation=SHELL["caFile"], path=parts.path.strip("/"), encryption="always", operation_timeout=10,
                     read_timeout=20, connection_timeout=10, **options)

    run(client())
    try:
        run(client(negotiate_send_cbt=False))
        raise AssertionError("a logon that is bound to nothing was accepted")
    except AuthenticationError:
        pass


def pypsrp_disconnect():
    """pypsrp leaves a command that it has not received from, comes back to it, leaves it again, and another client finds it."""
    def client():
        return wsman(SHELL["negotiateUrl"], "ntlm", SHELL["password"], False)

    # Pools that pypsrp finds are of the usual configuration.
    pool = RunspacePool(client(), configuration_name="Microsoft.PowerShell")
    pool.open()
    ps = PowerShell(pool)
    ps.add_cmdlet("Get-CsPersistentChatState")
    ps.begin_invoke()
    pool.disconnect()
    pool.connect()
    pool.disconnect()
    other = client()
    found = [p for p in RunspacePool.get_runspace_pools(other) if p.id.upper() == pool.id.upper()]
    assert len(found) == 1, found
    found = found[0]
    commands = found.create_disconnected_power_shells()
    assert len(commands) == 1, commands
    found.connect()
    objects = commands[0].connect()
    assert [str(o.adapted_properties["PoolState"]) for o in objects] == ["Normal"], objects
    found.close()
    assert not [p for p in RunspacePool.get_runspace_pools(other) if p.id.upper() == pool.id.upper()]


def pypsrp_not_twice():
    """A pool that is connected is not given to another client."""
    pool = RunspacePool(wsman(SHELL["url"], "basic", SHELL["password"], True), configuration_name="Microsoft.PowerShell")
    pool.open()
    other = wsman(SHELL["url"], "basic", SHELL["password"], True)
    found = [p for p in RunspacePool.get_runspace_pools(other) if p.id.upper() == pool.id.upper()]
    try:
        found[0].connect()
        raise AssertionError("it was given away")
    except WSManFaultError as e:
        assert e.code == 2150859213, e.code
    pool.close()


def pypsrp_refused():
    """A wrong password is refused, with Basic and with NTLM."""
    for url, auth, ssl in [(SHELL["url"], "basic", True), (SHELL["negotiateUrl"], "ntlm", False)]:
        try:
            run(wsman(url, auth, "wrong", ssl))
            raise AssertionError("the logon was accepted")
        except AuthenticationError:
            pass


failed = 0
for check in [freetds, python_tds, refused_login, pypsrp_basic, pypsrp_ntlm, pypsrp_channel_binding, pypsrp_disconnect, pypsrp_not_twice, pypsrp_refused]:
    try:
        check()
        print("ok", check.__name__)
    except Exception:
        failed += 1
        print("FAILED", check.__name__)
        traceback.print_exc(file=sys.stdout)
sys.exit(1 if failed else 0)
