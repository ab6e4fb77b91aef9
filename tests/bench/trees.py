"""Programs that work on whole trees of files: rm, git, tar."""

import os
import shutil
import subprocess

from figures import Figure
from meter import LIBRARY, Calls, Worker, built, file_system, interleave, may_mount, scratch

GROUP = "Trees of files"


def _variants(run):
    """Returns the variants, which call run(library) for each library to compare."""
    libraries = {"plain": "-", "twin": "-", "floor": built("floor.so"), "guarded": LIBRARY}
    return {name: lambda library=library: run(library) for name, library in libraries.items()}


def _is_quick(seconds):
    return seconds < 1


def _figure(name, times, target):
    """Compares processor times, which other load on the machine affects least. The note gives the
    elapsed times."""
    return Figure(GROUP, name, "ms", {which: times.median(which) / 1e6
                                      for which in ("plain", "guarded", "floor")},
                  times.ratio("guarded", "plain"), "x plain", target,
                  times.ratio("twin", "plain"),
                  f"floor {times.ratio('floor', 'plain'):.3f} x; elapsed time "
                  f"{times.ratio('guarded', 'plain', 1):.3f} x, "
                  f"noise {times.ratio('twin', 'plain', 1):.3f}")


def _run(starter, library, line):
    """Returns the processor time and the elapsed time."""
    elapsed, processor, _ = starter.ask(1, library, line)
    return processor, elapsed


def _places():
    """Yields (place, number of files, label, factor). The factor multiplies the seconds of the
    figure: each run on a disk also creates the file system and all the files."""
    yield "tmpfs", 100_000, file_system("tmpfs"), 6
    if may_mount():
        yield "fresh disk", 100_000, "fresh ext4", 20
    else:
        yield "disk", 5_000, file_system("disk"), 6


def remove(seconds):
    for place, count, label, factor in _places():
        count //= 10 if _is_quick(seconds) else 1
        with Worker([built("start")]) as starter:
            def run(library, place=place, count=count, starter=starter):
                with Calls(None, place) as creator:
                    creator.ask("files", count)
                    took = _run(starter, library, f"/bin/rm -rf {creator.dir}")
                return took
            times = interleave(_variants(run), factor * seconds)
        yield _figure(f"rm -rf of {count:,} files, {label}", times, 1.05)


def clone(seconds):
    with scratch("disk") as directory, Worker([built("start")]) as starter:
        origin, copy = os.path.join(directory, "origin"), os.path.join(directory, "copy")
        files = _make_tree(origin, 2 if _is_quick(seconds) else 20)
        git = ["git", "-C", origin, "-c", "user.name=nobody", "-c", "user.email=nobody"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
            subprocess.run([*git, *words], check=True, stdout=subprocess.DEVNULL)

        def run(library):
            took = _run(starter, library, f"/usr/bin/git clone -q {origin} {copy}")
            shutil.rmtree(copy)
            return took
        times = interleave(_variants(run), 4 * seconds)
    yield _figure(f"git clone of {files:,} files, {file_system('disk')}", times, 1.02)


def unpack(seconds):
    for place in ("tmpfs", "disk"):
        with scratch(place) as directory, Worker([built("start")]) as starter:
            tree, tar = os.path.join(directory, "tree"), os.path.join(directory, "tree.tar")
            files = _make_tree(tree, 5 if _is_quick(seconds) else 50)
            subprocess.run(["tar", "-C", directory, "-cf", tar, "tree"], check=True)
            shutil.rmtree(tree)

            def run(library, starter=starter, directory=directory, tree=tree, tar=tar):
                unpacked = _run(starter, library, f"/bin/tar -C {directory} -xf {tar}")
                removed = _run(starter, library, f"/bin/rm -rf {tree}")
                return tuple(map(sum, zip(unpacked, removed)))
            times = interleave(_variants(run), 4 * seconds)
        yield _figure(f"unpacking and removing {files:,} files, {file_system(place)}", times,
                      1.03)


def _make_tree(top, directories):
    """Creates source files of usual sizes and depth, 100 per directory."""
    for i in range(directories):
        directory = os.path.join(top, f"part{i // 10}", f"module{i}")
        os.makedirs(directory)
        for j in range(100):
            with open(os.path.join(directory, f"source{j}.c"), "w") as file:
                file.write(f"int function_{i}_{j}(void);\n" * (20 + (i * 7 + j * 13) % 200))
    return directories * 100
