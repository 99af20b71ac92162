#!/usr/bin/env python3
"""Shows that the torture notices: each mutant of ductile in mutants/ is built and has to fail within a bounded time.

    tests/torture/mutants.py [--minutes M] [--seeds N] [MUTANT ...]

Takes HEAD, in a folder of its own that is removed at the end; CARGO_TARGET_DIR is used if it is set. Missing syncs are
nothing that a killed process can show: for `no_fsync` the power cuts of tests/it/power_loss.rs have to fail instead,
which needs root. Exit code 0 when all were caught.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MUTANTS = sorted(name.removesuffix(".patch") for name in os.listdir(os.path.join(HERE, "mutants")))
BUILD = ["cargo", "build", "--quiet", "--features", "fault-injection"]
POWER = ["cargo", "test", "--quiet", "--features", "fault-injection", "--test", "it", "--", "power_loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1, help="of each seed")
    parser.add_argument("--seeds", type=int, default=5, help="at most so many are tried")
    parser.add_argument("mutants", nargs="*", metavar="MUTANT", help=f"of {', '.join(MUTANTS)}; default: all")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        source = os.path.join(folder, "source")
        os.mkdir(source)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "x"], cwd=source, input=archive, check=True)
        survived = [mutant for mutant in options.mutants or MUTANTS if not caught(mutant, source, folder, options)]
    if survived:
        sys.exit(f"not caught: {', '.join(survived)}")


def caught(mutant, source, folder, options):
    patch = ["patch", "--quiet", "-p1", "-i", os.path.join(HERE, "mutants", f"{mutant}.patch")]
    subprocess.run(patch, cwd=source, check=True)
    try:
        if mutant == "no_fsync":
            return lost_by_power_cuts(source)
        subprocess.run(BUILD, cwd=source, check=True)
        binary = os.path.join(folder, mutant)
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(source, "target"))
        shutil.copy(os.path.join(target, "debug", "ductile"), binary)
        return tortured(mutant, binary, options)
    finally:
        subprocess.run([*patch, "-R"], cwd=source, check=True)


def tortured(mutant, binary, options):
    for seed in range(1, options.seeds + 1):
        began = time.monotonic()
        command = [os.path.join(HERE, "run.py"), "--seed", str(seed), "--minutes", str(options.minutes), "--binary", binary]
        ran = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            said, _ = ran.communicate()
        except KeyboardInterrupt:
            # It needs a moment to clean up.
            ran.terminate()
            ran.wait()
            raise
        found = [line.removeprefix("VIOLATED ") for line in said.splitlines() if line.startswith("VIOLATED ")]
        if ran.returncode != 0 and found:
            print(f"{mutant}: caught with seed {seed} in {time.monotonic() - began:.0f} s: {'; '.join(found)}", flush=True)
            return True
        if ran.returncode != 0:
            sys.exit(f"{mutant}: the torture itself failed:\n{said}")
    print(f"{mutant}: SURVIVED {options.seeds} seeds of {options.minutes:g} minutes", flush=True)
    return False


def lost_by_power_cuts(source):
    ran = subprocess.run(POWER, cwd=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if "SKIPPED" in ran.stdout:
        print(f"no_fsync: SKIPPED, no power cuts here:\n{ran.stdout}", flush=True)
        return True
    failed = re.findall(r"^---- (\S+) stdout ----$", ran.stdout, re.MULTILINE)
    if ran.returncode != 0 and not failed:
        sys.exit(f"no_fsync: the tests could not be run:\n{ran.stdout}")
    print(f"no_fsync: {'caught by ' + ', '.join(failed) if failed else 'SURVIVED the power cuts'}", flush=True)
    return bool(failed)


if __name__ == "__main__":
    main()
