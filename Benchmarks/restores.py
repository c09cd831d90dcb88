#!/usr/bin/env python3
"""Homes that were restored, cloned and shared by many processes: what was acknowledged has to be everywhere.

    restores.py restores [--cases N] [--seed S]   a home restored from earlier moments of a 200-step life (120 cases)
    restores.py clones   [--cases N]              one home on three machines, in turn and at once, crises included
    restores.py storm    [--for SECONDS]          one home: agent, dashboard, commands, sync, crises, kills, stops (60 s)
    restores.py many     [--cases N]              1,000 restores of one home: size of a presence, time of `status`
    restores.py cpu      [--for SECONDS]          full disks, full relays, clones, old copies: share of a core
    restores.py all

*Acknowledged* is what a command ended with 0 for. What no surviving file holds cannot be asked for: where the relay is
restored too, the union is what the homes held at that moment. Exit status 0 when everything held. The program:
FULLMIND, or the one that scripts/run builds.
"""
import argparse, fcntl, json, os, pty, random, re, shutil, signal, statistics, struct, subprocess, sys, tempfile, termios, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.abspath(os.environ.get("FULLMIND", os.path.join(HERE, "..", ".build-run", "release", "fullmind")))
FAULT = os.environ.get("FAULT_C", "/work/shared/tools/fault.c")
TRAPS = {-signal.SIGILL, -signal.SIGTRAP, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
PLAIN = {k: v for k, v in os.environ.items() if k not in ("FULLMIND_HOME", "LD_PRELOAD") and not k.startswith("FM_")}
now = time.monotonic


class Broken(Exception):
    """Something that has to hold and did not."""


def run(*words, good=True, patience=30, env=None):
    """One command; an end that is none of its own, or none at all, is a failure in itself."""
    try:
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, errors="replace", timeout=patience, env=env or PLAIN)
    except subprocess.TimeoutExpired:
        raise Broken(f"hangs: {' '.join(words[:2])} did not end within {patience} s")
    if done.returncode in TRAPS:
        raise Broken(f"trap: {' '.join(words[:2])}: {done.stderr[-300:]}")
    if good and done.returncode:
        raise Broken(f"{' '.join(words[:2])} ends with {done.returncode}: {done.stderr.strip()[:300]}")
    return done


class Account:
    """Homes beside one another in a folder, with one relay."""
    def __init__(self, homes="ab"):
        self.folder = tempfile.mkdtemp(prefix="fullmind-restores-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.agents, self.records, self.crises = {}, {}, 0
        run("init", "--device", "a", "--no-passphrase", "--relay", self.relay, "--home", self.path("a"))
        for name in homes[1:]:
            self.join(name)

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def relay(self):
        return "folder:" + self.path("relay")

    def join(self, name):
        inviter = subprocess.Popen([PROGRAM, "devices", "invite", "--yes", "--home", self.path("a")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=PLAIN)
        code = inviter.stdout.readline().strip()
        run("join", code, "--device", name, "--yes", "--no-passphrase", "--relay", self.relay, "--home", self.path(name))
        inviter.wait(20)
        for each in "a", name:
            self.sync(each)

    def on(self, name, *words, **rest):
        return run(*words, "--home", self.path(name), **rest)

    def add(self, name, title="x"):
        done = self.on(name, "record", "add", "journal", f"title={title}")
        self.records.setdefault(done.stdout.strip(), now())

    def sync(self, name, good=True):
        return self.on(name, "sync", good=good)

    def status(self, name):
        return json.loads(self.on(name, "status", "--json").stdout)

    def listed(self, name):
        return {r["id"] for r in json.loads(self.on(name, "record", "list", "--json", "--limit", "1000000").stdout)["records"]}

    def raised(self, name):
        return json.loads(self.on(name, "crisis", "history", "--json").stdout)["crises"]

    def agent(self, name, env=None):
        self.agents[name] = subprocess.Popen([PROGRAM, "agent", "--home", self.path(name)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env or PLAIN)
        return self.agents[name]

    def end_agents(self):
        for name, process in list(self.agents.items()):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Broken(f"the agent of {name} does not end at SIGTERM")
            if process.returncode in TRAPS:
                raise Broken(f"trap: the agent of {name}: {process.stderr.read()[-300:]}")
        self.agents = {}

    def keep(self, name, folder):
        subprocess.run(["cp", "-a", self.path(name), os.path.join(folder, name)], check=True)

    def bring(self, folder, name):
        # At once: a program that runs may be writing there, also while it is copied.
        subprocess.run(["cp", "-a", os.path.join(folder, name), self.path("coming")], check=True)
        if os.path.exists(self.path(name)):
            os.rename(self.path(name), self.path("gone"))
        os.rename(self.path("coming"), self.path(name))
        shutil.rmtree(self.path("gone"), ignore_errors=True)

    def remove(self):
        for process in self.agents.values():
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def settle(self, homes, wanted, what, rounds=6):
        """Until all say the same, and it is at least what is wanted; nobody misses anything."""
        for attempt in range(rounds):
            for name in homes:
                self.sync(name)
            states = {name: self.status(name) for name in homes}
            there = {name: self.listed(name) for name in homes}
            lost = {name: len(wanted - found) for name, found in there.items()}
            missing = {name: state["sync"]["missing"] for name, state in states.items()}
            if len({state["stateHash"] for state in states.values()}) == 1 and not any(lost.values()) and not any(missing.values()):
                return attempt + 1
        hashes = {name: state["stateHash"][:6] for name, state in states.items()}
        raise Broken(f"{what}: after {rounds} rounds lost {lost}, missing {missing}, hashes {hashes}")


# A life, and what is restored from it


class Life:
    """200 steps of two devices; the home of a, and the relay, are kept at every tenth."""
    def __init__(self, seed, moments=20, steps=200):
        chance = random.Random(seed)
        self.account, self.moments, self.crises = Account(), [], 0
        account, mine = self.account, []
        self.kept = account.path("kept")
        active = False
        for step in range(steps):
            if step % (steps // moments) == 0:
                folder = os.path.join(self.kept, str(step))
                os.makedirs(folder)
                account.keep("a", folder), account.keep("relay", folder)
                self.moments.append((step, folder, set(account.records)))
            name, what = chance.choice("aaab"), chance.random()
            if what < 0.5:
                account.add(name, f"s{step}")
                mine = list(account.records)
            elif what < 0.6 and mine:
                account.on(name, "record", "edit", chance.choice(mine), f"title=e{step}", good=False)
            elif what < 0.65:
                account.on(name, "crisis", "resolve" if active else "activate", *(["--yes"] if active else ["severe"]))
                active = not active
                self.crises += active
            else:
                account.sync(name)
        for name in "abab":
            account.sync(name)
        self.records, self.last = set(account.records), account.path("last")
        os.makedirs(self.last)
        for name in "a", "b", "relay":
            account.keep(name, self.last)

    def restore(self, moment, writes, agents, relay_too):
        """One case: a is as it was then, and so is the relay where that is restored too."""
        account, (step, folder, then) = self.account, moment
        account.records = dict.fromkeys(self.records)
        for name in "a", "b", "relay":
            account.bring(self.last, name)
        if agents:
            account.agent("b")
            time.sleep(0.4)
        account.bring(folder, "a")
        if relay_too:
            account.bring(folder, "relay")
        for number in range(writes):
            account.add("a", f"w{number}")
        if writes == 20:
            account.on("a", "crisis", "activate", "mild")
        if agents:
            account.agent("a")
            time.sleep(1.2)
            account.add("b", "meanwhile")
            time.sleep(0.5)
            account.end_agents()
        what = f"moment {step}, {writes} writes, agents {agents}, relay restored {relay_too}"
        rounds = account.settle("ab", set(account.records), what)
        crises = {name: len(account.raised(name)) for name in "ab"}
        if len(set(crises.values())) != 1 or crises["a"] < self.crises + (writes == 20):
            raise Broken(f"{what}: crises {crises}, raised {self.crises + (writes == 20)}")
        return rounds


def restores(options):
    cases = [(m, w, g, r) for m in range(20) for w in (0, 1, 20) for g in (False, True) for r in (False, True)]
    random.Random(options.seed).shuffle(cases)
    cases, failures, rounds = cases[:options.cases or 120], 0, []
    life = Life(options.seed)
    print(f"seed {options.seed}: a life of 200 steps, {len(life.records)} records, {life.crises} crises; {len(cases)} cases", flush=True)
    for moment, writes, agents, relay_too in cases:
        try:
            rounds.append(life.restore(life.moments[moment], writes, agents, relay_too))
        except Broken as broken:
            failures += 1
            print("FAIL", broken, flush=True)
            life.account.end_agents()
    life.account.remove()
    print(f"restores: {len(cases)} cases, {failures} failures; rounds of sync until all agree: most {max(rounds, default=0)}")
    return failures == 0


def clones(options):
    """A home copied to three machines."""
    failures, cases = 0, options.cases or 12
    for case in range(cases):
        chance, account = random.Random(case), Account()
        for _ in range(5):
            account.add("a")
        account.sync("a")
        machines = ["a", "a2", "a3"]
        for name in machines[1:]:
            subprocess.run(["cp", "-a", account.path("a"), account.path(name)], check=True)
        raised, at_once = 0, case % 2 == 1
        try:
            if at_once:
                for name in machines + ["b"]:
                    account.agent(name)
                time.sleep(0.5)
            for step in range(24):
                name = chance.choice(machines) if at_once else machines[step % 3]
                if step in (7, 15):
                    account.on(name, "crisis", "activate", "severe", "--json")
                    if step == 15:
                        account.on(chance.choice(machines), "crisis", "resolve", "--yes", good=False)
                    raised += 1
                else:
                    account.add(name, f"c{step}")
                if not at_once and chance.random() < 0.6:
                    account.sync(name)
            if at_once:
                time.sleep(2)
                account.end_agents()
            account.settle(machines + ["b"], set(account.records), f"clones {case}, at once {at_once}", 8)
            counts = {name: len(account.raised(name)) for name in machines + ["b"]}
            if len(set(counts.values())) != 1 or counts["b"] < 1:
                raise Broken(f"clones {case}: crises {counts}, raised {raised}")
        except Broken as broken:
            failures += 1
            print("FAIL", broken, flush=True)
        finally:
            account.remove()
    print(f"clones: {cases} cases on three machines, in turn and at once, {failures} failures")
    return failures == 0


# A storm


class Board:
    """A dashboard in a terminal of its own; what it draws is thrown away."""
    def __init__(self, home):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(PROGRAM, [PROGRAM, "--home", home])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass

    def end(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass
        end, status = now() + 5, 0
        while now() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise Broken(f"a dashboard does not end at signal {number}")
        os.close(self.fd)
        if os.WIFSIGNALED(status) and -os.WTERMSIG(status) in TRAPS:
            raise Broken(f"trap: a dashboard ended with signal {os.WTERMSIG(status)}")


def storm(options):
    account, failures, counts, lock = Account(), [], {}, threading.Lock()
    end = now() + options.seconds

    def count(name):
        with lock:
            counts[name] = counts.get(name, 0) + 1

    def repeat(act, seed):
        chance = random.Random(seed)
        while now() < end and not failures:
            try:
                act(chance)
            except Broken as broken:
                failures.append(str(broken))

    def write(chance):
        words = ["record", "add", "journal", "title=storm", "--home", account.path("a")]
        process = subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=PLAIN)
        if chance.random() < 0.2:
            time.sleep(chance.random() * 0.05)
            process.kill()
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Broken("hangs: record add did not end within 30 s")
        if process.returncode in TRAPS:
            raise Broken(f"trap: record add: {err[-300:]}")
        if process.returncode == 0:
            with lock:
                account.records[out.strip()] = now()
            count("acknowledged")
        elif process.returncode == -signal.SIGKILL:
            count("killed")
        else:
            count("refused")
            print("   refused:", err.strip().splitlines()[0][:120] if err else process.returncode, flush=True)

    def exchange(chance):
        done = account.sync("a", good=False)
        count("synced" if done.returncode == 0 else f"sync {done.returncode}")
        time.sleep(chance.random() * 0.3)

    def crisis(chance):
        done = account.on("a", "crisis", "activate", chance.choice(["mild", "severe"]), "--json", "--timeout", "5", good=False)
        if done.returncode:
            raise Broken(f"a crisis cannot be raised: {done.returncode} {done.stderr[:200]}")
        count("crises")
        time.sleep(chance.random())
        account.on("a", "crisis", "resolve", "--yes", "--timeout", "5", good=False)

    def processes(chance):
        agent = subprocess.Popen([PROGRAM, "agent", "--home", account.path("a")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=PLAIN)
        time.sleep(chance.random() * 2)
        if chance.random() < 0.4:
            agent.send_signal(signal.SIGSTOP)
            time.sleep(chance.random() * 4)
            agent.send_signal(signal.SIGCONT)
            count("stopped")
        agent.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGTERM]))
        try:
            agent.wait(8)
        except subprocess.TimeoutExpired:
            agent.kill()
            raise Broken("an agent does not end at SIGTERM")
        if agent.returncode in TRAPS:
            raise Broken(f"trap: the agent: {agent.stderr.read()[-300:]}")
        count("agents")

    def boards(chance):
        board = Board(account.path("a"))
        for key in (b"!", b"\x1b", b"s", b"\t", b"?"):
            time.sleep(chance.random() * 0.5)
            if key != b"!":
                os.write(board.fd, key)
        board.end(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]))
        count("dashboards")

    try:
        acts = [write, write, write, exchange, crisis, processes, processes, boards]
        threads = [threading.Thread(target=repeat, args=(act, number + options.seed)) for number, act in enumerate(acts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not failures:
            rounds = account.settle("ab", set(account.records), "storm", 4)
            levels = {name: json.loads(account.on(name, "crisis", "status", "--json").stdout).get("level") for name in "ab"}
            if len(set(levels.values())) != 1:
                raise Broken(f"the crisis is {levels}")
            leader = account.agent("a")
            time.sleep(1)
            state = account.status("a")["sync"]
            if not state.get("agentRunning", True):
                raise Broken("a new agent does not lead: a lock stayed behind")
            account.end_agents()
            checked = account.on("a", "doctor", "--json", good=False)
            counts["doctor"] = checked.returncode
            counts["rounds"] = rounds
    except Broken as broken:
        failures.append(str(broken))
    finally:
        account.remove()
    print(f"storm of {options.seconds:.0f} s: {json.dumps(counts)}; {len(account.records)} acknowledged, {'all everywhere' if not failures else 'FAIL ' + failures[0]}")
    return not failures


# A thousand restores


def timed(account, name, times=41):
    values = []
    for _ in range(times):
        began = now()
        account.on(name, "status", "--json")
        values.append((now() - began) * 1000)
    return statistics.median(values)


def many(options):
    cases = options.cases or 1000
    account, plain = Account(), Account()
    for _ in range(5):
        account.add("a"), plain.add("a")
    account.sync("a"), plain.sync("a")
    folder = account.path("kept")
    os.makedirs(folder)
    account.keep("a", folder)
    for case in range(cases):
        account.bring(folder, "a")
        account.add("a"), plain.add("a")
        account.sync("a"), plain.sync("a")
        if case % 100 == 99:
            account.sync("b"), plain.sync("b")
            print(f"   {case + 1}: {sizes(account)}", flush=True)
    rounds = account.settle("ab", set(account.records), f"{cases} restores", 8)
    plain.settle("ab", set(plain.records), "no restores", 8)
    own, other = [], []
    for _ in range(3):
        own.append(timed(account, "a")), other.append(timed(plain, "a"))
    ratio = statistics.median(own) / statistics.median(other)
    largest = sizes(account)
    print(f"many: {cases} restores, {len(account.records)} records everywhere after {rounds} rounds; {largest}; "
          f"status {statistics.median(own):.1f} ms, beside {statistics.median(other):.1f} ms of a home with as many records: {ratio:.2f} ×")
    account.remove(), plain.remove()
    return largest["presence"] <= 16384 and ratio <= 1.2


def sizes(account):
    """The largest presence, the bytes of the relay, and how many files it has."""
    presence, total, files = 0, 0, 0
    for folder, _, names in os.walk(account.path("relay")):
        for name in names:
            size = os.path.getsize(os.path.join(folder, name))
            total, files = total + size, files + 1
            if "presence" in folder or "presence" in name:
                presence = max(presence, size)
    return {"presence": presence, "relay": total, "files": files}


# What a process costs that cannot go on


def cpu_of(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu(options):
    library, worst = os.path.join(tempfile.gettempdir(), f"fault-{os.getpid()}.so"), 0
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, FAULT, "-ldl"], check=True)

    def fault(folder, how):
        return {**PLAIN, "LD_PRELOAD": library, "FM_DIR": folder, "FM_HOW": how, "FM_N": "1", "FM_STICKY": "1"}

    def disk(account): return [account.agent("a", fault(account.path("a"), "enospc"))]
    def relay(account): return [account.agent("a", fault(account.path("relay"), "enospc"))]
    def both(account): return [account.agent("a", fault(account.folder, "enospc"))]
    def broken(account): return [account.agent("a", fault(account.path("relay"), "eio"))]
    def gone(account):
        os.rename(account.path("relay"), account.path("away"))
        return [account.agent("a")]
    def emptied(account):
        shutil.rmtree(account.path("relay"))
        os.mkdir(account.path("relay"))
        return [account.agent("a")]
    def cloned(account):
        subprocess.run(["cp", "-a", account.path("a"), account.path("a2")], check=True)
        agents = [account.agent("a"), account.agent("a2"), account.agent("b")]
        time.sleep(0.5)
        account.add("a"), account.add("a2")
        return agents
    def old(account):
        folder = account.path("kept")
        os.makedirs(folder)
        account.keep("a", folder)
        for _ in range(3):
            account.add("a")
        account.sync("a")
        account.bring(folder, "a")
        account.add("a")
        return [account.agent("a"), account.agent("b")]
    def copied(account):
        """Put back under a running agent."""
        folder = account.path("kept")
        os.makedirs(folder)
        account.keep("a", folder)
        agent = account.agent("a")
        time.sleep(0.5)
        account.add("a")
        account.bring(folder, "a")
        return [agent]
    def deleted(account):
        agent = account.agent("a")
        time.sleep(0.5)
        shutil.rmtree(account.path("a"))
        return [agent]
    def idle(account): return [account.agent("a"), account.agent("b")]

    for make in (idle, disk, relay, both, broken, gone, emptied, cloned, old, copied, deleted):
        account = Account()
        account.add("a")
        agents = make(account)
        time.sleep(3)
        alive = [p for p in agents if p.poll() is None]
        began, before = now(), sum(cpu_of(p.pid) for p in alive)
        time.sleep(options.seconds)
        after = sum(cpu_of(p.pid) for p in alive if p.poll() is None)
        share = (after - before) / (now() - began) * 100 / max(1, len(alive))
        print(f"cpu: {make.__name__:<8} {share:.2f} % of a core for each of {len(alive)} agents ({len(agents) - len(alive)} had ended)", flush=True)
        worst = max(worst, share)
        account.remove()
    os.unlink(library)
    return worst <= 1


def main():
    modes = {"restores": restores, "clones": clones, "storm": storm, "many": many, "cpu": cpu}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=[*modes, "all"])
    parser.add_argument("--cases", type=int), parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--for", dest="seconds", type=float)
    options = parser.parse_args()
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"no program at {PROGRAM}: set FULLMIND")
    held = True
    for name in modes if options.mode == "all" else [options.mode]:
        chosen = argparse.Namespace(**vars(options))
        chosen.seconds = chosen.seconds or (20 if name == "cpu" else 60)
        held = modes[name](chosen) and held
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
