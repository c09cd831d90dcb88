#!/usr/bin/env python3
"""Acceptance runs with real processes: two homes, one folder relay, an agent in each.

    acceptance.py latency [--tries 1000]     commit on A -> event on B, beside the relay floor
    acceptance.py catch-up [--tries 100]     crisis on A -> event on B while B catches up on 100,000
    acceptance.py kill [--tries 200]         kill -9 of either agent while both write
    acceptance.py relay [--tries 40]         the relay folder deleted or truncated while both write
    acceptance.py canary                     a word in every field and name, looked for in every file
    acceptance.py damage [--tries 300]       flipped, cut and swapped bytes on the relay
    acceptance.py screens [--tries 200]      ! in one dashboard -> drawn in four others (five real processes)
    acceptance.py busy [--tries 100]         the same while each writes 500/s and one catches up on 100,000
    acceptance.py gone [--tries 20]          the relay goes away, a crisis is raised, the relay comes back
    acceptance.py resolve [--tries 300]      kill -9 of whoever settles a conflict, at any moment
    acceptance.py all

Exit status 0 when everything held. The program: FULLMIND, or the one that scripts/run builds.
"""
import argparse, fcntl, json, os, pty, queue, random, re, shutil, stat, struct, subprocess, sys, tempfile, termios, threading, time

sys.setswitchinterval(0.0002)
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("FULLMIND", os.path.join(HERE, "..", ".build-run", "release", "fullmind"))


def run(*arguments, check=True, **how):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, **how)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: status {done.returncode}\n{done.stderr}")
    return done


class Agent:
    """An agent of one home; its events as they come."""
    def __init__(self, home, wanted=("applied", "crisis")):
        self.home, self.events, self.kinds = home, queue.Queue(), {}
        self.wanted = wanted
        self.start()

    def start(self):
        self.process = subprocess.Popen([PROGRAM, "agent", "--events", "--home", self.home], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, args=(self.process,), daemon=True).start()

    def read(self, process):
        marks = tuple(f'{{"event":"{word}"' for word in self.wanted)
        for line in process.stdout:
            kind = line[10:line.find('"', 10)]
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if line.startswith(marks):
                self.events.put(json.loads(line))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Pair:
    """Two homes of one account over one folder."""
    def __init__(self, name="canary-device-a", other="canary-device-b"):
        self.folder = tempfile.mkdtemp(prefix="fullmind-acceptance-")
        self.a, self.b, self.path = (os.path.join(self.folder, name) for name in ("a", "b", "relay"))
        self.relay = "folder:" + self.path
        run("init", "--device", name, "--no-passphrase", "--home", self.a, "--relay", self.relay)
        invite = subprocess.Popen([PROGRAM, "devices", "invite", "--yes", "--home", self.a], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        code = invite.stdout.readline().strip()
        run("join", code, "--device", other, "--yes", "--no-passphrase", "--home", self.b, "--relay", self.relay)
        invite.wait()

    def status(self, home):
        return json.loads(run("status", "--json", "--home", home).stdout)

    def records(self, home):
        listed = json.loads(run("record", "list", "--json", "--limit", "10000000", "--home", home).stdout)
        return {record["id"] for record in listed["records"]}

    def settle(self, seconds=60):
        deadline = time.time() + seconds
        while time.time() < deadline:
            for home in (self.a, self.b, self.a, self.b):
                run("sync", "--home", home, check=False)
            one, other = self.status(self.a), self.status(self.b)
            if one["stateHash"] == other["stateHash"] and one["sync"]["pending"] == other["sync"]["pending"] == 0:
                return True
        return False

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * (len(ordered) - 1) + 0.5))]


def floor():
    rows = json.loads(run("bench", "relay-floor", "--json").stdout)["bench"]
    return {row["name"].split()[-1]: row["value"] for row in rows}


def latency(tries):
    pair = Pair()
    a, b = Agent(pair.a, ()), Agent(pair.b)
    time.sleep(1)
    before, times = floor(), []
    for _ in range(tries):
        made = json.loads(run("record", "add", "journal", "title=x", "--json", "--home", pair.a).stdout)
        while True:
            event = b.events.get(timeout=10)
            if event.get("record") == made["id"]:
                times.append((event["at_us"] - made["savedAt_us"]) / 1000)
                break
    after = floor()
    low = {name: max(before[name], after[name]) for name in before}
    p50, p99 = percentile(times, .5), percentile(times, .99)
    print(f"latency: {len(times)} changes, p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {max(times):.2f} ms; "
          f"floor p50 {low['p50']:.2f}, p99 {low['p99']:.2f} ms; ratio {p50 / low['p50']:.1f} / {p99 / low['p99']:.1f}")
    a.stop(), b.stop(), pair.remove()
    return p50 <= 8 and p99 <= 25 and p50 <= 5 * low["p50"]


def catch_up(tries):
    pair = Pair()
    spare = os.path.join(pair.folder, "b-before")
    shutil.copytree(pair.b, spare)
    print(run("bench", "fill", "--home", pair.a, "--count", "100000").stdout.strip())
    a = Agent(pair.a, ())
    while pair.status(pair.a)["sync"]["pending"] > 0:
        time.sleep(0.2)
    times, since, late, rounds = [], [], 0, 0
    while len(times) < tries and rounds < 60:
        rounds += 1
        shutil.rmtree(pair.b)
        shutil.copytree(spare, pair.b)
        b = Agent(pair.b, ("crisis",))
        while b.kinds.get("applied", 0) < 2000:
            time.sleep(0.002)
        while b.kinds.get("applied", 0) < 90000 and len(times) < tries:
            # Disk and relay are tried side by side: it may be shown there before it is saved here.
            began = time.time_ns() // 1000
            made = json.loads(run("crisis", "activate", "severe", "--json", "--home", pair.a).stdout)
            while True:
                event = b.events.get(timeout=20)
                if event["active"] and event["at_us"] >= began:
                    break
            if b.kinds.get("applied", 0) < 95000:
                times.append((event["at_us"] - made["savedAt_us"]) / 1000)
                since.append((event["at_us"] - began) / 1000)
            else:
                late += 1
            run("crisis", "resolve", "--yes", "--home", pair.a)
            while b.events.get(timeout=20)["active"]:
                pass
        b.kill()
    p99 = percentile(times, .99)
    print(f"catch-up: {len(times)} crises during a catch-up of 100,000, p50 {percentile(times, .5):.1f} ms, "
          f"p99 {p99:.1f} ms, max {max(times):.1f} ms after it was saved; p50 {percentile(since, .5):.1f} ms, "
          f"p99 {percentile(since, .99):.1f} ms after the command began ({late} more came after it was over)")
    a.stop(), pair.remove()
    return len(times) >= tries and p99 <= 100


class Writers:
    """People who write on both devices, one change at a time, and remember what was acknowledged."""
    def __init__(self, pair):
        self.acknowledged, self.failed, self.going = set(), 0, True
        self.threads = [threading.Thread(target=self.write, args=(home,)) for home in (pair.a, pair.b)]
        for thread in self.threads:
            thread.start()

    def write(self, home):
        while self.going:
            done = run("record", "add", "check-in", f"mood={random.randint(0, 10)}", "thoughts=acceptance", "--home", home, check=False)
            if done.returncode == 0:
                self.acknowledged.add(done.stdout.strip())
            else:
                self.failed += 1

    def stop(self):
        self.going = False
        for thread in self.threads:
            thread.join()


def verdict(name, pair, writers, extra):
    agreed = pair.settle()
    there = [pair.records(home) for home in (pair.a, pair.b)]
    lost = [len(writers.acknowledged - records) for records in there]
    healthy = all(run("doctor", "--home", home, check=False).returncode == 0 for home in (pair.a, pair.b))
    print(f"{name}: {extra}; {len(writers.acknowledged)} acknowledged, lost {lost}, refused {writers.failed}, "
          f"state hashes equal: {agreed}, doctor: {healthy}")
    return agreed and lost == [0, 0] and writers.failed == 0 and healthy


def kill(tries):
    pair = Pair()
    agents = [Agent(pair.a, ()), Agent(pair.b, ())]
    writers = Writers(pair)
    for _ in range(tries):
        time.sleep(random.uniform(0.01, 0.25))
        victim = random.choice(agents)
        victim.kill()
        victim.start()
    writers.stop()
    for agent in agents:
        agent.stop()
    held = verdict("kill", pair, writers, f"{tries} kills")
    pair.remove()
    return held


def relay(tries):
    pair = Pair()
    agents = [Agent(pair.a, ()), Agent(pair.b, ())]
    writers = Writers(pair)
    for turn in range(tries):
        time.sleep(random.uniform(0.05, 0.6))
        if turn % 2:
            os.rename(pair.path, f"{pair.path}-{turn}")
        else:
            files = [os.path.join(folder, name) for folder, _, names in os.walk(pair.path) for name in names if name.endswith(".log")]
            for path in random.sample(files, min(2, len(files))):
                try:
                    os.truncate(path, random.randint(0, os.path.getsize(path)))
                except OSError:
                    pass
    writers.stop()
    time.sleep(1)
    for agent in agents:
        agent.stop()
    held = verdict("relay", pair, writers, f"{tries} deletions and truncations")
    pair.remove()
    return held


def canary(_):
    word = "canaryheron"
    pair = Pair(f"{word}-laptop", f"{word}-phone")
    agents = [subprocess.Popen([PROGRAM, "agent", "--events", "--home", home], stdout=open(os.path.join(pair.folder, f"events-{name}"), "w"), stderr=subprocess.STDOUT)
              for name, home in (("a", pair.a), ("b", pair.b))]
    kinds = {"journal": ["title", "text", "tags"], "check-in": ["emotions", "body", "thoughts", "value", "intention", "breathing", "pleasant", "unpleasant", "need", "review", "gratitudes", "learning", "tension", "preparation"],
             "plan": ["warnings", "coping", "distractions", "people", "professionals", "surroundings", "reasons"], "contact": ["name", "phone"], "preference": ["name", "value"], "assessment": ["note"]}
    for kind, fields in kinds.items():
        for home in (pair.a, pair.b):
            run("record", "add", kind, *[f"{field}={word}" for field in fields], "--home", home)
    run("devices", "rename", f"{word}-phone", f"{word}-renamed", "--home", pair.a)
    run("crisis", "activate", "severe", "--home", pair.b)
    time.sleep(2)
    metrics = json.dumps(json.loads(run("status", "--json", "--home", pair.a).stdout)["guarantees"])
    for agent in agents:
        agent.terminate()
        agent.wait()
    found, modes = [], []
    for folder, folders, files in os.walk(pair.folder):
        for name in files + folders:
            path = os.path.join(folder, name)
            if word in name:
                found.append(path)
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            if any(path.startswith(home) for home in (pair.a, pair.b, pair.path)) and mode != (0o700 if name in folders else 0o600):
                modes.append(f"{path} {oct(mode)}")
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                if word.encode() in file.read():
                    found.append(os.path.join(folder, name))
    print(f"canary: found in {found or 'no file'}; in metrics: {word in metrics}; wrong modes: {modes or 'none'}")
    held = not found and word not in metrics and not modes and pair.settle()
    pair.remove()
    return held


def damage(tries):
    pair = Pair()
    for number in range(40):
        run("record", "add", "journal", f"title={number}", "--home", random.choice([pair.a, pair.b]))
    pair.settle()
    good = pair.status(pair.a)["stateHash"]
    agents = [Agent(pair.a, ()), Agent(pair.b, ())]
    time.sleep(1)
    changed = 0
    for turn in range(tries):
        files = [os.path.join(folder, name) for folder, _, names in os.walk(pair.path) for name in names if name.endswith(".log")]
        path = random.choice(files)
        with open(path, "r+b") as file:
            data = bytearray(file.read())
            if len(data) < 40:
                continue
            one, other = random.randrange(len(data)), random.randrange(len(data))
            if turn % 3 == 0:
                data[one] ^= 1 << random.randrange(8)
            elif turn % 3 == 1:
                data[one], data[other] = data[other], data[one]
            file.seek(0)
            file.write(data)
            if turn % 3 == 2:
                file.truncate(one)
        changed += 1
        time.sleep(0.03)
    time.sleep(1.5)
    for agent in agents:
        agent.stop()
    reports = {kind: sum(agent.kinds.get(kind, 0) for agent in agents) for kind in ("damaged", "healed", "forked")}
    agreed = pair.settle() and pair.status(pair.a)["stateHash"] == good
    print(f"damage: {changed} changes to relay files, reported {reports}, state unchanged on both: {agreed}")
    pair.remove()
    return agreed and reports["healed"] > 0


class Dashboard:
    """A dashboard under a pseudo-terminal of 120x40; tells when words are drawn."""
    def __init__(self, home):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm-256color", LANG="C.UTF-8", COLORTERM="truecolor")
            os.execv(PROGRAM, [PROGRAM, "dashboard", "--home", home])
        self.pid, self.seen, self.lock = pid, [], threading.Lock()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        tail = b""
        while True:
            try:
                data = os.read(self.terminal, 65536)
            except OSError:
                return
            now = time.monotonic()
            text = tail + data
            # The last line of the screen: once it is there, all of it is.
            if b"You will not be a burden" in text:
                with self.lock:
                    self.seen.append(now)
                text = b""
            tail = text[-64:]

    def press(self, key):
        at = time.monotonic()
        os.write(self.terminal, key)
        return at

    def drawn_after(self, moment, patience):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with self.lock:
                for at in self.seen:
                    if at >= moment:
                        return at
            time.sleep(0.0005)
        return None

    def quit(self):
        try:
            os.write(self.terminal, b"\x1b")
            time.sleep(0.05)
            os.write(self.terminal, b"q")
        except OSError:
            pass
        deadline = time.time() + 5
        while time.time() < deadline and os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            time.sleep(0.01)
        os.close(self.terminal)


def household(count):
    """A folder with so many homes of one account, joined to the first."""
    pair = Pair("one", "two")
    homes = [pair.a, pair.b]
    for number in range(2, count):
        home = os.path.join(pair.folder, f"h{number}")
        invite = subprocess.Popen([PROGRAM, "devices", "invite", "--yes", "--home", pair.a], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        code = invite.stdout.readline().strip()
        run("join", code, "--device", f"device {number}", "--yes", "--no-passphrase", "--home", home, "--relay", pair.relay)
        invite.wait()
        homes.append(home)
    return pair, homes


def raise_on(boards, tries, pause):
    """Raises and takes back; the milliseconds until each other dashboard has drawn it, and its own."""
    own, last, missed = [], [], 0
    for _ in range(tries):
        began = boards[0].press(b"!")
        times = [board.drawn_after(began, 5) for board in boards]
        if None in times:
            missed += 1
        else:
            own.append((times[0] - began) * 1000)
            last.append((max(times[1:]) - began) * 1000)
        time.sleep(pause)
        boards[0].press(b"u")
        time.sleep(pause)
    return own, last, missed


def report(name, own, last, missed, limit):
    print(f"{name}: {len(last)} crises, own screen p50 {percentile(own, .5):.1f} p99 {percentile(own, .99):.1f} ms; "
          f"all four others p50 {percentile(last, .5):.1f}, p99 {percentile(last, .99):.1f}, max {max(last):.1f} ms; missed {missed}")
    return missed == 0 and percentile(last, .99) <= limit


def screens(tries):
    pair, homes = household(5)
    boards = [Dashboard(home) for home in homes]
    time.sleep(3)
    own, last, missed = raise_on(boards, tries or 200, 0.15)
    for board in boards:
        board.quit()
    pair.remove()
    return report("screens", own, last, missed, 25)


def gone(tries):
    """The relay goes away; changes and a crisis are made; when it is back the crisis crosses first."""
    pair = Pair()
    a, b = Agent(pair.a, ()), Agent(pair.b, ("applied", "crisis"))
    away, first, slow = pair.path + "-away", 0, []
    normal = []
    time.sleep(1)
    for _ in range(tries):
        began = time.monotonic()
        run("crisis", "activate", "severe", "--home", pair.a)
        normal.append((time.monotonic() - began) * 1000)
        run("crisis", "resolve", "--yes", "--home", pair.a)
        pair.settle()
        os.rename(pair.path, away)
        while True:
            try:
                open(pair.path, "w").close()
                break
            except IsADirectoryError:  # an agent was faster and made it again
                shutil.rmtree(pair.path, ignore_errors=True)
        for _ in range(20):
            run("record", "add", "journal", "title=x", "--home", pair.a)
        began = time.monotonic()
        run("crisis", "activate", "severe", "--home", pair.a)
        slow.append((time.monotonic() - began) * 1000)
        while not b.events.empty():
            b.events.get()
        os.remove(pair.path)
        os.rename(away, pair.path)
        run("sync", "--home", pair.a, check=False)
        event = b.events.get(timeout=60)
        first += event["event"] == "crisis" or event.get("kind") == "crisis"
        run("crisis", "resolve", "--yes", "--home", pair.a)
        pair.settle()
    a.stop(), b.stop(), pair.remove()
    print(f"gone: activation with the relay p50 {percentile(normal, .5):.1f} ms, without it {percentile(slow, .5):.1f} ms "
          f"(whole process); the crisis came first {first} of {tries} times")
    return first == tries and percentile(slow, .5) <= 2 * percentile(normal, .5)


def busy(tries):
    pair, homes = household(5)
    spare = os.path.join(pair.folder, "late-before")
    shutil.copytree(homes[4], spare)
    print(run("bench", "fill", "--home", homes[0], "--count", "100000").stdout.strip())
    run("sync", "--home", homes[0])
    for home in homes[1:4]:
        run("sync", "--home", home)
    own, last, missed = [], [], 0
    while len(last) + missed < tries:
        shutil.rmtree(homes[4])
        shutil.copytree(spare, homes[4])
        boards = [Dashboard(home) for home in homes]
        writers = [subprocess.Popen([PROGRAM, "bench", "fill", "--home", home, "--count", "1000000", "--rate", "500"],
                                    stdout=subprocess.DEVNULL) for home in homes]
        time.sleep(1.5)
        one, other, none = raise_on(boards, min(25, tries - len(last) - missed), 0.2)
        own, last, missed = own + one, last + other, missed + none
        for writer in writers:
            writer.kill()
            writer.wait()
        for board in boards:
            board.quit()
    pair.remove()
    return report("busy", own, last, missed, 50)


def resolve(tries):
    pair = Pair()
    run("bench", "fill", "--conflicts", "--count", str(tries), "--home", pair.a)
    pair.settle()
    listed = json.loads(run("conflicts", "list", "--json", "--home", pair.b).stdout)["conflicts"]
    # Of some somebody else was asked, and has answered: the next exchange on either device settles them.
    asked = listed[::10]
    for conflict in asked:
        out = run("conflicts", "ask", conflict["record"], "title", "--who", "Dr. Weiss", "--as", "Kim", "--home", pair.a).stdout
        run("conflicts", "review", re.search(r"review ([0-9a-z-]+)", out).group(1), "--keep", "1", "--relay", pair.relay)
    names = {conflict["record"] for conflict in asked}
    finished, began = 0, time.time()
    run("status", "--home", pair.b)
    usual = time.time() - began
    for conflict in listed:
        # Mostly in the few milliseconds in which it opens, writes and sends; sometimes an exchange instead.
        words = ["sync"] if conflict["record"] in names or random.random() < 0.2 else ["conflicts", "resolve", conflict["record"], "title", random.choice("12")]
        victim = subprocess.Popen([PROGRAM, *words, "--home", random.choice((pair.a, pair.b))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.3, 1.8) * usual)
        victim.kill()
        finished += victim.wait() == 0
    settled = pair.settle()
    views = []
    for home in (pair.a, pair.b):
        still = json.loads(run("conflicts", "list", "--json", "--home", home).stdout)["conflicts"]
        records = json.loads(run("record", "list", "--json", "--limit", "100000", "--home", home).stdout)["records"]
        views.append((sorted(entry["record"] for entry in still), {entry["id"]: entry["fields"] for entry in records if entry["kind"] == "journal"}))
    whole = all("title" in fields for fields in views[0][1].values()) and len(views[0][1]) == tries
    waiting = len(names.intersection(views[0][0]))
    doctor = [run("doctor", "--home", home, check=False).returncode for home in (pair.a, pair.b)]
    pair.remove()
    print(f"resolve: {len(listed)} kills, {len(asked)} decided by others ({waiting} of them still open), {finished} had finished before; {tries - len(views[0][0])} resolved on both, {len(views[0][0])} open on both; "
          f"same views {views[0] == views[1]}, nothing missing {whole}, doctor {doctor}")
    return settled and views[0] == views[1] and whole and waiting == 0 and doctor == [0, 0]


RUNS = {"resolve": (resolve, 300), "latency": (latency, 1000), "catch-up": (catch_up, 100), "kill": (kill, 200), "relay": (relay, 40), "canary": (canary, 1), "damage": (damage, 300),
        "gone": (gone, 20), "screens": (screens, 200), "busy": (busy, 100)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*RUNS, "all"])
    parser.add_argument("--tries", type=int)
    options = parser.parse_args()
    held = True
    for name in RUNS if options.name == "all" else [options.name]:
        body, tries = RUNS[name]
        result = body(options.tries or tries)
        print(f"{name}: {'held' if result else 'DID NOT HOLD'}", flush=True)
        held = held and result
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
