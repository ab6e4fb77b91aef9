"""Programs that go through whole trees of files: rm, git, tar."""

import os
import shutil
import subprocess

from figures import Figure
from meter import LIBRARY, Calls, Worker, built, file_system, interleave, may_mount, scratch

GROUP = "Trees of files"


def variants(one):
    """one(library) with each library there is to compare."""
    libraries = {"plain": "-", "twin": "-", "floor": built("floor.so"), "guarded": LIBRARY}
    return {name: lambda library=library: one(library) for name, library in libraries.items()}


def quick(seconds):
    return seconds < 1


def _figure(name, taken, target):
    """By processor time, which others on the machine disturb least; time passed is told."""
    return Figure(GROUP, name, "ms", {which: taken.median(which) / 1e6
                                      for which in ("plain", "guarded", "floor")},
                  taken.ratio("guarded", "plain"), "x plain", target,
                  taken.ratio("twin", "plain"),
                  f"floor {taken.ratio('floor', 'plain'):.3f} x; time passed "
                  f"{taken.ratio('guarded', 'plain', 1):.3f} x, "
                  f"noise {taken.ratio('twin', 'plain', 1):.3f}")


def _run(starter, library, line):
    """Processor time and the time that passed."""
    passed, processor, _ = starter.ask(1, library, line)
    return processor, passed


def _places():
    """Where to remove how many files, what that is called, and how many times as long a figure of
    one call takes: each run on a disk makes the file system too, and all the files."""
    yield "tmpfs", 100_000, file_system("tmpfs"), 6
    if may_mount():
        yield "fresh disk", 100_000, "fresh ext4", 20
    else:
        yield "disk", 5_000, file_system("disk"), 6


def remove(seconds):
    for place, count, called, times in _places():
        count //= 10 if quick(seconds) else 1
        with Worker([built("start")]) as starter:
            def one(library, place=place, count=count, starter=starter):
                with Calls(None, place) as maker:
                    maker.ask("files", count)
                    took = _run(starter, library, f"/bin/rm -rf {maker.dir}")
                return took
            taken = interleave(variants(one), times * seconds)
        yield _figure(f"rm -rf of {count:,} files, {called}", taken, 1.05)


def clone(seconds):
    with scratch("disk") as directory, Worker([built("start")]) as starter:
        origin, copy = os.path.join(directory, "origin"), os.path.join(directory, "copy")
        files = _make_tree(origin, 2 if quick(seconds) else 20)
        git = ["git", "-C", origin, "-c", "user.name=nobody", "-c", "user.email=nobody"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
            subprocess.run([*git, *words], check=True, stdout=subprocess.DEVNULL)

        def one(library):
            took = _run(starter, library, f"/usr/bin/git clone -q {origin} {copy}")
            shutil.rmtree(copy)
            return took
        taken = interleave(variants(one), 4 * seconds)
    yield _figure(f"git clone of {files:,} files, {file_system('disk')}", taken, 1.02)


def unpack(seconds):
    for place in ("tmpfs", "disk"):
        with scratch(place) as directory, Worker([built("start")]) as starter:
            tree, tar = os.path.join(directory, "tree"), os.path.join(directory, "tree.tar")
            files = _make_tree(tree, 5 if quick(seconds) else 50)
            subprocess.run(["tar", "-C", directory, "-cf", tar, "tree"], check=True)
            shutil.rmtree(tree)

            def one(library, starter=starter, directory=directory, tree=tree, tar=tar):
                unpacked = _run(starter, library, f"/bin/tar -C {directory} -xf {tar}")
                removed = _run(starter, library, f"/bin/rm -rf {tree}")
                return tuple(map(sum, zip(unpacked, removed)))
            taken = interleave(variants(one), 4 * seconds)
        yield _figure(f"unpacking and removing {files:,} files, {file_system(place)}", taken,
                      1.03)


def _make_tree(top, directories):
    """Sources of the usual size and depth, 100 a directory."""
    for i in range(directories):
        directory = os.path.join(top, f"part{i // 10}", f"module{i}")
        os.makedirs(directory)
        for j in range(100):
            with open(os.path.join(directory, f"source{j}.c"), "w") as file:
                file.write(f"int function_{i}_{j}(void);\n" * (20 + (i * 7 + j * 13) % 200))
    return directories * 100

