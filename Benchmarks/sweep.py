#!/usr/bin/env python3
"""Nth-call sweeps: every call that changes a file is killed at or fails, and the next run has to heal it.

    sweep.py [--action NAME]… [--for SECONDS]     all tries, or as many as fit; a second start goes on
    sweep.py --action X --side S --how H --n N    one try, told in full
    sweep.py --list                               actions, sides, and how many calls each makes
    sweep.py --report                             the table of what was done

A process runs with the library of `fault.c` before it (Nth call: kill, enospc, eio, eintr); then everything is run again
without faults, and this has to hold: no trap; an error has an exit status of sysexits and a code; what was confirmed is on
both devices, and what was said not to be is on neither; an account whose recovery code was never shown does not exist; whoever could not join can join, and only
devices that exist are counted (-anew: with another code at once, the first is never used again). kill and enospc at every call, eio and eintr at every fifth (--all: every), from an
offset that rotates with each start. --how also takes emfile, erofs, short, and full, dead, read-only: that call and all
later ones.

Exit status 0 when nothing failed. The program: FULLMIND, or --program. fault.c: FAULT_C, or --fault. It needs a C compiler.
"""
import argparse, fcntl, hashlib, json, os, re, shutil, signal, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("FULLMIND", os.path.join(HERE, "..", ".build-run", "release", "fullmind"))
FAULT = os.environ.get("FAULT_C", "/work/shared/tools/fault.c")
HOWS = ["kill", "enospc", "eio", "eintr"]
STICKY = {"full": "enospc", "dead": "eio", "read-only": "erofs"}  # that call and all later ones
SYSEXITS = set(range(64, 79))
TRAPS = {-signal.SIGILL, -signal.SIGTRAP, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, 132, 133, 134, 135, 136, 139}
PATIENCE = 20  # seconds for any one command

now = time.monotonic


class Broken(Exception):
    """An invariant that did not hold."""


class Done:
    def __init__(self, status, out, err, took):
        self.status, self.out, self.err, self.took = status, out, err, took

    def json(self):
        for line in reversed(self.out.splitlines()):
            try:
                found = json.loads(line)
                if isinstance(found, dict):
                    return found
            except ValueError:
                pass
        return {}

    @property
    def code(self):
        found = re.search(r"^ ?code: (\S+)", self.err, re.M)
        return found.group(1) if found else ""

    def __str__(self):
        return f"status {self.status}{' ' + self.code if self.code else ''}"


class Process:
    """A command under way; its output goes to files, so that nothing blocks it."""
    def __init__(self, words, env, scratch, name):
        self.outpath, self.errpath = os.path.join(scratch, name + ".out"), os.path.join(scratch, name + ".err")
        self.began, self.name = now(), name
        with open(self.outpath, "wb") as out, open(self.errpath, "wb") as err:
            self.p = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def out(self):
        return open(self.outpath, errors="replace").read()

    def err(self):
        return open(self.errpath, errors="replace").read()

    def ended(self, seconds=0):
        try:
            self.p.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def done(self):
        return Done(self.p.returncode, self.out(), self.err(), now() - self.began)

    def end(self, number=signal.SIGINT):
        if self.p.poll() is None:
            self.p.send_signal(number)
            if not self.ended(3):
                self.p.kill()
                self.p.wait()
        return self.done()


class Sweep:
    def __init__(self, options):
        self.program, self.verbose = os.path.abspath(options.program), options.n is not None
        self.base = options.base
        self.work, self.kept, self.scratch = (os.path.join(self.base, name) for name in ("w", "templates", "scratch"))
        for folder in (self.kept, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
        self.library = os.path.join(self.scratch, "fault.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.library, options.fault, "-ldl"], check=True)
        self.plain = {k: v for k, v in os.environ.items() if k not in ("FULLMIND_HOME", "LD_PRELOAD") and not k.startswith("FM_")}
        self.processes, self.facts, self.notes, self.number, self.outcome = [], {}, [], 0, ""

    # Running

    def path(self, name):
        return os.path.join(self.work, name)

    @property
    def relay(self):
        return "folder:" + self.path("relay")

    def say(self, *words):
        if self.verbose:
            print("   ", *words, flush=True)

    def start(self, *words, fault=None, clock=None):
        """fault: (how, n), and the file that tells the calls."""
        env, self.number = dict(self.plain), self.number + 1
        if fault:
            how, n = fault
            env.update(LD_PRELOAD=self.library, FM_DIR=self.work, FM_N=str(n), FM_HOW=STICKY.get(how, how), FM_COUNT=self.trace)
            if how in STICKY:
                env["FM_STICKY"] = "1"
        elif clock:
            env.update(LD_PRELOAD=self.library, FM_CLOCK=str(clock))
        process = Process([self.program, *words], env, self.scratch, str(self.number % 40))
        process.words = " ".join(words)
        self.processes.append(process)
        return process

    def finish(self, process, seconds=PATIENCE, faulted=False):
        if not process.ended(seconds):
            process.p.kill()
            process.p.wait()
            raise Broken(f"hangs: {process.words} did not end within {seconds} s")
        return self.judge(process, faulted)

    def judge(self, process, faulted=False):
        done = process.done()
        if faulted:
            self.outcome = str(done)
        self.say(f"{'FAULT ' if faulted else ''}{process.words.replace(self.work + '/', '')} -> {done}, {done.took:.2f} s", done.out.strip()[-300:] if len(done.out) < 600 else "", done.err.strip()[-300:])
        if done.status in TRAPS:
            raise Broken(f"trap: {process.words.split(' --')[0]} ended with {done.status}: {done.err.strip()[-200:]}")
        if done.status < 0 and done.status not in (-signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM):
            raise Broken(f"signal: {process.words.split(' --')[0]} ended with {done.status}")
        if done.status > 0:
            if done.status not in SYSEXITS:
                raise Broken(f"exit status {done.status} is none of sysexits")
            if not done.code:
                raise Broken(f"an error without a code, {done}: {done.err.strip()[-200:]}")
            if done.code == "internal.unexpected":
                self.notes.append(f"unexpected error: {done.err.strip().splitlines()[0][:160]}")
        return done

    def run(self, *words, fault=None, clock=None, seconds=PATIENCE):
        return self.finish(self.start(*words, fault=fault, clock=clock), seconds, fault is not None)

    def good(self, *words, why="the next run fails", **rest):
        done = self.run(*words, **rest)
        if done.status != 0:
            raise Broken(f"{why}: {' '.join(words[:2])} ends with {done}: {done.err.strip().splitlines()[0][:160] if done.err.strip() else ''}")
        return done

    def home(self, name):
        return "--home", self.path(name)

    def init(self, name="a", device="laptop", **rest):
        return self.run("init", "--device", device, "--no-passphrase", "--relay", self.relay, "--json", *self.home(name), **rest)

    def status(self, name):
        return self.good("status", "--json", *self.home(name)).json()

    def add(self, name, **rest):
        return self.run("record", "add", "journal", "title=x", *self.home(name), **rest)

    def records(self, name):
        return {r["id"] for r in self.good("record", "list", "--json", "--limit", "500", *self.home(name)).json()["records"]}

    def crisis(self, name):
        found = self.good("crisis", "status", "--json", *self.home(name)).json()
        return found["level"] if found["active"] else None

    def litter(self):
        found = []
        for folder, _, files in os.walk(self.work):
            found += [os.path.join(folder, f) for f in files if f.endswith(".new")]
            if re.search(r"\.new-\d", folder):
                found.append(folder)
        return found

    # Templates

    def template(self, name):
        if name not in self.facts:
            parent, make = self.TEMPLATES[name]
            facts = dict(self.template(parent)) if parent else {}
            if parent:
                self.bring(parent)
            else:
                shutil.rmtree(self.work, ignore_errors=True)
                os.makedirs(self.work)
            make(self, facts)
            shutil.rmtree(os.path.join(self.kept, name), ignore_errors=True)
            subprocess.run(["cp", "-a", self.work, os.path.join(self.kept, name)], check=True)
            self.facts[name] = facts
        return self.facts[name]

    def bring(self, name):
        facts = self.template(name)
        shutil.rmtree(self.work, ignore_errors=True)
        subprocess.run(["cp", "-a", os.path.join(self.kept, name), self.work], check=True)
        self.notes = []
        return facts

    def must(self, done):
        if done.status != 0:
            raise SystemExit(f"a template cannot be made: {done}: {done.err}")
        return done

    def make_one(self, facts):
        self.must(self.init())
        facts["records"] = {self.must(self.add("a")).out.strip()}
        facts["a"] = self.status("a")["device"]

    def make_two(self, facts):
        inviter, code = self.invite()
        self.must(self.finish(self.join(code)))
        self.must(self.finish(inviter))
        facts["b"] = self.status("b")["device"]
        facts["records"] = facts["records"] | {self.must(self.add("b")).out.strip()}
        for name in "aba":
            self.must(self.run("sync", *self.home(name)))

    def make_unsynced(self, facts):
        """a has what the relay has not; b has put something there."""
        more = {self.must(self.add("b")).out.strip() for _ in range(2)}
        os.rename(self.path("relay"), self.path("away"))
        more |= {self.must(self.add("a")).out.strip() for _ in range(2)}
        os.rename(self.path("away"), self.path("relay"))
        facts["records"] = facts["records"] | more

    def make_crisis(self, facts):
        self.must(self.run("crisis", "activate", "severe", "--json", *self.home("a")))
        for name in "aba":
            self.must(self.run("sync", *self.home(name)))

    def make_alert(self, facts):
        self.must(self.run("record", "add", "contact", "name=Ben", "phone=123", *self.home("a")))
        out = self.must(self.run("family", "invite", "Ben", "--as", "Maya", *self.home("a"))).out
        facts["link"] = re.search(r"family follow (\S+) --relay", out).group(1)
        for name in "aba":
            self.must(self.run("sync", *self.home(name)))

    def make_followed(self, facts):
        self.must(self.run("family", "follow", facts["link"], "--relay", self.relay, "--once", "--json", *self.home("c")))

    def make_told(self, facts):
        done = self.must(self.run("crisis", "activate", "severe", "--now", *self.home("a")))
        if "Ben: an alert lies at the link" not in done.out:
            raise SystemExit("a template cannot be made: " + done.out)

    def make_restored(self, facts):
        subprocess.run(["cp", "-a", self.path("a"), self.path("earlier")], check=True)
        facts["records"] = facts["records"] | {self.must(self.add("a")).out.strip() for _ in range(2)}
        for name in "ab":
            self.must(self.run("sync", *self.home(name)))
        shutil.rmtree(self.path("a"))
        os.rename(self.path("earlier"), self.path("a"))

    TEMPLATES = {
        "nothing": (None, lambda self, facts: None), "one": (None, make_one), "two": ("one", make_two), "unsynced": ("two", make_unsynced),
        "crisis": ("two", make_crisis), "alert": ("two", make_alert), "followed": ("alert", make_followed), "told": ("followed", make_told), "restored": ("two", make_restored),
    }

    # Pairing

    def invite(self, fault=None):
        """Until the code is there, or the process has ended."""
        process, end = self.start("devices", "invite", "--yes", *self.home("a"), fault=fault), now() + PATIENCE
        while now() < end:
            line = process.out().split("\n")
            if len(line) > 1:
                return process, line[0]
            if process.ended(0.02):
                line = process.out().split("\n")
                return process, line[0] if len(line) > 1 else None
        raise Broken("hangs: devices invite printed no code")

    def join(self, code, fault=None):
        return self.start("join", code, "--device", "phone", "--yes", "--no-passphrase", "--relay", self.relay, *self.home("b"), fault=fault)

    # What has to hold

    def exchange(self, names):
        """Everybody syncs; once more where that was not enough, and that is noted."""
        for round in range(3):
            failed = None
            for name in names:
                done = self.run("sync", *self.home(name))
                if done.status != 0:
                    failed = f"sync of {name} ends with {done}"
            if not failed:
                return
            self.notes.append(failed)
        raise Broken(f"the next run fails: {failed}, three times")

    def settle(self, records=(), absent=(), names="aba", either=()):
        """Both devices say the same, and it is everything that was confirmed."""
        self.exchange(names)
        for attempt in range(2):
            states = {name: self.status(name) for name in "ab"}
            if states["a"]["stateHash"] == states["b"]["stateHash"]:
                break
            if attempt:
                raise Broken("the state hashes differ after both have synced")
            self.notes.append("the state hashes were equal only after another round")
            self.exchange("ba")
        for name, state in states.items():
            sync = state["sync"]
            if sync["damagedFiles"] or sync["missing"] or sync["quarantined"]:
                raise Broken(f"{name} reports damage after healing: damagedFiles {sync['damagedFiles']}, missing {sync['missing']}, quarantined {sync['quarantined']}")
            if sync["others"] != 1 or len(state["devices"]) != 2:
                raise Broken(f"{name} counts others={sync['others']}, devices={len(state['devices'])} where there are two devices")
            if sync["pending"]:
                self.notes.append(f"{name} has {sync['pending']} pending after sync")
        there = {name: self.records(name) for name in "ab"}
        for name, found in there.items():
            if lost := set(records) - found:
                raise Broken(f"lost: {len(lost)} confirmed record(s) not on {name}")
        if there["a"] != there["b"]:
            raise Broken("the lists of records differ")
        return states, there

    def same_crisis(self):
        levels = {name: self.crisis(name) for name in "ab"}
        if levels["a"] != levels["b"]:
            raise Broken(f"the crisis is {levels['a']} on a and {levels['b']} on b after both have synced")
        return levels["a"]

    # Actions: each makes one try

    def try_init(self, side, fault):
        self.bring("nothing")
        done = self.init(fault=fault)
        code = '"recoveryCode"' in done.out and done.out.endswith("\n")
        state = self.status("a")
        exists = state.get("store") != "none"
        if done.status == 0 and not (code and exists):
            raise Broken(f"init said it is done: code shown {code}, store {exists}")
        if exists and not code:
            raise Broken("there is an account whose recovery code was never shown")
        said = done.err.strip().split("\n")[0][-90:] if done.status > 0 and exists else ""
        if not exists:
            again = self.init()
            if again.status != 0:
                raise Broken(f"init again ends with {again}: {again.err.strip().splitlines()[0][:160]}")
            left = [n for n in os.listdir(self.work) if ".new-" in n]
            if left:
                raise Broken(f"init again leaves {left}")
        record = self.good("record", "add", "journal", "title=y", *self.home("a")).out.strip()
        self.exchange("a")
        if record not in self.records("a"):
            raise Broken("lost: the record written after init")
        if self.status("a")["sync"]["acceptedByRelay"] != 1:
            raise Broken("the relay has not taken what was written after init")
        raised = self.good("crisis", "activate", "mild", "--json", *self.home("a")).json()
        if not raised["atRelay"] or self.crisis("a") != "mild":
            raise Broken("a crisis cannot be raised after init")
        if re.search("Nothing was (changed|made)|No account", said):
            raise Broken(f"contradiction: init ended with {done}, said “{said}”, and the account is there")

    def paired(self):
        return os.path.exists(self.path("b/store.db")) and self.status("b").get("store") != "none"

    def try_invite(self, side, fault):
        facts = self.bring("one")
        inviter, code = self.invite(fault)
        joiner = self.join(code) if code else None
        self.finish(inviter, 30, True)
        if joiner and side == "inviter-anew":
            joiner.ended(0.3)
            joiner.end()
        elif joiner:
            self.wait_for(joiner, inviter)
        self.pair_again(facts, code, inviter, joiner)

    def wait_for(self, joiner, inviter):
        """The joiner, when the inviting process has ended."""
        if joiner.ended(1.0 if "Admitted" in inviter.err() else 0.4):
            return
        self.run("sync", *self.home("a"))
        if joiner.ended(0.6):
            self.notes.append("a sync of the inviter finished it")
            return
        agent = self.start("agent", *self.home("a"))
        if joiner.ended(3 if self.admitted() else 0.5):
            self.notes.append("an agent of the inviter finished it")
        agent.end(signal.SIGTERM)

    def admitted(self):
        return len(self.status("a")["devices"]) > 1

    def try_join(self, side, fault):
        facts, contradiction = self.bring("one"), ""
        inviter, code = self.invite()
        joiner = self.join(code, fault)
        first = self.finish(joiner, 30, True)
        if side == "joiner-anew" and first.status != 0:
            inviter.end()
        elif first.status != 0 or not self.paired():
            if first.status == 0:
                raise Broken("join said that it belongs to the account, and there is no store")
            joined = os.path.exists(self.path("b/store.db"))
            again = self.join(code)
            if not again.ended(4):
                self.notes.append(f"the same code does not work again: it waits (first {first}, joined {joined})")
                again.end()
            else:
                result = self.judge(again)
                if joined and result.code == "storage.store-exists":
                    self.notes.append("it belonged to the account already")
                    if first.status > 0 and re.search("Nothing was changed|No device was added", first.err):
                        contradiction = f"contradiction: join ended with {first}, said “{first.err.strip().splitlines()[-3][-90:]}”, and it belongs to the account"
                elif result.status != 0:
                    self.notes.append(f"the same code ends with {result} (first {first})")
            joiner = again
        if not inviter.ended(2):
            if self.paired():
                self.run("sync", *self.home("b"))
            if not inviter.ended(3):
                self.notes.append("the inviter goes on waiting")
                inviter.end()
        self.pair_again(facts, code, inviter, joiner)
        if contradiction:
            raise Broken(contradiction)

    def pair_again(self, facts, code, inviter, joiner):
        """Whatever came of it: in the end there are two devices, and nobody else."""
        said = {"inviter": inviter.end(), "joiner": joiner.end() if joiner else None}
        if said["joiner"] and said["joiner"].status == 0 and not self.paired():
            raise Broken("join said that it belongs to the account, and there is no store")
        if "and was heard of" in said["inviter"].err and not self.paired():
            raise Broken("invite said that the new device was heard of, and it has no store")
        if not self.paired():
            for attempt in (1, 2):
                again, code = self.invite()
                if not code:
                    raise Broken(f"invite again ends with {self.judge(again)}")
                other = self.join(code)
                if not other.ended(8):
                    state = f"inviter {'waits' if again.p.poll() is None else again.done()}, joiner waits: {other.err()[-100:]!r}"
                    again.end()
                    other.end()
                    raise Broken(f"joining anew with a new code hangs: {state}")
                second = self.judge(other)
                if second.status == 0:
                    if not again.ended(5):
                        again.end()
                        raise Broken("the new device joined, and invite has not heard of it within 5 s")
                    break
                again.end()
                self.notes.append(f"joining anew ends with {second}")
                if attempt == 2:
                    raise Broken(f"joining anew with a new code ends with {second}: {second.err.strip().splitlines()[0][:160]}")
        self.exchange("aba")
        states = {name: self.status(name) for name in "ab"}
        mine, theirs = states["a"]["device"], states["b"]["device"]
        def ghosts():
            return {n: [f"{d['name']}(heardOf={d['heardOf']})" for d in s["devices"] if d["id"] not in (mine, theirs)] for n, s in states.items()}
        if any(ghosts().values()):
            before = ghosts()
            agent = self.start("agent", *self.home("a"))
            time.sleep(3)
            agent.end(signal.SIGTERM)
            self.exchange("aba")
            states = {name: self.status(name) for name in "ab"}
            if any(ghosts().values()):
                raise Broken(f"ghost: a device that does not exist stays in the account: {ghosts()}; others: a={states['a']['sync']['others']} b={states['b']['sync']['others']}")
            self.notes.append(f"a ghost was there until an agent ran: {before}")
        for name, state in states.items():
            ids = {d["id"] for d in state["devices"]}
            if ids != {mine, theirs}:
                raise Broken(f"{name} does not know {'b' if theirs not in ids else 'a'}")
        record = self.good("record", "add", "journal", "title=y", *self.home("b")).out.strip()
        self.settle(facts["records"] | {record}, names="ba")

    def try_add(self, side, fault):
        facts = self.bring("two")
        name, records = side[0], facts["records"]
        if side.endswith("warm"):
            records = records | {self.good("record", "add", "journal", "title=w", *self.home(name)).out.strip()}
        self.confirm_add(name, records, fault)

    def confirm_add(self, name, records, fault):
        done = self.add(name, fault=fault)
        if done.status == 0:
            records = records | {done.out.strip()}
        after = self.good("record", "add", "journal", "title=z", *self.home(name)).out.strip()
        _, there = self.settle(records | {after}, names="aba" if name == "a" else "bab")
        if done.status > 0 and re.search("not saved|Nothing was (changed|saved)", done.err) and len(there["a"] - records - {after}):
            raise Broken(f"contradiction: it said “{done.err.strip().splitlines()[0][:80]}” and the record is there")

    def try_sync(self, side, fault):
        facts = self.bring("unsynced")
        name = "a" if side == "sender" else "b"
        if side == "receiver":
            self.good("sync", *self.home("a"))
        done = self.run("sync", "--json", *self.home(name), fault=fault)
        if done.status == 0 and side == "sender":
            # What it says is at the relay the other device gets without this one.
            if (said := done.json()).get("pending") == 0:
                self.exchange("b")
                if lost := facts["records"] - self.records("b"):
                    raise Broken(f"sync said pending 0, acceptedByRelay {said.get('acceptedByRelay')}, and {len(lost)} records are not at the relay")
        self.settle(facts["records"], names="aba" if name == "a" else "bab")

    def try_activate(self, side, fault):
        facts = self.bring("two")
        other = "b" if side == "a" else "a"
        done = self.run("crisis", "activate", "severe", "--json", "--timeout", "3", *self.home(side), fault=fault)
        said = done.json() if done.status == 0 else {}
        if done.status == 0 and not (said.get("active") and (said.get("atRelay") or said.get("savedAt_us"))):
            raise Broken(f"activate ends with 0 and says {said}")
        if said.get("atRelay"):
            self.exchange(other)
            if self.crisis(other) != "severe":
                raise Broken("activate said atRelay, and the other device does not see it after its sync")
        if said.get("savedAt_us"):
            if self.crisis(side) != "severe":
                raise Broken("activate said savedAt_us, and the next run on the device does not know it")
        self.settle(facts["records"], names=side + other + side)
        level = self.same_crisis()
        if done.status == 0 and level != "severe":
            raise Broken(f"lost: the crisis was confirmed ({said.get('word')}) and is {level} on both")
        if level:
            self.history_is(1)
        again = self.good("crisis", "resolve", "--yes", "--json", *self.home(side))
        self.exchange(side + other)
        if self.same_crisis():
            raise Broken(f"the crisis cannot be resolved: resolve ended with {again}, and it is active")

    def history_is(self, count):
        for name in "ab":
            found = self.good("crisis", "history", "--json", *self.home(name)).json()["crises"]
            if len(found) != count:
                raise Broken(f"{name} lists {len(found)} crises, not {count}")

    def try_resolve(self, side, fault):
        facts = self.bring("crisis")
        other = "b" if side == "a" else "a"
        done = self.run("crisis", "resolve", "--yes", "--json", *self.home(side), fault=fault)
        said = done.json() if done.status == 0 else {}
        if done.status == 0 and not said:
            self.notes.append(f"resolve --json said in words: {done.out.strip()[:120]}")
        if done.status == 0 and said.get("active") is not False:
            here = self.crisis(side)
            raise Broken(f"resolve ends with 0, says {done.out.strip()[:120]!r}; the crisis is {here}")
        if said.get("atRelay"):
            self.exchange(other)
            if self.crisis(other):
                raise Broken("resolve said atRelay, and the other device has the crisis after its sync")
        self.settle(facts["records"], names=side + other + side)
        level = self.same_crisis()
        if done.status == 0 and level:
            raise Broken(f"lost: it was said to be resolved, and is {level} on both")
        if done.status > 0 and not level and "Nothing was changed" in done.err:
            raise Broken(f"contradiction: resolve ended with {done}, said that nothing was changed, and it is resolved on both")
        if level:
            self.good("crisis", "resolve", "--yes", "--json", *self.home(side))
            self.exchange(side + other)
            if self.same_crisis():
                raise Broken("resolving again does not resolve it")

    def follow(self, *words, **rest):
        done = self.run("family", "follow", *words, "--once", "--json", *self.home("c"), **rest)
        return done, sum('"event":"alert"' in line for line in done.out.splitlines())

    def try_alert(self, side, fault):
        if side == "raiser":
            facts = self.bring("followed")
            done = self.run("crisis", "activate", "severe", "--now", "--timeout", "3", *self.home("a"), fault=fault)
            _, heard = self.follow()
            if "Ben: an alert lies" in done.out and heard != 1:
                raise Broken(f"activate said that an alert lies at the link, and Ben hears {heard} alerts")
            if done.status == 0 and not heard and "not told yet" not in done.out and "are told by" not in done.out:
                self.notes.append(f"nobody told, and said: {done.out.strip().splitlines()[-1][:100]}")
            if self.crisis("a"):
                if not heard:
                    # The ten seconds count from when a program that exchanges has first seen it.
                    agent = self.start("agent", *self.home("a"))
                    time.sleep(0.5)
                    agent.end(signal.SIGTERM)
                    agent, end = self.start("agent", *self.home("a"), clock=20), now() + 6
                    while not heard and now() < end:
                        time.sleep(0.3)
                        heard += self.follow()[1]
                    agent.end(signal.SIGTERM)
                    if not heard:
                        raise Broken("a severe crisis is active, and an agent does not tell the contact within 6 s (clock +20 s)")
                    self.notes.append("an agent told the contact")
                agent = self.start("agent", *self.home("a"), clock=40)
                time.sleep(0.4)
                agent.end(signal.SIGTERM)
                heard += self.follow()[1]
                if heard != 1:
                    raise Broken(f"the contact hears of one crisis {heard} times")
            elif heard:
                raise Broken("the contact hears of a crisis that the device does not know")
            elif done.status == 0:
                raise Broken("lost: the crisis was confirmed, and the next run does not know it")
            self.settle(facts["records"])
            self.same_crisis()
        elif side == "follower":
            self.bring("told")
            done, heard = self.follow(fault=fault)
            again, more = self.follow()
            if again.status != 0:
                raise Broken(f"following again ends with {again}")
            if heard + more < 1:
                raise Broken("lost: the contact is never told")
            if done.status == 0 and heard and more:
                self.notes.append("the alert was told twice although the first run ended well")
            if self.follow()[1]:
                raise Broken("the alert is told again and again")
        elif side == "first":
            facts = self.bring("alert")
            done, _ = self.follow(facts["link"], "--relay", self.relay, fault=fault)
            if done.status == 0 and self.follow()[0].status != 0:
                raise Broken("following a link ended with 0, and it is not followed")
            again, _ = self.follow(facts["link"], "--relay", self.relay)
            if again.status != 0:
                raise Broken(f"following the link again ends with {again}")
            self.good("crisis", "activate", "severe", "--now", *self.home("a"))
            if self.follow()[1] != 1:
                raise Broken("the contact does not hear the alert")
        else:  # invite: the contact is invited
            facts = self.bring("two")
            self.good("record", "add", "contact", "name=Ben", "phone=123", *self.home("a"))
            words = ["family", "invite", "Ben", "--as", "Maya", *self.home("a")]
            done = self.run(*words, fault=fault)
            link = re.search(r"family follow (\S+) --relay", done.out)
            if done.status == 0 and not link:
                raise Broken("family invite ended with 0 and printed no link")
            if not link:
                link = re.search(r"family follow (\S+) --relay", self.good(*words).out)
            first, _ = self.follow(link.group(1), "--relay", self.relay)
            if first.status != 0:
                raise Broken(f"the link that was printed cannot be followed: {first}")
            self.good("crisis", "activate", "severe", "--now", *self.home("a"))
            if self.follow()[1] != 1:
                raise Broken("the contact with the link that was printed does not hear the alert")
            self.settle(facts["records"])

    def try_restored(self, side, fault):
        facts = self.bring("restored")
        records = facts["records"]
        if side == "write":
            return self.confirm_add("a", records, fault)
        records = records | {self.good("record", "add", "journal", "title=z", *self.home("a")).out.strip()}
        if side == "sync":
            self.run("sync", *self.home("a"), fault=fault)
        else:
            self.good("sync", *self.home("a"))
            self.run("sync", *self.home("b"), fault=fault)
        self.settle(records)

    ACTIONS = {
        "init": ["founder"], "invite": ["inviter", "inviter-anew"], "join": ["joiner", "joiner-anew"], "add": ["a", "b", "a-warm"], "sync": ["sender", "receiver"],
        "activate": ["a", "b"], "resolve": ["a", "b"], "alert": ["raiser", "follower", "first", "invite"], "restored": ["write", "sync", "other"],
    }

    # One try

    def attempt(self, action, side, how, n):
        self.trace = os.path.join(self.scratch, "calls")
        if os.path.exists(self.trace):
            os.unlink(self.trace)
        began, what, self.outcome = now(), "", ""
        try:
            getattr(self, "try_" + action)(side, (how, n))
        except Broken as broken:
            what = str(broken)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, OSError) as error:
            what = f"the harness cannot read an answer: {error!r}"
        for process in self.processes:
            if process.p.poll() is None:
                process.p.kill()
                process.p.wait()
            if process.p.returncode in TRAPS and not what:
                what = f"trap: {process.words.split(' --')[0]} ended with {process.p.returncode}: {process.err().strip()[-200:]}"
        self.processes = []
        calls = open(self.trace, errors="replace").read().splitlines() if os.path.exists(self.trace) else []
        call = next((line.split(" ", 1)[1] for line in calls if line.startswith(f"{n} ")), "")
        kinds = [re.sub(r"\d+-\d+", "", line.split(" ", 1)[1]) for line in calls if " " in line]
        edges = [i + 1 for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind or kinds[i + 1:i + 2] != [kind]]
        litter = len(self.litter())
        call = re.sub(r"[0-9a-f]{32}", "…", call.replace(self.work + "/", "").replace(self.work, "."))
        if n == 0:
            return {"calls": len(calls), "edges": edges, "what": what, "notes": self.notes}
        return {"calls": len(calls), "call": call, "reached": bool(call), "what": what, "ended": self.outcome, "notes": self.notes, "litter": litter, "took": round(now() - began, 2)}


# The order of tries, the file of progress, the table


def spread(numbers, edges):
    """An order in which any beginning covers the whole range evenly; where a run of equal calls begins and ends comes first."""
    first = [n for n in numbers if n in edges]
    return spread_evenly(first) + spread_evenly([n for n in numbers if n not in edges])


def spread_evenly(numbers):
    width = max(1, (len(numbers) - 1).bit_length())
    order = sorted(range(len(numbers)), key=lambda i: int(format(i, f"0{width}b")[::-1], 2))
    return [numbers[i] for i in order]


class Progress:
    def __init__(self, path, build):
        self.path, self.build, self.done, self.counts, self.edges, self.starts = path, build, {}, {}, {}, 0
        if os.path.exists(path):
            for line in open(path):
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("build") == build:
                    self.take(entry)

    def take(self, entry):
        if "start" in entry:
            self.starts += 1
        elif entry.get("n") == 0:
            place = entry["action"], entry["side"]
            self.counts[place], self.edges[place] = entry["calls"], set(entry["edges"])
        else:
            self.done[entry["action"], entry["side"], entry["how"], entry["n"]] = entry

    def put(self, entry):
        entry["build"] = self.build
        self.take(entry)
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")


def report(progress, chosen, program):
    print(f"\n{'action':<10}{'side':<14}{'fault':<8}{'calls':>6}{'tries':>7}{'failures':>10}")
    failures, notes = [], {}
    for action, side in chosen:
        for how in HOWS + sorted({k[2] for k in progress.done} - set(HOWS)):
            tries = [e for k, e in progress.done.items() if k[:3] == (action, side, how)]
            reached = [e for e in tries if e["reached"]]
            bad = [e for e in tries if e["what"]]
            if tries:
                print(f"{action:<10}{side:<14}{how:<8}{progress.counts.get((action, side), 0):>6}{len(reached):>7}{len(bad):>10}")
            failures += bad
            for entry in tries:
                for note in entry["notes"]:
                    notes.setdefault((action, side, how, note), []).append(entry["n"])
    print(f"\n{len(progress.done)} tries, {len(failures)} failures")
    for e in sorted(failures, key=lambda e: (e["action"], e["side"], e["how"], e["n"])):
        print(f"FAIL {e['action']}/{e['side']} {e['how']} {e['n']} at {e['call'] or '(not reached)'}: {e['what']}\n     sweep.py --action {e['action']} --side {e['side']} --how {e['how']} --n {e['n']}")
    if notes:
        print("\nnotes (no failures):")
        for (action, side, how, note), numbers in sorted(notes.items()):
            print(f"  {action}/{side} {how} ×{len(numbers)} (first at {min(numbers)}): {note}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--action", action="append", choices=list(Sweep.ACTIONS))
    parser.add_argument("--side"), parser.add_argument("--how", choices=HOWS + ["emfile", "erofs", "short", *STICKY]), parser.add_argument("--n", type=int)
    parser.add_argument("--for", dest="seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--all", action="store_true", help="eio and eintr at every call too")
    parser.add_argument("--offset", type=int, help="the first call for eio and eintr, 1 to 5")
    parser.add_argument("--program", default=PROGRAM), parser.add_argument("--fault", default=FAULT)
    parser.add_argument("--base", help="a folder for the homes, on a file system in memory"), parser.add_argument("--progress", help="the file of what was done")
    parser.add_argument("--again", action="store_true", help="begin anew"), parser.add_argument("--report", action="store_true"), parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    options.progress = options.progress or os.path.join(tempfile.gettempdir(), f"fullmind-sweep-{os.getuid()}.jsonl")
    if not os.access(options.program, os.X_OK):
        sys.exit(f"no program at {options.program}: set FULLMIND, or --program")
    build = hashlib.sha256(open(options.program, "rb").read()).hexdigest()[:12]
    if options.again and os.path.exists(options.progress):
        os.unlink(options.progress)
    progress = Progress(options.progress, build)
    chosen = [(a, s) for a, sides in Sweep.ACTIONS.items() for s in sides if (not options.action or a in options.action) and (not options.side or s == options.side)]
    if not chosen:
        sys.exit("there is no such side")
    if options.report:
        sys.exit(1 if report(progress, chosen, build) else 0)
    own = options.base is None
    if own:
        options.base = tempfile.mkdtemp(prefix="fullmind-sweep-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.makedirs(options.base, exist_ok=True)
    lock = os.open(options.base, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"another sweep works in {options.base}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    failed = False
    try:
        sweep = Sweep(options)
        if options.n is not None:
            for action, side in chosen:
                entry = sweep.attempt(action, side, options.how or "kill", options.n)
                print(json.dumps(entry, indent=1, ensure_ascii=False))
                failed = failed or bool(entry["what"])
            sys.exit(1 if failed else 0)
        begin, queues = now(), []
        offset = options.offset or progress.starts % 5 + 1
        progress.put({"start": time.time(), "offset": offset})
        print(f"build {build}, offset {offset} for eio and eintr, progress in {options.progress}", flush=True)
        for action, side in chosen:
            if (action, side) not in progress.counts:
                entry = sweep.attempt(action, side, "kill", 0)
                if entry["what"]:
                    print(f"FAIL {action}/{side} without any fault: {entry['what']}", flush=True)
                    failed = True
                    continue
                progress.put({"action": action, "side": side, "how": "", "n": 0, **entry})
            count = progress.counts[action, side]
            if options.list:
                print(f"{action:<10}{side:<14}{count:>5} calls")
                continue
            for how in HOWS if not options.how else [options.how]:
                numbers = list(range(1, count + 1)) if options.all or how not in ("eio", "eintr") else list(range(offset, count + 1, 5))
                queue = [(action, side, how, n) for n in spread(numbers, progress.edges[action, side]) if (action, side, how, n) not in progress.done]
                queues.append(queue)
        # Some of each in turn, so that any beginning is a sample of everything.
        while any(queues) and (not options.seconds or now() - begin < options.seconds):
            for queue in queues:
                if queue and (not options.seconds or now() - begin < options.seconds):
                    action, side, how, n = queue.pop(0)
                    entry = sweep.attempt(action, side, how, n)
                    progress.put({"action": action, "side": side, "how": how, "n": n, **entry})
                    if entry["what"]:
                        print(f"FAIL {action}/{side} {how} {n} at {entry['call']}: {entry['what']}", flush=True)
        if not options.list:
            failed = bool(report(progress, chosen, build)) or failed
    finally:
        for name in ("w", "templates", "scratch"):
            shutil.rmtree(os.path.join(options.base, name), ignore_errors=True)
        if own:
            shutil.rmtree(options.base, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
