"""The columns: each situation is brought about in a directory of its own, unguarded and guarded."""

import dataclasses
import os
import re
import threading
import time

import kernel
from server import (Failed, Place, lock_of, says_how, shorten, socket_of, tidy,
                    wait_until)

COLUMNS = ("second start", "client during it", "restart after kill -9", "left after a clean stop",
           "reload or upgrade")


@dataclasses.dataclass
class Cell:
    """What was seen in one situation. The higher the rank, the better for who runs the server."""

    text: str
    rank: int = 1
    left: tuple = ()  # the files left, lock files beside their sockets left out
    theft: bool = False
    failed: bool = False  # the situation could not be brought about


class Poller(threading.Thread):
    """A client that asks on and on, each time by a new connection."""

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
        """Waits for so many more requests."""
        start = self.asked
        wait_until(lambda: self.asked > start + times, "a client")

    def stop(self):
        """Ends after the request under way."""
        self._done.set()
        self.join()


class Run:
    """One server, guarded or not: brings about each situation and tells what was seen."""

    def __init__(self, server, library):
        self.server, self.library = server, library
        self.not_guardable = None  # why, once that is known
        self.without = set()  # programs that hold the socket too, without the library

    def cells(self, progress=lambda text: None):
        """The cells of all columns, in order."""
        second, during = self._told_if_failed(self.second_start, 2)
        progress("second start: " + second.text)
        cells = [second, during]
        for situation in self.restart, self.clean_stop, self.reload:
            cell, = self._told_if_failed(situation, 1)
            progress(f"{COLUMNS[len(cells)]}: {cell.text}")
            cells.append(cell)
        return cells

    def cell_of_reload(self):
        """That column's cell alone."""
        return self._told_if_failed(self.reload, 1)

    def _told_if_failed(self, situation, count, settings=None):
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
            self._see_whether_guarded(place)
        return first

    def _see_whether_guarded(self, place):
        """The library must be in who holds the socket, and the lock file beside the socket."""
        pids, without = self._holders(place)
        deadline = time.monotonic() + 3
        while without and time.monotonic() < deadline:  # one may be between exec and the loader
            time.sleep(0.1)
            pids, without = self._holders(place)
        if not pids:
            raise Failed("nobody is found to hold the socket")
        if len(without) == len(pids):
            self.not_guardable = kernel.why_not_mapped(pids[0])
            return
        self.without |= {kernel.comm(pid) for pid in without}
        if not os.path.isfile(lock_of(place.socket)):
            self.not_guardable = (f"{kernel.comm(pids[0])} has the library in it, but does not "
                                  "bind through libc")

    def _holders(self, place):
        """Who holds the socket, and which of them have not the library in them."""
        name = os.path.basename(self.library)
        files = {pid: kernel.mapped(pid) for pid in kernel.holders(place.socket)}
        pids = [pid for pid, mapped in files.items() if mapped]  # else it is about to end
        return pids, [pid for pid in pids if not any(name in file for file in files[pid])]

    def second_start(self, place):
        """A second instance is started on the path while the first serves."""
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
        during = self._during(place, poller)  # and no client's own socket lies there any more
        if first.ended():
            seen = Cell("stolen: the first ended" if stolen else "the first ended", 0, theft=stolen)
        elif stolen:
            seen = Cell("stolen", 0, theft=True)
        elif not pin.still_there():
            seen = Cell("stolen: the second removed it when it stopped", 0, theft=True)
        else:
            how = f"“{says_how(log, place.dir)}”".replace("“says nothing”", "says nothing")
            status = ", runs on without it" if runs_on else f", exit status {second.status}"
            seen = Cell(f"refused: {how}{status}", left=self._left(place, names).left)
        if self.library and "sockguard: " in log:
            seen.text += "; the guard names the owner" * bool(re.search(r"in use by \S", log))
        pin.close()
        return [seen, during]

    @staticmethod
    def _stop(second):
        """Stops it, by kill -9 if it will not: not its end is the question here."""
        try:
            second.stop(30)
        except Failed:
            second.kill()

    def _settle(self, second, pin):
        """Until the second has ended, or serves at the path, or has had time enough for either."""
        deadline = time.monotonic() + 12 + 4 * self.took
        while time.monotonic() < deadline and not second.ended():
            if not pin.still_there() and second.answers():
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
            return Cell("no: clients get the second" +
                        ("" if after else ", and nobody once that stops"), 0)
        if poller.failures or not after:
            return Cell(f"no: {len(poller.failures)} of {poller.asked} requests failed "
                        f"({shorten(tidy((poller.failures or ['after it'])[0], place.dir))})", 0)
        return Cell("yes")

    def restart(self, place):
        """Everything is killed with -9 and the server started again, over what that left."""
        first = self._first(place)
        names = place.names()
        first.kill()
        cell = self._restarted(place)
        cell.left = self._left(place, names).left
        if cell.rank == 0 and self.library and not self.not_guardable and \
                "REUSE" not in place.settings:
            always, = self._told_if_failed(self.restart, 1, {"REUSE": "always"})
            cell.text += "; with SOCKGUARD_REUSE=always " + always.text
            cell.rank = always.rank - 1  # a start that nothing helps is the guard's fault
        return [cell]

    def _restarted(self, place):
        again = place.instance("first", again=True)
        try:
            again.wait_serving(20 + 8 * self.took)
        except Failed as failure:
            return Cell("no: " + shorten(tidy(str(failure), place.dir), width=120), 0)
        if self.library and "sockguard: " in again.new_log():
            return Cell("no: the guard refused something", 0)
        if not self.server.restarted_cleanly(again.new_log()):
            how = says_how(again.new_log(), place.dir)
            return Cell(f"not at the first attempt: “{how}”", 0)
        return Cell("yes")

    def clean_stop(self, place):
        """The server is stopped as its users do."""
        self._first(place).stop()
        return [self._left(place)]

    @staticmethod
    def _left(place, before=()):
        """What lies there now, and did not before."""
        names, socket = set(place.names()) - set(before), os.path.basename(place.socket)
        kept = {name for name in names if not (socket_of(name) and
                                               os.path.lexists(os.path.join(
                                                   os.path.dirname(place.socket),
                                                   socket_of(name))))}
        words = ["the socket" if name == socket else re.sub(r"\d{3,}", "N", name)
                 for name in sorted(kept | set(place.orphans()))]
        locks = ["its lock file" if names - kept == {lock_of(socket)} else
                 f"{len(names - kept)} lock files"] if names - kept else []
        return Cell(", ".join(words + locks) or "nothing", left=tuple(words))

    def reload(self, place):
        """The server is reloaded or upgraded while a client polls, and stopped after that."""
        if not self.server.how_reloaded:
            return [Cell("has none")]
        first = self._first(place)
        poller = Poller(place)
        poller.wait_more(10)
        now = self.server.reload(first) or first
        poller.wait_more(20)
        poller.stop()
        words, refused = self.server.how_reloaded + ": ", "sockguard: " in first.log()
        if self.library and not self.not_guardable:
            self._see_whether_guarded(place)
            if self.not_guardable:
                raise Failed(f"no longer guarded: {self.not_guardable}")
        now.stop()
        left = self._left(place).left
        if refused:
            return [Cell(words + "the guard refused something", -1, left)]
        if poller.failures:
            return [Cell(f"{words}{len(poller.failures)} of {poller.asked} requests failed "
                         f"({shorten(tidy(poller.failures[0], place.dir))})", 0, left)]
        return [Cell(words + "no request failed", 1, left)]


@dataclasses.dataclass
class Row:
    """A server's row: its cells unguarded and guarded, and what is to be said of it."""

    server: object
    version: str
    unguarded: list
    guarded: list
    not_guardable: str = None
    without: tuple = ()
    failed: str = None
    skipped: str = None

    def complaints(self):
        """Why the row has not passed; empty if it has."""
        if self.failed:
            return [self.failed]
        if self.skipped:
            return []
        if self.server.guardable != (self.not_guardable is None):
            return [f"not guardable: {self.not_guardable}" if self.not_guardable else
                    "is guarded, which was not expected"]
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
    if not run.not_guardable and guarded[-1].rank == 0 and unguarded[-1].rank == 1:
        _look_again(server, library, unguarded, guarded)
    return Row(server, version, unguarded, guarded, run.not_guardable, sorted(run.without))


def _look_again(server, library, unguarded, guarded, times=8):
    """A request was lost under the guard alone: does the server lose one now and then without it?

    If it does not, and loses some again under the guard, the guard is to blame.
    """
    for _ in range(times):
        cell, = Run(server, None).cell_of_reload()
        if cell.rank < 1:
            unguarded[-1] = cell
            return
    again = [Run(server, library).cell_of_reload()[0] for _ in range(times)]
    lossy = sum(cell.rank < 1 for cell in again)
    guarded[-1].text += f", in {lossy + 1} of {times + 1} runs"
    if lossy < 2:
        guarded[-1].rank = 1
