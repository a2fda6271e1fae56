"""Measures copies: see copy.sh, which builds what this needs."""

import atexit, base64, hashlib, hmac, json, os, shutil, signal, socket, subprocess, sys, tempfile, threading, time
import urllib.parse, urllib.request
from pathlib import Path

BIN, ROOT = Path(sys.argv[1]), Path(sys.argv[2])
COUNT, SIZE = int(os.environ.get("COUNT", 20000)), int(os.environ.get("SIZE", 4096))
LARGE, LARGE_MIB = int(os.environ.get("LARGE", 4)), int(os.environ.get("LARGE_MIB", 1024))
WRK_SECONDS = int(os.environ.get("SECONDS_OF_WRK", 5))
KEY, SECRET, REGION = "millrace-test", "millrace-test-secret", "us-east-1"
# The server has a core of its own, and so has whoever asks it.
CORES = sorted(os.sched_getaffinity(0))
SERVER, CLIENT = ([CORES[0]], CORES[1:2]) if len(CORES) > 1 else (CORES, CORES)
servers = []


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def signature(method, path, query, headers, payload, when):
    """Signature Version 4 of a request; `headers` are those that are signed."""
    day, names = when[:8], ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    key = ("AWS4" + SECRET).encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{sha(canonical)}"
    return scope, names, hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def signed(method, host, path, headers, payload):
    """All headers of a request."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    all_headers = {"host": host, "x-amz-date": when, "x-amz-content-sha256": payload, **headers}
    scope, names, sign = signature(method, path, "", all_headers, payload, when)
    authorization = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope},SignedHeaders={names},Signature={sign}"
    return {**all_headers, "authorization": authorization}


def presigned(method, host, path):
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{KEY}/{when[:8]}/{REGION}/s3/aws4_request",
             "X-Amz-Date": when, "X-Amz-Expires": "3600", "X-Amz-SignedHeaders": "host"}
    text = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="")
    _, _, sign = signature(method, path, text, {"host": host}, "UNSIGNED-PAYLOAD", when)
    return f"http://{host}{path}?{text}&X-Amz-Signature={sign}"


def quoted(path):
    return urllib.parse.quote(path, safe="/-_.~")


def crc64nvme(data):
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return base64.b64encode((crc ^ 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")).decode()


# ---- servers


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, port, env=None):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})},
                               preexec_fn=lambda: os.sched_setaffinity(0, SERVER))
    servers.append(process)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{command[0]} does not start")


def stop():
    for process in servers:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    servers.clear()


def versitygw(folder):
    """Two ports of one server: to a client, two servers."""
    ports = [free_port(), free_port()]
    (folder / "s3").mkdir(parents=True, exist_ok=True)
    command = [shutil.which("versitygw"), "--keep-alive", "--quiet", "--access", KEY, "--secret", SECRET]
    for port in ports:
        command += ["--port", f"127.0.0.1:{port}"]
    start([*command, "posix", str(folder / "s3")], ports[0], {"GOGC": "400"})
    return [f"127.0.0.1:{port}" for port in ports]


def own_server(latency, fail=0):
    port = free_port()
    start([str(BIN / "millrace-s3"), "--port", str(port), "--latency-ms", str(latency), "--fail-percent", str(fail)], port)
    return f"127.0.0.1:{port}"


def bucket(host, name):
    request = urllib.request.Request(f"http://{host}/{name}", method="PUT", headers=signed("PUT", host, f"/{name}", {}, sha("")))
    urllib.request.urlopen(request).close()


# ---- measuring


def client_env(host):
    return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": f"http://{host}",
            "S3_ENDPOINT_URL": f"http://{host}", "AWS_EC2_METADATA_DISABLED": "true"}


class Peak:
    """Memory of a process in MiB: all that is resident, and what of it is not the program's own file."""

    def __init__(self, process):
        self.all, self.own, self.ended = 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, args=(process.pid,), daemon=True)
        self.thread.start()

    def watch(self, pid):
        while not self.ended.wait(0.02):
            try:
                text = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                return
            for line in text.splitlines():
                if line.startswith("RssAnon:"):
                    self.own = max(self.own, int(line.split()[1]) / 1024)

    def end(self, usage):
        self.all = usage.ru_maxrss / 1024
        self.ended.set()
        self.thread.join()

    def __str__(self):
        return f"{self.all:.0f} ({self.own:.0f})"


def measured(command, env, cores=CLIENT):
    """Seconds, CPU seconds, peak of memory, stdout."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, env={**os.environ, **env},
                                   preexec_fn=lambda: os.sched_setaffinity(0, cores))
        peak = Peak(process)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        peak.end(usage)
        out.seek(0)
        text = out.read().decode()
    if status != 0:
        sys.exit(f"{command[0]} failed: {text[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, peak, text


def millrace(*words, env):
    return measured([BIN / "millrace", "--output", "json", "--quiet", *words], env)


def row(work, tool, objects, wall, cpu, peak, requests=None, ceiling=None):
    share = f"{objects / wall / ceiling:.2f}" if ceiling else ""
    asked = "" if requests is None else f"{requests / objects:.4f}"
    print(f"| {work} | {tool} | {objects / wall:,.0f} | {cpu / objects * 1000:.3f} s | {peak} MiB | {asked} | {share} |", flush=True)


def export(work, source, target, env, objects, ceiling=None, more=()):
    wall, cpu, peak, text = millrace("export", source, target, "--assume-empty", *more, env=env)
    report = json.loads(text)
    assert report["failed"] == 0 and report["copied"] == objects, text[:2000]
    row(work, "millrace", objects, wall, cpu, peak, report["requests"]["data"], ceiling)


WRK = """
local requests, at = {}, 0
local file = io.open(os.getenv("REQUESTS"), "rb")
while true do
  local length = file:read("*n")
  if not length then break end
  file:read(1)
  requests[#requests + 1] = file:read(length)
end
file:close()
function request() at = at % #requests + 1; return requests[at] end
function done(summary)
  io.write(string.format("\\nRESULT %d %d %d\\n", summary.requests, summary.duration, summary.errors.status))
end
"""


def wrk(work, host, requests, connections):
    """The same requests over and over: how many a second the server answers."""
    if not shutil.which("wrk"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/requests", "wb") as file:
            for method, path, headers, payload, body in requests:
                head = "".join(f"{name}: {value}\r\n" for name, value in signed(method, host, path, headers, payload).items())
                text = f"{method} {path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body
                file.write(b"%d\n" % len(text) + text)
        Path(f"{folder}/wrk.lua").write_text(WRK)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{WRK_SECONDS}s", "-s", f"{folder}/wrk.lua", f"http://{host}/"]
        _, cpu, peak, text = measured(command, {"REQUESTS": f"{folder}/requests"})
    count, micros, errors = map(int, text.split("RESULT")[1].split())
    if errors:
        print(f"| {work} | wrk | {errors} of {count} answers are errors | | | | |")
        return None
    row(work, "wrk, the ceiling", count, micros / 1e6, cpu, peak)
    return count / (micros / 1e6)


def others(work, host, source, target, objects, ceiling):
    env = client_env(host)
    if shutil.which("s5cmd"):
        wall, cpu, peak, _ = measured(["s5cmd", "--log", "error", "cp", f"{source}/*", f"{target}/s5cmd/"], env)
        row(work, "s5cmd", objects, wall, cpu, peak, None, ceiling)
    if shutil.which("rclone"):
        remote = f":s3,provider=Other,env_auth=true,endpoint='http://{host}',region={REGION}:"
        there = lambda url: remote + url.removeprefix("s3://") if url.startswith("s3://") else url
        command = ["rclone", "copy", "--transfers", "64", "--checkers", "64", there(source), there(f"{target}/rclone")]
        wall, cpu, peak, _ = measured(command, env)
        row(work, "rclone", objects, wall, cpu, peak, None, ceiling)


# ---- the works


def files(folder, count, size):
    """Files that differ, a thousand a folder."""
    block = os.urandom(size)
    for at in range(count):
        path = folder / f"p{at // 1000:03}" / f"part-{at:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(at.to_bytes(8, "big") + block[8:])


def lake_of(lake, folder, env):
    millrace("lake", "init", lake.split("?")[0], env=env)
    millrace("lake", "commit", lake, folder, "-m", "all", env=env)


def entries(lake, env):
    return [json.loads(line) for line in millrace("ls", lake, env=env)[3].splitlines()]


def copies(work, host, folder, connections):
    """20k small objects: inside the store, and from files."""
    env = client_env(host)
    for name in ("lake", "dest"):
        bucket(host, name)
    lake = "lake+s3://lake/ns?ref=main"
    lake_of(lake, folder, env)
    listed = entries(lake, env)
    key = lambda at: quoted(f"/dest/wrk/{listed[at]['path']}")
    copy = lambda at: ("PUT", key(at), {"x-amz-copy-source": quoted(listed[at]["address"].removeprefix("s3://")),
                                        "x-amz-copy-source-if-match": f"\"{listed[at]['etag']}\"",
                                        "x-amz-metadata-directive": "COPY"}, sha(""), b"")
    ceiling = wrk(f"COPY, {work}", host, [copy(at) for at in range(len(listed))], connections)
    export(f"COPY, {work}", lake, "s3://dest/copy", env, len(listed), ceiling)
    others(f"COPY, {work}", host, "s3://lake/ns/data", "s3://dest", len(listed), ceiling)
    body = os.urandom(SIZE)
    sums = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode(), "x-amz-checksum-crc64nvme": crc64nvme(body)}
    put = lambda at: ("PUT", key(at), sums, hashlib.sha256(body).hexdigest(), body)
    ceiling = wrk(f"PUT, {work}", host, [put(at) for at in range(len(listed))], connections)
    local = f"lake+file://{folder.parent}/lake?ref=main"
    if not (folder.parent / "lake").exists():
        lake_of(local, folder, {})
    export(f"PUT, {work}", local, "s3://dest/put", env, len(listed), ceiling)
    others(f"PUT, {work}", host, str(folder), "s3://dest/put", len(listed), ceiling)


def failing(work, folder):
    """COPY from a server that answers a share of the requests with 503: the ceiling is the same run without."""
    clean = None
    for fail in (0, 20):
        host = own_server(20, fail)
        env = client_env(host)
        for name in ("lake", "dest"):
            bucket(host, name)
        lake_of("lake+s3://lake/ns?ref=main", folder, env)
        wall, cpu, peak, text = millrace("export", "lake+s3://lake/ns?ref=main", "s3://dest/copy", "--assume-empty", env=env)
        report = json.loads(text)
        assert report["failed"] == 0 and report["copied"] == COUNT, text[:2000]
        row(f"{work}, {fail} % answered with 503", "millrace", COUNT, wall, cpu, peak, report["requests"]["data"], clean)
        clean = clean or COUNT / wall
        stop()


def large(hosts, folder):
    """Large objects from one server to another, through the client, beside the bare GETs and PUTs."""
    files(folder / "large", LARGE, LARGE_MIB << 20)
    env = client_env(hosts[0])
    for name in ("lake-large", "dest-large"):
        bucket(hosts[0], name)
    lake = "lake+s3://lake-large/ns?ref=main"
    lake_of(lake, folder / "large", env)
    listed = entries(lake, env)
    path = lambda at: quoted("/" + listed[at]["address"].removeprefix("s3://"))
    one = sorted((folder / "large").rglob("part-*"))[0]
    began = time.monotonic()
    gets = [["curl", "-sf", "-o", "/dev/null", presigned("GET", hosts[0], path(at))] for at in range(LARGE)]
    puts = [["curl", "-sf", "-T", str(one), presigned("PUT", hosts[1], f"/dest-large/raw-{at}")] for at in range(LARGE)]
    for commands in (gets, puts):
        running = [subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, CLIENT)) for command in commands]
        if any(process.wait() for process in running):
            sys.exit("the bare GETs and PUTs failed")
    raw = time.monotonic() - began
    shutil.rmtree(folder / "large")
    for at in range(LARGE):
        urllib.request.urlopen(urllib.request.Request(presigned("DELETE", hosts[1], f"/dest-large/raw-{at}"), method="DELETE")).close()
    mib = LARGE * LARGE_MIB
    print(f"| {LARGE} × {LARGE_MIB} MiB from server to server | GET, then PUT | {mib / raw:,.0f} MiB/s | | | | |", flush=True)
    store = f"prefix=s3://dest-large,endpoint=http://{hosts[1]}"
    wall, cpu, peak, text = millrace("export", lake, "s3://dest-large/x", "--assume-empty", "--store", store, env=env)
    report = json.loads(text)
    assert report["failed"] == 0 and report["copied"] == LARGE, text[:2000]
    print(f"| {LARGE} × {LARGE_MIB} MiB from server to server | millrace, verified | {mib / wall:,.0f} MiB/s "
          f"| {cpu / mib * 1024:.2f} s a GiB | {peak} MiB | {report['requests']['data']} in all | {raw / wall:.2f} |", flush=True)


def files_to_files(folder):
    with tempfile.TemporaryDirectory(prefix="millrace-files-") as disk:
        disk = Path(disk)
        lake_of(f"lake+file://{disk}/lake?ref=main", folder, {})
        work = f"{COUNT} files to files, on disk"
        os.sync()
        wall, cpu, peak, _ = measured(["sh", "-c", 'cp -r "$0/lake/data" "$0/cp" && sync -f "$0"', disk], {}, CORES)
        row(work, "cp -r, synced", COUNT, wall, cpu, peak)
        ceiling = COUNT / wall
        wall, cpu, peak, text = measured([BIN / "millrace", "--output", "json", "--quiet", "export", f"lake+file://{disk}/lake?ref=main",
                                          disk / "out", "--assume-empty"], {}, CORES)
        assert json.loads(text)["copied"] == COUNT, text[:2000]
        row(work, "millrace", COUNT, wall, cpu, peak, None, ceiling)


def main():
    shutil.rmtree(ROOT, ignore_errors=True)
    (ROOT / "small").mkdir(parents=True)
    atexit.register(lambda: (stop(), shutil.rmtree(ROOT, ignore_errors=True)))
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(ROOT)
    print("| work | tool | objects/s | CPU per 1,000 | peak memory | data requests an object | of the ceiling |")
    print("|---|---|---|---|---|---|---|", flush=True)
    files(ROOT / "small/files", COUNT, SIZE)
    hosts = versitygw(ROOT)
    copies(f"{COUNT} × {SIZE} B, versitygw", hosts[0], ROOT / "small/files", 64)
    stop()
    shutil.rmtree(ROOT / "s3")
    copies(f"{COUNT} × {SIZE} B, 20 ms of latency", own_server(20), ROOT / "small/files", 256)
    stop()
    failing(f"COPY, {COUNT} × {SIZE} B, 20 ms of latency", ROOT / "small/files")
    files_to_files(ROOT / "small/files")
    shutil.rmtree(ROOT / "small")
    large(versitygw(ROOT), ROOT)


main()
