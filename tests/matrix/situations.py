"""The situations, one for each column. Each runs in a new directory, unguarded and guarded."""

import dataclasses
import json
import os
import re
import subprocess
import threading
import time

import kernel
from server import (EVENT_TIMEOUT, Failed, Place, error_message, lock_file_of, shorten,
                    socket_path_of, tidy, wait_until)

COLUMNS = ("second start", "client during it", "restart after kill -9", "left after a clean stop",
           "reload or upgrade")
REFUSED = -2  # the rank of a situation in which the guard refused a call by mistake


@dataclasses.dataclass
class Cell:
    """The result of one situation. A higher rank is better for the users of the server."""

    text: str
    rank: int = 1
    left: tuple = ()  # the remaining files, except lock files beside their sockets
    theft: bool = False
    failed: bool = False  # the situation could not be set up


class Poller(threading.Thread):
    """A client that keeps sending requests, each on a new connection."""

    def __init__(self, place, pin=None):
        super().__init__(daemon=True)
        self._place, self._pin = place, pin
        self.asked = self.by_another = 0
        self.failures = []
        self._done = threading.Event()
        self.start()

    def run(self):
        while not (self._done.is_set() or self._place.removed.is_set()):
            self.asked += 1
            try:
                self._place.ask()
                if self._pin and not self._pin.still_there():
                    self.by_another += 1
            except Exception as failure:  # pylint: disable=broad-except
                self.failures.append(f"{type(failure).__name__}: {failure}")
            time.sleep(0.005)

    def wait_more(self, times):
        """Waits for that many more requests."""
        start = self.asked
        wait_until(lambda: self.asked > start + times, "a client's requests")

    def stop(self):
        """Ends the client after its current request."""
        self._done.set()
        self.join()


class Run:
    """Runs one server, guarded or not, in each situation and returns the results."""

    def __init__(self, server, library):
        self.server, self.library = server, library
        self.not_guardable = None  # the reason, once it is known
        self.without = set()  # names of processes that hold the socket without the library
        self.preloads = server.by == "preload"

    def cells(self, progress=lambda text: None):
        """Returns the cells of all columns, in order."""
        second, during = self._run_situation(self.second_start, 2)
        progress("second start: " + second.text)
        cells = [second, during]
        for situation in self.restart, self.clean_stop, self.reload:
            cell, = self._run_situation(situation, 1)
            progress(f"{COLUMNS[len(cells)]}: {cell.text}")
            cells.append(cell)
        return cells

    def cell(self, column):
        """Returns the cell of one column."""
        situation = (self.second_start, self.second_start, self.restart, self.clean_stop,
                     self.reload)[column]
        cells = self._run_situation(situation, 1)
        return cells[-1] if column else cells[0]

    def _run_situation(self, situation, count, settings=None):
        """Returns the situation's cells. If it fails, returns that many cells with the reason."""
        place = Place(self.server, self.library, settings)
        try:
            return situation(place)
        except (Failed, OSError, ValueError) as failure:
            text = str(failure) if isinstance(failure, Failed) else repr(failure)
            text = "failed: " + shorten(tidy(text, place.dir), width=200)
            return [Cell(text, 0, failed=True)] * count
        finally:
            place.remove()

    def _first(self, place):
        first = place.instance("first")
        self.took = first.wait_serving()
        if self.library:
            self._check_guarded(place)
        return first

    def _check_guarded(self, place):
        """Checks that the holders of the socket have the library or a supervisor, and that the lock
        file is beside the socket. Otherwise sets not_guardable."""
        began = time.monotonic()
        while True:
            pids, without = self._holders(place)
            if pids and not without:
                break
            # A holder may not have loaded the library yet, or may be about to bind the path again.
            patience = EVENT_TIMEOUT if len(without) == len(pids) and self.server.guardable else 3
            if time.monotonic() - began > patience:
                break
            time.sleep(0.1)
        if not pids:
            raise Failed("no process holds the socket")
        if len(without) == len(pids):
            self.not_guardable = kernel.why_not_mapped(pids[0]) if self.preloads else \
                f"{kernel.comm(pids[0])}: {self._checked([pids[0]])[0][1]}"
            return
        self.without |= {kernel.comm(pid) for pid in without}
        if not os.path.isfile(lock_file_of(place.socket)):
            self.not_guardable = (f"{kernel.comm(pids[0])} has the library in it, but does not "
                                  "bind through libc" if self.preloads else
                                  f"{kernel.comm(pids[0])} has a supervisor, but no lock file")

    def _holders(self, place):
        """Returns the holders of the socket, and those of them that are not guarded."""
        if not self.preloads:
            pids = kernel.holders(place.socket)
            return pids, [pid for pid, (guarded, _) in zip(pids, self._checked(pids))
                          if not guarded]
        name = os.path.basename(self.library)
        files = {pid: kernel.mapped(pid) for pid in kernel.holders(place.socket)}
        pids = [pid for pid, mapped in files.items() if mapped]  # the others are about to end
        return pids, [pid for pid in pids if not any(name in file for file in files[pid])]

    def _checked(self, pids):
        """Returns for each process whether it is supervised, and why not, from sockguard check.

        The verdict is "unknown" for a process whose ancestors have ended. Such a process counts as
        supervised if it has one filter more than we have: only the supervisor sets filters here.
        """
        if not pids:
            return []
        command = os.path.join(os.path.dirname(self.library), "sockguard")
        done = subprocess.run([command, "check", "--json", *map(str, pids)], capture_output=True,
                              text=True, check=False)
        return [(one["by"] == "syscalls" or one["verdict"] == "unknown" and
                 kernel.filters(one["pid"]) == kernel.filters("self") + 1, one["why"])
                for one in json.loads(done.stdout)["targets"]]

    def second_start(self, place):
        """Starts a second instance on the path while the first one serves."""
        first = self._first(place)
        names = place.names()
        pin = kernel.Pin(place.socket)
        poller = Poller(place, pin)
        poller.wait_more(3)
        second = place.instance("second")
        self._settle(second, pin)
        poller.wait_more(3)
        stolen = not pin.still_there()
        runs_on = not second.ended()
        log = second.new_log()
        if runs_on:
            self._stop(second)
        during = self._during(place, poller)  # after this, the client has no socket of its own here
        if first.ended():
            result = Cell("stolen: the first instance ended" if stolen else
                          "the first instance ended", 0, theft=stolen)
        elif stolen:
            result = Cell("stolen", 0, theft=True)
        elif not pin.still_there():
            result = Cell("stolen: the second instance removed the path when it stopped", 0,
                          theft=True)
        else:
            how = f"“{error_message(log, place.dir)}”".replace("“no message”", "no message")
            status = ", keeps running without the path" if runs_on else \
                f", exit status {second.status}"
            result = Cell(f"refused: {how}{status}", left=self._left(place, names).left)
        if self.library and "sockguard: " in log:
            result.text += "; the guard names the owner" * bool(re.search(r"in use by \S", log))
        pin.close()
        return [result, during]

    @staticmethod
    def _stop(second):
        """Stops the second instance, with SIGKILL if necessary. How it ends is not tested here."""
        try:
            second.stop(30)
        except Failed:
            second.kill()

    def _settle(self, second, pin):
        """Waits until the second instance has ended or serves at the path, but not for ever. If it
        printed no error, waits longer, because it may still be starting on a busy machine."""
        patience = 12 + 4 * self.took
        began = time.monotonic()
        while not second.ended():
            if not pin.still_there() and second.answers():
                return
            waited = time.monotonic() - began
            if waited > 8 * patience:
                return
            if waited > patience and error_message(second.new_log()) != "no message":
                return
            time.sleep(0.02)

    @staticmethod
    def _during(place, poller):
        poller.wait_more(2)
        poller.stop()
        try:
            place.ask()
            after = True
        except Exception:  # pylint: disable=broad-except
            after = False
        if poller.by_another:
            return Cell("no: clients reach the second instance" +
                        ("" if after else ", and no instance after it stops"), 0)
        if poller.failures or not after:
            return Cell(f"no: {len(poller.failures)} of {poller.asked} requests failed "
                        f"({shorten(tidy((poller.failures or ['afterwards'])[0], place.dir))})", 0)
        return Cell("yes")

    def restart(self, place):
        """Kills all processes with SIGKILL and starts the server again over the remaining files."""
        first = self._first(place)
        names = place.names()
        first.kill()
        cell = self._restarted(place)
        cell.left = self._left(place, names).left
        if cell.rank == 0 and self.library and not self.not_guardable and \
                "REUSE" not in place.settings:
            always, = self._run_situation(self.restart, 1, {"REUSE": "always"})
            cell.text += "; with SOCKGUARD_REUSE=always: " + always.text
            cell.rank = always.rank - 1  # if that does not help either, the guard is to blame
        return [cell]

    def _restarted(self, place):
        again = place.instance("first", again=True)
        try:
            again.wait_serving(60 + 8 * self.took)
        except Failed as failure:
            return Cell("no: " + shorten(tidy(str(failure), place.dir), width=120),
                        REFUSED if self.library and "sockguard: " in again.new_log() else 0)
        if self.library and "sockguard: " in again.new_log():
            return Cell("no: the guard refused a call", REFUSED)
        if not self.server.restarted_cleanly(again.new_log()):
            how = error_message(again.new_log(), place.dir)
            return Cell(f"not at the first attempt: “{how}”", 0)
        return Cell("yes")

    def clean_stop(self, place):
        """Stops the server as its users do."""
        self._first(place).stop()
        return [self._left(place)]

    @staticmethod
    def _left(place, before=()):
        """Returns a cell with the files that are there now and were not before."""
        names, socket = set(place.names()) - set(before), os.path.basename(place.socket)
        kept = {name for name in names if not (socket_path_of(name) and
                                               os.path.lexists(os.path.join(
                                                   os.path.dirname(place.socket),
                                                   socket_path_of(name))))}
        words = ["the socket" if name == socket else re.sub(r"\d{3,}", "N", name)
                 for name in sorted(kept | set(place.orphans()))]
        locks = ["its lock file" if names - kept == {lock_file_of(socket)} else
                 f"{len(names - kept)} lock files"] if names - kept else []
        return Cell(", ".join(words + locks) or "nothing", left=tuple(words))

    def reload(self, place):
        """Reloads or upgrades the server while a client sends requests, and stops it afterwards."""
        if not self.server.how_reloaded:
            return [Cell("none")]
        first = self._first(place)
        poller = Poller(place)
        poller.wait_more(10)
        now = self.server.reload(first) or first
        poller.wait_more(20)
        poller.stop()
        words, refused = self.server.how_reloaded + ": ", "sockguard: " in first.log()
        if self.library and not self.not_guardable:
            self._check_guarded(place)
            if self.not_guardable:
                raise Failed(f"no longer guarded: {self.not_guardable}")
        now.stop()
        left = self._left(place).left
        if refused:
            return [Cell(words + "the guard refused a call", REFUSED, left)]
        if poller.failures:
            return [Cell(f"{words}{len(poller.failures)} of {poller.asked} requests failed "
                         f"({shorten(tidy(poller.failures[0], place.dir))})", 0, left)]
        return [Cell(words + "no request failed", 1, left)]


@dataclasses.dataclass
class Row:
    """A server's row: its cells, unguarded and guarded, and remarks."""

    server: object
    version: str
    unguarded: list
    guarded: list
    not_guardable: str = None
    without: tuple = ()
    failed: str = None
    skipped: str = None

    def complaints(self):
        """Returns why the row has failed; empty if it has passed."""
        if self.failed:
            return [self.failed]
        if self.skipped:
            return []
        if self.server.guardable != (self.not_guardable is None):
            return [f"not guardable: {self.not_guardable}" if self.not_guardable else
                    "guarded, which was not expected"]
        found = []
        for column, before, after in zip(COLUMNS, self.unguarded, self.guarded):
            if before.failed or after.failed:
                text = before.text if before.failed else after.text
                if not any(text in complaint for complaint in found):
                    found.append(f"{column}: {text}")
            elif self.not_guardable:
                continue
            elif after.theft:
                found.append(f"{column}: a theft under the guard")
            elif set(after.left) - set(before.left) or \
                    column != COLUMNS[0] and after.left != before.left:
                found.append(f"{column}: leaves {after.left}; unguarded: {before.left}")
            elif after.rank < before.rank:
                found.append(f"{column}: {after.text}; unguarded: {before.text}")
        return found


def measure(server, version, library, progress):
    """Runs a server through every situation, unguarded and guarded."""
    if (server.as_root or server.user) and os.getuid() != 0:
        return Row(server, version, [], [], skipped="needs root")
    if version is None:
        names = ", ".join(server.packages)
        return Row(server, version, [], [], failed=f"not installed: {names}")
    unguarded = Run(server, None).cells(lambda text: progress("unguarded: " + text))
    run = Run(server, library)
    guarded = run.cells(lambda text: progress("guarded: " + text))
    for column, (before, after) in enumerate(zip(unguarded, guarded)):
        if not run.not_guardable:
            unguarded[column], guarded[column] = repeat(
                before, after,
                lambda guard, column=column: Run(server, library if guard else None).cell(column))
    return Row(server, version, unguarded, guarded, run.not_guardable, sorted(run.without))


def may_be_chance(cell):
    """Returns whether a bad result may be a chance result, not the guard's fault."""
    return not cell.theft and not cell.failed and cell.rank > REFUSED


def repeat(before, after, again, times=8):
    """Repeats a situation that was worse only under the guard, because requests may also fail by
    chance. before and after are its cells, unguarded and guarded; again(guard) returns another one.
    Returns the two cells that count.

    If it is never worse without the guard now, but sometimes under it, the guard is to blame.
    """
    if after.rank >= before.rank or before.failed or not may_be_chance(after):
        return before, after
    for _ in range(times):
        cell = again(False)
        if cell.rank < before.rank:
            return cell, after
    worse = 1
    for _ in range(times):
        cell = again(True)
        if not may_be_chance(cell):
            return before, cell
        worse += cell.rank < before.rank
    after.text += f", in {worse} of {times + 1} runs"
    if worse < 3:
        after.rank = before.rank
    return before, after
